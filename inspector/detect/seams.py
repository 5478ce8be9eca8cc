"""From the detections of overlapping tiles to those of the whole frame. Pure.

A detection that ends at an inner edge of its tile is a *fragment*: there may be more of it beyond. Every other one is *whole*.

whole      greedy class-wise NMS between tiles: a whole box goes only when its IoU with a kept, better one of its class, seen by another
           tile, is above SEAM_IOU. What one tile kept apart stays apart: its own NMS has decided already
fragments  one that lies mostly in a whole box of its class seen by another tile is a part of that, and goes; those that remain and agree
           where their tiles overlap become one box around them all (an object larger than the overlap)

What goes leaves its score: the highest score of a class is never lower for having been cut. A part may be rejected by what one tile
saw, and not be passed by what another one saw less clearly.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspector.detect.decode import ALWAYS_KEPT, CROWD, KEPT
from inspector.errors import DetectorError
from inspector.types import Box, Detection

EDGE_PX = 2
"""A box that comes this near to an inner edge may go on beyond it: networks place edges to a pixel or so."""
SEAM_IOU = 0.45
"""IoU above which two tiles show one object. Lower than a network's own limit (0.7 is common): between two views of one small defect its
edges differ by some px (tried on rendered boards: at 0.7 defects of 30 px stayed twice), and two defects that overlap that much
are not lost, because both stand in the tile of the better one.
"""
_MOSTLY = 0.5
"""The part of a fragment that has to lie in a whole box to belong to it."""
_AGREE = 0.5
"""IoU, within what both tiles see, above which two fragments show one object."""

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of the frame, px; the far edges, `x2` and `y2`, are exclusive."""

    x: int
    y: int
    width: int
    height: int

    @property
    def x2(self) -> int:
        return self.x + self.width

    @property
    def y2(self) -> int:
        return self.y + self.height


Seen = Sequence[tuple[Tile, Sequence[Detection]]]
"""What each tile showed, in frame pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """All detections of one class, best first (then as the tiles come): boxes and tile edges (n, 4) as x1, y1, x2, y2."""

    boxes: Floats
    scores: Floats
    views: Floats
    cut: Flags


def merge(seen: Seen, *, height: int, width: int) -> list[Detection]:
    """The detections of a frame of that size (px), best first.

    All with a score of ALWAYS_KEPT or more, weaker ones up to KEPT altogether, and the best of each class. Raises DetectorError for more
    than CROWD strong ones.
    """
    by_class: dict[str, list[tuple[Tile, Detection]]] = {}
    for tile, detections in seen:
        for detection in detections:
            by_class.setdefault(detection.defect_class, []).append((tile, detection))
    merged: list[Detection] = []
    for name, members in by_class.items():
        table = _table(members, height, width)
        merged += (Detection(name, score, Box(*box)) for box, score in _merged(table))
    return _enough(sorted(merged, key=lambda d: (-d.score, d.defect_class, d.box.y1, d.box.x1)))


def _enough(merged: list[Detection]) -> list[Detection]:
    strong = sum(d.score >= ALWAYS_KEPT for d in merged)
    if strong > CROWD:
        raise DetectorError(
            f"more than {CROWD} detections of score {ALWAYS_KEPT} or more: this is no picture of a part; check camera and light"
        )
    head, tail = merged[: max(KEPT, strong)], merged[max(KEPT, strong) :]
    known = {d.defect_class for d in head}
    best = {d.defect_class: d for d in reversed(tail) if d.defect_class not in known}
    return [*head, *sorted(best.values(), key=lambda d: -d.score)]


def _table(members: list[tuple[Tile, Detection]], height: int, width: int) -> _Table:
    members = sorted(members, key=lambda m: -m[1].score)
    boxes = np.array([(d.box.x1, d.box.y1, d.box.x2, d.box.y2) for _, d in members], np.float64)
    views = np.array([(t.x, t.y, t.x2, t.y2) for t, _ in members], np.float64)
    near = boxes[:, :2] <= views[:, :2] + EDGE_PX
    far = boxes[:, 2:] >= views[:, 2:] - EDGE_PX
    inner = np.concatenate((views[:, :2] > 0, views[:, 2:] < (width, height)), axis=1)
    cut = np.concatenate((near, far), axis=1) & inner
    return _Table(boxes, np.array([d.score for _, d in members]), views, np.any(cut, axis=1))


def _merged(table: _Table) -> Iterable[tuple[list[float], float]]:
    """(box, score) of all that is left of one class."""
    whole = _kept(table, np.flatnonzero(~table.cut))
    scores = table.scores.copy()
    fragments = [int(f) for f in np.flatnonzero(table.cut) if not _absorbed(table, int(f), whole, scores)]
    for i in whole.tolist():
        yield table.boxes[i].tolist(), float(scores[i])
    for group in _groups(table, np.array(fragments, np.intp)):
        boxes = table.boxes[group]
        yield [*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()], float(scores[group].max())


def _kept(table: _Table, whole: Ints) -> Ints:
    """Greedy NMS over whole boxes, between tiles only."""
    rivalled = _in_several(table, whole)
    kept: list[int] = whole[~rivalled].tolist()
    whole = whole[rivalled]
    while len(whole):
        best, whole = int(whole[0]), whole[1:]
        kept.append(best)
        overlap = _shared(table.boxes[best], table.boxes[whole])
        union = _areas(table.boxes[best]) + _areas(table.boxes[whole]) - overlap
        whole = whole[~((overlap > SEAM_IOU * union) & _elsewhere(table, best, whole))]
    return np.array(sorted(kept), np.intp)


def _in_several(table: _Table, whole: Ints) -> Flags:
    """Which boxes reach into more than one of the tiles: most do not, and have no rival."""
    tiles = np.unique(table.views, axis=0)
    flags: Flags = (_shared(table.boxes[whole, None], tiles) > 0).sum(axis=1) > 1
    return flags


def _absorbed(table: _Table, fragment: int, whole: Ints, scores: Floats) -> bool:
    """Whether the fragment is a part of a whole box, which then takes over the higher score."""
    rivals = whole[_elsewhere(table, fragment, whole)]
    if not len(rivals):
        return False
    inside = _shared(table.boxes[fragment], table.boxes[rivals])
    most = int(inside.argmax())
    if not inside[most] > _MOSTLY * _areas(table.boxes[fragment]):
        return False
    scores[rivals[most]] = max(scores[rivals[most]], scores[fragment])
    return True


def _groups(table: _Table, fragments: Ints) -> list[Ints]:
    """Fragments that agree, directly or through others; each group in order, best first."""
    groups: list[Ints] = []
    left = fragments
    while len(left):
        group, fresh, left = left[:1], left[:1], left[1:]
        while len(fresh) and len(left):
            joins = np.array([_agree(table, int(f), left) for f in fresh]).any(axis=0)
            fresh, left = left[joins], left[~joins]
            group = np.concatenate((group, fresh))
        groups.append(np.sort(group))
    return groups


def _agree(table: _Table, one: int, others: Ints) -> Flags:
    """Whether `one` and each of the others look the same within what both tiles see."""
    low = np.maximum(table.views[one, :2], table.views[others, :2])
    high = np.minimum(table.views[one, 2:], table.views[others, 2:])
    common = np.concatenate((low, high), axis=1)
    mine, theirs = _clipped(table.boxes[one], common), _clipped(table.boxes[others], common)
    overlap = _shared(mine, theirs)
    agree: Flags = (overlap > _AGREE * (_areas(mine) + _areas(theirs) - overlap)) & _elsewhere(table, one, others)
    return agree


def _elsewhere(table: _Table, one: int, others: Ints) -> Flags:
    """Which of the others were seen by another tile than `one`."""
    flags: Flags = (table.views[others] != table.views[one]).any(axis=1)
    return flags


def _clipped(boxes: Floats, to: Floats) -> Floats:
    return np.concatenate((np.maximum(boxes[..., :2], to[:, :2]), np.minimum(boxes[..., 2:], to[:, 2:])), axis=1)


def _areas(boxes: Floats) -> Floats:
    sizes = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    areas: Floats = sizes[..., 0] * sizes[..., 1]
    return areas


def _shared(one: Floats, others: Floats) -> Floats:
    """Area that boxes `one` and `others`, (..., 4) each, have in common."""
    low = np.maximum(one[..., :2], others[..., :2])
    high = np.minimum(one[..., 2:], others[..., 2:])
    sizes = np.maximum(high - low, 0)
    areas: Floats = sizes[..., 0] * sizes[..., 1]
    return areas
