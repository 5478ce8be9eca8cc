"""Where each of the six DeepPCB defects can lie on a drawn board, and the strokes that draw it.

The shapes follow the look of the public data set: short hand-drawn strokes of 4 to 12 px, white on copper or black on ground.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inspector.sim.boards_layout import FRAME_PX, MARGIN_PX
from inspector.types import Box, Pixels

CLASSES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
"""The DeepPCB classes in their order, 0 to 5."""

_KEEP_IN_PX = 40  # sites stay this far inside the frame, so that a shifted part shows every defect whole
_REACH_PX = 70  # how far a walk across ground or copper goes
_FLAT_PX = 26.0
_SUBPIXEL_BITS = 4

Field = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sites:
    """Candidate sites of one class: rows (x, y, dx, dy, length) in canvas px; (dx, dy) is a unit vector.

    open       centre of a trace, direction across it, its width
    short      edge of copper, direction to the neighbour, the gap between them
    mousebite  edge of copper, direction into it, copper found that way
    spur       edge of copper, direction out of it, ground found that way
    copper     ground, free direction, distance to the nearest copper
    pin-hole   copper, free direction, distance to the nearest ground
    """

    rows: dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Stroke:
    """One stroke: points (n, 2) in canvas px, thickness in px, 255 for ground or 0 for copper."""

    points: NDArray[np.float64]
    thickness_px: int
    value: int


def find_sites(canvas: Pixels, keep_clear: tuple[Box, ...]) -> Sites:
    """Look the canvas (h, w) over once for every place where a class can be planted, away from `keep_clear` (canvas px)."""
    copper = (canvas < 128).astype(np.uint8)
    inside = np.zeros_like(copper)
    low, high = MARGIN_PX + _KEEP_IN_PX, MARGIN_PX + FRAME_PX - _KEEP_IN_PX
    inside[low:high, low:high] = 1
    for box in keep_clear:
        inside[max(0, int(box.y1)) : int(box.y2) + 1, max(0, int(box.x1)) : int(box.x2) + 1] = 0
    in_copper = cv2.distanceTransform(copper, cv2.DIST_L2, 5)
    in_ground = cv2.distanceTransform(1 - copper, cv2.DIST_L2, 5)
    edges = _edges(canvas, copper, inside)
    inward, outward = _walk(copper, edges, into_copper=True), _walk(copper, edges, into_copper=False)
    back = edges[:, :4] * np.array([1, 1, -1, -1], np.float32)
    across = edges.copy()
    across[:, 0:2] += edges[:, 2:4] * (inward[:, None] / 2)
    across[:, 4] = inward
    narrow = (inward >= 7) & (inward <= 32) & _straight(in_copper, across)
    flat = _flat(copper, edges)
    other = flat & _other_copper(copper, edges, outward)
    rows = {
        "open": across[narrow],
        "short": _with_length(back, outward)[other & (outward >= 9) & (outward <= 26)],
        "mousebite": _with_length(edges, inward)[flat & (inward >= 24)],
        "spur": _with_length(back, outward)[flat & (outward >= 26) & (inward >= 13)],
        "copper": _free(in_ground * inside, 20),
        "pin-hole": _free(in_copper * inside, 19),
    }
    return Sites(rows)


def _edges(canvas: Pixels, copper: Pixels, inside: Pixels) -> NDArray[np.float32]:
    """Edge pixels of copper as rows (x, y, dx, dy, 0); (dx, dy) points into the copper."""
    soft = cv2.GaussianBlur(canvas, (0, 0), 3.0)
    gx, gy = cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)
    rim = copper & (cv2.erode(copper, np.ones((3, 3), np.uint8)) == 0) & inside
    y, x = np.nonzero(rim)
    length = np.hypot(gx[y, x], gy[y, x])
    keep = length > 40
    x, y, length = x[keep], y[keep], length[keep]
    return np.stack([x, y, -gx[y, x] / length, -gy[y, x] / length, np.zeros(len(x))], axis=1).astype(np.float32)


def _walk(copper: Pixels, edges: NDArray[np.float32], *, into_copper: bool) -> Field:
    """How many px of copper (or of ground) lie behind (or before) each edge pixel, up to _REACH_PX."""
    sign, target = (1.0, 1) if into_copper else (-1.0, 0)
    run = np.full(len(edges), float(_REACH_PX), np.float32)
    open_ = np.ones(len(edges), bool)
    for step in range(2, _REACH_PX):
        x = np.round(edges[:, 0] + sign * step * edges[:, 2]).astype(int)
        y = np.round(edges[:, 1] + sign * step * edges[:, 3]).astype(int)
        ended = open_ & (copper[y, x] != target)
        run[ended] = step
        open_ &= ~ended
    return run


def _flat(copper: Pixels, edges: NDArray[np.float32]) -> NDArray[np.bool_]:
    """True where the edge runs straight for _FLAT_PX to both sides, so that a bite or a spur cannot be taken for a corner."""
    fits = np.ones(len(edges), bool)
    for along in (-_FLAT_PX, -16.0, -8.0, 8.0, 16.0, _FLAT_PX):
        for depth, target in ((3.0, 1), (-3.0, 0)):
            x = np.round(edges[:, 0] - along * edges[:, 3] + depth * edges[:, 2]).astype(int)
            y = np.round(edges[:, 1] + along * edges[:, 2] + depth * edges[:, 3]).astype(int)
            fits &= copper[y, x] == target
    return fits


def _other_copper(copper: Pixels, edges: NDArray[np.float32], outward: Field) -> NDArray[np.bool_]:
    """True where the copper across the gap belongs to another net, and its edge is as straight as this one."""
    _, nets = cv2.connectedComponents(copper, connectivity=8)
    own = nets[edges[:, 1].astype(int), edges[:, 0].astype(int)]
    differs = np.ones(len(edges), bool)
    for along in (-12.0, 0.0, 12.0):
        x = np.round(edges[:, 0] - along * edges[:, 3] - (outward + 2) * edges[:, 2]).astype(int)
        y = np.round(edges[:, 1] + along * edges[:, 2] - (outward + 2) * edges[:, 3]).astype(int)
        differs &= (nets[y, x] != own) & (copper[y, x] == 1)
    return differs


def _straight(in_copper: NDArray[Any], across: NDArray[Any]) -> NDArray[np.bool_]:
    """True where the copper is a trace: as wide 28 px up and down the trace as at the site itself."""
    fits = np.ones(len(across), bool)
    for along in (-28.0, -14.0, 0.0, 14.0, 28.0):
        x = np.round(across[:, 0] - along * across[:, 3]).astype(int)
        y = np.round(across[:, 1] + along * across[:, 2]).astype(int)
        fits &= np.abs(in_copper[y, x] - across[:, 4] / 2) < 2.0
    return fits


def _with_length(rows: NDArray[np.float32], length: Field) -> NDArray[np.float32]:
    return np.concatenate([rows[:, :4], length[:, None]], axis=1).astype(np.float32)


def _free(distance: Field, least_px: float) -> NDArray[np.float32]:
    """Every third pixel at least `least_px` from anything, as site rows."""
    y, x = np.nonzero(distance[::3, ::3] >= least_px)
    room = distance[::3, ::3][y, x]
    return np.stack([x * 3, y * 3, np.ones(len(x)), np.zeros(len(x)), room], axis=1).astype(np.float32)


def strokes(defect_class: str, site: NDArray[np.float32], rng: np.random.Generator) -> list[Stroke]:
    """The strokes that make a defect of this class at this site (one row of Sites)."""
    at, direction, length = site[:2].astype(float), site[2:4].astype(float), float(site[4])
    if defect_class == "open":
        return _open(at, direction, length, rng)
    if defect_class == "short":
        across, along = (length + 6) / 2 * direction, _turn(direction, np.pi / 2) * float(rng.uniform(-5, 5))
        middle = at + length / 2 * direction
        return [_line(middle - across - along, middle + across + along, int(rng.integers(6, 10)), 0, rng)]
    slant = float(rng.uniform(0.15, 0.85)) * float(rng.choice([-1, 1]))
    if defect_class == "mousebite":
        tip = at + min(length - 8, float(rng.uniform(11, 18))) * _turn(direction, slant)
        return [_line(at - 2 * _turn(direction, slant), tip, int(rng.integers(5, 9)), 255, rng)]
    if defect_class == "spur":
        tip = at + float(rng.uniform(11, 17)) * _turn(direction, slant)
        return [_line(at - 4 * _turn(direction, slant), tip, int(rng.integers(6, 10)), 0, rng)]
    return _blob(at, length, 0 if defect_class == "copper" else 255, rng)


def _open(at: NDArray[np.float64], direction: NDArray[np.float64], width: float, rng: np.random.Generator) -> list[Stroke]:
    """A ragged gap right across a trace: a slanted stroke, scratched over by a thinner one."""
    slant = float(rng.uniform(0.1, 0.55)) * float(rng.choice([-1, 1]))
    reach = (width / 2 / np.cos(slant) + 5) * _turn(direction, slant)
    aside = _turn(direction, np.pi / 2) * float(rng.uniform(-5, 5))
    second = 0.8 * _turn(reach, float(rng.uniform(-0.4, 0.4)))
    return [
        _line(at - reach, at + reach, int(rng.integers(8, 13)), 255, rng),
        _line(at + aside - second, at + aside + second, int(rng.integers(3, 5)), 255, rng),
    ]


def _blob(at: NDArray[np.float64], room: float, value: int, rng: np.random.Generator) -> list[Stroke]:
    """A bent stroke, thicker at one end, that stays `room` px inside."""
    thickness = min(int(rng.integers(5, 8)), int(room - 6))
    span = max(1.0, min(float(rng.uniform(5, 11)), room - thickness / 2 - 6))
    angle = rng.uniform(0, 2 * np.pi)
    ends = [at + span * _turn(np.array([1.0, 0.0]), angle + turn) for turn in (0.0, rng.uniform(1.4, 2.7))]
    head = at + (ends[0] - at) * 0.6
    thick = thickness + int(rng.integers(2, 6))
    return [Stroke(np.stack([ends[0], at, ends[1]]), thickness, value), Stroke(np.stack([at, head]), thick, value)]


def _turn(vector: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * vector[0] - s * vector[1], s * vector[0] + c * vector[1]])


def _line(start: NDArray[np.float64], end: NDArray[np.float64], thickness: int, value: int, rng: np.random.Generator) -> Stroke:
    """A hand-drawn line: its middle is off by up to a pixel and a half."""
    middle = (start + end) / 2 + rng.uniform(-1.5, 1.5, 2)
    return Stroke(np.stack([start, middle, end]), thickness, value)


def paint(patch: Pixels, origin: tuple[int, int], drawn: list[Stroke]) -> None:
    """Draw strokes into `patch` (h, w), which begins at `origin` (x, y) in canvas px."""
    for stroke in drawn:
        fixed = np.round((stroke.points - np.array(origin)) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        cv2.polylines(patch, [fixed], False, (stroke.value,), stroke.thickness_px, cv2.LINE_AA, _SUBPIXEL_BITS)
