"""What dispatch hands to the archive, in order, also while the archive has no room.

Rows that the archive cannot take wait here; beyond the bound the oldest part gives up its row or what is told of it, because the next
start fills every gap in the sequence with FAULT "interrupted" from the line's own count. A part waiting here was never passed: no record,
no pass. Never given up for a part are "overruled" (the row it belongs to says PASS) and what is told of the station (without "line opened"
no gap is filled); both are few.
"""

from collections import deque
from dataclasses import replace

from inspector.clock import NS_PER_S, now_ns
from inspector.errors import ArchiveError
from inspector.ports import DISPOSED, OVERRULED, Archive, Disposed, Done
from inspector.types import Event, Inspection

_BACKLOG = 10_000
"""Records that may wait; a few seconds' work for the archive, a quarter of an hour of the line."""
_SLOW_NS = NS_PER_S
"""Records that wait longer make the archive a problem."""


class Recorder:
    """Keeps order and never raises on a full archive. Used by dispatch alone."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        # Bounded by _keep, which says what happens when it is full.
        self._backlog: deque[Inspection | Event] = deque()
        self._waiting_since_ns = 0

    @property
    def problem(self) -> str | None:
        """Why rows cannot be written at present, or None."""
        if self._backlog and now_ns() - self._waiting_since_ns > _SLOW_NS:
            return self._archive.problem or f"the archive is too slow: {len(self._backlog)} records wait"
        return self._archive.problem

    @property
    def waiting(self) -> int:
        """Records that the archive has not taken yet."""
        return len(self._backlog)

    @property
    def has_room(self) -> bool:
        """True while nothing waits for the archive."""
        self.flush()
        return not self._backlog

    def put(self, inspection: Inspection) -> None:
        """Record a part that needs no durable row before its verdict goes out."""
        self.flush()
        try:
            if not self._backlog:
                self._archive.put(inspection)
                return
        except ArchiveError:
            pass
        self._keep(replace(inspection, frame=None))

    def put_pass(self, inspection: Inspection, done: Done) -> bool:
        """Queue a PASS row; False when there is no room: then it is no PASS, and nothing was queued."""
        self.flush()
        if self._backlog:
            return False
        try:
            self._archive.put(inspection, done)
        except ArchiveError:
            return False
        return True

    def note(self, event: Event) -> None:
        """Record an event after everything recorded before."""
        self.flush()
        try:
            if not self._backlog:
                self._archive.note(event)
                return
        except ArchiveError:
            pass
        self._keep(event)

    def flush(self) -> None:
        """Hand over what waits, as far as there is room."""
        while self._backlog:
            first = self._backlog[0]
            try:
                if isinstance(first, Event):
                    self._archive.note(first)
                else:
                    self._archive.put(first)
            except ArchiveError:
                return
            self._backlog.popleft()

    def _keep(self, record: Inspection | Event) -> None:
        """Let a record wait. When the backlog is full, the oldest expendable one goes, else the oldest."""
        if len(self._backlog) >= _BACKLOG:
            del self._backlog[next((place for place, waiting in enumerate(self._backlog) if _expendable(waiting)), 0)]
        if not self._backlog:
            self._waiting_since_ns = now_ns()
        self._backlog.append(record)


def disposed_event(entry: Disposed) -> Event:
    """The event that records where a part went."""
    accepted = entry.accepted.value if entry.accepted is not None else None
    return Event(DISPOSED, {"disposition": entry.disposition.value, "accepted": accepted}, entry.part)


def _expendable(record: Inspection | Event) -> bool:
    return isinstance(record, Inspection) or (record.part is not None and record.kind != OVERRULED)
