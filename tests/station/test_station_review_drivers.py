"""Drivers that break their contract: they hang, raise what they must not, or are silent. The threads live on, the station comes back."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from inspector.detect.scripted import Answer, ScriptedDetector
from inspector.line.direct import DirectLine
from inspector.ports import LineSnapshot
from inspector.station import control
from inspector.types import FaultCode, PartId, StationState, VerdictKind

if TYPE_CHECKING:
    from tests.station.conftest import Rig

MakeRig = Callable[..., "Rig"]


def await_cause(rig: "Rig", *texts: str) -> None:
    """Wait for FAULT by a cause that says all of this."""

    def cause() -> str:
        found = rig.status().cause
        return found.text if found is not None and rig.status().state is StationState.FAULT else ""

    rig.until(lambda: all(text in cause() for text in texts), lambda: f"{texts}, but {rig.status()}")


def passes(rig: "Rig") -> None:
    rig.await_state(StationState.RUNNING)
    assert rig.why(rig.trigger()) == (VerdictKind.PASS, "")


# -- the line


class WildLine(DirectLine):
    """A driver with a bug: the calls named in `wild` raise what no port allows."""

    def __init__(self) -> None:
        super().__init__()
        self.wild: set[str] = set()
        self.raised = 0

    def open(self, run: int) -> LineSnapshot:
        self._bug("open")
        return super().open(run)

    def poll(self) -> LineSnapshot:
        self._bug("poll")
        return super().poll()

    def send(self, part: PartId, verdict: VerdictKind, fault: FaultCode | None = None) -> None:
        self._bug("send")
        super().send(part, verdict, fault)

    def set_ready(self, ready: bool, fault: bool = False) -> None:
        self._bug("set_ready")
        super().set_ready(ready, fault)

    def beat(self) -> None:
        self._bug("beat")
        super().beat()

    def close(self) -> None:
        super().close()
        self._bug("close")

    def _bug(self, call: str) -> None:
        if call in self.wild:
            self.raised += 1
            raise ValueError(f"a bug in {call}")


@pytest.mark.parametrize("wild", [{"poll"}, {"open", "poll"}, {"beat"}, {"poll", "open", "close"}])
def test_a_line_driver_that_raises_what_it_must_not_faults_the_station_until_it_stops(make_rig: MakeRig, wild: set[str]) -> None:
    line = WildLine()
    rig = make_rig(line=line, reconnect_s=0.1)
    rig.pulses, line._on_pulse = line, rig.camera.expose
    rig.run()
    line.wild = wild
    await_cause(rig, "a bug in")
    began, used, seq, raised = time.monotonic(), time.process_time(), rig.status().seq, line.raised
    time.sleep(0.4)
    lasted_s = time.monotonic() - began
    assert rig.status().seq >= seq + 4, "the screens still see what is going on"
    assert line.raised - raised < 60 * lasted_s
    assert time.process_time() - used < 0.5 * lasted_s, "it waits, and does not spin"
    assert rig.command("stop").startswith("stopped")
    assert rig.command("start").startswith("started")
    line.wild = set()
    passes(rig)
    assert rig.status().balances.undecided == 0


def test_a_line_driver_that_raises_at_every_result_leaves_no_part_undecided(make_rig: MakeRig, seen: Answer) -> None:
    line = WildLine()
    rig = make_rig(line=line, reconnect_s=0.2)
    rig.pulses, line._on_pulse = line, rig.camera.expose
    rig.run()
    line.wild = {"send"}
    numbers = [rig.trigger(seen), rig.trigger()]
    rig.await_decided(2)
    await_cause(rig, "a bug in send")
    line.wild = set()
    assert [rig.why(number)[0] for number in numbers] == [VerdictKind.FAULT] * 2
    passes(rig)
    assert rig.proving.unproven == []


@pytest.mark.parametrize("wild", ["set_ready", "close"])
def test_a_line_driver_that_raises_on_the_way_to_ready_low_is_given_up(make_rig: MakeRig, wild: str) -> None:
    """Only what watches the heartbeat can still stop the line: the station must not go on as if READY had been taken back."""
    line = WildLine()
    rig = make_rig(line=line, reconnect_s=0.1)
    rig.pulses, line._on_pulse = line, rig.camera.expose
    rig.run()
    line.wild = {wild, "poll"}
    await_cause(rig, "a bug in")
    assert not line._open
    line.wild = set()
    passes(rig)


def test_a_lost_line_costs_no_time(make_rig: MakeRig) -> None:
    """While the cable is out there is nothing to read: a core that spins is missing to everything else on this machine."""
    rig = make_rig(reconnect_s=0.5).run()
    rig.proving.cut = True
    rig.await_state(StationState.FAULT)
    used, began = time.process_time(), time.monotonic()
    time.sleep(0.4)
    assert time.process_time() - used < 0.3 * (time.monotonic() - began)
    rig.proving.cut = False
    passes(rig)


# -- the camera


def test_a_camera_that_hangs_when_it_is_told_to_count_is_named(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_ARMING_NS", 200_000_000)
    released = threading.Event()
    rig = make_rig()
    arm = rig.camera.arm

    def hangs() -> None:
        released.wait(10)
        arm()

    monkeypatch.setattr(rig.camera, "arm", hangs)
    rig.station.start()
    rig.command("start")
    try:
        await_cause(rig, "camera", "does not begin to count")
        health = next(health for health in rig.status().health if health.name == "camera")
        assert not health.ok
        assert not any(ready for ready, _ in rig.proving.readies)
    finally:
        released.set()
    passes(rig)


def test_the_time_for_arming_is_a_few_seconds() -> None:
    """Long enough for a slow camera, short enough for whoever stands before the screen."""
    assert 2e9 <= control._ARMING_NS <= 6e9


def test_a_camera_that_cannot_be_closed_is_opened_again(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = make_rig().run()
    close = rig.camera.close

    def raises() -> None:
        close()
        raise OSError("the device is gone, and its handle with it")

    monkeypatch.setattr(rig.camera, "close", raises)
    rig.camera.dead = True
    await_cause(rig, "unplugged")
    opened = rig.camera.opened
    rig.camera.dead = False
    passes(rig)
    assert rig.camera.opened > opened
    rig.station.stop()
    assert rig.station.problem_at_end is None


def test_frames_that_come_while_nobody_counts_are_not_kept(make_rig: MakeRig) -> None:
    """The line is unplugged over the weekend, and the camera's trigger input picks up noise."""
    rig = make_rig(reconnect_s=0.3).run()
    rig.proving.cut = True
    rig.await_state(StationState.FAULT)
    for _ in range(400):
        rig.camera.expose(1)
    rig.until(lambda: not rig.camera._waiting and rig.station._dispatch._inbox.empty())
    binding = rig.station._dispatch._binding
    assert len(binding._pairing._waiting) == 0
    assert len(binding._arrived) == 0
    rig.proving.cut = False
    passes(rig)


# -- the detector


class Unclosable(ScriptedDetector):
    """A detector whose device does not let go."""

    def close(self) -> None:
        super().close()
        raise OSError("the device does not let go")


def test_a_detector_that_cannot_be_closed_does_not_keep_the_next_one_from_working(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig()
    monkeypatch.setattr(rig, "open_detector", lambda: Unclosable(rig._script, height=32, width=32))
    rig.run()
    passes(rig)
    rig.command("stop")
    rig.command("activate", name="other")
    rig.until(lambda: rig.status().recipe == "other")
    rig.command("start")
    passes(rig)
    rig.station.stop()
    assert rig.station.problem_at_end is None


def test_a_canary_that_does_not_come_back_is_not_sent_again_and_again(
    make_rig: MakeRig, seen: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a detector that hangs overnight has thousands of canaries to run before the first part."""
    monkeypatch.setattr(control, "NS_PER_MS", 20_000)  # waiting goes fifty times as fast: no answer for 2.2 s is now 44 ms
    released = threading.Event()
    runs: list[int] = []

    def hangs() -> Answer:
        runs.append(1)
        released.wait(10)
        return Answer()

    rig = make_rig(detector_ms=200.0, reconnect_s=0.02)
    rig.canary = hangs
    rig.station.start()
    rig.command("start")
    try:
        await_cause(rig, "canary", "no answer from inspect")
        time.sleep(0.4)
        assert rig.station._inspect._jobs.qsize() == 0
        rig.canary = seen
    finally:
        monkeypatch.undo()
        released.set()
    passes(rig)
    assert len(runs) == 1
