"""Reads one picture file, and refuses whatever could be misread: a half file, 16 bits, an alpha channel, a wrong size.

Every refusal is a PictureError of one line that names the file. What cannot be told from the file: a JPEG whose compressed data were
changed in the middle while its markers stayed whole decodes to some picture; a file cut short, or one whose end was never written, is
found. Lossless PNG carries checksums: take it where a picture has to prove something.
"""

from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from inspector.errors import InspectorError
from inspector.types import Pixels

PixelFormat = Literal["mono", "bgr"]
SixteenBit = Literal["refuse", "scale"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"


class PictureError(InspectorError):
    """A picture file that cannot be used; the text is one line that names the file, what is wrong, and what to do."""


def list_pictures(paths: Path | list[Path] | tuple[Path, ...]) -> list[Path]:
    """The picture files that `paths` (files and folders) stand for, in order; folders are searched through and sorted.

    A folder named labels is passed over, so that a folder in DeepPCB's layout lists defective/ and good/. A file that is named itself is
    taken as it is, whatever its suffix. Raises PictureError when a path does not exist or a folder holds no picture.
    """
    named = [paths] if isinstance(paths, Path) else list(paths)
    if not named:
        raise PictureError("no picture was named; name a picture file or a folder that holds some")
    found: list[Path] = []
    for path in named:
        found.extend(_in_folder(path) if path.is_dir() else [_file(path)])
    return found


def _file(path: Path) -> Path:
    if not path.exists():
        raise PictureError(f"{path}: there is no such file or folder; check the path")
    return path


def _in_folder(folder: Path) -> list[Path]:
    inside = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and "labels" not in path.relative_to(folder).parts and path.is_file()
    )
    if not inside:
        raise PictureError(f"{folder}: holds no picture ({', '.join(sorted(SUFFIXES))}); name another folder")
    return inside


def read_picture(
    path: Path, *, pixel: PixelFormat = "mono", sixteen_bit: SixteenBit = "refuse", size: tuple[int, int] | None = None
) -> Pixels:
    """Read a file as uint8, C-contiguous: (h, w) for "mono", (h, w, 3) in B, G, R order for "bgr".

    sixteen_bit  "scale" keeps the upper eight of the sixteen bits (value >> 8, the full range); "refuse" raises
    size         (width, height) in px that the picture must have; None takes any
    Raises PictureError.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PictureError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from error
    return decode_picture(data, str(path), pixel=pixel, sixteen_bit=sixteen_bit, size=size)


def decode_picture(
    data: bytes,
    name: str,
    *,
    pixel: PixelFormat = "mono",
    sixteen_bit: SixteenBit = "refuse",
    size: tuple[int, int] | None = None,
) -> Pixels:
    """Decode an encoded picture as `read_picture` does; `name` stands in the errors. Raises PictureError."""
    if not data:
        raise PictureError(f"{name}: the file is empty; copy it again")
    _refuse_cut(data, name)
    try:
        raw = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise PictureError(f"{name}: cannot be decoded ({error.err}); copy it again or save it as PNG") from error
    if raw is None:
        raise PictureError(f"{name}: is damaged or not a picture; copy it again or save it as PNG")
    picture = _as_pixel(_as_8_bit(raw, name, sixteen_bit), name, pixel)
    if size is not None and (picture.shape[1], picture.shape[0]) != size:
        raise PictureError(f"{name}: is {picture.shape[1]}x{picture.shape[0]} px where {size[0]}x{size[1]} px are required")
    return picture


def _refuse_cut(data: bytes, name: str) -> None:
    """Find a file that ends too early by its own format: decoders fill what is missing with grey and say nothing to the caller."""
    cut = False
    if data.startswith(_JPEG_START):
        cut = data.rfind(_JPEG_END) <= data.rfind(_JPEG_SCAN)
    elif data.startswith(_PNG_START):
        cut = _PNG_END not in data[-256:]
    elif data.startswith(b"BM") and len(data) >= 6:
        cut = len(data) < int.from_bytes(data[2:6], "little")
    if cut:
        raise PictureError(f"{name}: the file is truncated ({len(data)} bytes, its end is missing); copy it again")


def _as_8_bit(raw: NDArray[Any], name: str, sixteen_bit: SixteenBit) -> Pixels:
    if raw.dtype == np.uint8:
        return raw
    if raw.dtype == np.uint16:
        if sixteen_bit == "scale":
            return (raw >> 8).astype(np.uint8)
        raise PictureError(f'{name}: has 16 bits a pixel; save it with 8 bits, or set sixteen_bit = "scale" to keep the upper eight')
    raise PictureError(f"{name}: has pixels of type {raw.dtype}; save it with 8 bits a pixel")


def _as_pixel(picture: Pixels, name: str, pixel: PixelFormat) -> Pixels:
    channels = 1 if picture.ndim == 2 else picture.shape[2]
    if channels not in (1, 3):
        kind = "an alpha channel" if channels in (2, 4) else f"{channels} channels"
        raise PictureError(f"{name}: has {kind}; save it as plain grey or colour without transparency")
    if channels == 1:
        grey = picture.reshape(picture.shape[:2])
        return np.ascontiguousarray(grey if pixel == "mono" else cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    return np.ascontiguousarray(picture if pixel == "bgr" else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
