"""Draws the copper of an invented bare board: buses, pad rows, power traces, drilled lands and two fiducials.

Everything is drawn on a canvas larger than the frame by MARGIN_PX on each side, because a part that lies shifted shows what lies beside it.
Copper is black (0) on white ground (255), as in DeepPCB; widths, spacings and lands are of the size seen there (about 48 px/mm).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspector.types import Box, Pixels

FRAME_PX = 640
MARGIN_PX = 112
CANVAS_PX = FRAME_PX + 2 * MARGIN_PX
FIDUCIAL_CLEARANCE_PX = 42

_SUBPIXEL_BITS = 4  # cv2 draws lines and discs to 1/16 px
_TAN_22_5 = 0.41421356  # keeps parallel traces at equal distance through a 45° bend
_LAST_Y = CANVAS_PX - MARGIN_PX - 110  # the second fiducial's band begins here

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Layout:
    """A drawn canvas (CANVAS_PX, CANVAS_PX) and the two fiducials in frame px for a part without shift."""

    canvas: Pixels
    fiducials: tuple[Box, Box]


class _Pen:
    """Draws copper (0) or ground (255) on one canvas."""

    def __init__(self) -> None:
        self.canvas: NDArray[np.uint8] = np.full((CANVAS_PX, CANVAS_PX), 255, np.uint8)

    def trace(self, points: Points, width_px: int) -> None:
        fixed = np.round(np.array(points, np.float64) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        cv2.polylines(self.canvas, [fixed], False, (0,), width_px, cv2.LINE_AA, _SUBPIXEL_BITS)

    def disc(self, x: float, y: float, radius_px: float, value: int = 0) -> None:
        scale = 1 << _SUBPIXEL_BITS
        centre = (round(x * scale), round(y * scale))
        cv2.circle(self.canvas, centre, round(radius_px * scale), (value,), -1, cv2.LINE_AA, _SUBPIXEL_BITS)

    def pad(self, x: float, y: float, width_px: int, height_px: int) -> None:
        left, top = round(x - width_px / 2), round(y - height_px / 2)
        cv2.rectangle(self.canvas, (left, top), (left + width_px, top + height_px), (0,), -1)

    def land(self, x: float, y: float, radius_px: float, hole_px: float) -> None:
        self.disc(x, y, radius_px)
        self.disc(x, y, hole_px, 255)


def draw_layout(seed: int) -> Layout:
    """The layout that belongs to `seed`: bands from top to bottom, the whole turned by 90° for odd seeds."""
    rng = np.random.default_rng([seed, 0xB0A2D])
    pen = _Pen()
    _straight_bus(pen, rng, 8.0, MARGIN_PX - 12.0)
    first = _fiducial_band(pen, rng, MARGIN_PX + 52.0, seed, left=True)
    y = MARGIN_PX + 108.0
    for band in rng.permutation(3):
        y = (_bus, _pad_row, _power)[band](pen, rng, y)
    _straight_bus(pen, rng, y, _LAST_Y - 6.0)
    second = _fiducial_band(pen, rng, _LAST_Y + 58.0, seed, left=False)
    _straight_bus(pen, rng, CANVAS_PX - MARGIN_PX + 12.0, CANVAS_PX - 8.0)
    canvas = pen.canvas
    if seed % 2:
        canvas = np.ascontiguousarray(canvas.T)
        first, second = (first[1], first[0]), (second[1], second[0])
    return Layout(canvas, (_fiducial_box(*first), _fiducial_box(*second)))


def _fiducial_box(x: float, y: float) -> Box:
    left, top, reach = x - MARGIN_PX, y - MARGIN_PX, FIDUCIAL_CLEARANCE_PX
    return Box(left - reach, top - reach, left + reach, top + reach)


def _straight_bus(pen: _Pen, rng: np.random.Generator, top: float, bottom: float) -> None:
    """Straight traces across the board, as many as fit between top and bottom."""
    width = int(rng.integers(9, 13))
    pitch = width + int(rng.integers(14, 20))
    y = top + width
    while y + width < bottom:
        pen.trace([(-20, y), (CANVAS_PX + 20, y)], width)
        y += pitch


def _bus(pen: _Pen, rng: np.random.Generator, top: float) -> float:
    """Three or four parallel traces, one of them wide, with a 45° bend; returns where the next band may begin."""
    count = int(rng.integers(3, 5))
    drop = float(rng.integers(36, 60))
    x = float(rng.integers(MARGIN_PX + 200, CANVAS_PX - MARGIN_PX - 160))
    wide = int(rng.integers(count))
    wide_px = int(rng.integers(36, 44))
    gap = int(rng.integers(15, 20))
    y = top + 14.0
    for number in range(count):
        width = wide_px if number == wide else int(rng.integers(9, 13))
        y += width / 2
        bend = x - (y - top) * _TAN_22_5
        pen.trace([(-20, y), (bend, y), (bend + drop, y + drop), (CANVAS_PX + 20, y + drop)], width)
        y += width / 2 + gap
    return y + drop + 8


def _pad_row(pen: _Pen, rng: np.random.Generator, top: float) -> float:
    """A row of pads, each led away to a via or to its neighbour; returns where the next band may begin."""
    pitch = int(rng.integers(98, 114))
    width = int(rng.integers(9, 12))
    y = top + 84.0
    x = float(rng.integers(20, pitch))
    while x < CANVAS_PX:
        pen.pad(x, y, 40, 32)
        if int(rng.integers(2)):
            # Bent, because a straight bar from pad to via is what a short looks like.
            pen.trace([(x, y), (x, y - 28), (x + 24, y - 52)], width)
            pen.disc(x + 26, y - 58, 18)
        else:
            pen.trace([(x, y), (x + pitch, y)], width)
        x += pitch
    return y + 24


def _power(pen: _Pen, rng: np.random.Generator, top: float) -> float:
    """A thick trace with drilled lands, and a thinner one beside it."""
    width = int(rng.integers(42, 58))
    y = top + 16 + width / 2
    pen.trace([(-20, y), (CANVAS_PX + 20, y)], width)
    for x in range(int(rng.integers(30, 120)), CANVAS_PX, int(rng.integers(150, 210))):
        pen.land(x, y, width / 2 + 8, 12)
    below = y + width / 2 + 30
    pen.trace([(-20, below), (CANVAS_PX + 20, below)], 14)
    return below + 22


def _fiducial_band(pen: _Pen, rng: np.random.Generator, y: float, seed: int, *, left: bool) -> tuple[float, float]:
    """One fiducial near a corner, and drilled lands in pairs in the rest of the band. Returns the fiducial's centre in canvas px."""
    offset = float(rng.integers(60, 200))
    x = MARGIN_PX + offset if left else CANVAS_PX - MARGIN_PX - offset
    shape = seed % 3  # never that of the neighbouring seed, which plays the wrong product
    if shape == 0:
        pen.disc(x, y, 25)
    elif shape == 1:
        pen.pad(x, y, 52, 44)
    else:
        pen.land(x, y, 33, 13)
    pitch = int(rng.integers(150, 190))
    for land in range(-20, CANVAS_PX + pitch, pitch):
        if abs(land - x) < 85 or abs(land + 70 - x) < 85:
            continue
        pen.trace([(land, y), (land + 70, y)], 26)
        pen.land(land, y, 30, 12)
        pen.land(land + 70, y, 30, 12)
    return x, y
