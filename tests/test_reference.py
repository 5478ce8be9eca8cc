"""Registration: what lies within a pixel is shown to the detector, everything else is a part out of position."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from inspector.errors import RecipeError
from inspector.presence import PresenceCheck
from inspector.recipe import Recipe, parse
from inspector.reference import MAX_REST_PX, SEARCH_PX, Reference, shifted
from inspector.sim.boards import BeltScene, Product, RenderedBoard, board
from inspector.types import Pixels, Pose

REACH_PX = 12
PRODUCT = Product(0)
GOLDEN = PRODUCT.reference()
REFERENCE = Reference(GOLDEN, reach_px=REACH_PX, where="golden.png")
shifts = st.tuples(st.integers(-REACH_PX, REACH_PX), st.integers(-REACH_PX, REACH_PX))
rests = st.tuples(st.integers(-9, 9), st.integers(-9, 9)).filter(lambda rest: max(map(abs, rest)) >= 2)


def pose(shift: tuple[float, float]) -> Pose:
    return Pose(float(shift[0]), float(shift[1]))


def turned(pixels: Pixels, degrees: float) -> Pixels:
    height, width = pixels.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(pixels, turn, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def recipe(folder: Path, golden: Pixels | bytes = GOLDEN, **changes: Any) -> Recipe:
    mark = PRODUCT.fiducials[0]
    x, y = round(mark.x1), round(mark.y1)
    cv2.imwrite(str(folder / "mark.png"), GOLDEN[y : round(mark.y2), x : round(mark.x2)])
    (folder / "golden.png").write_bytes(golden if isinstance(golden, bytes) else cv2.imencode(".png", golden)[1].tobytes())
    raw: dict[str, Any] = {
        "name": "board",
        "frame": {"width": 640, "height": 640},
        "presence": {"method": "template", "picture": "mark.png", "position": [x, y], "max_shift_px": REACH_PX},
        "classes": {"open": {"limit": 0.5}},
        "reference": "golden.png",
    }
    return parse(raw | changes, folder=folder)


@given(shift=shifts)
@examples(max_examples=30)
def test_a_shift_that_the_pose_tells_is_followed_exactly(shift: tuple[int, int]) -> None:
    frame = shifted(GOLDEN, *shift)
    seen = REFERENCE.register(frame, pose(shift))
    assert seen.problem is None
    assert seen.pixels is not None
    assert np.array_equal(seen.pixels, frame)
    assert seen.rest_px == pytest.approx(0, abs=0.05)


@given(shift=shifts, number=st.integers(0, 200))
@examples(max_examples=30)
def test_mark_and_reference_together_bring_a_rough_and_defective_part_into_register(shift: tuple[int, int], number: int) -> None:
    part = board(PRODUCT, number, seed=3, defect_rate=1.0)
    moved = shifted(part.pixels, *(max(-REACH_PX, min(REACH_PX, s + p)) - p for s, p in zip(shift, part.shift, strict=True)))
    x, y = (max(-REACH_PX, min(REACH_PX, s + p)) for s, p in zip(shift, part.shift, strict=True))
    seen = REFERENCE.register(moved, pose((x, y)))
    assert seen.problem is None
    assert seen.rest_px is not None
    assert seen.rest_px < 0.5


@given(shift=shifts, rest=rests)
@examples(max_examples=40)
def test_a_part_beside_its_pose_faults_and_the_reason_names_by_how_much(shift: tuple[int, int], rest: tuple[int, int]) -> None:
    """As when the mark is displaced, or something else was taken for it."""
    said = (shift[0] - rest[0], shift[1] - rest[1])
    seen = REFERENCE.register(shifted(GOLDEN, *shift), pose(said))
    assert seen.pixels is None
    assert seen.problem is not None
    if max(map(abs, said)) > REACH_PX:
        assert seen.problem == f"part out of position: {said[0]:+d}, {said[1]:+d} px, the reference reaches {REACH_PX}"
    elif max(map(abs, rest)) < SEARCH_PX:
        assert f"in register to {rest[0]:+d}.0, {rest[1]:+d}.0 px" in seen.problem.replace("-0.0", "+0.0")


@given(shift=shifts, rest=st.tuples(st.integers(-3, 3), st.integers(-3, 3)))
@examples(max_examples=30)
def test_most_anchors_tell_where_a_part_without_a_mark_lies(shift: tuple[int, int], rest: tuple[int, int]) -> None:
    told = pose((shift[0] - rest[0], shift[1] - rest[1]))
    found = REFERENCE.locate(shifted(GOLDEN, *shift), told)
    assert (found.dx, found.dy) == shift
    assert REFERENCE.locate(np.zeros_like(GOLDEN), told) == told, "nothing there: nothing is known"


@given(degrees=st.one_of(st.floats(0.5, 20), st.floats(-20, -0.5)), number=st.integers(0, 50))
@examples(max_examples=30)
def test_a_turned_part_faults(degrees: float, number: int) -> None:
    part = board(PRODUCT, number, seed=3, defect_rate=0.0)
    for told in ((0, 0), part.shift):
        seen = REFERENCE.register(turned(part.pixels, degrees), pose(told))
        assert seen.pixels is None
        assert seen.problem is not None


@pytest.mark.parametrize("seed", range(4))
def test_two_degrees_are_too_much_for_every_product(seed: int) -> None:
    part = Product(seed)
    reference = Reference(part.reference(), reach_px=REACH_PX, where="golden.png")
    assert reference.register(part.reference(), Pose()).problem is None
    assert reference.register(turned(part.reference(), 2.0), Pose()).problem is not None
    assert reference.register(turned(part.reference(), 0.1), Pose()).problem is None, "half a pixel at the corner"


def odd(scene: BeltScene) -> RenderedBoard:
    return next(b for b in (board(PRODUCT, n, seed=1, odd_rate=1.0) for n in range(50)) if b.scene is scene)


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((640, 640), 255, np.uint8),
        np.zeros((640, 640), np.uint8),
        odd(BeltScene.EMPTY).pixels,
        odd(BeltScene.WRONG_PRODUCT).pixels,
        odd(BeltScene.OUT_OF_POSITION).pixels,
        np.random.default_rng(0).integers(0, 256, (640, 640), dtype=np.uint8),
        255 - GOLDEN,
        np.ascontiguousarray(GOLDEN[::-1]),
    ],
    ids=["white", "black", "empty belt", "wrong product", "out of position", "noise", "negative", "mirrored"],
)
def test_what_is_not_the_part_has_no_reference(pixels: Pixels) -> None:
    seen = REFERENCE.register(pixels, Pose())
    assert seen.pixels is None
    assert seen.problem is not None
    assert seen.problem.startswith("part ")
    assert "\n" not in seen.problem


def test_dim_light_and_noise_are_no_shift() -> None:
    rng = np.random.default_rng(0)
    lit = np.clip(GOLDEN * 0.6 + rng.normal(0, 12, GOLDEN.shape), 0, 255).astype(np.uint8)
    assert REFERENCE.register(lit, Pose()).problem is None


def test_a_part_spoiled_in_one_place_is_still_in_register_and_one_half_gone_is_not() -> None:
    spoiled = GOLDEN.copy()
    spoiled[:200, :200] = 0
    assert REFERENCE.register(spoiled, Pose()).problem is None
    spoiled[:, :400] = 0
    assert "places match" in (REFERENCE.register(spoiled, Pose()).problem or "")


def test_nothing_is_changed_and_nothing_is_kept() -> None:
    frame = GOLDEN.copy()
    frame.setflags(write=False)
    assert REFERENCE.register(frame, Pose()).pixels is REFERENCE.pixels
    assert np.array_equal(GOLDEN, frame)
    moved = REFERENCE.register(shifted(GOLDEN, 3, -2), Pose(3.0, -2.0)).pixels
    assert moved is not None
    assert moved.flags.c_contiguous


@given(shift=st.tuples(st.integers(-4, 4), st.integers(-6, 6)), seed=st.integers(0, 1000))
def test_a_moved_picture_goes_on_at_its_border(shift: tuple[int, int], seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 5), dtype=np.uint8)
    rows, columns = (np.clip(np.arange(n) - d, 0, n - 1) for n, d in zip(pixels.shape, (shift[1], shift[0]), strict=True))
    assert np.array_equal(shifted(pixels, *shift), pixels[np.ix_(rows, columns)])


def test_anchors_lie_where_the_detector_looks_and_never_leave_the_frame() -> None:
    region = (100, 40, 600, 400)
    reference = Reference(GOLDEN, reach_px=REACH_PX, where="golden.png", region=region)
    size, margin = reference.anchor_px, REACH_PX + SEARCH_PX
    for anchor in reference.anchors:
        assert region[0] <= anchor.x <= region[2] - size
        assert region[1] <= anchor.y <= region[3] - size
    for anchor in REFERENCE.anchors:
        assert margin <= min(anchor.x, anchor.y)
        assert max(anchor.x, anchor.y) + REFERENCE.anchor_px <= 640 - margin
    assert MAX_REST_PX < SEARCH_PX, "else a part that is off by too much would be taken for one in place"


def stripes() -> Pixels:
    picture = np.zeros((640, 640), np.uint8)
    picture[:, ::40] = 255
    return picture


@pytest.mark.parametrize("picture", [np.full((640, 640), 9, np.uint8), stripes(), np.zeros((20, 20), np.uint8)])
def test_a_reference_that_cannot_prove_its_place_is_refused(picture: Pixels) -> None:
    with pytest.raises(RecipeError, match=r"golden\.png shows too little structure"):
        Reference(picture, reach_px=REACH_PX, where="golden.png")


def test_the_recipes_reference_is_used_as_it_was_taught(tmp_path: Path) -> None:
    taught = recipe(tmp_path)
    (tmp_path / "golden.png").unlink()
    reference, presence = Reference.of(taught), PresenceCheck(taught)
    for number in range(8):
        frame = board(PRODUCT, number, seed=3).pixels
        assert reference.register(frame, presence.look(frame).pose).problem is None


@pytest.mark.parametrize(
    ("golden", "words"),
    [
        (b"", "not a readable picture"),
        (b"no picture", "not a readable picture"),
        (GOLDEN[:, :600], "is 600x640, the frame 640x640"),
        (cv2.cvtColor(GOLDEN, cv2.COLOR_GRAY2BGR), "not a mono picture of 8 bit"),
        (GOLDEN.astype(np.uint16), "not a mono picture of 8 bit"),
        (np.full_like(GOLDEN, 255), "too little structure"),
    ],
    ids=["empty", "text", "narrow", "colour", "16 bit", "white"],
)
def test_a_reference_that_is_none_is_refused_in_one_line(golden: Pixels | bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        Reference.of(recipe(tmp_path, golden))
    assert str(caught.value).startswith("recipe board: key reference: golden.png ")
    assert "\n" not in str(caught.value)


def test_a_recipe_without_a_reference_has_none(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="key reference"):
        Reference.of(recipe(tmp_path, reference=None))
