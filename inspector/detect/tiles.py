"""Big frames: cut into overlapping tiles of the network's size, which are inferred one after the other and merged at the seams.

One by one on the one reused request, not as a batch. A batch of 4 or 12 takes 5 to 12 % less time per tile (YOLO26n INT8 640, 2 cores of a
busy machine), but it needs a network compiled for each number of tiles, and between tiles the detector can stop, be cancelled and prove
that it is alive.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inspector.bundle import GREY, Bundle, BundleCanary, CanaryFrame
from inspector.clock import NS_PER_S, now_ns
from inspector.detect.seams import EDGE_PX, Tile, merge
from inspector.errors import DetectorError, RecipeError
from inspector.ports import Detector, DetectorInfo
from inspector.recipe import Recipe
from inspector.types import Box, Detection, Pixels


@dataclass(frozen=True, slots=True)
class TilePlan:
    """How a frame (px) is cut: all tiles of one size, row by row. They cover every pixel, and none reaches beyond the frame."""

    height: int
    width: int
    tile_height: int
    tile_width: int
    tiles: tuple[Tile, ...]

    @property
    def text(self) -> str:
        """For people: "20 tiles of 640x640"."""
        return f"{len(self.tiles)} tile{'s' if len(self.tiles) > 1 else ''} of {self.tile_width}x{self.tile_height}"


def plan_tiles(height: int, width: int, *, tile_height: int, tile_width: int, largest_px: int) -> TilePlan:
    """The fewest tiles in which every box of up to largest_px x largest_px lies whole, clear of inner edges, in one of them.

    height, width: px of the frame; where it is smaller than a tile, the tile is as small. Raises RecipeError when the tiles are too small
    for such boxes.
    """
    tile_height, tile_width = min(height, tile_height), min(width, tile_width)
    xs = _starts(width, tile_width, largest_px)
    ys = _starts(height, tile_height, largest_px)
    return TilePlan(height, width, tile_height, tile_width, tuple(Tile(x, y, tile_width, tile_height) for y in ys for x in xs))


def _starts(length: int, tile: int, largest_px: int) -> list[int]:
    """Where tiles begin along one side: evenly spread, the last one ends with the frame."""
    if length == tile:
        return [0]
    overlap = largest_px + 2 * EDGE_PX
    if overlap >= tile:
        raise RecipeError(
            f"tiles.largest_px: {largest_px} px do not fit between the seams of tiles of {tile} px, {tile - 2 * EDGE_PX - 1} at most do; "
            "name a smaller one, or remove [tiles] so that the frame is scaled down to the network's size"
        )
    count = -(-(length - overlap) // (tile - overlap))
    return [i * (length - tile) // (count - 1) for i in range(count)]


def tiles_for(recipe: Recipe, bundle: Bundle) -> TilePlan | None:
    """The tiles of what the recipe's detector sees; None when that fits into the network's input, or is to be scaled down to it.

    Raises RecipeError when the network's input is too small for the recipe's largest defect.
    """
    x1, y1, x2, y2 = recipe.region or (0, 0, recipe.frame.width, recipe.frame.height)
    height, width, card = y2 - y1, x2 - x1, bundle.card
    if recipe.tiles is None or (height <= card.height and width <= card.width):
        return None
    return plan_tiles(height, width, tile_height=card.height, tile_width=card.width, largest_px=recipe.tiles.largest_px)


def tiled_canary(canary: BundleCanary, plan: TilePlan, channels: int) -> CanaryFrame:
    """The canary as a frame that is cut by `plan`: in the last tile, so that all of them have to be gone through, and even grey around.

    Grey, because mirrored or repeated it would show defects more than once. Raises BundleError when it does not fit into a tile.
    """
    tile = plan.tiles[-1]
    shown = canary.frame(tile.height, tile.width, channels)
    expected = tuple(_moved(d, tile) for d in shown.expected)

    def framed(picture: Pixels) -> Pixels:
        frame = np.full((plan.height, plan.width, *picture.shape[2:]), GREY, np.uint8)
        frame[tile.y : tile.y2, tile.x : tile.x2] = picture
        return frame

    reference = None if shown.reference is None else framed(shown.reference)
    return CanaryFrame(framed(shown.pixels), reference, expected, shown.min_iou, shown.score_tolerance)


class TiledDetector:
    """Port `Detector` for big frames, around a detector `tile` built for frames of plan.tile_height x plan.tile_width px.

    channels: 1 mono, 3 B, G, R. `tile` belongs to this detector from now on: it is closed with it.
    """

    def __init__(self, tile: Detector, plan: TilePlan, *, channels: int) -> None:
        self._tile = tile
        self._plan = plan
        self._shape = (plan.height, plan.width) if channels == 1 else (plan.height, plan.width, channels)
        self._planes: tuple[Pixels, ...] = ()
        self._seen: list[tuple[Tile, Sequence[Detection]]] = []
        self._closed = False

    @property
    def info(self) -> DetectorInfo:
        """What the tiles run on."""
        return self._tile.info

    def start(self, pixels: Pixels, reference: Pixels | None = None) -> None:
        """See port. pixels and reference: uint8, (height, width) or (height, width, 3) of the plan."""
        if self._closed or self._planes:
            raise DetectorError(f"{self._name()} {'is closed' if self._closed else 'still works on the frame before: cancel it'}")
        planes = (pixels,) if reference is None else (pixels, reference)
        for plane in planes:
            if plane.shape != self._shape or plane.dtype != np.uint8 or not plane.flags.c_contiguous:
                what = f"{plane.dtype} {plane.shape}{'' if plane.flags.c_contiguous else ' not contiguous'}"
                raise DetectorError(f"{self._name()} was built for frames of uint8 {self._shape} and got {what}")
        self._begin(self._plan.tiles[0], planes)
        self._planes = planes

    def wait(self, timeout_s: float) -> bool:
        """See port. Goes from tile to tile within the time given."""
        if not self._planes:
            raise DetectorError(f"{self._name()} has nothing to wait for: start it first")
        until_ns = now_ns() + int(timeout_s * NS_PER_S)
        left_s = timeout_s
        while not self._done:
            try:
                if not self._tile.wait(left_s):
                    return False
                self._next()
            except DetectorError as e:
                where = self._plan.tiles[min(len(self._seen), len(self._plan.tiles) - 1)]
                self.cancel()
                raise DetectorError(f"{e} (tile at {where.x}, {where.y})") from e
            left_s = (until_ns - now_ns()) / NS_PER_S
            if left_s <= 0:
                break
        return self._done

    def result(self) -> Sequence[Detection]:
        """See port."""
        if not self._planes or not self._done:
            raise DetectorError(f"{self._name()} has no result: wait for it first")
        seen = self._seen
        self._forget()
        return merge(seen, height=self._plan.height, width=self._plan.width)

    def cancel(self) -> None:
        """See port. Gives up all tiles."""
        self._tile.cancel()
        self._forget()

    def close(self) -> None:
        """See port."""
        self._tile.close()
        self._forget()
        self._closed = True

    @property
    def _done(self) -> bool:
        return len(self._seen) == len(self._plan.tiles)

    def _next(self) -> None:
        """Take what this tile shows, and begin the next one."""
        tile = self._plan.tiles[len(self._seen)]
        found = [_moved(d, tile) for d in self._tile.result()]
        self._seen.append((tile, found))
        if not self._done:
            self._begin(self._plan.tiles[len(self._seen)], self._planes)

    def _begin(self, tile: Tile, planes: tuple[Pixels, ...]) -> None:
        cut = [np.ascontiguousarray(plane[tile.y : tile.y2, tile.x : tile.x2]) for plane in planes]
        self._tile.start(*cut)

    def _forget(self) -> None:
        self._planes = ()
        self._seen = []

    def _name(self) -> str:
        return f"detector on {self.info.device}, in tiles,"


def _moved(detection: Detection, tile: Tile) -> Detection:
    box = detection.box
    return Detection(detection.defect_class, detection.score, Box(box.x1 + tile.x, box.y1 + tile.y, box.x2 + tile.x, box.y2 + tile.y))
