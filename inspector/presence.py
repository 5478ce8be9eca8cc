"""Does the frame show the right part, in place? Pure; no I/O.

An empty belt gives no detections, and no detections must not mean PASS: so the part has to show itself first.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspector.errors import RecipeError
from inspector.recipe import PresenceOff, PresenceSilhouette, PresenceTemplate, Recipe
from inspector.types import Pixels, Pose

_LEAST_CONTRAST = 0.5
"""Grey levels. A mark has at least 1 (standard deviation) when it is taught; this leaves room for a dim light."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the presence check saw. `text` goes into the record; `problem` is None when the part is there and in place."""

    pose: Pose
    text: str
    problem: str | None = None


class PresenceCheck:
    """The presence check of one recipe, with its mark decoded. Raises RecipeError when the mark cannot be used."""

    def __init__(self, recipe: Recipe) -> None:
        self._rule = recipe.presence
        self._mark = _mark(recipe, self._rule) if isinstance(self._rule, PresenceTemplate) else None

    def look(self, pixels: Pixels) -> Sighting:
        """Look at one frame, uint8 (h, w) or (h, w, 3)."""
        if isinstance(self._rule, PresenceOff):
            return Sighting(Pose(), "off")
        if isinstance(self._rule, PresenceSilhouette):
            return _silhouette(pixels, self._rule)
        assert self._mark is not None
        return _template(pixels, self._rule, self._mark)


def _mark(recipe: Recipe, rule: PresenceTemplate) -> Pixels:
    path = rule.picture
    content = np.frombuffer(recipe.pictures[rule.picture.as_posix()], dtype=np.uint8)
    mark = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if content.size else None
    if mark is None:
        raise RecipeError(f"recipe {recipe.name}: key presence.picture: {path} is not a readable picture; teach the mark again")
    height, width = mark.shape
    x, y = rule.position
    if not (x >= 0 and x + width <= recipe.frame.width and y >= 0 and y + height <= recipe.frame.height):
        raise RecipeError(f"recipe {recipe.name}: key presence.position: the {width}x{height} mark at {x}, {y} does not lie in the frame")
    if float(mark.std()) < 1.0:
        raise RecipeError(f"recipe {recipe.name}: key presence.picture: {path} shows one even grey; a mark needs contrast")
    return np.ascontiguousarray(mark, dtype=np.uint8)


def _grey(pixels: Pixels) -> Pixels:
    return pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), dtype=np.uint8)


def _silhouette(pixels: Pixels, rule: PresenceSilhouette) -> Sighting:
    kind = cv2.THRESH_BINARY if rule.part_is == "bright" else cv2.THRESH_BINARY_INV
    _, mask = cv2.threshold(_grey(pixels), rule.threshold, 255, kind)
    area = float(cv2.countNonZero(mask))
    text = f"silhouette {area:.0f} px²"
    if area < rule.min_area_px2:
        return Sighting(Pose(), text, f"no part in the picture: silhouette {area:.0f} px², at least {rule.min_area_px2:.0f} expected")
    if area > rule.max_area_px2:
        return Sighting(Pose(), text, f"not the right part: silhouette {area:.0f} px², at most {rule.max_area_px2:.0f} expected")
    if rule.centre is None:
        return Sighting(Pose(), text)
    moments = cv2.moments(mask, binaryImage=True)
    pose = Pose(moments["m10"] / moments["m00"] - rule.centre[0], moments["m01"] / moments["m00"] - rule.centre[1])
    shift = float(np.hypot(pose.dx, pose.dy))
    if shift > rule.max_shift_px:
        return Sighting(pose, text, f"part out of position by {shift:.0f} px, {rule.max_shift_px:.0f} allowed")
    return Sighting(pose, text)


def _even(window: Pixels, width: int, height: int) -> NDArray[np.bool_]:
    """Where a width x height patch of the window, by its top-left corner, has a standard deviation below `_LEAST_CONTRAST`."""
    rows, columns = window.shape[0] - height + 1, window.shape[1] - width + 1
    size, corner = (width, height), (0, 0)
    mean = cv2.boxFilter(window, cv2.CV_64F, size, anchor=corner)[:rows, :columns]
    square = cv2.sqrBoxFilter(window, cv2.CV_64F, size, anchor=corner)[:rows, :columns]
    return np.asarray(square - mean * mean < _LEAST_CONTRAST**2, dtype=np.bool_)


def correlation(window: Pixels, mark: Pixels) -> NDArray[np.float32]:
    """Normalised cross-correlation (cv2.TM_CCOEFF_NORMED) of the mark at every place of the window, by its top-left corner: -1..1,
    float32 (window height - mark height + 1, window width - mark width + 1); 0 where the window shows nothing. Both uint8, mono."""
    height, width = mark.shape
    scores = np.asarray(cv2.matchTemplate(window, mark, cv2.TM_CCOEFF_NORMED), dtype=np.float32)
    # Without contrast the correlation is undefined, and a rounding error of the sums may stand there as a perfect match: tried, 0.87
    # on a white field with one grey pixel. Such a place means "nothing there".
    scores[_even(window, width, height) | ~np.isfinite(scores) | (np.abs(scores) > 1.001)] = 0.0
    return scores


def _template(pixels: Pixels, rule: PresenceTemplate, mark: Pixels) -> Sighting:
    """Normalised cross-correlation in the window that max_shift_px allows, and one pixel around it, so
    that a part just outside is seen at the rim and named "out of position" instead of "not found"."""
    height, width = mark.shape
    reach = rule.max_shift_px + 1
    x, y = rule.position
    x1, y1 = max(0, x - reach), max(0, y - reach)
    window = _grey(pixels[y1 : y + height + reach, x1 : x + width + reach])
    scores = correlation(window, mark)
    _, best, _, (column, row) = cv2.minMaxLoc(scores)
    pose = Pose(float(x1 + column - x), float(y1 + row - y), round(float(best), 4))
    text = f"template {best:.2f}"
    if best < rule.min_score:
        return Sighting(pose, text, f"part not found: its mark matches {best:.2f}, {rule.min_score:.2f} expected (empty, wrong or turned)")
    if max(abs(pose.dx), abs(pose.dy)) > rule.max_shift_px:
        return Sighting(pose, text, f"part out of position: {pose.dx:+.0f}, {pose.dy:+.0f} px, {rule.max_shift_px} allowed")
    return Sighting(pose, text)
