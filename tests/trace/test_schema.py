"""The database refuses what the archive promises never to do, and is refused where it cannot be trusted."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inspector.errors import ArchiveError
from inspector.ports import RunStart
from inspector.trace import SqliteArchive, schema
from inspector.trace.lock import LOCK
from inspector.trace.schema import CHAINED, DATABASE
from inspector.types import Event, Inspection, PartId

Raw = Callable[[Path], sqlite3.Connection]
OpenArchive = Callable[..., SqliteArchive]


@pytest.fixture
def folder(open_archive: OpenArchive, part: Callable[..., Inspection], start: RunStart, tmp_path: Path) -> Path:
    """A closed archive with a row in every table."""
    archive = open_archive()
    run = archive.begin_run(start)
    archive.record_release("r1", {"recipe": "board 3"})
    archive.put(part(run, 1))
    archive.note(Event("disposed", {"disposition": "good lane"}, PartId(run, 1)))
    archive.end_run(4)
    archive.close()
    return tmp_path / "archive"


def refusal(open_archive: OpenArchive, folder: Path) -> str:
    with pytest.raises(ArchiveError) as caught:
        open_archive(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("table", ["archive", "part_class", *CHAINED])
def test_no_row_changes_or_goes(folder: Path, raw: Raw, table: str) -> None:
    conn = raw(folder / DATABASE)
    column = conn.execute(f"PRAGMA table_info({table})").fetchone()[1]
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        conn.execute(f"UPDATE {table} SET {column} = {column}")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        conn.execute(f"DELETE FROM {table}")
    assert conn.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] >= 1


def test_every_table_is_strict_and_chained_columns_are_all_there_are(folder: Path, raw: Raw) -> None:
    conn = raw(folder / DATABASE)
    listed = "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'"
    assert dict(conn.execute(listed).fetchall()) == dict.fromkeys(("archive", "part_class", *CHAINED), 1)
    for table, columns in CHAINED.items():
        assert [row[1] for row in conn.execute(f"PRAGMA table_info({table})")] == [*columns, "hash"]


def test_the_writer_is_durable_and_maps_no_memory(folder: Path) -> None:
    db = schema.connect(folder / DATABASE, write=True)
    settings = {name: db.conn.execute(f"PRAGMA {name}").fetchone() for name in ("synchronous", "journal_mode", "foreign_keys", "mmap_size")}
    db.close()
    assert settings["synchronous"] == (2,)
    assert settings["journal_mode"] == ("wal",)
    assert settings["foreign_keys"] == (1,)
    assert settings["mmap_size"] in (None, (0,))


def test_a_newer_archive_is_refused_and_left_as_it_is(folder: Path, raw: Raw, open_archive: OpenArchive) -> None:
    conn = raw(folder / DATABASE)
    conn.execute(f"PRAGMA user_version={schema.VERSION + 1}")
    conn.close()
    before = (folder / DATABASE).read_bytes()
    assert "install the newer Inspector" in refusal(open_archive, folder)
    assert (folder / DATABASE).read_bytes() == before


def test_another_programs_database_is_refused(tmp_path: Path, raw: Raw, open_archive: OpenArchive) -> None:
    conn = raw(tmp_path / DATABASE)
    conn.execute("CREATE TABLE songs (title TEXT)")
    conn.close()
    assert "not an archive of Inspector" in refusal(open_archive, tmp_path)


@pytest.mark.parametrize("content", [b"this is no database, it is a letter\n" * 100, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_file_that_is_no_database_is_refused_with_a_way_on(tmp_path: Path, open_archive: OpenArchive, content: bytes) -> None:
    (tmp_path / DATABASE).write_bytes(content)
    assert "move inspector.db" in refusal(open_archive, tmp_path)


def test_a_damaged_page_is_found_at_the_start_and_run_numbers_go_on(folder: Path, open_archive: OpenArchive, start: RunStart) -> None:
    content = bytearray((folder / DATABASE).read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 200] = b"\xa5" * 200
    (folder / DATABASE).write_bytes(content)
    assert "move inspector.db" in refusal(open_archive, folder)
    (folder / DATABASE).rename(folder / "kept.db")
    assert open_archive(folder).begin_run(start) == 2


def test_a_changed_newest_row_is_found_at_the_start(folder: Path, raw: Raw, open_archive: OpenArchive) -> None:
    conn = raw(folder / DATABASE)
    conn.execute("DROP TRIGGER parts_keep")
    conn.execute("UPDATE parts SET verdict = 'REJECT'")
    conn.close()
    assert "changed from outside (part 1-1" in refusal(open_archive, folder)


def test_a_migration_that_fails_leaves_the_version_before(folder: Path) -> None:
    db = schema.connect(folder / DATABASE, write=True)
    steps = (*schema.MIGRATIONS, ("CREATE TABLE good (a)", "CREATE TABLE good (a)"))
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(db, schema.VERSION, steps, ("", 0, ""))
    assert schema.check_version(db, folder / DATABASE) == schema.VERSION
    assert db.conn.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'good'").fetchone() == (0,)
    schema.migrate(db, schema.VERSION, (*schema.MIGRATIONS, ("CREATE TABLE good (a)",)), ("", 0, ""))
    assert db.conn.execute("PRAGMA user_version").fetchone() == (schema.VERSION + 1,)
    db.close()


def test_a_second_station_is_refused_and_told_who_has_it(open_archive: OpenArchive, tmp_path: Path) -> None:
    holder = (
        "import sys; from pathlib import Path; from inspector.trace.lock import FolderLock\n"
        "lock = FolderLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(tmp_path / "archive")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        assert f"process {child.pid}" in refusal(open_archive, tmp_path / "archive")
        child.kill()
    open_archive(tmp_path / "archive").close()  # the kernel let go of a killed station's lock


def test_the_same_process_is_refused_too_and_close_lets_go(open_archive: OpenArchive, tmp_path: Path) -> None:
    first = open_archive()
    assert "in use" in refusal(open_archive, tmp_path / "archive")
    first.close()
    assert open_archive().past_run is None


def test_a_file_in_place_of_the_folder_is_refused(open_archive: OpenArchive, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert "name a folder" in refusal(open_archive, tmp_path / "file")
    assert "name a folder" in refusal(open_archive, tmp_path / "file" / "below")


@pytest.mark.parametrize("taken", [LOCK, DATABASE, "evidence"])
def test_something_else_under_a_name_that_is_needed_is_refused(open_archive: OpenArchive, tmp_path: Path, taken: str) -> None:
    if taken == "evidence":
        (tmp_path / taken).write_text("no folder")
    else:
        (tmp_path / taken).mkdir()
    assert str(tmp_path) in refusal(open_archive, tmp_path)
    (tmp_path / taken).rmdir() if taken != "evidence" else (tmp_path / taken).unlink()
    open_archive(tmp_path).close()  # nothing of the refused one stays: no lock, no thread


def test_group_members_may_read_and_write(folder: Path) -> None:
    assert folder.stat().st_mode & 0o7777 == 0o2770
    assert (folder / DATABASE).stat().st_mode & 0o777 == 0o660
    assert (folder / LOCK).stat().st_mode & 0o777 == 0o660
