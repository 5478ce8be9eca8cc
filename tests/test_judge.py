"""The laws of judging: forgiving rules only take reasons away, more defects never help, zones do what they say."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.judge import REST, class_scores, judge, place
from inspector.recipe import Recipe, Rule, Zone, ZoneKind, parse
from inspector.types import Box, Detection, Pose, Reason, Severity, Verdict, VerdictKind

SIZE = 100
CLASSES = ("short", "open", "spur")


def detection(defect_class: str, score: float, x: float = 10, y: float = 10, w: float = 10, h: float = 10) -> Detection:
    return Detection(defect_class, score, Box(x, y, x + w, y + h))


def zone(name: str, kind: str, x1: int, y1: int, x2: int, y2: int, **classes: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "kind": kind, "polygon": [[x1, y1], [x2, y1], [x2, y2], [x1, y2]], "classes": classes}


def a_recipe(*zones: dict[str, Any], **rules: dict[str, Any]) -> Recipe:
    raw = {
        "name": "plate",
        "frame": {"width": SIZE, "height": SIZE},
        "presence": {"method": "off", "why": "test"},
        "classes": {name: rules.get(name, {"limit": 0.5}) for name in CLASSES},
        "zones": list(zones),
    }
    return parse(raw, folder=Path())


# -- what hypothesis makes: whole numbers of px, so that shifting is exact

rules = st.builds(
    Rule,
    limit=st.sampled_from([0.01, 0.3]) | st.floats(0.01, 1),
    severity=st.sampled_from(Severity),
    min_size_px2=st.sampled_from([0, 0, 100]) | st.integers(0, 400),
    max_count=st.sampled_from([0, 0, 0, 1, 3]),
)
corners = st.tuples(st.integers(0, 70), st.integers(0, 70), st.integers(1, 30), st.integers(1, 30))
boxes = corners.map(lambda c: Box(c[0], c[1], c[0] + c[2], c[1] + c[3]))
found = st.builds(Detection, st.sampled_from(CLASSES), st.floats(0.01, 1), boxes)
detections = st.lists(found, max_size=8)
poses = st.builds(Pose, st.integers(-20, 20), st.integers(-20, 20))


@st.composite
def zones(draw: st.DrawFn, kinds: tuple[ZoneKind, ...] = tuple(ZoneKind)) -> tuple[Zone, ...]:
    made = []
    for index in range(draw(st.integers(0, 4))):
        x, y, w, h = draw(corners)
        # A triangle as often as a rectangle: not every zone is a box.
        points = ((x, y), (x + w, y), (x + w, y + h), (x, y + h))[: draw(st.integers(3, 4))]
        own = draw(st.dictionaries(st.sampled_from(CLASSES), rules, max_size=3))
        made.append(Zone(f"zone {index}", draw(st.sampled_from(kinds)), tuple((float(a), float(b)) for a, b in points), own))
    return tuple(made)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    return replace(a_recipe(), classes={name: draw(rules) for name in CLASSES}, zones=draw(zones()))


def which(verdict: Verdict) -> list[tuple[str | None, str | None, float | None, Box | None]]:
    """The reasons without the words for limits and counts, which change with the rule."""
    return [(r.defect_class, r.zone, r.score, r.box) for r in verdict.reasons]


def no_more(after: Verdict, before: Verdict) -> bool:
    left = which(before)
    for reason in which(after):
        if reason not in left:
            return False
        left.remove(reason)
    return after.kind is VerdictKind.PASS or before.kind is VerdictKind.REJECT


def raise_one(rule: Rule, by: float, what: str) -> Rule:
    """The same rule with one of its three numbers raised by a share of its range: it forgives more."""
    if what == "limit":
        return replace(rule, limit=rule.limit + by * (1 - rule.limit))
    if what == "min_size_px2":
        return replace(rule, min_size_px2=rule.min_size_px2 + 300 * by)
    return replace(rule, max_count=rule.max_count + round(3 * by))


law = settings(max_examples=60)  # each example is a whole recipe with its zones
raised = st.sampled_from(["limit", "min_size_px2", "max_count"])


@law
@given(detections, recipes(), poses, raised, st.floats(0, 1), st.sampled_from(CLASSES))
def test_raising_a_number_of_a_class_never_adds_a_reason(
    seen: list[Detection], recipe: Recipe, pose: Pose, what: str, by: float, name: str
) -> None:
    changed = replace(recipe, classes={**recipe.classes, name: raise_one(recipe.classes[name], by, what)})
    assert no_more(judge(seen, changed, pose), judge(seen, recipe, pose))


@law
@given(detections, recipes(), poses, raised, st.floats(0, 1), st.data())
def test_raising_a_number_of_a_zone_never_adds_a_reason(
    seen: list[Detection], recipe: Recipe, pose: Pose, what: str, by: float, data: st.DataObject
) -> None:
    own = [(place, name) for place, z in enumerate(recipe.zones) for name in z.classes]
    if not own:
        return
    index, name = data.draw(st.sampled_from(own))
    old = recipe.zones[index]
    changed = replace(old, classes={**old.classes, name: raise_one(old.classes[name], by, what)})
    laxer = replace(recipe, zones=(*recipe.zones[:index], changed, *recipe.zones[index + 1 :]))
    assert no_more(judge(seen, laxer, pose), judge(seen, recipe, pose))


@law
@given(detections, detections, recipes(), poses)
def test_more_detections_never_take_a_reason_away(some: list[Detection], more: list[Detection], recipe: Recipe, pose: Pose) -> None:
    before, after = judge(some, recipe, pose), judge([*some, *more], recipe, pose)
    assert no_more(before, after)


@law
@given(detections, recipes(), poses, st.randoms())
def test_the_order_of_detections_changes_no_reason(seen: list[Detection], recipe: Recipe, pose: Pose, random: Any) -> None:
    mixed = list(seen)
    random.shuffle(mixed)
    one, other = judge(seen, recipe, pose), judge(mixed, recipe, pose)
    assert one.kind is other.kind
    assert sorted(map(str, which(one))) == sorted(map(str, which(other)))


@law
@given(detections, recipes(), poses)
def test_a_reason_is_a_detection_at_its_limit_or_above(seen: list[Detection], recipe: Recipe, pose: Pose) -> None:
    verdict = judge(seen, recipe, pose)
    assert (verdict.kind is VerdictKind.REJECT) == bool(verdict.reasons)
    for reason in verdict.reasons:
        assert reason.score is not None
        assert reason.limit is not None
        assert reason.box is not None
        assert reason.score >= reason.limit
        assert Detection(str(reason.defect_class), reason.score, reason.box) in seen


@law
@given(detections, recipes(), poses)
def test_below_every_limit_nothing_rejects(seen: list[Detection], recipe: Recipe, pose: Pose) -> None:
    lowest = min(rule.limit for own in (recipe.classes, *(z.classes for z in recipe.zones)) for rule in own.values())
    quiet = [replace(d, score=d.score * lowest * 0.99) for d in seen]
    assert judge(quiet, recipe, pose) == Verdict(VerdictKind.PASS)


@law
@given(detections, recipes(), poses, zones((ZoneKind.IGNORE,)))
def test_ignore_zones_only_remove(seen: list[Detection], recipe: Recipe, pose: Pose, ignored: tuple[Zone, ...]) -> None:
    more = replace(recipe, zones=(*recipe.zones, *(replace(z, name=f"ignored {i}") for i, z in enumerate(ignored))))
    assert no_more(judge(seen, more, pose), judge(seen, recipe, pose))


@law
@given(detections, recipes(), poses)
def test_in_a_critical_zone_every_class_is_critical(seen: list[Detection], recipe: Recipe, pose: Pose) -> None:
    critical = {z.name for z in recipe.zones if z.kind is ZoneKind.CRITICAL}
    for reason in judge(seen, recipe, pose).reasons:
        owner = next((z for z in recipe.zones if z.name == reason.zone), None)
        assert reason.defect_class is not None
        assert reason.severity is (Severity.CRITICAL if reason.zone in critical else recipe.rule(reason.defect_class, owner).severity)


@law
@given(detections, recipes(), poses, st.integers(-50, 50), st.integers(-50, 50))
def test_shifting_part_and_detections_together_changes_nothing(seen: list[Detection], recipe: Recipe, pose: Pose, dx: int, dy: int) -> None:
    moved = [replace(d, box=Box(d.box.x1 + dx, d.box.y1 + dy, d.box.x2 + dx, d.box.y2 + dy)) for d in seen]
    shifted = Pose(pose.dx + dx, pose.dy + dy)
    before, after = judge(seen, recipe, pose), judge(moved, recipe, shifted)
    assert [(r.text, r.severity, r.zone) for r in after.reasons] == [(r.text, r.severity, r.zone) for r in before.reasons]
    assert class_scores(moved, recipe, shifted) == class_scores(seen, recipe, pose)


@law
@given(detections, recipes(), poses)
def test_the_gravest_reason_stands_first(seen: list[Detection], recipe: Recipe, pose: Pose) -> None:
    order = [Severity.CRITICAL, Severity.MAJOR, Severity.MINOR]

    def rank(reason: Reason) -> tuple[int, float]:
        assert reason.severity is not None
        assert reason.score is not None
        return order.index(reason.severity), -reason.score

    ranks = [rank(reason) for reason in judge(seen, recipe, pose).reasons]
    assert ranks == sorted(ranks)


@law
@given(detections, recipes(), poses)
def test_class_scores_are_the_highest_per_class_and_zone(seen: list[Detection], recipe: Recipe, pose: Pose) -> None:
    scores = class_scores(seen, recipe, pose)
    keys = [(s.defect_class, s.zone) for s in scores]
    assert keys == sorted(set(keys))
    for score in scores:
        owners = [(d, place(d.box, recipe, pose)[0]) for d in seen if d.defect_class == score.defect_class]
        assert score.score == max(d.score for d, z in owners if (z.name if z is not None else REST) == score.zone)
    assert {d.defect_class for d in seen} == {s.defect_class for s in scores}


def test_a_minor_class_in_a_critical_zone_is_critical() -> None:
    recipe = a_recipe(zone("pads", "critical", 0, 0, 30, 30), spur={"limit": 0.5, "severity": "minor"})
    seen = [detection("spur", 0.9, x=60), detection("spur", 0.6)]
    assert [(r.severity, r.zone) for r in judge(seen, recipe).reasons] == [(Severity.CRITICAL, "pads"), (Severity.MINOR, REST)]


# -- the words, and the corners of each rule


def test_nothing_found_passes() -> None:
    assert judge([], a_recipe()) == Verdict(VerdictKind.PASS)
    assert class_scores([], a_recipe()) == ()


def test_the_words_of_a_reason() -> None:
    edge = zone("edge", "inspect", 0, 0, 30, 30, short={"limit": 0.6, "severity": "minor"})
    verdict = judge([detection("short", 0.934)], a_recipe(edge))
    assert [r.text for r in verdict.reasons] == ["short 0.93 in zone edge, limit 0.60"]
    assert str(verdict) == "REJECT (short 0.93 in zone edge, limit 0.60)"
    reason = verdict.reasons[0]
    assert (reason.code, reason.zone, reason.limit, reason.severity) == ("defect", "edge", 0.6, Severity.MINOR)
    assert judge([detection("spur", 0.5)], a_recipe()).reasons[0].text == "spur 0.50, limit 0.50"


def test_a_score_at_the_limit_and_a_size_at_the_minimum_count() -> None:
    recipe = a_recipe(short={"limit": 0.5, "min_size_px2": 100})
    assert judge([detection("short", 0.5)], recipe).kind is VerdictKind.REJECT
    assert judge([detection("short", 0.4999)], recipe).kind is VerdictKind.PASS
    assert judge([detection("short", 0.5, w=9.99)], recipe).kind is VerdictKind.PASS


def test_so_many_are_allowed_and_one_more_names_them_all() -> None:
    recipe = a_recipe(spur={"limit": 0.5, "max_count": 2})
    three = [detection("spur", 0.6, x=20 * i) for i in range(3)]
    assert judge(three[:2], recipe).kind is VerdictKind.PASS
    assert [r.text for r in judge(three, recipe).reasons] == ["spur 0.60, limit 0.50, 3 found where 2 are allowed"] * 3


def test_a_zone_with_its_own_rule_counts_for_itself_and_others_count_together() -> None:
    own = zone("own", "inspect", 0, 0, 30, 30, spur={"limit": 0.5, "max_count": 1})
    other = zone("other", "inspect", 40, 0, 100, 30)
    recipe = a_recipe(own, other, zone("third", "inspect", 0, 40, 100, 100), spur={"limit": 0.5, "max_count": 1})
    apart = [detection("spur", 0.6), detection("spur", 0.6, x=50)]
    assert judge(apart, recipe).kind is VerdictKind.PASS
    together = [detection("spur", 0.6, y=60), detection("spur", 0.6, x=50)]
    assert {r.zone for r in judge(together, recipe).reasons} == {"other", "third"}


@pytest.mark.parametrize(
    ("box", "name", "judged"),
    [
        ((35, 35, 40, 40), "critical", True),
        ((25, 25, 30, 30), "critical", True),  # touches its corner
        ((5, 5, 20, 20), "ignore", False),
        ((5, 5, 45, 20), "inspect", True),  # reaches out of the ignore zone
        ((20, 20, 35, 35), "critical", True),  # inside ignore, and touching critical
        ((80, 80, 90, 90), REST, False),  # where there are inspect zones, the rest is not judged
    ],
)
def test_where_a_box_belongs(box: tuple[int, int, int, int], name: str, judged: bool) -> None:
    recipe = a_recipe(
        zone("inspect", "inspect", 0, 0, 60, 60), zone("ignore", "ignore", 0, 0, 40, 40), zone("critical", "critical", 30, 30, 50, 50)
    )
    owner, is_judged = place(Box(*box), recipe, Pose())
    assert (owner.name if owner is not None else REST, is_judged) == (name, judged)


def test_without_inspect_zones_the_rest_is_judged() -> None:
    recipe = a_recipe(zone("ignore", "ignore", 0, 0, 40, 40))
    assert judge([detection("open", 0.9, x=60)], recipe).kind is VerdictKind.REJECT
    assert judge([detection("open", 0.9)], recipe).kind is VerdictKind.PASS
    assert class_scores([detection("open", 0.9)], recipe)[0].zone == "ignore"


def test_a_class_without_a_rule_is_never_passed_over() -> None:
    with pytest.raises(KeyError):
        judge([detection("scratch", 0.9)], a_recipe())
