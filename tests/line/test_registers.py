"""The register map: what is packed comes back, what is torn or damaged is nothing, and the documentation is the map."""

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import LineError
from inspector.line import registers as r
from inspector.line.register_table import (
    ACK_ROWS,
    CONTROL_ROWS,
    DISPOSITION_ROWS,
    SLOT_ROWS,
    STATUS_ROWS,
    TRIGGER_ROWS,
    markdown,
)
from inspector.types import Disposition, FaultCode, VerdictKind

DOCS = Path(__file__).parents[2] / "docs" / "registers.md"

words16 = st.integers(0, 0xFFFF)
words32 = st.integers(0, 0xFFFFFFFF)
patterns = st.sampled_from([0, r.PASS_PATTERN, r.REJECT_PATTERN])
results = st.one_of(
    st.sampled_from([(VerdictKind.PASS, None), (VerdictKind.REJECT, None), (VerdictKind.FAULT, None)]),
    st.tuples(st.just(VerdictKind.FAULT), st.sampled_from(FaultCode)),
)


def distance(a: int, b: int) -> int:
    return (a ^ b).bit_count()


def swapped(value: int) -> int:
    return (value & 0xFF) << 8 | value >> 8


def test_no_small_damage_makes_one_pattern_another() -> None:
    values = [0, 0xFFFF, r.PASS_PATTERN, r.REJECT_PATTERN]
    assert min(distance(a, b) for a, b in combinations(values[1:], 2)) >= 8
    assert min(distance(0, value) for value in values[1:]) >= 8
    assert distance(r.PASS_PATTERN, swapped(r.REJECT_PATTERN)) >= 8
    assert distance(r.PASS_PATTERN, swapped(r.PASS_PATTERN)) >= 8


@given(words32, words32, results)
def test_a_result_comes_back(run: int, sequence: int, result: tuple[VerdictKind, FaultCode | None]) -> None:
    verdict, fault = result
    slot = r.unpack_slot(r.pack_slot(run, sequence, verdict, fault))
    assert slot is not None
    assert (slot.run16, slot.sequence) == (run & 0xFFFF, sequence)
    assert r.PATTERNS[slot.pattern] is (VerdictKind.PASS if verdict is VerdictKind.PASS else VerdictKind.REJECT)
    expected = 0 if verdict is not VerdictKind.FAULT else r.FAULT_CODES[fault or FaultCode.INTERNAL]
    assert slot.fault_code == expected


def test_a_pass_cannot_carry_a_fault() -> None:
    with pytest.raises(LineError, match=r"5-7.*late"):
        r.pack_slot(5, 7, VerdictKind.PASS, FaultCode.LATE)


@given(st.tuples(words32, words32, results), st.tuples(words32, words32, results), st.integers(0, 8))
def test_a_torn_slot_is_one_of_the_two_or_nothing(
    old: tuple[int, int, tuple[VerdictKind, FaultCode | None]], new: tuple[int, int, tuple[VerdictKind, FaultCode | None]], arrived: int
) -> None:
    before, after = r.pack_slot(old[0], old[1], *old[2]), r.pack_slot(new[0], new[1], *new[2])
    slot = r.unpack_slot(after[:arrived] + before[arrived:])
    if slot is None or slot.pattern != r.PASS_PATTERN:
        return
    passes = [whole for whole in map(r.unpack_slot, (before, after)) if whole is not None and whole.pattern == r.PASS_PATTERN]
    assert slot in passes


@given(words32, words32, st.integers(0, 7), st.integers(1, 0xFFFF))
def test_one_damaged_register_never_makes_a_pass_for_another_part(run: int, sequence: int, place: int, damage: int) -> None:
    registers = r.pack_slot(run, sequence, VerdictKind.PASS)
    registers[place] ^= damage
    slot = r.unpack_slot(registers)
    assert slot is None or slot.pattern == r.REJECT_PATTERN


statuses = st.builds(
    r.PlcStatus,
    slots=st.just(16),
    epoch=words32,
    counter=words32,
    clock_us=words32,
    scans=words16,
    heartbeat_ok=st.booleans(),
    ready=st.booleans(),
    belt=st.integers(0, 2),
    in_transit=words16,
    dispositions=words32,
    triggers=st.lists(st.builds(r.TriggerEntry, words32, words32, st.booleans()), min_size=8, max_size=8).map(tuple),
    acks=st.lists(st.builds(r.AckEntry, words16, words32, patterns), min_size=16, max_size=16).map(tuple),
)


@given(statuses)
def test_a_status_comes_back_and_fits_one_request(status: r.PlcStatus) -> None:
    registers = r.pack_status(status)
    assert len(registers) == r.STATUS_SIZE <= r.REQUEST_MAX
    assert all(0 <= register <= 0xFFFF for register in registers)
    assert r.unpack_status(registers) == status


@given(words16, words16, words32, st.integers(0, 5), patterns)
def test_a_disposition_comes_back(number16: int, run16: int, sequence: int, lane: int, pattern: int) -> None:
    entry = r.DispositionEntry(number16, run16, sequence, lane, pattern)
    assert r.unpack_disposition(r.pack_disposition(entry)) == entry


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [(0, 0, "another device or map"), (1, 0, "result slots"), (1, 17, "result slots"), (r.ACK_TABLE - r.STATUS + 3, 1, "does not exist")],
)
def test_a_status_that_lies_is_refused(at: int, value: int, said: str) -> None:
    registers = [0] * r.STATUS_SIZE
    registers[0:2] = [r.MAP_ID, 16]
    registers[at] = value
    with pytest.raises(LineError, match=said):
        r.unpack_status(registers)


def test_a_short_status_is_refused() -> None:
    with pytest.raises(LineError, match="3 registers instead of"):
        r.unpack_status([r.MAP_ID, 16, 0])


@pytest.mark.parametrize("registers", [[1, 1, 0, 1, 6, 0], [1, 1, 0, 1, 1, 0x5AC2]])
def test_a_disposition_that_lies_is_refused(registers: list[int]) -> None:
    with pytest.raises(LineError, match="sequence 1"):
        r.unpack_disposition(registers)


def test_every_fault_and_lane_has_a_code_of_its_own() -> None:
    assert set(r.FAULT_CODES) == set(FaultCode)
    assert len(set(r.FAULT_CODES.values())) == len(FaultCode)
    assert 0 not in r.FAULT_CODES.values()
    assert set(r.LANES.values()) == set(Disposition)


def test_the_table_describes_the_map_without_gaps() -> None:
    sizes = [
        (CONTROL_ROWS, r.CONTROL_SIZE),
        (SLOT_ROWS, r.SLOT_SIZE),
        (STATUS_ROWS, r.TRIGGER_RING - r.STATUS),
        (TRIGGER_ROWS, r.TRIGGER_SIZE),
        (ACK_ROWS, r.ACK_SIZE),
        (DISPOSITION_ROWS, r.DISPOSITION_SIZE),
    ]
    assert [sum(row.count for row in rows) for rows, _ in sizes] == [size for _, size in sizes]
    assert next(row.address for row in STATUS_ROWS if row.name == "belt") == r.BELT
    assert r.SLOTS + r.SLOTS_MAX * r.SLOT_SIZE <= r.STATUS
    assert r.STATUS + r.STATUS_SIZE <= r.DISPOSITION_RING


def test_the_documentation_is_the_map() -> None:
    assert DOCS.read_text(encoding="utf-8") == markdown(), "run: python -m inspector.line.register_table > docs/registers.md"
