"""What is in a dataset and what is wrong with it, each error planted once."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from inspector.cli import cli
from inspector.types import Pixels
from models.dataset import Board, DatasetError, check_class_names, find_classes, open_dataset, open_split, read_truths
from models.dataset_check import DatasetCheck, check_dataset
from models.dataset_labels import Row, parse_rows
from models.dataset_similar import find_alike, fingerprint, hamming, same_exposure

SIDE = 160
CLASSES = ("spot", "stain")
ROW = "0 0.5 0.5 0.1 0.1\n"


def _picture(seed: int) -> Pixels:
    """A layout of its own: a few grey blocks."""
    rng = np.random.default_rng(seed)
    pixels = np.full((SIDE, SIDE), 30, np.uint8)
    for _ in range(12):
        x, y, w, h = (int(v) for v in rng.integers(8, 90, 4))
        pixels[y : y + h, x : x + w] = int(rng.integers(60, 220))
    return pixels


def _write(path: Path, pixels: Pixels) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def _board(split: Path, name: str, seed: int, rows: str = ROW) -> None:
    good = _picture(seed)
    defective = good.copy()
    defective[72:88, 72:88] = 255
    _write(split / "good" / f"{name}.png", good)
    _write(split / "defective" / f"{name}.png", defective)
    (split / "labels").mkdir(exist_ok=True)
    (split / "labels" / f"{name}.txt").write_text(rows)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two splits of three boards each, without a flaw."""
    folder = tmp_path / "set"
    for place, split in enumerate(("train", "val")):
        for k in range(3):
            _board(folder / split, f"b{k}", seed=10 * place + k)
    (folder / "classes.txt").write_text("spot\nstain\n")
    return folder


def _codes(check: DatasetCheck) -> list[str]:
    return [finding.code for finding in check.errors]


def test_a_clean_dataset(dataset: Path) -> None:
    told: list[tuple[int, int]] = []
    check = check_dataset(dataset, progress=lambda done, of: told.append((done, of)))
    assert check.ok
    assert check.errors == check.notes == []
    document = json.loads(json.dumps(check.document()))
    assert document["classes"] == list(CLASSES)
    train = document["splits"]["train"]
    assert (train["defective"], train["good"], train["labels"], train["boxes"]) == (3, 3, 3, 3)
    assert train["classes"] == {"spot": 3}
    assert train["picture_sizes"] == {"160x160": 6}
    assert train["box_px"]["shorter"] == {"min": 16.0, "median": 16.0, "max": 16.0}
    assert told[-1] == (6, 6)


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ("0 0.5 0.5 0.1\n", "malformed row"),
        ("0 0.5 0.5 0.1 0.1 0.9\n", "malformed row"),
        ("spot 0.5 0.5 0.1 0.1\n", "malformed row"),
        ("0 nan 0.5 0.1 0.1\n", "malformed row"),
        ("0.5 0.5 0.5 0.1 0.1\n", "malformed row"),
        ("2 0.5 0.5 0.1 0.1\n", "unknown class"),
        ("-1 0.5 0.5 0.1 0.1\n", "unknown class"),
        ("0 0.98 0.5 0.1 0.1\n", "box outside"),
        ("0 0.5 0.5 0 0.1\n", "empty box"),
        (ROW + ROW, "row twice"),
        ("", "empty label"),
        ("\n \n", "empty label"),
    ],
)
def test_label_errors(dataset: Path, rows: str, code: str) -> None:
    label = dataset / "val" / "labels" / "b1.txt"
    label.write_text(rows)
    check = check_dataset(dataset)
    assert _codes(check) == [code]
    assert check.errors[0].where == str(label)
    (board,) = [b for b in open_dataset(dataset)[1].boards if b.name == "b1"]
    with pytest.raises(DatasetError, match=str(label)):
        read_truths(board, CLASSES, SIDE, SIDE)


def test_a_label_that_is_no_text(dataset: Path) -> None:
    (dataset / "val" / "labels" / "b1.txt").write_bytes(b"\xff\xfe\x00")
    assert _codes(check_dataset(dataset)) == ["unreadable label"]


def test_pictures_and_labels_that_do_not_belong_together(dataset: Path) -> None:
    (dataset / "train" / "labels" / "b0.txt").unlink()
    (dataset / "train" / "labels" / "stray.txt").write_text(ROW)
    check = check_dataset(dataset)
    assert sorted(_codes(check)) == ["label without picture", "picture without label"]


def test_pictures_that_cannot_be_used(dataset: Path) -> None:
    broken = dataset / "train" / "defective" / "b0.png"
    broken.write_bytes(broken.read_bytes()[:200])
    _write(dataset / "train" / "good" / "b1.png", _picture(1)[:100])
    _write(dataset / "train" / "good" / "b2.jpg", _picture(77))
    codes = _codes(check_dataset(dataset))
    assert sorted(codes) == ["name twice", "sizes differ", "unreadable picture"]


def test_the_same_picture_twice(dataset: Path) -> None:
    train = dataset / "train"
    shutil.copy(train / "good" / "b0.png", train / "good" / "again.png")
    shutil.copy(train / "good" / "b1.png", train / "defective" / "b1.png")
    # Another file of the same pixels.
    cv2.imwrite(str(dataset / "val" / "good" / "new.bmp"), _picture(2))
    codes = _codes(check_dataset(dataset))
    assert sorted(codes) == ["duplicate", "duplicate", "leakage"]


def _again(pixels: Pixels) -> Pixels:
    """Moved, darkened and recompressed."""
    moved = np.roll(pixels, (2, -3), axis=(0, 1))
    code = cv2.imencode(".jpg", (moved * 0.9).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE), np.uint8)


def test_the_same_exposure_again_is_leakage_between_splits_and_a_note_within_one(dataset: Path) -> None:
    _write(dataset / "val" / "good" / "seen.png", _again(_picture(0)))
    check = check_dataset(dataset)
    assert set(_codes(check)) == {"leakage"}
    assert any("train/good/b0.png" in e.text for e in check.errors)
    (dataset / "val" / "good" / "seen.png").rename(dataset / "train" / "good" / "seen.png")
    check = check_dataset(dataset)
    assert check.ok
    assert "near-duplicate" in {n.code for n in check.notes}


def test_a_board_and_its_own_twin_are_no_duplicates(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    good = _picture(5)
    defective = good.copy()
    defective[80, 80] = 255  # the smallest defect
    _write(folder / "good" / "a.png", good)
    _write(folder / "defective" / "a.png", defective)
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text("0 0.503125 0.503125 0.00625 0.00625\n")
    check = check_dataset(folder)
    assert check.ok
    assert [n.code for n in check.notes] == ["small box"]
    assert check.classes is None
    assert list(check.splits["all"].boxes) == ["0"]


def test_rendered_parts_of_one_product_are_no_leakage(tmp_path: Path) -> None:
    runner = CliRunner()
    for seed, split in enumerate(("train", "val")):
        made = runner.invoke(cli, ["board-sim", str(tmp_path / "set" / split), "--count", "2", "--seed", str(seed)])
        assert made.exit_code == 0
    check = check_dataset(tmp_path / "set")
    assert check.ok
    assert {n.code for n in check.notes} <= {"same layout"}


def test_an_empty_picture_is_noted(dataset: Path) -> None:
    _write(dataset / "val" / "good" / "blank.png", np.full((SIDE, SIDE), 255, np.uint8))
    assert [n.code for n in check_dataset(dataset).notes] == ["even picture"]


@pytest.mark.parametrize("made", [(), ("other",), ("train", "good")], ids=["nothing", "another folder", "both layouts"])
def test_no_dataset(tmp_path: Path, made: tuple[str, ...]) -> None:
    for name in made:
        (tmp_path / name).mkdir()
    with pytest.raises(DatasetError, match=r"name the folder|keep splits"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError):
        open_dataset(tmp_path / "missing")


def test_a_dataset_without_one_readable_picture(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "a.png").write_bytes(b"no picture")
    assert _codes(check_dataset(tmp_path)) == ["unreadable picture"]


def test_an_empty_split_is_an_error(dataset: Path) -> None:
    (dataset / "test").mkdir()
    assert _codes(check_dataset(dataset)) == ["no pictures"]


def test_one_split_is_asked_for(dataset: Path) -> None:
    assert open_split(dataset / "val").name == "all"
    with pytest.raises(DatasetError, match="holds splits"):
        open_split(dataset)


def test_classes_come_from_the_file_beside_or_above(dataset: Path) -> None:
    assert find_classes(dataset) == find_classes(dataset / "val") == CLASSES
    (dataset / "classes.txt").unlink()
    assert find_classes(dataset) is None
    for names in ([], ["a", "", "b"], ["a", "a"]):
        with pytest.raises(DatasetError):
            check_class_names(names, "here")


def test_truths_are_boxes_in_px_clipped_to_the_picture(tmp_path: Path) -> None:
    label = tmp_path / "a.txt"
    label.write_text("1 0.25 0.5 0.5 0.2\n0 0.0 0.5 0.0015 0.1\n")
    board = Board("a", tmp_path / "a.png", None, label)
    first, second = read_truths(board, CLASSES, 200, 100)
    assert first.defect_class == "stain"
    assert (first.box.x1, first.box.y1, first.box.x2, first.box.y2) == pytest.approx((0, 40, 100, 60))
    assert (second.box.x1, second.box.y1, second.box.x2, second.box.y2) == pytest.approx((0, 45, 0.15, 55))
    with pytest.raises(DatasetError, match="no label file"):
        read_truths(Board("a", tmp_path / "a.png", None, None), CLASSES, 10, 10)


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.floats(0.3, 0.7), st.floats(0.3, 0.7), st.floats(0.01, 0.5), st.floats(0.01, 0.5)), unique=True
    )
)
def test_what_is_written_is_read(values: list[tuple[int, float, float, float, float]]) -> None:
    text = "\n".join(" ".join(map(repr, value)) for value in values)
    assert parse_rows(text, 5) == ([Row(*value) for value in values], [])


@given(st.text(max_size=200))
def test_no_text_breaks_the_parser_and_no_bad_row_gets_through(text: str) -> None:
    rows, _ = parse_rows(text, 3)
    assert all(0 <= row.number < 3 and row.w > 0 and row.h > 0 for row in rows)


def test_hashes_know_a_picture_again() -> None:
    pixels = _picture(3)
    assert hamming(fingerprint(pixels), fingerprint((pixels * 0.8).astype(np.uint8))) <= 4
    assert hamming(fingerprint(pixels), fingerprint(_picture(4))) > 12
    assert same_exposure(pixels, _again(pixels)) > 0.993
    assert same_exposure(pixels, _picture(4)) < 0.9
    assert same_exposure(pixels, pixels[:100]) == 0.0
    even = np.full((SIDE, SIDE), 90, np.uint8)
    assert same_exposure(even, even) == 1.0
    assert same_exposure(even, even + np.uint8(50)) == 0.0


def test_the_command(dataset: Path) -> None:
    runner = CliRunner()
    good = runner.invoke(cli, ["model", "dataset", "check", str(dataset), "--json"])
    assert good.exit_code == 0, good.output
    assert json.loads(good.output.splitlines()[-1])["ok"] is True
    bad = runner.invoke(cli, ["model", "dataset", "check", str(dataset), "--classes", "other", "--json"])
    assert bad.exit_code == 0
    (dataset / "val" / "labels" / "b1.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    bad = runner.invoke(cli, ["model", "dataset", "check", str(dataset), "--classes", "other", "--json"])
    assert bad.exit_code == 1
    assert "unknown class: row 1: class 1 is unknown; there are 0 to 0" in bad.output
    assert json.loads(bad.output.splitlines()[-1])["error_counts"] == {"unknown class": 1}


def test_too_many_alike_are_counted_and_the_most_alike_compared_first() -> None:
    rng = np.random.default_rng(0)
    noisy = np.asarray(_picture(1) + rng.integers(0, 12, (SIDE, SIDE), np.uint8), np.uint8)
    pictures = [_picture(1), noisy, _again(_picture(1)), _picture(2)]
    looked: list[int] = []

    def read(place: int) -> Pixels:
        looked.append(place)
        return pictures[place]

    prints = [fingerprint(p) for p in pictures]
    alike, left = find_alike(prints, ["train", "val", "val", "val"], ["a", "b", "c", "d"], read, most=1)
    assert (alike[0].a, alike[0].b) == (looked[0], looked[1])
    assert {(pair.a, pair.b) for pair in alike} == {(0, 1), (0, 2), (1, 2)}
    assert left == 2
    assert [pair.same is None for pair in alike] == [False, True, True]
    assert not alike[1].is_same_picture
    twins, _ = find_alike(prints[:2], ["all", "all"], ["a", "a"], read)
    assert twins == []
    assert find_alike([], [], [], read) == ([], 0)
