"""The PLC's program: what a real one has to do with the register map, without network and without physics.

One thread. The caller tells the time (station ns), pulses the photo-eye, moves parts to the gate, and passes reads and writes in.
"""

from collections.abc import Callable
from dataclasses import dataclass

from inspector.clock import NS_PER_MS
from inspector.line import registers as r
from inspector.types import Disposition, VerdictKind

HEARTBEAT_NS = 300 * NS_PER_MS
_WRAP = 1 << 32
_END = r.DISPOSITION_RING + r.DISPOSITIONS * r.DISPOSITION_SIZE


@dataclass(slots=True)
class TrackedPart:
    """A part between camera and gate. `number` is the physical part, which only the simulation knows. Times in station ns."""

    number: int
    sequence: int
    run16: int
    ready: bool
    triggered_ns: int
    pattern: int = 0
    fault_code: int = 0
    accepted_ns: int | None = None

    @property
    def understood(self) -> VerdictKind | None:
        """The verdict that the PLC accepted for it."""
        return r.PATTERNS.get(self.pattern)


class PlcLogic:
    """Tracks parts, accepts results, works the gate, keeps the rings.

    slots             K, 1 to 16
    epoch             32 bit; another one after each restart
    counter_start     value of the trigger counter before the first part
    clock_offset_us   what the PLC's clock is ahead of the station's, so that nobody takes the two for one
    instant           results are taken within the write that brings them; otherwise at the next scan()
    """

    def __init__(
        self, *, slots: int = r.SLOTS_MAX, epoch: int = 1, counter_start: int = 0, clock_offset_us: int = 0, instant: bool = True
    ) -> None:
        self.epoch = epoch
        self.counter = counter_start % _WRAP
        self.belt = r.BELT_STOPPED
        self._slots = slots
        self._clock_offset_us = clock_offset_us
        self._instant = instant
        self._image = [0] * _END
        # Bounded by the belt: what lies between camera and gate.
        self.tracked: dict[int, TrackedPart] = {}
        self._dispositions = 0
        self._scans = 0
        self._changed: set[int] = set()
        self._beat_ns: int | None = None

    def ready(self, now_ns: int) -> bool:
        """READY as the PLC treats it: said high, no fault said, and a live heartbeat."""
        return self._image[r.READY] == 1 and self._image[r.FAULT] == 0 and self.heartbeat_ok(now_ns)

    def heartbeat_ok(self, now_ns: int) -> bool:
        return self._beat_ns is not None and now_ns - self._beat_ns <= HEARTBEAT_NS

    def read(self, address: int, count: int, now_ns: int) -> list[int]:
        """`count` registers as they are at this moment."""
        if address < r.STATUS + r.STATUS_SIZE and address + count > r.STATUS:
            self._image[r.STATUS : r.TRIGGER_RING] = r.pack_header(self._status(now_ns))
        return self._image[address : address + count]

    def write(self, address: int, values: list[int], now_ns: int) -> None:
        """The station writes registers of the control block or of the slots."""
        before = self._image[r.HEARTBEAT]
        self._image[address : address + len(values)] = values
        if self._image[r.HEARTBEAT] != before:
            self._beat_ns = now_ns
        first = max(address, r.SLOTS)
        for at in range(first, address + len(values)):
            self._changed.add((at - r.SLOTS) // r.SLOT_SIZE)
        if self._instant:
            self.scan(now_ns)

    def scan(self, now_ns: int) -> None:
        """One cycle: look at the slots that were written since the last."""
        self._scans = (self._scans + 1) & 0xFFFF
        for index in sorted(self._changed):
            at = r.SLOTS + index * r.SLOT_SIZE
            slot = r.unpack_slot(self._image[at : at + r.SLOT_SIZE])
            if slot is not None and index < self._slots:
                self._take(index, slot, now_ns)
        self._changed.clear()

    def trigger(self, number: int, now_ns: int) -> TrackedPart:
        """The photo-eye sees a part: count it, remember run and READY."""
        self.counter = (self.counter + 1) % _WRAP
        part = TrackedPart(number, self.counter, self._image[r.RUN], self.ready(now_ns), now_ns)
        self.tracked[part.sequence] = part
        entry = r.TriggerEntry(part.sequence, self._clock_us(now_ns), part.ready)
        at = r.TRIGGER_RING + part.sequence % r.TRIGGERS * r.TRIGGER_SIZE
        self._image[at : at + r.TRIGGER_SIZE] = r.pack_trigger(entry)
        return part

    def gate(self, sequence: int, decide: Callable[[TrackedPart], Disposition] | None = None) -> tuple[TrackedPart, Disposition]:
        """The part reaches the gate: an accepted PASS opens it, everything else is rejected. `decide` replaces what the lanes report."""
        part = self.tracked.pop(sequence)
        lane = Disposition.GOOD_LANE if part.pattern == r.PASS_PATTERN else Disposition.REJECT_CONFIRMED
        if decide is not None:
            lane = decide(part)
        self._dispositions = (self._dispositions + 1) % _WRAP
        entry = r.DispositionEntry(self._dispositions & 0xFFFF, part.run16, sequence, r.LANE_CODES[lane], part.pattern)
        at = r.disposition_address(self._dispositions)
        self._image[at : at + r.DISPOSITION_SIZE] = r.pack_disposition(entry)
        return part, lane

    def _take(self, index: int, slot: r.Slot, now_ns: int) -> None:
        part = self.tracked.get(slot.sequence)
        if part is None or index != slot.sequence % self._slots or part.run16 != slot.run16 or not part.ready:
            return
        if part.pattern not in (0, slot.pattern) and slot.pattern != r.REJECT_PATTERN:
            return
        if part.pattern != slot.pattern:
            part.pattern, part.accepted_ns = slot.pattern, now_ns
            part.fault_code = slot.fault_code
        at = r.ACK_TABLE + index * r.ACK_SIZE
        self._image[at : at + r.ACK_SIZE] = r.pack_ack(r.AckEntry(slot.run16, slot.sequence, part.pattern))

    def _status(self, now_ns: int) -> r.PlcStatus:
        """What changes by itself; the rings are written where they change."""
        return r.PlcStatus(
            slots=self._slots,
            epoch=self.epoch,
            counter=self.counter,
            clock_us=self._clock_us(now_ns),
            scans=self._scans,
            heartbeat_ok=self.heartbeat_ok(now_ns),
            ready=self.ready(now_ns),
            belt=self.belt,
            in_transit=len(self.tracked),
            dispositions=self._dispositions,
            triggers=(),
            acks=(),
        )

    def _clock_us(self, now_ns: int) -> int:
        return (now_ns // 1000 + self._clock_offset_us) % _WRAP
