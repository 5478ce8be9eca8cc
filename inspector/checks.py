"""Liveness by work: a picture with a known answer goes through the real detector, and the answer has to come back.

Here the canary; golden and challenge runs join it. A canary is an event of the station, never a part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from inspector.types import Box, Detection, Pixels


@dataclass(frozen=True, slots=True, eq=False)
class Canary:
    """A picture (uint8, the frame that the detector was built for) and what must be found in it.

    Each expected detection has to come back with its class, with an overlap (IoU) of at least `min_iou` and with a score within
    `score_tolerance`; nothing else may reach `quiet_above`. `reference` is how it should look, for a detector that looks at one.
    """

    pixels: Pixels
    expected: tuple[Detection, ...]
    min_iou: float = 0.5
    score_tolerance: float = 0.15
    quiet_above: float = 0.5
    reference: Pixels | None = None


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    width = min(a.x2, b.x2) - max(a.x1, b.x1)
    height = min(a.y2, b.y2) - max(a.y1, b.y1)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a.area + b.area - shared)


def verify_canary(canary: Canary, found: Sequence[Detection]) -> str | None:
    """None when the canary sang as expected, else one line that says what is wrong."""
    if not canary.expected:
        return "the canary expects nothing, so it proves nothing; give the bundle one with detections"
    left = list(found)
    for wanted in canary.expected:
        twins = [d for d in left if d.defect_class == wanted.defect_class and iou(d.box, wanted.box) >= canary.min_iou]
        if not twins:
            return f"the canary's {wanted.defect_class} at {wanted.box.x1:.0f}, {wanted.box.y1:.0f} was not found"
        best = min(twins, key=lambda d: abs(d.score - wanted.score))
        if not abs(best.score - wanted.score) <= canary.score_tolerance:  # in these words a NaN is no answer, either
            return f"the canary's {wanted.defect_class} scored {best.score:.2f}, {wanted.score:.2f} expected"
        left.remove(best)
    loud = [d for d in left if not d.score < canary.quiet_above]
    if loud:
        return f"the detector found {loud[0].defect_class} {loud[0].score:.2f} in the canary, where there is none"
    return None
