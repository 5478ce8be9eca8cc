"""What a crash, an outage or a full disk left open is closed by the next look: from the archive, the line's count and its ring."""

import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inspector.detect.scripted import Answer
from inspector.line.direct import DirectLine
from inspector.ports import Disposed, LineSnapshot
from inspector.trace import EvidencePolicy, PartRecord, SqliteArchive, open_reader, verify
from inspector.types import Disposition, FaultCode, PartId, StationState, VerdictKind

if TYPE_CHECKING:
    from tests.station.conftest import Rig

MakeRig = Callable[..., "Rig"]
PASS, REJECT, FAULT = VerdictKind.PASS, VerdictKind.REJECT, VerdictKind.FAULT


class BeltLine(DirectLine):
    """A line that may keep to itself what became of its parts, and whose ring may be wrong.

    deaf      a PASS is lost on its way to the PLC
    mute      nothing is acknowledged
    far       the gate is far away: no disposition is told
    ring      what the PLC's ring holds at the next opening, if not what it should
    later     what the next poll tells of parts of another run
    """

    def __init__(self) -> None:
        super().__init__()
        self.deaf = self.mute = self.far = False
        self.ring: tuple[Disposed, ...] | None = None
        self.later: tuple[Disposed, ...] = ()

    def open(self, run: int) -> LineSnapshot:
        snapshot = super().open(run)
        return snapshot if self.ring is None else replace(snapshot, disposed=self.ring)

    def poll(self) -> LineSnapshot:
        later, self.later = self.later, ()
        snapshot = super().poll()
        acknowledged = () if self.mute else snapshot.acknowledged
        return replace(snapshot, acknowledged=acknowledged, disposed=later if self.far else snapshot.disposed + later)

    def send(self, part: PartId, verdict: VerdictKind, fault: FaultCode | None = None) -> None:
        if not (self.deaf and verdict is PASS):
            super().send(part, verdict, fault)


def put_on(make_rig: MakeRig, line: DirectLine, **settings: object) -> "Rig":
    """A station on this line, whose pulses trigger its camera."""
    rig = make_rig(line=line, **settings)
    rig.pulses, line._on_pulse = line, rig.camera.expose
    return rig


def sent_pass(rig: "Rig", number: int) -> None:
    rig.until(lambda: any(part.sequence == number and verdict is PASS for part, verdict, _ in rig.proving.sent))


def cut_off(rig: "Rig", line: DirectLine, to: Path) -> Path:
    """What the disk would hold had the power gone at this moment; the station itself ends without another word to the line."""
    time.sleep(0.1)  # events linger for company
    folder = Path(shutil.copytree(rig.folder, to))
    rig.proving.cut = True
    rig.station.stop()
    line._on_pulse = None
    return folder


def part_of(folder: Path, run: int, sequence: int) -> PartRecord | None:
    with open_reader(folder) as reader:
        return reader.part(run, sequence)


def disposition_of(folder: Path, run: int, sequence: int) -> Disposition | None:
    record = part_of(folder, run, sequence)
    return record.row.disposition if record is not None else None


def sequences(folder: Path, run: int) -> list[int]:
    with open_reader(folder) as reader:
        return sorted(row.part.sequence for row in reader.parts(run, limit=100_000))


# -- a crash between a PASS and its acknowledgement


def test_a_pass_that_the_plc_never_took_is_overruled_after_a_crash(make_rig: MakeRig, tmp_path: Path) -> None:
    line = BeltLine()
    first = put_on(make_rig, line).run()
    line.deaf = True
    number = first.trigger()
    sent_pass(first, number)
    run, folder = first.station.run, cut_off(first, line, tmp_path / "crashed")
    line.deaf = False
    second = put_on(make_rig, line, folder=folder).run()
    record = part_of(folder, run, number)
    assert record is not None
    assert (record.row.judged, record.row.verdict, record.row.overruled) == (
        PASS,
        FAULT,
        "interrupted: cut off before the PLC took its PASS",
    )
    assert record.row.disposition is Disposition.REJECT_CONFIRMED
    second.pulsed = number
    assert second.why(second.trigger()) == (PASS, "")
    assert verify(folder).ok


def test_a_pass_that_the_plc_took_stands_though_the_crash_cut_its_acknowledgement_off(make_rig: MakeRig, tmp_path: Path) -> None:
    line = BeltLine()
    first = put_on(make_rig, line).run()
    line.mute = line.far = True
    number = first.trigger()
    sent_pass(first, number)
    run, folder = first.station.run, cut_off(first, line, tmp_path / "crashed")
    line.mute = line.far = False
    put_on(make_rig, line, folder=folder).run()
    record = part_of(folder, run, number)
    assert record is not None
    assert (record.row.verdict, record.row.overruled, record.row.disposition) == (PASS, None, Disposition.GOOD_LANE)


@pytest.mark.parametrize("known", [False, True])
def test_a_part_that_no_pass_let_into_the_good_lane_holds_the_next_start(
    make_rig: MakeRig, tmp_path: Path, seen: Answer, known: bool
) -> None:
    """Rejected before the crash, or counted after it: READY does not rise before somebody has taken the part out."""
    line = BeltLine()
    first = put_on(make_rig, line).run()
    line.mute = line.far = True
    number = first.trigger(seen)
    first.await_decided(1)
    run, folder = first.station.run, cut_off(first, line, tmp_path / "crashed")
    line.mute = line.far = False
    if not known:
        number = line.pulse()
    line.ring = (Disposed(PartId(run, number), Disposition.GOOD_LANE, None),)
    second = put_on(make_rig, line, folder=folder)
    second.station.start()
    second.try_command("start")
    cause = second.await_state(StationState.HELD).cause
    assert cause is not None
    assert cause.code == "wrong lane"
    assert f"part {run}-{number} of the run before is in the good lane" in cause.text
    assert not any(ready for ready, _ in second.proving.readies)
    second.command("acknowledge")
    second.await_state(StationState.RUNNING)
    record = part_of(folder, run, number)
    assert record is not None
    assert record.row.disposition is Disposition.GOOD_LANE
    assert record.row.verdict is (REJECT if known else FAULT)


@pytest.mark.parametrize("acknowledged", [True, False])
def test_a_part_that_was_on_the_belt_at_the_restart_has_its_end_recorded(make_rig: MakeRig, tmp_path: Path, acknowledged: bool) -> None:
    """Passed before the crash, at the gate after it. Where the PASS was overruled meanwhile, somebody has to take the part out."""
    line = BeltLine()
    first = put_on(make_rig, line).run()
    assert first.why(first.trigger()) == (PASS, "")
    line.mute, line.far = not acknowledged, True
    number = first.trigger()
    sent_pass(first, number)
    if acknowledged:
        first.await_decided(2)
    run, folder = first.station.run, cut_off(first, line, tmp_path / "crashed")
    line.mute, line.far, line.ring = False, False, ()
    second = put_on(make_rig, line, folder=folder).run()
    line.later = (Disposed(PartId(run, number), Disposition.GOOD_LANE, PASS),)
    second.until(lambda: disposition_of(folder, run, number) is Disposition.GOOD_LANE)
    if acknowledged:
        time.sleep(0.1)
        assert second.status().state is StationState.RUNNING
    else:
        cause = second.await_state(StationState.HELD).cause
        assert cause is not None
        assert f"part {run}-{number} of the run before is in the good lane" in cause.text


def plc(rig: "Rig") -> str:
    health = next(health for health in rig.status().health if health.name == "plc")
    return "" if health.ok else health.text


# -- recovery that is cut off itself


def test_a_start_during_recovery_loses_no_part_once_ready_is_up(make_rig: MakeRig) -> None:
    """The camera was armed before anybody knew where the line's count stands."""
    line = BeltLine()
    first = put_on(make_rig, line).run()
    assert first.why(first.trigger()) == (PASS, "")
    first.station.stop()
    line._on_pulse = None
    down = [line.pulse() for _ in range(600)]
    archive = SqliteArchive(first.folder, slots=4, evidence=EvidencePolicy(rejects=False))
    second = put_on(make_rig, line, folder=first.folder, archive=archive).run()
    second.until(lambda: sequences(second.folder, first.station.run) == [1, *down])  # else its row finds no slot
    second.pulsed = down[-1]
    assert second.why(second.trigger()) == (PASS, "")


def test_a_line_that_is_lost_in_the_midst_of_recovery_costs_and_doubles_no_row(make_rig: MakeRig) -> None:
    line = BeltLine()
    first = put_on(make_rig, line).run()
    assert first.why(first.trigger()) == (PASS, "")
    first.station.stop()
    run, line._on_pulse = first.station.run, None
    down = [line.pulse() for _ in range(600)]
    archive = SqliteArchive(first.folder, slots=4, evidence=EvidencePolicy(rejects=False))
    second = put_on(make_rig, line, folder=first.folder, archive=archive, beat_ms=5.0)
    second.station.start()
    second.command("start")
    second.until(lambda: len(sequences(second.folder, run)) > 100)
    second.proving.cut = True
    second.until(lambda: "cable is cut" in plc(second))
    assert len(sequences(second.folder, run)) < 600, "it was in the midst"
    meanwhile = [line.pulse() for _ in range(5)]
    second.proving.cut = False
    second.await_state(StationState.RUNNING)
    second.until(lambda: sequences(second.folder, run) == [1, *down])  # else a PASS finds no slot for its row
    second.pulsed = meanwhile[-1]
    assert second.why(second.trigger()) == (PASS, "")
    with open_reader(second.folder) as reader:
        rows = reader.parts(limit=100_000)
        refused = [event for event in reader.station_events(second.station.run) if event.kind == "row refused"]
    assert refused == []
    assert Counter(row.part.sequence for row in rows) == Counter([1, *down, *meanwhile, meanwhile[-1] + 1])
    assert {row.verdict for row in rows if row.part.sequence in {*down, *meanwhile}} == {FAULT}
    # In the name under which the line tracks them: it had been told of the new run when it counted these.
    assert {row.part.run for row in rows if row.part.sequence in meanwhile} == {second.station.run}
    second.until(lambda: second.status().balances.triggers == len(meanwhile) + 1)
    assert verify(second.folder).ok


def test_a_plc_that_restarts_in_the_midst_of_recovery_doubles_no_row(make_rig: MakeRig) -> None:
    line = BeltLine()
    first = put_on(make_rig, line).run()
    assert first.why(first.trigger()) == (PASS, "")
    first.station.stop()
    run, line._on_pulse = first.station.run, None
    down = [line.pulse() for _ in range(600)]
    archive = SqliteArchive(first.folder, slots=4, evidence=EvidencePolicy(rejects=False))
    second = put_on(make_rig, line, folder=first.folder, archive=archive, beat_ms=5.0)
    second.station.start()
    second.command("start")
    second.until(lambda: len(sequences(second.folder, run)) > 100)
    second.proving.cut = True
    second.until(lambda: "cable is cut" in plc(second))
    line._epoch, line._counter, line.ring = line._epoch + 1, 0, ()
    second.proving.cut = False
    second.await_state(StationState.RUNNING)
    second.until(lambda: sequences(second.folder, run) == [1, *down])
    second.pulsed = 0
    assert second.why(second.trigger()) == (PASS, "")
    kinds = [event.kind for event in second.events()]
    assert "row refused" not in kinds
    assert kinds.count("line restarted") == 1
    assert sequences(second.folder, run) == [1, *down]
    assert sequences(second.folder, second.station.run) == [1]
    assert verify(second.folder).ok
