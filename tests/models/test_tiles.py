"""Tiles show what the picture shows, boxes stay on their defects, references differ as they do on a line; bad data is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.types import Pixels
from models.dataset import DatasetError, Split
from models.tiles import MAX_SHIFT_PX, Tile, TileOptions, as_network_sees, disturbed, roughened, shifted, training_tiles, validation_tiles
from models.train_data import choose_classes, open_for_training, splits_hash

CLASSES = ("hole", "blob")
SIDE = 200


def _board(folder: Path, name: str, blobs: list[tuple[int, int, int]], twin: bool = True, side: int = SIDE) -> None:
    """A board with one vertical bar; each blob is (class, x, y): a 12 px square of its own grey level."""
    good = np.full((side, side), 255, np.uint8)
    good[:, 40:60] = 0
    picture = good.copy()
    rows = []
    for number, x, y in blobs:
        picture[y : y + 12, x : x + 12] = 90 + 40 * number
        rows.append(f"{number} {(x + 6) / side} {(y + 6) / side} {12 / side} {12 / side}")
    for kind, pixels in (("defective", picture), *([("good", good)] if twin else [])):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / kind / f"{name}.png"), pixels)
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / f"{name}.txt").write_text("\n".join(rows))


@pytest.fixture
def split(tmp_path: Path) -> Split:
    folder = tmp_path / "data" / "train"
    _board(folder, "a", [(0, 100, 20), (1, 150, 160)])
    _board(folder, "b", [(1, 80, 90)])
    return open_for_training(folder, CLASSES, True)


def _defective(tiles: list[Tile]) -> list[Tile]:
    return [t for t in tiles if "good" not in t.name]


@pytest.mark.parametrize("reference", [False, True])
def test_boxes_lie_on_their_defects(split: Split, reference: bool) -> None:
    tiles = list(training_tiles(split, CLASSES, TileOptions(64, views=8, reference=reference), 0))
    boxes = [(t, c, b) for t in tiles for c, b in t.boxes]
    assert len(boxes) > 10
    for tile, number, box in boxes:
        inside = tile.pixels[int(box.y1) : int(box.y2), int(box.x1) : int(box.x2), 0].astype(float)
        # gain 0.85 to 1.15 and noise are allowed, another place is not
        assert 0.75 * (90 + 40 * number) < inside.mean() < 1.25 * (90 + 40 * number)
        assert 0 <= box.x1 < box.x2 <= 64
        assert 0 <= box.y1 < box.y2 <= 64


def test_every_defect_is_shown_whole_somewhere(split: Split) -> None:
    tiles = _defective(list(training_tiles(split, CLASSES, TileOptions(64, views=8), 0)))
    whole = {(t.name.split("-")[1], c) for t in tiles for c, b in t.boxes if b.area == pytest.approx(144)}
    assert whole == {("000000", 0), ("000000", 1), ("000001", 1)}


def test_the_same_seed_cuts_the_same_tiles_and_another_does_not(split: Split) -> None:
    def cut(seed: int) -> list[bytes]:
        return [t.pixels.tobytes() for t in training_tiles(split, CLASSES, TileOptions(64, reference=True, seed=seed), 0)]

    assert cut(1) == cut(1)
    assert cut(1) != cut(2)


def test_planes_are_picture_reference_and_difference(split: Split) -> None:
    for tile in training_tiles(split, CLASSES, TileOptions(64, reference=True), 0):
        picture, reference, difference = (tile.pixels[..., i] for i in range(3))
        assert np.array_equal(difference, cv2.absdiff(picture, reference))
    plain = next(training_tiles(split, CLASSES, TileOptions(64), 0)).pixels
    assert np.array_equal(plain[..., 0], plain[..., 2])


def test_a_good_part_is_never_its_own_reference(split: Split) -> None:
    good = [t for t in training_tiles(split, CLASSES, TileOptions(128, reference=True, views=32), 0) if "good" in t.name]
    assert len(good) == 16
    assert not any(t.boxes for t in good)
    assert all(t.pixels[..., 2].any() for t in good if (t.pixels[..., 1] == 0).any())


def test_validation_shows_every_defect_and_changes_nothing(split: Split) -> None:
    tiles = list(validation_tiles(split, CLASSES, TileOptions(64, reference=True), 400))
    assert len(tiles) == 2 * 16
    assert {(t.name.split("-")[0], c) for t in tiles for c, _ in t.boxes} == {("000000", 0), ("000000", 1), ("000001", 1)}
    assert set(np.unique([t.pixels[..., 1] for t in tiles])) == {0, 255}
    assert len(list(validation_tiles(split, CLASSES, TileOptions(64), 16))) == 16


def test_a_picture_smaller_than_a_tile_is_filled_with_grey(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "train"
    _board(folder, "a", [(0, 20, 20)], side=70)
    tile = next(training_tiles(open_for_training(folder, CLASSES, False), CLASSES, TileOptions(96), 0))
    assert tile.pixels.shape == (96, 96, 3)
    assert (tile.pixels[70:] == 114).all()


@given(dx=st.integers(-MAX_SHIFT_PX, MAX_SHIFT_PX), dy=st.integers(-MAX_SHIFT_PX, MAX_SHIFT_PX))
def test_a_shift_moves_every_pixel(dx: int, dy: int) -> None:
    picture: Pixels = np.arange(400, dtype=np.uint16).reshape(20, 20).astype(np.uint8)
    moved = shifted(picture, dx, dy)
    assert np.array_equal(moved[5:15, 5:15], picture[5 - dy : 15 - dy, 5 - dx : 15 - dx])


def test_roughening_touches_edges_only_and_light_changes_stay_small() -> None:
    picture = np.full((80, 80), 255, np.uint8)
    picture[:, :40] = 0
    changed = np.flatnonzero(sum((roughened(picture, np.random.default_rng(seed)) != picture).any(axis=0) for seed in range(10)))
    assert len(changed) >= 2
    assert changed.min() >= 36
    assert changed.max() <= 43
    grey = np.full((80, 80), 100, np.uint8)
    assert 84 < disturbed(grey, np.random.default_rng(3)).mean() < 116


def test_a_faint_defect_survives_rough_edges(split: Split) -> None:
    """A threshold would make black or white of a grey defect, and its label a lie."""
    for tile in _defective(list(training_tiles(split, CLASSES, TileOptions(96, views=24), 0))):
        for number, box in tile.boxes:
            inside = tile.pixels[int(box.y1) + 1 : int(box.y2) - 1, int(box.x1) + 1 : int(box.x2) - 1, 0]
            assert 60 < np.median(inside) < 170, number


def test_colour_stays_as_it_is() -> None:
    colour = np.dstack([np.full((4, 4), v, np.uint8) for v in (1, 2, 3)])
    assert np.array_equal(as_network_sees(colour, None), colour)


def _write(folder: Path, name: str, text: str) -> None:
    (folder / "labels" / f"{name}.txt").write_text(text)


@pytest.mark.parametrize(
    ("label", "says"),
    [("", "is empty"), ("2 0.5 0.5 0.1 0.1", "class 2"), ("0 0.5 0.5 0.1", "4 fields"), ("0 1.5 0.5 0.1 0.1", "box"), ("x y", "fields")],
)
def test_labels_that_cannot_be_right(split: Split, label: str, says: str) -> None:
    _write(split.folder, "b", label)
    with pytest.raises(DatasetError, match=says) as caught:
        open_for_training(split.folder, CLASSES, False)
    assert "b.txt" in str(caught.value)


def test_labels_of_another_picture(split: Split) -> None:
    _write(split.folder, "b", "1 0.9 0.1 0.05 0.05")
    changed = open_for_training(split.folder, CLASSES, True)
    with pytest.raises(DatasetError, match="labels of another picture"):
        list(training_tiles(changed, CLASSES, TileOptions(64), 0))


def test_pictures_and_labels_that_do_not_belong_together(split: Split) -> None:
    _write(split.folder, "stranger", "0 0.5 0.5 0.1 0.1")
    with pytest.raises(DatasetError, match="stranger"):
        open_for_training(split.folder, CLASSES, False)
    (split.folder / "labels" / "stranger.txt").unlink()
    (split.folder / "labels" / "a.txt").unlink()
    with pytest.raises(DatasetError, match="no label file"):
        open_for_training(split.folder, CLASSES, False)


def test_a_reference_needs_twins(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "train"
    _board(folder, "a", [(0, 100, 20)], twin=False)
    assert open_for_training(folder, CLASSES, False).defective
    with pytest.raises(DatasetError, match="twin"):
        open_for_training(folder, CLASSES, True)


def test_a_twin_of_another_size(split: Split) -> None:
    cv2.imwrite(str(split.folder / "good" / "a.png"), np.zeros((50, 50), np.uint8))
    with pytest.raises(DatasetError, match="is no twin"):
        list(training_tiles(split, CLASSES, TileOptions(64), 0))


def test_classes_have_one_source_or_the_same(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"classes\.txt"):
        choose_classes(tmp_path, None, None)
    (tmp_path / "classes.txt").write_text("hole\nblob\n")
    assert choose_classes(tmp_path, "hole, blob", CLASSES) == CLASSES
    with pytest.raises(DatasetError, match="have to be the same"):
        choose_classes(tmp_path, None, ("hole", "scratch"))


def test_the_hash_sees_pixels_and_labels(split: Split) -> None:
    before = splits_hash([split])
    assert before == splits_hash([split])
    _write(split.folder, "b", "0 0.43 0.48 0.06 0.06")
    assert splits_hash([split]) != before
