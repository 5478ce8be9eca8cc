"""A model on disk: a folder with one card (card.json) that names every other file by its SHA-256.

    card.json  fp32/model.xml  fp32/model.bin  int8/model.xml  int8/model.bin  canary.png

`Bundle.open` refuses by one line what is not exactly as it was made. Whether the network inside has the classes and input that the card
claims is checked where it is loaded (inspector.detect.openvino), because nothing here may need OpenVINO.
"""

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from inspector.errors import BundleError
from inspector.types import Box, Detection, Pixels

CARD = "card.json"
DEFAULT_BUNDLE = "deeppcb-yolo26n-v0"
GREY = 114
"""What fills the network input beside the frame; the value that ultralytics trains with."""


class InputKind(StrEnum):
    """What the network looks at: one grey picture, a colour picture, or a grey picture beside how it should look."""

    MONO = "mono"
    BGR = "bgr"
    MONO_REFERENCE = "mono+reference"


class Layout(StrEnum):
    """How the network answers: see inspector.detect.decode."""

    CENTRE_SIZE = "centre-size with classes, needs NMS"
    END_TO_END = "end-to-end"


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a frame lies in the network input: scaled by `gain`, centred, grey beside it. All in px.

    Rounding as in ultralytics 8.4 (`LetterBox`, `scale_boxes`), so that boxes agree.
    """

    frame_height: int
    frame_width: int
    height: int
    width: int

    @property
    def gain(self) -> float:
        """Network pixels per frame pixel."""
        return min(self.height / self.frame_height, self.width / self.frame_width)

    @property
    def inner(self) -> tuple[int, int]:
        """(height, width) of the scaled frame."""
        return max(1, round(self.frame_height * self.gain)), max(1, round(self.frame_width * self.gain))

    @property
    def top_left(self) -> tuple[int, int]:
        """(rows above, columns left of) the scaled frame."""
        height, width = self.inner
        return round((self.height - height) / 2 - 0.1), round((self.width - width) / 2 - 0.1)

    def to_frame(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (n, 4) as x1, y1, x2, y2 from network to frame pixels, clipped to the frame."""
        top, left = self.top_left
        moved: NDArray[np.float32] = (boxes - np.array((left, top, left, top), np.float32)) / np.float32(self.gain)
        return moved.clip(0, np.array((self.frame_width, self.frame_height) * 2, np.float32))


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


Words = Annotated[str, Field(min_length=1)]
Score = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Precision(_Model):
    model: Words
    weights: Words


class _Expected(_Model):
    defect_class: Words
    score: Score
    box: Annotated[list[float], Field(min_length=4, max_length=4)]


class _Canary(_Model):
    picture: Words
    reference: Words | None = None
    detections: Annotated[list[_Expected], Field(min_length=1)]
    min_iou: Score
    score_tolerance: Score


class Card(_Model):
    """card.json, format 1. `sha256` seals the rest of the card; `files` seals the files. Sizes are px of the network input."""

    format: Annotated[int, Field(ge=1, le=1)]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: Words
    classes: Annotated[list[Words], Field(min_length=1)]
    input: Annotated[InputKind, Field(strict=False)]
    width: Annotated[int, Field(ge=32)]
    height: Annotated[int, Field(ge=32)]
    layout: Annotated[Layout, Field(strict=False)]
    nms_iou: Annotated[float, Field(gt=0, lt=1)]
    precisions: Annotated[dict[Words, _Precision], Field(min_length=1)]
    default_precision: Words
    canary: _Canary
    licence: Words
    training: Words
    measured: dict[str, Any]
    files: dict[Words, Sha256]
    sha256: Sha256

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes: a name stands twice")
        if self.default_precision not in self.precisions:
            raise ValueError(f"default_precision: {self.default_precision} is none of {', '.join(self.precisions)}")
        if strangers := {e.defect_class for e in self.canary.detections} - set(self.classes):
            raise ValueError(f"canary: {', '.join(sorted(strangers))} is none of the classes")
        if (self.canary.reference is not None) != (self.input is InputKind.MONO_REFERENCE):
            raise ValueError(f"canary.reference: has to be there exactly when input is {InputKind.MONO_REFERENCE}")
        named = {self.canary.picture, *filter(None, [self.canary.reference])}
        named.update(name for p in self.precisions.values() for name in (p.model, p.weights))
        if unsealed := named - set(self.files):
            raise ValueError(f"files: {', '.join(sorted(unsealed))} has no SHA-256")
        if outside := [f for f in self.files if PurePosixPath(f).is_absolute() or ".." in PurePosixPath(f).parts or "\\" in f]:
            raise ValueError(f"files: {', '.join(outside)} is not inside the bundle")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class CanaryFrame:
    """The canary as the station's camera would show it, and what the detector has to find in it (frame pixels)."""

    pixels: Pixels
    reference: Pixels | None
    expected: tuple[Detection, ...]
    min_iou: float
    score_tolerance: float


@dataclass(frozen=True, slots=True, eq=False)
class BundleCanary:
    """A rendered picture of the network's size with defects that the detector has to find, through the station's real path.

    Nothing else in it reaches a score of 0.5. Its defects lie near the middle, so that frames of most shapes show them all.
    """

    picture: Pixels
    reference: Pixels | None
    expected: tuple[Detection, ...]
    min_iou: float
    score_tolerance: float

    def frame(self, height: int, width: int, channels: int = 1) -> CanaryFrame:
        """The canary as a frame of that size: the part of it that the letterbox shows, scaled so that the network sees it as it is.

        Raises BundleError when the frame is so long and narrow that a defect of the canary would lie outside.
        """
        box = Letterbox(height, width, *self.picture.shape[:2])
        (rows, columns), (top, left) = box.inner, box.top_left
        corners = np.array([(d.box.x1, d.box.y1, d.box.x2, d.box.y2) for d in self.expected], np.float32)
        if (corners[:, :2] < (left, top)).any() or (corners[:, 2:] > (left + columns, top + rows)).any():
            raise BundleError(f"the canary does not fit into frames of {width}x{height} px: use a region of interest nearer to square")
        boxes = (Box(*corner) for corner in box.to_frame(corners).tolist())
        expected = tuple(Detection(d.defect_class, d.score, b) for d, b in zip(self.expected, boxes, strict=True))

        def shown(picture: Pixels) -> Pixels:
            part = picture[top : top + rows, left : left + columns]
            scaled = part if part.shape[:2] == (height, width) else cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)
            coloured = cv2.cvtColor(scaled, cv2.COLOR_GRAY2BGR) if channels == 3 and scaled.ndim == 2 else scaled
            return np.ascontiguousarray(coloured, dtype=np.uint8)

        reference = None if self.reference is None else shown(self.reference)
        return CanaryFrame(shown(self.picture), reference, expected, self.min_iou, self.score_tolerance)


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened, verified bundle. `hash` names it for ever: it is the SHA-256 of the card, which holds those of all files."""

    folder: Path
    card: Card

    @classmethod
    def open(cls, folder: Path) -> "Bundle":
        """Read card.json and verify every file that it names. Raises BundleError: what differs, and where to get it right."""
        bundle = cls(folder, _read_card(folder / CARD))
        for name in bundle.card.files:
            bundle.read(name)
        bundle.canary()
        return bundle

    @property
    def hash(self) -> str:
        """64 hexadecimal digits."""
        return self.card.sha256

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def version(self) -> str:
        return self.card.version

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.card.classes)

    @property
    def input(self) -> InputKind:
        return self.card.input

    @property
    def precisions(self) -> tuple[str, ...]:
        """Names of the precisions that lie in the bundle: "fp32", "int8"."""
        return tuple(self.card.precisions)

    def read(self, name: str) -> bytes:
        """A file of the bundle, verified as it is read. Raises BundleError."""
        path = self.folder / name
        try:
            content = path.read_bytes()
        except OSError as e:
            raise BundleError(f"{path}: cannot be read ({e.strerror}); copy the bundle again") from e
        if hashlib.sha256(content).hexdigest() != self.card.files.get(name):
            raise BundleError(f"{path}: differs from what {CARD} was made for; copy the bundle again")
        return content

    def model(self, precision: str | None = None) -> tuple[bytes, bytes]:
        """The IR (XML, weights) of a precision, by default the card's. Raises BundleError for one that is not in the bundle."""
        files = self.card.precisions.get(precision or self.card.default_precision)
        if files is None:
            raise BundleError(f"{self.folder}: has no precision {precision}; choose one of {', '.join(self.precisions)}")
        return self.read(files.model), self.read(files.weights)

    def canary(self) -> BundleCanary:
        """The canary's picture and what has to be found in it. Raises BundleError when the picture has not the network's size."""
        c = self.card.canary
        expected = tuple(Detection(d.defect_class, d.score, Box(*d.box)) for d in c.detections)
        reference = None if c.reference is None else self._picture(c.reference)
        return BundleCanary(self._picture(c.picture), reference, expected, c.min_iou, c.score_tolerance)

    def _picture(self, name: str) -> Pixels:
        colour = self.card.input is InputKind.BGR
        pixels = cv2.imdecode(np.frombuffer(self.read(name), np.uint8), cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE)
        if pixels is None or pixels.shape[:2] != (self.card.height, self.card.width):
            raise BundleError(f"{self.folder / name}: is no picture of {self.card.width}x{self.card.height} px; make the bundle again")
        return np.asarray(pixels, np.uint8)


def card_hash(card: dict[str, Any]) -> str:
    """SHA-256 over the card's canonical bytes: JSON without its `sha256`, keys sorted, no blanks, UTF-8."""
    rest = {key: value for key, value in card.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def find_default_bundle() -> Path:
    """The folder of the bundle that ships. Raises BundleError when it is not installed.

    The package `models` is located, not imported: the station runs without what is in it.
    """
    spec = importlib.util.find_spec("models")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / "bundles" / DEFAULT_BUNDLE
        if (folder / CARD).is_file():
            return folder
    raise BundleError(f"the default bundle {DEFAULT_BUNDLE} is not installed: install inspector-station again, or name a bundle")


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _read_card(path: Path) -> Card:
    try:
        raw = json.loads(path.read_bytes(), parse_constant=_no_number)
    except OSError as e:
        raise BundleError(f"{path}: cannot be read ({e.strerror}); name the folder of a bundle") from e
    except ValueError as e:
        raise BundleError(f"{path}: is no JSON ({e}); copy the bundle again") from e
    try:
        card = Card.model_validate(raw)
    except ValidationError as e:
        first = e.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path}: {key + ': ' if key else ''}{first['msg']}; make the bundle again") from e
    if card_hash(raw) != card.sha256:
        raise BundleError(f"{path}: was edited after it was made; copy the bundle again, or make it anew")
    return card
