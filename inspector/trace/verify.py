"""Walk the chain: is every row still the one that was written?"""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from typing import Any

from inspector.errors import ArchiveError
from inspector.trace import schema
from inspector.trace.chain import Head, follow, genesis

PAGE = 2000
"""Rows a read transaction; a reader that stays in one lets the WAL grow."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a walk along the chain found.

    rows      rows whose hash is right, up to the first broken one
    parts     parts among them
    head      the newest right row: keep it elsewhere, and pass it next time
    broken    the first row that does not fit, in words; None when all fit
    pictures  pictures compared with their hash (0 unless asked for)
    changed   pictures that are gone or not what they were, in words
    """

    rows: int
    parts: int
    head: Head
    broken: str | None = None
    pictures: int = 0
    changed: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.broken is None and not self.changed


def verify(folder: Path, *, pictures: bool = False, head: Head | None = None) -> VerifyReport:
    """Recompute every hash of the archive in `folder`, beside a running station if need be.

    pictures  also compare each stored picture with the SHA-256 in its event
    head      a head kept from before: the chain must still hold it (this alone finds a cut tail)

    Raises ArchiveError when there is no archive, or it cannot be read.
    """
    path = folder / schema.DATABASE
    try:
        with closing(schema.connect(path, write=False, busy_s=2.0)) as db:
            if schema.check_version(db, path) < schema.VERSION:
                raise ArchiveError(f"{path} is of an older version: start the station on it once, which brings it up to date")
            return _verify(db.conn, folder, pictures, head)
    except sqlite3.Error as error:
        raise ArchiveError(f"{path} cannot be read ({error}): check that the folder is an archive and can be read by this user") from error


def newest(conn: sqlite3.Connection, start: Head) -> Head:
    """The newest row of the chain as it stands in the tables; `start` (the genesis) when there is none."""
    head = start
    for table in schema.CHAINED:
        row = conn.execute(f"SELECT idx, hash FROM {table} ORDER BY idx DESC LIMIT 1").fetchone()
        if row is not None and row[0] > head.index:
            head = Head(*row)
    return head


def check_range(conn: sqlite3.Connection, start: Head, *, after: int, upto: int) -> VerifyReport:
    """Check the rows with after < index <= upto. `start` is the genesis; for a later row the stored hash before it is trusted."""
    head = start if after == 0 else _stored(conn, after)
    if head is None:
        return VerifyReport(0, 0, start, f"row {after} is missing")
    rows = parts = 0
    while head.index < upto:
        page_end = min(head.index + PAGE, upto)
        try:
            page = list(_page(conn, head.index, page_end))
        except sqlite3.DatabaseError as error:  # a damaged page, or text that is no UTF-8
            return VerifyReport(rows, parts, head, f"rows {head.index + 1} to {page_end} cannot be read ({error})")
        for table, values, scores in page:
            name = _name(table, values)
            if values[0] != head.index + 1:
                lost, twice = f"rows {head.index + 1} to {values[0] - 1} are missing", f"two rows are number {values[0]}"
                return VerifyReport(rows, parts, head, f"{lost if values[0] > head.index else twice}, at {name}")
            if _follow(head.digest, table, values, scores) != values[-1]:
                return VerifyReport(rows, parts, head, f"{name} (row {values[0]}) was changed, or a row before it")
            head = Head(values[0], values[-1])
            rows += 1
            parts += table == "parts"
        if head.index < page_end:
            return VerifyReport(rows, parts, head, f"rows {head.index + 1} to {page_end} are missing")
    return VerifyReport(rows, parts, head)


def _verify(conn: sqlite3.Connection, folder: Path, pictures: bool, kept: Head | None) -> VerifyReport:
    identity = conn.execute("SELECT id, created_us, sqlite FROM archive").fetchall()
    if len(identity) != 1:
        return VerifyReport(0, 0, Head(0, b""), f"the table archive has {len(identity)} rows instead of one")
    start = genesis(*identity[0])
    report = check_range(conn, start, after=0, upto=newest(conn, start).index)
    broken = report.broken or _strays(conn) or _lost(conn, kept, start)
    checked, changed = _pictures(conn, folder, report.head.index) if pictures else (0, ())
    return VerifyReport(report.rows, report.parts, report.head, broken, checked, changed)


def _strays(conn: sqlite3.Connection) -> str | None:
    """Rows that a walk along the index would not meet."""
    for table in schema.CHAINED:
        row = conn.execute(f"SELECT idx FROM {table} WHERE idx < 1 LIMIT 1").fetchone()
        if row is not None:
            return f"{table} has a row {row[0]}, which no station writes"
    row = conn.execute("SELECT part FROM part_class WHERE part NOT IN (SELECT idx FROM parts) LIMIT 1").fetchone()
    return None if row is None else f"part_class has scores for row {row[0]}, which is no part"


def _lost(conn: sqlite3.Connection, kept: Head | None, start: Head) -> str | None:
    if kept is None:
        return None
    found = start if kept.index == 0 else _stored(conn, kept.index)
    if found is None:
        return f"the chain ends before row {kept.index}, which was its head once: newer rows were cut off"
    return None if found == kept else f"row {kept.index} is not the head that was kept: the history was written anew"


def _stored(conn: sqlite3.Connection, index: int) -> Head | None:
    for table in schema.CHAINED:
        row = conn.execute(f"SELECT idx, hash FROM {table} WHERE idx = ?", (index,)).fetchone()
        if row is not None:
            return Head(*row)
    return None


def _page(conn: sqlite3.Connection, after: int, upto: int) -> Iterator[tuple[str, tuple[Any, ...], tuple[tuple[Any, ...], ...]]]:
    """The rows after < idx <= upto of all tables in the order of their index: table, columns with the hash last, scores."""
    span = (after, upto)
    scores: dict[int, list[tuple[Any, ...]]] = {}
    lists: list[list[tuple[int, str, tuple[Any, ...]]]] = []
    conn.execute("BEGIN")  # one look: scores and parts must be of the same moment
    try:
        select = "SELECT part, defect_class, zone, score FROM part_class WHERE part > ? AND part <= ? ORDER BY part, defect_class, zone"
        for part, *score in conn.execute(select, span):
            scores.setdefault(part, []).append(tuple(score))
        for table, columns in schema.CHAINED.items():
            sql = f"SELECT {', '.join(columns)}, hash FROM {table} WHERE idx > ? AND idx <= ? ORDER BY idx"
            lists.append([(row[0], table, row) for row in conn.execute(sql, span)])
    finally:
        conn.execute("COMMIT")
    for index, table, row in merge(*lists):
        yield table, row, tuple(scores.get(index, ())) if table == "parts" else ()


def _follow(previous: bytes, table: str, values: tuple[Any, ...], scores: tuple[tuple[Any, ...], ...]) -> bytes | None:
    try:
        return follow(previous, table, values[:-1], scores)
    except (ValueError, TypeError):
        return None  # a value that this software never writes


def _name(table: str, values: tuple[Any, ...]) -> str:
    if table == "parts":
        return f"part {values[1]}-{values[2]}"
    if table == "events":
        return f"event {values[3]}" + ("" if values[2] is None else f" of part {values[1]}-{values[2]}")
    return f"{table} {values[1]}"


def _pictures(conn: sqlite3.Connection, folder: Path, upto: int) -> tuple[int, tuple[str, ...]]:
    checked, after, changed = 0, 0, []
    select = (
        "SELECT idx, run, sequence, json_extract(data, '$.file'), json_extract(data, '$.sha256') FROM events "
        "WHERE kind = 'picture' AND idx > ? AND idx <= ? ORDER BY idx LIMIT 100"
    )
    while page := conn.execute(select, (after, upto)).fetchall():
        for _, run, sequence, file, sha256 in page:
            checked += 1
            try:
                same = hashlib.sha256((folder / file).read_bytes()).hexdigest() == sha256
            except OSError as error:
                changed.append(f"picture of part {run}-{sequence} cannot be read ({error.strerror}): {file}")
            else:
                if not same:
                    changed.append(f"picture of part {run}-{sequence} was changed: {file}")
        after = page[-1][0]
    return checked, tuple(changed)
