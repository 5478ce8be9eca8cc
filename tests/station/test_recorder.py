"""The recorder before an archive that has no room: order kept, nothing lost within the bound, no PASS ahead of what waits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import ArchiveError, ArchiveFull
from inspector.ports import Done, PastRun, RunStart
from inspector.station import recorder as module
from inspector.station.recorder import Recorder
from inspector.types import Event, FaultCode, Frame, Inspection, PartId, PartKind, Timings, Verdict, VerdictKind

Record = Inspection | Event


class SmallArchive:
    """An archive with `room` for so many more records, all in memory. It hands no row to a disk; `done` is kept, not called."""

    def __init__(self, room: int = 10**9) -> None:
        self.room = room
        self.room_for_events = True
        self.refusal: ArchiveError = ArchiveFull("no slot is free")
        self.taken: list[Record] = []
        self.waiting: list[Done] = []
        self.problem: str | None = None

    @property
    def past_run(self) -> PastRun | None:
        return None

    def begin_run(self, start: RunStart) -> int:
        raise ArchiveError(f"{start.station}: this archive is for the recorder alone")

    def record_release(self, release_id: str, document: dict[str, object]) -> None:
        raise ArchiveError(f"{release_id}, {len(document)} keys: this archive is for the recorder alone")

    def put(self, inspection: Inspection, done: Done | None = None) -> None:
        self._take(inspection)
        if done is not None:
            self.waiting.append(done)

    def note(self, event: Event) -> None:
        if not self.room_for_events:
            raise self.refusal
        self._take(event)

    def _take(self, record: Record) -> None:
        if self.room < 1:
            raise self.refusal
        self.room -= 1
        self.taken.append(record)

    def end_run(self, timeout_s: float) -> None:
        if not timeout_s > 0:
            raise ArchiveError("no time to end the run")

    def close(self) -> None:
        self.room = 0


def row(sequence: int, frame: Frame | None = None) -> Inspection:
    fault = Verdict.fault(FaultCode.NOT_READY, "not ready")
    return Inspection(PartId(1, sequence), PartKind.TEST, fault, "", Timings(), frame=frame)


def passed(sequence: int) -> Inspection:
    return Inspection(PartId(1, sequence), PartKind.TEST, Verdict(VerdictKind.PASS), "", Timings())


def event(sequence: int, kind: str = "disposed") -> Event:
    return Event(kind, {}, PartId(1, sequence))


def names(records: list[Record]) -> list[str]:
    return [f"{r.kind} {r.part}" if isinstance(r, Event) else f"row {r.part.sequence}" for r in records]


def never(error: Exception | None) -> None:
    pytest.fail(f"done was called for a row that was not queued: {error}")


def unheard(error: Exception | None) -> None:
    """An answer that the test does not look at; the row itself is what it looks at."""
    assert error is None


def test_with_room_everything_goes_straight_through() -> None:
    archive = SmallArchive()
    recorder = Recorder(archive)
    recorder.put(row(1))
    recorder.note(event(1))
    assert recorder.put_pass(passed(2), unheard)
    assert names(archive.taken) == ["row 1", "disposed 1-1", "row 2"]
    assert recorder.has_room
    assert recorder.problem is None


def test_a_pass_row_carries_its_answer() -> None:
    archive = SmallArchive()
    answers: list[Exception | None] = []
    assert Recorder(archive).put_pass(passed(1), answers.append)
    archive.waiting[0](None)
    assert answers == [None]


def test_without_room_records_wait_in_order() -> None:
    archive = SmallArchive(room=1)
    recorder = Recorder(archive)
    for sequence in range(4):
        recorder.put(row(sequence))
        recorder.note(event(sequence))
    assert names(archive.taken) == ["row 0"]
    assert not recorder.has_room
    archive.room = 3
    recorder.flush()
    assert len(archive.taken) == 4
    archive.room = 100
    recorder.put(row(4))
    assert names(archive.taken) == [name for s in range(4) for name in (f"row {s}", f"disposed 1-{s}")] + ["row 4"]
    assert recorder.has_room


def test_a_pass_is_refused_while_anything_waits_and_nothing_of_it_is_queued() -> None:
    archive = SmallArchive(room=0)
    recorder = Recorder(archive)
    recorder.note(event(1))
    assert not recorder.put_pass(passed(2), never)
    archive.room = 1
    # The event takes the one free place: there is none for the PASS.
    assert not recorder.put_pass(passed(3), never)
    archive.room = 1
    assert recorder.put_pass(passed(4), unheard)
    assert names(archive.taken) == ["disposed 1-1", "row 4"]


def test_a_row_with_a_slot_of_its_own_does_not_overtake_what_waits() -> None:
    # Rows of parts and events have slots of their own in the archive: one may be full, and the other not.
    archive = SmallArchive()
    archive.room_for_events = False
    recorder = Recorder(archive)
    recorder.note(event(1))
    recorder.put(row(2))
    assert not recorder.put_pass(passed(3), never)
    assert archive.taken == []
    archive.room_for_events = True
    recorder.flush()
    assert names(archive.taken) == ["disposed 1-1", "row 2"]


def test_a_pass_that_the_archive_itself_refuses_is_not_queued() -> None:
    archive = SmallArchive(room=0)
    recorder = Recorder(archive)
    assert not recorder.put_pass(passed(1), never)
    archive.room = 100
    assert recorder.has_room
    assert archive.taken == []


def test_a_closed_archive_raises_nothing_here() -> None:
    archive = SmallArchive(room=0)
    archive.refusal = ArchiveError("the archive is closed")
    recorder = Recorder(archive)
    recorder.put(row(1))
    recorder.note(event(1))
    recorder.flush()
    assert not recorder.put_pass(passed(2), never)
    assert not recorder.has_room


def test_the_problem_is_the_archive_s_or_that_it_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = SmallArchive(room=0)
    recorder = Recorder(archive)
    recorder.put(row(1))
    assert (recorder.problem, recorder.waiting) == (None, 1)  # a moment is no problem yet
    monkeypatch.setattr(module, "_SLOW_NS", -1)
    assert recorder.problem == "the archive is too slow: 1 records wait"
    archive.problem = "the disk is full"
    assert recorder.problem == "the disk is full"
    archive.room = 1
    recorder.flush()
    assert recorder.problem == "the disk is full"
    archive.problem = None
    assert recorder.problem is None


def test_a_row_that_waits_holds_no_picture() -> None:
    archive = SmallArchive(room=0)
    recorder = Recorder(archive)
    frame = Frame(np.zeros((8, 8), np.uint8), 1, 0, 0)
    recorder.put(row(1, frame))
    archive.room = 2
    recorder.put(row(2, frame))
    assert [r.frame is None for r in archive.taken if isinstance(r, Inspection)] == [True, False]


steps = st.lists(st.tuples(st.sampled_from(["put", "note", "pass", "flush"]), st.integers(0, 3)), max_size=40)


@given(steps)
def test_whenever_room_comes_order_is_kept_and_nothing_is_lost(taken: list[tuple[str, int]]) -> None:
    archive = SmallArchive(room=0)
    recorder = Recorder(archive)
    accepted: list[str] = []
    for number, (what, room) in enumerate(taken):
        archive.room = room
        if what == "flush":
            recorder.flush()
        elif what == "pass":
            if recorder.put_pass(passed(number), unheard):
                accepted.append(f"row {number}")
                assert names(archive.taken) == accepted
        elif what == "put":
            recorder.put(row(number))
            accepted.append(f"row {number}")
        else:
            recorder.note(event(number))
            accepted.append(f"disposed 1-{number}")
        assert names(archive.taken) == accepted[: len(archive.taken)]
    archive.room = 10**6
    recorder.flush()
    assert names(archive.taken) == accepted
    assert recorder.has_room


def everything_of(recorder: Recorder, archive: SmallArchive) -> list[str]:
    archive.room = 10**6
    recorder.flush()
    return names(archive.taken)


def test_within_the_bound_nothing_is_lost() -> None:
    archive = SmallArchive(room=0)
    recorder = Recorder(archive)
    for sequence in range(module._BACKLOG):
        recorder.put(row(sequence))
    assert everything_of(recorder, archive) == [f"row {s}" for s in range(module._BACKLOG)]


def test_beyond_the_bound_the_oldest_parts_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BACKLOG", 4)
    archive = SmallArchive(room=0)
    recorder = Recorder(archive)
    for sequence in range(3):
        recorder.put(row(sequence))
        recorder.note(event(sequence))
    assert everything_of(recorder, archive) == ["row 1", "disposed 1-1", "row 2", "disposed 1-2"]


def test_what_takes_a_pass_back_and_what_the_station_says_is_never_given_up_for_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BACKLOG", 4)
    archive = SmallArchive(room=0)
    recorder = Recorder(archive)
    recorder.note(Event("line opened", {"epoch": 1, "counter": 5}))
    recorder.note(event(1, "overruled"))
    for sequence in range(2, 50):
        recorder.put(row(sequence))
        recorder.note(event(sequence))
    assert everything_of(recorder, archive) == ["line opened None", "overruled 1-1", "row 49", "disposed 1-49"]


def test_a_backlog_of_nothing_else_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BACKLOG", 3)
    archive = SmallArchive(room=0)
    recorder = Recorder(archive)
    for sequence in range(9):
        recorder.note(event(sequence, "overruled"))
    assert everything_of(recorder, archive) == ["overruled 1-6", "overruled 1-7", "overruled 1-8"]
