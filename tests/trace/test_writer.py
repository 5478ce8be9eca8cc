"""Group commit, order, and rows that the database will never take."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from inspector.errors import ArchiveError
from inspector.ports import RunStart
from inspector.trace import SqliteArchive, open_reader, verify, writer
from inspector.trace.rows import Row
from inspector.trace.schema import DATABASE
from inspector.trace.store import Store
from inspector.types import Event, Inspection, PartId, VerdictKind

OpenArchive = Callable[..., SqliteArchive]
Part = Callable[..., Inspection]
Eventually = Callable[[Callable[[], bool]], None]
PASS, REJECT = VerdictKind.PASS, VerdictKind.REJECT


class Hold(Protocol):
    """A `done` that stops the writer's thread (conftest.py)."""

    inside: threading.Event
    go_on: threading.Event

    def __call__(self, _: Exception | None) -> None: ...


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the rows of each transaction."""
    seen: list[list[str]] = []
    real = Store.write

    def watched(self: Store, rows: list[Row]) -> None:
        seen.append([row.name for row in rows])
        real(self, rows)

    monkeypatch.setattr(Store, "write", watched)
    return seen


def test_what_waits_shares_one_commit_pass_first_and_events_after_their_part(
    open_archive: OpenArchive, part: Part, start: RunStart, hold: Hold, batches: list[list[str]]
) -> None:
    archive = open_archive()
    run = archive.begin_run(start)
    archive.put(part(run, 1), hold)
    hold.inside.wait(4)
    archive.note(Event("station"))
    archive.put(part(run, 2, REJECT))
    archive.note(Event("sent 2", {}, PartId(run, 2)))
    archive.put(part(run, 3))
    archive.note(Event("sent 3", {}, PartId(run, 3)))
    archive.put(part(run, 4))
    hold.go_on.set()
    archive.end_run(4)
    (shared,) = [batch for batch in batches if "part 1-2" in batch]
    assert shared[:6] == ["part 1-3", "part 1-4", "event station", "part 1-2", "event sent 2", "event sent 3"]


def test_events_alone_are_written_soon_without_a_part(
    open_archive: OpenArchive, start: RunStart, tmp_path: Path, eventually: Eventually
) -> None:
    archive = open_archive()
    run = archive.begin_run(start)
    archive.note(Event("paused"))

    def written() -> bool:
        with open_reader(tmp_path / "archive") as reader:
            return [event.kind for event in reader.station_events(run)] == ["paused"]

    eventually(written)


def test_a_part_that_is_recorded_already_is_refused_alone_and_that_is_recorded(
    open_archive: OpenArchive, part: Part, start: RunStart, tmp_path: Path, hold: Hold
) -> None:
    archive = open_archive()
    run = archive.begin_run(start)
    archive.put(part(run, 1), hold)
    hold.inside.wait(4)
    told: dict[str, list[Exception | None]] = {"again": [], "new": [], "strange": []}
    archive.put(part(run, 1, REJECT), told["again"].append)
    archive.put(part(run, 2), told["new"].append)
    archive.put(part(run + 7, 1), told["strange"].append)  # a run that never began
    archive.note(Event("sent", {}, PartId(run, 2)))
    hold.go_on.set()
    archive.end_run(4)
    assert told["new"] == [None]
    assert "part 1-1 was refused" in str(told["again"])
    assert "part 8-1 was refused" in str(told["strange"])
    assert archive.healthy
    with open_reader(tmp_path / "archive") as reader:
        first, second = reader.part(run, 1), reader.part(run, 2)
        assert reader.counts(run) == {PASS: 2, REJECT: 0, VerdictKind.FAULT: 0}
    assert first is not None
    assert second is not None
    assert first.row.judged is PASS
    assert [event.kind for event in first.events] == ["row refused"]
    assert [event.kind for event in second.events] == ["sent"]
    assert verify(tmp_path / "archive").ok


def test_a_refused_part_gives_its_slot_back(open_archive: OpenArchive, part: Part, start: RunStart, eventually: Eventually) -> None:
    archive = open_archive(slots=1)
    run = archive.begin_run(start)
    told: list[Exception | None] = []
    for count in range(1, 6):
        archive.put(part(run, 1), told.append)
        eventually(lambda count=count: len(told) == count)  # type: ignore[misc]
    assert told[0] is None
    assert all(isinstance(error, ArchiveError) for error in told[1:])


def test_rows_written_by_somebody_else_do_not_cost_ours(
    open_archive: OpenArchive, part: Part, start: RunStart, tmp_path: Path, raw: Callable[[Path], sqlite3.Connection]
) -> None:
    archive = open_archive()
    run = archive.begin_run(start)
    raw(tmp_path / "archive" / DATABASE).execute(
        "INSERT INTO events (idx, kind, data, utc_us, at_ns, hash) VALUES (2, 'forged', '{}', 1, 1, X'00')"
    )
    told: list[Exception | None] = []
    archive.put(part(run, 1), told.append)
    archive.end_run(4)
    assert told == [None]
    report = verify(tmp_path / "archive")
    assert report.broken == "event forged (row 2) was changed, or a row before it"


def test_an_idle_writer_moves_the_wal_into_the_database(
    open_archive: OpenArchive, part: Part, start: RunStart, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_ROWS", (3, 5000))
    archive = open_archive()
    run = archive.begin_run(start)
    before = (tmp_path / "archive" / DATABASE).stat().st_mtime_ns
    for sequence in range(1, 10):
        archive.put(part(run, sequence))
    eventually(lambda: (tmp_path / "archive" / DATABASE).stat().st_mtime_ns > before)
    assert archive.healthy


def test_a_busy_writer_checkpoints_too(
    open_archive: OpenArchive, part: Part, start: RunStart, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_ROWS", (1000, 5))
    moved: list[bool] = []
    real = Store.checkpoint

    def watched(self: Store) -> bool:
        moved.append(real(self))
        return moved[-1]

    monkeypatch.setattr(Store, "checkpoint", watched)
    archive = open_archive()
    run = archive.begin_run(start)
    told: list[Exception | None] = []
    for sequence in range(1, 8):
        archive.put(part(run, sequence), told.append)
        eventually(lambda sequence=sequence: len(told) == sequence)  # type: ignore[misc]
    eventually(lambda: True in moved)


def test_a_failing_checkpoint_costs_no_row(
    open_archive: OpenArchive, part: Part, start: RunStart, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_ROWS", (1, 1))
    tried: list[int] = []

    def failing(_: Store) -> bool:
        tried.append(1)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Store, "checkpoint", failing)
    archive = open_archive()
    run = archive.begin_run(start)
    told: list[Exception | None] = []
    for sequence in (1, 2, 3):
        archive.put(part(run, sequence), told.append)
        eventually(lambda sequence=sequence: len(told) == sequence)  # type: ignore[misc]
    assert told == [None] * 3
    assert tried


def test_a_release_is_recorded_once_and_stands_for_one_thing(
    open_archive: OpenArchive, start: RunStart, tmp_path: Path, batches: list[list[str]]
) -> None:
    archive = open_archive()
    archive.begin_run(start)
    archive.record_release("r1", {"recipe": "board 3", "precision": "INT8"})
    archive.record_release("r1", {"recipe": "board 3", "precision": "INT8"})
    assert sum("releases r1" in batch for batch in batches) == 1
    with pytest.raises(ArchiveError, match="id of its own"):
        archive.record_release("r1", {"recipe": "board 4"})
    archive.close()
    again = open_archive()
    again.record_release("r1", {"recipe": "board 3", "precision": "INT8"})
    with pytest.raises(ArchiveError, match="id of its own"):
        again.record_release("r1", {})
    with open_reader(tmp_path / "archive") as reader:
        assert reader.release("r1") == {"recipe": "board 3", "precision": "INT8"}
        assert reader.release("r2") is None
