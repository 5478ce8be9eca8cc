"""A bundle is what it was made as, or it is refused by one line."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.bundle import Bundle, InputKind, Letterbox, card_hash, find_default_bundle
from inspector.errors import BundleError

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return Bundle.open(find_default_bundle())


@pytest.fixture
def folder(tmp_path: Path, shipped: Bundle) -> Path:
    """A copy of the shipped bundle, with small files in place of the models: the bundle does not look into them."""
    copy = tmp_path / "bundle"
    shutil.copytree(shipped.folder, copy, ignore=shutil.ignore_patterns("model.*"))
    card = _card(copy)
    for files in card["precisions"].values():
        for name in files.values():
            (copy / name).write_bytes(name.encode())
            card["files"][name] = _sha256(copy / name)
    _write(copy, card)
    return copy


def _card(folder: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((folder / "card.json").read_text())
    return card


def _write(folder: Path, card: dict[str, Any]) -> None:
    """The card with a seal that fits, so that the refusal under test is not about the seal."""
    (folder / "card.json").write_text(json.dumps(card | {"sha256": card_hash(card)}))


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_shipped_bundle_opens_and_says_what_it_is(shipped: Bundle) -> None:
    assert shipped.classes == ("open", "short", "mousebite", "spur", "copper", "pin-hole")
    assert shipped.input is InputKind.MONO
    assert shipped.precisions == ("fp32", "int8")
    assert len(shipped.hash) == 64
    assert "AGPL-3.0" in shipped.card.licence
    assert "research purpose" in shipped.card.licence
    assert {d.defect_class for d in shipped.canary().expected} == set(shipped.classes)


def test_a_copy_has_the_same_hash_and_an_unlisted_file_does_not_matter(folder: Path) -> None:
    before = Bundle.open(folder).hash
    (folder / "note.txt").write_text("of no account")
    assert Bundle.open(folder).hash == before


def test_the_hash_does_not_depend_on_how_the_card_is_laid_out(folder: Path) -> None:
    before = Bundle.open(folder).hash
    backwards = dict(reversed(_card(folder).items()))
    (folder / "card.json").write_text(json.dumps(backwards, indent=7))
    assert Bundle.open(folder).hash == before


def _refused(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        Bundle.open(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder) in text
    return text


def test_no_card(folder: Path) -> None:
    (folder / "card.json").unlink()
    assert "cannot be read" in _refused(folder)


def test_no_folder(tmp_path: Path) -> None:
    assert "cannot be read" in _refused(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"score": NaN}', "\xff"])
def test_a_card_that_is_no_card(folder: Path, text: str) -> None:
    (folder / "card.json").write_text(text, encoding="latin-1")
    assert "card.json" in _refused(folder)


def test_an_edited_card(folder: Path) -> None:
    card = _card(folder)
    card["training"] += " "
    (folder / "card.json").write_text(json.dumps(card))
    assert "edited" in _refused(folder)


@pytest.mark.parametrize("name", ["int8/model.bin", "fp32/model.xml", "canary.png"])
def test_a_file_that_differs_in_one_bit(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    text = _refused(folder)
    assert name in text
    assert "differs" in text


def test_a_file_that_is_missing(folder: Path) -> None:
    (folder / "int8" / "model.bin").unlink()
    assert "int8/model.bin" in _refused(folder)


def test_a_file_that_changes_after_opening_is_not_handed_out(folder: Path) -> None:
    bundle = Bundle.open(folder)
    (folder / "int8" / "model.bin").write_bytes(b"another network")
    with pytest.raises(BundleError, match="differs"):
        bundle.model("int8")


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda c: c.pop("classes"), "classes"),
        (lambda c: c.update(colour="green"), "colour"),
        (lambda c: c.update(format=2), "format"),
        (lambda c: c.update(width="640"), "width"),
        (lambda c: c.update(classes=["open", "open"]), "stands twice"),
        (lambda c: c.update(classes=["scratch"]), "is none of the classes"),
        (lambda c: c.update(input="thermal"), "input"),
        (lambda c: c.update(input="mono+reference"), "canary.reference"),
        (lambda c: c.update(layout="something else"), "layout"),
        (lambda c: c.update(nms_iou=1.5), "nms_iou"),
        (lambda c: c.update(default_precision="fp8"), "fp8"),
        (lambda c: c["precisions"]["int8"].update(model="other.xml"), "other.xml has no SHA-256"),
        (lambda c: c["files"].update({"../outside": "0" * 64}), "not inside the bundle"),
        (lambda c: c["files"].update({"/etc/hostname": "0" * 64}), "not inside the bundle"),
        (lambda c: c["files"].update({"canary.png": "yes"}), "files.canary.png"),
        (lambda c: c["canary"].update(detections=[]), "canary.detections"),
        (lambda c: c["canary"]["detections"][0].update(score=1.2), "score"),
        (lambda c: c["canary"]["detections"][0].update(box=[1.0, 2.0]), "box"),
    ],
)
def test_a_card_that_says_what_cannot_be(folder: Path, edit: Edit, says: str) -> None:
    card = _card(folder)
    edit(card)
    _write(folder, card)
    assert says in _refused(folder)


def test_a_canary_of_another_size(folder: Path) -> None:
    cv2.imwrite(str(folder / "canary.png"), np.zeros((64, 64), np.uint8))
    card = _card(folder)
    card["files"]["canary.png"] = _sha256(folder / "canary.png")
    _write(folder, card)
    assert "no picture of 640x640" in _refused(folder)


def test_a_precision_that_is_not_there(folder: Path) -> None:
    with pytest.raises(BundleError, match="choose one of fp32, int8"):
        Bundle.open(folder).model("fp8")


def test_the_canary_as_a_frame_of_the_camera(shipped: Bundle) -> None:
    canary = shipped.canary()
    same = canary.frame(640, 640)
    assert np.array_equal(same.pixels, canary.picture)
    for seen, drawn in zip(same.expected, canary.expected, strict=True):
        assert (seen.box.x1, seen.box.y2) == pytest.approx((drawn.box.x1, drawn.box.y2), abs=0.01)
    wide = canary.frame(960, 1280, 3)
    assert wide.pixels.shape == (960, 1280, 3)
    # 640x480 of the canary, twice as large: 80 rows are cut off above
    for seen, drawn in zip(wide.expected, canary.expected, strict=True):
        assert (seen.box.x1, seen.box.y1) == pytest.approx((drawn.box.x1 * 2, (drawn.box.y1 - 80) * 2), abs=0.01)


def test_a_frame_too_narrow_for_the_canary(shipped: Bundle) -> None:
    with pytest.raises(BundleError, match="does not fit into frames of 4096x256"):
        shipped.canary().frame(256, 4096)


@given(height=st.integers(16, 5000), width=st.integers(16, 5000))
def test_letterbox_fills_one_side_and_stays_inside(height: int, width: int) -> None:
    box = Letterbox(height, width, 640, 640)
    (rows, columns), (top, left) = box.inner, box.top_left
    assert max(rows, columns) == 640
    assert top >= 0
    assert left >= 0
    assert top + rows <= 640
    assert left + columns <= 640
    # centred to the pixel
    assert 0 <= (640 - rows - top) - top <= 1
    assert 0 <= (640 - columns - left) - left <= 1


@given(height=st.integers(16, 5000), width=st.integers(16, 5000), x=st.floats(0, 1), y=st.floats(0, 1))
def test_letterbox_leads_back_to_the_frame(height: int, width: int, x: float, y: float) -> None:
    """A point of the frame lies where the resized picture shows it, and is led back to within one pixel of the network."""
    box = Letterbox(height, width, 640, 640)
    (rows, columns), (top, left) = box.inner, box.top_left
    px, py = left + x * columns, top + y * rows
    back = box.to_frame(np.array([[px, py, px, py]], np.float32))[0]
    one_px = 1 / box.gain
    assert back[[0, 2]] == pytest.approx(x * width, abs=one_px)
    assert back[[1, 3]] == pytest.approx(y * height, abs=one_px)


def test_a_default_bundle_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(BundleError, match="is not installed"):
        find_default_bundle()
