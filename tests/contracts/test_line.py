"""What every driver of port Line does: the same suite for the in-process line and for Modbus TCP."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic, sleep

import pytest

from inspector.clock import now_ns
from inspector.errors import LineError
from inspector.line.direct import DirectLine
from inspector.line.modbus import ModbusLine
from inspector.ports import Disposed, Line, LineSnapshot
from inspector.sim.plc_logic import PlcLogic
from inspector.sim.plc_thread import HandPlc
from inspector.types import Disposition, FaultCode, PartId, VerdictKind

COUNTER_START = (1 << 32) - 3
RUN = 70_000


@dataclass
class Rig:
    """A driver and a way to move parts; leave() does nothing where a part leaves with its verdict."""

    line: Line
    trigger: Callable[[], int]
    leave: Callable[[int], object]
    again: Callable[[], Line]
    seen: list[LineSnapshot] = field(default_factory=list)

    def ready(self) -> None:
        self.line.open(RUN)
        self.line.beat()
        self.line.set_ready(True)

    def poll_until(self, enough: Callable[[], bool]) -> None:
        deadline = monotonic() + 3
        while not enough():
            assert monotonic() < deadline, self.seen
            self.seen.append(self.line.poll())
            sleep(0.001)

    @property
    def triggers(self) -> list[int]:
        return [trigger.sequence for snapshot in self.seen for trigger in snapshot.triggers]

    @property
    def acknowledged(self) -> list[tuple[PartId, VerdictKind]]:
        return [pair for snapshot in self.seen for pair in snapshot.acknowledged]

    @property
    def disposed(self) -> list[Disposed]:
        return [part for snapshot in self.seen for part in snapshot.disposed]


@pytest.fixture(params=["direct", "modbus"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if request.param == "direct":
        direct = DirectLine(counter_start=COUNTER_START)
        yield Rig(direct, direct.pulse, lambda _: None, lambda: direct)
        direct.close()
        return
    with HandPlc(PlcLogic(counter_start=COUNTER_START, epoch=7, clock_offset_us=123)) as plc:
        made: list[ModbusLine] = []

        def make() -> ModbusLine:
            made.append(ModbusLine("127.0.0.1", plc.port, timeout_s=1.0))
            return made[-1]

        yield Rig(make(), plc.trigger, plc.gate, make)
        for line in made:
            line.close()


def test_before_open_every_call_is_refused(rig: Rig) -> None:
    calls: list[Callable[[], object]] = [
        rig.line.poll,
        rig.line.beat,
        lambda: rig.line.set_ready(True),
        lambda: rig.line.send(PartId(1, 1), VerdictKind.PASS),
    ]
    for call in calls:
        with pytest.raises(LineError, match="open"):
            call()


def test_open_shows_counter_and_epoch_and_no_triggers(rig: Rig) -> None:
    opened = rig.line.open(RUN)
    assert (opened.counter, opened.triggers, opened.acknowledged, opened.disposed) == (COUNTER_START, (), (), ())
    assert opened.epoch != 0
    assert rig.line.poll() == LineSnapshot(COUNTER_START, opened.epoch)


def test_triggers_are_told_once_in_order_across_the_wrap(rig: Rig) -> None:
    rig.ready()
    before_ns = now_ns()
    sequences = [rig.trigger() for _ in range(6)]
    after_ns = now_ns()
    snapshot = rig.line.poll()
    assert sequences == [(COUNTER_START + i) % (1 << 32) for i in range(1, 7)]
    assert [trigger.sequence for trigger in snapshot.triggers] == sequences
    assert snapshot.counter == sequences[-1]
    assert snapshot.in_transit == 6
    # The PLC's clock counts whole µs and is mapped within half a round trip; 5 ms is far more than both on loopback.
    assert all(before_ns - 5_000_000 <= trigger.triggered_ns <= after_ns + 5_000_000 for trigger in snapshot.triggers)
    assert rig.line.poll().triggers == ()


@pytest.mark.parametrize(
    ("verdict", "fault", "understood", "lane"),
    [
        (VerdictKind.PASS, None, VerdictKind.PASS, Disposition.GOOD_LANE),
        (VerdictKind.REJECT, None, VerdictKind.REJECT, Disposition.REJECT_CONFIRMED),
        (VerdictKind.FAULT, FaultCode.LATE, VerdictKind.REJECT, Disposition.REJECT_CONFIRMED),
        (VerdictKind.FAULT, None, VerdictKind.REJECT, Disposition.REJECT_CONFIRMED),
    ],
)
def test_a_verdict_is_echoed_and_obeyed(
    rig: Rig, verdict: VerdictKind, fault: FaultCode | None, understood: VerdictKind, lane: Disposition
) -> None:
    rig.ready()
    part = PartId(RUN, rig.trigger())
    rig.line.send(part, verdict, fault)
    rig.poll_until(lambda: bool(rig.acknowledged))
    rig.leave(part.sequence)
    rig.poll_until(lambda: bool(rig.disposed))
    rig.seen.append(rig.line.poll())
    assert rig.triggers == [part.sequence]
    assert rig.acknowledged == [(part, understood)]
    assert rig.disposed == [Disposed(part, lane, understood)]
    assert rig.seen[-1].in_transit == 0


@pytest.mark.parametrize("wrong", [PartId(RUN - 1, 0), PartId(RUN, -1)])
def test_a_pass_for_another_part_opens_nothing(rig: Rig, wrong: PartId) -> None:
    rig.ready()
    part = PartId(RUN, rig.trigger())
    rig.line.send(PartId(wrong.run, part.sequence + wrong.sequence), VerdictKind.PASS)
    rig.line.send(part, VerdictKind.REJECT)
    rig.leave(part.sequence)
    rig.poll_until(lambda: bool(rig.disposed))
    assert rig.acknowledged == [(part, VerdictKind.REJECT)]
    assert rig.disposed == [Disposed(part, Disposition.REJECT_CONFIRMED, VerdictKind.REJECT)]


def test_a_part_met_with_ready_low_is_counted_and_rejected_whatever_is_sent(rig: Rig) -> None:
    rig.ready()
    rig.line.set_ready(False)
    part = PartId(RUN, rig.trigger())
    rig.line.set_ready(True)
    rig.line.send(part, VerdictKind.PASS)
    rig.leave(part.sequence)
    rig.poll_until(lambda: bool(rig.disposed))
    assert rig.triggers == [part.sequence]
    assert rig.acknowledged == []
    assert rig.disposed == [Disposed(part, Disposition.REJECT_CONFIRMED, None)]


def test_fault_said_takes_ready_away(rig: Rig) -> None:
    rig.ready()
    rig.line.set_ready(True, fault=True)
    part = PartId(RUN, rig.trigger())
    rig.line.send(part, VerdictKind.PASS)
    rig.leave(part.sequence)
    rig.poll_until(lambda: bool(rig.disposed))
    assert rig.disposed == [Disposed(part, Disposition.REJECT_CONFIRMED, None)]


def test_a_pass_cannot_carry_a_fault(rig: Rig) -> None:
    rig.ready()
    with pytest.raises(LineError, match="PASS cannot carry"):
        rig.line.send(PartId(RUN, rig.trigger()), VerdictKind.PASS, FaultCode.LATE)


def test_after_a_restart_the_ring_tells_what_became_of_the_parts_before(rig: Rig) -> None:
    rig.ready()
    first, second = rig.trigger(), rig.trigger()
    rig.line.send(PartId(RUN, first), VerdictKind.PASS)
    rig.leave(first)
    rig.line.close()
    rig.leave(second)
    line = rig.again()
    opened = line.open(RUN + 1)
    assert opened.triggers == ()
    assert opened.in_transit == 0
    assert [(part.part, part.disposition) for part in opened.disposed] == [
        (PartId(RUN, first), Disposition.GOOD_LANE),
        (PartId(RUN, second), Disposition.REJECT_CONFIRMED),
    ]
    assert line.poll().disposed == ()


def test_opening_and_closing_drop_ready(rig: Rig) -> None:
    rig.ready()
    rig.line.close()
    rig.line.close()
    line = rig.again()
    line.open(RUN)
    part = PartId(RUN, rig.trigger())
    line.send(part, VerdictKind.PASS)
    rig.leave(part.sequence)
    disposed = line.poll().disposed
    assert [entry.disposition for entry in disposed] == [Disposition.REJECT_CONFIRMED]
    assert [entry.accepted for entry in disposed] == [None]


def test_a_part_is_echoed_once_however_often_it_is_sent(rig: Rig) -> None:
    rig.ready()
    part = PartId(RUN, rig.trigger())
    for _ in range(3):
        rig.line.send(part, VerdictKind.REJECT)
        rig.seen.append(rig.line.poll())
    rig.leave(part.sequence)
    rig.line.send(part, VerdictKind.PASS)
    rig.poll_until(lambda: bool(rig.disposed))
    assert rig.acknowledged == [(part, VerdictKind.REJECT)]
    assert [entry.disposition for entry in rig.disposed] == [Disposition.REJECT_CONFIRMED]
