"""Box figures: a case worked out by hand, an independent calculation, and laws."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.types import Box, Detection
from models.dataset import Truth
from models.metrics import COCO_IOUS, DEEPPCB_IOU, BoxFigures, Looked, box_figures, confusion, curve, interpolated_ap, match, summed_ap


def _t(name: str, x: float, y: float = 0, side: float = 10) -> Truth:
    return Truth(name, Box(x, y, x + side, y + side))


def _d(name: str, score: float, x: float, y: float = 0, side: float = 10) -> Detection:
    return Detection(name, score, Box(x, y, x + side, y + side))


BY_HAND = [
    # One picture with three truths. Best first: a hit (a), a miss (a, nothing there), a hit (b, IoU 0.5385), a second box on the first.
    Looked("1", (_d("a", 0.9, 0), _d("a", 0.8, 300), _d("b", 0.7, 103), _d("a", 0.6, 1)), (_t("a", 0), _t("b", 100), _t("a", 200))),
    # A class mixed up, and a hit that overlaps by 1 ÷ 3 (IoU 0.333 > 0.33).
    Looked("2", (_d("b", 0.5, 0), _d("a", 0.4, 50 + 5)), (_t("a", 0), _t("a", 50))),
]


def test_by_hand() -> None:
    f = box_figures(BY_HAND, ("a", "b"))
    # In one list: hit, miss, hit, miss, miss, hit → precision at the hits 1, 2/3, 3/6; five truths.
    assert f.ap33_pooled == pytest.approx((1 + 2 / 3 + 3 / 6) / 5)
    # a: hit, miss, miss, hit of four truths; b: hit, miss of one.
    assert f.by_class == pytest.approx({"a": (1 + 2 / 4) / 4, "b": 1.0})
    assert f.map33 == pytest.approx((0.375 + 1.0) / 2)
    # F = 2 hits ÷ (boxes + truths): 2/6, 2/7, 4/8, 4/9, 4/10, 6/11
    assert f.f33 == pytest.approx(6 / 11)
    assert f.pooled.best_limit == 0.4
    # At 0.5 a has one hit: precision 1 below recall 1/4, where it falls to 0: 24 of the 100 steps are full, one is half.
    # b has precision 1 below recall 1: 99 steps and a half.
    assert f.map50 == pytest.approx((0.245 + 0.995) / 2)
    # b (IoU 0.5385) counts at 0.5 only; a at all ten.
    assert f.map5095 == pytest.approx((0.245 + 0.0995) / 2)


def test_the_border_of_the_iou() -> None:
    def found(shift: float, limit: float) -> bool:
        return bool(match([_d("a", 0.9, shift)], [_t("a", 0)], (limit,))[0, 0] == 0)

    # IoU of two squares of 10 px: (10 - shift) / (10 + shift)
    exact = 10 * (1 - 0.33) / (1 + 0.33)
    assert found(exact - 1e-6, DEEPPCB_IOU)
    assert not found(exact + 1e-6, DEEPPCB_IOU)
    assert found(0, 1.0)


def test_one_to_one_best_score_first_highest_overlap() -> None:
    truths = (_t("a", 0), _t("a", 4))
    # The better scored one lies nearer to the second truth; the other has to take the first.
    assert match([_d("a", 0.9, 3), _d("a", 0.8, 2)], truths, (0.3,))[:, 0].tolist() == [1, 0]
    assert match([_d("a", 0.9, 4), _d("a", 0.8, 4), _d("a", 0.7, 4)], truths, (0.9,))[:, 0].tolist() == [1, -1, -1]
    assert match([], truths, (0.5,)).shape == (0, 1)
    assert match([_d("b", 0.9, 0)], truths, (0.1,))[:, 0].tolist() == [-1]
    assert match([_d("b", 0.9, 0)], truths, (0.1,), any_class=True)[:, 0].tolist() == [0]


def _random(seed: int) -> list[Looked]:
    rng = np.random.default_rng(seed)
    pictures = []
    for k in range(12):
        truths, found = [], []
        for _ in range(int(rng.integers(0, 6))):
            name, x, y = "abc"[int(rng.integers(3))], *rng.uniform(0, 400, 2)
            truths.append(Truth(name, Box(x, y, x + 30, y + 20)))
            for _ in range(int(rng.integers(0, 3))):
                e = rng.normal(0, 3, 4)
                found.append(Detection(name, float(rng.random()), Box(x + e[0], y + e[1], x + 30 + e[2], y + 20 + e[3])))
        for _ in range(int(rng.integers(0, 4))):
            name, score, x, y = "abc"[int(rng.integers(3))], float(rng.random()) * 0.7, *rng.uniform(0, 400, 2)
            found += [_d(name, score, float(x), float(y), 25)]
        pictures.append(Looked(str(k), tuple(found), tuple(truths)))
    return pictures


def _slow_coco(pictures: list[Looked], name: str, threshold: float) -> float:
    """AP of one class, written anew with plain loops: precision made non-increasing, read off at 0, 0.01 … 1 between the points."""
    hits: list[tuple[float, bool]] = []
    total = 0
    for picture in pictures:
        truths = [t.box for t in picture.truths if t.defect_class == name]
        total += len(truths)
        for d in sorted((d for d in picture.detections if d.defect_class == name), key=lambda d: -d.score):
            overlaps = [(_slow_iou(d.box, t), i) for i, t in enumerate(truths)]
            best = max(overlaps, default=(0.0, -1), key=lambda pair: pair[0])
            hits.append((d.score, best[0] >= threshold))
            if best[0] >= threshold:
                truths.pop(best[1])
    points, right = [(0.0, 1.0)], 0
    for n, (_, hit) in enumerate(sorted(hits, key=lambda h: -h[0]), 1):
        right += hit
        points.append((right / total, right / n))
    points += [(points[-1][0], 0.0), (1.0, 0.0)]
    falling = [(r, max(p for _, p in points[i:])) for i, (r, _) in enumerate(points)]
    samples = []
    for k in range(101):
        x = k / 100
        # Where several points share a recall, the last of them is the one that interpolation starts from.
        i = max(i for i, (r, _) in enumerate(falling) if r <= x)
        (r0, p0), (r1, p1) = falling[i], falling[min(i + 1, len(falling) - 1)]
        samples.append(p0 if r1 <= r0 else p0 + (p1 - p0) * (x - r0) / (r1 - r0))
    return sum((a + b) / 200 for a, b in pairwise(samples))


def _slow_iou(a: Box, b: Box) -> float:
    w, h = min(a.x2, b.x2) - max(a.x1, b.x1), min(a.y2, b.y2) - max(a.y1, b.y1)
    return w * h / (a.area + b.area - w * h) if w > 0 and h > 0 else 0.0


@pytest.mark.parametrize("seed", range(3))
def test_map_is_what_plain_loops_give(seed: int) -> None:
    pictures = _random(seed)
    f = box_figures(pictures, ("a", "b", "c"))
    slow = [[_slow_coco(pictures, name, iou) for iou in COCO_IOUS] for name in "abc"]
    assert f.map50 == pytest.approx(np.mean([row[0] for row in slow]), abs=1e-9)
    assert f.map5095 == pytest.approx(np.mean(slow), abs=1e-9)
    assert 0 < f.map5095 < f.map50 < 1


def _all(f: BoxFigures) -> tuple[float, ...]:
    return f.ap33_pooled, f.map33, f.f33, f.map50, f.map5095


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_figures_stay_within_0_and_1_and_look_at_order_only(seed: int) -> None:
    pictures = _random(seed)
    f = box_figures(pictures, ("a", "b", "c"))
    assert all(0 <= value <= 1 for value in _all(f))
    squeezed = [
        Looked(p.name, tuple(Detection(d.defect_class, d.score**2 / 2, d.box) for d in p.detections), p.truths) for p in reversed(pictures)
    ]
    assert _all(box_figures(squeezed, ("a", "b", "c"))) == pytest.approx(_all(f))


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_a_weakest_false_box_never_helps_and_perfect_boxes_are_perfect(seed: int) -> None:
    pictures = _random(seed)
    f = box_figures(pictures, ("a", "b", "c"))
    worse = [*pictures, Looked("more", (_d("a", 0.001, 900),), ())]
    assert _all(box_figures(worse, ("a", "b", "c"))) <= tuple(v + 1e-12 for v in _all(f))
    perfect = [Looked(p.name, tuple(Detection(t.defect_class, 0.9, t.box) for t in p.truths), p.truths) for p in pictures]
    if any(p.truths for p in perfect):
        g = box_figures(perfect, ("a", "b", "c"))
        assert (g.ap33_pooled, g.map33, g.f33) == pytest.approx((1, 1, 1))
        assert g.map5095 == pytest.approx(0.995)


def test_nothing_found_and_nothing_there() -> None:
    assert _all(box_figures([], ("a",))) == (0, 0, 0, 0, 0)
    assert _all(box_figures([Looked("1", (), (_t("a", 0),))], ("a",))) == (0, 0, 0, 0, 0)
    assert _all(box_figures([Looked("1", (_d("a", 0.5, 0),), ())], ("a",))) == (0, 0, 0, 0, 0)
    none = np.zeros(0, np.bool_)
    assert summed_ap(none, 3) == interpolated_ap(none, 3) == 0


def test_boxes_of_one_score_come_and_go_together() -> None:
    c = curve(np.array([0.5, 0.5, 0.2]), np.array([True, False, True]), 2)
    assert c.recall.tolist() == [0.5, 1.0]
    assert c.precision.tolist() == pytest.approx([0.5, 2 / 3])
    assert c.best_f == pytest.approx(0.8)
    assert c.best_limit == 0.2


def test_confusion_by_hand() -> None:
    counts = confusion(BY_HAND, ("a", "b"))
    # rows a, b, nothing; columns a, b, nothing
    assert counts.tolist() == [[2, 1, 1], [0, 1, 0], [2, 0, 0]]
