"""What dispatch hands to the archive, in order, also while the archive has no room.

Rows that the archive cannot take wait here; beyond the bound the oldest are given up, because the next start fills every gap in the
sequence with FAULT "interrupted" from the line's own count. A part waiting here was never passed: no record, no pass.
"""

from collections import deque
from dataclasses import replace

from inspector.errors import ArchiveError
from inspector.ports import Archive, Done
from inspector.types import Event, Inspection

_BACKLOG = 10_000


class Recorder:
    """Keeps order and never raises on a full archive. Used by dispatch alone."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._backlog: deque[Inspection | Event] = deque(maxlen=_BACKLOG)

    @property
    def problem(self) -> str | None:
        """Why rows cannot be written at present, or None."""
        if self._backlog:
            return self._archive.problem or f"the archive is too slow: {len(self._backlog)} rows wait"
        return self._archive.problem

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
        self._backlog.append(replace(inspection, frame=None))

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
        self._backlog.append(event)

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
