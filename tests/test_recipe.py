"""Recipes: what is refused, and by which words; what the revision names."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.bundle import find_default_bundle
from inspector.errors import ConfigError, RecipeError
from inspector.recipe import PresenceOff, PresenceTemplate, Recipe, Tiles, ZoneKind, load, parse, restore
from inspector.types import Severity

SHIPPED = Path(__file__).resolve().parent.parent / "models/recipes/deeppcb.toml"
SQUARE = [[10, 10], [90, 10], [90, 90], [10, 90]]
RAW: dict[str, Any] = {
    "name": "plate",
    "frame": {"width": 200, "height": 100},
    "presence": {"method": "off", "why": "endless sheet"},
    "classes": {"open": {"limit": 0.6, "severity": "critical"}, "spur": {"limit": 0.3, "min_size_px2": 12, "max_count": 2}},
    "region": [0, 0, 200, 80],
    "zones": [
        {"name": "edge", "kind": "critical", "polygon": SQUARE, "classes": {"open": {"limit": 0.2}}},
        {"name": "label", "kind": "ignore", "polygon": [[100, 10], [150, 10], [150, 50]]},
    ],
}
SILHOUETTE = {"method": "silhouette", "threshold": 100, "min_area_px2": 50, "max_area_px2": 90, "centre": [30.5, 20]}
MARK = {"method": "template", "picture": "mark.png", "position": [5, 6]}


def changed(path: str, value: Any) -> dict[str, Any]:
    """RAW with the value at a dotted path replaced; None takes the key away."""
    raw = deepcopy(RAW)
    *way, last = path.split(".")
    place: Any = raw
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    key = int(last) if isinstance(place, list) else last
    if value is None:
        del place[key]
    else:
        place[key] = value
    return raw


def refusal(raw: dict[str, Any], folder: Path = Path()) -> str:
    with pytest.raises(RecipeError) as caught:
        parse(raw, folder=folder, where="plate.toml")
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("plate.toml: key ")
    return text.removeprefix("plate.toml: key ")


def mark_in(folder: Path, name: str = "mark.png", seed: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / name), np.random.default_rng(seed).integers(0, 256, (12, 9), dtype=np.uint8))
    return folder


def write(folder: Path, text: bytes) -> Path:
    path = folder / "plate.toml"
    path.write_bytes(text)
    return path


def test_the_recipe_that_ships_goes_with_the_bundle_that_ships() -> None:
    recipe = load(SHIPPED)
    limits = {name: rule.limit for name, rule in recipe.classes.items()}
    assert limits == dict.fromkeys(("open", "short", "mousebite", "spur", "copper", "pin-hole"), 0.70)
    critical = [name for name, rule in recipe.classes.items() if rule.severity is Severity.CRITICAL]
    assert critical == ["open", "short"]
    assert isinstance(recipe.presence, PresenceOff)
    assert recipe.presence_text == "off"
    assert (recipe.frame.width, recipe.frame.height) == (640, 640)
    assert SHIPPED.with_name("README.md").read_text(encoding="utf-8").count(find_default_bundle().name) == 1


def test_everything_that_a_recipe_says_is_read() -> None:
    recipe = parse(RAW, folder=Path())
    assert recipe.region == (0, 0, 200, 80)
    assert [(z.name, z.kind) for z in recipe.zones] == [("edge", ZoneKind.CRITICAL), ("label", ZoneKind.IGNORE)]
    assert recipe.rule("open", None).limit == 0.6
    assert recipe.rule("open", recipe.zones[0]).limit == 0.2
    assert recipe.rule("spur", recipe.zones[0]).max_count == 2
    assert recipe.rule("spur", None).severity is Severity.MAJOR


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("nme", "x", ("nme: there is no such key", "region")),
        ("frame.depth", 8, ("frame.depth: there is no such key", "width, height")),
        ("tiles", {"overlap_px": 8}, ("tiles.overlap_px: there is no such key", "there are largest_px")),
        ("presence.threshold", 8, ("presence.threshold: there is no such key", "method, why")),
        ("zones.0.colour", 8, ("zones.0.colour: there is no such key", "polygon")),
        ("zones.0.classes.open.limt", 8, ("zones.0.classes.open.limt: there is no such key", "limit, severity")),
        ("classes.open", {"limt": 0.5}, ("classes.open.limt: there is no such key", "limit, severity")),
        ("pictures", "x", ("pictures", "worked out by the station")),
        ("revision", "x", ("revision", "worked out by the station")),
    ],
)
def test_an_unknown_key_is_named_with_those_that_there_are(path: str, value: Any, words: tuple[str, ...]) -> None:
    text = refusal(changed(path, value))
    assert all(word in text for word in words)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("classes.open.limit", limit) for limit in (-0.1, 0.0, 0.009, 1.01, 70, float("nan"), float("inf"), "0.5", True, [0.5])),
        *(("classes.spur.min_size_px2", size) for size in (-1, float("nan"), float("inf"), "big", 10**400)),
        *(("classes.spur.max_count", count) for count in (-1, 1.5, True, "2")),
        ("classes.open.severity", "grave"),
        ("zones.0.kind", "danger"),
        ("zones.0.name", ""),
        ("zones.0.polygon", [[0, 0], [9, 9]]),
        ("zones.0.polygon.1", [float("nan"), 3]),
        ("zones.0.polygon.1", [5]),
        ("frame.width", 0),
        *(("tiles", {"largest_px": size}) for size in (0, -1, 60.5, "60", True, 4001)),
        ("tiles", {}),
        ("frame.width", "200"),
        ("region", [0, 0, 10.5, 10]),
        ("region", [0, 0, 10]),
        ("name", ""),
        ("presence.why", "   "),
        ("presence", {**SILHOUETTE, "threshold": 0}),
        ("presence", {**SILHOUETTE, "max_shift_px": float("nan")}),
        ("presence", {**MARK, "min_score": 1}),
        ("presence", {**MARK, "max_shift_px": 0}),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_key_and_what_was_found(path: str, value: Any) -> None:
    text = refusal(changed(path, value))
    assert text.startswith(path if path != "presence" else "presence.")
    assert "found" in text


@pytest.mark.parametrize("path", ["name", "frame", "frame.height", "presence", "presence.method", "presence.why", "classes.open.limit"])
def test_what_is_missing_is_named(path: str) -> None:
    assert refusal(changed(path, None)).startswith(path.removesuffix(".method"))


def test_a_recipe_without_classes_is_refused() -> None:
    assert refusal(changed("classes", {})).startswith("classes")


@pytest.mark.parametrize(
    "polygon",
    [
        [[0, 0], [50, 50], [50, 0], [0, 50]],
        [[0, 0], [50, 50], [90, 90]],
        [[5, 5], [5, 5], [5, 5]],
        [[0, 0], [50, 0], [25, 0], [25, 50]],
    ],
    ids=["crossed", "a line", "a point", "folded back"],
)
def test_a_polygon_without_an_inside_is_refused(polygon: list[list[int]]) -> None:
    text = refusal(changed("zones.1.polygon", polygon))
    assert text.startswith("zones.1 (label).polygon")
    assert "must not cross" in text


@pytest.mark.parametrize("corner", [[-1, 0], [0, -0.5], [201, 0], [0, 100.5], [1e300, 1e300]])
def test_a_corner_outside_the_frame_is_refused(corner: list[float]) -> None:
    text = refusal(changed("zones.0.polygon", [corner, [90, 30], [30, 90]]))
    assert "outside the 200x100 frame" in text


def test_corners_on_the_edge_of_the_frame_are_inside() -> None:
    whole = parse(changed("zones.0.polygon", [[0, 0], [200, 0], [200, 100], [0, 100]]), folder=Path())
    assert whole.zones[0].polygon[2] == (200, 100)


def test_a_zone_name_used_twice_is_refused() -> None:
    assert "used twice" in refusal(changed("zones.1.name", "edge"))


def test_a_rule_of_a_zone_for_a_class_without_a_general_rule_is_refused() -> None:
    assert "scratch has no rule in [classes]" in refusal(changed("zones.0.classes", {"scratch": {"limit": 0.5}}))


@pytest.mark.parametrize("region", [[-1, 0, 9, 9], [0, 0, 201, 9], [0, 0, 9, 101], [9, 0, 9, 9], [0, 9, 9, 3]])
def test_a_region_that_is_empty_or_outside_is_refused(region: list[int]) -> None:
    assert "does not lie in the 200x100 frame" in refusal(changed("region", region))


@pytest.mark.parametrize(("least", "most"), [(90, 50), (90, 90)])
def test_a_silhouette_that_no_part_can_have_is_refused(least: float, most: float) -> None:
    text = refusal(changed("presence", {**SILHOUETTE, "min_area_px2": least, "max_area_px2": most}))
    assert text == "presence.min_area_px2: must be below max_area_px2"


@pytest.mark.parametrize("picture", ["absent.png", ".", "a\0b.png"])
def test_a_template_picture_that_cannot_be_read_is_refused(picture: str, tmp_path: Path) -> None:
    text = refusal(changed("presence", {**MARK, "picture": picture}), tmp_path)
    assert text.startswith("presence.picture")
    assert "teach it again" in text


@pytest.mark.parametrize(
    "content",
    [
        b"name = ",
        b"name = 'a'\nname = 'b'",
        b"name = '\xff'",
        b"x = " + b"[" * 100_000,
        b"x = 1" + b"0" * 5_000,
        b"\x00\x01\x02",
        b"[classes.open]\nlimit = 0,7",
    ],
    ids=["cut off", "twice", "no UTF-8", "deep", "long number", "binary", "comma"],
)
def test_what_is_no_toml_is_refused_with_the_name_of_the_file(content: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    with pytest.raises(RecipeError, match="not a readable TOML file") as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_recipe_that_is_not_there_or_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such recipe file"):
        load(tmp_path / "absent.toml")
    with pytest.raises(RecipeError, match="not a readable TOML file"):
        load(tmp_path)


def test_a_refusal_is_a_configuration_error_that_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, b"nme = 'x'")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: key nme: ")


def test_rules_for_classes_that_the_model_does_not_know_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"plate: classes spur are unknown to the model; it knows open, short"):
        parse(RAW, folder=Path()).check_classes(["open", "short"])


def test_a_class_of_the_model_without_a_rule_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"plate: no rule for short; add \[classes\.short\] with a limit"):
        parse(RAW, folder=Path()).check_classes(["open", "short", "spur"])


def test_the_classes_may_stand_in_any_order() -> None:
    parse(RAW, folder=Path()).check_classes(iter(["spur", "open"]))
    assert parse({**RAW, "classes": dict(reversed(RAW["classes"].items()))}, folder=Path()).revision == parse(RAW, folder=Path()).revision


CHANGES = [
    ("name", "plate 2"),
    ("note", "taught in May"),
    ("frame.width", 201),
    ("presence.why", "sheet without an end"),
    ("presence", SILHOUETTE),
    ("region", [0, 0, 200, 81]),
    ("region", None),
    ("classes.open.limit", 0.61),
    ("classes.open.severity", "minor"),
    ("classes.spur.min_size_px2", 13),
    ("classes.spur.max_count", 1),
    ("classes.copper", {"limit": 0.5}),
    ("zones.0.name", "rim"),
    ("zones.0.kind", "inspect"),
    ("zones.0.polygon.0", [10, 11]),
    ("zones.0.classes.open.limit", 0.21),
    ("zones.1", None),
]


def test_every_change_of_content_makes_another_revision() -> None:
    revisions = [parse(raw, folder=Path()).revision for raw in (RAW, *(changed(path, value) for path, value in CHANGES))]
    assert len(set(revisions)) == 1 + len(CHANGES)
    assert all(len(revision) == 64 for revision in revisions)


def test_the_revision_is_about_content_not_about_place_or_spelling(tmp_path: Path) -> None:
    here, there = mark_in(tmp_path / "a"), mark_in(tmp_path / "b")
    raw = {**RAW, "presence": MARK}
    assert parse(raw, folder=here).revision == parse(raw, folder=there).revision
    assert parse(changed("classes.spur.min_size_px2", 12.0), folder=here).revision == parse(RAW, folder=there).revision


def test_the_revision_holds_the_bytes_of_the_mark(tmp_path: Path) -> None:
    raw = {**RAW, "presence": MARK}
    before = parse(raw, folder=mark_in(tmp_path)).revision
    assert parse(raw, folder=mark_in(tmp_path, seed=1)).revision != before
    assert parse(raw, folder=mark_in(tmp_path)).revision == before


def test_a_reference_needs_a_mark_that_says_where_it_lies() -> None:
    for presence in (RAW["presence"], SILHOUETTE):
        assert refusal({**RAW, "presence": presence, "reference": "golden.png"}).startswith("reference: needs presence.method = template")


@pytest.mark.parametrize("picture", ["absent.png", "."])
def test_a_reference_that_cannot_be_read_is_refused(picture: str, tmp_path: Path) -> None:
    text = refusal({**RAW, "presence": MARK, "reference": picture}, mark_in(tmp_path))
    assert text.startswith("reference: ")
    assert text.endswith("teach it again")


def test_the_revision_holds_the_bytes_of_the_reference(tmp_path: Path) -> None:
    raw = {**RAW, "presence": MARK}
    folder = mark_in(mark_in(tmp_path), "golden.png", seed=5)
    without = parse(raw, folder=folder)
    recipe = parse({**raw, "reference": "golden.png"}, folder=folder)
    assert set(recipe.pictures) == {"mark.png", "golden.png"}
    assert back(recipe) == recipe
    mark_in(tmp_path, "golden.png", seed=6)
    revisions = {without.revision, recipe.revision, parse({**raw, "reference": "golden.png"}, folder=folder).revision}
    assert len(revisions) == 3


def test_a_recipe_without_a_reference_keeps_the_revision_it_had_before_there_were_any() -> None:
    assert parse(RAW, folder=Path()).revision == "8e3acdb299000768545c70b4cabfbdda18427f2a03f5c890feb90f0038ab3f05"


def test_tiles_are_part_of_the_revision() -> None:
    revisions = {
        parse(raw, folder=Path()).revision for raw in (RAW, {**RAW, "tiles": {"largest_px": 60}}, {**RAW, "tiles": {"largest_px": 61}})
    }
    assert len(revisions) == 3
    tiled = parse({**RAW, "tiles": {"largest_px": 60}}, folder=Path())
    assert tiled.tiles == Tiles(60)
    assert back(tiled) == tiled


def back(recipe: Recipe) -> Recipe:
    """The recipe from its own document, as the archive holds it."""
    document = json.loads(json.dumps(recipe.document()))
    assert document["revision"] == recipe.revision
    return restore(document)


@pytest.mark.parametrize("presence", [RAW["presence"], SILHOUETTE, {**SILHOUETTE, "part_is": "dark"}, MARK])
def test_the_document_tells_the_whole_recipe(presence: dict[str, Any], tmp_path: Path) -> None:
    recipe = parse({**RAW, "presence": presence}, folder=mark_in(tmp_path))
    assert back(recipe) == recipe
    assert str(tmp_path) not in str(recipe.document())


def test_a_toml_file_and_its_document_are_the_same_recipe(tmp_path: Path) -> None:
    path = write(tmp_path, SHIPPED.read_bytes())
    assert back(load(path)) == load(path)
    assert load(path).revision == load(SHIPPED).revision


@pytest.mark.parametrize("change", ["limit", "picture"])
def test_a_document_that_was_changed_is_refused(change: str, tmp_path: Path) -> None:
    document = parse({**RAW, "presence": MARK}, folder=mark_in(tmp_path)).document()
    if change == "limit":
        next(iter(document["classes"].values()))["limit"] = 0.99
    else:
        document["pictures"] = dict.fromkeys(document["pictures"], "")
    with pytest.raises(RecipeError, match="it was changed"):
        restore(document)


scores = st.floats(0.01, 1)


@given(limit=scores, size=st.floats(0, 1e9), count=st.integers(0, 10**6), name=st.text(min_size=1, max_size=80))
def test_any_allowed_rule_survives_the_way_through_a_document(limit: float, size: float, count: int, name: str) -> None:
    rule = {"limit": limit, "min_size_px2": size, "max_count": count}
    recipe = parse({**RAW, "name": name, "classes": {**RAW["classes"], name: rule}}, folder=Path())
    assert back(recipe) == recipe


@given(st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.floats() | st.text(max_size=8), max_size=4))
def test_any_rubbish_is_refused_in_one_line(raw: dict[str, Any]) -> None:
    with pytest.raises(RecipeError) as caught:
        parse({**raw, "zones": raw}, folder=Path())
    assert "key " in str(caught.value)


def test_the_mark_of_a_recipe_is_looked_for_beside_it(tmp_path: Path) -> None:
    recipe = parse({**RAW, "presence": MARK}, folder=mark_in(tmp_path))
    assert isinstance(recipe.presence, PresenceTemplate)
    assert recipe.pictures[recipe.presence.picture.as_posix()]
