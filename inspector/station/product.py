"""What the station judges by: a recipe with its presence check, a detector still to be opened, and the canary that proves it."""

from collections.abc import Callable
from dataclasses import dataclass

from inspector.checks import Canary
from inspector.ports import Detector, DetectorInfo
from inspector.presence import PresenceCheck
from inspector.recipe import Recipe
from inspector.reference import Register
from inspector.release import Release


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """Everything that is needed to judge one product; verified, but nothing compiled yet.

    channels is what the detector takes: 1 (mono) or 3 (B, G, R). open_detector may take seconds. register brings the
    reference into the frame's register, for a detector that looks at one; None for the others.
    """

    recipe: Recipe
    presence: PresenceCheck
    canary: Canary
    channels: int
    bundle_name: str
    bundle_hash: str
    open_detector: Callable[[], Detector]
    register: Register | None = None

    def release(self, info: DetectorInfo) -> Release:
        """The release that this product and a detector that really runs make together."""
        return Release(self.recipe, self.bundle_name, self.bundle_hash, info.device, info.precision, info.runtime)
