"""From register readings to snapshots: what is new since the last poll, without I/O.

Sequence numbers are never lost: they are the counter's values. A trigger that the ring no longer shows gets the time of the poll; a part
whose disposition was provably overwritten is told as UNKNOWN.
"""

from collections.abc import Sequence

from inspector.errors import LineError
from inspector.line.plc_clock import PlcClock
from inspector.line.registers import (
    DISPOSITIONS,
    LANES,
    NO_ACK,
    NO_TRIGGER,
    PATTERNS,
    TRIGGERS,
    AckEntry,
    DispositionEntry,
    PlcStatus,
)
from inspector.ports import Disposed, LineSnapshot, Trigger
from inspector.types import Disposition, PartId, VerdictKind

WRAP = 1 << 32
JUMP_MAX = 1 << 16
"""Triggers in one poll beyond which the counter is not believed (at 200 parts/s: more than five minutes without a poll)."""


class Follower:
    """Turns readings of one PLC into LineSnapshots. Not thread-safe; a reading that is refused changes nothing."""

    def __init__(self) -> None:
        self._run = 0
        self._opened = False
        self._epoch = 0
        self._counter = 0
        self._told = 0
        self._polled_ns = 0
        self._acks: tuple[AckEntry, ...] = ()
        self._clock = PlcClock()
        # Bounded by JUMP_MAX: the oldest falls out, which costs its UNKNOWN if its disposition is overwritten as well.
        self._on_belt: dict[int, None] = {}

    def wanted(self, status: PlcStatus, *, everything: bool = False) -> range:
        """Numbers (from 1, not yet wrapped to 32 bit) of the dispositions to read with this status: at most the ring's 64."""
        if everything or status.epoch != self._epoch:
            new = DISPOSITIONS
            return range(max(1, status.dispositions - new + 1), status.dispositions + 1)
        new = (status.dispositions - self._told) % WRAP
        if new >= WRAP // 2:
            raise LineError(
                f"PLC disposition count ran backwards from {self._told} to {status.dispositions} in the same epoch: "
                "restart the PLC's job so that it shows a new epoch"
            )
        end = self._told + new
        return range(end - min(new, DISPOSITIONS) + 1, end + 1)

    def begin(self, run: int, status: PlcStatus, entries: Sequence[DispositionEntry], sent_ns: int, received_ns: int) -> LineSnapshot:
        """The first reading after open. `entries` is all that the ring holds; echoes of this run that were not told yet are told."""
        if not self._opened or status.epoch != self._epoch or run != self._run:
            self._on_belt.clear()
        self._run = run
        acknowledged = self._new_acks(tuple(ack if ack.run16 == run & 0xFFFF else NO_ACK for ack in status.acks))
        known = zip(self.wanted(status, everything=True), entries, strict=True)
        disposed = tuple(self._disposed(entry) for count, entry in known if _valid(count, entry))
        for part in disposed:
            self._on_belt.pop(part.part.sequence, None)
        self._sync(status, sent_ns, received_ns)
        self._opened = True
        return LineSnapshot(status.counter, status.epoch, (), acknowledged, disposed, status.in_transit)

    def follow(self, status: PlcStatus, entries: Sequence[DispositionEntry], sent_ns: int, received_ns: int) -> LineSnapshot:
        """A later reading; `entries` are the dispositions that `wanted` named, overwritten ones included.

        A new epoch tells no triggers: nobody knows where its counter began, and the station has to resynchronise.
        Raises LineError when the counter ran backwards or jumped.
        """
        restarted = status.epoch != self._epoch
        wanted = self.wanted(status)
        missed = 0 if restarted else (status.dispositions - self._told) % WRAP - len(wanted)
        numbers = [] if restarted else self._new_sequences(status)
        polled_ns = self._polled_ns
        if restarted:
            self._on_belt.clear()
        acknowledged = self._new_acks(status.acks)
        self._sync(status, sent_ns, received_ns)
        triggers = tuple(Trigger(sequence, self._time_of(sequence, status, polled_ns, received_ns)) for sequence in numbers)
        for trigger in triggers:
            self._on_belt[trigger.sequence] = None
        while len(self._on_belt) > JUMP_MAX:
            del self._on_belt[next(iter(self._on_belt))]
        disposed = self._dispositions(status, wanted, entries, missed)
        return LineSnapshot(status.counter, status.epoch, triggers, acknowledged, disposed, status.in_transit)

    def _sync(self, status: PlcStatus, sent_ns: int, received_ns: int) -> None:
        if status.epoch != self._epoch:
            self._clock = PlcClock()
        self._clock.sample(status.clock_us, sent_ns, received_ns)
        self._epoch, self._counter, self._told = status.epoch, status.counter, status.dispositions
        self._acks = status.acks
        self._polled_ns = sent_ns

    def _new_sequences(self, status: PlcStatus) -> list[int]:
        new = (status.counter - self._counter) % WRAP
        if new >= WRAP // 2:
            raise LineError(
                f"PLC trigger counter ran backwards from {self._counter} to {status.counter} in epoch {status.epoch}: "
                "parts may be counted twice; clear the line and restart the PLC's job"
            )
        if new > JUMP_MAX:
            raise LineError(
                f"PLC trigger counter jumped by {new} from {self._counter} to {status.counter}: "
                "check the photo-eye and the PLC program, clear the line, then start again"
            )
        return [(self._counter + i) % WRAP for i in range(1, new + 1)]

    def _time_of(self, sequence: int, status: PlcStatus, polled_ns: int, received_ns: int) -> int:
        entry = status.triggers[sequence % TRIGGERS]
        if entry.sequence != sequence or entry == NO_TRIGGER:
            return received_ns
        # Between the last poll and this one is where a new trigger lies, whatever the PLC's clock says.
        return min(max(self._clock.station_ns(entry.time_us), polled_ns), received_ns)

    def _new_acks(self, acks: tuple[AckEntry, ...]) -> tuple[tuple[PartId, VerdictKind], ...]:
        known = self._acks if len(self._acks) == len(acks) else (NO_ACK,) * len(acks)
        changed = (ack for ack, before in zip(acks, known, strict=True) if ack.pattern and ack != before)
        return tuple((self._part(ack.run16, ack.sequence), PATTERNS[ack.pattern]) for ack in changed)

    def _dispositions(self, status: PlcStatus, wanted: range, entries: Sequence[DispositionEntry], missed: int) -> tuple[Disposed, ...]:
        disposed = [self._disposed(entry) for count, entry in zip(wanted, entries, strict=True) if _valid(count, entry)]
        missed += len(wanted) - len(disposed)
        for part in disposed:
            self._on_belt.pop(part.part.sequence, None)
        # The belt keeps its order: what was overwritten left before the first part still known to have left, or before those in transit.
        first_known = disposed[0].part.sequence if disposed else (status.counter - status.in_transit + 1) % WRAP
        unknown = [Disposed(PartId(self._run, sequence), Disposition.UNKNOWN, None) for sequence in self._lost(first_known, missed)]
        return (*unknown, *disposed)

    def _lost(self, first_known: int, missed: int) -> list[int]:
        """Take the oldest parts before `first_known`, at most `missed`, off the belt."""
        if not missed:
            return []
        lost = [s for s in self._on_belt if 0 < (first_known - s) % WRAP < WRAP // 2][:missed]
        for sequence in lost:
            del self._on_belt[sequence]
        return lost

    def _disposed(self, entry: DispositionEntry) -> Disposed:
        return Disposed(self._part(entry.run16, entry.sequence), LANES[entry.lane], PATTERNS.get(entry.pattern))

    def _part(self, run16: int, sequence: int) -> PartId:
        """The newest run, not after this one, with these low 16 bits; 0 for parts from before any station."""
        return PartId(max(0, self._run - ((self._run - run16) & 0xFFFF)), sequence)


def _valid(count: int, entry: DispositionEntry) -> bool:
    """Whether the entry read for disposition `count` is still that one, not a newer one in its place."""
    return bool(entry.lane) and entry.number16 == count & 0xFFFF
