"""Pictures with their verdict drawn on them, for people; never evidence."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from inspector.errors import InspectorError
from inspector.types import Inspection, VerdictKind

_RED, _WHITE = (40, 40, 198), (255, 255, 255)


class MarkedPictures:
    """Writes one picture for each part below `folder`; two pictures of the same name never end up in one file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: set[Path] = set()

    def write(self, part: Inspection) -> None:
        """The picture with the boxes that rejected it; nothing for a part without a frame. Raises InspectorError."""
        if part.frame is None:
            return
        path = self._place(Path(part.source), part.verdict.kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(path), _drawn(part, part.frame.pixels)):
            raise InspectorError(f"{path}: cannot be written; make room, or name another folder with --out")

    def _place(self, source: Path, kind: VerdictKind) -> Path:
        folder, count = self._folder / source.parent.name, 1
        path = folder / f"{source.stem}-{kind.value.lower()}.png"
        while path in self._written:
            count += 1
            path = folder / f"{source.stem}-{count}-{kind.value.lower()}.png"
        self._written.add(path)
        for other in VerdictKind:
            # A run before may have judged it otherwise; one picture must not show two verdicts.
            stale = path.with_name(path.name.replace(f"-{kind.value.lower()}.", f"-{other.value.lower()}."))
            if stale not in self._written:
                stale.unlink(missing_ok=True)
        return path


def _drawn(part: Inspection, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A red line on a white one around each box."""
    canvas = np.array(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR) if pixels.ndim == 2 else pixels, dtype=np.uint8)
    for reason in part.verdict.reasons:
        if reason.box is None:
            continue
        corner, far = (round(reason.box.x1), round(reason.box.y1)), (round(reason.box.x2), round(reason.box.y2))
        cv2.rectangle(canvas, corner, far, _WHITE, 4)
        cv2.rectangle(canvas, corner, far, _RED, 2)
        _label(canvas, f"{reason.defect_class} {reason.score:.2f}", corner)
    return canvas


def _label(canvas: NDArray[np.uint8], text: str, corner: tuple[int, int]) -> None:
    """White text on red above the box, or inside the picture's upper edge."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    left, bottom = max(0, min(corner[0], canvas.shape[1] - width - 6)), max(height + 8, corner[1])
    cv2.rectangle(canvas, (left, bottom - height - 8), (left + width + 6, bottom), _RED, cv2.FILLED)
    cv2.putText(canvas, text, (left + 3, bottom - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _WHITE, 1, cv2.LINE_AA)
