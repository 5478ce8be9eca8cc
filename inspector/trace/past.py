"""What the archive knows of the run before this one: read once, when the station opens it."""

import hashlib
import json
import sqlite3
from pathlib import Path

from inspector.ports import ACKNOWLEDGED, DISPOSED, LINE_OPENED, OVERRULED, PastRun
from inspector.trace.evidence import PICTURE, PICTURE_MISSING, picture_event, picture_path
from inspector.types import Event, PartId

LOOK_BACK = 100_000
"""So many newest sequences of the run are looked at, nearly three hours at 612 parts/min: nothing older was cut off or is on the line."""

RUN_ENDED = "run ended"
"""Kind of the event that marks a clean end."""


def past_run(conn: sqlite3.Connection) -> PastRun | None:
    """The newest run that reached the line, else the newest; None when there is none.

    A run that ended before it reached the line has accounted for nothing: what the run before it left open is still open.
    `missing` and `undisposed` look LOOK_BACK sequences back.
    """
    found = conn.execute("SELECT MAX(run) FROM events WHERE kind = ? AND sequence IS NULL", (LINE_OPENED,)).fetchone()[0]
    run = newest_run(conn) if found is None else int(found)
    if run is None:
        return None
    opened = [json.loads(row[0]) for row in _station_events(conn, run, LINE_OPENED)]
    found = conn.execute("SELECT MAX(sequence) FROM parts WHERE run = ?", (run,)).fetchone()[0]
    since = -1 if found is None else found - LOOK_BACK
    missing = () if found is None or not opened else _missing(conn, run, max(since, int(opened[0].get("counter", 0))))
    return PastRun(
        run=run,
        line_epoch=opened[-1].get("epoch") if opened else None,
        line_counter=opened[-1].get("counter") if opened else None,
        newest_sequence=found,
        missing=missing,
        undisposed=_without(conn, run, since, (DISPOSED,)),
        passed=_without(conn, run, since, (DISPOSED, OVERRULED), "AND p.verdict = 'PASS'"),
        undelivered=_without(conn, run, since, (DISPOSED, OVERRULED, ACKNOWLEDGED), "AND p.verdict = 'PASS'"),
        clean_end=bool(_station_events(conn, run, RUN_ENDED)),
    )


def newest_run(conn: sqlite3.Connection) -> int | None:
    """The number of the newest run that has a row; None when there is none."""
    found = conn.execute("SELECT MAX(run) FROM runs").fetchone()[0]
    return None if found is None else int(found)


def highest_number(conn: sqlite3.Connection) -> int:
    """The highest run number that stands anywhere, in events about a run that this archive never saw too; 0 when there is none."""
    parts = conn.execute("SELECT MAX(run) FROM events WHERE sequence IS NOT NULL").fetchone()[0]
    station = conn.execute("SELECT MAX(run) FROM events WHERE sequence IS NULL").fetchone()[0]
    return max(newest_run(conn) or 0, parts or 0, station or 0)


def cut_off_pictures(conn: sqlite3.Connection, folder: Path, run: int) -> list[Event]:
    """Events for rejects and faults of the run that a crash left without one: their picture if the file is whole, or that it is missing.

    A file stands under its final name only after it was fsynced, so it is the one that was meant.
    """
    newest = conn.execute("SELECT MAX(sequence) FROM parts WHERE run = ?", (run,)).fetchone()[0]
    if newest is None:
        return []
    events = []
    for sequence in _without(conn, run, newest - LOOK_BACK, (PICTURE, PICTURE_MISSING), "AND p.verdict <> 'PASS'"):
        part = PartId(run, sequence)
        try:
            png = (folder / picture_path(part)).read_bytes()
        except OSError:
            events.append(Event(PICTURE_MISSING, {"reason": "the station was cut off before it was stored"}, part))
        else:
            events.append(picture_event(part, hashlib.sha256(png).hexdigest(), len(png)))
    return events


def _station_events(conn: sqlite3.Connection, run: int, kind: str) -> list[tuple[str]]:
    return conn.execute("SELECT data FROM events WHERE run = ? AND kind = ? AND sequence IS NULL ORDER BY idx", (run, kind)).fetchall()


def _missing(conn: sqlite3.Connection, run: int, after: int) -> tuple[int, ...]:
    gaps = conn.execute(
        "SELECT before + 1, sequence FROM (SELECT sequence, LAG(sequence, 1, :after) OVER (ORDER BY sequence) AS before "
        "FROM parts WHERE run = :run AND sequence > :after) WHERE sequence > before + 1",
        {"run": run, "after": after},
    )
    return tuple(number for first, end in gaps.fetchall() for number in range(first, end))


def _without(conn: sqlite3.Connection, run: int, since: int, kinds: tuple[str, ...], condition: str = "") -> tuple[int, ...]:
    """Sequences after `since` of recorded parts that have no event of one of these kinds, ascending."""
    marks = ", ".join("?" * len(kinds))
    rows = conn.execute(
        f"SELECT p.sequence FROM parts p WHERE p.run = ? AND p.sequence > ? {condition} AND NOT EXISTS (SELECT 1 FROM events e "
        f"WHERE e.run = p.run AND e.sequence = p.sequence AND e.kind IN ({marks})) ORDER BY p.sequence",
        (run, since, *kinds),
    )
    return tuple(row[0] for row in rows.fetchall())
