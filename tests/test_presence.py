"""Presence: an empty belt, another product or a part out of place is a problem; a part in place moves the zones with it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import RecipeError
from inspector.presence import PresenceCheck
from inspector.recipe import Recipe, parse
from inspector.types import Pixels

WIDTH, HEIGHT = 200, 160
MARK_AT = (80, 60)
REACH = 10
PART_AT, PART_SIZE = (50, 40), (100, 80)
AREA = PART_SIZE[0] * PART_SIZE[1]
CENTRE = (PART_AT[0] + (PART_SIZE[0] - 1) / 2, PART_AT[1] + (PART_SIZE[1] - 1) / 2)


def a_mark(seed: int = 0) -> Pixels:
    """A printed mark: dark and bright fields of 4 px, so that it looks like itself only near its own place."""
    fields = np.random.default_rng(seed).integers(0, 2, (8, 10), dtype=np.uint8) * 150 + 50
    return np.asarray(np.kron(fields, np.ones((4, 4), np.uint8)), dtype=np.uint8)


def a_part(dx: int = 0, dy: int = 0, seed: int = 0) -> Pixels:
    """A bright plate with a mark on a dark belt, shifted."""
    frame = np.full((HEIGHT, WIDTH), 20, np.uint8)
    x, y = PART_AT[0] + dx, PART_AT[1] + dy
    frame[y : y + PART_SIZE[1], x : x + PART_SIZE[0]] = 120
    mark = a_mark(seed)
    x, y = MARK_AT[0] + dx, MARK_AT[1] + dy
    frame[y : y + mark.shape[0], x : x + mark.shape[1]] = mark
    return frame


def in_colour(frame: Pixels) -> Pixels:
    return np.ascontiguousarray(np.repeat(frame[:, :, None], 3, axis=2))


def belts() -> dict[str, Pixels]:
    noise = np.random.default_rng(1)
    return {
        "black": np.zeros((HEIGHT, WIDTH), np.uint8),
        "white": np.full((HEIGHT, WIDTH), 255, np.uint8),
        "grey": np.full((HEIGHT, WIDTH), 131, np.uint8),
        "noise": noise.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8),
        "faint noise": noise.integers(126, 131, (HEIGHT, WIDTH), dtype=np.uint8),
        "gradient": np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1)),
    }


def recipe_with(presence: dict[str, Any], folder: Path = Path()) -> Recipe:
    raw = {"name": "plate", "frame": {"width": WIDTH, "height": HEIGHT}, "presence": presence, "classes": {"open": {"limit": 0.5}}}
    return parse(raw, folder=folder)


def silhouette(**changes: Any) -> PresenceCheck:
    rule = {"method": "silhouette", "threshold": 40, "min_area_px2": AREA * 0.95, "max_area_px2": AREA * 1.05}
    return PresenceCheck(recipe_with({**rule, **changes}))


def template_recipe(folder: Path, mark: Pixels | None = None, **changes: Any) -> Recipe:
    cv2.imwrite(str(folder / "mark.png"), a_mark() if mark is None else mark)
    rule = {"method": "template", "picture": "mark.png", "position": MARK_AT, "max_shift_px": REACH}
    return recipe_with({**rule, **changes}, folder)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> PresenceCheck:
    return PresenceCheck(template_recipe(tmp_path_factory.mktemp("mark")))


@pytest.mark.parametrize("belt", belts())
def test_an_empty_belt_has_no_mark(template: PresenceCheck, belt: str) -> None:
    for frame in (belts()[belt], in_colour(belts()[belt])):
        sighting = template.look(frame)
        assert sighting.problem is not None
        assert "part not found" in sighting.problem
        assert sighting.text.startswith("template ")


@pytest.mark.parametrize("belt", belts())
def test_an_empty_belt_has_no_silhouette(belt: str) -> None:
    assert silhouette().look(belts()[belt]).problem is not None
    assert silhouette(part_is="dark").look(belts()[belt]).problem is not None


def test_too_little_is_no_part_and_too_much_is_another_part() -> None:
    for belt, words in (("black", "no part in the picture"), ("white", "not the right part")):
        problem = silhouette().look(belts()[belt]).problem
        assert problem is not None
        assert words in problem


def test_a_part_in_place_is_seen(template: PresenceCheck) -> None:
    seen = template.look(a_part())
    assert (seen.problem, seen.pose.dx, seen.pose.dy) == (None, 0, 0)
    assert seen.text == "template 1.00"
    seen = silhouette(centre=CENTRE).look(a_part())
    assert (seen.problem, seen.pose.dx, seen.pose.dy) == (None, 0, 0)
    assert seen.text == f"silhouette {AREA} px²"


@given(dx=st.integers(-REACH, REACH), dy=st.integers(-REACH, REACH), colour=st.booleans())
def test_the_pose_is_the_shift_of_the_part(template: PresenceCheck, dx: int, dy: int, colour: bool) -> None:
    frame = in_colour(a_part(dx, dy)) if colour else a_part(dx, dy)
    seen = template.look(frame)
    assert (seen.problem, seen.pose.dx, seen.pose.dy) == (None, dx, dy)
    seen = silhouette(centre=CENTRE).look(frame)
    assert seen.problem is None
    assert (seen.pose.dx, seen.pose.dy) == pytest.approx((dx, dy))


@pytest.mark.parametrize(("dx", "dy"), [(REACH + 1, 0), (0, REACH + 1), (-REACH - 1, 0), (0, -REACH - 1), (REACH + 1, -REACH - 1)])
def test_one_pixel_more_than_allowed_is_out_of_position(template: PresenceCheck, dx: int, dy: int) -> None:
    seen = template.look(a_part(dx, dy))
    assert seen.problem == f"part out of position: {dx:+d}, {dy:+d} px, {REACH} allowed"


@given(dx=st.integers(-40, 40), dy=st.integers(-30, 30))
def test_a_part_further_away_than_allowed_is_never_in_place(template: PresenceCheck, dx: int, dy: int) -> None:
    if max(abs(dx), abs(dy)) > REACH:
        assert template.look(a_part(dx, dy)).problem is not None
    if np.hypot(dx, dy) > REACH:
        assert silhouette(centre=CENTRE, max_shift_px=REACH).look(a_part(dx, dy)).problem is not None


def test_a_silhouette_one_pixel_too_far_is_out_of_position() -> None:
    check = silhouette(centre=CENTRE, max_shift_px=REACH)
    assert check.look(a_part(REACH, 0)).problem is None
    assert check.look(a_part(0, -REACH - 1)).problem == f"part out of position by {REACH + 1} px, {REACH} allowed"


def test_without_a_centre_a_silhouette_moves_no_zones() -> None:
    seen = silhouette().look(a_part(12, 9))
    assert (seen.problem, seen.pose.dx, seen.pose.dy) == (None, 0, 0)


@pytest.mark.parametrize("seed", range(1, 9))
def test_another_product_in_place_is_not_the_part(template: PresenceCheck, seed: int) -> None:
    problem = template.look(a_part(seed=seed)).problem
    assert problem is not None
    assert "empty, wrong or turned" in problem


def test_a_turned_part_is_not_in_place(template: PresenceCheck) -> None:
    assert template.look(np.ascontiguousarray(a_part()[::-1, ::-1])).problem is not None


def test_a_dark_part_on_a_bright_belt() -> None:
    frame = np.full((HEIGHT, WIDTH), 250, np.uint8)
    frame[40:120, 50:150] = 30
    check = silhouette(part_is="dark", threshold=100, centre=CENTRE)
    assert check.look(frame).problem is None
    assert check.look(in_colour(frame)).problem is None
    assert silhouette(threshold=100).look(frame).problem is not None


@pytest.mark.parametrize("background", [0, 77, 200, 254, 255])
@pytest.mark.parametrize("spot", [0, 1, 30])
def test_a_flat_window_with_a_grey_pixel_matches_no_faint_mark(background: int, spot: int, tmp_path: Path) -> None:
    # A rounding error of the correlation's sums once stood here as a match of 0.91.
    mark = np.full((100, 120), 200, np.uint8)
    mark[50:] = 203
    frame = np.full((320, 320), background, np.uint8)
    frame[105, 105] = abs(background - spot)
    cv2.imwrite(str(tmp_path / "mark.png"), mark)
    rule = {"method": "template", "picture": "mark.png", "position": (100, 100), "max_shift_px": 60}
    raw = {"name": "plate", "frame": {"width": 320, "height": 320}, "presence": rule, "classes": {"open": {"limit": 0.5}}}
    seen = PresenceCheck(parse(raw, folder=tmp_path)).look(frame)
    assert seen.problem is not None
    assert seen.pose.score is not None
    assert seen.pose.score < 0.2


def test_a_mark_is_found_beside_saturated_ground(tmp_path: Path) -> None:
    check = PresenceCheck(template_recipe(tmp_path))
    frame = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mark = a_mark()
    frame[64 : 64 + mark.shape[0], 77 : 77 + mark.shape[1]] = mark
    seen = check.look(frame)
    assert (seen.problem, seen.pose.dx, seen.pose.dy) == (None, -3, 4)


@given(gain=st.floats(0.3, 1.0), offset=st.integers(0, 50), sigma=st.floats(0, 8), seed=st.integers(0, 99))
def test_light_and_noise_do_not_hide_the_part(template: PresenceCheck, gain: float, offset: int, sigma: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, sigma, (HEIGHT, WIDTH))
    frame = np.clip(a_part(3, -4) * gain + offset + noise, 0, 255).astype(np.uint8)
    seen = template.look(frame)
    assert (seen.problem, seen.pose.dx, seen.pose.dy) == (None, 3, -4)


@pytest.mark.parametrize("position", [(0, 0), (WIDTH - 40, HEIGHT - 32)])
def test_a_mark_in_a_corner_of_the_frame_is_found(position: tuple[int, int], tmp_path: Path) -> None:
    check = PresenceCheck(template_recipe(tmp_path, position=position))
    frame = np.full((HEIGHT, WIDTH), 20, np.uint8)
    mark = a_mark()
    frame[position[1] : position[1] + mark.shape[0], position[0] : position[0] + mark.shape[1]] = mark
    seen = check.look(frame)
    assert (seen.problem, seen.pose.dx, seen.pose.dy) == (None, 0, 0)
    assert check.look(np.zeros_like(frame)).problem is not None


def test_a_look_changes_nothing_in_the_frame(template: PresenceCheck) -> None:
    for check in (template, silhouette(centre=CENTRE)):
        frame = a_part()
        frame.setflags(write=False)
        assert check.look(frame).problem is None


def test_presence_switched_off_says_so() -> None:
    check = PresenceCheck(recipe_with({"method": "off", "why": "endless sheet"}))
    seen = check.look(belts()["black"])
    assert (seen.text, seen.problem, seen.pose.score) == ("off", None, None)


def test_a_mark_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    recipe = template_recipe(tmp_path)
    for content in (b"not a picture", b""):
        with pytest.raises(RecipeError, match="is not a readable picture; teach the mark again"):
            PresenceCheck(replace(recipe, pictures=dict.fromkeys(recipe.pictures, content)))


def test_the_mark_is_the_one_that_the_revision_names(tmp_path: Path) -> None:
    recipe = template_recipe(tmp_path)
    (tmp_path / "mark.png").unlink()
    assert PresenceCheck(recipe).look(a_part()).problem is None


def test_a_mark_without_contrast_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="one even grey"):
        PresenceCheck(template_recipe(tmp_path, np.full((20, 20), 90, np.uint8)))


@pytest.mark.parametrize("position", [(-1, 0), (0, -1), (WIDTH - 39, 0), (0, HEIGHT - 31)])
def test_a_mark_that_does_not_lie_in_the_frame_is_refused(position: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="does not lie in the frame"):
        PresenceCheck(template_recipe(tmp_path, position=position))


def test_a_mark_in_colour_is_used_in_grey(tmp_path: Path) -> None:
    check = PresenceCheck(template_recipe(tmp_path, in_colour(a_mark())))
    assert check.look(a_part()).text == "template 1.00"
