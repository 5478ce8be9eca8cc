"""The thread "write": the one place from which rows reach the disk.

Group commit: a part's row is written at once, and whatever else is queued goes along; PASS rows stand first in the transaction. Events
alone wait LINGER_S for company, so that a PASS does not meet a busy disk. A failed transaction loses nothing: its rows stay queued and are
tried again, later and later, at once when a new part comes.
"""

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from inspector.clock import NS_PER_S, now_ns
from inspector.errors import ArchiveError, ArchiveFull
from inspector.trace.rows import Row, event_row
from inspector.trace.store import BAD_ROW, Store
from inspector.types import Event

LINGER_S = 0.02
"""How long events wait for a part's row to share its commit with."""

BACKOFF_S = (0.1, 5.0)
"""First and longest wait before a failed transaction is tried again; doubled each time."""

STUCK_S = 1.0
"""A transaction that takes longer makes the archive unhealthy while it lasts (bare ones take 0.3 ms)."""

IDLE_S = 0.1
"""The line counts as idle after so long without a row: the time for a checkpoint."""

CHECKPOINT_ROWS = (100, 5000)
"""Rows since the last checkpoint after which an idle writer makes one, and after which a busy one does (about 1 and 50 MB of WAL)."""

_log = logging.getLogger(__name__)


class Writer:
    """Queues rows from any thread, writes them from its own.

    Bounds: `slots` part rows and 8 * slots events (a part's life has about five), from put until they are durable; beyond, ArchiveFull.
    """

    def __init__(self, store: Store, slots: int) -> None:
        self._store = store
        self._slots = slots
        self._cond = threading.Condition()
        self._passes: deque[Row] = deque()  # bounded by _parts below
        self._rest: deque[Row] = deque()  # bounded by _parts and _events below
        self._parts = self._events = 0
        self._prompt = self._closing = self._ended = False
        self._event_due = self._retry_due = 0
        self._backoff_s = 0.0
        self._busy_since: int | None = None
        self._problem: str | None = None
        self._in_flight: Sequence[Row] = ()
        self._doubtful: Sequence[Row] = ()
        self._unmoved = 0
        self._thread = threading.Thread(target=self._run, name="write", daemon=True)
        self._thread.start()

    @property
    def problem(self) -> str | None:
        """Why rows do not become durable at this moment, in one line; None when they do."""
        busy = self._busy_since
        if busy is not None and now_ns() - busy > STUCK_S * NS_PER_S:
            return f"{self._store.path}: the disk has not answered for {(now_ns() - busy) / NS_PER_S:.0f} s"
        return self._problem

    def put_part(self, row: Row) -> None:
        """Queue a part's row. Raises ArchiveFull when every slot is taken, ArchiveError after close."""
        with self._cond:
            self._refuse_if_closed(row)
            if self._parts >= self._slots:
                raise ArchiveFull(f"{row.name} has no slot, {self._slots} wait for the disk ({self._problem or 'slow'}): look at it")
            self._parts += 1
            (self._passes if row.urgent else self._rest).append(row)
            self._prompt = True
            self._cond.notify_all()

    def put_event(self, row: Row, *, forced: bool = False) -> None:
        """Queue an event. Raises ArchiveFull when there is no slot, ArchiveError after close.

        forced: over the bound; for events whose number is bounded where they arise (one a picture).
        """
        with self._cond:
            self._refuse_if_closed(row)
            if self._events >= 8 * self._slots and not forced:
                raise ArchiveFull(f"{row.name} has no slot, {self._events} events wait for the disk ({self._problem or 'it is slow'})")
            self._events += 1
            self._rest.append(row)
            if not self._event_due:
                self._event_due = now_ns() + int(LINGER_S * NS_PER_S)
            self._cond.notify_all()

    def write_now(self, row: Row, timeout_s: float) -> None:
        """Write a row after all queued before it; durable on return.

        Raises ArchiveError when that failed or took longer; it is not tried again (only a transaction that hangs may still bring it).
        """
        finished = threading.Event()
        outcome: list[Exception | None] = []

        def done(error: Exception | None) -> None:
            outcome.append(error)
            finished.set()

        row.once, row.done = True, done
        with self._cond:
            self._refuse_if_closed(row)
            self._rest.append(row)
            self._prompt = True
            self._cond.notify_all()
        if not finished.wait(timeout_s) and not self._withdraw(row):
            finished.wait(STUCK_S)  # it is in the transaction under way: its outcome counts, if it comes at all
        if not outcome:
            raise ArchiveError(f"{self._store.path}: {row.name} was not written within {timeout_s:g} s: look at the disk")
        if outcome[0] is not None:
            raise ArchiveError(f"{row.name} was not written: {outcome[0]}") from outcome[0]

    def wait_drained(self, timeout_s: float) -> bool:
        """Wait until nothing is queued or under way, what follows from it included; False when time ran out."""
        with self._cond:
            return self._cond.wait_for(lambda: not (self._passes or self._rest or self._in_flight), timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Try once more to write what is queued, and end the thread. False when the disk holds it up; safe to call twice."""
        with self._cond:
            self._closing = True
            self._cond.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _refuse_if_closed(self, row: Row) -> None:
        if self._closing or self._ended:
            raise ArchiveError(f"{row.name} cannot be recorded: {self._problem or 'the archive is closed'}")

    def _withdraw(self, row: Row) -> bool:
        with self._cond:
            if row in self._rest:
                self._rest.remove(row)
                return True
        return False

    def _run(self) -> None:
        try:
            while (batch := self._take()) is not None:
                if batch:
                    self._commit(batch)
                self._checkpoint(idle=not batch)
            self._end("the archive was closed before it could be written")
        except BaseException as error:  # noqa: BLE001 - the top of the thread: nobody may wait for ever, and no part may pass
            _log.exception("the writer failed")
            self._problem = f"{self._store.path}: the writer failed ({error!r}): restart the station"
            self._end(self._problem)

    def _take(self) -> list[Row] | None:
        """All rows that wait, PASS first, once it is time; [] when idle; None when closed and all was tried."""
        with self._cond:
            while True:
                waiting = bool(self._passes or self._rest)
                if self._closing:
                    if not waiting or self._ended:
                        return None
                    self._ended = True  # one last attempt
                    break
                pause_s = self._pause_s() if waiting else IDLE_S
                if waiting and pause_s <= 0:
                    break
                if not self._cond.wait(pause_s) and not waiting:
                    return []
            batch = [*self._passes, *self._rest]
            self._passes.clear()
            self._rest.clear()
            self._prompt, self._event_due, self._in_flight = False, 0, batch
            return batch

    def _pause_s(self) -> float:
        if self._prompt:
            return 0.0
        due = self._retry_due if self._backoff_s else self._event_due
        return (due - now_ns()) / NS_PER_S

    def _commit(self, batch: Sequence[Row]) -> None:
        self._busy_since = now_ns()
        try:
            try:
                batch = self._reopen(batch)
                self._store.write(batch)
            except BAD_ROW:
                refused = self._store.write_each(batch)
                self._refused(refused)
                bad = {id(row) for row, _ in refused}
                batch = [row for row in batch if id(row) not in bad]
        except (sqlite3.Error, OSError, ArchiveError) as error:
            self._failed(batch, error)
        else:
            self._written(batch)
        finally:
            self._busy_since = None
        with self._cond:  # not after an unexpected error: _end tells these rows too
            self._in_flight = ()
            self._cond.notify_all()

    def _reopen(self, batch: Sequence[Row]) -> Sequence[Row]:
        """A fresh connection after an error; returns the rows of the batch that the failed transaction did not leave on the disk."""
        if self._store.is_open:
            return batch
        landed = self._store.recover()
        doubtful, self._doubtful = {id(row) for row in self._doubtful}, ()
        if not landed:
            return batch
        self._written([row for row in batch if id(row) in doubtful])
        return [row for row in batch if id(row) not in doubtful]

    def _failed(self, batch: Sequence[Row], error: Exception) -> None:
        """Tell who waits, keep the rows, and try again later."""
        if self._store.is_open:
            # Only a new connection can be trusted after an error of the disk: it reads back what really is there.
            self._store.close()
            self._doubtful = batch
            with suppress(sqlite3.Error, OSError, ArchiveError):
                batch = self._reopen(batch)
        if not batch:
            return
        problem = " ".join(f"{self._store.path}: {error}".split())
        if self._problem != problem:
            _log.error("%s: %d rows wait", problem, len(batch))
        self._problem = problem
        kept = [row for row in batch if not row.once]
        with self._cond:
            self._passes.extendleft(row for row in reversed(kept) if row.urgent)
            self._rest.extendleft(row for row in reversed(kept) if not row.urgent)
            self._backoff_s = min(max(BACKOFF_S[0], 2 * self._backoff_s), BACKOFF_S[1])
            self._retry_due = now_ns() + int(self._backoff_s * NS_PER_S)
        for row in batch:
            self._tell(row, error)
            if row.once:
                self._close_row(row, durable=False)

    def _written(self, rows: Sequence[Row]) -> None:
        self._problem, self._backoff_s = None, 0.0
        self._unmoved += len(rows)
        self._free(rows)
        for row in rows:
            self._tell(row, None)
            self._close_row(row, durable=True)

    def _refused(self, refused: Sequence[tuple[Row, Exception]]) -> None:
        """Rows that the database will never take (a part put twice): say so, to the caller and in the archive."""
        self._free([row for row, _ in refused])
        for row, error in refused:
            _log.error("%s was refused: %s", row.name, error)
            self._tell(row, ArchiveError(f"{row.name} was refused: {error}"))
            self._close_row(row, durable=False)
            if row.table == "parts" and not self._closing:
                # Bounded: each stands for a part's row that has just given its slot back.
                event = Event("row refused", {"row": row.name, "reason": str(error), "values": row.values}, row.part)
                self.put_event(event_row(event, None, now_ns()), forced=True)

    def _free(self, rows: Sequence[Row]) -> None:
        with self._cond:
            self._parts -= sum(row.table == "parts" for row in rows)
            self._events -= sum(row.table == "events" for row in rows)
            self._cond.notify_all()

    def _tell(self, row: Row, error: Exception | None) -> None:
        done, row.done = row.done, None
        if done is not None:
            try:
                done(error)
            except Exception:  # noqa: BLE001 - somebody else's code runs here: its failure must not stop the records of other parts
                _log.exception("the done callback of %s failed", row.name)

    def _close_row(self, row: Row, *, durable: bool) -> None:
        after, row.after = row.after, None
        if after is not None:
            after(durable)

    def _checkpoint(self, *, idle: bool) -> None:
        if self._unmoved < CHECKPOINT_ROWS[0 if idle else 1] or not self._store.is_open:
            return
        self._busy_since = now_ns()
        try:
            self._unmoved = 0 if self._store.checkpoint() else CHECKPOINT_ROWS[0]
        except sqlite3.Error as error:
            # What is in the WAL is durable; the next row shows whether the disk still takes any.
            self._unmoved = CHECKPOINT_ROWS[0]
            _log.warning("%s: the checkpoint failed: %s", self._store.path, error)
        finally:
            self._busy_since = None

    def _end(self, reason: str) -> None:
        with self._cond:
            self._ended = True
            left = [*self._in_flight, *self._passes, *self._rest]
            self._passes.clear()
            self._rest.clear()
        for row in left:
            self._tell(row, ArchiveError(f"{row.name}: {reason}"))
            self._close_row(row, durable=False)
