"""No file is misread: each kind of bad picture is refused in one line that names it."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inspector.camera.pictures import PictureError, PixelFormat, decode_picture, list_pictures, read_picture
from inspector.types import Pixels


def picture(seed: int = 0, height: int = 48, width: int = 64) -> Pixels:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 2.0), np.uint8)


def encoded(pixels: NDArray[Any], suffix: str = ".png", *options: int) -> bytes:
    return cv2.imencode(suffix, pixels, list(options))[1].tobytes()


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(PictureError) as caught:
        read_picture(path, **options)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("pixel", ["mono", "bgr"])
def test_lossless_mono_comes_back_as_it_was(tmp_path: Path, suffix: str, pixel: PixelFormat) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(picture(), suffix))
    read = read_picture(path, pixel=pixel)
    expected = picture() if pixel == "mono" else np.dstack([picture()] * 3)
    assert read.dtype == np.uint8
    assert read.flags.c_contiguous
    assert np.array_equal(read, expected)


def test_colour_keeps_blue_green_red(tmp_path: Path) -> None:
    colour = np.dstack([picture(1), picture(2), picture(3)])
    path = tmp_path / "a.png"
    path.write_bytes(encoded(colour))
    assert np.array_equal(read_picture(path, pixel="bgr"), colour)
    assert read_picture(path, pixel="mono").shape == (48, 64)


def test_three_channel_jpeg_of_a_grey_picture_reads_as_mono(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(np.dstack([picture()] * 3), ".jpg"))
    assert np.abs(read_picture(path).astype(int) - picture()).mean() < 4


def test_missing(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "a.png")


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert "empty" in refused(tmp_path / "a.png")


def test_not_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture at all")
    assert "not a picture" in refused(tmp_path / "a.png")


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
@given(share=st.floats(0.02, 0.995))
def test_truncated_anywhere(suffix: str, share: float) -> None:
    whole = encoded(picture(height=96, width=96), suffix)
    with pytest.raises(PictureError, match="a-name"):
        decode_picture(whole[: int(len(whole) * share)], "a-name")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_end_never_written(tmp_path: Path, suffix: str) -> None:
    """A crash can leave a file of full length whose end is zeros."""
    whole = encoded(picture(height=96, width=96), suffix)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    assert "truncated" in refused(path)


def test_progressive_jpeg_is_read_whole_and_refused_cut() -> None:
    whole = encoded(picture(), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert decode_picture(whole, "a").shape == (48, 64)
    with pytest.raises(PictureError, match="truncated"):
        decode_picture(whole[:-2], "a")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_is_refused_by_name_or_scaled_on_purpose(tmp_path: Path, suffix: str) -> None:
    deep = (np.arange(48 * 64, dtype=np.uint16) * 21).reshape(48, 64)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(deep, suffix))
    assert "16 bits" in refused(path)
    assert np.array_equal(read_picture(path, sixteen_bit="scale"), deep >> 8)


def test_alpha_is_refused_and_not_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(np.dstack([picture(n) for n in range(4)])))
    assert "alpha" in refused(path)


def test_float_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(encoded(picture().astype(np.float32), ".tif"))
    assert "float32" in refused(path)


def test_wrong_size_names_both_sizes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture()))
    text = refused(path, size=(640, 480))
    assert "64x48" in text
    assert "640x480" in text
    assert read_picture(path, size=(64, 48)).shape == (48, 64)


def test_a_listing_is_sorted_recursive_and_leaves_labels_out(tmp_path: Path) -> None:
    for name in ("good/2.jpg", "good/1.PNG", "defective/1.tiff", "labels/1.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listed = [path.relative_to(tmp_path).as_posix() for path in list_pictures(tmp_path)]
    assert listed == ["defective/1.tiff", "good/1.PNG", "good/2.jpg"]


def test_a_listing_keeps_the_order_in_which_paths_were_named(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        (tmp_path / name).touch()
    assert [path.name for path in list_pictures([tmp_path / "b.png", tmp_path / "a.png"])] == ["b.png", "a.png"]


def test_a_folder_beneath_one_called_labels_is_listed(tmp_path: Path) -> None:
    folder = tmp_path / "labels" / "line"
    folder.mkdir(parents=True)
    (folder / "a.png").touch()
    assert len(list_pictures(folder)) == 1


def test_nothing_to_list(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="holds no picture"):
        list_pictures(tmp_path)
    with pytest.raises(PictureError, match="no such file"):
        list_pictures([tmp_path / "gone"])
    with pytest.raises(PictureError, match="no picture was named"):
        list_pictures([])
