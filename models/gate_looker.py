"""Looks at golden parts as the station would: with the recipe's own reference, brought into register, and in tiles where it has them."""

from pathlib import Path

from inspector.bundle import Bundle, InputKind
from inspector.detect.openvino import OpenVinoDetector
from inspector.detect.tiles import TiledDetector, tiles_for
from inspector.errors import DetectorError, RecipeError
from inspector.ports import Detector
from inspector.presence import PresenceCheck
from inspector.recipe import Recipe
from inspector.reference import Reference
from inspector.types import FaultCode, Pixels, Verdict
from models.looking import Looker, Seen


class StationLooker(Looker):
    """A Looker that ignores a part's good twin where the recipe has a reference of its own; so good parts can be judged, too."""

    def __init__(self, recipe: Recipe, detector: Detector, kind: InputKind) -> None:
        super().__init__(recipe, detector, kind)
        self._own = Reference.of(recipe) if recipe.reference is not None else None
        self._sight = PresenceCheck(recipe)

    @property
    def needs_reference(self) -> bool:
        """Whether each part has to bring its good twin: a bundle with a reference, and a recipe without one."""
        return self.kind is InputKind.MONO_REFERENCE and self._own is None

    def look(self, pixels: Pixels, reference: Pixels | None = None) -> Seen:
        """As Looker.look; with the recipe's own reference in place of the given one."""
        if self._own is None:
            return super().look(pixels, reference)
        sighting = self._sight.look(pixels)
        if sighting.problem is not None:
            return Seen(pose=sighting.pose, fault=Verdict.fault(FaultCode.PRESENCE, sighting.problem))
        registered = self._own.register(pixels, sighting.pose)
        if registered.pixels is None:
            text = registered.problem or "the reference cannot be brought into register"
            return Seen(pose=sighting.pose, fault=Verdict.fault(FaultCode.PRESENCE, text))
        try:
            return Seen(self._detect(pixels, registered.pixels), sighting.pose)
        except DetectorError as error:
            return Seen(pose=sighting.pose, fault=Verdict.fault(FaultCode.DETECTOR, str(error)))


def open_looker(recipe: Recipe, bundle: Bundle, *, device: str, precision: str | None, cache_dir: Path | None) -> Looker:
    """What the gate looks with. Raises RecipeError when recipe and bundle do not fit, BundleError or DetectorError when the model cannot be
    used here."""
    if recipe.reference is not None and bundle.input is not InputKind.MONO_REFERENCE:
        raise RecipeError(
            f"recipe {recipe.name}: has a reference, and bundle {bundle.name} ({bundle.input}) looks at none; take one of them out"
        )
    plan = tiles_for(recipe, bundle)
    if plan is None:
        return StationLooker.open(recipe, bundle, device=device, precision=precision, cache_dir=cache_dir)
    recipe.check_classes(bundle.classes)
    channels = 3 if bundle.input is InputKind.BGR else 1
    size = {"height": plan.tile_height, "width": plan.tile_width, "channels": channels}
    tile = OpenVinoDetector(bundle, **size, device=device, precision=precision, cache_dir=cache_dir)
    return StationLooker(recipe, TiledDetector(tile, plan, channels=channels), bundle.input)
