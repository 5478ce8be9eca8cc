"""The golden set: pictures with truth in dataset form, frozen by the hash of every file in golden.json."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inspector.bundle import Sha256, Words
from models.dataset import CLASSES_FILE, DatasetError, Split, find_classes, open_split
from models.sealed import Sealed, read_sealed, seal, write_whole

MANIFEST = "golden.json"


class GoldenFile(Sealed):
    """golden.json. files: path in the folder → SHA-256; classes: the names that the labels' numbers mean."""

    classes: list[Words]
    files: dict[Words, Sha256]


@dataclass(frozen=True, slots=True)
class Golden:
    """A verified golden set. `hash` names exactly these pictures, labels and class names."""

    split: Split
    classes: tuple[str, ...]
    hash: str

    def verify(self) -> None:
        """Raises DatasetError or ReleaseError when it is no longer what it was when it was opened."""
        if open_golden(self.split.folder).hash != self.hash:
            raise DatasetError(f"{self.split.folder}: was frozen anew while it was looked at; run the gate again")


def freeze(folder: Path, names: Sequence[str] = ()) -> Golden:
    """Write golden.json over all files of the folder. Raises DatasetError for a set that cannot prove anything, or that is frozen already.

    names: of the classes, in the order of the labels' numbers, for a folder without classes.txt; then written into it. A frozen set is
    not frozen again by itself: whoever changes it takes golden.json away first, and knows it.
    """
    if (folder / MANIFEST).exists():
        raise DatasetError(f"{folder / MANIFEST}: the set is frozen already; to change it, remove this file and freeze it anew")
    split = open_split(folder)
    _check(split)
    classes = find_classes(folder)
    if classes is None:
        classes = tuple(names)
        if not classes:
            raise DatasetError(f"{folder}: has no {CLASSES_FILE} to say what the labels' numbers mean; add it, or name --bundle")
        write_whole((folder / CLASSES_FILE, "".join(f"{name}\n" for name in classes).encode()))
    write_whole((folder / MANIFEST, seal({"format": 1, "classes": list(classes), "files": _hashes(folder)})))
    return open_golden(folder)


def open_golden(folder: Path) -> Golden:
    """Verify every file. Raises DatasetError naming the first one changed, added or removed; ReleaseError for golden.json itself."""
    if not (folder / MANIFEST).exists():
        raise DatasetError(f"{folder}: is not frozen; look through it, then run `inspector model golden freeze {folder}`")
    manifest = read_sealed(folder / MANIFEST, GoldenFile)
    found = _hashes(folder)
    for name in sorted(found.keys() | manifest.files.keys()):
        if found.get(name) != manifest.files.get(name):
            what = "is missing" if name not in found else "was added" if name not in manifest.files else "was changed"
            raise DatasetError(f"{folder / name}: {what} since the golden set was frozen; put it right, or freeze a new set")
    split = open_split(folder)
    _check(split)
    return Golden(split, tuple(manifest.classes), manifest.sha256)


def _check(split: Split) -> None:
    if not split.defective or not split.good:
        lacks = "defective" if not split.defective else "good"
        raise DatasetError(f"{split.folder}: holds no {lacks} part, so a gate on it would prove nothing; add pictures to {lacks}/")
    if split.doubled:
        raise DatasetError(f"{split.doubled[0]}: another picture has the same name; keep one of them")


def _hashes(folder: Path) -> dict[str, str]:
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST)
    try:
        return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
    except OSError as error:
        raise DatasetError(f"{error.filename}: cannot be read ({error.strerror}); check the file and its permissions") from error
