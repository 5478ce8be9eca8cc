"""An outage within one run: a count, dispositions and records that nobody could take are not taken on trust, and none is lost."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inspector.detect.scripted import Answer
from inspector.line.direct import DirectLine
from inspector.ports import Disposed, LineSnapshot
from inspector.station import core
from inspector.trace import EvidencePolicy, SqliteArchive, open_reader, verify, writer
from inspector.types import Disposition, StationState, VerdictKind

if TYPE_CHECKING:
    from tests.station.conftest import Rig

MakeRig = Callable[..., "Rig"]
PASS, FAULT = VerdictKind.PASS, VerdictKind.FAULT


class LyingLine(DirectLine):
    """A line that keeps to itself what became of its parts while it is `mute`, and at the next opening is off by `shift`, and knows
    only the newest `kept` dispositions."""

    def __init__(self) -> None:
        super().__init__()
        self.mute = False
        self.shift = 0
        self.kept: int | None = None

    def open(self, run: int) -> LineSnapshot:
        snapshot = super().open(run)
        ring: tuple[Disposed, ...] = snapshot.disposed if self.kept is None else snapshot.disposed[-self.kept :]
        return replace(snapshot, counter=snapshot.counter + self.shift, disposed=ring)

    def poll(self) -> LineSnapshot:
        snapshot = super().poll()
        return replace(snapshot, disposed=()) if self.mute else snapshot


def put_on(make_rig: MakeRig, line: DirectLine, **settings: object) -> "Rig":
    """A station on this line, whose pulses trigger its camera."""
    rig = make_rig(line=line, **settings)
    rig.pulses, line._on_pulse = line, rig.camera.expose
    return rig


def sequences(folder: Path, run: int) -> list[int]:
    with open_reader(folder) as reader:
        return sorted(row.part.sequence for row in reader.parts(run, limit=100_000))


def plc(rig: "Rig") -> str:
    """What the station says of its PLC while it is not believed."""
    health = next(health for health in rig.status().health if health.name == "plc")
    return "" if health.ok else health.text


# -- a count that cannot be true


@pytest.mark.parametrize("shift", [-1, -3, 65_537, 1 << 31])
def test_a_count_that_is_not_believed_keeps_ready_low_and_swallows_no_part(make_rig: MakeRig, shift: int) -> None:
    line = LyingLine()
    rig = put_on(make_rig, line).run()
    for _ in range(3):
        rig.why(rig.trigger())
    rig.proving.cut = True
    rig.await_state(StationState.FAULT)
    line.shift = shift
    rig.proving.readies.clear()
    rig.proving.cut = False
    rig.until(lambda: "restart the station, so that a new run begins" in plc(rig), lambda: plc(rig))
    assert f"went from 3 to {3 + shift}" in plc(rig)
    time.sleep(0.2)
    assert rig.status().state is StationState.FAULT
    assert not any(ready for ready, _ in rig.proving.readies)
    assert rig.status().balances.triggers == 3
    line.shift = 0
    meanwhile = rig.trigger()
    rig.await_state(StationState.RUNNING)
    assert rig.why(meanwhile) == (FAULT, "not ready")
    assert sequences(rig.folder, rig.station.run) == [1, 2, 3, 4]


# -- dispositions that nobody read


def test_what_the_ring_no_longer_knows_was_disposed_as_unknown(make_rig: MakeRig, seen: Answer) -> None:
    """Else these parts would be in transit for ever, and the second balance with them."""
    line = LyingLine()
    rig = put_on(make_rig, line).run()
    line.mute = True
    for _ in range(6):
        rig.why(rig.trigger(seen))
    rig.until(lambda: rig.status().balances.in_transit == 6)
    rig.proving.cut = True
    rig.await_state(StationState.FAULT)
    line.mute = False
    line.kept = 2
    rig.proving.cut = False
    assert rig.await_state(StationState.RUNNING).dispositions == {"reject confirmed": 2, "unknown": 4}
    assert rig.status().balances.in_transit == 0
    rig.until(lambda: all(row.disposition is not None for row in rig.rows()))
    told = {row.part.sequence: row.disposition for row in rig.rows()}
    assert [told[number] for number in range(1, 7)] == [Disposition.UNKNOWN] * 4 + [Disposition.REJECT_CONFIRMED] * 2


# -- an end before everything was written


def backlogged(make_rig: MakeRig, tmp_path: Path, line: DirectLine, seen: Answer) -> "Rig":
    """A running station on a disk that has just become full, with more rows than the archive has slots for."""
    archive = SqliteArchive(tmp_path / "small", slots=4, evidence=EvidencePolicy(rejects=False))
    rig = put_on(make_rig, line, folder=tmp_path / "small", archive=archive).run()
    assert rig.why(rig.trigger()) == (PASS, "")
    rig.disk_full = True
    for _ in range(12):
        rig.trigger(seen)
        time.sleep(0.005)
    rig.await_decided(13)
    return rig


def test_an_end_with_rows_that_could_not_be_written_is_not_clean_and_the_next_start_fills_the_gaps(
    make_rig: MakeRig, tmp_path: Path, seen: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "_END_S", 0.4)
    line = LyingLine()
    first = backlogged(make_rig, tmp_path, line, seen)
    first.station.stop()
    problem = first.station.problem_at_end or ""
    count, _, rest = problem.partition(" ")
    assert rest.startswith("records could not be written; the next start fills the gaps")
    assert int(count) >= 12 - 4
    first.disk_full = False
    archive = SqliteArchive(first.folder)
    past = archive.past_run
    assert past is not None
    assert not past.clean_end
    archive.close()
    second = put_on(make_rig, line, folder=first.folder).run()
    second.until(lambda: sequences(first.folder, first.station.run) == list(range(1, 14)))
    assert second.station.run == first.station.run + 1
    assert verify(first.folder).ok


def test_a_disk_that_recovers_while_the_station_ends_takes_every_row(
    make_rig: MakeRig, tmp_path: Path, seen: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "BACKOFF_S", (0.05, 0.1))
    rig = backlogged(make_rig, tmp_path, LyingLine(), seen)
    mended = threading.Timer(0.3, setattr, (rig, "disk_full", False))
    mended.start()
    rig.station.stop()
    mended.join()
    assert rig.station.problem_at_end is None
    assert sequences(rig.folder, rig.station.run) == list(range(1, 14))
    archive = SqliteArchive(rig.folder)
    past = archive.past_run
    assert past is not None
    assert past.clean_end
    archive.close()
    assert verify(rig.folder).ok
