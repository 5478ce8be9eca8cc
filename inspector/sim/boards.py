"""Renders bare boards in DeepPCB's look (640x640, 8-bit mono, binarised) with known defects.

The picture of a part is a function of (product, seed, part number) alone: whoever knows the three knows the truth about the part,
in any process, before or after. Nothing here is made from a real picture; sizes and the look of edges follow the public data set
(tangsanli5201/DeepPCB), because a detector trained there has seen nothing else.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inspector.sim.boards_defects import CLASSES, Stroke, find_sites, paint, strokes
from inspector.sim.boards_layout import FRAME_PX, MARGIN_PX, draw_layout
from inspector.types import Box, Pixels

LABEL_MARGIN_PX = 10
"""How far the truth's box stands off the changed pixels, as the boxes of DeepPCB do."""

MAX_SHIFT_PX = 8
MAX_DEFECTS = 4

_LENS_SIGMA_PX = 0.9
_EDGE_NOISE = 16.0
_WAVE_NOISE = 14.0
_NOISE_LIMIT = 100  # below the threshold's distance from solid copper or ground, so noise moves edges and never makes specks
_TEXTURE_PX = 1024
_PATCH_PX = 48
_APART_PX = 72
_LEAST_CHANGED_PX = 24
_TRIES = 200


class BeltScene(StrEnum):
    """What lies under the camera."""

    PART = "part"
    EMPTY = "empty belt"
    WRONG_PRODUCT = "wrong product"
    OUT_OF_POSITION = "out of position"


@dataclass(frozen=True, slots=True)
class PlantedDefect:
    """One defect that was drawn on purpose; the box is in frame px."""

    defect_class: str
    box: Box


@dataclass(frozen=True, slots=True, eq=False)
class RenderedBoard:
    """One part's picture (640, 640) and the whole truth about it.

    good   a part in place without any defect; only such a part may pass
    shift  (dx, dy) px of the part against the product's reference picture
    """

    pixels: Pixels
    defects: tuple[PlantedDefect, ...]
    good: bool
    shift: tuple[int, int]
    scene: BeltScene = BeltScene.PART


@dataclass(frozen=True, slots=True)
class PartPlan:
    """What a part is going to be, known without drawing it."""

    scene: BeltScene
    shift: tuple[int, int]
    classes: tuple[str, ...]

    @property
    def good(self) -> bool:
        return self.scene is BeltScene.PART and not self.classes


class Product:
    """A product: one fixed layout, the same geometry for every part. Drawing it takes about 0.1 s, once."""

    def __init__(self, seed: int) -> None:
        """Raises ValueError for a negative seed."""
        if seed < 0:
            raise ValueError(f"product seed {seed} is negative; take 0 or more")
        layout = draw_layout(seed)
        self.seed = seed
        self.fiducials = layout.fiducials
        """Boxes of the two fiducials with their clear ground, frame px, for a part without shift: templates for a template match."""
        self.canvas = layout.canvas
        self.sites = find_sites(layout.canvas, tuple(_moved(box, MARGIN_PX, MARGIN_PX) for box in layout.fiducials))
        missing = [name for name in CLASSES if not len(self.sites.rows[name])]
        if missing:
            raise ValueError(f"product {seed} has no place for {', '.join(missing)}; take another seed")

    def reference(self) -> Pixels:
        """How a part without shift, noise and defects looks: (640, 640), only 0 and 255."""
        soft = cv2.GaussianBlur(_crop(self.canvas, (0, 0)), (0, 0), _LENS_SIGMA_PX)
        return np.ascontiguousarray(np.where(soft > 128, np.uint8(255), np.uint8(0)))


def plan_part(part_number: int, *, seed: int, defect_rate: float = 0.3, odd_rate: float = 0.0) -> PartPlan:
    """Decide what part `part_number` is. `odd_rate` is the share of frames that show no proper part (empty, wrong, out of position)."""
    rng = np.random.default_rng([seed, part_number, 1])
    odd, defective = rng.random() < odd_rate, rng.random() < defect_rate
    scene = BeltScene.PART
    if odd:
        scene = (BeltScene.EMPTY, BeltScene.WRONG_PRODUCT, BeltScene.OUT_OF_POSITION)[int(rng.integers(3))]
    dx, dy = (int(v) for v in rng.integers(-MAX_SHIFT_PX, MAX_SHIFT_PX + 1, 2))
    if scene is BeltScene.OUT_OF_POSITION:
        dx += int(rng.choice([-1, 1])) * int(rng.integers(60, 100))
    classes: tuple[str, ...] = ()
    if defective and scene is BeltScene.PART:
        classes = tuple(CLASSES[int(i)] for i in rng.integers(len(CLASSES), size=int(rng.integers(1, MAX_DEFECTS + 1))))
    return PartPlan(scene, (dx, dy), classes)


def board(product: Product, part_number: int, *, seed: int, defect_rate: float = 0.3, odd_rate: float = 0.0) -> RenderedBoard:
    """Render part `part_number` (0 or more) of the lot named by `seed`; the same arguments give the same picture, bit for bit."""
    plan = plan_part(part_number, seed=seed, defect_rate=defect_rate, odd_rate=odd_rate)
    return _render(product, plan, np.random.default_rng([seed, part_number, 2, product.seed]))


def good_twin(product: Product, part_number: int, *, seed: int, defect_rate: float = 0.3, odd_rate: float = 0.0) -> RenderedBoard:
    """The same part as `board` gives, shift and edge roughness included, without its defects."""
    plan = plan_part(part_number, seed=seed, defect_rate=defect_rate, odd_rate=odd_rate)
    rng = np.random.default_rng([seed, part_number, 2, product.seed])
    return _render(product, PartPlan(plan.scene, plan.shift, ()), rng)


def _render(product: Product, plan: PartPlan, rng: np.random.Generator) -> RenderedBoard:
    textures = _textures()
    y, x = (int(v) for v in rng.integers(0, _TEXTURE_PX - FRAME_PX, 2))
    window = (slice(y, y + FRAME_PX), slice(x, x + FRAME_PX))
    edge_noise, dust = textures[0][window], textures[1][window]
    if plan.scene is BeltScene.EMPTY:
        return RenderedBoard(np.uint8(255) ^ dust, (), False, plan.shift, plan.scene)
    shown = wrong_product(product.seed) if plan.scene is BeltScene.WRONG_PRODUCT else product
    part = _crop(shown.canvas, plan.shift)
    field = cv2.GaussianBlur(part, (0, 0), _LENS_SIGMA_PX)
    picture = _expose(field, edge_noise)
    planted: list[PlantedDefect] = []
    for defect_class in plan.classes:
        planted.append(_plant(product, defect_class, plan.shift, part, picture, edge_noise, planted, rng))
    return RenderedBoard(picture ^ dust, tuple(planted), plan.good, plan.shift, plan.scene)


def _plant(
    product: Product,
    defect_class: str,
    shift: tuple[int, int],
    part: Pixels,
    picture: Pixels,
    edge_noise: NDArray[np.int16],
    planted: list[PlantedDefect],
    rng: np.random.Generator,
) -> PlantedDefect:
    """Draw one defect into `picture`; its truth box is taken from the pixels that really changed."""
    sites = product.sites.rows[defect_class]
    dx, dy = shift[0] - MARGIN_PX, shift[1] - MARGIN_PX
    for _ in range(_TRIES):
        site = sites[int(rng.integers(len(sites)))]
        x, y = float(site[0]) + dx, float(site[1]) + dy
        if any(_distance(x, y, other.box) < _APART_PX for other in planted):
            continue
        box = _draw(strokes(defect_class, site, rng), (round(x), round(y)), (dx, dy), part, picture, edge_noise)
        if box is not None:
            return PlantedDefect(defect_class, box)
    raise ValueError(f"product {product.seed} has no free place for {defect_class}; take another product seed")


def _draw(
    drawn: list[Stroke], at: tuple[int, int], move: tuple[int, int], part: Pixels, picture: Pixels, edge_noise: NDArray[np.int16]
) -> Box | None:
    left, top = (max(0, min(FRAME_PX - 2 * _PATCH_PX, v - _PATCH_PX)) for v in at)
    window = (slice(top, top + 2 * _PATCH_PX), slice(left, left + 2 * _PATCH_PX))
    patch = part[window].copy()
    paint(patch, (left - move[0], top - move[1]), drawn)
    changed_field = cv2.GaussianBlur(patch, (0, 0), _LENS_SIGMA_PX)
    rim = 4  # the lens blurs across the patch's border; there the whole part's field is right
    inner = (slice(top + rim, window[0].stop - rim), slice(left + rim, window[1].stop - rim))
    new = _expose(changed_field[rim:-rim, rim:-rim], edge_noise[inner])
    changed = new != picture[inner]
    if np.count_nonzero(changed) < _LEAST_CHANGED_PX:
        return None
    picture[inner] = new
    y, x = np.nonzero(changed)
    x0, y0 = left + rim, top + rim
    return Box(
        float(max(0, x0 + x.min() - LABEL_MARGIN_PX)),
        float(max(0, y0 + y.min() - LABEL_MARGIN_PX)),
        float(min(FRAME_PX, x0 + x.max() + 1 + LABEL_MARGIN_PX)),
        float(min(FRAME_PX, y0 + y.max() + 1 + LABEL_MARGIN_PX)),
    )


@lru_cache(maxsize=4)
def wrong_product(seed: int) -> Product:
    """The product that lies on the belt by mistake instead of product `seed`."""
    return Product(seed + 1)


def _expose(field: NDArray[Any], edge_noise: NDArray[np.int16]) -> Pixels:
    """Binarise as the data set's camera software did: noise before the threshold makes the combed edges."""
    return (field + edge_noise > 128).view(np.uint8) * np.uint8(255)


@lru_cache(maxsize=1)
def _textures() -> tuple[NDArray[np.int16], Pixels]:
    """Fixed noise that every part takes a window of: at edges (before the threshold), and 0..3 grey values (like a mild JPEG)."""
    rng = np.random.default_rng(20_001)
    size = (_TEXTURE_PX, _TEXTURE_PX)
    fine = rng.normal(0.0, _EDGE_NOISE, size)
    wave = cv2.GaussianBlur(rng.normal(0.0, 1.0, size), (0, 0), 9.0)
    edge = np.clip(fine + wave * (_WAVE_NOISE / wave.std()), -_NOISE_LIMIT, _NOISE_LIMIT).astype(np.int16)
    dust = rng.choice(np.array([0, 0, 0, 0, 1, 2, 3], np.uint8), size)
    return edge, dust


def _crop(canvas: Pixels, shift: tuple[int, int]) -> Pixels:
    left, top = MARGIN_PX - shift[0], MARGIN_PX - shift[1]
    return canvas[top : top + FRAME_PX, left : left + FRAME_PX]


def _moved(box: Box, dx: float, dy: float) -> Box:
    return Box(box.x1 + dx, box.y1 + dy, box.x2 + dx, box.y2 + dy)


def _distance(x: float, y: float, box: Box) -> float:
    return float(np.hypot(x - (box.x1 + box.x2) / 2, y - (box.y1 + box.y2) / 2))
