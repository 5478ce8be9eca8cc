"""The recipe: how one product is judged. TOML for people, an immutable revision for records.

Coordinates are pixels of the frame as the recipe was taught; sizes are px². All limits are scores from 0 to 1.
"""

import hashlib
import json
import tomllib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from shapely import Polygon
from shapely.validation import explain_validity

from inspector.errors import RecipeError
from inspector.types import Severity

# Strict: `limit = true` would otherwise be the limit 1.0, which never rejects.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True)]
Score = Annotated[Number, Field(ge=0.01, le=1)]
NonNegative = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
Point = tuple[Number, Number]
Rectangle = tuple[Whole, Whole, Whole, Whole]
_STRICT = ConfigDict(extra="forbid")


class ZoneKind(StrEnum):
    """inspect: only what touches such a zone is judged, once there is one; ignore: what lies wholly inside is not judged;
    critical: judged, and every class in it is critical."""

    INSPECT = "inspect"
    IGNORE = "ignore"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Rule:
    """When a class rejects: more than `max_count` detections with score >= `limit` and area >= `min_size_px2`.

    The lowest limit is 0.01, because the detector records nothing below it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    limit: Score
    severity: Severity = Severity.MAJOR
    min_size_px2: NonNegative = 0.0
    max_count: Annotated[Whole, Field(ge=0)] = 0


@dataclass(frozen=True, slots=True)
class Zone:
    """A named polygon, with rules of its own for the classes it names."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: Annotated[str, Field(min_length=1, max_length=80)]
    kind: ZoneKind
    polygon: Annotated[tuple[Point, ...], Field(min_length=3, max_length=500)]
    classes: dict[str, Rule] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PresenceOff:
    """No presence check, on purpose: endless material, or crops that fill the frame. Every record says so."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    method: Literal["off"]
    why: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3)]


@dataclass(frozen=True, slots=True)
class PresenceSilhouette:
    """The part is there when its silhouette, the pixels brighter (or darker) than `threshold`, has the right area.

    With `centre` its centre of area may lie at most `max_shift_px` away from where it was taught, and moves the zones.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    method: Literal["silhouette"]
    threshold: Annotated[Whole, Field(ge=1, le=254)]
    min_area_px2: Positive
    max_area_px2: Positive
    part_is: Literal["bright", "dark"] = "bright"
    centre: Point | None = None
    max_shift_px: Annotated[Positive, Field(le=500)] = 20.0


@dataclass(frozen=True, slots=True)
class PresenceTemplate:
    """The part is there when `picture` (a mark on it) is found with `min_score` (normalised correlation, 0..1) at most
    `max_shift_px` from `position`, its top-left corner as taught. The shift moves the zones with the part."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    method: Literal["template"]
    picture: Path
    position: tuple[Whole, Whole]
    min_score: Annotated[Positive, Field(lt=1)] = 0.7
    max_shift_px: Annotated[Whole, Field(gt=0, le=500)] = 20


Presence = Annotated[PresenceOff | PresenceSilhouette | PresenceTemplate, Field(discriminator="method")]


@dataclass(frozen=True, slots=True)
class FrameSize:
    """The frame that the recipe was taught on, px."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    width: Annotated[Whole, Field(ge=16, le=20000)]
    height: Annotated[Whole, Field(ge=16, le=20000)]


@dataclass(frozen=True, slots=True)
class Tiles:
    """A frame, or region, larger than the network's input is looked at in tiles of that size instead of being scaled down to it.

    largest_px: width and height of the largest defect that has to be seen whole; the tiles overlap by that much and a little more.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    largest_px: Annotated[Whole, Field(ge=1, le=4000)]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one product is judged. `revision` names exactly this content, pictures included; it never changes.

    region is the part of the frame that the detector sees: x1, y1, x2, y2, far edges exclusive. `reference` is a picture of how the part
    should look, a mono frame of a good part as taught, for bundles that take one (see inspector.reference). `pictures` are the bytes of
    the picture files that the recipe names, by their name in it, read once: what is hashed is what is used and stored.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: Annotated[str, Field(min_length=1, max_length=80)]
    frame: FrameSize
    presence: Presence
    classes: Annotated[dict[str, Rule], Field(min_length=1)]
    region: Rectangle | None = None
    zones: tuple[Zone, ...] = ()
    reference: Path | None = None
    tiles: Tiles | None = None
    note: str = ""
    pictures: Annotated[dict[str, bytes], Field(exclude=True)] = field(default_factory=dict)
    revision: str = ""

    @property
    def presence_text(self) -> str:
        """The presence method as every record names it."""
        return self.presence.method

    def rule(self, defect_class: str, zone: Zone | None) -> Rule:
        """The rule for a class in a zone: the zone's own, else the recipe's."""
        if zone is not None and defect_class in zone.classes:
            return zone.classes[defect_class]
        return self.classes[defect_class]

    def check_classes(self, bundle_classes: Iterable[str]) -> None:
        """Refuse unless exactly the model's classes have rules: an unknown one is a slip, a missing one would never reject."""
        known = tuple(bundle_classes)
        unknown = [c for c in self.classes if c not in known]
        missing = [c for c in known if c not in self.classes]
        if unknown:
            raise RecipeError(f"recipe {self.name}: classes {', '.join(unknown)} are unknown to the model; it knows {', '.join(known)}")
        if missing:
            raise RecipeError(f"recipe {self.name}: no rule for {', '.join(missing)}; add [classes.{missing[0]}] with a limit")

    def document(self) -> dict[str, Any]:
        """The whole recipe as plain JSON values, pictures in base64: what a release and the archive store."""
        plain: dict[str, Any] = json.loads(_RECIPE.dump_json(self))
        return plain | {"pictures": {name: b64encode(content).decode() for name, content in self.pictures.items()}}


_RECIPE = TypeAdapter(Recipe)
_WORKED_OUT = ("revision", "pictures")


def load(path: Path) -> Recipe:
    """Read and check a recipe. Raises RecipeError naming the file, the key and what would be right."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe file") from None
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, no TOML, or a number of thousands of digits
        raise RecipeError(f"{path}: not a readable TOML file: {error}") from None
    return parse(raw, folder=path.parent, where=str(path))


def parse(raw: dict[str, Any], *, folder: Path, where: str = "recipe") -> Recipe:
    """A recipe from plain values; relative picture paths count from `folder`. Raises RecipeError."""
    for key in _WORKED_OUT:
        if key in raw:
            raise RecipeError(f"{where}: key {key}: is worked out by the station; remove it")
    return _recipe(raw, lambda named, key: _picture_bytes(folder / named, key, where), where)


def restore(document: dict[str, Any]) -> Recipe:
    """The recipe that `document()` told, as the archive holds it. Raises RecipeError when it is not what its revision names."""
    rest = dict(document)
    where, revision = f"recipe {rest.get('name')} from the records", rest.pop("revision", None)
    pictures = {name: b64decode(content) for name, content in rest.pop("pictures", {}).items()}
    recipe = _recipe(rest, lambda named, _key: pictures.get(named.as_posix(), b""), where)
    if recipe.revision != revision:
        raise RecipeError(f"{where}: its content is revision {recipe.revision[:12]}, its label says {str(revision)[:12]}; it was changed")
    return recipe


def _recipe(raw: dict[str, Any], read: Callable[[Path, str], bytes], where: str) -> Recipe:
    try:
        recipe = _RECIPE.validate_python(raw)
    except ValidationError as error:
        raise RecipeError(f"{where}: key {_explain(error.errors())}") from None
    _check_geometry(recipe, where)
    content = _RECIPE.dump_python(recipe, mode="json")
    for key in ("reference", "tiles"):
        if content[key] is None:
            del content[key]  # revisions from before there were such keys stay what they are
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    pictures: dict[str, bytes] = {}
    for key, path in _named_pictures(recipe):
        pictures[path.as_posix()] = read(path, key)
        digest.update(pictures[path.as_posix()])
    return replace(recipe, pictures=pictures, revision=digest.hexdigest())


def _named_pictures(recipe: Recipe) -> list[tuple[str, Path]]:
    """The recipe's keys that name a picture, with their files, in the order in which the revision takes their bytes."""
    mark = [("presence.picture", recipe.presence.picture)] if isinstance(recipe.presence, PresenceTemplate) else []
    return mark + ([("reference", recipe.reference)] if recipe.reference is not None else [])


def _explain(faults: list[ErrorDetails]) -> str:
    """The first fault as "key: what is wrong". A misspelt key comes first: it is why another one is missing."""
    fault = next((f for f in faults if f["type"] == "unexpected_keyword_argument"), faults[0])
    place = [str(part) for part in fault["loc"]]
    section = _section(place)
    if place[:1] == ["presence"] and len(place) > 2:
        del place[1]  # the method, which pydantic names on the way, is no key
    key = ".".join(place) or "(top)"
    if fault["type"] == "unexpected_keyword_argument":
        known = [f.name for f in fields(section) if f.name not in _WORKED_OUT]
        return f"{key}: there is no such key; there are {', '.join(known)}"
    return f"{key}: {fault['msg']}; found {fault['input']!r:.80}"


def _section(place: list[str]) -> type[Any]:
    """The dataclass that the last key of a place should stand in."""
    match place[:-1]:
        case ["classes", _] | ["zones", _, "classes", _]:
            return Rule
        case ["zones", _]:
            return Zone
        case ["frame"]:
            return FrameSize
        case ["tiles"]:
            return Tiles
        case ["presence", method]:
            return {"off": PresenceOff, "silhouette": PresenceSilhouette}.get(method, PresenceTemplate)
    return Recipe


def _picture_bytes(path: Path, key: str, where: str) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: no name of a file at all
        why = error.strerror if isinstance(error, OSError) else error
        raise RecipeError(f"{where}: key {key}: {path} cannot be read ({why}); teach it again") from None


def _check_geometry(recipe: Recipe, where: str) -> None:
    width, height = recipe.frame.width, recipe.frame.height
    if recipe.region is not None:
        x1, y1, x2, y2 = recipe.region
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            raise RecipeError(f"{where}: key region: {recipe.region} does not lie in the {width}x{height} frame as x1, y1, x2, y2")
    names = [zone.name for zone in recipe.zones]
    for index, zone in enumerate(recipe.zones):
        key = f"zones.{index} ({zone.name})"
        if names.count(zone.name) > 1:
            raise RecipeError(f"{where}: key {key}: the name is used twice")
        polygon = Polygon(zone.polygon)
        if not polygon.is_valid or polygon.area == 0:
            raise RecipeError(f"{where}: key {key}.polygon: {explain_validity(polygon)}; its sides must not cross")
        if any(not (0 <= x <= width and 0 <= y <= height) for x, y in zone.polygon):
            raise RecipeError(f"{where}: key {key}.polygon: a corner lies outside the {width}x{height} frame")
        unknown = [c for c in zone.classes if c not in recipe.classes]
        if unknown:
            raise RecipeError(f"{where}: key {key}.classes: {', '.join(unknown)} has no rule in [classes]")
    presence = recipe.presence
    if recipe.reference is not None and not isinstance(presence, PresenceTemplate):
        raise RecipeError(f"{where}: key reference: needs presence.method = template: its mark tells where the reference has to lie")
    if isinstance(presence, PresenceSilhouette) and presence.min_area_px2 >= presence.max_area_px2:
        raise RecipeError(f"{where}: key presence.min_area_px2: must be below max_area_px2")
