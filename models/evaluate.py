"""Measures a bundle and a recipe on pictures with truth: boxes as the literature counts them, parts as a line does."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from inspector.camera.pictures import read_picture
from inspector.ports import DetectorInfo
from inspector.recipe import Recipe
from inspector.types import Pixels
from models.dataset import Board, DatasetError, Split, Truth, read_truths
from models.looking import Looker
from models.metrics import BoxFigures, Ints, Looked, box_figures, confusion
from models.part_level import Part, PartFigures, PartKind, above_limits, part_figures, percent, sweep
from models.part_pictures import disturbed, mended, single_defects

SEED = 0

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Release:
    """What was measured, by the names that stand in records."""

    bundle: str
    bundle_hash: str
    recipe: str
    recipe_revision: str
    presence: str


@dataclass(frozen=True)
class Evaluation:
    """All figures of one evaluation. parts holds what was seen on every picture, so that any other limit can be tried.

    left_out: single-defect boards that could not be made, because another defect's patch would damage the one.
    """

    release: Release
    info: DetectorInfo
    with_reference: bool
    recipe: Recipe
    parts: tuple[Part, ...]
    boxes: BoxFigures
    figures: PartFigures
    swept: list[tuple[float, PartFigures]]
    confusion: Ints
    left_out: int

    @property
    def classes(self) -> tuple[str, ...]:
        return self.info.classes

    def document(self) -> dict[str, Any]:
        """Plain values for JSON: AP, F and shares in percent; escapes and overkills are counts of parts.

        With a reference, overkills is None: a good twin is its own reference, and proves nothing.
        """
        b, f = self.boxes, self.figures
        overkills = None if self.with_reference else f.overkills.count
        main: dict[str, Any] = {
            "ap33_pooled": _pct(b.ap33_pooled),
            "map33": _pct(b.map33),
            "f33": _pct(b.f33),
            "map50": _pct(b.map50),
            "map5095": _pct(b.map5095),
            "escapes": f.escapes.count,
            "overkills": overkills,
            "single_defect_rejected": _pct(f.single_rejected.rate),
            "defect_recall": _pct(f.defects_found.rate),
            "precision": self.info.precision,
            "device": self.info.device,
        }
        return main | self._bounds() | self._details()

    def _bounds(self) -> dict[str, Any]:
        f = self.figures
        shares = {"escapes": f.escapes, "single_defect_rejected": f.single_rejected, "single_defect_hit": f.single_hit}
        shares |= {"overkills_disturbed": f.disturbed_overkills, "mended_rejected": f.mended_rejected, "defect_recall": f.defects_found}
        if not self.with_reference:
            shares["overkills"] = f.overkills
        return {
            "unit": "percent",
            "overkills_disturbed": f.disturbed_overkills.count,
            "faults": f.faulted,
            "single_defect_left_out": self.left_out,
            "bounds": {name: percent(share) for name, share in shares.items()},
        }

    def _details(self) -> dict[str, Any]:
        f, r = self.figures, self.release
        return {
            "ap33_by_class": {name: _pct(ap) for name, ap in self.boxes.by_class.items()},
            "defect_recall_by_class": {name: percent(share) for name, share in f.defects_found_by_class.items()},
            "false_calls": f.false_calls,
            "boards_with_false_calls": percent(f.boards_false_calls),
            "best_f_limit": self.boxes.pooled.best_limit,
            "parts": {kind.value: f.of(kind).judged + f.of(kind).faulted for kind in PartKind},
            "sweep": [sweep_row(limit, figures, self.with_reference) for limit, figures in self.swept],
            "with_reference": self.with_reference,
            "bundle": r.bundle,
            "bundle_sha256": r.bundle_hash,
            "recipe": r.recipe,
            "recipe_revision": r.recipe_revision,
            "presence": r.presence,
            "runtime": self.info.runtime,
        }


def sweep_row(limit: float, f: PartFigures, with_reference: bool) -> dict[str, Any]:
    """One limit for all classes, and what it does to parts; shares with their bounds."""
    return {
        "limit": limit,
        "escapes": percent(f.escapes),
        "overkills": None if with_reference else percent(f.overkills),
        "overkills_disturbed": percent(f.disturbed_overkills),
        "single_defect_rejected": percent(f.single_rejected),
        "single_defect_hit": percent(f.single_hit),
        "defect_recall": percent(f.defects_found),
        "boards_with_false_calls": percent(f.boards_false_calls),
    }


def evaluate(
    split: Split, looker: Looker, release: Release, limit: int | None = None, progress: Progress = lambda _done, _of: None
) -> Evaluation:
    """Look at every picture of the split and at the parts made of them; the recipe is the looker's.

    limit: so many boards, spread evenly over the split; None takes all. progress(done, of) counts pictures, about.
    Raises DatasetError or PictureError for pictures and labels that cannot be used, and when there is no defective board.
    """
    boards = spread(split.boards, limit)
    if not any(b.defective for b in boards):
        raise DatasetError(f"{split.folder}: has no defective board, so there is nothing to find; add defective/ and labels/")
    recipe = looker.recipe
    work = _Work(looker, progress, len(boards))
    parts = tuple(part for board in boards for part in work.board(board))
    return Evaluation(
        release=release,
        info=looker.info,
        with_reference=looker.needs_reference,
        recipe=recipe,
        parts=parts,
        boxes=box_figures(_looked(parts), looker.info.classes),
        figures=part_figures(parts, recipe),
        swept=sweep(parts, recipe),
        confusion=confusion(above_limits(parts, recipe), looker.info.classes),
        left_out=work.left_out,
    )


def spread(boards: Sequence[Board], limit: int | None) -> tuple[Board, ...]:
    """At most `limit` of the boards, evenly spread, the same ones every time."""
    if limit is None or limit >= len(boards):
        return tuple(boards)
    return tuple(boards[i * len(boards) // limit] for i in range(limit))


def read(looker: Looker, board: Board) -> tuple[Pixels | None, Pixels | None, tuple[Truth, ...]]:
    """(defective, good, truths) of a board as its looker takes them. Raises DatasetError or PictureError; the size is the recipe's."""
    frame = looker.recipe.frame
    size = (frame.width, frame.height)
    defective = None if board.defective is None else read_picture(board.defective, pixel=looker.pixel, size=size)
    good = None if board.good is None else read_picture(board.good, pixel=looker.pixel, size=size)
    truths = () if defective is None else read_truths(board, looker.info.classes, *size)
    return defective, good, truths


def part_picture(looker: Looker, board: Board, part: Part) -> Pixels:
    """The picture of a part, made again: evaluations keep what was seen, and no pictures."""
    defective, good, truths = read(looker, board)
    if part.kind is PartKind.DEFECTIVE and defective is not None:
        return defective
    assert good is not None
    if part.kind is PartKind.GOOD:
        return good
    if part.kind is PartKind.DISTURBED:
        return disturbed(good, board.name, SEED)
    assert defective is not None
    return mended(defective, good, [t.box for i, t in enumerate(truths) if part.kind is PartKind.MENDED or i != part.index])


class _Work:
    """Goes through the boards, and counts."""

    def __init__(self, looker: Looker, progress: Progress, boards: int) -> None:
        self.left_out = 0
        self._looker = looker
        self._progress = progress
        self._of = boards
        self._done = 0

    def board(self, board: Board) -> Iterator[Part]:
        look = self._looker.look
        defective, good, truths = read(self._looker, board)
        if defective is not None:
            yield Part(PartKind.DEFECTIVE, board.name, look(defective, good), truths)
        if good is not None:
            if not self._looker.needs_reference:
                yield Part(PartKind.GOOD, board.name, look(good))
            yield Part(PartKind.DISTURBED, board.name, look(disturbed(good, board.name, SEED), good))
        if defective is not None and good is not None:
            yield Part(PartKind.MENDED, board.name, look(mended(defective, good, [t.box for t in truths]), good))
            singles, left_out = single_defects(defective, good, truths)
            self.left_out += left_out
            for single in singles:
                yield Part(PartKind.SINGLE, board.name, look(single.pixels, good), (single.truth,), single.index)
        self._done += 1
        self._progress(self._done, self._of)


def _looked(parts: Sequence[Part]) -> list[Looked]:
    """Defective boards only, as in the literature: box figures do not look at good ones."""
    return [Looked(p.name, p.seen.detections, p.truths) for p in parts if p.kind is PartKind.DEFECTIVE]


def _pct(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 3)
