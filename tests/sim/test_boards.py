"""Rendered boards: the truth is exact, known to everybody who knows the numbers, and the six classes are really there."""

import hashlib
import subprocess
import sys
from functools import lru_cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.sim.boards import MAX_DEFECTS, MAX_SHIFT_PX, BeltScene, Product, RenderedBoard, board, good_twin, plan_part
from inspector.sim.boards_defects import CLASSES
from inspector.sim.boards_layout import FRAME_PX
from inspector.types import Box, Pixels

numbers = st.integers(0, 2**32)
seeds = st.integers(0, 50)


@lru_cache(maxsize=8)
def product(seed: int = 0) -> Product:
    return Product(seed)


def copper(pixels: Pixels) -> Pixels:
    return (pixels < 128).astype(np.uint8)


def window(box: Box) -> tuple[slice, slice]:
    return slice(int(box.y1), int(box.y2)), slice(int(box.x1), int(box.x2))


def bits(part: RenderedBoard) -> str:
    return hashlib.sha256(part.pixels.tobytes()).hexdigest()


@given(numbers, seeds)
@settings(max_examples=30)
def test_the_same_numbers_give_the_same_part(number: int, seed: int) -> None:
    first, second = (board(product(), number, seed=seed) for _ in range(2))
    assert bits(first) == bits(second)
    assert (first.defects, first.shift, first.good) == (second.defects, second.shift, second.good)


def test_another_process_sees_the_same_part() -> None:
    code = (
        "import hashlib; from inspector.sim.boards import Product, board\n"
        "print(hashlib.sha256(board(Product(1), 77, seed=5).pixels.tobytes()).hexdigest())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert elsewhere.stdout.strip() == bits(board(product(1), 77, seed=5))


@given(numbers, seeds, st.integers(0, 5))
@settings(max_examples=40)
def test_defects_change_pixels_inside_their_boxes_and_nowhere_else(number: int, seed: int, layout: int) -> None:
    part = board(product(layout), number, seed=seed, defect_rate=1.0)
    twin = good_twin(product(layout), number, seed=seed, defect_rate=1.0)
    changed = part.pixels != twin.pixels
    assert 1 <= len(part.defects) <= MAX_DEFECTS
    for defect in part.defects:
        assert 0 <= defect.box.x1 < defect.box.x2 <= FRAME_PX
        assert 0 <= defect.box.y1 < defect.box.y2 <= FRAME_PX
        assert np.count_nonzero(changed[window(defect.box)]) >= 20
    for defect in part.defects:
        changed[window(defect.box)] = False
    assert not changed.any()


@given(numbers, seeds)
@settings(max_examples=60)
def test_each_class_does_to_the_copper_what_its_name_says(number: int, seed: int) -> None:
    """Added or taken away, joined or cut: counted where the defect is, with some surroundings."""
    part = board(product(), number, seed=seed, defect_rate=1.0)
    twin = good_twin(product(), number, seed=seed, defect_rate=1.0)
    for defect in part.defects:
        now, before = copper(part.pixels[window(defect.box)]), copper(twin.pixels[window(defect.box)])
        adds = defect.defect_class in ("short", "spur", "copper")
        assert int(now.sum()) != int(before.sum())
        assert (now.sum() > before.sum()) == adds
        islands = cv2.connectedComponents(now)[0] - cv2.connectedComponents(before)[0]
        holes = cv2.connectedComponents(1 - now)[0] - cv2.connectedComponents(1 - before)[0]
        expected = {
            "open": islands >= 1,
            "short": islands <= -1,
            "mousebite": holes <= 0,
            "spur": islands <= 0,
            "copper": islands == 1,
            "pin-hole": holes == 1,
        }
        assert expected[defect.defect_class], (defect, islands, holes)


@given(numbers, seeds, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=40)
def test_the_plan_is_the_truth_without_drawing(number: int, seed: int, defect_rate: float, odd_rate: float) -> None:
    plan = plan_part(number, seed=seed, defect_rate=defect_rate, odd_rate=odd_rate)
    part = board(product(), number, seed=seed, defect_rate=defect_rate, odd_rate=odd_rate)
    assert (part.good, part.shift, part.scene) == (plan.good, plan.shift, plan.scene)
    assert tuple(defect.defect_class for defect in part.defects) == plan.classes
    assert part.good == (part.scene is BeltScene.PART and not part.defects)


def test_rates_are_kept() -> None:
    plans = [plan_part(number, seed=3, defect_rate=0.3, odd_rate=0.1) for number in range(4000)]
    odd = sum(plan.scene is not BeltScene.PART for plan in plans)
    defective = sum(bool(plan.classes) for plan in plans)
    assert 330 < odd < 470
    assert 980 < defective < 1190
    assert {plan.scene for plan in plans} == set(BeltScene)
    assert all(plan_part(number, seed=3, defect_rate=0.0).good for number in range(200))


@pytest.mark.parametrize("seed", range(12))
def test_every_product_has_room_for_every_class_and_looks_like_a_board(seed: int) -> None:
    made = product(seed)
    assert all(len(made.sites.rows[name]) > 50 for name in CLASSES)
    reference = made.reference()
    assert reference.shape == (FRAME_PX, FRAME_PX)
    assert set(np.unique(reference)) == {0, 255}
    assert 0.2 < copper(reference).mean() < 0.55


@given(numbers, seeds, st.integers(0, 3))
@settings(max_examples=15)
def test_fiducials_are_found_where_the_shift_puts_them(number: int, seed: int, layout: int) -> None:
    part = board(product(layout), number, seed=seed)
    assert max(abs(part.shift[0]), abs(part.shift[1])) <= MAX_SHIFT_PX
    for box in product(layout).fiducials:
        template = product(layout).reference()[window(box)]
        rows, columns = window(box)
        around = part.pixels[max(0, rows.start - 10) : rows.stop + 10, max(0, columns.start - 10) : columns.stop + 10]
        found = cv2.matchTemplate(around, template, cv2.TM_CCOEFF_NORMED)
        _, score, _, at = cv2.minMaxLoc(found)
        dx, dy = at[0] + max(0, columns.start - 10) - columns.start, at[1] + max(0, rows.start - 10) - rows.start
        assert score > 0.9
        assert (abs(dx - part.shift[0]), abs(dy - part.shift[1])) <= (1, 1)


def test_a_wrong_product_does_not_show_both_fiducials() -> None:
    for seed in range(6):
        right, wrong = product(seed), product(seed + 1).reference()
        scores = []
        for box in right.fiducials:
            rows, columns = window(box)
            around = wrong[max(0, rows.start - 20) : rows.stop + 20, max(0, columns.start - 20) : columns.stop + 20]
            scores.append(float(cv2.matchTemplate(around, right.reference()[window(box)], cv2.TM_CCOEFF_NORMED).max()))
        assert min(scores) < 0.7, (seed, scores)


def test_an_empty_belt_is_white_and_no_scene_but_a_part_is_good() -> None:
    parts = [board(product(), number, seed=1, odd_rate=1.0) for number in range(30)]
    assert {part.scene for part in parts} == {BeltScene.EMPTY, BeltScene.WRONG_PRODUCT, BeltScene.OUT_OF_POSITION}
    assert not any(part.good or part.defects for part in parts)
    empty = next(part for part in parts if part.scene is BeltScene.EMPTY)
    assert empty.pixels.min() > 250
    displaced = next(part for part in parts if part.scene is BeltScene.OUT_OF_POSITION)
    assert abs(displaced.shift[0]) > 50


def test_edges_are_rough_and_never_the_same_twice() -> None:
    """Two good parts of one shift differ at their edges only."""
    first, second = (good_twin(product(), number, seed=0) for number in (3, 4))
    aligned = np.roll(second.pixels, (first.shift[1] - second.shift[1], first.shift[0] - second.shift[0]), (0, 1))
    inner = slice(20, -20)
    differs = copper(first.pixels)[inner, inner] != copper(aligned)[inner, inner]
    assert 0.001 < differs.mean() < 0.05
    deep = cv2.erode(copper(first.pixels), np.ones((7, 7), np.uint8))[inner, inner]
    assert not (differs & (deep == 1)).any()


def test_pixels_are_those_of_a_binarised_picture() -> None:
    values = np.unique(board(product(), 1, seed=0).pixels)
    assert set(values.tolist()) <= {0, 1, 2, 3, 252, 253, 254, 255}


def test_a_negative_product_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Product(-1)
