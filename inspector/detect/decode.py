"""From a network's output tensor to detections in frame pixels. Pure: numpy in, detections out.

Two layouts of the YOLO family are read, both in pixels of the network input:

centre-size  (1, 4 + classes, N): centre x, centre y, width, height, then one score per class; overlapping boxes, so it needs NMS
end-to-end   (1, M, 6): x1, y1, x2, y2, score, class; the network has chosen already

NMS is greedy, class by class, on the best class of each candidate, and suppresses where IoU > limit: the rule of ultralytics'
`non_max_suppression` (8.4) in its default form, so that figures measured there hold here.
"""

from collections.abc import Sequence

import cv2
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
COMPARED = 2000
"""Candidates that NMS looks at, best first, strong ones in any number: its time grows with the square, and a picture has some hundred."""

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]


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
            corners, sizes, scores, classes = self._centre_size(output)
            chosen = nms(corners, sizes, scores, classes, self._nms_iou)
            boxes = np.concatenate((corners, corners + sizes), axis=1)
        else:
            boxes, scores, classes = self._end_to_end(output)
            chosen = _enough(scores, np.arange(len(scores)))
        chosen = _with_best_of_each_class(chosen, classes)
        return self._detections(boxes[chosen], scores[chosen], classes[chosen])

    def _centre_size(self, output: Floats) -> tuple[Floats, Floats, Floats, Ints]:
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
        found: Floats = output[0, :4, near]
        _check_finite(found)
        sizes: Floats = np.abs(found[:, 2:])
        corners: Floats = found[:, :2] - sizes / np.float32(2)
        return corners, sizes, best[near], table[:, near].argmax(axis=0)

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


def nms(corners: Floats, sizes: Floats, scores: Floats, classes: Ints, iou: float) -> Ints:
    """Indices of the boxes that greedy class-wise NMS keeps, best first, at most as many as `KEPT` and `ALWAYS_KEPT` ask for.

    corners (n, 2) as x1, y1; sizes (n, 2) as width, height, neither negative; scores (n,) sorted, best first; classes (n,). A box goes
    when its IoU with a kept, better one of its class is > iou. Raises DetectorError for more than CROWD strong ones.
    """
    if not len(scores):
        return np.arange(0)
    strong = int(np.searchsorted(-scores, -ALWAYS_KEPT, side="right"))
    n = min(len(scores), max(COMPARED, strong))
    # OpenCV keeps classes apart by moving them by the largest coordinate, which is right only if none is negative
    boxes = np.concatenate((corners[:n] - corners.min(axis=0), sizes[:n]), axis=1).tolist()
    kept = cv2.dnn.NMSBoxesBatched(boxes, scores[:n].tolist(), classes[:n].tolist(), 0.0, iou)
    return _enough(scores, np.asarray(kept, np.intp).ravel())


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


def _check_finite(array: Floats) -> None:
    if not np.isfinite(array).all():
        raise DetectorError("detector answered boxes that are not numbers: check bundle, device and precision")
