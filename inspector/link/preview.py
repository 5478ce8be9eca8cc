"""The small picture for the screens: made only when one asks, at most 15 times a second over all of them, held in a slot of one."""

import logging
from dataclasses import dataclass

import cv2
import numpy as np

from inspector.clock import NS_PER_S
from inspector.link.messages import Preview
from inspector.types import Frame, Pixels

LONGEST_SIDE_PX = 1280
PREVIEWS_PER_S = 15
JPEG_QUALITY = 80

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An encoded preview: what it shows, and the JPEG."""

    about: Preview
    jpeg: bytes


def encode(frame: Frame) -> Picture:
    """The frame as a JPEG of at most 1280 px. Raises cv2.error for pixels that are no picture."""
    small = _shrink(frame.pixels)
    ok, jpeg = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    if not ok:
        raise cv2.error("JPEG encoding failed")
    about = Preview(
        frame_id=frame.frame_id,
        exposed_ns=frame.exposed_ns,
        width=int(small.shape[1]),
        height=int(small.shape[0]),
        frame_width=frame.width,
        frame_height=frame.height,
        source=frame.source,
    )
    return Picture(about, jpeg.tobytes())


def _shrink(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest <= LONGEST_SIDE_PX:
        return pixels
    # Whole-number averaging first: INTER_AREA by other factors takes three times as long (107 against 35 ms for 20 megapixels in colour).
    by = longest // LONGEST_SIDE_PX
    if min(height, width) >= by:
        height, width = height // by, width // by
        whole = pixels[: height * by, : width * by]
        pixels = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    scale = LONGEST_SIDE_PX / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


class PreviewSlot:
    """The newest preview. A newer frame replaces it, but not sooner than 1/15 s after the last was made, however many screens ask."""

    def __init__(self) -> None:
        self._frame: Frame | None = None
        self._picture: Picture | None = None
        self._made_ns: int | None = None

    def newest(self, frame: Frame | None, now_ns: int) -> Picture | None:
        """The picture to show for `frame` at station time `now_ns`, or None. Never raises: a preview is not worth a fault."""
        if frame is None:
            return None
        due = self._made_ns is None or now_ns - self._made_ns >= NS_PER_S // PREVIEWS_PER_S
        if frame is not self._frame and due:
            self._frame, self._made_ns = frame, now_ns
            try:
                self._picture = encode(frame)
            except (cv2.error, ValueError, IndexError) as e:
                _log.warning("no preview of frame %s from %s: %s", frame.frame_id, frame.source or "the camera", e)
                self._picture = None
        return self._picture
