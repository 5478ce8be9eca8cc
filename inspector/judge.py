"""judge(detections, recipe) → Verdict: pure, no I/O, the same answer for the same input for ever."""

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

from shapely import Polygon, prepare
from shapely import box as rectangle

from inspector.recipe import Point, Recipe, Rule, Zone, ZoneKind
from inspector.types import Box, ClassScore, Detection, Pose, Reason, Severity, Verdict, VerdictKind

_ORDER = {Severity.CRITICAL: 0, Severity.MAJOR: 1, Severity.MINOR: 2}
REST = ""
"""Name of the area that lies in no zone."""


@lru_cache(maxsize=1024)
def _shape(polygon: tuple[Point, ...]) -> Polygon:
    shape = Polygon(polygon)
    prepare(shape)
    return shape


def place(box: Box, recipe: Recipe, pose: Pose) -> tuple[Zone | None, bool]:
    """The zone that a box belongs to, and whether it is judged there.

    A box belongs to the first critical zone that it touches, else to the first inspect zone. It is not judged when it lies wholly
    in an ignore zone (and touches no critical one), or when there are inspect zones and it touches none. In doubt it is judged.
    The part may lie shifted in its frame by `pose`: boxes are moved back to where the zones were drawn.
    """
    if not recipe.zones:
        return None, True
    area = rectangle(box.x1 - pose.dx, box.y1 - pose.dy, box.x2 - pose.dx, box.y2 - pose.dy)
    for kind in (ZoneKind.CRITICAL, ZoneKind.IGNORE, ZoneKind.INSPECT):
        for zone in recipe.zones:
            if zone.kind is not kind:
                continue
            shape = _shape(zone.polygon)
            if kind is ZoneKind.IGNORE and shape.covers(area):
                return zone, False
            if kind is not ZoneKind.IGNORE and shape.intersects(area):
                return zone, True
    return None, all(zone.kind is not ZoneKind.INSPECT for zone in recipe.zones)


def judge(detections: Sequence[Detection], recipe: Recipe, pose: Pose | None = None) -> Verdict:
    """PASS or REJECT with every reason, the gravest first. Boxes are in frame pixels.

    A class rejects when more than `max_count` of its detections reach limit and size; they are counted over the zone that has a rule of
    its own for the class, and together wherever the recipe's general rule holds. So a higher limit never adds a reason.
    """
    counted: dict[tuple[str, str], list[tuple[Detection, Zone | None, Rule]]] = defaultdict(list)
    for detection in detections:
        zone, judged = place(detection.box, recipe, pose or Pose())
        if not judged:
            continue
        rule = recipe.rule(detection.defect_class, zone)
        if detection.score >= rule.limit and detection.box.area >= rule.min_size_px2:
            own = zone.name if zone is not None and detection.defect_class in zone.classes else REST
            counted[own, detection.defect_class].append((detection, zone, rule))
    reasons = [_reason(*entry, len(group)) for group in counted.values() if len(group) > group[0][2].max_count for entry in group]
    if not reasons:
        return Verdict(VerdictKind.PASS)
    reasons.sort(key=lambda r: (_ORDER[r.severity or Severity.MINOR], -(r.score or 0.0)))
    return Verdict(VerdictKind.REJECT, tuple(reasons))


def _reason(detection: Detection, zone: Zone | None, rule: Rule, count: int) -> Reason:
    where = f" in zone {zone.name}" if zone is not None else ""
    many = f", {count} found where {rule.max_count} are allowed" if rule.max_count else ""
    critical = zone is not None and zone.kind is ZoneKind.CRITICAL
    return Reason(
        code="defect",
        text=f"{detection.defect_class} {detection.score:.2f}{where}, limit {rule.limit:.2f}{many}",
        defect_class=detection.defect_class,
        severity=Severity.CRITICAL if critical else rule.severity,
        zone=zone.name if zone is not None else REST,
        score=detection.score,
        limit=rule.limit,
        box=detection.box,
    )


def class_scores(detections: Sequence[Detection], recipe: Recipe, pose: Pose | None = None) -> tuple[ClassScore, ...]:
    """The highest raw score per class and zone, ignored zones included: from these any other limit can be tried later."""
    best: dict[tuple[str, str], float] = {}
    for detection in detections:
        zone, _ = place(detection.box, recipe, pose or Pose())
        key = (detection.defect_class, zone.name if zone is not None else REST)
        best[key] = max(best.get(key, 0.0), detection.score)
    return tuple(ClassScore(c, z, s) for (c, z), s in sorted(best.items()))
