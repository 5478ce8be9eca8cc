"""All reads of the archive, beside a running station: connections of their own, `mode=ro`, one short transaction a call."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from inspector.errors import ArchiveError
from inspector.trace import schema
from inspector.types import Disposition, PartId, PartKind, Timings, VerdictKind

_COLUMNS = """v.idx, v.run, v.sequence, v.kind, v.verdict, v.judged, v.overruled_code, v.overruled_text, v.disposition, v.reasons,
    v.release, v.serial, v.lot, v.source, v.utc"""


@dataclass(frozen=True, slots=True)
class PartRow:
    """One part in a list. verdict is what counts; judged is what stands in its row (they differ where it was overruled).

    index is the row's place in the chain: pass it as `after` to go on from here.
    """

    index: int
    part: PartId
    kind: PartKind
    verdict: VerdictKind
    judged: VerdictKind
    disposition: Disposition | None
    reasons: tuple[dict[str, Any], ...]
    overruled: str | None
    release: str
    serial: str | None
    lot: str | None
    source: str
    utc: str


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event. at_ns: station time."""

    index: int
    kind: str
    data: dict[str, Any]
    utc_us: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class PartRecord:
    """All that stands about one part.

    detections    [class, score, x1, y1, x2, y2] each, score >= 0.1, frame pixels
    class_scores  (class, zone, highest raw score)
    pose          (dx px, dy px, score)
    picture       where the stored picture lies, or None
    """

    row: PartRow
    detections: tuple[list[Any], ...]
    class_scores: tuple[tuple[str, str, float | None], ...]
    pose: tuple[float | None, float | None, float | None]
    presence: str
    pixels_sha256: str | None
    timings: Timings
    events: tuple[EventRow, ...]
    picture: Path | None


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run: its number, station, software, facts, the SQLite that wrote it, and when it began (µs since 1970, UTC)."""

    run: int
    station: str
    software: str
    facts: dict[str, Any]
    sqlite: str
    utc_us: int


def open_reader(folder: Path) -> "Reader":
    """Open the archive in `folder` for reading. Raises ArchiveError: there is none, or it is newer or older than this software."""
    return Reader(folder)


class Reader:
    """Reads an archive; a context manager. For one thread at a time. Every method raises ArchiveError when the database cannot be read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / schema.DATABASE
        try:
            self._db = schema.connect(self._path, write=False, busy_s=2.0)
        except sqlite3.Error as error:
            raise ArchiveError(f"{self._path} cannot be opened ({error}): name the folder of an archive that this user can read") from error
        try:
            with self._reading():
                version = schema.check_version(self._db, self._path)
            if version < schema.VERSION:
                raise ArchiveError(f"{self._path} is of an older version: start the station on it once, which brings it up to date")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        self._db.close()

    def runs(self, limit: int = 100) -> list[RunRow]:
        """The newest runs, newest first."""
        with self._reading() as conn:
            sql = "SELECT run, station, software, facts, sqlite, utc_us FROM runs ORDER BY run DESC LIMIT ?"
            rows = conn.execute(sql, (limit,)).fetchall()
        return [RunRow(run, station, software, json.loads(facts), *rest) for run, station, software, facts, *rest in rows]

    def release(self, release: str) -> dict[str, Any] | None:
        """What a release's id stands for; None when it is not recorded."""
        with self._reading() as conn:
            row = conn.execute("SELECT document FROM releases WHERE id = ?", (release,)).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def parts(self, run: int | None = None, after: int | None = None, limit: int = 100, *, newest_first: bool = False) -> list[PartRow]:
        """One page of parts in the order of writing, or backwards.

        run    only this run
        after  the index of the last row of the page before; None begins
        """
        conditions, values = ["1"], dict[str, int]()
        if run is not None:
            # + keeps SQLite on the index of the chain, which gives the order.
            conditions.append("+v.run = :run")
            values["run"] = run
        if after is not None:
            conditions.append("v.idx < :after" if newest_first else "v.idx > :after")
            values["after"] = after
        elif run is not None and not newest_first:
            conditions.append("v.idx > (SELECT idx FROM runs WHERE run = :run)")
        sql = f"SELECT {_COLUMNS} FROM part_verdict v WHERE {' AND '.join(conditions)} ORDER BY v.idx {'DESC' if newest_first else ''}"
        with self._reading() as conn:
            rows = conn.execute(f"{sql} LIMIT :limit", {**values, "limit": limit}).fetchall()
        return [_part_row(row) for row in rows]

    def part(self, run: int, sequence: int) -> PartRecord | None:
        """All about one part; None when it is not recorded."""
        ids = (run, sequence)
        with self._reading() as conn:
            row = conn.execute(f"SELECT {_COLUMNS} FROM part_verdict v WHERE v.run = ? AND v.sequence = ?", ids).fetchone()
            if row is None:
                return None
            rest = conn.execute(
                "SELECT detections, dx, dy, pose_score, presence, pixels_sha256, triggered_ns, exposed_ns, arrived_ns, detect_started_ns, "
                "detected_ns, decided_ns FROM parts WHERE run = ? AND sequence = ?",
                ids,
            ).fetchone()
            select = "SELECT defect_class, zone, score FROM part_class WHERE part = ? ORDER BY score DESC, defect_class, zone"
            scores = conn.execute(select, (row[0],)).fetchall()
            select = "SELECT idx, kind, data, utc_us, at_ns FROM events WHERE run = ? AND sequence = ? ORDER BY idx"
            events = tuple(EventRow(e[0], e[1], json.loads(e[2]), e[3], e[4]) for e in conn.execute(select, ids).fetchall())
        picture = next((self._folder / event.data["file"] for event in events if event.kind == "picture"), None)
        return PartRecord(
            row=_part_row(row),
            detections=tuple(json.loads(rest[0])),
            class_scores=tuple(scores),
            pose=rest[1:4],
            presence=rest[4],
            pixels_sha256=rest[5],
            timings=Timings(*rest[6:]),
            events=events,
            picture=picture,
        )

    def station_events(self, run: int) -> list[EventRow]:
        """The events of a run that are about no part, oldest first."""
        with self._reading() as conn:
            sql = "SELECT idx, kind, data, utc_us, at_ns FROM events WHERE run = ? AND sequence IS NULL ORDER BY idx"
            rows = conn.execute(sql, (run,)).fetchall()
        return [EventRow(index, kind, json.loads(data), utc_us, at_ns) for index, kind, data, utc_us, at_ns in rows]

    def counts(self, run: int, kind: PartKind | None = None) -> dict[VerdictKind, int]:
        """Parts of a run by the verdict that counts; all three kinds are there. `kind` narrows to production, tests …"""
        wanted = "" if kind is None else "AND p.kind = :kind"
        values = {"run": run, "kind": "" if kind is None else kind.value}
        with self._reading() as conn:
            sql = f"SELECT verdict, COUNT(*) FROM parts p WHERE run = :run {wanted} GROUP BY verdict"
            found = dict(conn.execute(sql, values).fetchall())
            moved = conn.execute(
                "SELECT v.judged, v.verdict, COUNT(*) FROM part_verdict v JOIN parts p ON p.idx = v.idx WHERE (v.run, v.sequence) IN "
                f"(SELECT run, sequence FROM events WHERE run = :run AND kind = 'overruled') {wanted} GROUP BY v.judged, v.verdict",
                values,
            ).fetchall()
        counts = {verdict: int(found.get(verdict.value, 0)) for verdict in VerdictKind}
        for judged, verdict, number in moved:
            counts[VerdictKind(judged)] -= number
            counts[_verdict(verdict)] += number
        return counts

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One look at the database; everything is fetched inside, so that no transaction stays open and lets the WAL grow."""
        try:
            self._db.conn.execute("BEGIN")
            try:
                yield self._db.conn
            finally:
                self._db.conn.execute("COMMIT")
        except sqlite3.Error as error:
            raise ArchiveError(f"{self._path} cannot be read ({error}): look at the disk, or run verify on the archive") from error


def _part_row(row: tuple[Any, ...]) -> PartRow:
    index, run, sequence, kind, verdict, judged, code, text, disposition, reasons, release, serial, lot, source, utc = row
    return PartRow(
        index=index,
        part=PartId(run, sequence),
        kind=PartKind(kind),
        verdict=_verdict(verdict),
        judged=VerdictKind(judged),
        disposition=None if disposition is None else _disposition(disposition),
        reasons=tuple(json.loads(reasons)),
        overruled=None if code is None and text is None else f"{code}: {text}",
        release=release,
        serial=serial,
        lot=lot,
        source=source,
        utc=utc,
    )


def _verdict(value: object) -> VerdictKind:
    """An overruling event holds what its writer put there: what is no verdict cannot have let the part pass."""
    return VerdictKind(str(value)) if value in set(VerdictKind) else VerdictKind.FAULT


def _disposition(value: object) -> Disposition:
    return Disposition(str(value)) if value in set(Disposition) else Disposition.UNKNOWN
