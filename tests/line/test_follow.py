"""Following a PLC's registers: every trigger and every disposition is told once, whatever happens between two polls."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.errors import LineError
from inspector.line import registers as r
from inspector.line.follow import JUMP_MAX, Follower
from inspector.ports import LineSnapshot
from inspector.sim.plc_logic import PlcLogic
from inspector.types import Disposition, PartId, VerdictKind

MS = 1_000_000
WRAP = 1 << 32


class Bench:
    """A PLC and a follower with no network between them, on a clock that moves 1 ms at each step."""

    def __init__(self, logic: PlcLogic, run: int = 5) -> None:
        self.logic, self.run, self.now_ns = logic, run, 10**12
        self.follower = Follower()
        self.beats = 0
        self.log: dict[int, int] = {}

    def tick(self) -> int:
        self.now_ns += MS
        return self.now_ns

    def ready(self) -> None:
        self.beats += 1
        self.logic.write(r.CONTROL, [1, 0, self.beats, self.run & 0xFFFF], self.tick())

    def trigger(self) -> int:
        sequence = self.logic.trigger(0, self.tick()).sequence
        self.log[sequence] = self.now_ns
        return sequence

    def send(self, sequence: int, verdict: VerdictKind) -> None:
        self.logic.write(r.slot_address(sequence, 16), r.pack_slot(self.run, sequence, verdict), self.tick())

    def status(self) -> r.PlcStatus:
        return r.unpack_status(self.logic.read(r.STATUS, r.STATUS_SIZE, self.tick()))

    def entries(self, wanted: range) -> list[r.DispositionEntry]:
        return [r.unpack_disposition(self.logic.read(r.disposition_address(n), r.DISPOSITION_SIZE, self.now_ns)) for n in wanted]

    def open(self, run: int) -> LineSnapshot:
        self.run = run
        status = self.status()
        entries = self.entries(self.follower.wanted(status, everything=True))
        return self.follower.begin(run, status, entries, self.now_ns, self.now_ns)

    def poll(self) -> LineSnapshot:
        status = self.status()
        return self.follower.follow(status, self.entries(self.follower.wanted(status)), self.now_ns, self.now_ns)


@given(
    start=st.sampled_from([0, 65_530, WRAP - 5]),
    rounds=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=12),
)
@settings(max_examples=60)
def test_every_trigger_and_disposition_is_told_exactly_once(start: int, rounds: list[tuple[int, int]]) -> None:
    bench = Bench(PlcLogic(counter_start=start, clock_offset_us=WRAP - 500))
    bench.open(5)
    bench.ready()
    told: list[int] = []
    disposed: list[PartId] = []
    for triggered, left in rounds:
        for _ in range(triggered):
            bench.trigger()
        on_belt = list(bench.logic.tracked)[:left]
        for sequence in on_belt:
            bench.logic.gate(sequence)
        snapshot = bench.poll()
        told += [trigger.sequence for trigger in snapshot.triggers]
        disposed += [part.part for part in snapshot.disposed]
        assert snapshot.in_transit == len(bench.logic.tracked)
        in_ring = snapshot.triggers[-8:]
        assert all(abs(trigger.triggered_ns - bench.log[trigger.sequence]) <= 2000 for trigger in in_ring)
        assert all(trigger.triggered_ns == bench.now_ns for trigger in snapshot.triggers[:-8])
    count = sum(triggered for triggered, _ in rounds)
    assert told == [(start + i) % WRAP for i in range(1, count + 1)]
    left_in_all = count - len(bench.logic.tracked)
    assert disposed == [PartId(5, sequence) for sequence in told[:left_in_all]]


def test_overwritten_dispositions_are_unknown_and_the_rest_is_known() -> None:
    bench = Bench(PlcLogic())
    bench.open(5)
    parts = [bench.trigger() for _ in range(100)]
    bench.poll()
    for sequence in parts[:90]:
        bench.logic.gate(sequence)
    disposed = bench.poll().disposed
    lanes = {part.part.sequence: part.disposition for part in disposed}
    assert sorted(lanes) == parts[:90]
    assert [lanes[sequence] for sequence in parts[:26]] == [Disposition.UNKNOWN] * 26
    assert {lanes[sequence] for sequence in parts[26:90]} == {Disposition.REJECT_CONFIRMED}
    assert bench.poll().disposed == ()


def test_overwritten_dispositions_of_parts_from_before_blame_nobody() -> None:
    bench = Bench(PlcLogic())
    before = [bench.trigger() for _ in range(80)]
    bench.open(5)
    after = [bench.trigger() for _ in range(3)]
    bench.poll()
    for sequence in before:
        bench.logic.gate(sequence)
    assert [part.part.sequence for part in bench.poll().disposed] == before[16:]
    for sequence in after:
        bench.logic.gate(sequence)
    assert [part.part.sequence for part in bench.poll().disposed] == after


def test_entries_overwritten_while_reading_are_not_taken_for_others() -> None:
    bench = Bench(PlcLogic())
    bench.open(5)
    parts = [bench.trigger() for _ in range(70)]
    bench.poll()
    bench.logic.gate(parts[0])
    status = bench.status()
    for sequence in parts[1:65]:
        bench.logic.gate(sequence)
    wanted = bench.follower.wanted(status)
    snapshot = bench.follower.follow(status, bench.entries(wanted), bench.now_ns, bench.now_ns)
    assert [(part.part.sequence, part.disposition) for part in snapshot.disposed] == [(1, Disposition.UNKNOWN)]
    assert [part.part.sequence for part in bench.poll().disposed] == parts[1:65]


def test_open_tells_the_ring_of_earlier_runs_with_their_numbers() -> None:
    bench = Bench(PlcLogic(), run=65_535)
    bench.open(65_535)
    bench.ready()
    sequence = bench.trigger()
    bench.send(sequence, VerdictKind.PASS)
    bench.logic.gate(sequence)
    bench.follower = Follower()
    snapshot = bench.open(65_537)
    assert snapshot.triggers == ()
    assert [(part.part, part.disposition, part.accepted) for part in snapshot.disposed] == [
        (PartId(65_535, sequence), Disposition.GOOD_LANE, VerdictKind.PASS)
    ]
    assert snapshot.acknowledged == ()


def test_an_echo_that_came_while_disconnected_is_told_at_open_once() -> None:
    bench = Bench(PlcLogic())
    bench.open(5)
    bench.ready()
    sequence = bench.trigger()
    bench.poll()
    bench.send(sequence, VerdictKind.REJECT)
    assert bench.open(5).acknowledged == ((PartId(5, sequence), VerdictKind.REJECT),)
    assert bench.open(5).acknowledged == ()
    assert bench.poll().acknowledged == ()


def test_a_counter_that_runs_backwards_is_named_and_changes_nothing() -> None:
    bench = Bench(PlcLogic(counter_start=100))
    bench.open(5)
    bench.trigger()
    bench.poll()
    status = replace(bench.status(), counter=99)
    for _ in range(2):
        with pytest.raises(LineError, match="ran backwards from 101 to 99"):
            bench.follower.follow(status, [], bench.now_ns, bench.now_ns)
    assert bench.trigger() == 102
    assert [trigger.sequence for trigger in bench.poll().triggers] == [102]


def test_a_counter_that_jumps_is_not_believed() -> None:
    bench = Bench(PlcLogic())
    bench.open(5)
    with pytest.raises(LineError, match="jumped by"):
        bench.follower.follow(replace(bench.status(), counter=JUMP_MAX + 1), [], bench.now_ns, bench.now_ns)


def test_a_disposition_count_that_runs_backwards_is_named() -> None:
    bench = Bench(PlcLogic())
    bench.logic.gate(bench.trigger())
    bench.open(5)
    with pytest.raises(LineError, match="disposition count ran backwards"):
        bench.follower.wanted(replace(bench.status(), dispositions=0))


def test_a_restarted_plc_is_told_by_its_epoch_and_followed_from_there() -> None:
    bench = Bench(PlcLogic(epoch=1, counter_start=500))
    bench.open(5)
    bench.trigger()
    bench.logic = PlcLogic(epoch=2)
    bench.trigger()
    snapshot = bench.poll()
    assert (snapshot.epoch, snapshot.counter, snapshot.triggers) == (2, 1, ())
    assert bench.trigger() == 2
    assert [trigger.sequence for trigger in bench.poll().triggers] == [2]


def test_trigger_times_stay_between_two_polls_when_the_plc_clock_lies() -> None:
    bench = Bench(PlcLogic())
    bench.open(5)
    sequence = bench.trigger()
    polled_ns = bench.now_ns
    status = bench.status()
    ring = list(status.triggers)
    for lie_us in (0, 1 << 31, WRAP - 1):
        ring[sequence % 8] = r.TriggerEntry(sequence, lie_us, True)
        follower = Follower()
        follower.begin(5, replace(status, counter=0), [], polled_ns, polled_ns)
        (trigger,) = follower.follow(replace(status, triggers=tuple(ring)), [], bench.now_ns, bench.now_ns).triggers
        assert polled_ns <= trigger.triggered_ns <= bench.now_ns
