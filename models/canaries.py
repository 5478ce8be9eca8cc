"""Pictures that could be a new bundle's canary, and the search for one that convinces in every precision and shape of frame.

Boards are drawn and rendered, so that no picture of a dataset travels with the product. For other classes nothing can be drawn: then the
pictures of the validation split are tried, which belong to whoever trains.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from inspector.bundle import GREY, Bundle, InputKind, Letterbox
from inspector.errors import BundleError
from inspector.sim.boards import Product, board, good_twin
from inspector.sim.boards_defects import CLASSES
from inspector.types import Box, Pixels
from models.canary_picture import canary_picture, canary_reference
from models.dataset import Split
from models.looker import Looker, Net, parts
from models.make_bundle import CERTAIN, SILENT
from models.train_plan import TrainError

Canary = tuple[Pixels, Pixels | None]
_MIDDLE = (0.28, 0.72)
"""Where a defect of the canary may lie, as part of the picture: frames of all shapes from 1:2 to 2:1 show it."""
_RENDERED, _REAL, _TRIED = 60, 200, 4
_SURE, _QUIET = CERTAIN + 0.1, SILENT - 0.1


def find_canary(net: Net, look: Looker, split: Split, make: Callable[[Canary], Bundle]) -> Bundle:
    """The first bundle that `make` does not refuse, given candidates that `look` finds clear. Raises TrainError when there is none."""
    tried, seen, last = 0, 0, "none shows a defect clearly, and nothing half-clearly"
    for picture, reference in _candidates(net, split):
        seen += 1
        scores = [d.score for d in look(picture, reference)]
        if not any(s >= _SURE for s in scores) or any(_QUIET <= s < _SURE for s in scores):
            continue
        try:
            return make((picture, reference))
        except BundleError as e:
            tried, last = tried + 1, str(e)
        if tried == _TRIED:
            break
    raise TrainError(f"no canary convinces this network ({seen} pictures looked at, the last: {last}): train it longer")


def _candidates(net: Net, split: Split) -> Iterator[Canary]:
    """(picture, reference), of the network's size."""
    if set(net.classes) == set(CLASSES):
        yield _as(net, canary_picture(), canary_reference())
        for number in range(_RENDERED):
            product = Product(1 + number % 6)
            part, twin = (f(product, number, seed=1, defect_rate=1.0) for f in (board, good_twin))
            picture = _middle_only(part.pixels, twin.pixels, [d.box for d in part.defects])
            if picture is not None:
                yield _as(net, picture, twin.pixels)
        return
    for real in parts(split, net, _REAL):
        picture = real.defective
        if picture is not None and real.good is not None:
            picture = _middle_only(picture, real.good, [box for _, box in real.boxes])
        if picture is not None:
            yield _as(net, picture, real.good)


def _middle_only(picture: Pixels, twin: Pixels, boxes: list[Box]) -> Pixels | None:
    """The picture with every defect outside the middle put back from the twin; None when no defect is left."""
    height, width = picture.shape[:2]
    low, high = _MIDDLE
    whole, left = picture.copy(), False
    for box in boxes:
        if low * width < box.x1 and box.x2 < high * width and low * height < box.y1 and box.y2 < high * height:
            left = True
        else:
            window = (slice(max(0, int(box.y1) - 4), int(box.y2) + 5), slice(max(0, int(box.x1) - 4), int(box.x2) + 5))
            whole[window] = twin[window]
    return whole if left else None


def _as(net: Net, picture: Pixels, reference: Pixels | None) -> Canary:
    with_reference = net.input is InputKind.MONO_REFERENCE
    shown = [picture, *([reference] if with_reference and reference is not None else [])]
    fitted = [_fitted(p, net.size) for p in shown]
    if net.input is InputKind.BGR and fitted[0].ndim == 2:
        fitted[0] = np.asarray(cv2.cvtColor(fitted[0], cv2.COLOR_GRAY2BGR), np.uint8)
    return fitted[0], fitted[1] if with_reference else None


def _fitted(picture: Pixels, size: int) -> Pixels:
    """A square of the network's size with the picture letterboxed in it; smaller boards are cropped, so that defects keep their size."""
    if min(picture.shape[:2]) > size and picture.shape[0] == picture.shape[1]:
        edge = (picture.shape[0] - size) // 2
        return np.ascontiguousarray(picture[edge : edge + size, edge : edge + size])
    box = Letterbox(picture.shape[0], picture.shape[1], size, size)
    rows, columns = box.inner
    top, left = box.top_left
    scaled = picture if picture.shape[:2] == (rows, columns) else cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_LINEAR)
    sides = (top, size - rows - top, left, size - columns - left)
    return np.asarray(cv2.copyMakeBorder(scaled, *sides, cv2.BORDER_CONSTANT, value=(GREY,) * 3), np.uint8)


def remove_draft(folder: Path) -> None:
    """Take away what a refused canary left."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    if folder.exists():
        folder.rmdir()
