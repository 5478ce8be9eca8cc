"""What DirectLine does beyond the contract."""

import threading

import pytest

from inspector.errors import LineError
from inspector.line import direct
from inspector.line.direct import DirectLine
from inspector.types import PartId, VerdictKind


def test_each_pulse_is_passed_on_after_it_was_counted() -> None:
    seen: list[tuple[int, int]] = []
    line = DirectLine(lambda sequence: seen.append((sequence, line.poll().counter)))
    line.open(1)
    assert [line.pulse(), line.pulse()] == [1, 2]
    assert seen == [(1, 1), (2, 2)]


def test_a_pulse_whose_camera_raises_is_counted_all_the_same() -> None:
    def broken(sequence: int) -> None:
        raise RuntimeError(f"no camera for {sequence}")

    line = DirectLine(broken)
    line.open(1)
    with pytest.raises(RuntimeError, match="no camera for 1"):
        line.pulse()
    assert [trigger.sequence for trigger in line.poll().triggers] == [1]


def test_a_station_that_stopped_reading_stops_the_pulses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "WAITING_MAX", 3)
    line = DirectLine()
    line.open(1)
    for _ in range(3):
        line.pulse()
    with pytest.raises(LineError, match="3 parts wait"):
        line.pulse()
    assert line.poll().counter == 3


def test_pulses_from_several_threads_are_all_told_once() -> None:
    line = DirectLine()
    line.open(1)
    line.set_ready(True)
    threads = [threading.Thread(target=lambda: [line.pulse() for _ in range(200)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    told: list[int] = []
    while any(thread.is_alive() for thread in threads):
        for trigger in line.poll().triggers:
            told.append(trigger.sequence)
            line.send(PartId(1, trigger.sequence), VerdictKind.PASS)
    told += [trigger.sequence for trigger in line.poll().triggers]
    assert told == list(range(1, 601))


def test_beats_and_fault_can_be_seen() -> None:
    line = DirectLine()
    line.open(1)
    line.beat()
    line.beat()
    line.set_ready(False, fault=True)
    assert (line.beats, line.fault) == (2, True)
