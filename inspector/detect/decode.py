"""From a network's output tensor to detections in frame pixels. Pure: numpy in, detections out.

Two layouts of the YOLO family are read, both in pixels of the network input:

centre-size  (1, 4 + classes, N): centre x, centre y, width, height, then one score per class; overlapping boxes, so it needs NMS
end-to-end   (1, M, 6): x1, y1, x2, y2, score, class; the network has chosen already

NMS is greedy, class by class, on the best class of each candidate, and suppresses where IoU > limit: the rule of ultralytics'
`non_max_suppression` (8.4) in its default form, so that figures measured there hold here.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inspector.bundle import Layout, Letterbox
from inspector.errors import DetectorError
from inspector.types import Box, Detection

FLOOR = 0.01
"""Scores below are dropped: the lowest that any statistic looks at."""
ALWAYS_KEPT = 0.1
"""Nothing with this score or more is ever left out."""
KEPT = 100
"""Best first. Weaker detections (below ALWAYS_KEPT) beyond this number are left out, except the best of each class: records never show
scores so low one by one, and the highest score of a class cannot be lost."""
CROWD = 300
"""More detections of ALWAYS_KEPT or more are no picture of a part, and leaving any out could hide the one that rejects: DetectorError."""
TOLERANCE = 1e-3
"""How far a score may lie outside 0..1 by rounding."""
_MATRIX = 512
"""Up to so many candidates, NMS compares all pairs at once (fast); above, one kept box at a time (bounded memory)."""
_LATER = np.triu(np.ones((_MATRIX, _MATRIX), np.bool_), 1)
"""Row i marks the candidates after i: only a better one can beat another."""

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]


class Decoder:
    """Decodes the outputs of one network for one frame size.

    layout, classes and nms_iou come from the bundle's card; letterbox says how the frame lies in the network input.
    """

    def __init__(self, layout: Layout, classes: tuple[str, ...], nms_iou: float, letterbox: Letterbox) -> None:
        self._layout = layout
        self._classes = classes
        self._nms_iou = nms_iou
        self._letterbox = letterbox

    def __call__(self, output: Floats) -> list[Detection]:
        """All detections with score >= FLOOR, best first, boxes in frame pixels clipped to the frame.

        output: float32 in the decoder's layout. Raises DetectorError for another shape, NaN, infinity, scores outside 0..1, classes
        that do not exist, and more than CROWD detections.
        """
        if self._layout is Layout.CENTRE_SIZE:
            boxes, scores, classes = self._centre_size(output)
            chosen = nms(boxes, scores, classes, self._nms_iou)
        else:
            boxes, scores, classes = self._end_to_end(output)
            chosen = _enough(scores, np.arange(len(scores)))
        chosen = _with_best_of_each_class(chosen, classes)
        return self._detections(boxes[chosen], scores[chosen], classes[chosen])

    def _centre_size(self, output: Floats) -> tuple[Floats, Floats, Ints]:
        rows = 4 + len(self._classes)
        if output.ndim != 3 or output.shape[:2] != (1, rows):
            raise DetectorError(f"detector output has shape {output.shape}, expected (1, {rows}, N): the bundle does not fit its model")
        table = output[0, 4:]
        best = table.max(axis=0)
        if table.size:
            # min and max carry NaN along, so that these two see every score
            check_scores(float(table.min()), float(best.max()))
        near = np.flatnonzero(best >= FLOOR)
        near = near[np.argsort(-best[near], kind="stable")]
        x, y, w, h = output[0, :4, near].T
        _check_finite(x, y, w, h)
        half_w, half_h = np.abs(w) / 2, np.abs(h) / 2
        boxes = np.stack((x - half_w, y - half_h, x + half_w, y + half_h), axis=1)
        return boxes, best[near], table[:, near].argmax(axis=0)

    def _end_to_end(self, output: Floats) -> tuple[Floats, Floats, Ints]:
        if output.ndim != 3 or output.shape[0] != 1 or output.shape[2] != 6:
            raise DetectorError(f"detector output has shape {output.shape}, expected (1, M, 6): the bundle does not fit its model")
        scores = output[0, :, 4]
        if scores.size:
            check_scores(float(scores.min()), float(scores.max()))
        near = np.flatnonzero(scores >= FLOOR)
        near = near[np.argsort(-scores[near], kind="stable")]
        rows = output[0, near]
        _check_finite(rows)
        classes = rows[:, 5].astype(np.intp)
        if ((classes != rows[:, 5]) | (classes < 0) | (classes >= len(self._classes))).any():
            raise DetectorError(f"detector names a class that its bundle does not have (it has {len(self._classes)}): check the bundle")
        return _ordered(rows[:, :4]), scores[near], classes

    def _detections(self, boxes: Floats, scores: Floats, classes: Ints) -> list[Detection]:
        frame = self._letterbox.to_frame(boxes).tolist()
        names = self._classes
        return [
            Detection(names[c], s, Box(*b)) for c, s, b in zip(classes.tolist(), np.clip(scores, 0.0, 1.0).tolist(), frame, strict=True)
        ]


def check_scores(lowest: float, highest: float) -> None:
    """Raises DetectorError unless both are numbers within 0..1 (± TOLERANCE)."""
    if not (lowest >= -TOLERANCE and highest <= 1 + TOLERANCE):
        raise DetectorError(f"detector answered scores from {lowest:g} to {highest:g}, expected 0 to 1: check bundle, device and precision")


def check_detections(detections: Sequence[Detection]) -> None:
    """Raises DetectorError when a score or a box is no number, or a score lies outside 0..1."""
    for d in detections:
        check_scores(d.score, d.score)
        _check_finite(np.array((d.box.x1, d.box.y1, d.box.x2, d.box.y2), np.float32))


def nms(boxes: Floats, scores: Floats, classes: Ints, iou: float) -> Ints:
    """Indices of the boxes that greedy class-wise NMS keeps, best first, at most as many as `KEPT` and `ALWAYS_KEPT` ask for.

    boxes (n, 4) as x1, y1, x2, y2; scores (n,) sorted, best first; classes (n,). A box goes when its IoU with a kept, better one of
    its class is > iou. Raises DetectorError for more than CROWD strong ones.
    """
    if len(boxes) <= _MATRIX:
        return _enough(scores, np.flatnonzero(_survivors(boxes, classes, iou)))
    kept: list[int] = []
    open_ = np.ones(len(boxes), np.bool_)
    for i in range(len(boxes)):
        if not open_[i]:
            continue
        kept.append(i)
        if len(kept) > CROWD or (len(kept) >= KEPT and scores[i] < ALWAYS_KEPT):
            break
        rest = i + 1 + np.flatnonzero(open_[i + 1 :] & (classes[i + 1 :] == classes[i]))
        open_[rest[_overlap(boxes[i : i + 1], boxes[rest], iou)[0]]] = False
    return _enough(scores, np.array(kept))


def _survivors(boxes: Floats, classes: Ints, iou: float) -> Bools:
    """A box survives when no survivor before it beats it: iterated from "all survive" this settles on the greedy answer, first box
    first, in as many rounds as the longest chain of boxes that beat each other (a handful)."""
    beats = _overlap(boxes, boxes, iou)
    beats &= classes[:, None] == classes
    beats &= _LATER[: len(boxes), : len(boxes)]
    alive: Bools = np.ones(len(boxes), np.bool_)
    contested = np.flatnonzero(beats.any(axis=1))
    beats = beats[contested]
    while len(contested):
        now: Bools = ~np.any(beats[alive[contested]], axis=0)
        if np.array_equal(now, alive):
            break
        alive = now
    return alive


def _overlap(a: Floats, b: Floats, iou: float) -> Bools:
    """Whether the IoU of each box in a (n, 4) with each in b (m, 4) is above the limit: (n, m). Empty boxes overlap nothing."""
    w = np.minimum(a[:, 2, None], b[:, 2])
    w -= np.maximum(a[:, 0, None], b[:, 0])
    h = np.minimum(a[:, 3, None], b[:, 3])
    h -= np.maximum(a[:, 1, None], b[:, 1])
    shared = np.maximum(w, 0, out=w)
    shared *= np.maximum(h, 0, out=h)
    area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    either = area_a[:, None] + area_b
    either -= shared
    either *= np.float32(iou)
    return shared > either


def _enough(scores: Floats, chosen: Ints) -> Ints:
    """The head of `chosen` (sorted, best first) that has to be kept; see KEPT, ALWAYS_KEPT and CROWD."""
    strong = int((scores[chosen] >= ALWAYS_KEPT).sum())
    if strong > CROWD:
        raise DetectorError(
            f"more than {CROWD} detections of score {ALWAYS_KEPT} or more: this is no picture of a part; check camera and light"
        )
    return chosen[: max(KEPT, strong)]


def _with_best_of_each_class(chosen: Ints, classes: Ints) -> Ints:
    """`chosen` plus the first of each class; no NMS takes the best of a class away, so it is a survivor that was left out."""
    if len(chosen) < KEPT:
        return chosen
    first = np.unique(classes, return_index=True)[1]
    return np.union1d(chosen, first)


def _ordered(boxes: Floats) -> Floats:
    """Boxes with x1 <= x2 and y1 <= y2."""
    return np.concatenate((np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])), axis=1)


def _check_finite(*arrays: Floats) -> None:
    if not all(np.isfinite(a).all() for a in arrays):
        raise DetectorError("detector answered boxes that are not numbers: check bundle, device and precision")
