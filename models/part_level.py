"""What a line counts: parts. Escapes, overkills and faults at the recipe's limits and over a sweep of limits, with exact bounds. Pure.

A FAULT is neither escape nor overkill: it is counted apart, and shares are of the parts that were judged.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from calibration.statistics import Share
from inspector.recipe import Recipe, Rule
from inspector.types import Detection, VerdictKind
from models.dataset import Truth
from models.looking import Seen
from models.metrics import DEEPPCB_IOU, Looked, match

SWEEP = tuple(round(0.05 * step, 2) for step in range(1, 20))


class PartKind(StrEnum):
    """What a part is, by how its picture came about: see models.part_pictures."""

    DEFECTIVE = "defective"
    GOOD = "good"
    SINGLE = "single-defect"
    MENDED = "mended"
    DISTURBED = "disturbed"

    @property
    def is_defective(self) -> bool:
        return self in (PartKind.DEFECTIVE, PartKind.SINGLE)


@dataclass(frozen=True, slots=True)
class Part:
    """One part that was looked at. truths: its defects, none on a good one. index: which of the board's defects a single one is."""

    kind: PartKind
    name: str
    seen: Seen
    truths: tuple[Truth, ...] = ()
    index: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """Verdicts over parts of one kind."""

    passed: int = 0
    rejected: int = 0
    faulted: int = 0

    @property
    def judged(self) -> int:
        return self.passed + self.rejected

    @property
    def passes(self) -> Share:
        return Share(self.passed, self.judged)

    @property
    def rejects(self) -> Share:
        return Share(self.rejected, self.judged)

    def plus(self, kind: VerdictKind) -> "Counts":
        return Counts(
            self.passed + (kind is VerdictKind.PASS),
            self.rejected + (kind is VerdictKind.REJECT),
            self.faulted + (kind is VerdictKind.FAULT),
        )


@dataclass(frozen=True)
class PartFigures:
    """Everything about parts at one set of limits.

    counts                by kind of part
    single_hit            single-defect boards on which a box that rejects meets the very defect
    defects_found         defects of the defective boards that a rejecting box of their class meets (IoU > 0.33)
    boards_false_calls    defective boards with a rejecting box that meets no defect; false_calls: such boxes
    """

    counts: dict[PartKind, Counts]
    single_hit: Share
    defects_found: Share
    defects_found_by_class: dict[str, Share]
    false_calls: int
    boards_false_calls: Share

    def of(self, kind: PartKind) -> Counts:
        return self.counts.get(kind, Counts())

    @cached_property
    def escapes(self) -> Share:
        """Defective boards passed."""
        return self.of(PartKind.DEFECTIVE).passes

    @cached_property
    def overkills(self) -> Share:
        """Good boards rejected."""
        return self.of(PartKind.GOOD).rejects

    @cached_property
    def single_rejected(self) -> Share:
        return self.of(PartKind.SINGLE).rejects

    @cached_property
    def disturbed_overkills(self) -> Share:
        return self.of(PartKind.DISTURBED).rejects

    @cached_property
    def mended_rejected(self) -> Share:
        return self.of(PartKind.MENDED).rejects

    @property
    def faulted(self) -> int:
        return sum(counts.faulted for counts in self.counts.values())


def part_figures(parts: Iterable[Part], recipe: Recipe) -> PartFigures:
    """Judge all parts by the recipe and count."""
    counts: dict[PartKind, Counts] = {}
    found: dict[str, list[int]] = {}
    hit = tried = false_calls = boards_false = 0
    for part in parts:
        verdict = part.seen.verdict(recipe)
        counts[part.kind] = counts.get(part.kind, Counts()).plus(verdict.kind)
        if verdict.kind is VerdictKind.FAULT:
            continue
        rejecting = rejecting_boxes(part.seen, recipe)
        if part.kind is PartKind.SINGLE:
            tried += 1
            hit += any(meets(d, t) for d in rejecting for t in part.truths)
        elif part.kind is PartKind.DEFECTIVE:
            met = set(match(rejecting, part.truths, (DEEPPCB_IOU,))[:, 0].tolist())
            for index, truth in enumerate(part.truths):
                found.setdefault(truth.defect_class, []).append(index in met)
            calls = sum(not any(meets(d, t) for t in part.truths) for d in rejecting)
            false_calls, boards_false = false_calls + calls, boards_false + (calls > 0)
    by_class = {name: Share(sum(hits), len(hits)) for name, hits in found.items()}
    return PartFigures(
        counts=counts,
        single_hit=Share(hit, tried),
        defects_found=Share(sum(s.count for s in by_class.values()), sum(s.of for s in by_class.values())),
        defects_found_by_class=by_class,
        false_calls=false_calls,
        boards_false_calls=Share(boards_false, counts.get(PartKind.DEFECTIVE, Counts()).judged),
    )


def rejecting_boxes(seen: Seen, recipe: Recipe) -> tuple[Detection, ...]:
    """The detections for which the part is rejected, best first."""
    reasons = seen.verdict(recipe).reasons
    boxes = [Detection(r.defect_class, r.score, r.box) for r in reasons if r.defect_class is not None and r.score is not None and r.box]
    return tuple(sorted(boxes, key=lambda d: -d.score))


def meets(detection: Detection, truth: Truth) -> bool:
    """Whether the two boxes share any area, whatever the classes: a rejected part is looked at there."""
    a, b = detection.box, truth.box
    return a.x1 < b.x2 and b.x1 < a.x2 and a.y1 < b.y2 and b.y1 < a.y2


def above_limits(parts: Iterable[Part], recipe: Recipe) -> list[Looked]:
    """Defective and good boards with the boxes that reject them: what the confusion matrix is made of."""
    kinds = (PartKind.DEFECTIVE, PartKind.GOOD)
    return [Looked(p.name, rejecting_boxes(p.seen, recipe), p.truths) for p in parts if p.kind in kinds]


def at_limit(recipe: Recipe, limit: float) -> Recipe:
    """The recipe with this one limit for every class, in zones, too; all else as it is."""

    def moved(rules: dict[str, Rule]) -> dict[str, Rule]:
        return {name: replace(rule, limit=limit) for name, rule in rules.items()}

    zones = tuple(replace(zone, classes=moved(zone.classes)) for zone in recipe.zones)
    return replace(recipe, classes=moved(recipe.classes), zones=zones)


def sweep(parts: Sequence[Part], recipe: Recipe, limits: Sequence[float] = SWEEP) -> list[tuple[float, PartFigures]]:
    """The figures at each limit. A limit chosen here and the bound beside it are not independent: prove it on other parts."""
    return [(limit, part_figures(parts, at_limit(recipe, limit))) for limit in limits]


def percent(share: Share) -> dict[str, Any]:
    """A share for JSON: count, of, and rate and exact one-sided 95 % bounds in percent."""
    rate = None if share.rate is None else round(100 * share.rate, 3)
    return {
        "count": share.count,
        "of": share.of,
        "pct": rate,
        "upper95_pct": round(100 * share.upper, 3),
        "lower95_pct": round(100 * share.lower, 3),
    }
