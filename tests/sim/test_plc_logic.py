"""The PLC's acceptance of results: nothing but a whole, timely PASS for that very part opens the gate."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.line import registers as r
from inspector.sim.plc_logic import HEARTBEAT_NS, PlcLogic
from inspector.types import Disposition, FaultCode, VerdictKind

RUN = 5
MS = 1_000_000
PASS, REJECT, FAULT = VerdictKind.PASS, VerdictKind.REJECT, VerdictKind.FAULT


def ready_plc(*, slots: int = 16, counter_start: int = 0, instant: bool = True, run: int = RUN) -> PlcLogic:
    logic = PlcLogic(slots=slots, counter_start=counter_start, instant=instant)
    logic.write(r.CONTROL, [1, 0, 1, run], 0)
    return logic


def send(logic: PlcLogic, sequence: int, verdict: VerdictKind, *, run: int = RUN, slots: int = 16, fault: FaultCode | None = None) -> None:
    logic.write(r.slot_address(sequence, slots), r.pack_slot(run, sequence, verdict, fault), MS)


def lane(logic: PlcLogic, sequence: int) -> Disposition:
    return logic.gate(sequence)[1]


def echo(logic: PlcLogic, sequence: int) -> r.AckEntry:
    return r.unpack_status(logic.read(r.STATUS, r.STATUS_SIZE, MS)).acks[sequence % 16]


def test_a_pass_opens_the_gate_and_is_echoed() -> None:
    logic = ready_plc()
    sequence = logic.trigger(1, 0).sequence
    send(logic, sequence, PASS)
    assert echo(logic, sequence) == r.AckEntry(RUN, sequence, r.PASS_PATTERN)
    assert lane(logic, sequence) is Disposition.GOOD_LANE


def test_a_part_without_a_result_is_rejected() -> None:
    logic = ready_plc()
    sequence = logic.trigger(1, 0).sequence
    assert lane(logic, sequence) is Disposition.REJECT_CONFIRMED
    assert echo(logic, sequence) == r.NO_ACK


# What may arrive: any registers anywhere among control and slots, or the good result of a neighbour or of another run.
noise = st.tuples(st.integers(0, 143), st.lists(st.sampled_from([0, 1, 2, 3, 5, r.PASS_PATTERN, r.REJECT_PATTERN, 0xFFFF]), max_size=7))
shifted = st.tuples(st.integers(-40, 40).filter(bool), st.integers(-2, 2))
other_run = st.tuples(st.just(0), st.integers(-3, 3).filter(bool))


@given(start=st.sampled_from([0, 65_533, (1 << 32) - 2]), results=st.lists(st.one_of(shifted, other_run), max_size=8))
@settings(max_examples=80)
def test_results_of_other_parts_and_runs_never_open_the_gate(start: int, results: list[tuple[int, int]]) -> None:
    logic = ready_plc(counter_start=start)
    sequence = logic.trigger(1, 0).sequence
    for shift, run in results:
        send(logic, (sequence + shift) % (1 << 32), PASS, run=RUN + run)
    assert lane(logic, sequence) is Disposition.REJECT_CONFIRMED


@given(old=st.integers(1, 40), arrived=st.integers(0, 7), old_run=st.integers(0, 9))
def test_a_torn_pass_never_opens_the_gate(old: int, arrived: int, old_run: int) -> None:
    logic = ready_plc(counter_start=40)
    sequence = logic.trigger(1, 0).sequence
    address = r.slot_address(sequence, 16)
    logic.write(address, r.pack_slot(old_run, old, PASS), 0)
    registers = r.pack_slot(RUN, sequence, PASS)[:arrived]
    if registers:
        logic.write(address, registers, 0)
    assert lane(logic, sequence) is Disposition.REJECT_CONFIRMED


@given(writes=st.lists(noise, max_size=10))
@settings(max_examples=150)
def test_random_registers_open_the_gate_only_where_they_make_up_the_whole_pass(writes: list[tuple[int, list[int]]]) -> None:
    logic = ready_plc()
    sequence = logic.trigger(1, 0).sequence
    whole, address, stood = r.pack_slot(RUN, sequence, PASS), r.slot_address(sequence, 16), False
    for start, values in writes:
        if values:
            logic.write(start, values, MS)
            stood = stood or logic.read(address, r.SLOT_SIZE, MS) == whole
    assert stood or lane(logic, sequence) is Disposition.REJECT_CONFIRMED


@given(verdicts=st.lists(st.sampled_from([PASS, REJECT, FAULT]), min_size=1, max_size=5))
def test_one_reject_before_the_gate_is_enough(verdicts: list[VerdictKind]) -> None:
    logic = ready_plc()
    sequence = logic.trigger(1, 0).sequence
    for verdict in verdicts:
        send(logic, sequence, verdict)
    all_pass = all(verdict is PASS for verdict in verdicts)
    assert echo(logic, sequence).pattern == (r.PASS_PATTERN if all_pass else r.REJECT_PATTERN)
    assert lane(logic, sequence) is (Disposition.GOOD_LANE if all_pass else Disposition.REJECT_CONFIRMED)


def test_a_result_in_the_wrong_slot_is_nothing() -> None:
    logic = ready_plc()
    sequence = logic.trigger(1, 0).sequence
    logic.write(r.slot_address(sequence + 1, 16), r.pack_slot(RUN, sequence, PASS), 0)
    assert lane(logic, sequence) is Disposition.REJECT_CONFIRMED


def test_a_pass_behind_the_gate_changes_nothing() -> None:
    logic = ready_plc()
    sequence = logic.trigger(1, 0).sequence
    logic.gate(sequence)
    send(logic, sequence, PASS)
    assert echo(logic, sequence) == r.NO_ACK
    entry = logic.read(r.disposition_address(1), r.DISPOSITION_SIZE, 0)
    assert r.unpack_disposition(entry).pattern == 0


@pytest.mark.parametrize("control", [[0, 0, 2, RUN], [2, 0, 2, RUN], [1, 1, 2, RUN], [1, 0, 2, RUN + 1]])
def test_parts_met_without_ready_or_under_another_run_are_rejected(control: list[int]) -> None:
    logic = ready_plc()
    logic.write(r.CONTROL, control, 0)
    sequence = logic.trigger(1, 0).sequence
    logic.write(r.CONTROL, [1, 0, 3, RUN], 0)
    send(logic, sequence, PASS)
    assert lane(logic, sequence) is Disposition.REJECT_CONFIRMED


@pytest.mark.parametrize(("silence_ns", "opened"), [(HEARTBEAT_NS, True), (HEARTBEAT_NS + MS, False)])
def test_ready_counts_only_while_the_heartbeat_changes(silence_ns: int, opened: bool) -> None:
    logic = ready_plc()
    logic.write(r.HEARTBEAT, [2], 10 * MS)
    logic.write(r.HEARTBEAT, [2], 200 * MS)
    sequence = logic.trigger(1, 10 * MS + silence_ns).sequence
    send(logic, sequence, PASS)
    assert (lane(logic, sequence) is Disposition.GOOD_LANE) is opened


def test_a_plc_with_a_cycle_takes_results_at_its_next_scan() -> None:
    logic = ready_plc(instant=False)
    sequence = logic.trigger(1, 0).sequence
    send(logic, sequence, PASS)
    assert echo(logic, sequence) == r.NO_ACK
    logic.scan(2 * MS)
    assert echo(logic, sequence).pattern == r.PASS_PATTERN


@given(slots=st.integers(1, 16), start=st.integers(0, (1 << 32) - 1))
def test_every_number_of_slots_works_for_as_many_parts_as_it_has_slots(slots: int, start: int) -> None:
    logic = ready_plc(slots=slots, counter_start=start, instant=False)
    sequences = [logic.trigger(i, 0).sequence for i in range(slots)]
    # Across the wrap of the counter two parts may share a slot: the scan between them keeps both.
    for sequence in sequences:
        send(logic, sequence, PASS, slots=slots)
        logic.scan(MS)
    assert {lane(logic, sequence) for sequence in sequences} == {Disposition.GOOD_LANE}


def test_the_fault_code_is_kept_with_the_part() -> None:
    logic = ready_plc()
    sequence = logic.trigger(1, 0).sequence
    send(logic, sequence, FAULT, fault=FaultCode.LATE)
    part, _ = logic.gate(sequence)
    assert (part.fault_code, part.understood) == (r.FAULT_CODES[FaultCode.LATE], REJECT)


def test_the_lanes_can_report_something_else_than_the_gate_did() -> None:
    logic = ready_plc()
    sequence = logic.trigger(1, 0).sequence
    _, reported = logic.gate(sequence, lambda _: Disposition.REMOVED_BY_HAND)
    assert reported is Disposition.REMOVED_BY_HAND
    assert r.unpack_disposition(logic.read(r.disposition_address(1), r.DISPOSITION_SIZE, 0)).lane == 4
