"""What the station does where two things go wrong at once: holds, changeovers, faults in the midst of a part, and slots."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from inspector.detect.scripted import Answer
from inspector.errors import CommandRefused
from inspector.line.direct import DirectLine
from inspector.ports import Disposed, LineSnapshot
from inspector.station import StopRules
from inspector.types import Disposition, PartId, StationState, Status, VerdictKind

if TYPE_CHECKING:
    from tests.station.conftest import Rig

MakeRig = Callable[..., "Rig"]
PASS, REJECT, FAULT = VerdictKind.PASS, VerdictKind.REJECT, VerdictKind.FAULT


def put_on(make_rig: MakeRig, line: DirectLine, **settings: Any) -> "Rig":
    """A station on this line, whose pulses trigger its camera."""
    rig = make_rig(line=line, **settings)
    rig.pulses = line
    line._on_pulse = rig.camera.expose
    return rig


def late(seen: Answer) -> Answer:
    """The same answer, long enough after the trigger for another part to come in between."""
    return replace(seen, delay_s=0.1)


def held_by(rig: "Rig", *texts: str) -> Status:
    """Wait until the line is held by a cause that says all of this."""
    rig.await_state(StationState.HELD)
    rig.until(lambda: all(text in cause_of(rig) for text in texts), lambda: f"{texts} in {cause_of(rig)}")
    assert not rig.proving.readies[-1][0]
    return rig.status()


def cause_of(rig: "Rig") -> str:
    cause = rig.status().cause
    return f"{cause.text} → {cause.next_step}" if cause is not None else ""


def sent(rig: "Rig", number: int) -> list[VerdictKind]:
    return [verdict for part, verdict, _ in rig.proving.sent if part.sequence == number]


def reason(rig: "Rig", number: int) -> str:
    """The text of the verdict's first reason."""
    return next(part.verdict.reasons[0].text for part in rig.decided if part.part.sequence == number)


# -- a part in the wrong lane


class GateLine(DirectLine):
    """A line whose parts reach the gate when the test says so; the gate stands open."""

    def leave(self, sequence: int) -> None:
        with self._lock:
            run, _ = self._belt.pop(sequence)
            self._disposed.append(Disposed(PartId(run, sequence), Disposition.GOOD_LANE, None))


def test_each_rejected_part_in_the_good_lane_is_named(make_rig: MakeRig, seen: Answer) -> None:
    """The operator takes out what the screen names: the second part may not hide behind the first."""
    rig = make_rig().run()
    rig.proving.gate_stuck = True
    numbers = [rig.trigger(late(seen)), rig.trigger(late(seen))]
    names = [f"part {rig.station.run}-{number} is a REJECT and went to the good lane" for number in numbers]
    steps = [f"take part {rig.station.run}-{number} out" for number in numbers]
    held_by(rig, *names, *steps)
    rig.proving.gate_stuck = False
    rig.command("acknowledge")
    assert rig.await_state(StationState.RUNNING).cause is None


def test_a_part_in_the_wrong_lane_holds_a_stopped_line(make_rig: MakeRig) -> None:
    """Whoever starts the line next has to hear of it."""
    line = GateLine()
    rig = put_on(make_rig, line).run()
    rig.command("stop")
    number = rig.trigger()
    assert rig.why(number) == (FAULT, "not ready")
    line.leave(number)
    held_by(rig, f"part {rig.station.run}-{number} is a FAULT and went to the good lane")
    with pytest.raises(CommandRefused, match="acknowledge"):
        rig.command("start")


def test_a_line_that_is_held_already_is_held_by_the_wrong_lane_too(make_rig: MakeRig, seen: Answer) -> None:
    """Otherwise the one who acknowledges "1 rejects in a row" starts the line with a bad part in the good lane."""
    rig = make_rig(stops=StopRules(rejects_in_row=1)).run()
    rig.proving.gate_stuck = True
    rig.trigger(seen)
    held_by(rig, "1 rejects in a row", "went to the good lane", "find the cause upstream", "out of the good lane")


def test_what_the_screen_cannot_hold_is_in_the_records(make_rig: MakeRig) -> None:
    line = GateLine()
    rig = put_on(make_rig, line).run()
    rig.command("stop")
    numbers = [rig.trigger() for _ in range(20)]
    rig.await_decided(len(numbers))
    for number in numbers:
        line.leave(number)
    names = {f"part {rig.station.run}-{number} is" for number in numbers}
    cause = held_by(rig, "and more, see the records").cause
    assert cause is not None
    assert len(cause.text) < 700
    recorded = [str(event.data.get("cause", event.data.get("text"))) for event in rig.events() if event.kind in ("state", "stop cause")]
    assert {name for name in names if any(name in text for text in recorded)} == names


# -- a changeover


def test_no_release_is_activated_while_a_part_is_undecided(make_rig: MakeRig) -> None:
    """It would be judged by the one release and recorded under the other."""
    rig = make_rig().run()
    number = rig.trigger(Answer(delay_s=0.3))
    rig.until(lambda: rig.judged == [number])
    rig.command("pause")
    before = rig.status().release
    with pytest.raises(CommandRefused, match="1 parts are still being judged"):
        rig.command("activate", name="other")
    assert rig.why(number) == (PASS, "")
    assert rig.record(number).row.release == before == rig.status().release
    rig.command("activate", name="other")
    rig.until(lambda: rig.status().recipe == "other")


@pytest.mark.parametrize("answer", [Answer(), "seen"])
def test_what_another_release_says_of_a_part_is_no_verdict(make_rig: MakeRig, seen: Answer, answer: Answer | str) -> None:
    rig = make_rig().run()
    first = rig.trigger(Answer(delay_s=0.4))
    rig.until(lambda: rig.judged == [first])
    rig.station._inspect.load(rig.prepare({"name": "other"}))  # past the guard of `activate`
    second = rig.trigger(seen if answer == "seen" else Answer())
    assert rig.why(first) == (PASS, "")
    assert rig.why(second) == (FAULT, "internal")
    assert "release was changed" in reason(rig, second)
    assert sent(rig, second) == [FAULT]
    third = rig.trigger()
    assert rig.why(third) == (PASS, "")
    assert rig.record(third).row.release != rig.record(first).row.release


# -- a station that cannot vouch for parts


def test_no_part_is_passed_after_the_canary_was_missed(make_rig: MakeRig) -> None:
    """The part's frame waits behind the canary, and would be found clean by a detector that has just failed to see a defect."""
    began = threading.Event()

    def blind() -> Answer:
        began.set()
        return Answer(delay_s=0.2)

    rig = make_rig(canary_idle_s=0.2, reconnect_s=1.0).run()
    rig.canary = blind
    assert began.wait(4)
    number = rig.trigger()
    assert rig.why(number) == (FAULT, "not ready")
    assert "canary" in reason(rig, number)
    rig.until(lambda: rig.judged == [number])
    assert any(event.kind == "late result" for event in settled_events(rig, number))
    assert sent(rig, number) == [FAULT]


def test_no_part_is_passed_after_a_thread_stalled(make_rig: MakeRig) -> None:
    """Whatever the detector says once it goes on: nobody knows what it did meanwhile."""
    released = threading.Event()

    def blocks() -> Answer:
        released.wait(10)
        return Answer()

    rig = make_rig(deadline_ms=None, frame_ms=5000.0, detector_ms=5000.0, stall_ms=150.0, reconnect_s=0.5).run()
    hangs = rig.trigger(blocks)
    waits = rig.trigger()
    try:
        assert "no sign of life from inspect" in cause_of_state(rig, StationState.FAULT)
        rig.await_decided(2)
    finally:
        released.set()
    assert [rig.why(number) for number in (hangs, waits)] == [(FAULT, "not ready")] * 2
    rig.await_state(StationState.RUNNING)
    assert [sent(rig, number) for number in (hangs, waits)] == [[FAULT], [FAULT]]
    assert rig.why(rig.trigger()) == (PASS, "")


def cause_of_state(rig: "Rig", state: StationState) -> str:
    cause = rig.await_state(state).cause
    return cause.text if cause is not None else ""


def settled_events(rig: "Rig", number: int) -> list[Any]:
    """What is recorded of the part once its late result is there."""
    rig.until(lambda: any(event.kind == "late result" for event in rig.record(number).events))
    return list(rig.record(number).events)


# -- slots


class NarrowLine(DirectLine):
    """A PLC with two result slots."""

    def open(self, run: int) -> LineSnapshot:
        return replace(super().open(run), slots=2)


def test_the_slots_of_the_plc_bound_the_open_parts_and_the_others_keep_their_verdicts(make_rig: MakeRig, seen: Answer) -> None:
    """A third result would be written over one that the PLC may not have taken yet."""
    rig = put_on(make_rig, NarrowLine(), slots=16).run()
    good, bad, over = rig.trigger(Answer(delay_s=0.1)), rig.trigger(late(seen)), rig.trigger(Answer(delay_s=0.1))
    assert rig.why(over) == (FAULT, "overrun")
    cause = held_by(rig, f"part {over} came while 2 were undecided", "slow the line down").cause
    assert cause is not None
    assert cause.code == "overrun"
    assert rig.why(good) == (PASS, "")
    assert rig.why(bad) == (REJECT, "defect")
    rig.command("acknowledge")
    rig.await_state(StationState.RUNNING)
    assert rig.why(rig.trigger()) == (PASS, "")


def test_a_station_with_fewer_slots_than_the_plc_keeps_to_its_own(make_rig: MakeRig) -> None:
    rig = put_on(make_rig, NarrowLine(), slots=1).run()
    first, second = rig.trigger(Answer(delay_s=0.1)), rig.trigger()
    assert rig.why(second) == (FAULT, "overrun")
    assert rig.why(first) == (PASS, "")
    held_by(rig, "while 1 were undecided")
