"""Which pictures of a dataset are the same one, again: exactly, or recompressed, re-lit or moved by a few pixels.

Three steps, from cheap to sure. A 64-bit perceptual hash (the signs of the lowest 8 x 8 frequencies of the cosine transform of a 32 x 32
picture, against their median: "pHash", C. Zauner, 2010) finds candidates; 64 x 64 thumbnails tell whether they show the same layout; the
pictures themselves, in register, tell whether they are the same exposure. The last step matters, because parts of one product all look
alike. Measured, correlation in register: other boards of one layout in other splits of DeepPCB at most 0.983, rendered boards of one
product at most 0.9915; a board darkened, moved by whole pixels and recompressed to JPEG 60 or 30 at least 0.997 or 0.9937. A picture that
was scaled, turned or cut again is not found.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from inspector.types import Pixels

MAX_HAMMING = 12
"""Bits in which the hashes of candidates may differ."""
SAME_LAYOUT = 0.9
"""Least correlation of thumbnails of one layout."""
SAME_PICTURE = 0.993
"""Least correlation of two pictures in register that are one exposure."""
MOST_COMPARED = 1000
"""So many pairs are compared pixel by pixel, the most alike first: about 15 s."""
_NEAREST = 4
_THUMB, _HASHED, _LOW = 64, 32, 8
_SIDE_PX, _REACH_PX = 640, 16
"""Pictures are compared at most this large, and moved by at most so much."""


@dataclass(frozen=True, slots=True, eq=False)
class Print:
    """What is kept of a picture: its hash and a grey thumbnail (64, 64)."""

    bits: np.uint64
    thumb: Pixels


@dataclass(frozen=True, slots=True)
class Alike:
    """Two pictures by their place in the list, a < b, and how alike they are; `same` is None where pixels were not compared."""

    a: int
    b: int
    layout: float
    same: float | None

    @property
    def is_same_picture(self) -> bool:
        return self.same is not None and self.same >= SAME_PICTURE


def fingerprint(pixels: Pixels) -> Print:
    """pixels: uint8 grey (h, w)."""
    thumb = np.asarray(cv2.resize(pixels, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA), np.uint8)
    small = cv2.resize(thumb, (_HASHED, _HASHED), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:_LOW, :_LOW].ravel()
    # The first coefficient is the mean brightness: it says nothing about the picture, and would move the median.
    bits = np.packbits(low > np.median(low[1:])).view(np.uint64)[0]
    return Print(bits, thumb)


def hamming(a: Print, b: Print) -> int:
    """Bits in which two hashes differ, 0 to 64."""
    return int(np.bitwise_count(a.bits ^ b.bits))


def find_alike(
    prints: Sequence[Print], splits: Sequence[str], names: Sequence[str], read: Callable[[int], Pixels], most: int = MOST_COMPARED
) -> tuple[list[Alike], int]:
    """Pairs of one layout, most alike first, and how many of them were too many to be compared pixel by pixel.

    For each picture its few nearest in its own split and in the others are looked at. splits and names say where a picture lies: two of one
    name in one split are a board and its own good twin, and no pair. read gives the grey picture of a place in the list.
    """
    pairs = _candidates(prints, np.array(splits, np.str_), np.array(names, np.str_))
    found = [(a, b, _correlation(prints[a].thumb, prints[b].thumb, 3)) for a, b in pairs]
    found = sorted(((a, b, c) for a, b, c in found if c >= SAME_LAYOUT), key=lambda pair: -pair[2])
    alike = [Alike(a, b, layout, same_exposure(read(a), read(b))) for a, b, layout in found[:most]]
    alike += [Alike(a, b, layout, None) for a, b, layout in found[most:]]
    return alike, max(0, len(found) - most)


def same_exposure(a: Pixels, b: Pixels) -> float:
    """Correlation (-1 to 1) of two grey pictures, in the best register within 16 px; 0.0 where their shapes differ.

    Two even pictures of the same grey count as the same.
    """
    if a.shape != b.shape:
        return 0.0
    gain = _SIDE_PX / max(a.shape)
    if gain < 1:
        a, b = (np.asarray(cv2.resize(p, None, fx=gain, fy=gain, interpolation=cv2.INTER_AREA), np.uint8) for p in (a, b))
    reach = min(_REACH_PX, min(a.shape) // 8)
    return _correlation(a, b, reach)


def _candidates(prints: Sequence[Print], splits: NDArray[np.str_], names: NDArray[np.str_]) -> list[tuple[int, int]]:
    """Pairs whose hashes are near; for each picture the _NEAREST in its split and as many outside. In a dataset of one product all hashes
    are near, and a million pairs would take a day."""
    bits: NDArray[np.uint64] = np.array([p.bits for p in prints], np.uint64)
    small = np.array([cv2.resize(p.thumb, (_HASHED, _HASHED), interpolation=cv2.INTER_AREA).ravel() for p in prints], np.float32)
    small = small.reshape(len(prints), _HASHED * _HASHED)
    small -= small.mean(axis=1, keepdims=True)
    small /= np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6)
    pairs: set[tuple[int, int]] = set()
    for a in range(len(prints)):
        near = np.flatnonzero(np.bitwise_count(bits ^ bits[a]) <= MAX_HAMMING)
        inside = splits[near] == splits[a]
        for others in (near[inside & (names[near] != names[a])], near[~inside]):
            best = others[np.argsort(-(small[others] @ small[a]), kind="stable")[:_NEAREST]]
            pairs.update((min(a, b), max(a, b)) for b in best.tolist())
    return sorted(pairs)


def _correlation(a: Pixels, b: Pixels, reach: int) -> float:
    inner = b[reach : b.shape[0] - reach, reach : b.shape[1] - reach]
    if float(a.std()) < 1.0 or float(inner.std()) < 1.0:
        # Without contrast a correlation is undefined.
        return 1.0 if float(np.abs(a.mean() - b.mean())) < 1.0 and abs(float(a.std()) - float(b.std())) < 1.0 else 0.0
    scores = cv2.matchTemplate(a, inner, cv2.TM_CCOEFF_NORMED)
    return float(np.nan_to_num(scores).clip(-1, 1).max())


def by_path(paths: Sequence[Path], read: Callable[[Path], Pixels]) -> Callable[[int], Pixels]:
    """read(path) as a function of the place in the list."""
    return lambda place: read(paths[place])
