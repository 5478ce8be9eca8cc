"""Parts made from pairs of a defective picture and its good twin, for counting what a line needs. Pure; fixed by their seeds.

A data set's boards carry many defects, so that "no board escapes" says little about a board with one. A **single-defect board** has every
defect but one put back from the good twin. A **mended board** has all of them put back: a good part made in the same way, which shows how
often the seams alone reject. A **disturbed board** is a good one shifted, re-lit and made noisy, as a line shows it.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from inspector.types import Box, Pixels
from models.dataset import Truth

GROWN_PX = 4
"""How far beyond a defect's box the twin is put in: boxes are drawn by hand."""
MAX_SHIFT_PX = 8
NOISE_SIGMA = 8.0
GAINS = (0.85, 1.15)
_WHOLE = 0.9
_NEAR_PX = 3
_RING_PX = 8


@dataclass(frozen=True, slots=True, eq=False)
class SingleDefect:
    """A board with one defect left; `index` names it among the board's truths."""

    index: int
    truth: Truth
    pixels: Pixels


def single_defects(pixels: Pixels, twin: Pixels, truths: Sequence[Truth]) -> tuple[list[SingleDefect], int]:
    """A board for each defect, all others put back; and how many could not be made, because the others' patches would damage it.

    Boxes stand off their defects, so they may overlap where defects do not: a defect counts as whole while 9 tenths of what differs
    from the twin in its box are left. pixels, twin: uint8 of one shape, (h, w) or (h, w, 3). Raises ValueError when the shapes differ.
    """
    made: list[SingleDefect] = []
    for index, truth in enumerate(truths):
        single = mended(pixels, twin, [t.box for i, t in enumerate(truths) if i != index])
        if _difference(single, twin, truth.box) >= _WHOLE * _difference(pixels, twin, truth.box):
            made.append(SingleDefect(index, truth, single))
    return made, len(truths) - len(made)


def mended(pixels: Pixels, twin: Pixels, boxes: Sequence[Box]) -> Pixels:
    """The picture with the twin's pixels in the given boxes, grown by 4 px; each patch moved by up to 3 px to where its rim fits best,
    for pairs are never exactly in register, and a seam looks like a defect. Raises ValueError when the shapes differ."""
    if pixels.shape != twin.shape:
        raise ValueError(f"the twin is {twin.shape}, its board {pixels.shape}")
    out = pixels.copy()
    for box in boxes:
        x1, y1, x2, y2 = _window(box, pixels, GROWN_PX)
        dx, dy = _register(pixels, twin, (x1, y1, x2, y2))
        out[y1:y2, x1:x2] = twin[y1 + dy : y2 + dy, x1 + dx : x2 + dx]
    return out


def disturbed(pixels: Pixels, name: str, seed: int = 0) -> Pixels:
    """The good board shifted by up to 8 px in x and y (edges go on), times 0.85 to 1.15, plus Gaussian noise of sigma 8 of 255.

    The same name and seed give the same picture.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    dx, dy = (int(v) for v in rng.integers(-MAX_SHIFT_PX, MAX_SHIFT_PX + 1, 2))
    height, width = pixels.shape[:2]
    move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    moved = cv2.warpAffine(pixels, move, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    lit = moved.astype(np.float32) * rng.uniform(*GAINS) + rng.normal(0.0, NOISE_SIGMA, moved.shape)
    return np.ascontiguousarray(np.clip(np.rint(lit), 0, 255), dtype=np.uint8)


def in_register(reference: Pixels, pixels: Pixels, reach_px: int = MAX_SHIFT_PX + 4) -> Pixels:
    """The reference moved by whole pixels, up to `reach_px`, to where it lies best on the picture (normalised correlation); edges go on."""
    height, width = reference.shape[:2]
    if min(height, width) <= 4 * reach_px:
        return reference
    inner = reference[reach_px:-reach_px, reach_px:-reach_px]
    if float(inner.std()) < 1.0 or float(pixels.std()) < 1.0:
        return reference
    _, _, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(pixels, inner, cv2.TM_CCOEFF_NORMED))
    move = np.array([[1, 0, x - reach_px], [0, 1, y - reach_px]], np.float32)
    moved = cv2.warpAffine(reference, move, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(moved, dtype=np.uint8)


def _window(box: Box, pixels: Pixels, grown_px: int) -> tuple[int, int, int, int]:
    height, width = pixels.shape[:2]
    x1, y1 = max(0, int(np.floor(box.x1)) - grown_px), max(0, int(np.floor(box.y1)) - grown_px)
    x2, y2 = min(width, int(np.ceil(box.x2)) + grown_px), min(height, int(np.ceil(box.y2)) + grown_px)
    return x1, y1, x2, y2


def _difference(a: Pixels, b: Pixels, box: Box) -> float:
    x1, y1, x2, y2 = _window(box, a, 0)
    return float(cv2.norm(a[y1:y2, x1:x2], b[y1:y2, x1:x2], cv2.NORM_L1))


def _register(pixels: Pixels, twin: Pixels, window: tuple[int, int, int, int]) -> tuple[int, int]:
    """The shift of the twin, at most 3 px, at which the rim around the window differs least; the window itself is not looked at."""
    x1, y1, x2, y2 = window
    height, width = pixels.shape[:2]
    rx1, ry1, rx2, ry2 = max(0, x1 - _RING_PX), max(0, y1 - _RING_PX), min(width, x2 + _RING_PX), min(height, y2 + _RING_PX)
    rim = np.ones((ry2 - ry1, rx2 - rx1), np.bool_)
    rim[y1 - ry1 : y2 - ry1, x1 - rx1 : x2 - rx1] = False
    if not rim.any():
        return 0, 0
    here = pixels[ry1:ry2, rx1:rx2].astype(np.int16)[rim]
    best = (np.inf, 0, 0, 0)
    for dy in range(-_NEAR_PX, _NEAR_PX + 1):
        for dx in range(-_NEAR_PX, _NEAR_PX + 1):
            if rx1 + dx < 0 or ry1 + dy < 0 or rx2 + dx > width or ry2 + dy > height:
                continue
            there = twin[ry1 + dy : ry2 + dy, rx1 + dx : rx2 + dx][rim]
            best = min(best, (float(np.abs(here - there).mean()), dx * dx + dy * dy, dx, dy))
    return best[2], best[3]
