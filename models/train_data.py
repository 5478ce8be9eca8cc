"""What a training reads of a dataset, and what it refuses: whatever would teach a network something wrong without anybody noticing."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inspector.camera.pictures import read_picture
from inspector.types import Box, Pixels
from models.dataset import Board, DatasetError, Split, check_class_names, find_classes, open_split, read_label_text, read_truths

_DIFFERS = 40
"""Grey levels between a picture and its twin that count as a difference."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A board read from disk. Pixels uint8, (height, width) or (height, width, 3); boxes as (class number, box in px)."""

    defective: Pixels | None
    good: Pixels | None
    boxes: tuple[tuple[int, Box], ...]


def choose_classes(folder: Path, named: str | None, of_base: tuple[str, ...] | None) -> tuple[str, ...]:
    """The class names in the order of their numbers: from --classes, classes.txt or the base, which all have to say the same.

    Raises DatasetError when they do not, or when nobody says them.
    """
    found: dict[str, tuple[str, ...]] = {}
    if named is not None:
        found["--classes"] = check_class_names(named.split(","), "--classes")
    if (of_file := find_classes(folder)) is not None:
        found["classes.txt"] = of_file
    if of_base is not None:
        found["the base"] = of_base
    if not found:
        raise DatasetError(f"{folder}: has no classes.txt; write one class name a line, in the order of their numbers, or use --classes")
    (first, classes), *rest = found.items()
    for other, theirs in rest:
        if theirs != classes:
            raise DatasetError(f"{first} has the classes {', '.join(classes)}, {other} has {', '.join(theirs)}: they have to be the same")
    return classes


def open_for_training(folder: Path, classes: tuple[str, ...], reference: bool) -> Split:
    """A split whose labels can all be read, with twins where the network needs them. Raises DatasetError at the first error."""
    split = open_split(folder)
    if not split.defective:
        raise DatasetError(f"{folder / 'defective'}: holds no picture; a network learns defects from pictures of them")
    if split.doubled:
        raise DatasetError(f"{split.doubled[0]}: another picture has the same name; a part has one picture")
    for board in split.boards:
        if board.defective is not None:
            read_truths(board, classes, 1, 1)
        elif board.label is not None:
            raise DatasetError(f"{board.label}: has no picture of that name in defective/; mixed up, or left over")
    if reference and not any(b.defective and b.good for b in split.boards):
        raise DatasetError(f"{folder}: no picture of defective/ has a twin of its name in good/, which --reference needs")
    return split


def read_part(board: Board, classes: tuple[str, ...], colour: bool) -> Part:
    """The pictures and boxes of a board. Raises PictureError; DatasetError for twins of two sizes and labels of another picture."""
    kind = "bgr" if colour else "mono"
    defective = None if board.defective is None else read_picture(board.defective, pixel="bgr" if colour else "mono")
    good = None if board.good is None else read_picture(board.good, pixel="bgr" if colour else "mono")
    if defective is None:
        return Part(None, good, ())
    if good is not None and good.shape != defective.shape:
        raise DatasetError(f"{board.good}: is no twin of {board.defective}: {kind} {good.shape[:2]} px against {defective.shape[:2]}")
    truths = read_truths(board, classes, defective.shape[1], defective.shape[0])
    boxes = tuple((classes.index(truth.defect_class), truth.box) for truth in truths)
    if good is not None and not _shows_any(boxes, defective, good):
        raise DatasetError(f"{board.defective}: shows no difference from its twin in any box of its labels: labels of another picture?")
    return Part(defective, good, boxes)


def splits_hash(splits: Sequence[Split]) -> str:
    """SHA-256 over the names and bytes of all pictures and labels of all splits."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(f"\n\n{split.name}".encode())
        for board in split.boards:
            digest.update(f"\n{board.name}".encode())
            for path in (board.defective, board.good):
                digest.update(b"-" if path is None else hashlib.sha256(path.read_bytes()).digest())
            digest.update(b"" if board.label is None else read_label_text(board.label).encode())
    return digest.hexdigest()


def _shows_any(boxes: Sequence[tuple[int, Box]], defective: Pixels, good: Pixels) -> bool:
    differs = np.abs(defective.astype(np.int16) - good) > _DIFFERS
    return any(differs[int(b.y1) : math.ceil(b.y2), int(b.x1) : math.ceil(b.x2)].any() for _, b in boxes)
