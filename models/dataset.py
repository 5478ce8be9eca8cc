"""A dataset on disk: pictures, YOLO labels and good parts, in one folder or in splits of that layout.

    DIR/[train|val|test/]defective/K.png   labels/K.txt   good/K.png (the same part without its defects, or any good part)
    DIR/classes.txt                        a class name a line; row number = number in the labels

Nothing is decoded until it is asked for.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from inspector.camera.pictures import SUFFIXES
from inspector.errors import InspectorError
from inspector.types import Box
from models.dataset_labels import Row, parse_rows

SPLITS = ("train", "val", "test")
DEFECTIVE, GOOD, LABELS = "defective", "good", "labels"
CLASSES_FILE = "classes.txt"


class DatasetError(InspectorError):
    """A dataset that cannot be used; the text is one line that names the file, what is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Truth:
    """One true defect of a picture, box in picture pixels."""

    defect_class: str
    box: Box


@dataclass(frozen=True, slots=True)
class Board:
    """All that lies in a split under one name. Without `good` there is no twin; `label` belongs to `defective`."""

    name: str
    defective: Path | None
    good: Path | None
    label: Path | None


@dataclass(frozen=True, slots=True)
class Split:
    """One folder with defective/, good/ and labels/. `doubled` are pictures that share their name with another one of their folder."""

    name: str
    folder: Path
    boards: tuple[Board, ...]
    doubled: tuple[Path, ...] = ()

    @property
    def defective(self) -> tuple[Board, ...]:
        return tuple(b for b in self.boards if b.defective is not None)

    @property
    def good(self) -> tuple[Board, ...]:
        return tuple(b for b in self.boards if b.good is not None)


def open_dataset(folder: Path) -> tuple[Split, ...]:
    """The splits of a dataset: train, val, test where they are there, else the folder itself as the one split "all".

    Raises DatasetError when neither is there, or both.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: is no folder; name the folder of a dataset")
    splits = [name for name in SPLITS if (folder / name).is_dir()]
    single = [name for name in (DEFECTIVE, GOOD) if (folder / name).is_dir()]
    if splits and single:
        raise DatasetError(f"{folder}: holds {splits[0]}/ and {single[0]}/ side by side; keep splits, or one folder of pictures")
    if not splits and not single:
        raise DatasetError(f"{folder}: holds neither {DEFECTIVE}/ and {GOOD}/ nor {', '.join(SPLITS)}; name the folder of a dataset")
    return tuple(_split(name, folder / name) for name in splits) if splits else (_split("all", folder),)


def open_split(folder: Path) -> Split:
    """The one split of a folder with defective/ and good/. Raises DatasetError when it is something else."""
    found = open_dataset(folder)
    if found[0].folder != folder:
        raise DatasetError(f"{folder}: holds splits; name one of {', '.join(str(s.folder) for s in found)}")
    return found[0]


def find_classes(folder: Path) -> tuple[str, ...] | None:
    """Class names of the dataset's classes.txt, which lies in it or in the folder above a split; None without one. Raises DatasetError."""
    for path in (folder / CLASSES_FILE, folder.resolve().parent / CLASSES_FILE):
        if path.is_file():
            return check_class_names(path.read_text(encoding="utf-8").split("\n"), str(path))
    return None


def check_class_names(names: Iterable[str], where: str) -> tuple[str, ...]:
    """The names without blanks around them and empty ones at the end. Raises DatasetError for none, empty ones or doubled ones."""
    stripped = [name.strip() for name in names]
    while stripped and not stripped[-1]:
        stripped.pop()
    if not stripped or not all(stripped):
        raise DatasetError(f"{where}: a class has no name; write one name a line, in the order of the labels' numbers")
    if doubled := sorted({name for name in stripped if stripped.count(name) > 1}):
        raise DatasetError(f"{where}: {', '.join(doubled)} stands twice; each class has one number")
    return tuple(stripped)


def read_truths(board: Board, classes: tuple[str, ...], width: int, height: int) -> tuple[Truth, ...]:
    """The defects of a defective board, boxes in px of its width x height picture. Raises DatasetError at the first error of the labels."""
    if board.label is None:
        raise DatasetError(f"{board.defective}: has no label file; add {LABELS}/{board.name}.txt, or take the picture out")
    rows, problems = parse_rows(read_label_text(board.label), len(classes))
    if problems:
        raise DatasetError(f"{board.label}: {problems[0].text}; `inspector model dataset check` lists all such errors")
    if not rows:
        raise DatasetError(f"{board.label}: is empty; a defective board has a row for each defect, a good one belongs into {GOOD}/")
    return tuple(Truth(classes[row.number], to_px(row, width, height)) for row in rows)


def to_px(row: Row, width: int, height: int) -> Box:
    """A normalised row as a box in px, clipped to the picture."""
    x1, y1 = (row.cx - row.w / 2) * width, (row.cy - row.h / 2) * height
    x2, y2 = (row.cx + row.w / 2) * width, (row.cy + row.h / 2) * height
    return Box(max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2))


def read_label_text(path: Path) -> str:
    """Raises DatasetError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); write it again as plain text") from error


def _split(name: str, folder: Path) -> Split:
    defective, doubled = _by_name(folder / DEFECTIVE, SUFFIXES)
    good, also = _by_name(folder / GOOD, SUFFIXES)
    labels, _ = _by_name(folder / LABELS, frozenset({".txt"}))
    names = sorted({*defective, *good, *labels})
    return Split(name, folder, tuple(Board(n, defective.get(n), good.get(n), labels.get(n)) for n in names), (*doubled, *also))


def _by_name(folder: Path, suffixes: frozenset[str]) -> tuple[dict[str, Path], list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in suffixes and path.is_file():
                found[path.stem].append(path)
    return {name: paths[0] for name, paths in found.items()}, [path for paths in found.values() for path in paths[1:]]
