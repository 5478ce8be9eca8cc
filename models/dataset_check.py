"""What is wrong with a dataset: label errors, duplicates, leakage between splits; and what is in it."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from inspector.camera.pictures import PictureError, read_picture
from inspector.types import Box, Pixels
from models.dataset import Board, DatasetError, Split, find_classes, open_dataset, read_label_text, to_px
from models.dataset_labels import parse_rows
from models.dataset_similar import MOST_COMPARED, Alike, Print, by_path, find_alike, fingerprint

SMALL_PX = 8.0
"""A box whose shorter side is below this is worth a look: at a stride of 8 px a detector hardly sees it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One error or note: `code` for statistics, `where` the file, `text` for people."""

    code: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.code}: {self.text}" if self.where else f"{self.code}: {self.text}"


@dataclass(slots=True)
class SplitCounts:
    """What a split holds. Boxes in px: (width, height) by class."""

    defective: int = 0
    good: int = 0
    labels: int = 0
    sizes: Counter[str] = field(default_factory=Counter)
    boxes: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def document(self) -> dict[str, Any]:
        every = [side for boxes in self.boxes.values() for side in boxes]
        classes = {name: len(boxes) for name, boxes in sorted(self.boxes.items())}
        counts: dict[str, Any] = {"defective": self.defective, "good": self.good, "labels": self.labels, "boxes": len(every)}
        return counts | {"classes": classes, "picture_sizes": dict(self.sizes), "box_px": _spread(every)}


@dataclass(slots=True)
class DatasetCheck:
    """The result; `ok` when there is no error."""

    folder: Path
    classes: tuple[str, ...] | None
    splits: dict[str, SplitCounts] = field(default_factory=dict)
    errors: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.errors

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "ok": self.ok,
            "folder": str(self.folder),
            "classes": None if self.classes is None else list(self.classes),
            "splits": {name: counts.document() for name, counts in self.splits.items()},
            "error_counts": dict(Counter(e.code for e in self.errors)),
            "errors": [asdict(e) for e in self.errors],
            "notes": [asdict(n) for n in self.notes],
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    split: str
    name: str
    path: Path
    digest: str
    print_: Print


def check_dataset(
    folder: Path, classes: tuple[str, ...] | None = None, progress: Callable[[int, int], None] = lambda _done, _of: None
) -> DatasetCheck:
    """Look at every picture and label once. classes: names, else those of classes.txt, else labels are counted by number.

    progress(done, of) is told after every board. Raises DatasetError when the folder is no dataset at all.
    """
    splits = open_dataset(folder)
    check = DatasetCheck(folder, classes or find_classes(folder))
    total, done = sum(len(split.boards) for split in splits), 0
    pictures: list[_Picture] = []
    for split in splits:
        counts = check.splits[split.name] = SplitCounts()
        check.errors += [Finding("name twice", str(p), "another picture of this folder has the same name") for p in split.doubled]
        for board in split.boards:
            pictures += _check_board(check, counts, split, board)
            done += 1
            progress(done, total)
        if not counts.defective and not counts.good:
            check.errors.append(Finding("no pictures", str(split.folder), "the split holds none; fill it or remove it"))
    _check_same(check, pictures)
    _check_alike(check, pictures)
    return check


def _check_board(check: DatasetCheck, counts: SplitCounts, split: Split, board: Board) -> Iterator[_Picture]:
    shapes: dict[str, tuple[int, ...]] = {}
    for kind, path in (("defective", board.defective), ("good", board.good)):
        if path is None:
            continue
        try:
            pixels = read_picture(path)
        except PictureError as error:
            check.errors.append(Finding("unreadable picture", str(path), str(error).removeprefix(f"{path}: ")))
            continue
        shapes[kind] = pixels.shape
        if float(pixels.std()) < 1.0:
            check.notes.append(Finding("even picture", str(path), "shows one even grey, and no part"))
        counts.sizes[f"{pixels.shape[1]}x{pixels.shape[0]}"] += 1
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        yield _Picture(split.name, board.name, path, digest, fingerprint(pixels))
    counts.defective += board.defective is not None
    counts.good += board.good is not None
    counts.labels += board.label is not None
    if len(set(shapes.values())) > 1:
        check.errors.append(Finding("sizes differ", str(board.good), "the good twin has another size than the defective board"))
    _check_labels(check, counts, board, shapes.get("defective"))


def _check_labels(check: DatasetCheck, counts: SplitCounts, board: Board, shape: tuple[int, ...] | None) -> None:
    if board.defective is not None and board.label is None:
        check.errors.append(Finding("picture without label", str(board.defective), f"labels/{board.name}.txt is missing"))
    if board.label is None:
        return
    if board.defective is None:
        check.errors.append(Finding("label without picture", str(board.label), f"there is no picture defective/{board.name}"))
    try:
        text = read_label_text(board.label)
    except DatasetError as error:
        check.errors.append(Finding("unreadable label", str(board.label), str(error).removeprefix(f"{board.label}: ")))
        return
    rows, problems = parse_rows(text, None if check.classes is None else len(check.classes))
    check.errors += [Finding(p.code, str(board.label), p.text) for p in problems]
    if not rows and not problems:
        check.errors.append(
            Finding("empty label", str(board.label), "a defective board has a row for each defect; a good one has no label")
        )
    height, width = shape or (0, 0)
    for row in rows:
        box = to_px(row, width, height)
        name = str(row.number) if check.classes is None else check.classes[row.number]
        sides = (box.x2 - box.x1, box.y2 - box.y1)
        if shape is not None:
            counts.boxes[name].append(sides)
            _note_small(check, board, name, box, min(sides))


def _note_small(check: DatasetCheck, board: Board, name: str, box: Box, side_px: float) -> None:
    if side_px < SMALL_PX:
        text = f"{name} at {box.x1:.0f}, {box.y1:.0f} is {box.x2 - box.x1:.1f} x {box.y2 - box.y1:.1f} px"
        check.notes.append(Finding("small box", str(board.label), text))


def _check_same(check: DatasetCheck, pictures: list[_Picture]) -> None:
    """Exactly the same pixels, whatever the files: twice in a split, or in two splits, is an error."""
    by_digest: dict[str, list[_Picture]] = defaultdict(list)
    for picture in pictures:
        by_digest[picture.digest].append(picture)
    for same in by_digest.values():
        first = same[0]
        for other in same[1:]:
            if other.split != first.split:
                code, text = "leakage", f"is the same picture as {first.path}, in another split"
            elif other.name == first.name:
                code, text = "duplicate", f"is the same picture as {first.path}: one of the two is misplaced"
            else:
                code, text = "duplicate", f"is the same picture as {first.path}"
            check.errors.append(Finding(code, str(other.path), text))


def _check_alike(check: DatasetCheck, pictures: list[_Picture]) -> None:
    """The same exposure again: an error between splits, a note within one. Another part of one layout: a note."""
    paths = [p.path for p in pictures]
    prints, splits, names = [p.print_ for p in pictures], [p.split for p in pictures], [p.name for p in pictures]
    alike, left = find_alike(prints, splits, names, by_path(paths, _read))
    known: dict[str, set[str]] = defaultdict(set)
    for pair in alike:
        one, other = pictures[pair.a], pictures[pair.b]
        if one.digest == other.digest:
            continue  # told already
        if one.split == other.split:
            if pair.is_same_picture:
                check.notes.append(Finding("near-duplicate", str(other.path), f"shows the same as {one.path} ({_how(pair)})"))
        elif pair.is_same_picture:
            check.errors.append(Finding("leakage", str(other.path), f"shows the same as {one.path}, in another split ({_how(pair)})"))
        else:
            known[other.split].add(str(other.path))
    for split, shown in known.items():
        text = f"{len(shown)} pictures show a layout that another split shows, too: figures hold for known layouts"
        check.notes.append(Finding("same layout", split, text))
    if left:
        text = f"{MOST_COMPARED} pairs that look alike were compared pixel by pixel, the most alike first; {left} were not"
        check.notes.append(Finding("not compared", "", text))


def _how(pair: Alike) -> str:
    return f"correlation {pair.layout if pair.same is None else pair.same:.3f}"


def _read(path: Path) -> Pixels:
    return read_picture(path)


def _spread(boxes: list[tuple[float, float]]) -> dict[str, Any] | None:
    """Shortest, median and longest of the boxes' shorter and longer sides, px; None without boxes."""
    if not boxes:
        return None
    sides = {"shorter": [min(b) for b in boxes], "longer": [max(b) for b in boxes]}
    spread = {name: {"min": min(v), "median": median(v), "max": max(v)} for name, v in sides.items()}
    return {name: {k: float(np.round(v, 1)) for k, v in values.items()} for name, values in spread.items()}
