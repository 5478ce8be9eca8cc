"""A whole evaluation with a detector whose answers are known, and once with the bundle that ships."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from inspector.bundle import InputKind, find_default_bundle
from inspector.cli import cli
from inspector.detect.scripted import Answer, ScriptedDetector
from inspector.errors import InspectorError
from inspector.recipe import Recipe, parse
from inspector.types import Box, Detection, Pixels
from models.dataset import Board, DatasetError, open_split
from models.evaluate import Evaluation, Release, evaluate, part_picture, spread
from models.looking import Looker, Seen
from models.part_level import PartKind

SIDE = 128
RELEASE = Release("bundle", "0" * 64, "recipe", "1" * 64, "off")
SPOTS = ((20, 20), (90, 30), (40, 90))


def _recipe(**more: object) -> Recipe:
    raw: dict[str, object] = {
        "name": "spots",
        "frame": {"width": SIDE, "height": SIDE},
        "presence": {"method": "off", "why": "for tests"},
        "classes": {"spot": {"limit": 0.5}},
    }
    return parse(raw | more, folder=Path())


def _good(seed: int) -> Pixels:
    pixels = np.full((SIDE, SIDE), 40, np.uint8)
    pixels[:, 10 + 7 * seed : 16 + 7 * seed] = 90
    return pixels


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    """Three boards: three bright spots of 8 px on each; the third spot of board 2 is dim."""
    for k in range(3):
        pixels = _good(k)
        rows = []
        for n, (x, y) in enumerate(SPOTS):
            pixels[y : y + 8, x : x + 8] = 190 if (k, n) == (2, 2) else 250
            rows.append(f"0 {(x + 4) / SIDE} {(y + 4) / SIDE} {8 / SIDE} {8 / SIDE}")
        for kind, picture in (("defective", pixels), ("good", _good(k))):
            (tmp_path / kind).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / kind / f"{k}.png"), picture)
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / f"{k}.txt").write_text("\n".join(rows))
    return tmp_path


def _spots(_count: int, pixels: Pixels) -> Answer:
    """Finds what is really there: bright patches, the dim ones with a low score."""
    count, _, stats, _ = cv2.connectedComponentsWithStats((pixels > 150).astype(np.uint8))
    found = []
    for x, y, w, h, area in stats[1:count].tolist():
        if area >= 20:
            score = 0.9 if pixels[y : y + h, x : x + w].mean() > 200 else 0.3
            found.append(Detection("spot", score, Box(x, y, x + w, y + h)))
    return Answer(tuple(found))


def _looker(recipe: Recipe | None = None, kind: InputKind = InputKind.MONO, **options: int) -> Looker:
    height, width = options.get("height", SIDE), options.get("width", SIDE)
    return Looker(recipe or _recipe(), ScriptedDetector(_spots, height=height, width=width, classes=("spot",)), kind)


def test_by_hand(boards: Path) -> None:
    told: list[tuple[int, int]] = []
    result = evaluate(open_split(boards), _looker(), RELEASE, progress=lambda done, of: told.append((done, of)))
    d = json.loads(json.dumps(result.document()))
    assert d["parts"] == {"defective": 3, "good": 3, "single-defect": 9, "mended": 3, "disturbed": 3}
    # All nine are found, one of them below the limit, after the others.
    assert (d["ap33_pooled"], d["map33"], d["f33"]) == (100, 100, 100)
    assert (d["map50"], d["map5095"]) == (99.5, 99.5)
    assert (d["escapes"], d["overkills"], d["overkills_disturbed"], d["faults"]) == (0, 0, 0, 0)
    assert d["single_defect_rejected"] == d["defect_recall"] == pytest.approx(100 * 8 / 9, abs=1e-3)
    assert d["bounds"]["single_defect_rejected"]["count"] == 8
    assert d["bounds"]["escapes"]["upper95_pct"] == pytest.approx(100 * (1 - 0.05 ** (1 / 3)), abs=1e-3)
    assert d["bounds"]["mended_rejected"]["count"] == 0
    assert (d["device"], d["precision"], d["unit"]) == ("scripted", "none", "percent")
    by_limit = {row["limit"]: row for row in d["sweep"]}
    assert by_limit[0.3]["single_defect_rejected"]["count"] == 9
    assert by_limit[0.95]["escapes"]["count"] == 3
    assert result.confusion.tolist() == [[8, 1], [0, 0]]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_picture_of_a_part_is_made_again_as_it_was(boards: Path) -> None:
    split = open_split(boards)
    looker = _looker()
    result = evaluate(split, looker, RELEASE)
    by_name = {board.name: board for board in split.boards}
    for part in result.parts:
        again = part_picture(looker, by_name[part.name], part)
        assert looker.look(again).detections == part.seen.detections
    assert {part.kind for part in result.parts} == set(PartKind)


def test_a_reference_is_never_judged_against_itself(boards: Path) -> None:
    seen: list[tuple[Pixels, Pixels | None]] = []

    class Watching(ScriptedDetector):
        def start(self, pixels: Pixels, reference: Pixels | None = None) -> None:
            seen.append((pixels, reference))
            super().start(pixels, reference)

    looker = Looker(_recipe(), Watching(_spots, height=SIDE, width=SIDE, classes=("spot",)), InputKind.MONO_REFERENCE)
    result = evaluate(open_split(boards), looker, RELEASE)
    d = result.document()
    assert d["overkills"] is None
    assert "overkills" not in d["bounds"]
    assert all(row["overkills"] is None for row in d["sweep"])
    assert d["with_reference"]
    assert d["parts"]["good"] == 0
    assert d["bounds"]["overkills_disturbed"]["of"] == 3
    assert all(reference is not None for _, reference in seen)


def test_a_part_without_a_twin_faults_where_a_reference_is_needed(boards: Path) -> None:
    (boards / "good" / "1.png").unlink()
    result = evaluate(open_split(boards), _looker(kind=InputKind.MONO_REFERENCE), RELEASE)
    assert result.figures.faulted == 1
    assert result.figures.escapes.of == 2
    fault = next(p.seen.fault for p in result.parts if p.seen.fault is not None)
    assert "no good twin" in str(fault)


def test_a_detector_that_fails_faults_the_part_and_goes_on(boards: Path) -> None:
    answers = [Answer(raises="wait"), Answer((Detection("spot", float("nan"), Box(0, 0, 1, 1)),)), Answer(raises="start")]

    def script(count: int, pixels: Pixels) -> Answer:
        return answers[count] if count < len(answers) else _spots(count, pixels)

    looker = Looker(_recipe(), ScriptedDetector(script, height=SIDE, width=SIDE, classes=("spot",)), InputKind.MONO)
    result = evaluate(open_split(boards), looker, RELEASE)
    assert result.figures.faulted == 3
    assert [str(p.seen.fault)[:5] for p in result.parts if p.seen.fault is not None] == ["FAULT"] * 3
    assert sum(c.judged for c in result.figures.counts.values()) == len(result.parts) - 3


def test_a_detector_that_hangs_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.looking.TIMEOUT_S", 0.02)
    answers = [Answer(hangs=True), Answer()]
    detector = ScriptedDetector(lambda n, _: answers[n], height=SIDE, width=SIDE, classes=("spot",))
    looker = Looker(_recipe(), detector, InputKind.MONO)
    assert "did not answer" in str(looker.look(_good(0)).fault)
    assert looker.look(_good(0)) == Seen(())


def test_region_and_presence_are_the_recipes(boards: Path) -> None:
    recipe = _recipe(region=[16, 8, 128, 120])
    defective = cv2.imread(str(boards / "defective" / "0.png"), cv2.IMREAD_GRAYSCALE)
    assert defective is not None
    seen = _looker(recipe, height=112, width=112).look(np.asarray(defective, np.uint8))
    assert {(d.box.x1, d.box.y1) for d in seen.detections} == set(SPOTS)
    silhouette = {"method": "silhouette", "threshold": 100, "min_area_px2": 50, "max_area_px2": 5000}
    looker = _looker(_recipe(presence=silhouette))
    assert str(looker.look(_good(0)).verdict(looker.recipe)).startswith("FAULT")
    result = evaluate(open_split(boards), looker, RELEASE)
    assert result.figures.of(PartKind.GOOD).faulted == 3
    assert result.figures.overkills.of == 0


def test_what_cannot_be_measured(boards: Path) -> None:
    wrong = _looker(_recipe(frame={"width": 64, "height": 64}), height=64, width=64)
    with pytest.raises(InspectorError, match="64x64 px are required"):
        evaluate(open_split(boards), wrong, RELEASE)
    (boards / "labels" / "1.txt").write_text("3 0.5 0.5 0.1 0.1")
    with pytest.raises(DatasetError, match=r"1\.txt: row 1: class 3 is unknown"):
        evaluate(open_split(boards), _looker(), RELEASE)
    for path in (boards / "defective").iterdir():
        path.unlink()
    for path in (boards / "labels").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="no defective board"):
        evaluate(open_split(boards), _looker(), RELEASE)


def test_a_limit_spreads_over_all_boards() -> None:
    every = [Board(str(n), None, None, None) for n in range(10)]
    assert [b.name for b in spread(every, 3)] == ["0", "3", "6"]
    assert spread(every, None) == spread(every, 10) == spread(every, 99) == tuple(every)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boards")
    assert CliRunner().invoke(cli, ["board-sim", str(folder / "test"), "--count", "3", "--seed", "5"]).exit_code == 0
    return folder


def test_the_command_with_the_bundle_that_ships(rendered: Path, tmp_path: Path) -> None:
    html = tmp_path / "out" / "report.html"
    run = CliRunner().invoke(cli, ["model", "evaluate", str(rendered / "test"), "--limit", "1", "--html", str(html), "--json"])
    assert run.exit_code == 0, run.output
    d = json.loads(run.output.splitlines()[-1])
    keys = "ap33_pooled map33 f33 map50 map5095 escapes overkills single_defect_rejected defect_recall precision device"
    assert set(keys.split()) <= set(d)
    assert d["device"] == "CPU"
    assert d["precision"].startswith("int8/")
    assert d["parts"]["defective"] == 1
    assert 0 < d["ap33_pooled"] <= 100
    assert d["presence"] == "off"
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--precision", "int3"], "has no precision int3"),
        (["--device", "TPU"], "device TPU is not there"),
        (["--bundle", "{empty}"], "card.json"),
    ],
)
def test_the_command_refuses_in_one_line(rendered: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    given = [a.format(empty=tmp_path) for a in arguments]
    run = CliRunner().invoke(cli, ["model", "evaluate", str(rendered / "test"), *given])
    assert run.exit_code != 0
    assert isinstance(run.exception, InspectorError)
    assert says in str(run.exception)
    assert "\n" not in str(run.exception)


def test_classes_of_another_order_are_refused(rendered: Path) -> None:
    classes = rendered / "classes.txt"
    classes.write_text("short\nopen\nmousebite\nspur\ncopper\npin-hole\n")
    run = CliRunner().invoke(cli, ["model", "evaluate", str(rendered / "test"), "--bundle", str(find_default_bundle())])
    classes.unlink()
    assert run.exit_code == 1
    assert "numbers would be mixed up" in run.output


def test_a_folder_of_splits_is_refused(rendered: Path) -> None:
    run = CliRunner().invoke(cli, ["model", "evaluate", str(rendered)])
    assert run.exit_code == 1
    assert "holds splits" in str(run.exception)


@pytest.mark.slow
def test_real_boards(deeppcb_dir: Path, tmp_path: Path) -> None:
    """The way of real pictures, labels and twins; two boards say little about the figures."""
    data = str(tmp_path)
    run = CliRunner().invoke(cli, ["model", "evaluate", str(deeppcb_dir / "val"), "--limit", "2", "--data", data, "--json"])
    assert run.exit_code == 0, run.output
    d = json.loads(run.output.splitlines()[-1])
    assert d["ap33_pooled"] > 75
    assert d["escapes"] + d["faults"] == 0
    assert d["parts"]["single-defect"] + d["single_defect_left_out"] > 2


def test_an_evaluation_names_its_classes(boards: Path) -> None:
    result: Evaluation = evaluate(open_split(boards), _looker(), RELEASE, limit=1)
    assert result.classes == ("spot",)
    assert list(result.document()["ap33_by_class"]) == ["spot"]
