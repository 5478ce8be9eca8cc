"""THE register map between station and PLC: where everything stands, what it means, and how it is packed.

Holding registers only, addresses from 0 as they travel on the wire, 32-bit values as two registers with the high word first. Both ends
(the driver in modbus.py and the PLC simulator) and docs/registers.md are made from this file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from inspector.errors import LineError
from inspector.types import Disposition, FaultCode, VerdictKind

MAP_ID = 0x4902
"""Identity of this map, version 2 of the handshake; a device that shows another value is never written to."""

PASS_PATTERN = 0x5AC3
REJECT_PATTERN = 0xA53C
"""16 bits from PASS; both are 8 bits from 0, from 0xFFFF and from each other with bytes swapped, so no small damage makes one the other."""

SLOTS_MAX = 16
SLOT_SIZE = 8
TRIGGERS = 8
TRIGGER_SIZE = 5
ACK_SIZE = 4
DISPOSITIONS = 64
DISPOSITION_SIZE = 6
REQUEST_MAX = 125
"""Registers in one read request at most (Modbus application protocol 1.1b3, function 3)."""

CONTROL = 0
CONTROL_SIZE = 4
READY, FAULT, HEARTBEAT, RUN = range(CONTROL, CONTROL + CONTROL_SIZE)
SLOTS = 16
STATUS = 1000
TRIGGER_RING = STATUS + 20
ACK_TABLE = TRIGGER_RING + TRIGGERS * TRIGGER_SIZE
STATUS_SIZE = ACK_TABLE + SLOTS_MAX * ACK_SIZE - STATUS
BELT = STATUS + 11
DISPOSITION_RING = 1200

BELT_STOPPED, BELT_RUNNING, BELT_DONE = 0, 1, 2

LANES = {
    1: Disposition.GOOD_LANE,
    2: Disposition.REJECT_CONFIRMED,
    3: Disposition.REJECT_UNCONFIRMED,
    4: Disposition.REMOVED_BY_HAND,
    5: Disposition.UNKNOWN,
}
LANE_CODES = {disposition: code for code, disposition in LANES.items()}

FAULT_CODES = {
    FaultCode.NOT_READY: 1,
    FaultCode.STATION_DOWN: 2,
    FaultCode.INTERRUPTED: 3,
    FaultCode.OVERRUN: 4,
    FaultCode.PAIRING: 5,
    FaultCode.NO_FRAME: 6,
    FaultCode.BAD_FRAME: 7,
    FaultCode.PRESENCE: 8,
    FaultCode.DETECTOR: 9,
    FaultCode.LATE: 10,
    FaultCode.NO_RECORD: 11,
    FaultCode.NOT_ACKNOWLEDGED: 12,
    FaultCode.INTERNAL: 13,
}
"""Codes never change their meaning: PLC programs and panels name them. 0 is no fault."""

PATTERNS = {PASS_PATTERN: VerdictKind.PASS, REJECT_PATTERN: VerdictKind.REJECT}


@dataclass(frozen=True, slots=True)
class Slot:
    """A result slot whose two copies of run and sequence agree; run16 is the run's low 16 bits."""

    run16: int
    sequence: int
    pattern: int
    fault_code: int


@dataclass(frozen=True, slots=True)
class TriggerEntry:
    """One trigger in the PLC's ring; time_us on the PLC's clock, 32 bit."""

    sequence: int
    time_us: int
    ready: bool


@dataclass(frozen=True, slots=True)
class AckEntry:
    """The echo of one result slot: the part, and the pattern as the PLC understood it; pattern 0 is an empty entry."""

    run16: int
    sequence: int
    pattern: int


NO_TRIGGER = TriggerEntry(0, 0, False)
NO_ACK = AckEntry(0, 0, 0)


@dataclass(frozen=True, slots=True)
class DispositionEntry:
    """Disposition `number16` (low 16 bits of its number, counted from 1); lane 0 is an empty entry."""

    number16: int
    run16: int
    sequence: int
    lane: int
    pattern: int


@dataclass(frozen=True, slots=True)
class PlcStatus:
    """The status block, read in one request. triggers stand at sequence mod 8, acks at sequence mod `slots`."""

    slots: int
    epoch: int
    counter: int
    clock_us: int
    scans: int
    heartbeat_ok: bool
    ready: bool
    belt: int
    in_transit: int
    dispositions: int
    triggers: tuple[TriggerEntry, ...]
    acks: tuple[AckEntry, ...]


def words(value: int) -> tuple[int, int]:
    """The low 32 bits of a number as (high word, low word)."""
    return (value >> 16) & 0xFFFF, value & 0xFFFF


def number(high: int, low: int) -> int:
    """The 32-bit number of two words."""
    return (high << 16) | low


def slot_address(sequence: int, slots: int) -> int:
    """Where the result of a part stands: slot sequence mod `slots`."""
    return SLOTS + (sequence % slots) * SLOT_SIZE


def pack_slot(run: int, sequence: int, verdict: VerdictKind, fault: FaultCode | None = None) -> list[int]:
    """The 8 registers of a result. FAULT goes out as REJECT with its code. Raises LineError for a PASS that carries a fault."""
    if verdict is VerdictKind.PASS and fault is not None:
        raise LineError(f"part {run}-{sequence}: a PASS cannot carry the fault '{fault}'; send FAULT instead")
    if verdict is VerdictKind.FAULT and fault is None:
        fault = FaultCode.INTERNAL
    pattern = PASS_PATTERN if verdict is VerdictKind.PASS else REJECT_PATTERN
    name = [run & 0xFFFF, *words(sequence)]
    return [*name, pattern, FAULT_CODES[fault] if fault else 0, *name]


def unpack_slot(registers: Sequence[int]) -> Slot | None:
    """The slot, or None when its first and last copy of run and sequence differ (torn) or nothing valid stands in it.

    A PASS with a fault code contradicts itself and is nothing, too.
    """
    if list(registers[0:3]) != list(registers[5:8]):
        return None
    pattern, fault_code = registers[3], registers[4]
    if pattern not in PATTERNS or (pattern == PASS_PATTERN and fault_code):
        return None
    return Slot(registers[0], number(registers[1], registers[2]), pattern, fault_code)


def pack_header(status: PlcStatus) -> list[int]:
    """The 20 registers of the status block before its rings."""
    out = [MAP_ID, status.slots, *words(status.epoch), *words(status.counter), *words(status.clock_us), status.scans & 0xFFFF]
    out += [int(status.heartbeat_ok), int(status.ready), status.belt, min(status.in_transit, 0xFFFF), *words(status.dispositions)]
    return out + [0] * (TRIGGER_RING - STATUS - len(out))


def pack_trigger(entry: TriggerEntry) -> list[int]:
    """The 5 registers of one trigger."""
    return [*words(entry.sequence), *words(entry.time_us), int(entry.ready)]


def pack_ack(entry: AckEntry) -> list[int]:
    """The 4 registers of one echo."""
    return [entry.run16, *words(entry.sequence), entry.pattern]


def pack_status(status: PlcStatus) -> list[int]:
    """The STATUS_SIZE registers of the status block."""
    out = pack_header(status)
    for trigger in status.triggers:
        out += pack_trigger(trigger)
    for ack in status.acks:
        out += pack_ack(ack)
    return out + [0] * (STATUS_SIZE - len(out))


def unpack_status(registers: Sequence[int]) -> PlcStatus:
    """Read the status block. Raises LineError for another map, an impossible number of slots, or a pattern that does not exist."""
    r = registers
    if len(r) != STATUS_SIZE:
        raise LineError(f"PLC status block has {len(r)} registers instead of {STATUS_SIZE}; compare the PLC with docs/registers.md")
    if r[0] != MAP_ID:
        raise LineError(f"PLC register {STATUS} holds {r[0]:#06x} instead of {MAP_ID:#06x}: another device or map; check host and unit_id")
    if not 1 <= r[1] <= SLOTS_MAX:
        raise LineError(f"PLC announces {r[1]} result slots in register {STATUS + 1}, not 1 to {SLOTS_MAX}; correct the PLC program")
    ring, table = TRIGGER_RING - STATUS, ACK_TABLE - STATUS
    return PlcStatus(
        slots=r[1],
        epoch=number(r[2], r[3]),
        counter=number(r[4], r[5]),
        clock_us=number(r[6], r[7]),
        scans=r[8],
        heartbeat_ok=r[9] == 1,
        ready=r[10] == 1,
        belt=r[11],
        in_transit=r[12],
        dispositions=number(r[13], r[14]),
        triggers=_triggers(tuple(r[ring:table])),
        acks=_acks(tuple(r[table : table + r[1] * ACK_SIZE])),
    )


def _triggers(r: tuple[int, ...]) -> tuple[TriggerEntry, ...]:
    return tuple(_trigger(r[i : i + TRIGGER_SIZE]) for i in range(0, len(r), TRIGGER_SIZE))


def _acks(r: tuple[int, ...]) -> tuple[AckEntry, ...]:
    return tuple(_ack(r[i : i + ACK_SIZE]) for i in range(0, len(r), ACK_SIZE))


# Cached because polls find most entries as they were, and 24 of them cost more than everything else in the block.
@lru_cache(maxsize=4 * TRIGGERS)
def _trigger(r: tuple[int, ...]) -> TriggerEntry:
    return TriggerEntry(number(r[0], r[1]), number(r[2], r[3]), r[4] == 1)


@lru_cache(maxsize=4 * SLOTS_MAX)
def _ack(r: tuple[int, ...]) -> AckEntry:
    ack = AckEntry(r[0], number(r[1], r[2]), r[3])
    _check_pattern(ack.pattern, "echo", ack.sequence)
    return ack


def pack_disposition(entry: DispositionEntry) -> list[int]:
    """The 6 registers of one disposition."""
    return [entry.number16, entry.run16, *words(entry.sequence), entry.lane, entry.pattern]


def unpack_disposition(registers: Sequence[int]) -> DispositionEntry:
    """Read one disposition. Raises LineError for a lane or a pattern that does not exist."""
    number16, run16, high, low, lane, pattern = registers
    entry = DispositionEntry(number16, run16, number(high, low), lane, pattern)
    if lane and lane not in LANES:
        raise LineError(f"PLC reports lane {lane} for sequence {entry.sequence}; lanes are 1 to {len(LANES)}: correct the PLC program")
    _check_pattern(pattern, "disposition", entry.sequence)
    return entry


def disposition_address(index: int) -> int:
    """Where disposition number `index` (from 1) stands in the ring."""
    return DISPOSITION_RING + (index % DISPOSITIONS) * DISPOSITION_SIZE


def _check_pattern(pattern: int, what: str, sequence: int) -> None:
    if pattern and pattern not in PATTERNS:
        raise LineError(f"PLC {what} of sequence {sequence} holds pattern {pattern:#06x}, which does not exist; check the PLC program")
