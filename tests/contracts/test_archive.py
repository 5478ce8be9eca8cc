"""What every archive owes the station, whatever it is made of. The port's docstrings in inspector/ports.py are the law."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inspector.errors import ArchiveError, ArchiveFull
from inspector.ports import ACKNOWLEDGED, DISPOSED, LINE_OPENED, OVERRULED, Archive, PastRun, RunStart
from inspector.trace import EvidencePolicy, SqliteArchive
from inspector.types import Event, Inspection, PartId, PartKind, Timings, Verdict, VerdictKind

START = RunStart("cell 7", "0.1.0")
SLOTS = 4
PASS, REJECT, FAULT = VerdictKind.PASS, VerdictKind.REJECT, VerdictKind.FAULT

Opener = Callable[[], Archive]


def sqlite_archive(folder: Path) -> Archive:
    return SqliteArchive(folder, slots=SLOTS, evidence=EvidencePolicy(rejects=False))


@pytest.fixture(params=[sqlite_archive])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the one archive of this test, again and again; the one before is closed first."""
    opened: list[Archive] = []

    def open_again() -> Archive:
        for archive in opened:
            archive.close()
        archive = request.param(tmp_path / "archive")
        assert isinstance(archive, SqliteArchive)
        opened.append(archive)
        return archive

    yield open_again
    for archive in opened:
        archive.close()


def part(run: int, sequence: int, verdict: VerdictKind = PASS) -> Inspection:
    return Inspection(PartId(run, sequence), PartKind.PRODUCTION, Verdict(verdict), "r1", Timings())


class Told:
    """A `done` that remembers; `hold` makes it stop the writer's thread until `go_on` is set."""

    def __init__(self, hold: bool = False) -> None:
        self.errors: list[Exception | None] = []
        self.thread = ""
        self.told = threading.Event()
        self.go_on = threading.Event()
        if not hold:
            self.go_on.set()

    def __call__(self, error: Exception | None) -> None:
        self.errors.append(error)
        self.thread = threading.current_thread().name
        self.told.set()
        self.go_on.wait(4)


@pytest.fixture
def held() -> Iterator[Told]:
    told = Told(hold=True)
    yield told
    told.go_on.set()


def hold_writer(archive: Archive, run: int, told: Told) -> None:
    archive.put(part(run, 1000), told)
    assert told.told.wait(4)


def note_a_thousand(archive: Archive) -> None:
    for _ in range(1000):
        archive.note(Event("heartbeat"))


def test_run_numbers_grow_over_restarts_and_within_one(reopen: Opener) -> None:
    archive = reopen()
    numbers = [archive.begin_run(START), archive.begin_run(START)]
    numbers.append(reopen().begin_run(START))
    assert numbers == sorted(set(numbers))
    assert min(numbers) >= 1


def test_a_run_number_is_larger_than_one_known_from_an_event_alone(reopen: Opener) -> None:
    archive = reopen()
    run = archive.begin_run(START)
    archive.note(Event("disposed", {"disposition": "good lane"}, PartId(run + 40, 7)))
    assert archive.begin_run(START) > run + 40
    archive.note(Event("disposed", {"disposition": "good lane"}, PartId(run + 90, 7)))
    assert reopen().begin_run(START) > run + 90


@pytest.mark.parametrize("verdict", list(VerdictKind))
def test_done_is_called_once_with_none_on_the_writers_thread(reopen: Opener, verdict: VerdictKind) -> None:
    archive = reopen()
    told = Told()
    archive.put(part(archive.begin_run(START), 1, verdict), told)
    assert told.told.wait(4)
    archive.close()
    assert told.errors == [None]
    assert told.thread not in ("", threading.current_thread().name)


def test_pass_rows_go_first(reopen: Opener, held: Told) -> None:
    archive = reopen()
    run = archive.begin_run(START)
    hold_writer(archive, run, held)
    order: list[int] = []
    last = Told()
    archive.put(part(run, 1, REJECT), lambda _: order.append(1))
    archive.put(part(run, 2, FAULT), last)
    archive.put(part(run, 3, PASS), lambda _: order.append(3))
    held.go_on.set()
    assert last.told.wait(4)
    assert order == [3, 1]


def test_calls_never_wait_for_the_disk(reopen: Opener, held: Told) -> None:
    archive = reopen()
    run = archive.begin_run(START)
    hold_writer(archive, run, held)
    begun = time.monotonic()
    for sequence in range(1, SLOTS + 1):
        archive.put(part(run, sequence))
        archive.note(Event("sent", {}, PartId(run, sequence)))
    assert time.monotonic() - begun < 0.5


def test_put_refuses_when_every_slot_is_taken_and_takes_again_when_there_is_room(reopen: Opener, held: Told) -> None:
    archive = reopen()
    run = archive.begin_run(START)
    hold_writer(archive, run, held)
    refused, last = Told(), Told()
    for sequence in range(1, SLOTS + 1):
        archive.put(part(run, sequence), last if sequence == SLOTS else None)
    with pytest.raises(ArchiveFull):
        archive.put(part(run, SLOTS + 1), refused)
    held.go_on.set()
    assert last.told.wait(4)
    again = Told()
    archive.put(part(run, SLOTS + 1), again)
    assert again.told.wait(4)
    assert again.errors == [None]
    assert refused.errors == []


def test_note_refuses_at_last_and_leaves_the_parts_their_slots(reopen: Opener, held: Told) -> None:
    archive = reopen()
    run = archive.begin_run(START)
    hold_writer(archive, run, held)
    with pytest.raises(ArchiveFull):
        note_a_thousand(archive)
    told = Told()
    archive.put(part(run, 1), told)
    held.go_on.set()
    assert told.told.wait(4)
    assert told.errors == [None]


def test_a_done_that_raises_harms_no_other_part(reopen: Opener) -> None:
    archive = reopen()
    run = archive.begin_run(START)

    def bad(_: Exception | None) -> None:
        raise RuntimeError("somebody else's bug")

    archive.put(part(run, 1), bad)
    told = Told()
    archive.put(part(run, 2), told)
    assert told.told.wait(4)
    assert told.errors == [None]


def test_close_tells_everybody_and_is_safe_twice(reopen: Opener) -> None:
    archive = reopen()
    run = archive.begin_run(START)
    told = [Told() for _ in range(SLOTS)]
    for sequence, one in enumerate(told):
        archive.put(part(run, sequence), one)
    archive.close()
    archive.close()
    assert [one.errors for one in told] == [[None]] * SLOTS
    with pytest.raises(ArchiveError):
        archive.put(part(run, 99))
    with pytest.raises(ArchiveError):
        archive.note(Event("late"))
    with pytest.raises(ArchiveError):
        archive.begin_run(START)


def test_there_is_no_past_before_the_first_run(reopen: Opener) -> None:
    archive = reopen()
    assert archive.past_run is None
    archive.begin_run(START)
    assert archive.past_run is None
    archive.close()
    past = reopen().past_run
    assert past is not None
    assert (past.line_epoch, past.line_counter, past.newest_sequence, past.missing, past.undisposed) == (None, None, None, (), ())
    assert not past.clean_end


def test_the_past_run_names_what_is_missing_and_undisposed(reopen: Opener) -> None:
    archive = reopen()
    run = archive.begin_run(START)
    archive.note(Event(LINE_OPENED, {"epoch": 5, "counter": 100}))
    for sequence in (101, 102, 105, 108):
        told = Told()
        archive.put(part(run, sequence), told)
        assert told.told.wait(4)
    archive.note(Event("disposed", {"disposition": "good lane"}, PartId(run, 102)))
    archive.note(Event(LINE_OPENED, {"epoch": 5, "counter": 107}))
    past = reopen().past_run
    assert past is not None
    assert (past.run, past.line_epoch, past.line_counter, past.newest_sequence) == (run, 5, 107, 108)
    assert past.missing == (103, 104, 106, 107)
    assert past.undisposed == (101, 105, 108)
    assert not past.clean_end


def record(archive: Archive, run: int, sequence: int, verdict: VerdictKind, *events: str) -> None:
    """A durable row, and what was told of the part afterwards."""
    told = Told()
    archive.put(part(run, sequence, verdict), told)
    assert told.told.wait(4)
    for kind in events:
        archive.note(Event(kind, {}, PartId(run, sequence)))


def past_of(archive: Archive) -> PastRun:
    past = archive.past_run
    assert past is not None
    return past


def test_the_past_run_names_what_still_counts_as_passed_and_what_was_not_delivered(reopen: Opener) -> None:
    archive = reopen()
    run = archive.begin_run(START)
    archive.note(Event(LINE_OPENED, {"epoch": 5, "counter": 0}))
    record(archive, run, 1, PASS, ACKNOWLEDGED, DISPOSED)
    record(archive, run, 2, PASS, ACKNOWLEDGED)
    record(archive, run, 3, PASS)
    record(archive, run, 4, PASS, OVERRULED)
    record(archive, run, 5, PASS, ACKNOWLEDGED, OVERRULED)
    record(archive, run, 6, REJECT)
    record(archive, run, 7, REJECT, ACKNOWLEDGED, DISPOSED)
    record(archive, run, 8, FAULT)
    record(archive, run, 9, PASS, DISPOSED)
    past = past_of(reopen())
    assert past.undisposed == (2, 3, 4, 5, 6, 8)
    assert past.passed == (2, 3)
    assert past.undelivered == (3,)


def test_events_of_another_run_say_nothing_of_a_part_with_the_same_number(reopen: Opener) -> None:
    archive = reopen()
    before, run = archive.begin_run(START), archive.begin_run(START)
    archive.note(Event(LINE_OPENED, {"epoch": 5, "counter": 0}))
    record(archive, run, 1, PASS)
    for kind in (ACKNOWLEDGED, DISPOSED, OVERRULED):
        archive.note(Event(kind, {}, PartId(before, 1)))
    past = past_of(reopen())
    assert (past.undisposed, past.passed, past.undelivered) == ((1,), (1,), (1,))


def test_the_past_run_is_the_newest_that_reached_the_line(reopen: Opener) -> None:
    """One that never did has accounted for nothing: what the run before it left open is still open."""
    archive = reopen()
    first = archive.begin_run(START)
    archive.note(Event(LINE_OPENED, {"epoch": 5, "counter": 10}))
    record(archive, first, 11, PASS)
    archive = reopen()
    second = archive.begin_run(START)
    archive.note(Event(LINE_OPENED, {"epoch": 5, "counter": 11}))
    record(archive, second, 14, PASS)
    archive = reopen()
    archive.begin_run(START)  # its PLC was unplugged
    archive.end_run(4.0)
    archive = reopen()
    archive.begin_run(START)  # and this one was killed
    past = past_of(reopen())
    assert past.run == second
    assert (past.line_epoch, past.line_counter, past.newest_sequence, past.missing) == (5, 11, 14, (12, 13))
    assert past.undelivered == (14,)
    assert not past.clean_end


def test_before_any_run_reached_the_line_the_newest_is_the_past_one(reopen: Opener) -> None:
    archive = reopen()
    archive.begin_run(START)
    newest = archive.begin_run(START)
    past = past_of(reopen())
    assert (past.run, past.line_epoch, past.passed, past.undelivered) == (newest, None, (), ())


def test_end_run_writes_all_that_is_queued_and_marks_the_end(reopen: Opener) -> None:
    archive = reopen()
    run = archive.begin_run(START)
    told = [Told() for _ in range(SLOTS)]
    for sequence, one in enumerate(told, start=1):
        archive.put(part(run, sequence, REJECT), one)
    archive.end_run(4.0)
    assert [one.errors for one in told] == [[None]] * SLOTS
    past = reopen().past_run
    assert past is not None
    assert past.clean_end
    assert past.newest_sequence == SLOTS


def test_end_run_keeps_to_its_time_when_the_writer_hangs(reopen: Opener, held: Told) -> None:
    archive = reopen()
    run = archive.begin_run(START)
    hold_writer(archive, run, held)
    begun = time.monotonic()
    with pytest.raises(ArchiveError):
        archive.end_run(0.2)
    assert time.monotonic() - begun < 2.0
    held.go_on.set()
    past = reopen().past_run
    assert past is not None
    assert not past.clean_end


def test_end_run_needs_a_run(reopen: Opener) -> None:
    with pytest.raises(ArchiveError, match="begin_run"):
        reopen().end_run(1.0)
