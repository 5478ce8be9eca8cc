"""The worst misses and false calls of an evaluation, as small pictures for its report."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from inspector.recipe import Recipe
from inspector.types import Box, Pixels
from models.metrics import DEEPPCB_IOU, match
from models.part_level import Part, PartKind, meets, rejecting_boxes

MOST = 24
_CROP_PX = 128
_SHOWN_PX = 192
_TRUE, _FOUND = (60, 160, 40), (40, 40, 198)
"""B, G, R: what is there, and what was found."""


@dataclass(frozen=True, slots=True)
class Case:
    """One place worth a look: a defect that was not found (score: the best that met it), or a box that rejects where nothing is."""

    part: Part
    box: Box
    defect_class: str
    score: float

    @property
    def title(self) -> str:
        return f"{self.part.name}, {self.part.kind}: {self.defect_class} {self.score:.2f}"


def worst_misses(parts: Iterable[Part], recipe: Recipe, most: int = MOST) -> list[Case]:
    """Defects on judged boards that no rejecting box of their class meets, those with the lowest score first."""
    cases: list[Case] = []
    for part in parts:
        if part.kind is not PartKind.DEFECTIVE or part.seen.fault is not None:
            continue
        met = set(match(rejecting_boxes(part.seen, recipe), part.truths, (DEEPPCB_IOU,))[:, 0].tolist())
        for index, truth in enumerate(part.truths):
            if index not in met:
                score = max((d.score for d in part.seen.detections if meets(d, truth)), default=0.0)
                cases.append(Case(part, truth.box, truth.defect_class, score))
    return sorted(cases, key=lambda c: (c.score, c.part.name))[:most]


def worst_false_calls(parts: Iterable[Part], recipe: Recipe, most: int = MOST) -> list[Case]:
    """Rejecting boxes that meet no defect, on defective, good and disturbed boards, the surest first."""
    cases = [
        Case(part, d.box, d.defect_class, d.score)
        for part in parts
        if part.kind in (PartKind.DEFECTIVE, PartKind.GOOD, PartKind.DISTURBED)
        for d in rejecting_boxes(part.seen, recipe)
        if not any(meets(d, t) for t in part.truths)
    ]
    return sorted(cases, key=lambda c: (-c.score, c.part.name))[:most]


def crop_png(pixels: Pixels, case: Case, rejecting: Sequence[Box]) -> str:
    """A window around the case as a PNG in a data address: truths green, rejecting boxes red."""
    height, width = pixels.shape[:2]
    side = int(min(max(_CROP_PX, 1.5 * max(case.box.x2 - case.box.x1, case.box.y2 - case.box.y1)), height, width))
    left = int(np.clip((case.box.x1 + case.box.x2 - side) / 2, 0, width - side))
    top = int(np.clip((case.box.y1 + case.box.y2 - side) / 2, 0, height - side))
    gain = _SHOWN_PX / side
    window = pixels[top : top + side, left : left + side]
    shown = cv2.resize(window, (_SHOWN_PX, _SHOWN_PX), interpolation=cv2.INTER_NEAREST if gain >= 1 else cv2.INTER_AREA)
    canvas = np.array(cv2.cvtColor(shown, cv2.COLOR_GRAY2BGR) if shown.ndim == 2 else shown, np.uint8)
    for boxes, colour in (([t.box for t in case.part.truths], _TRUE), (rejecting, _FOUND)):
        for b in boxes:
            corners = [round(v * gain) for v in (b.x1 - left, b.y1 - top, b.x2 - left, b.y2 - top)]
            cv2.rectangle(canvas, (corners[0], corners[1]), (corners[2], corners[3]), colour, 2)
    return "data:image/png;base64," + base64.b64encode(cv2.imencode(".png", canvas)[1].tobytes()).decode("ascii")
