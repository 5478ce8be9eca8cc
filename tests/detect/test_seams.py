"""Merging at the seams: what has to stay stays where it is, and nothing scores less for having been cut."""

from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inspector.checks import iou
from inspector.detect.decode import CROWD, KEPT
from inspector.detect.seams import EDGE_PX, SEAM_IOU, Seen, Tile, merge
from inspector.detect.tiles import TilePlan, plan_tiles
from inspector.errors import DetectorError
from inspector.types import Box, Detection

LARGEST = 20
LEFT, RIGHT = Tile(0, 0, 100, 100), Tile(70, 0, 100, 100)

scores = st.integers(10, 100).map(lambda hundredths: hundredths / 100)
classes = st.sampled_from(["open", "short"])


@st.composite
def plans(draw: st.DrawFn) -> TilePlan:
    height, width = draw(st.integers(30, 260)), draw(st.integers(30, 260))
    return plan_tiles(height, width, tile_height=draw(st.integers(40, 90)), tile_width=draw(st.integers(40, 90)), largest_px=LARGEST)


@st.composite
def objects(draw: st.DrawFn, plan: TilePlan, largest: int) -> Detection:
    width, height = (draw(st.floats(2, min(largest, side))) for side in (plan.width, plan.height))
    x, y = draw(st.floats(0, plan.width - width)), draw(st.floats(0, plan.height - height))
    return Detection(draw(classes), draw(scores), Box(x, y, x + width, y + height))


@st.composite
def scenes(draw: st.DrawFn, largest: int = 2 * LARGEST) -> tuple[TilePlan, list[Detection]]:
    plan = draw(plans())
    return plan, draw(st.lists(objects(plan, largest), max_size=8))


def clipped(found: Detection, tile: Tile) -> Detection | None:
    """What a tile shows of it."""
    b = found.box
    box = Box(max(b.x1, tile.x), max(b.y1, tile.y), min(b.x2, tile.x2), min(b.y2, tile.y2))
    return Detection(found.defect_class, found.score, box) if box.x1 < box.x2 and box.y1 < box.y2 else None


def seen_by(plan: TilePlan, truth: list[Detection], jitter: st.DataObject | None = None) -> Seen:
    """What a detector without faults finds tile by tile; with jitter, it scores each view differently."""
    seen = []
    for tile in plan.tiles:
        views = [v for d in truth if (v := clipped(d, tile)) is not None]
        if jitter is not None:
            views = [Detection(v.defect_class, jitter.draw(scores), v.box) for v in views]
        seen.append((tile, views))
    return seen


def whole_in(tile: Tile, plan: TilePlan, box: Box) -> bool:
    """Clear of the tile's inner edges."""
    return (
        (tile.x == 0 or box.x1 > tile.x + EDGE_PX)
        and (tile.y == 0 or box.y1 > tile.y + EDGE_PX)
        and (tile.x2 == plan.width or box.x2 < tile.x2 - EDGE_PX)
        and (tile.y2 == plan.height or box.y2 < tile.y2 - EDGE_PX)
    )


def merged(plan: TilePlan, seen: Seen) -> list[Detection]:
    return merge(seen, height=plan.height, width=plan.width)


@given(scenes(), st.data())
def test_a_box_whole_in_one_tile_is_never_lost(scene: tuple[TilePlan, list[Detection]], data: st.DataObject) -> None:
    """It stands there to the pixel, or a better one of its class does that overlaps it as NMS asks."""
    plan, truth = scene
    seen = seen_by(plan, truth, data)
    out = merged(plan, seen)
    for tile, views in seen:
        for view in views:
            if not whole_in(tile, plan, view.box):
                continue
            rivals = [d for d in out if d.defect_class == view.defect_class and d.score >= view.score]
            assert any(d.box == view.box or iou(d.box, view.box) > SEAM_IOU for d in rivals)


@given(scenes(), st.data())
def test_no_class_scores_less_for_having_been_cut_and_nothing_is_made_up(
    scene: tuple[TilePlan, list[Detection]], data: st.DataObject
) -> None:
    plan, truth = scene
    seen = seen_by(plan, truth, data)
    out = merged(plan, seen)
    given_ = [d for _, views in seen for d in views]
    for name in ("open", "short"):
        best = max((d.score for d in given_ if d.defect_class == name), default=None)
        assert max((d.score for d in out if d.defect_class == name), default=None) == best
    assert len(out) <= len(given_)
    for d in out:
        assert 0 <= d.box.x1 <= d.box.x2 <= plan.width
        assert 0 <= d.box.y1 <= d.box.y2 <= plan.height
    assert [d.score for d in out] == sorted((d.score for d in out), reverse=True)


@given(scenes(), st.data())
def test_every_view_lies_in_something_that_is_left(scene: tuple[TilePlan, list[Detection]], data: st.DataObject) -> None:
    """No place that a tile pointed at is forgotten: about half of it at least is covered, whole or cut."""
    plan, truth = scene
    seen = seen_by(plan, truth, data)
    out = merged(plan, seen)
    for _, views in seen:
        for v in views:
            covers = [_shared(v.box, d.box) for d in out if d.defect_class == v.defect_class]
            assert max(covers, default=0.0) >= SEAM_IOU * v.box.area - 1e-6


@given(plans().flatmap(lambda plan: st.tuples(st.just(plan), objects(plan, LARGEST))))
def test_an_object_of_up_to_the_largest_size_is_found_once_and_exactly(scene: tuple[TilePlan, Detection]) -> None:
    plan, thing = scene
    assert merged(plan, seen_by(plan, [thing])) == [thing]


@given(plans().flatmap(lambda plan: st.tuples(st.just(plan), objects(plan, 200))))
@example((plan_tiles(100, 170, tile_height=100, tile_width=100, largest_px=LARGEST), Detection("open", 0.5, Box(10, 10, 165, 30))))
def test_a_larger_object_is_put_together(scene: tuple[TilePlan, Detection]) -> None:
    """Larger than the overlap: its pieces become one box again, or lie in a tile that shows it whole."""
    plan, thing = scene
    out = merged(plan, seen_by(plan, [thing]))
    assert max(iou(d.box, thing.box) for d in out) > 1 - 1e-9


@given(scenes(LARGEST), st.randoms(use_true_random=False))
def test_objects_apart_are_all_found_exactly_in_whatever_order_tiles_come(scene: tuple[TilePlan, list[Detection]], random: Random) -> None:
    plan, drawn = scene
    truth: list[Detection] = []
    for d in drawn:
        if all(_shared(d.box, other.box) == 0 for other in truth):
            truth.append(d)
    seen = list(seen_by(plan, truth))
    in_order = merged(plan, seen)
    random.shuffle(seen)
    assert merged(plan, seen) == in_order
    assert sorted(map(repr, in_order)) == sorted(map(repr, truth))


def _shared(a: Box, b: Box) -> float:
    return Box(max(a.x1, b.x1), max(a.y1, b.y1), min(a.x2, b.x2), min(a.y2, b.y2)).area


def _two(left: list[Detection], right: list[Detection]) -> list[Detection]:
    return merge([(LEFT, left), (RIGHT, right)], height=100, width=170)


def test_a_piece_goes_in_favour_of_the_whole_and_leaves_its_score() -> None:
    piece, whole = Detection("open", 0.9, Box(80, 40, 100, 60)), Detection("open", 0.4, Box(81, 40, 120, 60))
    assert _two([piece], [whole]) == [Detection("open", 0.9, whole.box)]


def test_a_piece_of_another_class_stays() -> None:
    piece, whole = Detection("short", 0.9, Box(80, 40, 100, 60)), Detection("open", 0.4, Box(81, 40, 120, 60))
    assert _two([piece], [whole]) == [piece, whole]


def test_a_piece_that_no_other_tile_confirms_stays() -> None:
    piece = Detection("open", 0.9, Box(80, 40, 100, 60))
    assert _two([piece], []) == [piece]


def test_pieces_that_do_not_agree_where_both_tiles_look_stay_apart() -> None:
    pieces = [Detection("open", 0.9, Box(40, 10, 100, 20))], [Detection("open", 0.8, Box(70, 60, 130, 80))]
    assert _two(*pieces) == [*pieces[0], *pieces[1]]


def test_what_one_tile_kept_apart_stays_apart() -> None:
    """Networks without NMS have chosen already."""
    pair = [Detection("open", 0.9, Box(10, 10, 30, 30)), Detection("open", 0.8, Box(11, 10, 31, 30))]
    assert _two(pair, []) == pair


def test_two_views_of_one_place_become_the_better_one() -> None:
    worse, better = Detection("open", 0.5, Box(80, 40, 92, 52)), Detection("open", 0.8, Box(80.4, 40, 92, 52))
    assert _two([worse], [better]) == [better]


def test_views_that_differ_by_some_px_are_one_defect() -> None:
    """IoU 0.6: below what a network's own NMS suppresses."""
    worse, better = Detection("open", 0.5, Box(74, 40, 94, 60)), Detection("open", 0.8, Box(76, 43, 95, 63))
    assert 0.5 < iou(worse.box, better.box) < 0.7
    assert _two([worse], [better]) == [better]


def test_two_defects_that_overlap_stay_two_when_both_tiles_see_them() -> None:
    pair = [Detection("open", 0.9, Box(74, 40, 84, 50)), Detection("open", 0.7, Box(77, 40, 87, 50))]
    again = [Detection("open", 0.8, Box(74, 40, 84, 50)), Detection("open", 0.6, Box(77, 40, 87, 50))]
    assert iou(pair[0].box, pair[1].box) > SEAM_IOU
    assert _two(pair, again) == pair


def test_an_edge_of_the_frame_cuts_nothing() -> None:
    at_the_rim = Detection("open", 0.9, Box(0, 0, 12, 12))
    inside_of_it = Detection("open", 0.8, Box(0, 0, 9, 9))
    assert _two([at_the_rim, inside_of_it], []) == [at_the_rim, inside_of_it]


def test_a_box_at_the_edge_of_the_frame_is_no_piece_of_another_one() -> None:
    small, large = Detection("open", 0.9, Box(75, 0, 81, 6)), Detection("open", 0.8, Box(74, 0, 96, 14))
    assert _two([small], [large]) == [small, large]


def test_a_piece_and_a_whole_box_of_one_tile_stay_two() -> None:
    pair = [Detection("open", 0.9, Box(80, 40, 100, 60)), Detection("open", 0.8, Box(81, 40, 97, 60))]
    assert _two(pair, []) == pair


def test_an_object_in_pieces_has_the_score_of_the_better_one() -> None:
    pieces = [Detection("open", 0.3, Box(40, 10, 100, 20))], [Detection("open", 0.8, Box(70, 10, 130, 20))]
    assert _two(*pieces) == [Detection("open", 0.8, Box(40, 10, 130, 20))]


def test_empty_boxes_do_no_harm() -> None:
    assert len(_two([Detection("open", 0.9, Box(100, 50, 100, 50))], [Detection("open", 0.8, Box(90, 50, 110, 50))])) == 2
    assert _two([], []) == []


def test_weak_ones_are_left_out_beyond_the_limit_but_never_the_best_of_a_class() -> None:
    crowd = [Detection("open", 0.09, Box(i % 20 * 5, i // 20 * 5, i % 20 * 5 + 4, i // 20 * 5 + 4)) for i in range(KEPT + 20)]
    out = _two([*crowd, Detection("short", 0.02, Box(0, 80, 9, 90))], [])
    assert len(out) == KEPT + 1
    assert out[-1].defect_class == "short"


def test_more_strong_ones_than_any_part_has_are_an_error() -> None:
    crowd = [Detection("open", 0.5, Box(i % 20 * 3, i // 20 * 3, i % 20 * 3 + 2, i // 20 * 3 + 2)) for i in range(CROWD + 1)]
    with pytest.raises(DetectorError, match="no picture of a part"):
        _two(crowd, [])
    assert len(_two(crowd[:CROWD], [])) == CROWD
