"""Tiles at native resolution, cut from a data set: what a network is trained on. Small defects stay as large as the camera sees them.

Around each defect, at random, and from good twins as background; with a reference, B, G, R of a tile are picture, good twin and their
absolute difference. So that the network learns to live with what a line brings, references are shifted by up to MAX_SHIFT_PX, good parts
are shifted and given edges of their own (an untouched twin is its own reference and teaches nothing), and some pictures are lit
differently and noisy. A tile is a function of (seed, folder, part, view) alone.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspector.bundle import GREY
from inspector.types import Box, Pixels
from models.dataset import Split
from models.train_data import Part, read_part

VERSION = 1
"""Goes up when the same options give other tiles: tiles kept from before are then cut again."""
MAX_SHIFT_PX = 2
_WHOLE_ENOUGH = 0.4
"""A box belongs to a tile when at least this part of it is visible there."""
_RANDOM_EVERY = 4
_BACKGROUND_EVERY = 4
_SHIFTED, _DISTURBED, _ROUGHENED = 0.5, 0.3, 0.5
"""Shares of the training tiles."""
_NOISE_SIGMA, _GAIN = 8.0, (0.85, 1.15)
_LENS_SIGMA_PX, _EDGE_NOISE, _NOISE_LIMIT = 0.9, (16.0, 45.0), 100.0
"""The noise stays below the threshold's distance from solid black and white: it moves edges and makes no specks."""
_BETWEEN, _BINARISED = (40, 215), 0.05
"""A picture counts as binarised when less than this part of its pixels lies between these grey levels."""


@dataclass(frozen=True, slots=True)
class TileOptions:
    """side: px, multiple of 32. views: tiles cut from each defective picture. colour: B, G, R pictures. reference: mono only."""

    side: int = 320
    views: int = 4
    reference: bool = False
    colour: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """pixels: uint8 (side, side, 3). boxes: (class number, box in px of the tile), clipped to it."""

    name: str
    pixels: Pixels
    boxes: tuple[tuple[int, Box], ...]

    def rows(self) -> str:
        """The boxes as rows of a label file."""
        side = self.pixels.shape[0]
        return "".join(
            f"{c} {(b.x1 + b.x2) / 2 / side:.6f} {(b.y1 + b.y2) / 2 / side:.6f} {(b.x2 - b.x1) / side:.6f} {(b.y2 - b.y1) / side:.6f}\n"
            for c, b in self.boxes
        )


def training_tiles(split: Split, classes: tuple[str, ...], options: TileOptions, folder: int) -> Iterator[Tile]:
    """The tiles of a training split; `folder` numbers the datasets that are trained on together. Raises DatasetError, PictureError."""
    for number, board in enumerate(split.boards):
        part = read_part(board, classes, options.colour)
        if part.defective is not None and (part.good is not None or not options.reference):
            for view in range(options.views):
                rng = np.random.default_rng([options.seed, folder, number, view])
                yield _around_a_defect(f"{folder}-{number:06d}-{view:02d}", part, options, rng, view)
        if part.good is not None:
            for view in range(max(1, options.views // _BACKGROUND_EVERY)):
                rng = np.random.default_rng([options.seed, folder, number, view, 1])
                yield _background(f"{folder}-{number:06d}-good{view:02d}", part.good, options, rng)


def validation_tiles(split: Split, classes: tuple[str, ...], options: TileOptions, most: int) -> Iterator[Tile]:
    """Whole pictures cut edge to edge, nothing changed; of many pictures every k-th, so that there are about `most` tiles."""
    usable = [board for board in split.defective if board.good is not None or not options.reference]
    step = 1
    for number, board in enumerate(usable):
        if number % step:
            continue
        part = read_part(board, classes, options.colour)
        assert part.defective is not None
        height, width = part.defective.shape[:2]
        corners = [(y, x) for y in _grid(height, options.side) for x in _grid(width, options.side)]
        if number == 0:
            step = max(1, round(len(usable) * len(corners) / most))
        for k, corner in enumerate(corners):
            reference = part.good if options.reference else None
            yield _tile(f"{number:06d}-{k:02d}", part.defective, reference, part.boxes, corner, options.side)


def as_network_sees(picture: Pixels, reference: Pixels | None) -> Pixels:
    """Three channels in B, G, R order: a colour picture as it is, a mono picture three times, or picture, reference, difference."""
    if picture.ndim == 3:
        return picture
    if reference is None:
        return np.repeat(picture[..., None], 3, axis=2)
    return np.dstack((picture, reference, cv2.absdiff(picture, reference)))


def shifted(picture: Pixels, dx: int, dy: int) -> Pixels:
    """The picture moved by whole px, its border continued."""
    if not (dx or dy):
        return picture
    move = np.array(((1, 0, dx), (0, 1, dy)), np.float32)
    moved = cv2.warpAffine(picture, move, picture.shape[1::-1], flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def roughened(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """Other edges, as another part would have them: lens and noise before the threshold. A picture with greys gets noise alone."""
    between = float(((picture > _BETWEEN[0]) & (picture < _BETWEEN[1])).mean())
    if picture.ndim == 3 or between > _BINARISED:
        return _clipped(picture + rng.normal(0, _NOISE_SIGMA / 2, picture.shape))
    noise = rng.normal(0, rng.uniform(*_EDGE_NOISE), picture.shape).clip(-_NOISE_LIMIT, _NOISE_LIMIT)
    field = cv2.GaussianBlur(picture, (0, 0), _LENS_SIGMA_PX) + noise
    dark, bright = np.percentile(picture, (1, 99)) if picture.min() < 128 <= picture.max() else (0, 255)
    return np.where(field > 128, np.uint8(bright), np.uint8(dark))


def disturbed(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """Another light and a noisy sensor: gain 0.85 to 1.15, Gaussian noise with sigma up to 8 of 255."""
    return _clipped(picture * rng.uniform(*_GAIN) + rng.normal(0, rng.uniform(0, _NOISE_SIGMA), picture.shape))


def _around_a_defect(name: str, part: Part, options: TileOptions, rng: np.random.Generator, view: int) -> Tile:
    assert part.defective is not None
    height, width = part.defective.shape[:2]
    if view % _RANDOM_EVERY == _RANDOM_EVERY - 1:
        corner = _anywhere(height, width, options.side, rng)
    else:
        corner = _holding(part.boxes[(view + int(rng.integers(len(part.boxes)))) % len(part.boxes)][1], height, width, options.side, rng)
    picture = _rough_beside(part, rng) if rng.random() < _ROUGHENED / 2 else part.defective
    picture = disturbed(picture, rng) if rng.random() < _DISTURBED else picture
    reference = _reference(part.good, rng) if options.reference and part.good is not None else None
    return _tile(name, picture, reference, part.boxes, corner, options.side)


def _rough_beside(part: Part, rng: np.random.Generator) -> Pixels:
    """The defective picture with rough edges; what is labelled stays, because a threshold takes a faint defect away."""
    assert part.defective is not None
    rough = roughened(part.defective, rng)
    for _, box in part.boxes:
        window = (slice(int(box.y1), math.ceil(box.y2)), slice(int(box.x1), math.ceil(box.x2)))
        rough[window] = part.defective[window]
    return rough


def _background(name: str, good: Pixels, options: TileOptions, rng: np.random.Generator) -> Tile:
    picture = shifted(good, *_some_px(rng)) if options.reference else good
    picture = roughened(picture, rng) if options.reference or rng.random() < _ROUGHENED else picture
    picture = disturbed(picture, rng) if rng.random() < _DISTURBED else picture
    corner = _anywhere(good.shape[0], good.shape[1], options.side, rng)
    return _tile(name, picture, good if options.reference else None, [], corner, options.side)


def _reference(good: Pixels, rng: np.random.Generator) -> Pixels:
    """How the part should look, as a station has it: from another part, registered within MAX_SHIFT_PX."""
    reference = roughened(good, rng) if rng.random() < _ROUGHENED / 2 else good
    return shifted(reference, *_some_px(rng)) if rng.random() < _SHIFTED else reference


def _some_px(rng: np.random.Generator) -> tuple[int, int]:
    dx, dy = rng.integers(-MAX_SHIFT_PX, MAX_SHIFT_PX + 1, 2).tolist()
    return dx, dy


def _anywhere(height: int, width: int, side: int, rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(max(0, height - side) + 1)), int(rng.integers(max(0, width - side) + 1))


def _holding(box: Box, height: int, width: int, side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top-left corner of a tile that holds the whole box, or its middle where the box is larger than the tile."""

    def along(low: float, high: float, size: int) -> int:
        first, last = int(np.ceil(high)) - side, int(low)
        if first > last:
            first = last = int((low + high - side) / 2)
        limit = max(0, size - side)
        return int(rng.integers(min(max(first, 0), limit), min(max(last, 0), limit) + 1))

    return along(box.y1, box.y2, height), along(box.x1, box.x2, width)


def _grid(size: int, side: int) -> list[int]:
    count = -(-size // side)
    return [0] if count == 1 else np.linspace(0, size - side, count).round().astype(int).tolist()


def _tile(
    name: str, picture: Pixels, reference: Pixels | None, boxes: Sequence[tuple[int, Box]], corner: tuple[int, int], side: int
) -> Tile:
    y, x = corner
    window = (slice(y, y + side), slice(x, x + side))
    seen = as_network_sees(picture[window], None if reference is None else reference[window])
    below, beside = side - seen.shape[0], side - seen.shape[1]
    if below or beside:
        seen = np.asarray(cv2.copyMakeBorder(seen, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=(GREY,) * 3), np.uint8)
    visible = []
    for class_id, box in boxes:
        part = Box(max(box.x1 - x, 0), max(box.y1 - y, 0), min(box.x2 - x, side), min(box.y2 - y, side))
        if part.x2 > part.x1 and part.y2 > part.y1 and part.area >= _WHOLE_ENOUGH * box.area:
            visible.append((class_id, part))
    return Tile(name, np.ascontiguousarray(seen), tuple(visible))


def _clipped(values: NDArray[np.float64]) -> Pixels:
    return values.clip(0, 255).round().astype(np.uint8)
