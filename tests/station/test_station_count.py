"""The count of the line is the authority: it is never lost, whatever the line does with it, and never believed when it cannot be true."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from inspector.detect.scripted import Answer
from inspector.line.direct import DirectLine
from inspector.ports import LineSnapshot
from inspector.types import StationState, VerdictKind

if TYPE_CHECKING:
    from tests.station.conftest import Rig

MakeRig = Callable[..., "Rig"]


class TamperedLine(DirectLine):
    """A line whose count may be off by `shift` from one opening to the next."""

    shift = 0

    def open(self, run: int) -> LineSnapshot:
        snapshot = super().open(run)
        return LineSnapshot(snapshot.counter + self.shift, snapshot.epoch, (), (), snapshot.disposed, snapshot.in_transit)


def cut_and_mend(rig: "Rig") -> None:
    rig.proving.cut = True
    rig.await_state(StationState.FAULT)
    rig.proving.cut = False


def await_refusal(rig: "Rig") -> str:
    """What the station says of a line that it does not believe, once it has opened it and given it up again."""

    def said() -> str:
        return next(health.text for health in rig.status().health if health.name == "plc" and not health.ok)

    rig.await_state(StationState.FAULT)
    rig.until(lambda: "cable is cut" not in said(), said)
    return said()


def test_parts_counted_while_the_line_could_not_be_reached_are_faulted(make_rig: MakeRig) -> None:
    rig = make_rig().run()
    rig.why(rig.trigger())
    rig.proving.cut = True
    rig.await_state(StationState.FAULT)
    numbers = [rig.trigger() for _ in range(3)]
    rig.proving.cut = False
    assert [rig.why(number) for number in numbers] == [(VerdictKind.FAULT, "not ready")] * 3
    rig.await_state(StationState.RUNNING)
    assert rig.why(rig.trigger()) == (VerdictKind.PASS, "")
    assert rig.await_state(StationState.RUNNING).balances.triggers == 5


def test_a_part_that_was_open_when_the_line_was_lost_is_a_fault_and_its_late_pass_is_not_sent(make_rig: MakeRig) -> None:
    rig = make_rig().run()
    number = rig.trigger(Answer(delay_s=0.2))
    rig.until(lambda: rig.judged == [number])
    cut_and_mend(rig)
    rig.await_state(StationState.RUNNING)
    assert rig.why(number) == (VerdictKind.FAULT, "not acknowledged")
    assert not any(part.sequence == number and verdict is VerdictKind.PASS for part, verdict, _ in rig.proving.sent)


def test_a_part_under_inspection_when_the_camera_counts_anew_gets_its_verdict_without_a_deadline(make_rig: MakeRig) -> None:
    """Its result belongs to the count before and is dropped: somebody has to decide it all the same."""
    rig = make_rig(deadline_ms=None).run()
    number = rig.trigger(Answer(delay_s=0.5))
    rig.until(lambda: rig.judged == [number])
    rig.camera.dead = True
    rig.await_state(StationState.FAULT)
    rig.camera.dead = False
    rig.await_state(StationState.RUNNING)
    assert rig.why(number)[0] is VerdictKind.FAULT
    assert rig.why(rig.trigger()) == (VerdictKind.PASS, "")


def test_a_line_whose_count_went_back_is_not_believed(make_rig: MakeRig) -> None:
    """The names of its next parts would be those of parts that have their verdicts."""
    line = TamperedLine()
    rig = make_rig(line=line)
    rig.pulses = line
    line._on_pulse = rig.camera.expose
    rig.run()
    for _ in range(3):
        rig.why(rig.trigger())
    line.shift = -2
    cut_and_mend(rig)
    assert "count" in await_refusal(rig)
    assert rig.status().balances.triggers == 3
    line.shift = 0
    rig.await_state(StationState.RUNNING)
    assert rig.why(rig.trigger()) == (VerdictKind.PASS, "")


def test_a_line_whose_count_jumped_ahead_is_not_believed(make_rig: MakeRig) -> None:
    """Millions of parts within one outage are no count but a mistake, and recording them would take an hour."""
    line = TamperedLine()
    rig = make_rig(line=line)
    rig.pulses = line
    line._on_pulse = rig.camera.expose
    rig.run()
    rig.why(rig.trigger())
    line.shift = 50_000_000
    cut_and_mend(rig)
    assert "count" in await_refusal(rig)
    assert rig.status().balances.triggers == 1
    line.shift = 0
    rig.await_state(StationState.RUNNING)
    assert rig.why(rig.trigger()) == (VerdictKind.PASS, "")


def test_a_count_that_wraps_asks_for_a_new_run_and_loses_no_part(make_rig: MakeRig) -> None:
    """32 bit last 13 years at 600 parts/min, unless the PLC began high."""
    line = DirectLine(counter_start=(1 << 32) - 3)
    rig = make_rig(line=line)
    rig.pulses = line
    rig.run()
    line.pulse()
    line.pulse()
    rig.await_decided(2)
    line.pulse()
    assert "new run" in await_refusal(rig)
    assert all(part.part.sequence < 1 << 32 for part in rig.decided)
    assert all(part.verdict.kind is VerdictKind.FAULT for part in rig.decided[2:])
