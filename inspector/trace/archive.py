"""The station's memory: the port Archive on SQLite."""

import logging
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from inspector.clock import NS_PER_S, now_ns
from inspector.errors import ArchiveError
from inspector.ports import Done, PastRun, RunStart
from inspector.trace import schema
from inspector.trace.evidence import FOLDER, Evidence, EvidencePolicy
from inspector.trace.lock import FolderLock
from inspector.trace.past import RUN_ENDED, cut_off_pictures, highest_number, newest_run, past_run
from inspector.trace.rows import event_row, part_row, release_row, run_row
from inspector.trace.store import Store
from inspector.trace.writer import Writer
from inspector.types import Event, Inspection

SYNC_TIMEOUT_S = 10.0
"""How long begin_run and record_release wait for the disk."""

CLOSE_TIMEOUT_S = 5.0
"""How long close waits, for the pictures and for the rows each."""

_log = logging.getLogger(__name__)


class SqliteArchive:
    """One database file `folder`/inspector.db, pictures under `folder`/evidence; one process may have it open at a time.

    slots     parts that may wait for the disk (one per open ledger entry); beyond, put raises ArchiveFull. Events: eight times as many.
    evidence  which pictures are kept

    Raises ArchiveError: the folder cannot be written, is in use, or its database is damaged, newer, or not an archive.
    """

    def __init__(self, folder: Path, *, slots: int = 64, evidence: EvidencePolicy | None = None) -> None:
        policy = evidence or EvidencePolicy()
        self._folder = folder
        self._guard = threading.Lock()
        self._release_guard = threading.Lock()  # held while the disk works; note and put never take it
        self._closed = False
        self._run: int | None = None
        self._lock = FolderLock(folder)
        try:
            self._store = Store(folder / schema.DATABASE)
            try:
                self._past = past_run(self._store.conn)
                self._last_run = max(highest_number(self._store.conn), self._lock.last_run)
                self._releases = dict(self._store.conn.execute("SELECT id, document FROM releases").fetchall())
                cut_off = self._cut_off() if policy.rejects else []
                self._writer = Writer(self._store, slots)
                try:
                    self._evidence = Evidence(folder, policy, self._emit)
                except OSError as error:
                    self._writer.close(CLOSE_TIMEOUT_S)
                    raise ArchiveError(f"{folder / FOLDER} cannot hold the pictures ({error.strerror}): make it writable") from error
            except BaseException:
                self._store.close()
                raise
        except sqlite3.Error as error:
            self._lock.release()
            raise ArchiveError(f"{self._store.path} cannot be read ({error}): put a backup in its place, or name another folder") from error
        except BaseException:
            self._lock.release()
            raise
        for event in cut_off:
            self._emit(event)

    @property
    def past_run(self) -> PastRun | None:
        """The run before this one, as found when the archive was opened (`missing`, `undisposed`: within the newest 100,000 sequences)."""
        return self._past

    @property
    def healthy(self) -> bool:
        """Rows become durable at this moment, as far as is known."""
        return self.problem is None

    @property
    def problem(self) -> str | None:
        """Why rows do not become durable, in one line; None while healthy."""
        return self._writer.problem

    @property
    def sqlite_version(self) -> str:
        """The SQLite library at work, as recorded with each run."""
        return sqlite3.sqlite_version

    def begin_run(self, start: RunStart) -> int:
        """Write the run's row durably and return its number, larger than any before. Raises ArchiveError, at the latest after 10 s."""
        with self._guard:
            self._last_run += 1
            run = self._last_run
        self._writer.write_now(run_row(run, start, sqlite3.sqlite_version, now_ns()), SYNC_TIMEOUT_S)
        self._run = run
        with suppress(OSError):  # a second witness only: the row is durable
            self._lock.remember(run)
        return run

    def record_release(self, release: str, document: dict[str, Any]) -> None:
        """Write durably what a release's id stands for; the same again changes nothing.

        Raises ArchiveError when it cannot be written within 10 s, or the id stands for something else already.
        """
        row = release_row(release, document, now_ns())
        text = str(row.values[1])
        with self._release_guard:
            known = self._releases.get(release)
            if known is None:
                self._writer.write_now(row, SYNC_TIMEOUT_S)
                self._releases[release] = text
            elif known != text:
                raise ArchiveError(f"release {release} is recorded with other contents: give the changed release an id of its own")

    def put(self, inspection: Inspection, done: Done | None = None) -> None:
        """Queue a part's row, and its picture as the policy says; `done` is called once, on the writer's thread.

        After done(error) the row stays queued and is written once the disk allows. A part that is recorded already is refused by
        done(error), with an event "row refused". Raises ArchiveFull when every slot is taken, ArchiveError after close.
        """
        row = part_row(inspection, done)
        after = self._evidence.accept(inspection)
        row.after = after
        try:
            self._writer.put_part(row)
        except ArchiveError:
            if after is not None:
                after(False)
            raise

    def note(self, event: Event) -> None:
        """Queue an event, after everything about the same part queued before.

        Raises ArchiveFull when there is no slot, ArchiveError after close.
        """
        self._writer.put_event(event_row(event, self._run, now_ns()))
        if event.part is not None:
            with self._guard:
                self._last_run = max(self._last_run, event.part.run)

    def end_run(self, timeout_s: float) -> None:
        """Write all that is queued, pictures included, and mark the run's end as clean.

        Raises ArchiveError when that does not succeed in time; the end is not marked then.
        """
        until = now_ns() + int(timeout_s * NS_PER_S)
        if self._run is None:
            raise ArchiveError("no run has begun: call begin_run first")
        if not self._evidence.wait_idle(timeout_s):
            raise ArchiveError(f"{self._folder}: the pictures of the run were not stored within {timeout_s:g} s: look at the disk")
        if not self._writer.wait_drained(max(0.0, (until - now_ns()) / NS_PER_S)):
            why = self.problem or "the disk is slow"
            raise ArchiveError(f"{self._folder}: the rows of the run were not written within {timeout_s:g} s ({why}): look at the disk")
        self._writer.write_now(event_row(Event(RUN_ENDED), self._run, now_ns()), max(0.01, (until - now_ns()) / NS_PER_S))

    def close(self) -> None:
        """Try to write what is queued, stop both threads, close the files. Never raises; safe to call twice."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
        self._evidence.close(CLOSE_TIMEOUT_S)
        if self._writer.close(CLOSE_TIMEOUT_S):
            self._store.close()
            self._lock.release()
        else:
            # The thread may still write once the disk answers: nobody else may open the archive until this process has ended.
            _log.error("%s: the disk holds up the writer; the folder stays locked until this process ends", self._folder)

    def _cut_off(self) -> list[Event]:
        run = newest_run(self._store.conn)
        return [] if run is None else cut_off_pictures(self._store.conn, self._folder, run)

    def _emit(self, event: Event) -> None:
        with suppress(ArchiveError):  # closed meanwhile: the next start finds the picture, or says that it is missing
            self._writer.put_event(event_row(event, self._run, now_ns()), forced=True)
