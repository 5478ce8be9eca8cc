"""The end of a station: READY low first, every open part decided, everything recorded, nothing left, whatever hangs."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from inspector.detect.scripted import Answer
from inspector.errors import CommandRefused
from inspector.ports import Line
from inspector.station import core
from inspector.trace import verify
from inspector.types import FaultCode, StationState, VerdictKind

if TYPE_CHECKING:
    from tests.station.conftest import Rig

MakeRig = Callable[..., "Rig"]


def test_ready_goes_low_first_and_open_parts_become_faults(make_rig: MakeRig) -> None:
    rig = make_rig().run()
    done = rig.trigger()
    assert rig.why(done) == (VerdictKind.PASS, "")
    number = rig.trigger(Answer(delay_s=1.0))
    rig.until(lambda: rig.judged == [done, number])
    rig.proving.calls.clear()
    rig.station.stop()
    assert rig.proving.calls == ["ready False", f"send {number} FAULT", "close"]
    assert rig.why(number) == (VerdictKind.FAULT, "interrupted")
    assert rig.proving.sent[-1][2] is FaultCode.INTERRUPTED
    assert rig.status().state is StationState.STOPPING
    assert rig.status().balances.undecided == 0
    assert rig.station.problem_at_end is None
    assert verify(rig.folder).ok


def test_a_hanging_inference_is_given_up_at_the_end(make_rig: MakeRig) -> None:
    rig = make_rig(deadline_ms=None, detector_ms=60_000.0, stall_ms=60_000.0).run()
    number = rig.trigger(Answer(hangs=True))
    rig.until(lambda: rig.judged == [number])
    began = time.monotonic()
    rig.station.stop()
    assert time.monotonic() - began < 2
    assert rig.station.problem_at_end is None
    assert rig.why(number) == (VerdictKind.FAULT, "interrupted")


def test_a_driver_that_never_returns_is_named_and_does_not_keep_the_station_from_ending(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "_END_S", 0.3)
    released = threading.Event()

    def blocks() -> Answer:
        released.wait(10)
        return Answer()

    rig = make_rig().run()
    number = rig.trigger(blocks)
    rig.until(lambda: rig.judged == [number])
    began = time.monotonic()
    rig.station.stop()
    assert time.monotonic() - began < 2
    assert rig.station.problem_at_end is not None
    assert "inspect hangs in its driver" in rig.station.problem_at_end
    assert rig.proving.readies[-1] == (False, False)
    assert rig.why(number) == (VerdictKind.FAULT, "interrupted")
    released.set()


def test_a_line_that_is_cut_at_the_end_leaves_every_part_decided(make_rig: MakeRig) -> None:
    rig = make_rig().run()
    number = rig.trigger(Answer(delay_s=1.0))
    rig.until(lambda: rig.judged == [number])
    rig.proving.cut = True
    rig.station.stop()
    assert rig.station.problem_at_end is None
    assert rig.why(number)[0] is VerdictKind.FAULT


def test_each_step_to_the_safe_state_stands_on_its_own(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line driver that breaks its contract (RuntimeError) at READY low must not keep the parts from being decided."""
    rig = make_rig().run()
    number = rig.trigger(Answer(delay_s=1.0))
    rig.until(lambda: rig.judged == [number])

    def broken(ready: bool, fault: bool = False) -> None:
        raise RuntimeError(f"a bug at {ready} {fault}")

    monkeypatch.setattr(rig.proving, "set_ready", broken)
    rig.station.stop()
    assert rig.proving.calls[-1] == "close"
    assert rig.why(number) == (VerdictKind.FAULT, "interrupted")


def test_stop_can_be_said_twice_and_before_start(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.station.stop()
    rig.station.stop()
    assert rig.station.problem_at_end is None


def test_commands_after_the_end_are_refused(make_rig: MakeRig) -> None:
    rig = make_rig().run()
    rig.station.stop()
    with pytest.raises(CommandRefused, match="shutting down"):
        rig.command("start")


def test_shutdown_is_a_command_that_whoever_runs_the_station_waits_for(make_rig: MakeRig) -> None:
    rig = make_rig().run()
    assert not rig.station.wait_for_shutdown(0.0)
    assert "READY goes low" in rig.command("shutdown")
    assert rig.station.wait_for_shutdown(0.0)


def test_two_runs_on_one_archive_number_their_parts_apart(make_rig: MakeRig) -> None:
    first = make_rig().run()
    assert first.why(first.trigger()) == (VerdictKind.PASS, "")
    first.station.stop()
    line: Line = first.pulses
    second = make_rig(folder=first.folder, line=line).run()
    assert second.station.run == first.station.run + 1
    assert second.rows() == []
    assert verify(first.folder).ok


def test_a_bug_in_dispatch_faults_the_parts_and_the_line_comes_back(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = make_rig().run()
    number = rig.trigger(Answer(delay_s=0.5))
    rig.until(lambda: rig.judged == [number])
    poll = rig.proving.poll
    calls: list[int] = []

    def once() -> object:
        if not calls:
            calls.append(1)
            raise RuntimeError("a driver's bug")
        return poll()

    monkeypatch.setattr(rig.proving, "poll", once)
    assert rig.why(number) == (VerdictKind.FAULT, "internal")
    rig.until(lambda: any(event.kind == "state" and event.data["to"] == "fault" for event in rig.events()))
    rig.await_state(StationState.RUNNING)
    assert rig.why(rig.trigger()) == (VerdictKind.PASS, "")
