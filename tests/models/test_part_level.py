"""Parts made from pairs, and their counts: escapes, overkills, faults, single defects."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.recipe import Recipe, parse
from inspector.types import Box, Detection, FaultCode, Pixels, Verdict
from models.dataset import Truth
from models.looking import Seen
from models.part_level import Part, PartKind, above_limits, at_limit, part_figures, percent, rejecting_boxes, sweep
from models.part_pictures import disturbed, in_register, mended, single_defects

SIDE = 200


def _twin() -> Pixels:
    """A board with tracks: dark with bright bars of uneven width."""
    pixels = np.full((SIDE, SIDE), 40, np.uint8)
    for k, x in enumerate(range(10, SIDE - 10, 23)):
        pixels[5 : SIDE - 5, x : x + 6 + k % 3] = 200
    pixels[90:97, 8:-8] = 200
    return pixels


def _with_spots(*corners: tuple[int, int]) -> tuple[Pixels, list[Truth]]:
    """The twin with an 8 px spot at each corner; boxes stand 6 px off, as people draw them."""
    pixels, truths = _twin(), []
    for x, y in corners:
        pixels[y : y + 8, x : x + 8] = 120
        truths.append(Truth("spot", Box(x - 6, y - 6, x + 14, y + 14)))
    return pixels, truths


def test_each_single_defect_board_shows_its_defect_and_no_other() -> None:
    twin = _twin()
    pixels, truths = _with_spots((30, 30), (120, 40), (60, 150))
    made, left_out = single_defects(pixels, twin, truths)
    assert left_out == 0
    assert [(s.index, s.truth) for s in made] == list(enumerate(truths))
    for single in made:
        only, _ = _with_spots(((30, 30), (120, 40), (60, 150))[single.index])
        assert np.array_equal(single.pixels, only)
    assert np.array_equal(pixels, _with_spots((30, 30), (120, 40), (60, 150))[0])


def test_boxes_may_overlap_where_defects_do_not() -> None:
    # 11 px between the spots: their boxes overlap, and patches grown by 4 px stay off the other spot.
    pixels, truths = _with_spots((60, 100), (79, 100))
    made, left_out = single_defects(pixels, _twin(), truths)
    assert (len(made), left_out) == (2, 0)
    # 1 px between them: each patch would take the other one away.
    pixels, truths = _with_spots((60, 100), (69, 100))
    made, left_out = single_defects(pixels, _twin(), truths)
    assert (made, left_out) == ([], 2)


def test_a_twin_out_of_register_leaves_no_seam() -> None:
    pixels, truths = _with_spots((50, 40))
    moved = np.roll(_twin(), (2, -3), axis=(0, 1))
    seams = np.abs(mended(pixels, moved, [truths[0].box]).astype(int) - _twin()) > 30
    assert not seams.any()


def test_mending_at_the_corner_and_with_a_twin_of_another_size() -> None:
    pixels, truths = _with_spots((0, 0), (192, 192))
    assert np.array_equal(mended(pixels, _twin(), [t.box for t in truths]), _twin())
    everything = [Box(0, 0, SIDE, SIDE)]
    assert np.array_equal(mended(pixels, _twin(), everything), _twin())
    with pytest.raises(ValueError, match="twin"):
        mended(pixels, _twin()[:100], everything)


def test_colour_boards_are_mended_too() -> None:
    pixels, truths = _with_spots((50, 40))
    colour, twin = np.dstack([pixels] * 3), np.dstack([_twin()] * 3)
    assert np.array_equal(mended(colour, twin, [truths[0].box]), twin)


def test_disturbed_boards_are_the_same_every_time_and_within_their_limits() -> None:
    twin = _twin()
    assert np.array_equal(disturbed(twin, "a"), disturbed(twin, "a"))
    assert not np.array_equal(disturbed(twin, "a"), disturbed(twin, "b"))
    assert not np.array_equal(disturbed(twin, "a"), disturbed(twin, "a", seed=1))
    flat = np.full((SIDE, SIDE), 100, np.uint8)
    for name in map(str, range(20)):
        noisy = disturbed(flat, name)
        assert 84 <= noisy.mean() <= 116
        assert noisy.std() == pytest.approx(8, rel=0.05)
    shifts = set()
    mark = np.zeros((SIDE, SIDE), np.uint8)
    mark[100, 100] = 255
    for name in map(str, range(60)):
        y, x = np.unravel_index(disturbed(mark, name).argmax(), mark.shape)
        shifts |= {int(x) - 100, int(y) - 100}
    assert min(shifts) == -8
    assert max(shifts) == 8


@settings(max_examples=25)
@given(st.integers(-8, 8), st.integers(-8, 8))
def test_a_reference_is_brought_into_register(dx: int, dy: int) -> None:
    moved = np.roll(_twin(), (dy, dx), axis=(0, 1))
    found = in_register(_twin(), moved)
    assert np.array_equal(found[20:-20, 20:-20], moved[20:-20, 20:-20])


def test_what_has_no_contrast_or_no_room_is_left_as_it_is() -> None:
    flat = np.full((SIDE, SIDE), 100, np.uint8)
    small = _twin()[:30, :30].copy()
    assert in_register(flat, _twin()) is flat
    assert in_register(_twin(), flat).shape == flat.shape
    assert in_register(small, small) is small


def _recipe(**rules: float) -> Recipe:
    raw = {
        "name": "spots",
        "frame": {"width": SIDE, "height": SIDE},
        "presence": {"method": "off", "why": "for tests"},
        "classes": {name: {"limit": limit} for name, limit in rules.items()},
        "zones": [
            {"name": "rim", "kind": "critical", "polygon": [[0, 0], [20, 0], [20, SIDE], [0, SIDE]], "classes": {"spot": {"limit": 0.2}}}
        ],
    }
    return parse(raw, folder=Path())


RECIPE = _recipe(spot=0.5, stain=0.7)
TRUTH = Truth("spot", Box(50, 50, 70, 70))
OTHER = Truth("stain", Box(120, 120, 140, 140))


def _d(name: str, score: float, truth: Truth = TRUTH, by: float = 0) -> Detection:
    b = truth.box
    return Detection(name, score, Box(b.x1 + by, b.y1, b.x2 + by, b.y2))


def _part(kind: PartKind, *found: Detection, truths: tuple[Truth, ...] = ()) -> Part:
    return Part(kind, "b", Seen(found), truths)


PARTS = [
    _part(PartKind.DEFECTIVE, _d("spot", 0.9), _d("stain", 0.6, OTHER), truths=(TRUTH, OTHER)),
    _part(PartKind.DEFECTIVE, _d("spot", 0.4), truths=(TRUTH,)),
    _part(PartKind.DEFECTIVE, _d("spot", 0.8, by=100), truths=(TRUTH,)),
    _part(PartKind.GOOD, _d("spot", 0.49)),
    _part(PartKind.GOOD, _d("stain", 0.71)),
    _part(PartKind.SINGLE, _d("stain", 0.9), truths=(TRUTH,)),
    _part(PartKind.SINGLE, _d("spot", 0.9, by=100), truths=(TRUTH,)),
    _part(PartKind.SINGLE, truths=(TRUTH,)),
    _part(PartKind.MENDED),
    _part(PartKind.DISTURBED, _d("spot", 0.5)),
    Part(PartKind.DEFECTIVE, "f", Seen(fault=Verdict.fault(FaultCode.PRESENCE, "no part")), (TRUTH,)),
]


def test_counts_by_hand() -> None:
    f = part_figures(PARTS, RECIPE)
    assert (f.escapes.count, f.escapes.of) == (1, 3)
    assert (f.overkills.count, f.overkills.of) == (1, 2)
    assert (f.disturbed_overkills.count, f.disturbed_overkills.of) == (1, 1)
    assert (f.mended_rejected.count, f.mended_rejected.of) == (0, 1)
    assert (f.single_rejected.count, f.single_rejected.of) == (2, 3)
    # Another class on the very place is a hit, a box elsewhere is none.
    assert (f.single_hit.count, f.single_hit.of) == (1, 3)
    assert (f.defects_found.count, f.defects_found.of) == (1, 4)
    assert {name: (s.count, s.of) for name, s in f.defects_found_by_class.items()} == {"spot": (1, 3), "stain": (0, 1)}
    assert (f.false_calls, f.boards_false_calls.count, f.boards_false_calls.of) == (1, 1, 3)
    assert f.faulted == 1
    assert [len(p.detections) for p in above_limits(PARTS, RECIPE)] == [1, 0, 1, 0, 1, 0]


def test_nothing_looked_at_shows_nothing() -> None:
    f = part_figures([], RECIPE)
    assert f.escapes.rate is None
    assert f.escapes.upper == 1.0
    assert percent(f.escapes) == {"count": 0, "of": 0, "pct": None, "upper95_pct": 100.0, "lower95_pct": 0.0}


def test_a_limit_holds_in_zones_too() -> None:
    rim = Detection("spot", 0.3, Box(5, 50, 15, 60))
    assert rejecting_boxes(Seen((rim,)), RECIPE) == (rim,)
    moved = at_limit(RECIPE, 0.4)
    assert rejecting_boxes(Seen((rim,)), moved) == ()
    assert {rule.limit for rule in (*moved.classes.values(), *moved.zones[0].classes.values())} == {0.4}
    assert RECIPE.classes["stain"].limit == 0.7


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(list(PartKind)), st.floats(0.01, 1.0)), max_size=12))
def test_a_higher_limit_never_rejects_more(seen: list[tuple[PartKind, float]]) -> None:
    parts = [_part(kind, _d("spot", score), truths=(TRUTH,) if kind.is_defective else ()) for kind, score in seen]
    swept = [f for _, f in sweep(parts, RECIPE)]
    for low, high in pairwise(swept):
        assert high.escapes.count >= low.escapes.count
        assert high.overkills.count <= low.overkills.count
        assert high.single_hit.count <= low.single_hit.count
        assert high.defects_found.count <= low.defects_found.count
    assert all(sum(c.judged + c.faulted for c in f.counts.values()) == len(parts) for f in swept)
