"""The disk is full, slow, gone, or lies: no record is acknowledged that is not there, and none is lost that can still be written."""

import os
import resource
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from inspector.errors import ArchiveError, ArchiveFull
from inspector.ports import RunStart
from inspector.trace import SqliteArchive, open_reader, verify, writer
from inspector.trace.rows import Row
from inspector.trace.schema import DATABASE
from inspector.trace.store import Store
from inspector.types import Event, Inspection, PartId, VerdictKind

OpenArchive = Callable[..., SqliteArchive]
Part = Callable[..., Inspection]
Eventually = Callable[[Callable[[], bool]], None]


class Disk:
    """A folder whose disk can be made full and given room again."""

    def __init__(self, folder: Path, mounted: bool) -> None:
        self.folder = folder
        self._mounted = mounted
        self._soft, self._hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        if not self._mounted:
            # Without the right to mount: no file of this process may grow, which the disk answers with an error, too.
            resource.setrlimit(resource.RLIMIT_FSIZE, ((self.folder / f"{DATABASE}-wal").stat().st_size, self._hard))
            return
        with open(self.folder / "filler", "wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._soft, self._hard))
        (self.folder / "filler").unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small file system of its own where this user may mount one, otherwise a limit on the size of files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    small = Disk(folder, mounted)
    yield small
    small.free()
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def archive(disk: Disk, open_archive: OpenArchive) -> Iterator[SqliteArchive]:
    one = open_archive(disk.folder, slots=4)
    yield one
    disk.free()
    one.close()


def test_a_full_disk_acknowledges_nothing_and_loses_nothing(
    archive: SqliteArchive, disk: Disk, part: Part, start: RunStart, eventually: Eventually
) -> None:
    run = archive.begin_run(start)
    disk.fill()
    told: list[tuple[int, Exception | None]] = []

    def put(sequence: int) -> Exception | None:
        archive.put(part(run, sequence), lambda error: told.append((sequence, error)))
        eventually(lambda: len(told) == sequence)
        return told[-1][1]

    # What is left in the last page of the WAL may still take a few.
    failed = next(sequence for sequence in range(1, 500) if put(sequence) is not None)
    assert not archive.healthy
    assert str(disk.folder) in str(archive.problem)
    archive.note(Event("overruled", {"verdict": "FAULT", "code": "no record", "text": "the disk is full"}, PartId(run, failed)))
    disk.free()
    assert put(failed + 1) is None
    assert archive.healthy
    assert archive.problem is None
    archive.end_run(4)
    assert [number for number, _ in told] == list(range(1, failed + 2)), "each is told once"
    with open_reader(disk.folder) as reader:
        rows = {row.part.sequence: row for row in reader.parts(run)}
    assert set(rows) == set(range(1, failed + 2))
    assert rows[failed].judged is VerdictKind.PASS
    assert rows[failed].verdict is VerdictKind.FAULT
    assert verify(disk.folder).ok


def test_while_the_disk_is_full_waiting_rows_keep_their_slots(
    archive: SqliteArchive, disk: Disk, part: Part, start: RunStart, eventually: Eventually
) -> None:
    run = archive.begin_run(start)
    disk.fill()
    told: list[Exception | None] = []

    def put_until_full() -> None:
        for sequence in range(1, 500):
            archive.put(part(run, sequence), told.append)
            eventually(lambda number=sequence: len(told) == number)  # type: ignore[misc]

    with pytest.raises(ArchiveFull, match="4 wait for the disk"):
        put_until_full()
    assert sum(error is not None for error in told) >= 4
    disk.free()
    archive.end_run(4)  # the writer tries again by itself
    with open_reader(disk.folder) as reader:
        assert len(reader.parts(run, limit=1000)) == len(told)


def test_begin_run_says_that_the_disk_is_full_and_works_once_there_is_room(archive: SqliteArchive, disk: Disk, start: RunStart) -> None:
    disk.fill()
    facts = RunStart(start.station, start.software, {"much": "x" * 200_000})
    with pytest.raises(ArchiveError, match="was not written"):
        archive.begin_run(facts)
    disk.free()
    assert archive.begin_run(start) == 2


def test_a_database_that_is_taken_away_while_it_is_open_acknowledges_nothing(
    open_archive: OpenArchive, part: Part, start: RunStart, eventually: Eventually, tmp_path: Path
) -> None:
    archive = open_archive()
    folder = tmp_path / "archive"
    run = archive.begin_run(start)
    names = [path.name for path in folder.glob("inspector.db*")]
    (folder / "away").mkdir()
    for name in names:
        (folder / name).rename(folder / "away" / name)
    told: list[Exception | None] = []
    archive.put(part(run, 1), told.append)
    eventually(lambda: len(told) == 1)
    assert "is gone" in str(told[0])
    for path in (folder / "away").iterdir():
        path.rename(folder / path.name)
    archive.end_run(4)
    with open_reader(folder) as reader:
        assert reader.part(run, 1) is not None


def test_another_archive_put_in_its_place_is_not_written_to(
    open_archive: OpenArchive, part: Part, start: RunStart, eventually: Eventually, tmp_path: Path
) -> None:
    other = open_archive(tmp_path / "other")
    other.begin_run(start)
    other.close()
    archive = open_archive()
    run = archive.begin_run(start)
    for path in (tmp_path / "archive").glob("inspector.db*"):
        path.unlink()
    shutil.copy(tmp_path / "other" / DATABASE, tmp_path / "archive" / DATABASE)
    told: list[Exception | None] = []
    archive.put(part(run, 1), told.append)
    eventually(lambda: len(told) == 1)
    assert told[0] is not None
    eventually(lambda: "another archive" in str(archive.problem))
    archive.close()
    assert len(told) == 1
    assert verify(tmp_path / "archive").parts == 0


def test_a_commit_that_failed_after_all_was_written_is_not_written_twice(
    open_archive: OpenArchive, part: Part, start: RunStart, eventually: Eventually, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = open_archive()
    run = archive.begin_run(start)
    real = Store.write
    lies = [True]

    def lying(self: Store, rows: list[Row]) -> None:
        head = self.head
        real(self, rows)
        if lies and any(row.table == "parts" for row in rows):
            lies.pop()
            self._attempt, self.head = self.head, head
            raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Store, "write", lying)
    told: list[Exception | None] = []
    archive.put(part(run, 1), told.append)
    archive.note(Event("sent", {}, PartId(run, 1)))
    eventually(lambda: len(told) == 1)
    archive.end_run(4)
    assert told == [None]
    assert not lies
    report = verify(tmp_path / "archive")
    assert report.ok
    with open_reader(tmp_path / "archive") as reader:
        record = reader.part(run, 1)
    assert record is not None
    assert [event.kind for event in record.events] == ["sent"]


def test_a_disk_that_hangs_makes_the_archive_unhealthy_while_it_lasts(
    open_archive: OpenArchive, part: Part, start: RunStart, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = open_archive()
    run = archive.begin_run(start)
    answers = threading.Event()
    real = Store.write

    def hanging(self: Store, rows: list[Row]) -> None:
        answers.wait(4)
        real(self, rows)

    monkeypatch.setattr(Store, "write", hanging)
    monkeypatch.setattr(writer, "STUCK_S", 0.05)
    told: list[Exception | None] = []
    archive.put(part(run, 1), told.append)
    eventually(lambda: not archive.healthy)
    assert "has not answered" in str(archive.problem)
    assert told == []
    answers.set()
    eventually(lambda: told == [None])
    eventually(lambda: archive.healthy)


def test_somebody_else_who_locks_the_database_delays_but_loses_nothing(
    open_archive: OpenArchive,
    part: Part,
    start: RunStart,
    eventually: Eventually,
    tmp_path: Path,
    raw: Callable[[Path], sqlite3.Connection],
) -> None:
    archive = open_archive()
    run = archive.begin_run(start)
    stranger = raw(tmp_path / "archive" / DATABASE)
    stranger.execute("BEGIN IMMEDIATE")
    told: list[Exception | None] = []
    begun = time.monotonic()
    archive.put(part(run, 1), told.append)
    eventually(lambda: len(told) == 1)
    assert time.monotonic() - begun < 2.0
    assert "locked" in str(told[0])
    stranger.execute("ROLLBACK")
    archive.end_run(4)
    assert verify(tmp_path / "archive").parts == 1


def test_close_on_a_dead_disk_tells_everybody(
    open_archive: OpenArchive, part: Part, start: RunStart, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = open_archive()
    run = archive.begin_run(start)

    def dead(_self: Store, _rows: list[Row]) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Store, "write", dead)
    told: dict[int, list[Exception | None]] = {1: [], 2: []}
    archive.put(part(run, 1), told[1].append)
    archive.put(part(run, 2, VerdictKind.REJECT), told[2].append)
    archive.close()
    assert [[type(error) for error in errors] for errors in told.values()] == [[sqlite3.OperationalError]] * 2


def test_a_writer_that_fails_itself_lets_nobody_wait_and_takes_no_more(
    open_archive: OpenArchive, part: Part, start: RunStart, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = open_archive()
    run = archive.begin_run(start)

    def broken(_self: Store, _rows: list[Row]) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr(Store, "write", broken)
    told: list[Exception | None] = []
    archive.put(part(run, 1), told.append)
    eventually(lambda: len(told) == 1)
    assert isinstance(told[0], ArchiveError)
    assert not archive.healthy
    with pytest.raises(ArchiveError, match="the writer failed"):
        archive.put(part(run, 2))
