"""Looks at pictures as the station would: presence, region, detector; the verdict comes from the same judge.

No archive, no deadline: what is measured here is what the station decides, not when.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from inspector.bundle import Bundle, InputKind
from inspector.camera.pictures import PixelFormat
from inspector.detect.openvino import OpenVinoDetector
from inspector.errors import DetectorError
from inspector.judge import judge
from inspector.ports import Detector, DetectorInfo
from inspector.presence import PresenceCheck
from inspector.recipe import Recipe
from inspector.types import Box, Detection, FaultCode, Pixels, Pose, Verdict
from models.part_pictures import in_register

TIMEOUT_S = 60.0
"""A picture that takes longer is a fault: the device hangs."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen on one picture: all detections of 0.01 or more (frame px), where the part lies, or why it faults."""

    detections: tuple[Detection, ...] = ()
    pose: Pose = field(default_factory=Pose)
    fault: Verdict | None = None

    def verdict(self, recipe: Recipe) -> Verdict:
        """What the station would decide by this recipe."""
        return self.fault or judge(self.detections, recipe, self.pose)


class Looker:
    """One recipe, one opened detector, one picture at a time. It owns the detector."""

    def __init__(self, recipe: Recipe, detector: Detector, kind: InputKind) -> None:
        self.recipe = recipe
        self.kind = kind
        self._detector = detector
        self._presence = PresenceCheck(recipe)

    @classmethod
    def open(
        cls, recipe: Recipe, bundle: Bundle, *, device: str = "CPU", precision: str | None = None, cache_dir: Path | None = None
    ) -> "Looker":
        """Raises RecipeError when recipe and bundle do not fit, BundleError or DetectorError when the model cannot be used here."""
        recipe.check_classes(bundle.classes)
        x1, y1, x2, y2 = recipe.region or (0, 0, recipe.frame.width, recipe.frame.height)
        detector = OpenVinoDetector(
            bundle,
            height=y2 - y1,
            width=x2 - x1,
            channels=3 if bundle.input is InputKind.BGR else 1,
            device=device,
            precision=precision,
            cache_dir=cache_dir,
        )
        return cls(recipe, detector, bundle.input)

    @property
    def info(self) -> DetectorInfo:
        return self._detector.info

    @property
    def pixel(self) -> PixelFormat:
        """What pictures have to be read as."""
        return "bgr" if self.kind is InputKind.BGR else "mono"

    @property
    def needs_reference(self) -> bool:
        return self.kind is InputKind.MONO_REFERENCE

    def look(self, pixels: Pixels, reference: Pixels | None = None) -> Seen:
        """pixels: uint8 of the recipe's frame size. reference: a good part of that size, brought into register here; for bundles that
        take one, and only used by them. What goes wrong on the picture is a fault of that part, as on the line."""
        sighting = self._presence.look(pixels)
        if sighting.problem is not None:
            return Seen(pose=sighting.pose, fault=Verdict.fault(FaultCode.PRESENCE, sighting.problem))
        try:
            if not self.needs_reference:
                found = self._detect(pixels, None)
            elif reference is None:
                raise DetectorError("the bundle looks at a reference, and this picture has no good twin to take for it")
            else:
                found = self._detect(pixels, in_register(reference, pixels))
        except DetectorError as error:
            return Seen(pose=sighting.pose, fault=Verdict.fault(FaultCode.DETECTOR, str(error)))
        return Seen(found, sighting.pose)

    def close(self) -> None:
        self._detector.close()

    def _detect(self, pixels: Pixels, reference: Pixels | None) -> tuple[Detection, ...]:
        x, y = self.recipe.region[:2] if self.recipe.region else (0, 0)
        self._detector.start(self._crop(pixels), None if reference is None else self._crop(reference))
        if not self._detector.wait(TIMEOUT_S):
            self._detector.cancel()
            raise DetectorError(f"{self.info.device} did not answer within {TIMEOUT_S:.0f} s")
        return tuple(_moved(d, x, y) for d in self._detector.result())

    def _crop(self, pixels: Pixels) -> Pixels:
        if self.recipe.region is None:
            return pixels
        x1, y1, x2, y2 = self.recipe.region
        return np.ascontiguousarray(pixels[y1:y2, x1:x2])


def _moved(d: Detection, x: int, y: int) -> Detection:
    return replace(d, box=Box(d.box.x1 + x, d.box.y1 + y, d.box.x2 + x, d.box.y2 + y)) if x or y else d
