"""`inspector inspect --reference-from good`: each defective picture beside its own good twin, or a fault that says why not."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from inspector.bundle import find_default_bundle
from inspector.commands.inspect import inspect
from inspector.commands.inspect_reference import references_from
from inspector.errors import InspectorError
from inspector.reference import Registered, shifted
from inspector.sim.boards import Product, board, good_twin
from inspector.sim.demo_files import REFERENCE_BUNDLE
from inspector.types import Frame, Pixels, Pose

PRODUCT = Product(0)
GOLDEN = PRODUCT.reference()
BUNDLE = find_default_bundle().with_name(REFERENCE_BUNDLE)


def save(path: Path, pixels: Pixels) -> Path:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), pixels)
    return path


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    """defective/ and good/: two pairs in register, one that is 9 px apart, one without a twin."""
    folder = tmp_path / "boards"
    folder.mkdir()
    for number in range(4):
        part, twin = (make(PRODUCT, number, seed=5, defect_rate=1.0) for make in (board, good_twin))
        save(folder / "defective" / f"{number}.png", part.pixels)
        if number < 3:
            save(folder / "good" / f"{number}.png", shifted(twin.pixels, 9 * (number == 2), 0))
    return folder


def register(source: Path, pixels: Pixels) -> Registered:
    return references_from("good", "refuse")(Frame(pixels, 1, 0, 0, str(source)), Pose())


@pytest.mark.slow  # compiles the model
def test_only_what_has_a_reference_in_register_is_judged_and_good_pictures_are_not(boards: Path, tmp_path: Path) -> None:
    arguments = [str(boards), "--bundle", str(BUNDLE), "--reference-from", "good", "--data", str(tmp_path / "data"), "--json"]
    result = CliRunner().invoke(inspect, arguments)
    assert result.exit_code == 1, "two faults"
    assert "3 pictures of good/ are references and prove nothing against themselves: not judged" in result.output
    figures = json.loads(result.output.splitlines()[-1])
    assert (figures["parts"], figures["rejected"], figures["faulted"]) == (4, 2, 2)
    told = {Path(row.split(": ")[0]).stem: row for row in result.output.splitlines() if ".png: " in row}
    assert "REJECT" in told["0"]
    assert "REJECT" in told["1"]
    assert "FAULT (part " in told["2"]
    assert "FAULT (no reference: " in told["3"]


def test_pictures_that_are_all_references_are_refused(boards: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        inspect, [str(boards / "good"), "--bundle", str(BUNDLE), "--reference-from", "good", "--data", str(tmp_path / "data")]
    )
    assert result.exit_code == 1
    assert "every picture lies in good/ and would be its own reference" in result.output


def test_a_bundle_that_looks_at_no_reference_is_refused(boards: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(inspect, [str(boards), "--reference-from", "good", "--data", str(tmp_path / "data")])
    assert isinstance(result.exception, InspectorError)
    assert "bundle deeppcb-yolo26n (mono) looks at none" in str(result.exception)


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-4, 4)])
def test_a_reference_is_moved_to_its_picture(shift: tuple[int, int], tmp_path: Path) -> None:
    save(tmp_path / "good" / "7.png", GOLDEN)
    seen = register(tmp_path / "defective" / "7.png", shifted(GOLDEN, *shift))
    assert seen.problem is None
    assert seen.pixels is not None
    assert np.array_equal(seen.pixels, shifted(GOLDEN, *shift))


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (shifted(GOLDEN, 9, 0), "part "),
        (GOLDEN[:600], "no reference: "),
        (np.full_like(GOLDEN, 255), "too little structure"),
        (None, "no reference: "),
    ],
    ids=["too far", "another size", "empty", "not there"],
)
def test_a_reference_that_does_not_fit_is_a_problem_of_that_part(reference: Pixels | None, words: str, tmp_path: Path) -> None:
    if reference is not None:
        save(tmp_path / "good" / "7.png", reference)
    seen = register(tmp_path / "defective" / "7.png", GOLDEN)
    assert seen.pixels is None
    assert seen.problem is not None
    assert words in seen.problem
    assert "\n" not in seen.problem
