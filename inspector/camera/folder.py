"""A camera that shows the pictures of files one after the other: triggered by software, paced, or flat out."""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from inspector.camera.pictures import PictureError, PixelFormat, SixteenBit, list_pictures, read_picture
from inspector.clock import NS_PER_S, now_ns
from inspector.errors import CameraError, FrameError
from inspector.ports import CameraInfo
from inspector.types import Frame, Pixels

MAX_WAITING = 64
"""Exposed pictures that wait for grab; beyond, the oldest is lost and grab raises FrameError "overrun" in its place."""

MAX_LOST = 4096
"""Exposures waiting in all, lost ones included; beyond, nobody has been grabbing for long, and grab raises CameraError."""


@dataclass(frozen=True, slots=True)
class _Exposure:
    index: int
    frame_id: int
    exposed_ns: int
    overrun: bool = False


class FolderCamera:
    """Implements the port Camera over picture files.

    rate_hz  None: each `trigger` exposes the next picture. Above 0: that many pictures a second, beginning at `arm`.
             0: flat out, the next picture is exposed when grab asks for it.
    No picture is exposed before `arm`, and none is shown twice unless `loop`; `open` begins again with the first. After the last one
    grab returns None at once, for ever, and `exhausted` is True. Pictures are decoded in grab, or all in `open` with `preload`.
    """

    def __init__(
        self,
        paths: Path | Sequence[Path],
        *,
        pixel: PixelFormat = "mono",
        sixteen_bit: SixteenBit = "refuse",
        preload: bool = False,
        rate_hz: float | None = None,
        loop: bool = False,
        size: tuple[int, int] | None = None,
    ) -> None:
        """`paths` is a folder or a list of files and folders (see list_pictures); size is (width, height) px that every one must have.

        Raises CameraError when no picture is found, ValueError for a negative rate.
        """
        if rate_hz is not None and not 0 <= rate_hz < float("inf"):
            raise ValueError(f"rate_hz = {rate_hz}: take 0 (flat out) or pictures a second")
        try:
            self._files = tuple(list_pictures(paths if isinstance(paths, Path) else list(paths)))
        except PictureError as error:
            raise CameraError(str(error)) from error
        self._name = f"folder of {len(self._files)} pictures"
        self._pixel: PixelFormat = pixel
        self._sixteen_bit: SixteenBit = sixteen_bit
        self._preload = preload
        self._period_ns = None if rate_hz is None else round(NS_PER_S / rate_hz) if rate_hz else 0
        self._loop = loop
        self._size = size
        self._kept: list[Pixels | str] = []
        self._changed = threading.Condition()
        self._open = False
        self._armed = False
        self._lost_count = False
        self._next_index = 0
        self._frame_id = 0
        self._next_due_ns = 0
        self._waiting: deque[_Exposure] = deque()  # when full: see MAX_WAITING and MAX_LOST

    @property
    def files(self) -> tuple[Path, ...]:
        """The pictures in the order in which they are shown."""
        return self._files

    @property
    def exhausted(self) -> bool:
        """True when every picture has been exposed and grabbed; never with `loop`."""
        with self._changed:
            return self._spent() and not self._waiting

    def open(self) -> CameraInfo:
        """Find the first readable picture, whose size is reported; read all of them now with `preload`. Raises CameraError."""
        kept = [self._read_or_reason(path) for path in self._files] if self._preload else []
        first = self._first_readable(kept)
        with self._changed:
            self._kept = kept
            self._open, self._armed, self._lost_count = True, False, False
            self._next_index = self._frame_id = 0
            self._waiting.clear()
        return CameraInfo(self._name, "folder", first.shape[0], first.shape[1], 1 if first.ndim == 2 else 3)

    def arm(self) -> None:
        """Forget pictures exposed and not grabbed; count from 1 again and begin to expose. Raises CameraError when closed."""
        with self._changed:
            self._require_open()
            self._armed, self._lost_count = True, False
            self._frame_id = 0
            self._waiting.clear()
            self._next_due_ns = now_ns()
            self._changed.notify_all()

    def trigger(self) -> None:
        """Expose the next picture now. From any thread; a pulse to a camera that is closed, not armed or exhausted goes nowhere."""
        with self._changed:
            if self._period_ns is None:
                self._expose(now_ns())
                self._changed.notify_all()

    def grab(self, timeout_s: float) -> Frame | None:
        """The next picture in order. Raises FrameError for one that cannot be read or was overrun, CameraError when closed."""
        exposure = self._wait_for_exposure(now_ns() + round(timeout_s * NS_PER_S))
        if exposure is None:
            return None
        path = self._files[exposure.index]
        if exposure.overrun:
            raise self._frame_error(f"overrun: more than {MAX_WAITING} pictures waited for grab; {path} is lost", exposure)
        shown = self._kept[exposure.index] if self._preload else self._read_or_reason(path)
        if isinstance(shown, str):
            raise self._frame_error(shown, exposure)
        # A kept picture may be shown again, and a Frame belongs to whoever gets it.
        pixels = shown.copy() if self._preload else shown
        return Frame(pixels, exposure.frame_id, exposure.exposed_ns, now_ns(), str(path))

    def close(self) -> None:
        """A waiting grab returns None. Safe to call twice, from any thread."""
        with self._changed:
            self._open = self._armed = False
            self._waiting.clear()
            self._changed.notify_all()

    def _wait_for_exposure(self, until_ns: int) -> _Exposure | None:
        with self._changed:
            self._require_open()
            while True:
                if not self._open:
                    return None
                self._expose_due()
                if self._lost_count:
                    raise CameraError(f"{self._name}: {MAX_LOST} exposures were never grabbed; close it and open it again")
                if self._waiting:
                    return self._waiting.popleft()
                now = now_ns()
                if now >= until_ns or (self._spent() and self._armed):
                    return None
                wake_ns = min(until_ns, self._next_due_ns) if self._period_ns and self._armed else until_ns
                self._changed.wait((wake_ns - now) / NS_PER_S)

    def _expose_due(self) -> None:
        """Free-running: take every picture whose time has come."""
        if self._period_ns is None or not self._armed:
            return
        if self._period_ns == 0:
            if not self._waiting:
                self._expose(now_ns())
            return
        now = now_ns()
        while self._next_due_ns <= now and not self._spent() and not self._lost_count:
            self._expose(self._next_due_ns)
            self._next_due_ns += self._period_ns

    def _expose(self, at_ns: int) -> None:
        if not self._armed or self._spent() or self._lost_count:
            return
        self._frame_id += 1
        self._waiting.append(_Exposure(self._next_index % len(self._files), self._frame_id, at_ns))
        self._next_index += 1
        if len(self._waiting) > MAX_LOST:
            self._lost_count = True
        elif len(self._waiting) > MAX_WAITING:
            oldest_whole = len(self._waiting) - MAX_WAITING - 1
            self._waiting[oldest_whole] = replace(self._waiting[oldest_whole], overrun=True)

    def _spent(self) -> bool:
        return not self._loop and self._next_index >= len(self._files)

    def _require_open(self) -> None:
        if not self._open:
            raise CameraError(f"{self._name}: is closed; open it first")

    def _frame_error(self, text: str, exposure: _Exposure) -> FrameError:
        source = str(self._files[exposure.index])
        return FrameError(text, frame_id=exposure.frame_id, exposed_ns=exposure.exposed_ns, source=source)

    def _read_or_reason(self, path: Path) -> Pixels | str:
        try:
            return read_picture(path, pixel=self._pixel, sixteen_bit=self._sixteen_bit, size=self._size)
        except PictureError as error:
            return str(error)

    def _first_readable(self, kept: list[Pixels | str]) -> Pixels:
        reason = ""
        for index, path in enumerate(self._files):
            shown = kept[index] if kept else self._read_or_reason(path)
            if not isinstance(shown, str):
                return shown
            reason = reason or shown
        raise CameraError(f"{self._name}: none can be used; the first: {reason}")
