"""The thread "evidence": pictures of parts, stored losslessly beside the database, off the line and at low priority.

A picture is written as a temporary file, fsynced, renamed, and its folder fsynced; then an event names the file and its SHA-256. Where a
picture that the policy wants is not kept, an event says why.
"""

import hashlib
import logging
import os
import random
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cv2 import imencode

from inspector.clock import NS_PER_S, now_ns
from inspector.trace.lock import fsync_folder, make_folder
from inspector.types import Event, Frame, Inspection, PartId, VerdictKind

FOLDER = "evidence"
PICTURE = "picture"
PICTURE_MISSING = "picture missing"

_UNFINISHED = "unfinished"  # a folder of its own: cleared at the start without a walk over a million pictures
_NICENESS = 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EvidencePolicy:
    """Which pictures are kept, and how many frames may wait for it.

    rejects     keep those of rejects and faults
    pass_share  keep this share of the passes, drawn at random (0..1)
    pictures    frames that may wait, from put until stored; when full, a waiting pass gives way to a reject, else the picture is missing
    megabytes   and so much memory may they hold together (one frame may wait whatever its size)
    """

    rejects: bool = True
    pass_share: float = 0.0
    pictures: int = 24
    megabytes: int = 128


@dataclass(slots=True, eq=False)
class _Waiting:
    part: PartId
    frame: Frame
    is_pass: bool


class Evidence:
    """Stores pictures under `folder`/evidence and reports each by `emit` (an Event, from any thread; must not block or raise)."""

    def __init__(self, folder: Path, policy: EvidencePolicy, emit: Callable[[Event], None]) -> None:
        """Raises OSError when the folder cannot be made."""
        self._folder = folder
        self._policy = policy
        self._emit = emit
        self._random = random.Random()
        self._cond = threading.Condition()
        self._queue: deque[_Waiting] = deque()  # bounded by `accept`: policy.pictures and policy.megabytes
        self._held = self._held_bytes = 0
        self._closing = self._abandon = False
        self._unfinished = folder / FOLDER / _UNFINISHED
        make_folder(folder / FOLDER)
        make_folder(self._unfinished)
        for left in self._unfinished.iterdir():
            left.unlink()  # cut off by a crash: no event names it
        self._thread = threading.Thread(target=self._run, name="evidence", daemon=True)
        self._thread.start()

    def accept(self, inspection: Inspection) -> Callable[[bool], None] | None:
        """Decide about a part's picture. What is returned is called once with whether the part's row became durable; the picture is
        queued, or its absence reported, then. None: the policy wants no picture of this part."""
        part, frame = inspection.part, inspection.frame
        is_pass = inspection.verdict.kind is VerdictKind.PASS
        if not (self._random.random() < self._policy.pass_share if is_pass else self._policy.rejects):
            return None
        if frame is None:
            return self._absent(part, "no frame")
        waiting = _Waiting(part, frame, is_pass)
        with self._cond:
            if self._closing:
                return self._absent(part, "the station was stopping")
            evicted = self._make_room(frame.pixels.nbytes, is_pass)
            if evicted is None:
                return self._absent(part, "too many pictures wait to be stored")
            self._hold(waiting)
        for gone in evicted:
            self._missing(gone.part, "it gave way to the picture of a reject")

        def after(durable: bool) -> None:
            with self._cond:
                if durable:
                    self._queue.append(waiting)
                else:
                    self._release(waiting)
                self._cond.notify_all()

        return after

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until every accepted picture is stored or reported missing; False when time ran out."""
        with self._cond:
            return self._cond.wait_for(lambda: self._held == 0, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Store what waits within the time, report the rest as missing, end the thread. False when the disk holds it up."""
        until = now_ns() + int(timeout_s * NS_PER_S)
        with self._cond:
            self._closing = True
            self._cond.notify_all()
        self._thread.join(timeout_s)
        with self._cond:
            self._abandon = True
            left = list(self._queue)
            self._queue.clear()
            for waiting in left:
                self._release(waiting)
            self._cond.notify_all()
        for waiting in left:
            self._missing(waiting.part, "the station was closed before it was stored")
        self._thread.join(max(0.5, (until - now_ns()) / NS_PER_S))
        return not self._thread.is_alive()

    def _make_room(self, nbytes: int, is_pass: bool) -> list[_Waiting] | None:
        """Room for one more frame; returns the waiting passes that gave way, or None when there is no room. Needs the lock."""
        evicted: list[_Waiting] = []
        while self._held and (self._held >= self._policy.pictures or self._held_bytes + nbytes > self._policy.megabytes << 20):
            victim = None if is_pass else next((waiting for waiting in self._queue if waiting.is_pass), None)
            if victim is None:
                self._queue.extend(evicted)
                for waiting in evicted:
                    self._hold(waiting)
                return None
            self._queue.remove(victim)
            self._release(victim)
            evicted.append(victim)
        return evicted

    def _hold(self, waiting: _Waiting) -> None:
        self._held += 1
        self._held_bytes += waiting.frame.pixels.nbytes

    def _release(self, waiting: _Waiting) -> None:
        self._held -= 1
        self._held_bytes -= waiting.frame.pixels.nbytes

    def _absent(self, part: PartId, reason: str) -> Callable[[bool], None]:
        def after(durable: bool) -> None:
            if durable:
                self._missing(part, reason)

        return after

    def _missing(self, part: PartId, reason: str) -> None:
        self._emit(Event(PICTURE_MISSING, {"reason": reason}, part))

    def _run(self) -> None:
        if sys.platform == "linux":
            # Linux gives every thread a niceness of its own; encoding must not take the line's time.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while (waiting := self._next()) is not None:
            try:
                event = self._store(waiting)
            except Exception as error:  # noqa: BLE001 - the top of the thread: one picture must not end the others
                _log.exception("the picture of part %s was not stored", waiting.part)
                event = Event(PICTURE_MISSING, {"reason": " ".join(f"{type(error).__name__}: {error}".split())}, waiting.part)
            self._emit(event)
            with self._cond:
                self._release(waiting)
                self._cond.notify_all()

    def _next(self) -> _Waiting | None:
        with self._cond:
            while not self._queue:
                if self._abandon or (self._closing and not self._held):
                    return None
                self._cond.wait()
            if self._abandon:
                return None
            first = next((waiting for waiting in self._queue if not waiting.is_pass), self._queue[0])
            self._queue.remove(first)
            return first

    def _store(self, waiting: _Waiting) -> Event:
        """Encode and store one picture; returns its event. Raises OSError, cv2.error."""
        # OpenCV's own setting: naming a compression level, the lowest too, takes twice as long (measured, binarised and grey boards).
        ok, png = imencode(".png", waiting.frame.pixels)
        if not ok:
            raise OSError("OpenCV could not encode it as PNG")
        target = self._folder / picture_path(waiting.part)
        for folder in (target.parent.parent, target.parent):
            if not folder.is_dir():
                make_folder(folder)
                fsync_folder(folder.parent)
        temporary = self._unfinished / target.name
        try:
            with open(temporary, "wb") as file:
                os.fchmod(file.fileno(), 0o660)
                file.write(png.data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, target)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        fsync_folder(target.parent)
        return picture_event(waiting.part, hashlib.sha256(png.data).hexdigest(), png.nbytes)


def picture_path(part: PartId) -> Path:
    """Where a part's picture lies, below the archive's folder; a thousand parts share a folder."""
    return Path(FOLDER) / str(part.run) / f"{part.sequence // 1000:07d}" / f"{part}.png"


def picture_event(part: PartId, sha256: str, size_bytes: int) -> Event:
    """The event that names a stored picture."""
    return Event(PICTURE, {"file": picture_path(part).as_posix(), "sha256": sha256, "bytes": size_bytes}, part)
