"""From the words of the station to rows of the archive: pure, no I/O.

Nothing that the station can hand over fails here: a number that is none becomes NULL, text that is no Unicode is escaped. A record with a
gap is better than no record.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from inspector.ports import Done, RunStart
from inspector.trace.chain import Score, Value
from inspector.types import Box, Detection, Event, Inspection, PartId, Reason, VerdictKind

MIN_DETECTION_SCORE = 0.1
"""Detections below are not kept one by one; part_class keeps the highest raw score of each class and zone down to 0.01."""

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=str).encode


@dataclass(slots=True, eq=False)
class Row:
    """One row on its way to the disk.

    values  the columns of schema.CHAINED[table] without `idx`, which the writer gives
    urgent  a PASS waits for this row
    once    not tried again after an error (its caller waits, and decides)
    done    told of the first outcome, then dropped
    after   told once at the end: True when durable, False when it never will be
    """

    table: str
    values: tuple[Value, ...]
    scores: tuple[Score, ...] = ()
    part: PartId | None = None
    urgent: bool = False
    once: bool = False
    done: Done | None = None
    after: Callable[[bool], None] | None = field(default=None)

    @property
    def name(self) -> str:
        """For messages: "part 3-120", "event disposed", "run 3"."""
        if self.table == "parts":
            return f"part {self.part}"
        return f"event {self.values[2]}" if self.table == "events" else f"{self.table} {self.values[0]}"


def utc_us() -> int:
    """Wall-clock time in µs since 1970, UTC; for people, because it may jump."""
    return time.time_ns() // 1000


def text(value: str) -> str:
    """The text as SQLite and JSON can carry it: a lone surrogate (a file name that is not UTF-8) is written as its escape."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def to_json(value: object) -> str:
    """Compact JSON of anything: NaN and infinity become null, an unknown object its str()."""
    try:
        return text(_dumps(value))
    except (ValueError, TypeError, RecursionError):
        return text(_dumps(_plain(value, 0)))


def part_row(inspection: Inspection, done: Done | None = None) -> Row:
    """The row of a part, with its rows of part_class."""
    verdict, t = inspection.verdict, inspection.timings
    values: tuple[Value, ...] = (
        *(int(inspection.part.run), int(inspection.part.sequence), inspection.kind.value, verdict.kind.value, text(inspection.release)),
        to_json([_reason(reason) for reason in verdict.reasons]),
        to_json([_detection(d) for d in inspection.detections if not d.score < MIN_DETECTION_SCORE]),
        *(_real(inspection.pose.dx), _real(inspection.pose.dy), _real(inspection.pose.score), text(inspection.presence)),
        *(inspection.pixels_sha256, text(inspection.source), _optional(inspection.serial), _optional(inspection.lot)),
        *(_int(ns) for ns in (t.triggered_ns, t.exposed_ns, t.arrived_ns, t.detect_started_ns, t.detected_ns, t.decided_ns)),
        utc_us(),
    )
    return Row("parts", values, _scores(inspection), inspection.part, urgent=verdict.kind is VerdictKind.PASS, done=done)


def event_row(event: Event, run: int | None, at_ns: int) -> Row:
    """The row of an event; `run` is that of the station, used where the event names no part."""
    part = event.part
    ids: tuple[Value, Value] = (run, None) if part is None else (int(part.run), int(part.sequence))
    return Row("events", (*ids, text(event.kind), to_json(event.data), utc_us(), at_ns), part=part)


def run_row(run: int, start: RunStart, sqlite: str, at_ns: int) -> Row:
    """The row that opens a run."""
    return Row("runs", (run, text(start.station), text(start.software), to_json(start.facts), sqlite, utc_us(), at_ns), once=True)


def release_row(release: str, document: dict[str, Any], at_ns: int) -> Row:
    """The row of a release: everything that parts refer to by its id."""
    return Row("releases", (text(release), to_json(document), utc_us(), at_ns), once=True)


def _scores(inspection: Inspection) -> tuple[Score, ...]:
    highest: dict[tuple[str, str], float | None] = {}
    for item in inspection.class_scores:
        key, score = (text(item.defect_class), text(item.zone)), _real(item.score)
        known = highest.get(key)
        if key not in highest or (score is not None and (known is None or score > known)):
            highest[key] = score
    # UTF-8 order is SQLite's order of the key (BINARY), in which verify reads the rows back; Python's order of str is the same.
    return tuple((name, zone, highest[name, zone]) for name, zone in sorted(highest))


def _reason(reason: Reason) -> dict[str, object]:
    entries: dict[str, object] = {
        "code": reason.code,
        "text": reason.text,
        "class": reason.defect_class,
        "severity": reason.severity,
        "zone": reason.zone,
        "score": _round(reason.score, 4),
        "limit": _round(reason.limit, 4),
        "box": None if reason.box is None else _box(reason.box),
    }
    return {key: value for key, value in entries.items() if value is not None}


def _detection(detection: Detection) -> list[object]:
    return [detection.defect_class, _round(detection.score, 4), *_box(detection.box)]


def _box(box: Box) -> list[float | None]:
    return [_round(edge, 2) for edge in (box.x1, box.y1, box.x2, box.y2)]


def _real(value: float | None) -> float | None:
    # + 0.0: SQLite keeps no negative zero, and what is hashed must be what comes back.
    return None if value is None or not math.isfinite(value) else float(value) + 0.0


def _round(value: float | None, digits: int) -> float | None:
    number = _real(value)
    return None if number is None else round(number, digits)


def _int(value: int | None) -> int | None:
    # A driver's NumPy integer is no int to sqlite3.
    return None if value is None else int(value)


def _optional(value: str | None) -> str | None:
    return None if value is None else text(value)


def _plain(value: object, depth: int) -> object:
    """The same value without what JSON cannot say; deeper than 20 levels (a cycle) it is cut to text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth > 20:
        return str(type(value))
    if isinstance(value, dict):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value]
    return value if isinstance(value, str | int | None) else str(value)
