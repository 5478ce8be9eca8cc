"""The one connection that writes: opens and proves the database, writes rows in one transaction, owns the checkpoints.

Not thread-safe: `SqliteArchive` opens it, afterwards the writer's thread alone uses it.
"""

import os
import sqlite3
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from inspector.errors import ArchiveError
from inspector.trace import schema
from inspector.trace.chain import Head, follow, genesis
from inspector.trace.rows import Row, utc_us
from inspector.trace.verify import check_range, newest

QUICK_CHECK_BYTES = 32 << 20
"""Files up to this size are checked page by page at every start (0.14 s on 2 cores); of larger ones only the newest rows are."""

TAIL_ROWS = 500
"""So many newest rows are hashed again at every start."""

BAD_ROW = (
    *(sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError),
    *(OverflowError, ValueError, TypeError),
)
"""Errors that lie in a row, not in the disk: trying again does not help."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The one row of the table `archive`: who this archive is, for ever."""

    id: str
    created_us: int
    sqlite: str


class Store:
    """The database of one archive, open for writing. `head` is the end of the chain as far as it is durable."""

    def __init__(self, path: Path) -> None:
        """Open, create or migrate `path`. Raises ArchiveError: damaged, newer, another program's, or not writable."""
        self.path = path
        self.head = Head(0, b"")
        self._db: Database | None = None
        self._attempt: Head | None = None
        self._file = (0, 0)
        try:
            self._open()
        except (sqlite3.DatabaseError, OSError) as error:
            self.close()
            raise ArchiveError(_opening_failed(path, error)) from error
        except BaseException:
            self.close()
            raise

    @property
    def db(self) -> Database:
        """The database. Raises ArchiveError when it is closed."""
        if self._db is None:
            raise ArchiveError(f"{self.path} is closed: open the archive again")
        return self._db

    @property
    def conn(self) -> sqlite3.Connection:
        """The writing connection. Raises ArchiveError when it is closed."""
        return self.db.conn

    def write(self, rows: Sequence[Row]) -> None:
        """Append the rows in this order, in one transaction; durable on return. Raises sqlite3.Error, ArchiveError, and then nothing is
        written (or, after an error in COMMIT itself, `recover` tells)."""
        self._same_file()
        conn, (index, digest) = self.conn, (self.head.index, self.head.digest)
        cells: dict[str, list[tuple[object, ...]]] = {table: [] for table in schema.CHAINED}
        scores: list[tuple[object, ...]] = []
        for row in rows:
            index += 1
            values = (index, *row.values)
            digest = follow(digest, row.table, values, row.scores)
            cells[row.table].append((*values, digest))
            scores.extend((index, *score) for score in row.scores)
        self._attempt = Head(index, digest)
        with self.db.atomic():
            for table, batch in cells.items():
                if batch:
                    conn.executemany(_INSERT[table], batch)
            if scores:
                conn.executemany("INSERT INTO part_class (part, defect_class, zone, score) VALUES (?, ?, ?, ?)", scores)
        self.head, self._attempt = self._attempt, None

    def write_each(self, rows: Sequence[Row]) -> list[tuple[Row, Exception]]:
        """As write, but rows that the database refuses are left out and returned with the reason; the others are durable on return."""
        self._same_file()
        refused: list[tuple[Row, Exception]] = []
        # Read again: a row may be refused because somebody else wrote to the file.
        durable = self.head = newest(self.conn, self._genesis)
        try:
            with self.db.atomic():
                for row in rows:
                    try:
                        self.write([row])
                    except BAD_ROW as error:
                        refused.append((row, error))
        except BaseException:
            self._attempt, self.head = self.head, durable
            raise
        return refused

    def recover(self) -> bool:
        """Begin again with a new connection after an error. True when the failed transaction turns out to be durable after all.

        Raises sqlite3.Error or ArchiveError: the disk is still gone, or another archive lies in its place.
        """
        self.close()
        self._db = schema.connect(self.path, write=True)
        if self._identity() != self.identity:
            self.close()
            raise ArchiveError(f"{self.path} is another archive than the one that was open: put the right one back, or restart the station")
        found, attempt, self._attempt = newest(self.conn, self._genesis), self._attempt, None
        if found.index < self.head.index:
            self.close()
            raise ArchiveError(f"{self.path} has lost rows while it was open: put the right file back, or restart the station")
        self.head = found
        self._file = _file_id(self.path)
        return attempt is not None and found == attempt

    @property
    def is_open(self) -> bool:
        return self._db is not None

    def checkpoint(self) -> bool:
        """Move the WAL into the database, as far as readers allow, without waiting for them. True when all was moved."""
        busy, pages, moved = self.conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return not busy and pages == moved

    def close(self) -> None:
        """Close the connection (which checkpoints if it can). Never raises; safe to call twice."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def _open(self) -> None:
        _create(self.path)
        self._db = schema.connect(self.path, write=True, busy_s=2.0)
        version = schema.check_version(self._db, self.path)
        if os.path.getsize(self.path) <= QUICK_CHECK_BYTES:
            problem = str(self.conn.execute("PRAGMA quick_check(1)").fetchone()[0])
            if problem != "ok":
                raise sqlite3.DatabaseError(" ".join(problem.split()))
        mode = str(self.conn.execute("PRAGMA journal_mode=WAL").fetchone()[0])
        if mode != "wal":
            raise ArchiveError(f"{self.path} cannot use write-ahead logging (it is {mode}): keep the archive on a local disk")
        if version < schema.VERSION:
            schema.migrate(self._db, version, schema.MIGRATIONS, (str(uuid.uuid4()), utc_us(), sqlite3.sqlite_version))
        self.identity = self._identity()
        self._genesis = genesis(self.identity.id, self.identity.created_us, self.identity.sqlite)
        self.head = newest(self.conn, self._genesis)
        broken = check_range(self.conn, self._genesis, after=max(0, self.head.index - TAIL_ROWS), upto=self.head.index).broken
        if broken:
            raise ArchiveError(f"{self.path} was changed from outside ({broken}): {_WAY_ON}")
        self.conn.execute("PRAGMA busy_timeout=100")
        self._file = _file_id(self.path)

    def _identity(self) -> Identity:
        row = self.conn.execute("SELECT id, created_us, sqlite FROM archive").fetchone()
        if row is None:
            raise sqlite3.DatabaseError("its table archive is empty")
        return Identity(*row)

    def _same_file(self) -> None:
        # Rows written to a file that was moved or deleted would be acknowledged, and found by nobody.
        if _file_id(self.path) != self._file:
            raise ArchiveError(f"{self.path} was replaced while it was open: put it back, or restart the station")


_INSERT = {table: schema.insert_sql(table) for table in schema.CHAINED}

_WAY_ON = (
    "move inspector.db with its -wal and -shm to another folder and keep them (a backup can be put in their place); "
    "without them the station begins a new archive, and run numbers go on"
)


def _file_id(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise ArchiveError(f"{path} is gone ({error.strerror}): put it back, or restart the station") from error
    return found.st_dev, found.st_ino


def _create(path: Path) -> None:
    """An empty database file with mode 0660 where there is none: SQLite gives -wal and -shm the mode of the database."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o660)
    except FileExistsError:
        return
    try:
        os.fchmod(handle, 0o660)
    finally:
        os.close(handle)


def _opening_failed(path: Path, error: Exception) -> str:
    if isinstance(error, OSError | sqlite3.OperationalError):
        return f"{path} cannot be opened for writing ({error}): make its folder writable for this user, with room on the disk"
    return f"{path} is damaged ({error}): {_WAY_ON}"
