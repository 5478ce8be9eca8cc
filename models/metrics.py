"""How well boxes are found: average precision and F. Pure; all figures from 0 to 1.

AP at IoU 0.33, as the DeepPCB data set's own evaluation counts it: detections of all pictures in one list, best score first; a
detection is right when its class matches and IoU > 0.33, each truth counts once; AP = sum of the precision at each right detection ÷
number of truths. "Pooled" puts all classes into one list.

mAP at 0.5 and 0.5:0.95 as ultralytics 8.4 computes them (`DetectionValidator`, `ap_per_class`): IoU >= threshold, precision made
non-increasing and sampled at 101 recalls (COCO's way), mean over the classes that have truths.

Matching is the same in both: within a picture, best score first, each detection takes the truth of its class with the highest IoU that
no better detection has taken.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspector.types import Detection
from models.dataset import Truth

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

DEEPPCB_IOU = float(np.nextafter(0.33, 1))
"""The data set asks for more than 0.33."""
COCO_IOUS = tuple(float(iou) for iou in np.linspace(0.5, 0.95, 10))
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True)
class Looked:
    """One picture: what was found and what is there. Boxes in its pixels."""

    name: str
    detections: tuple[Detection, ...]
    truths: tuple[Truth, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision and recall as the limit falls, one point for each score that occurs; and the best F with its limit."""

    recall: Floats
    precision: Floats
    best_f: float
    best_limit: float | None


@dataclass(frozen=True, slots=True)
class BoxFigures:
    """All box figures, 0 to 1. by_class: AP at IoU 0.33 of each class that has truths. pooled: the curve over all classes."""

    ap33_pooled: float
    map33: float
    f33: float
    map50: float
    map5095: float
    by_class: dict[str, float]
    curves: dict[str, Curve]
    pooled: Curve


@dataclass(frozen=True, slots=True)
class _Table:
    """All detections of all pictures, best first: score, class, and whether they are right at each threshold (n, thresholds)."""

    scores: Floats
    classes: NDArray[np.str_]
    right: Bools
    truths: Counter[str]


def ious(a: Sequence[Detection | Truth], b: Sequence[Detection | Truth]) -> Floats:
    """IoU of each box in a with each in b: (len(a), len(b)); boxes of another class or without area overlap nothing."""
    first, second = _corners(a), _corners(b)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(np.maximum(box[:, 2:] - box[:, :2], 0), axis=1) for box in (first, second)]
    either = areas[0][:, None] + areas[1][None, :] - shared
    overlap: Floats = np.divide(shared, either, out=np.zeros_like(shared), where=either > 0)
    return overlap


def match(detections: Sequence[Detection], truths: Sequence[Truth], thresholds: Sequence[float], any_class: bool = False) -> Ints:
    """Which truth each detection takes at each threshold, -1 for none: (detections, thresholds). Detections best first."""
    taken = np.full((len(detections), len(thresholds)), -1, np.intp)
    if not detections or not truths:
        return taken
    overlap = ious(detections, truths)
    if not any_class:
        overlap *= np.array([d.defect_class for d in detections])[:, None] == np.array([t.defect_class for t in truths])[None, :]
    near = np.flatnonzero((overlap >= min(thresholds)).any(axis=1))
    for column, threshold in enumerate(thresholds):
        free = np.ones(len(truths), np.bool_)
        for row in near:
            best = int(np.argmax(np.where(free, overlap[row], -1.0)))
            if free[best] and overlap[row, best] >= threshold:
                taken[row, column] = best
                free[best] = False
    return taken


def box_figures(looked: Sequence[Looked], classes: Sequence[str]) -> BoxFigures:
    """All figures over these pictures. Classes without truths are left out of the means; without any truth all is 0."""
    table = _table(looked, (DEEPPCB_IOU, *COCO_IOUS))
    present = [c for c in classes if table.truths[c]]
    total = sum(table.truths[c] for c in present)
    by_class: dict[str, float] = {}
    curves: dict[str, Curve] = {}
    coco = np.zeros((len(present), len(COCO_IOUS)))
    for row, name in enumerate(present):
        own = table.classes == name
        right = table.right[own]
        by_class[name] = summed_ap(right[:, 0], table.truths[name])
        curves[name] = curve(table.scores[own], right[:, 0], table.truths[name])
        coco[row] = [interpolated_ap(right[:, 1 + k], table.truths[name]) for k in range(len(COCO_IOUS))]
    pooled = curve(table.scores, table.right[:, 0], total)
    return BoxFigures(
        ap33_pooled=summed_ap(table.right[:, 0], total),
        map33=float(np.mean(list(by_class.values()))) if by_class else 0.0,
        f33=pooled.best_f,
        map50=float(coco[:, 0].mean()) if present else 0.0,
        map5095=float(coco.mean()) if present else 0.0,
        by_class=by_class,
        curves=curves,
        pooled=pooled,
    )


def summed_ap(right: Bools, truths: int) -> float:
    """Sum of the precision at each right detection ÷ number of truths. right: best score first."""
    if not truths or not right.size:
        return 0.0
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    return float(precision[right].sum() / truths)


def interpolated_ap(right: Bools, truths: int) -> float:
    """Area under the precision made non-increasing, by trapezoids through 101 recalls; 0 from the last recall on, so at most 0.995."""
    if not truths or not right.size:
        return 0.0
    hits = np.cumsum(right)
    recall, precision = hits / truths, hits / np.arange(1, len(right) + 1)
    recall = np.concatenate(([0.0], recall, [recall[-1], 1.0]))
    precision = np.concatenate(([1.0], precision, [0.0, 0.0]))
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.trapezoid(np.interp(_RECALLS, recall, falling), _RECALLS))


def curve(scores: Floats, right: Bools, truths: int) -> Curve:
    """Precision, recall and best F over all limits. Detections of one score come and go together."""
    if not truths or not right.size:
        return Curve(np.zeros(0), np.zeros(0), 0.0, None)
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))
    hits = np.cumsum(right)[last]
    precision, recall = hits / (last + 1), hits / truths
    f = 2 * hits / (last + 1 + truths)
    best = int(np.argmax(f))
    return Curve(recall, precision, float(f[best]), float(scores[last][best]))


def confusion(looked: Sequence[Looked], classes: Sequence[str]) -> Ints:
    """(classes + 1, classes + 1) counts at IoU 0.33 whatever the class: rows true class, columns detected class.

    Last column: truths that nothing met; last row: detections that met no truth. Give it detections above their limits only.
    """
    number = {name: i for i, name in enumerate(classes)}
    nothing = len(classes)
    counts = np.zeros((nothing + 1, nothing + 1), np.intp)
    for picture in looked:
        found = sorted(picture.detections, key=lambda d: -d.score)
        # Right classes first: a wrong one on top of a right one is a false call, and not a confusion.
        taken = match(found, picture.truths, (DEEPPCB_IOU,))[:, 0]
        left_t = [i for i in range(len(picture.truths)) if i not in taken]
        left_d = [i for i in range(len(found)) if taken[i] < 0]
        mixed = match([found[i] for i in left_d], [picture.truths[i] for i in left_t], (DEEPPCB_IOU,), any_class=True)[:, 0]
        for i, t in enumerate(taken):
            if t >= 0:
                counts[number[picture.truths[t].defect_class], number[found[i].defect_class]] += 1
        for i, t in zip(left_d, mixed, strict=True):
            counts[number[picture.truths[left_t[t]].defect_class] if t >= 0 else nothing, number[found[i].defect_class]] += 1
        for k, t in enumerate(left_t):
            if k not in mixed:
                counts[number[picture.truths[t].defect_class], nothing] += 1
    return counts


def _table(looked: Sequence[Looked], thresholds: tuple[float, ...]) -> _Table:
    scores: list[float] = []
    classes: list[str] = []
    right: list[Bools] = []
    truths: Counter[str] = Counter()
    for picture in looked:
        found = sorted(picture.detections, key=lambda d: -d.score)
        scores += [d.score for d in found]
        classes += [d.defect_class for d in found]
        right.append(match(found, picture.truths, thresholds) >= 0)
        truths.update(t.defect_class for t in picture.truths)
    rows = np.concatenate(right) if right else np.zeros((0, len(thresholds)), np.bool_)
    order = np.argsort(-np.array(scores), kind="stable")
    return _Table(np.array(scores)[order], np.array(classes, np.str_)[order], rows[order], truths)


def _corners(boxes: Sequence[Detection | Truth]) -> Floats:
    return np.array([(b.box.x1, b.box.y1, b.box.x2, b.box.y2) for b in boxes], np.float64).reshape(-1, 4)
