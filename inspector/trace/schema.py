"""The tables of the archive, their migrations, and how a connection is set up. docs/records.md explains every column.

Every table is append-only (triggers) and STRICT; rows of the tables in `CHAINED` share one index and one hash chain (chain.py).
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from sqlite_utils import Database

from inspector.errors import ArchiveError

DATABASE = "inspector.db"
"""Name of the database file in the archive's folder."""

APPLICATION_ID = 0x494E5350
"""Marks the file as an Inspector archive ("INSP", https://www.sqlite.org/pragma.html#pragma_application_id)."""

CHAINED: dict[str, tuple[str, ...]] = {
    "runs": ("idx", "run", "station", "software", "facts", "sqlite", "utc_us", "at_ns"),
    "releases": ("idx", "id", "document", "utc_us", "at_ns"),
    "parts": (
        *("idx", "run", "sequence", "kind", "verdict", "release", "reasons", "detections", "dx", "dy", "pose_score", "presence"),
        *("pixels_sha256", "source", "serial", "lot"),
        *("triggered_ns", "exposed_ns", "arrived_ns", "detect_started_ns", "detected_ns", "decided_ns", "utc_us"),
    ),
    "events": ("idx", "run", "sequence", "kind", "data", "utc_us", "at_ns"),
}
"""The chained tables in the order in which they are written, with their columns in the order in which they are hashed (`hash` is last)."""

_TABLES = (
    "CREATE TABLE archive (id TEXT PRIMARY KEY NOT NULL, created_us INTEGER NOT NULL, sqlite TEXT NOT NULL) STRICT",
    """CREATE TABLE runs (
        idx INTEGER PRIMARY KEY, run INTEGER NOT NULL UNIQUE, station TEXT NOT NULL, software TEXT NOT NULL, facts TEXT NOT NULL,
        sqlite TEXT NOT NULL, utc_us INTEGER NOT NULL, at_ns INTEGER NOT NULL, hash BLOB NOT NULL) STRICT""",
    """CREATE TABLE releases (
        idx INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, document TEXT NOT NULL,
        utc_us INTEGER NOT NULL, at_ns INTEGER NOT NULL, hash BLOB NOT NULL) STRICT""",
    """CREATE TABLE parts (
        idx INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs(run), sequence INTEGER NOT NULL, kind TEXT NOT NULL,
        verdict TEXT NOT NULL CHECK (verdict IN ('PASS', 'REJECT', 'FAULT')), release TEXT NOT NULL, reasons TEXT NOT NULL,
        detections TEXT NOT NULL, dx REAL, dy REAL, pose_score REAL, presence TEXT NOT NULL, pixels_sha256 TEXT, source TEXT NOT NULL,
        serial TEXT, lot TEXT, triggered_ns INTEGER, exposed_ns INTEGER, arrived_ns INTEGER, detect_started_ns INTEGER,
        detected_ns INTEGER, decided_ns INTEGER, utc_us INTEGER NOT NULL, hash BLOB NOT NULL, UNIQUE (run, sequence)) STRICT""",
    """CREATE TABLE part_class (
        part INTEGER NOT NULL REFERENCES parts(idx), defect_class TEXT NOT NULL, zone TEXT NOT NULL, score REAL,
        PRIMARY KEY (part, defect_class, zone)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE events (
        idx INTEGER PRIMARY KEY, run INTEGER, sequence INTEGER, kind TEXT NOT NULL, data TEXT NOT NULL,
        utc_us INTEGER NOT NULL, at_ns INTEGER NOT NULL, hash BLOB NOT NULL) STRICT""",
    "CREATE INDEX parts_serial ON parts(serial) WHERE serial IS NOT NULL",
    "CREATE INDEX parts_lot ON parts(lot) WHERE lot IS NOT NULL",
    "CREATE INDEX events_part ON events(run, sequence) WHERE sequence IS NOT NULL",
    "CREATE INDEX events_overruled ON events(run, sequence) WHERE kind = 'overruled'",
    "CREATE INDEX events_station ON events(run, kind) WHERE sequence IS NULL",
)

_VIEW = """CREATE VIEW part_verdict AS
    SELECT p.idx, p.run, p.sequence, p.kind,
        CASE WHEN o.idx IS NULL THEN p.verdict ELSE COALESCE(json_extract(o.data, '$.verdict'), 'FAULT') END AS verdict,
        p.verdict AS judged,
        json_extract(o.data, '$.code') AS overruled_code, json_extract(o.data, '$.text') AS overruled_text,
        (SELECT json_extract(d.data, '$.disposition') FROM events d
            WHERE d.run = p.run AND d.sequence = p.sequence AND d.kind = 'disposed' ORDER BY d.idx LIMIT 1) AS disposition,
        p.reasons, p.release, p.serial, p.lot, p.source,
        strftime('%Y-%m-%dT%H:%M:%S', p.utc_us / 1000000, 'unixepoch') || printf('.%06dZ', p.utc_us % 1000000) AS utc
    FROM parts p LEFT JOIN events o ON o.idx = (
        SELECT MAX(e.idx) FROM events e WHERE e.run = p.run AND e.sequence = p.sequence AND e.kind = 'overruled')"""


def _guards(table: str) -> tuple[str, str]:
    """Triggers that keep a table append-only."""
    return (
        f"CREATE TRIGGER {table}_keep BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, '{table} is append-only: no row changes'); END",
        f"CREATE TRIGGER {table}_stay BEFORE DELETE ON {table} BEGIN SELECT RAISE(ABORT, '{table} is append-only: no row goes'); END",
    )


MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (*_TABLES, _VIEW, *(guard for table in ("archive", "part_class", *CHAINED) for guard in _guards(table))),
)
"""Step n makes version n + 1 out of version n; a step is never edited once released, only followed by another."""

VERSION = len(MIGRATIONS)


def insert_sql(table: str) -> str:
    """The INSERT for one chained table: its columns, then the hash."""
    columns = (*CHAINED[table], "hash")
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def connect(path: Path, *, write: bool, busy_s: float = 0.1) -> Database:
    """A connection to an existing database file: read-write for the one writer, or `mode=ro`. Raises sqlite3.Error.

    Readers never use `query_only`: such a reader checkpoints when it closes, and two checkpointing connections are what the WAL-reset
    defect of SQLite 3.7.0 to 3.51.2 needs (https://www.sqlite.org/wal.html). busy_s bounds the wait for a foreign writer's lock.
    """
    uri = f"{path.absolute().as_uri()}?mode={'rw' if write else 'ro'}"
    conn = sqlite3.connect(uri, uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False)
    try:
        # No plugins: what some other package installs has no place in the connection that the line depends on.
        db = Database(conn, execute_plugins=False)
        conn.execute("PRAGMA mmap_size=0")
        conn.execute("PRAGMA foreign_keys=ON")
        if write:
            conn.execute("PRAGMA synchronous=FULL")
            conn.execute("PRAGMA wal_autocheckpoint=0")
    except BaseException:
        conn.close()
        raise
    return db


def check_version(db: Database, path: Path) -> int:
    """The schema version of the file (0 when it is new). Raises ArchiveError for a newer one, or for another program's file."""
    version = int(db.conn.execute("PRAGMA user_version").fetchone()[0])
    application = int(db.conn.execute("PRAGMA application_id").fetchone()[0])
    tables = int(db.conn.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0])
    if tables and application != APPLICATION_ID:
        raise ArchiveError(f"{path} is not an archive of Inspector: name another folder, or move that file away")
    if version > VERSION:
        raise ArchiveError(f"{path} has version {version}, this software knows {VERSION}: install the newer Inspector that wrote it")
    return version


def migrate(db: Database, version: int, migrations: Sequence[Sequence[str]], first_row: tuple[str, int, str]) -> None:
    """Bring the database from `version` to the newest; each step is one transaction. Raises sqlite3.Error.

    first_row (id, created_us, sqlite) names the archive for ever when it is new.
    """
    for number, statements in enumerate(migrations[version:], start=version + 1):
        with db.atomic():
            for statement in statements:
                db.conn.execute(statement)
            if number == 1:
                db.conn.execute("INSERT INTO archive (id, created_us, sqlite) VALUES (?, ?, ?)", first_row)
                db.conn.execute(f"PRAGMA application_id={APPLICATION_ID}")
            db.conn.execute(f"PRAGMA user_version={number}")
