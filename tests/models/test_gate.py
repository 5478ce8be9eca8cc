"""The gate with detectors whose answers are known: what passes, what is refused, and which parts it names."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.bundle import Bundle, InputKind, find_default_bundle
from inspector.detect.scripted import Answer, ScriptedDetector
from inspector.errors import RecipeError
from inspector.recipe import Recipe, parse
from inspector.types import Box, Detection, Pixels, VerdictKind
from models.dataset import DatasetError, open_split
from models.evaluate import Evaluation, Release
from models.gate import Limits, Outcome, decide, limits, look, read_limits
from models.gate_golden import MANIFEST, Golden, freeze, open_golden
from models.gate_looker import StationLooker, open_looker
from models.gate_report import flip_picture, gate_html
from models.looking import Looker
from models.part_level import PartKind
from models.sealed import ReleaseError

SIDE = 128
RELEASE = Release("bundle", "0" * 64, "recipe", "1" * 64, "off")
SPOTS = ((20, 20), (90, 30), (40, 90))
WIDE = Limits(escapes_upper=0.7, overkills_upper=0.7)
BOUND_0_OF_3 = 1 - 0.05 ** (1 / 3)


def _recipe(limit: float = 0.5, severity: str = "critical", **more: object) -> Recipe:
    raw: dict[str, object] = {
        "name": "spots",
        "frame": {"width": SIDE, "height": SIDE},
        "presence": {"method": "off", "why": "for tests"},
        "classes": {"spot": {"limit": limit, "severity": severity}},
    }
    return parse(raw | more, folder=Path())


def _good(seed: int) -> Pixels:
    pixels = np.full((SIDE, SIDE), 40, np.uint8)
    pixels[:, 10 + 7 * seed : 16 + 7 * seed] = 90
    return pixels


def _draw(folder: Path) -> None:
    """Three boards with three bright spots of 8 px each; the third spot of board 2 is dim."""
    for kind in ("defective", "good", "labels"):
        (folder / kind).mkdir(parents=True)
    for k in range(3):
        pixels, rows = _good(k), []
        for n, (x, y) in enumerate(SPOTS):
            pixels[y : y + 8, x : x + 8] = 190 if (k, n) == (2, 2) else 250
            rows.append(f"0 {(x + 4) / SIDE} {(y + 4) / SIDE} {8 / SIDE} {8 / SIDE}")
        cv2.imwrite(str(folder / "defective" / f"{k}.png"), pixels)
        cv2.imwrite(str(folder / "good" / f"{k}.png"), _good(k))
        (folder / "labels" / f"{k}.txt").write_text("\n".join(rows))


@pytest.fixture
def golden(tmp_path: Path) -> Golden:
    _draw(tmp_path / "set")
    return freeze(tmp_path / "set", ("spot",))


def _spots(_count: int, pixels: Pixels) -> Answer:
    """Finds what is really there: bright patches, the dim ones with a low score."""
    count, _, stats, _ = cv2.connectedComponentsWithStats((pixels > 150).astype(np.uint8))
    found = []
    for x, y, w, h, area in stats[1:count].tolist():
        if area >= 20:
            score = 0.9 if pixels[y : y + h, x : x + w].mean() > 200 else 0.3
            found.append(Detection("spot", score, Box(x, y, x + w, y + h)))
    return Answer(tuple(found))


def _looker(recipe: Recipe, kind: InputKind = InputKind.MONO, fails_at: int | None = None) -> Looker:
    def script(count: int, pixels: Pixels) -> Answer:
        return Answer(raises="wait") if count == fails_at else _spots(count, pixels)

    return Looker(recipe, ScriptedDetector(script, height=SIDE, width=SIDE, classes=("spot",)), kind)


def _seen(golden: Golden, recipe: Recipe | None = None, kind: InputKind = InputKind.MONO, fails_at: int | None = None) -> Evaluation:
    return look(golden, _looker(recipe or _recipe(), kind, fails_at), RELEASE)


def _broken(outcome: Outcome) -> set[str]:
    return {rule.name for rule in outcome.rules if not rule.ok}


def test_a_blind_candidate_by_hand(golden: Golden) -> None:
    outcome = decide(_seen(golden, _recipe(0.95)), _seen(golden), WIDE)
    assert not outcome.passed
    assert _broken(outcome) == {"critical escapes", "escapes"}
    # three boards, and the nine single-defect ones but the dim one, which the active release passes as well
    flipped = {(f.part.kind, f.part.name, f.part.index) for f in outcome.flips}
    assert flipped == {(PartKind.DEFECTIVE, str(k), 0) for k in range(3)} | {
        (PartKind.SINGLE, str(k), n) for k in range(3) for n in range(3) if (k, n) != (2, 2)
    }
    assert all((f.before, f.after, f.critical_escape) == (VerdictKind.REJECT, VerdictKind.PASS, True) for f in outcome.flips)
    assert "11 parts pass with a critical defect" in outcome.rules[0].text
    assert "3 of 3 defective boards pass" in outcome.rules[2].text


@pytest.mark.parametrize(("upper", "passes"), [(BOUND_0_OF_3 + 1e-6, True), (BOUND_0_OF_3 - 1e-6, False)])
def test_bounds_decide_not_counts(golden: Golden, upper: float, passes: bool) -> None:
    same = _seen(golden)
    outcome = decide(same, same, Limits(escapes_upper=upper, overkills_upper=0.7))
    assert outcome.passed is passes
    assert outcome.flips == ()
    assert _broken(outcome) == (set() if passes else {"escapes"})
    assert ("not shown" in outcome.rules[2].text) is not passes


def test_an_escape_that_was_there_before_is_not_new(golden: Golden) -> None:
    same = _seen(golden)
    assert same.figures.of(PartKind.SINGLE).passed == 1
    assert decide(same, same, WIDE).passed


def test_a_first_release_may_pass_no_golden_part_with_a_critical_defect(golden: Golden) -> None:
    assert decide(_seen(golden), None, WIDE).passed, "boards that were made are there to compare by"
    outcome = decide(_seen(golden, _recipe(0.95)), None, Limits(escapes_upper=0.999, overkills_upper=0.7))
    assert "critical escapes" in _broken(outcome)
    assert {(f.part.kind, f.before, f.critical_escape) for f in outcome.flips} == {(PartKind.DEFECTIVE, None, True)}
    assert "no active release" in outcome.rules[0].text


def test_calling_a_class_minor_does_not_open_the_gate(golden: Golden) -> None:
    active, minor = _seen(golden), _recipe(0.95, "minor")
    assert "critical escapes" in _broken(decide(_seen(golden, minor), active, WIDE))
    major = _seen(golden, _recipe(0.5, "major"))
    outcome = decide(_seen(golden, minor), major, Limits(escapes_upper=0.999, overkills_upper=0.7))
    assert _broken(outcome) == {"escapes"}
    assert len(outcome.flips) == 11
    assert not any(f.critical_escape for f in outcome.flips)


def test_a_critical_zone_makes_its_defects_critical(golden: Golden) -> None:
    corner = {"name": "pads", "kind": "critical", "polygon": [[0, 0], [60, 0], [60, 60], [0, 60]]}
    outcome = decide(_seen(golden, _recipe(0.95, "minor", zones=[corner])), _seen(golden, _recipe(0.5, "minor")), WIDE)
    escapes = {(f.part.kind, f.part.index) for f in outcome.flips if f.critical_escape}
    assert escapes == {(PartKind.DEFECTIVE, 0), (PartKind.SINGLE, 0)}


def test_a_fault_on_a_golden_part_is_no_way_around(golden: Golden) -> None:
    outcome = decide(_seen(golden, fails_at=0), _seen(golden), Limits(escapes_upper=0.8, overkills_upper=0.7))
    assert _broken(outcome) == {"faults"}
    (flip,) = outcome.flips
    assert (flip.before, flip.after, flip.critical_escape) == (VerdictKind.REJECT, VerdictKind.FAULT, False)
    both = _seen(golden, fails_at=0)
    assert not _broken(decide(both, both, Limits(escapes_upper=0.8, overkills_upper=0.7)))


def test_with_a_reference_overkills_are_those_of_disturbed_boards(golden: Golden) -> None:
    seen = _seen(golden, kind=InputKind.MONO_REFERENCE)
    outcome = decide(seen, _seen(golden), WIDE)
    assert outcome.passed
    assert "0 of 3 disturbed good boards" in outcome.rules[3].text


def _with_reference(tmp_path: Path, **more: object) -> Recipe:
    """A recipe whose mark is a cross at 50, 50 and whose reference is full of structure."""
    rng = np.random.default_rng(3)
    reference = cv2.resize(rng.integers(0, 120, (32, 32), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(tmp_path / "golden.png"), reference)
    cv2.imwrite(str(tmp_path / "mark.png"), reference[48:80, 48:80])
    presence = {"method": "template", "picture": "mark.png", "position": [48, 48], "max_shift_px": 6}
    raw = {"name": "spots", "frame": {"width": SIDE, "height": SIDE}, "presence": presence, "reference": "golden.png"}
    return parse(raw | {"classes": {"spot": {"limit": 0.5}}} | more, folder=tmp_path)


def test_the_recipe_s_own_reference_is_taken_and_not_the_twin(tmp_path: Path) -> None:
    recipe = _with_reference(tmp_path)
    taken: list[Pixels | None] = []

    class Watching(ScriptedDetector):
        def start(self, pixels: Pixels, reference: Pixels | None = None) -> None:
            taken.append(reference)
            super().start(pixels, reference)

    looker = StationLooker(recipe, Watching(_spots, height=SIDE, width=SIDE, classes=("spot",)), InputKind.MONO_REFERENCE)
    own = cv2.imread(str(tmp_path / "golden.png"), cv2.IMREAD_GRAYSCALE)
    assert own is not None
    part = np.asarray(own, np.uint8)
    assert not looker.needs_reference, "good parts are judged as well"
    assert looker.look(part, _good(1)).verdict(recipe).kind is VerdictKind.PASS
    assert taken[0] is not None
    assert np.array_equal(taken[0], part)
    shifted = np.roll(part, (3, -2), (0, 1))
    assert looker.look(shifted).fault is None
    assert taken[1] is not None
    assert np.array_equal(taken[1][10:-10, 10:-10], shifted[10:-10, 10:-10])
    turned = part.copy()
    turned[:40], turned[88:] = np.roll(part, 9, 1)[:40], np.roll(part, 9, 1)[88:]
    fault = looker.look(turned).fault
    assert fault is not None
    assert fault.reasons[0].code == "presence"
    assert looker.look(_good(0)).fault is not None, "no mark, no part"
    assert len(taken) == 2


def test_a_reference_that_nobody_looks_at_is_refused(tmp_path: Path) -> None:
    bundle = Bundle.open(find_default_bundle())
    mono = replace(bundle, card=bundle.card.model_copy(update={"input": InputKind.MONO}))
    with pytest.raises(RecipeError, match="has a reference, and bundle"):
        open_looker(_with_reference(tmp_path), mono, device="CPU", precision=None, cache_dir=None)


def test_overkills_are_bounded_as_well(golden: Golden) -> None:
    def everywhere(_count: int, _pixels: Pixels) -> Answer:
        return Answer((Detection("spot", 0.9, Box(1, 1, 9, 9)),))

    looker = Looker(_recipe(), ScriptedDetector(everywhere, height=SIDE, width=SIDE, classes=("spot",)), InputKind.MONO)
    outcome = decide(look(golden, looker, RELEASE), _seen(golden), WIDE)
    assert _broken(outcome) == {"overkills"}
    assert {f.part.kind for f in outcome.flips} == {PartKind.GOOD, PartKind.DISTURBED, PartKind.SINGLE}


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0, 0.5))
def test_wider_limits_never_refuse_what_passed(
    tmp_path_factory: pytest.TempPathFactory, escapes: float, overkills: float, more: float
) -> None:
    seen = _cached(tmp_path_factory)
    narrow = decide(seen, seen, Limits(escapes_upper=escapes, overkills_upper=overkills))
    wide = decide(seen, seen, Limits(escapes_upper=min(0.999, escapes + more), overkills_upper=min(0.999, overkills + more)))
    assert wide.passed or not narrow.passed
    assert narrow.passed is (escapes >= BOUND_0_OF_3 and overkills >= BOUND_0_OF_3)


_kept: list[Evaluation] = []


def _cached(factory: pytest.TempPathFactory) -> Evaluation:
    if not _kept:
        folder = factory.mktemp("law") / "set"
        _draw(folder)
        _kept.append(_seen(freeze(folder, ("spot",))))
    return _kept[0]


def test_the_report_shows_every_flip(golden: Golden) -> None:
    recipe = _recipe(0.95)
    outcome = decide(_seen(golden, recipe), _seen(golden), WIDE)
    page = gate_html(outcome, golden, _looker(recipe), "inspector <gate>")
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(pictures) == len(outcome.flips) == 11
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(pictures[0]), np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert shown.shape == (SIDE, SIDE, 3)
    assert "REFUSED" in page
    assert "inspector &lt;gate&gt;" in page
    assert golden.hash in page
    assert "http" not in page, "it needs nothing from elsewhere"
    document = outcome.document(golden)
    assert [f["critical_escape"] for f in document["flips"]] == [True] * 11
    assert document["active_evaluation"]["escapes"] == 0


def test_big_pictures_are_made_small() -> None:
    data = flip_picture(np.zeros((2000, 1000, 3), np.uint8), [Box(0, 0, 10, 10)], [], [])
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(data.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert shown.shape == (480, 240, 3)


def _change(folder: Path) -> None:
    (folder / "labels" / "1.txt").write_text("0 0.5 0.5 0.1 0.1")


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (_change, r"labels.1\.txt: was changed"),
        (lambda f: (f / "good" / "2.png").unlink(), r"good.2\.png: is missing"),
        (lambda f: (f / "good" / "9.png").write_bytes(b""), r"good.9\.png: was added"),
        (lambda f: (f / "classes.txt").write_text("stain\n"), r"classes\.txt: was changed"),
        (lambda f: (f / MANIFEST).write_text((f / MANIFEST).read_text().replace("spot", "stain")), r"golden\.json: was edited"),
        (lambda f: (f / MANIFEST).write_text("{}"), r"golden\.json: .*Field required"),
        (lambda f: (f / MANIFEST).write_text("[1"), r"golden\.json: is no JSON"),
        (lambda f: (f / MANIFEST).unlink(), "is not frozen"),
    ],
)
def test_a_changed_set_is_refused_and_the_file_named(golden: Golden, act: object, says: str) -> None:
    assert callable(act)
    act(golden.split.folder)
    with pytest.raises((DatasetError, ReleaseError), match=says) as refused:
        open_golden(golden.split.folder)
    assert "\n" not in str(refused.value)


def test_a_set_that_changes_while_it_is_looked_at(golden: Golden) -> None:
    def script(count: int, pixels: Pixels) -> Answer:
        if count == 3:
            _change(golden.split.folder)
        return _spots(count, pixels)

    looker = Looker(_recipe(), ScriptedDetector(script, height=SIDE, width=SIDE, classes=("spot",)), InputKind.MONO)
    with pytest.raises(DatasetError, match="was changed since"):
        look(golden, looker, RELEASE)


def test_what_cannot_be_frozen(golden: Golden, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="frozen already"):
        freeze(golden.split.folder)
    other = tmp_path / "other"
    _draw(other)
    with pytest.raises(DatasetError, match=r"no classes\.txt"):
        freeze(other)
    (other / "good" / "0.jpg").write_bytes((other / "good" / "0.png").read_bytes())
    with pytest.raises(DatasetError, match="another picture has the same name"):
        freeze(other, ("spot",))
    for path in (other / "good").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="holds no good part"):
        freeze(other, ("spot",))
    with pytest.raises(DatasetError, match="holds neither"):
        freeze(tmp_path / "set" / "labels", ("spot",))
    assert not (other / MANIFEST).exists()
    assert not (other / "classes.txt").exists()


def test_renamed_classes_cannot_be_compared(golden: Golden) -> None:
    named = Golden(open_split(golden.split.folder), ("stain",), golden.hash)
    with pytest.raises(DatasetError, match="its classes are stain, bundle bundle knows spot"):
        look(named, _looker(_recipe()), RELEASE)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "key escapes_upper: Field required"),
        ("[release_limits]\nescapes_upper = 2.0\noverkills_upper = 0.1", "key escapes_upper: .*less than 1"),
        ("[release_limits]\nescapes_upper = true\noverkills_upper = 0.1", "key escapes_upper"),
        ("[release_limits]\nescapes_upper = nan\noverkills_upper = 0.1", "key escapes_upper"),
        ("[release_limits]\nescape_upper = 0.1\noverkills_upper = 0.1", "key escape"),
        ("release_limits = 3", "key escapes_upper"),
        ("[release", "is no TOML"),
    ],
)
def test_limits_that_are_none(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(ReleaseError, match=says):
        read_limits(path)


def test_limits_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text("[release_limits]\nescapes_upper = 0.01\noverkills_upper = 0.05\n")
    assert read_limits(path) == limits({"escapes_upper": 0.01, "overkills_upper": 0.05}, "here")
    with pytest.raises(ReleaseError, match="cannot be read"):
        read_limits(tmp_path / "none.toml")
