"""What the first look at the line makes of the run before."""

import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.ports import OVERRULED, Disposed, LineSnapshot, PastRun
from inspector.station.recorder import disposed_event
from inspector.station.recovery import recovery
from inspector.types import Disposition, Event, FaultCode, Inspection, PartId, PartKind, StopCause, VerdictKind

CRASHED = PastRun(run=4, line_epoch=7, line_counter=100, newest_sequence=110, missing=(), undisposed=(), clean_end=False)
LINE = LineSnapshot(counter=110, epoch=7)


def rows_and_events(past: PastRun, snapshot: LineSnapshot) -> tuple[list[Inspection], list[Event]]:
    records = [r for r in recovery(past, snapshot, PartKind.PRODUCTION) if not isinstance(r, StopCause)]
    rows = [r for r in records if isinstance(r, Inspection)]
    events = [r for r in records if isinstance(r, Event)]
    assert [*rows, *events] == records, "a part's row comes before what is told of it"
    return rows, events


def faults(past: PastRun, snapshot: LineSnapshot) -> dict[int, str]:
    """Sequence → fault code of every row; each row is a FAULT of the past run, once."""
    rows, _ = rows_and_events(past, snapshot)
    assert {r.part.run for r in rows} <= {past.run}
    assert {r.verdict.kind for r in rows} <= {VerdictKind.FAULT}
    assert len({r.part for r in rows}) == len(rows)
    return {r.part.sequence: r.verdict.reasons[0].code for r in rows}


def causes(past: PastRun, snapshot: LineSnapshot) -> list[StopCause]:
    return [r for r in recovery(past, snapshot, PartKind.PRODUCTION) if isinstance(r, StopCause)]


def overruled(past: PastRun, snapshot: LineSnapshot) -> list[int]:
    return [e.part.sequence for e in rows_and_events(past, snapshot)[1] if e.kind == OVERRULED and e.part is not None]


def passed_ring(*sequences: int) -> tuple[Disposed, ...]:
    return tuple(Disposed(PartId(4, s), Disposition.GOOD_LANE, VerdictKind.PASS) for s in sequences)


def ring(*sequences: int, run: int = 4, where: Disposition = Disposition.REJECT_CONFIRMED) -> tuple[Disposed, ...]:
    return tuple(Disposed(PartId(run, s), where, VerdictKind.REJECT) for s in sequences)


def told(past: PastRun, snapshot: LineSnapshot) -> list[int]:
    events = rows_and_events(past, snapshot)[1]
    assert {e.kind for e in events if e.part is not None} <= {"disposed"}
    return [e.part.sequence for e in events if e.part is not None]


def test_a_run_that_left_nothing_open_needs_nothing() -> None:
    assert rows_and_events(replace(CRASHED, clean_end=True), LINE) == ([], [])


def test_parts_without_a_row_were_interrupted() -> None:
    past = replace(CRASHED, missing=(104, 105, 109))
    assert faults(past, LINE) == dict.fromkeys((104, 105, 109), FaultCode.INTERRUPTED.value)


def test_parts_counted_while_no_station_ran_are_faults_too() -> None:
    assert faults(CRASHED, replace(LINE, counter=113)) == dict.fromkeys((111, 112, 113), FaultCode.STATION_DOWN.value)


def test_a_clean_end_does_not_stop_the_line_from_counting() -> None:
    past = replace(CRASHED, clean_end=True)
    assert list(faults(past, replace(LINE, counter=112))) == [111, 112]


def test_a_run_that_recorded_no_part_counts_from_where_the_line_stood() -> None:
    past = replace(CRASHED, newest_sequence=None)
    assert list(faults(past, replace(LINE, counter=103))) == [101, 102, 103]


def test_a_line_opened_after_the_newest_part_is_where_counting_goes_on() -> None:
    past = replace(CRASHED, line_counter=120)
    assert list(faults(past, replace(LINE, counter=122))) == [121, 122]


def test_a_row_says_why_and_refers_to_no_release() -> None:
    rows, _ = rows_and_events(replace(CRASHED, missing=(104,)), replace(LINE, counter=111))
    assert [str(r.verdict) for r in rows] == [
        "FAULT (cut off when the station ended without warning)",
        "FAULT (counted by the line while no station ran, or cut off when it ended)",
    ]
    assert {(r.release, r.kind, r.timings.triggered_ns) for r in rows} == {("", PartKind.PRODUCTION, None)}


@pytest.mark.parametrize("past", [replace(CRASHED, line_epoch=6), replace(CRASHED, line_epoch=None, line_counter=None)])
def test_a_count_that_began_again_says_nothing_of_the_run_before(past: PastRun) -> None:
    assert faults(past, replace(LINE, counter=3)) == {}
    assert faults(past, replace(LINE, counter=10**8)) == {}
    assert faults(replace(past, missing=(104,)), replace(LINE, counter=3)) == {104: "interrupted"}


def test_a_count_that_began_again_stands_in_the_record() -> None:
    _, events = rows_and_events(replace(CRASHED, line_epoch=6), replace(LINE, counter=3))
    assert events == [Event("line restarted", {"past_run": 4, "past_epoch": 6, "epoch": 7})]
    assert rows_and_events(replace(CRASHED, line_epoch=None, line_counter=None), LINE) == ([], [])


@pytest.mark.parametrize("counter", [109, 0, 110 + 5_000_001, 2**32 - 1])
def test_a_count_that_cannot_be_told_part_by_part_holds_the_line(counter: int) -> None:
    snapshot = replace(LINE, counter=counter)
    assert rows_and_events(CRASHED, snapshot) == ([], [Event("count lost", {"known": 110, "counter": counter})])
    assert [cause.code for cause in causes(CRASHED, snapshot)] == ["count lost"]
    assert f"counts {counter} parts, the archive knows 110" in causes(CRASHED, snapshot)[0].text


def test_the_longest_stop_takes_no_memory_and_no_time_at_once() -> None:
    tracemalloc.start()
    try:
        records = recovery(CRASHED, replace(LINE, counter=110 + 1_000_000), PartKind.PRODUCTION)
        first = next(records)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert isinstance(first, Inspection)
    assert first.part == PartId(4, 111)


def test_the_ring_tells_where_parts_without_a_disposition_went() -> None:
    past = replace(CRASHED, missing=(104,), undisposed=(108, 110))
    snapshot = replace(LINE, counter=112, disposed=ring(103, 104, 107, 108, 111))
    assert told(past, snapshot) == [104, 108, 111]


def test_the_ring_of_another_run_is_about_other_parts() -> None:
    assert told(replace(CRASHED, undisposed=(108,)), replace(LINE, disposed=ring(108, run=3) + ring(108, run=5))) == []


def test_a_disposition_is_told_once_and_the_first_one_holds() -> None:
    past = replace(CRASHED, undisposed=(108,))
    entries = ring(108) + ring(108, where=Disposition.GOOD_LANE)
    _, events = rows_and_events(past, replace(LINE, disposed=entries))
    assert [e.data for e in events] == [{"disposition": "reject confirmed", "accepted": "REJECT"}]


def test_the_ring_is_heard_although_the_count_began_again() -> None:
    assert told(replace(CRASHED, line_epoch=6, undisposed=(108,)), replace(LINE, counter=2, disposed=ring(108))) == [108]


def test_an_entry_that_no_result_reached_says_so() -> None:
    event = disposed_event(Disposed(PartId(4, 9), Disposition.REJECT_UNCONFIRMED, None))
    assert event == Event("disposed", {"disposition": "reject unconfirmed", "accepted": None}, PartId(4, 9))


@given(st.data())
def test_afterwards_every_part_that_the_line_counted_has_one_row(data: st.DataObject) -> None:
    opened = data.draw(st.integers(0, 50))
    counted = range(opened + 1, data.draw(st.integers(opened, opened + 30)) + 1)
    recorded = data.draw(st.sets(st.sampled_from(counted)) if counted else st.just(set()))
    newest = max(recorded, default=None)
    missing = tuple(s for s in counted if newest is not None and s < newest and s not in recorded)
    disposed = data.draw(st.sets(st.sampled_from(sorted(recorded))) if recorded else st.just(set()))
    past = PastRun(4, 7, opened, newest, missing, tuple(sorted(recorded - disposed)), False)
    known = data.draw(st.lists(st.sampled_from(counted), max_size=8) if counted else st.just([]))
    snapshot = LineSnapshot(counted.stop - 1, 7, disposed=ring(*known))
    assert recorded.isdisjoint(faults(past, snapshot))
    assert recorded | set(faults(past, snapshot)) == set(counted)
    ends = told(past, snapshot)
    assert sorted(ends) == sorted(set(known) - disposed)


UNSURE = replace(CRASHED, undisposed=(108, 109, 110), passed=(109, 110), undelivered=(110,))


def test_a_pass_that_the_line_never_took_is_overruled() -> None:
    assert overruled(UNSURE, LINE) == [110]
    assert overruled(UNSURE, replace(LINE, disposed=ring(110))) == [110]


def test_a_pass_that_the_line_took_stands_though_its_acknowledgement_was_cut_off() -> None:
    snapshot = replace(LINE, disposed=passed_ring(110))
    assert overruled(UNSURE, snapshot) == []
    assert causes(UNSURE, snapshot) == []


@pytest.mark.parametrize("sequence", [108, 109])
def test_a_part_in_the_good_lane_without_a_pass_holds_the_line_after_a_restart(sequence: int) -> None:
    assert [c.code for c in causes(UNSURE, replace(LINE, disposed=ring(sequence, where=Disposition.GOOD_LANE)))] == ["wrong lane"]
    assert causes(UNSURE, replace(LINE, disposed=ring(sequence))) == []


def test_a_part_that_was_not_passed_may_not_have_been_taken_as_passed() -> None:
    assert [c.code for c in causes(UNSURE, replace(LINE, disposed=passed_ring(108)))] == ["wrong lane"]
