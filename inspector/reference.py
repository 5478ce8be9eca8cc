"""The golden reference: how the part should look, brought into register with its frame. Pure; no I/O.

A detector that sees the difference believes it. A reference a few pixels off would show it defects on every edge, or hide one under the
edge of another; so places all over the part (anchors) have to lie on the reference within a pixel, or the part faults as out of position.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from inspector.errors import RecipeError
from inspector.presence import correlation
from inspector.recipe import PresenceTemplate, Recipe
from inspector.types import Frame, Pixels, Pose

MAX_REST_PX = 1.0
"""How far an anchor may lie from its place, in x and in y, once the reference has been moved by the pose."""
SEARCH_PX = 4
"""How far around its place an anchor is looked for: enough to say by how much a part is off, little enough to take no time."""

_GRID = 3
_LEAST_ANCHORS = 4
"""Four of nine cells never lie in one row or column: so they show a turned part, too."""
_SHARE = 2 / 3
"""Of the anchors that have to be in place: some may be spoiled by defects, but a turned or wrong part moves or loses most."""
_LEAST_SCORE = 0.5
_LEAST_CORNER = 1e-3
_SIZES = (32, 24, 16, 8)


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place on the reference, its top-left corner in frame px, with structure in both directions."""

    x: int
    y: int


@dataclass(frozen=True, slots=True, eq=False)
class Registered:
    """The reference in the frame's register, or why there is none.

    pixels   uint8, the frame's shape; where the reference ends, its border is continued; None exactly when there is a problem
    rest_px  the anchors' median distance from their places, the larger of x and y; None when too few were found
    """

    pixels: Pixels | None
    rest_px: float | None
    problem: str | None = None


Register = Callable[[Frame, Pose], Registered]
"""How a station comes by the reference of a frame, whose part lies in that pose. Raises nothing: what goes wrong is the problem."""


class Reference:
    """A reference picture with its anchors, found once: uint8 (h, w).

    reach_px    how far the pose may move it: no anchor leaves the frame
    region      x1, y1, x2, y2 of what the detector sees, in which the anchors have to lie
    Raises RecipeError, beginning with `where`, for a picture that cannot prove that it is in register.
    """

    def __init__(self, pixels: Pixels, *, reach_px: int, where: str, region: tuple[int, int, int, int] | None = None) -> None:
        self.pixels = pixels
        self.anchors, self.anchor_px = _anchors(pixels, region, reach_px + SEARCH_PX)
        self._reach = reach_px
        if len(self.anchors) < _LEAST_ANCHORS:
            raise RecipeError(
                f"{where} shows too little structure to be brought into register ({len(self.anchors)} of {_LEAST_ANCHORS} places needed): "
                "take a picture of a part, a larger region or a smaller max_shift_px"
            )

    @classmethod
    def of(cls, recipe: Recipe) -> "Reference":
        """The recipe's own. Raises RecipeError when it has none, or one that cannot be used."""
        where = f"recipe {recipe.name}: key reference: {recipe.reference}"
        if recipe.reference is None or not isinstance(recipe.presence, PresenceTemplate):
            raise RecipeError(f"{where} needs [presence] with method = template, whose mark tells where it has to lie")
        content = np.frombuffer(recipe.pictures[recipe.reference.as_posix()], np.uint8)
        pixels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
        if pixels is None:
            raise RecipeError(f"{where} is not a readable picture; take it again")
        if pixels.ndim != 2 or pixels.dtype != np.uint8:
            raise RecipeError(f"{where} is not a mono picture of 8 bit; take it with the station's camera")
        wanted = (recipe.frame.height, recipe.frame.width)
        if pixels.shape != wanted:
            raise RecipeError(f"{where} is {pixels.shape[1]}x{pixels.shape[0]}, the frame {wanted[1]}x{wanted[0]}; take it at that size")
        return cls(np.asarray(pixels, np.uint8), reach_px=recipe.presence.max_shift_px, where=where, region=recipe.region)

    def register(self, pixels: Pixels, pose: Pose) -> Registered:
        """Move the reference by the pose (whole px) and look whether it lies on `pixels` (uint8, its own shape) within MAX_REST_PX."""
        dx, dy = round(pose.dx), round(pose.dy)
        if max(abs(dx), abs(dy)) > self._reach:
            return Registered(None, None, f"part out of position: {dx:+d}, {dy:+d} px, the reference reaches {self._reach}")
        rests = [rest for anchor in self.anchors if (rest := self._rest(pixels, anchor, dx, dy)) is not None]
        needed = ceil(_SHARE * len(self.anchors))
        if len(rests) < needed:
            places = f"{len(rests)} of {len(self.anchors)} places match, {needed} needed"
            return Registered(None, None, f"part unlike its reference: {places} (turned, bent or another part)")
        rest_x, rest_y = np.median(rests, axis=0).tolist()
        rest_px = max(abs(rest_x), abs(rest_y))
        in_place = sum(max(abs(x), abs(y)) <= MAX_REST_PX for x, y in rests)
        if in_place >= needed:
            return Registered(shifted(self.pixels, dx, dy), rest_px)
        farthest = max(max(abs(x), abs(y)) for x, y in rests)
        text = (
            f"part out of position: in register to {rest_x:+.1f}, {rest_y:+.1f} px, {farthest:.1f} px at worst, {MAX_REST_PX:.0f} allowed "
            "(mark displaced, part turned or bent)"
        )
        return Registered(None, rest_px, text)

    def locate(self, pixels: Pixels, pose: Pose) -> Pose:
        """The pose moved by whole px to where most anchors lie, for pictures without a mark; the pose itself where too few are found.

        It looks SEARCH_PX far: what lies farther off does not come into register.
        """
        dx, dy = round(pose.dx), round(pose.dy)
        rests = [rest for anchor in self.anchors if (rest := self._rest(pixels, anchor, dx, dy)) is not None]
        if len(rests) < _LEAST_ANCHORS:
            return pose
        rest_x, rest_y = np.median(rests, axis=0).tolist()
        return Pose(float(dx + round(rest_x)), float(dy + round(rest_y)), pose.score)

    def _rest(self, pixels: Pixels, anchor: Anchor, dx: int, dy: int) -> tuple[float, float] | None:
        """Where the anchor lies against where the pose puts it, px; None when it is not found."""
        x, y, size = anchor.x, anchor.y, self.anchor_px
        patch = self.pixels[y : y + size, x : x + size]
        left, top = x + dx - SEARCH_PX, y + dy - SEARCH_PX
        window = pixels[top : top + size + 2 * SEARCH_PX, left : left + size + 2 * SEARCH_PX]
        if min(top, left) < 0 or window.shape != (size + 2 * SEARCH_PX, size + 2 * SEARCH_PX):
            return None  # the part lies so far off that this anchor is cut by the frame's edge
        scores = correlation(window, patch)
        _, best, _, (column, row) = cv2.minMaxLoc(scores)
        if best < _LEAST_SCORE:
            return None
        return column + _between(scores[row], column) - SEARCH_PX, row + _between(scores[:, column], row) - SEARCH_PX


def shifted(pixels: Pixels, dx: int, dy: int) -> Pixels:
    """The picture (h, w) moved by whole px, less than its size; where it ends, its border is continued."""
    if not (dx or dy):
        return pixels
    height, width = pixels.shape
    kept = pixels[max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
    sides = max(0, dy), max(0, -dy), max(0, dx), max(0, -dx)
    return np.asarray(cv2.copyMakeBorder(kept, *sides, cv2.BORDER_REPLICATE), np.uint8)


def _between(scores: NDArray[np.float32], at: int) -> float:
    """The peak's place between the samples, -0.5..0.5, by the parabola through it and its neighbours; 0 at the rim."""
    if not 0 < at < len(scores) - 1:
        return 0.0
    before, peak, after = (float(s) for s in scores[at - 1 : at + 2])
    bend = before - 2 * peak + after
    return 0.0 if bend >= 0 else 0.5 * (before - after) / bend


def _anchors(pixels: Pixels, region: tuple[int, int, int, int] | None, margin_px: int) -> tuple[tuple[Anchor, ...], int]:
    """In each cell of a grid the place with the most structure in its weakest direction (smaller eigenvalue of the gradients'
    covariance, as in Shi and Tomasi, "Good Features to Track", 1994), and the side of all places in px."""
    height, width = pixels.shape
    x1, y1, x2, y2 = region or (0, 0, width, height)
    x1, y1, x2, y2 = max(x1, margin_px), max(y1, margin_px), min(x2, width - margin_px), min(y2, height - margin_px)
    size = next((s for s in _SIZES if min(x2 - x1, y2 - y1) >= _GRID * s), 0)
    if not size:
        return (), 0
    corners = cv2.cornerMinEigenVal(pixels, blockSize=size, ksize=3)[size // 2 :, size // 2 :]  # at a place's corner, not its middle
    columns, rows = (np.linspace(low, high, _GRID + 1).astype(int) for low, high in ((x1, x2), (y1, y2)))
    found: list[Anchor] = []
    for row, column in product(range(_GRID), repeat=2):
        left, top = int(columns[column]), int(rows[row])
        cell = corners[top : rows[row + 1] - size + 1, left : columns[column + 1] - size + 1]
        _, best, _, (x, y) = cv2.minMaxLoc(cell)
        if best >= _LEAST_CORNER:
            found.append(Anchor(left + x, top + y))
    return tuple(found), size
