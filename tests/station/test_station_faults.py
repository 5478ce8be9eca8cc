"""Each fault of a part, one by one: the part is a FAULT with its code in the row, the line goes on, and the next part is judged."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from inspector.detect.scripted import Answer
from inspector.types import Box, Detection, StationState, VerdictKind

if TYPE_CHECKING:
    from tests.station.conftest import Rig, Shot

MakeRig = Callable[..., "Rig"]
NAN = Answer((Detection("defect", float("nan"), Box(1, 1, 2, 2)),))
ABOVE_ONE = Answer((Detection("defect", 1.5, Box(1, 1, 2, 2)),))


def bug() -> Answer:
    raise RuntimeError("a driver's bug")


def passes(rig: "Rig") -> None:
    """A good part is passed: the line goes on."""
    number = rig.trigger()
    assert rig.why(number) == (VerdictKind.PASS, "")
    assert rig.status().state is StationState.RUNNING


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(raises="start"), "detector"),
        (Answer(raises="wait"), "detector"),
        (NAN, "detector"),
        (ABOVE_ONE, "detector"),
        (bug, "internal"),
    ],
)
def test_a_detector_that_fails_faults_its_part_only(make_rig: MakeRig, answer: Answer, code: str) -> None:
    rig = make_rig().run()
    number = rig.trigger(answer)
    assert rig.why(number) == (VerdictKind.FAULT, code)
    passes(rig)


def test_a_detector_that_hangs_is_cancelled_and_its_part_is_late_at_its_deadline(make_rig: MakeRig) -> None:
    rig = make_rig(deadline_ms=150.0, frame_ms=100.0, answer_ms=10.0).run()
    number = rig.trigger(Answer(hangs=True))
    assert rig.why(number) == (VerdictKind.FAULT, "late")
    times = next(part.timings for part in rig.decided if part.part.sequence == number)
    assert times.triggered_ns is not None
    assert times.decided_ns is not None
    assert 130 < (times.decided_ns - times.triggered_ns) / 1e6 < 300
    passes(rig)


def test_without_a_deadline_a_hanging_detector_is_given_up_after_its_longest_time(make_rig: MakeRig) -> None:
    rig = make_rig(deadline_ms=None, detector_ms=100.0).run()
    number = rig.trigger(Answer(hangs=True))
    assert rig.why(number) == (VerdictKind.FAULT, "late")
    passes(rig)


def test_a_detector_call_that_never_returns_stops_the_line_but_not_the_count(make_rig: MakeRig) -> None:
    """start() itself blocks: no slice, no cancel. The part is late, nobody can vouch for parts: state fault, and back once it returns."""
    released = threading.Event()

    def blocks() -> Answer:
        released.wait(10)
        return Answer()

    rig = make_rig(deadline_ms=100.0, frame_ms=80.0, stall_ms=150.0).run()
    number = rig.trigger(blocks)
    assert rig.why(number) == (VerdictKind.FAULT, "late")
    cause = rig.await_state(StationState.FAULT).cause
    assert cause is not None
    assert "no sign of life from inspect" in cause.text
    beats = rig.pulses.beats
    time.sleep(0.25)
    assert rig.pulses.beats == beats, "the heartbeat stops with the thread that hangs"
    refused = rig.trigger()
    assert rig.why(refused) == (VerdictKind.FAULT, "not ready")
    released.set()
    rig.await_state(StationState.RUNNING)
    passes(rig)


def test_a_result_that_comes_too_late_is_noted_and_changes_nothing(make_rig: MakeRig) -> None:
    rig = make_rig(deadline_ms=100.0, frame_ms=80.0, stall_ms=2000.0).run()

    def late() -> Answer:
        time.sleep(0.2)
        return Answer()

    number = rig.trigger(late)
    assert rig.why(number) == (VerdictKind.FAULT, "late")
    rig.until(lambda: any(event.kind == "late result" for event in rig.record(number).events))
    assert rig.why(number) == (VerdictKind.FAULT, "late")
    passes(rig)


@pytest.mark.parametrize(
    ("fault", "code"),
    [({"torn": True}, "bad frame"), ({"size_px": 16}, "bad frame"), ({"lost": True}, "no frame"), ({"empty": True}, "presence")],
)
def test_a_frame_that_shows_nothing_usable_faults_its_part_only(
    make_rig: MakeRig, shot: "type[Shot]", fault: dict[str, Any], code: str
) -> None:
    rig = make_rig(frame_ms=60.0)
    rig.presence = {"method": "silhouette", "threshold": 100, "min_area_px2": 200, "max_area_px2": 300}
    rig.run()
    first = rig.trigger()
    number = rig.trigger(shot=shot(**fault))
    assert rig.why(number) == (VerdictKind.FAULT, code)
    assert rig.why(first) == (VerdictKind.PASS, "")
    passes(rig)


def test_an_empty_belt_is_never_a_pass_and_the_record_says_what_was_seen(make_rig: MakeRig, shot: "type[Shot]") -> None:
    rig = make_rig()
    rig.presence = {"method": "silhouette", "threshold": 100, "min_area_px2": 200, "max_area_px2": 300}
    rig.run()
    number = rig.trigger(shot=shot(empty=True))
    assert rig.why(number) == (VerdictKind.FAULT, "presence")
    record = rig.record(number)
    assert record.presence.startswith("silhouette ")
    assert record.pixels_sha256 is not None
    assert "no part in the picture" in record.row.reasons[0]["text"]
    assert rig.judged == [], "the detector was not asked"


def test_a_frame_that_comes_after_its_time_is_not_given_to_another_part(make_rig: MakeRig, shot: "type[Shot]") -> None:
    rig = make_rig(frame_ms=50.0, deadline_ms=500.0).run()
    number = rig.trigger(Answer((Detection("defect", 0.9, Box(4, 4, 12, 12)),)), shot(delay_s=0.12))
    assert rig.why(number) == (VerdictKind.FAULT, "no frame")
    time.sleep(0.1)
    passes(rig)


def test_a_lost_camera_faults_parts_and_station_and_comes_back_by_itself_with_the_canary_first(
    make_rig: MakeRig, shot: "type[Shot]"
) -> None:
    rig = make_rig(frame_ms=300.0).run()
    passes(rig)
    number = rig.trigger(shot=shot(lost=True))
    rig.until(lambda: rig.status().balances.undecided == 1)
    rig.camera.dead = True
    cause = rig.await_state(StationState.FAULT).cause
    assert cause is not None
    assert "unplugged" in cause.text
    verdict, code = rig.why(number)
    assert verdict is VerdictKind.FAULT
    assert code in ("no frame", "not ready")
    meanwhile = rig.trigger()
    assert rig.why(meanwhile) == (VerdictKind.FAULT, "not ready")
    assert rig.proving.readies[-1] == (False, True)
    rig.camera.dead = False
    rig.await_state(StationState.RUNNING)
    passes(rig)
    said = [(event.kind, event.data) for event in rig.events()]
    back = max(i for i, (kind, data) in enumerate(said) if kind == "supplier" and data["name"] == "camera" and data["ok"])
    canary = max(i for i, (kind, _) in enumerate(said) if kind == "canary")
    running = max(i for i, (kind, data) in enumerate(said) if kind == "state" and data["to"] == "running")
    assert back < canary < running


def test_parts_faster_than_the_slots_are_faulted_as_overrun_and_the_line_comes_back(make_rig: MakeRig) -> None:
    rig = make_rig(slots=3, deadline_ms=300.0, frame_ms=200.0).run()
    slow = Answer(delay_s=0.08)
    numbers = [rig.trigger(slow) for _ in range(6)]
    codes = [rig.why(number)[1] for number in numbers]
    assert "overrun" in codes
    assert (False, False) in rig.proving.readies[2:], "READY dropped"
    if rig.await_state(StationState.RUNNING, StationState.HELD).state is StationState.HELD:
        rig.command("acknowledge")
    rig.await_state(StationState.RUNNING)
    passes(rig)


def test_frames_faster_than_inspect_are_faulted_as_overrun(make_rig: MakeRig) -> None:
    rig = make_rig(slots=16).run()
    numbers = [rig.trigger(Answer(delay_s=0.06)) for _ in range(9)]
    verdicts = [rig.why(number) for number in numbers]
    assert verdicts.count((VerdictKind.FAULT, "overrun")) >= 2
    assert verdicts[0] == (VerdictKind.PASS, "")
    assert {verdict for verdict, _ in verdicts} == {VerdictKind.PASS, VerdictKind.FAULT}
    passes(rig)


def test_a_trigger_that_the_camera_missed_faults_every_part_in_doubt_and_is_resynchronised(make_rig: MakeRig, shot: "type[Shot]") -> None:
    rig = make_rig(pairing_ms=12.0, frame_ms=300.0).run()
    first = rig.trigger()
    assert rig.why(first) == (VerdictKind.PASS, "")
    missed = rig.trigger(shot=shot(missed=True))
    time.sleep(0.05)
    # By count this frame shows the missed part, by the clock the next one.
    shifted = rig.trigger()
    assert rig.why(missed) == (VerdictKind.FAULT, "pairing")
    assert rig.why(shifted) == (VerdictKind.FAULT, "pairing")
    assert "resynchronise" in [event.kind for event in rig.events()]
    rig.await_state(StationState.RUNNING)
    time.sleep(0.05)
    passes(rig)
    assert rig.proving.readies[-2:] == [(False, False), (True, False)]


def test_pairing_that_is_lost_again_and_again_holds_the_line(make_rig: MakeRig, shot: "type[Shot]") -> None:
    rig = make_rig(pairing_ms=12.0, frame_ms=300.0).run()
    for _ in range(3):
        rig.await_state(StationState.RUNNING)
        assert rig.why(rig.trigger()) == (VerdictKind.PASS, "")
        rig.trigger(shot=shot(missed=True))
        time.sleep(0.05)
        assert rig.why(rig.trigger()) == (VerdictKind.FAULT, "pairing")
    cause = rig.await_state(StationState.HELD).cause
    assert cause is not None
    assert cause.code == "pairing"
    assert not rig.proving.readies[-1][0]
    rig.command("acknowledge")
    rig.await_state(StationState.RUNNING)
