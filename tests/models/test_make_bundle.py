"""The shipped bundle can be made again from itself, and a network that the canary does not convince is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from openvino import opset15 as op

from inspector.bundle import Bundle, find_default_bundle
from inspector.errors import BundleError
from models.canary_picture import canary_picture
from models.make_bundle import main, make_bundle

SIDE = 64
WORDS: dict[str, Any] = {
    "name": "tiny",
    "version": "1",
    "classes": ["open", "short"],
    "input": "mono",
    "width": SIDE,
    "height": SIDE,
    "layout": "centre-size with classes, needs NMS",
    "nms_iou": 0.7,
    "default_precision": "fp32",
    "licence": "none",
    "training": "none",
    "measured": {},
}
FOUND = (32, 32, 10, 8, 0.8, 0.0)


def _ir(folder: Path, *rows: tuple[float, ...]) -> Path:
    """A network that always answers these rows of cx, cy, w, h, open, short."""
    image = op.parameter([1, 3, SIDE, SIDE], np.float32, name="image")
    nothing = op.multiply(op.reduce_sum(image, op.constant(np.array([0, 1, 2, 3], np.int64)), False), op.constant(np.float32(0)))
    table: NDArray[np.float32] = np.array(rows, np.float32).T[None]
    folder.mkdir()
    ov.save_model(ov.Model([op.add(op.constant(table), nothing)], [image], "tiny"), folder / "model.xml", compress_to_fp16=False)
    return folder


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    return np.zeros((SIDE, SIDE), np.uint8)


def test_what_was_seen_is_what_the_card_expects(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    irs = {"fp32": _ir(tmp_path / "a", FOUND), "int8": _ir(tmp_path / "b", (32, 32, 10, 8, 0.7, 0.0))}
    bundle = make_bundle(irs, WORDS, tmp_path / "out", picture)
    assert Bundle.open(tmp_path / "out").hash == bundle.hash
    (expected,) = bundle.canary().expected
    assert expected.defect_class == "open"
    assert expected.score == pytest.approx(0.75)
    assert expected.box.x1 == pytest.approx(27)


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ((32, 32, 10, 8, 0.3, 0.0), "not seen by every precision"),
        ((32, 32, 10, 8, 0.0, 0.8), "not seen by every precision"),
        ((32, 32, 10, 8, 0.45, 0.0), "scores from 0.45"),
        ((35, 35, 10, 8, 0.8, 0.0), "moves"),
    ],
)
def test_precisions_that_do_not_agree(tmp_path: Path, picture: NDArray[np.uint8], second: tuple[float, ...], says: str) -> None:
    irs = {"fp32": _ir(tmp_path / "a", FOUND), "int8": _ir(tmp_path / "b", second)}
    with pytest.raises(BundleError, match=says):
        make_bundle(irs, WORDS, tmp_path / "out", picture)


def test_a_canary_that_shows_nothing(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    with pytest.raises(BundleError, match="draw it more clearly"):
        make_bundle({"fp32": _ir(tmp_path / "a", (32, 32, 10, 8, 0.1, 0.0))}, WORDS, tmp_path / "out", picture)


def test_missing_words(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    words = {key: value for key, value in WORDS.items() if key != "licence"}
    with pytest.raises(BundleError, match="lack licence"):
        make_bundle({"fp32": _ir(tmp_path / "a", FOUND)}, words, tmp_path / "out", picture)


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    words = tmp_path / "words.json"
    words.write_text(json.dumps(WORDS))
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    result = CliRunner().invoke(main, ["--ir", str(_ir(tmp_path / "a", FOUND)), "--words", str(words), "--out", str(out)])
    assert result.exit_code == 1
    assert "is there already" in result.output
    assert (out / "mine.txt").read_text() == "keep"


def test_a_refused_bundle_leaves_nothing_behind(tmp_path: Path) -> None:
    words = tmp_path / "words.json"
    words.write_text(json.dumps(WORDS))
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["--ir", str(_ir(tmp_path / "a", FOUND)), "--words", str(words), "--out", str(out)])
    assert result.exit_code == 1
    assert "no picture of 64x64" in result.output
    assert not out.exists()


def test_the_drawn_canary_is_the_one_that_ships() -> None:
    assert np.array_equal(Bundle.open(find_default_bundle()).canary().picture, canary_picture())
