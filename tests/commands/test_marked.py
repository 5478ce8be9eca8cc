"""Pictures for people: no two parts in one file, no verdict of before beside the new one."""

from pathlib import Path

import cv2
import numpy as np

from inspector.commands.marked import MarkedPictures
from inspector.types import Box, Frame, Inspection, PartId, PartKind, Reason, Timings, Verdict, VerdictKind


def part(source: str, kind: VerdictKind = VerdictKind.PASS, frame: bool = True) -> Inspection:
    reasons = (Reason("defect", "short", "short", score=0.9, box=Box(10, 10, 30, 30)),) if kind is VerdictKind.REJECT else ()
    shown = Frame(np.full((64, 64), 200, np.uint8), 1, 0, 0, source) if frame else None
    return Inspection(PartId(1, 1), PartKind.TEST, Verdict(kind, reasons), "", Timings(), frame=shown, source=source)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def test_pictures_of_the_same_name_get_files_of_their_own(tmp_path: Path) -> None:
    marked = MarkedPictures(tmp_path)
    for source in ("a/good/1.png", "b/good/1.png", "b/good/1.jpg"):
        marked.write(part(source))
    assert names(tmp_path) == ["good/1-2-pass.png", "good/1-3-pass.png", "good/1-pass.png"]


def test_a_picture_shows_one_verdict(tmp_path: Path) -> None:
    MarkedPictures(tmp_path).write(part("good/1.png"))
    MarkedPictures(tmp_path).write(part("good/1.png", VerdictKind.REJECT))
    assert names(tmp_path) == ["good/1-reject.png"]


def test_boxes_are_drawn_in_colour_and_the_frame_stays_as_it_was(tmp_path: Path) -> None:
    rejected = part("good/1.png", VerdictKind.REJECT)
    MarkedPictures(tmp_path).write(rejected)
    drawn = cv2.imread(str(tmp_path / "good" / "1-reject.png"))
    assert drawn is not None
    assert (drawn[30, 20] == (40, 40, 198)).all()
    assert rejected.frame is not None
    assert (rejected.frame.pixels == 200).all()


def test_a_part_without_a_frame_has_no_picture(tmp_path: Path) -> None:
    MarkedPictures(tmp_path).write(part("good/1.png", VerdictKind.FAULT, frame=False))
    assert names(tmp_path) == []
