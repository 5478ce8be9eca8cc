"""The bare durable commit: what the archive around it is measured against."""

import sqlite3
from pathlib import Path

from inspector.clock import ms, now_ns


class BareCommit:
    """One table, WAL, synchronous=FULL, one row a commit: as little as a durable row can take with SQLite."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "bare.db"
        self._conn = sqlite3.connect(self._path, isolation_level=None)
        self._conn.execute("PRAGMA journal_mode=WAL")
        self._conn.execute("PRAGMA synchronous=FULL")
        self._conn.execute("CREATE TABLE IF NOT EXISTS bare (sequence INTEGER PRIMARY KEY, row BLOB)")

    def commit(self) -> float:
        """Write one row of 400 bytes durably; returns the time it took in ms."""
        began_ns = now_ns()
        self._conn.execute("BEGIN IMMEDIATE")
        self._conn.execute("INSERT INTO bare (row) VALUES (zeroblob(400))")
        self._conn.execute("COMMIT")
        return ms(now_ns() - began_ns)

    def remove(self) -> None:
        """Close the file and remove it."""
        self._conn.close()
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
