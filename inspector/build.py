"""station.toml → Station: the only place where drivers meet the engine."""

from dataclasses import dataclass
from pathlib import Path

from inspector.bundle import Bundle, InputKind, find_default_bundle
from inspector.camera.folder import FolderCamera
from inspector.camera.rendered import RenderedCamera
from inspector.checks import Canary
from inspector.config import DirectLine as DirectLineSection
from inspector.config import Finding, StationConfig
from inspector.config import FolderCamera as FolderSection
from inspector.detect.openvino import OpenVinoDetector
from inspector.detect.tiles import TiledDetector, tiled_canary, tiles_for
from inspector.errors import ConfigError, InspectorError, RecipeError
from inspector.line.direct import DirectLine
from inspector.line.modbus import ModbusLine
from inspector.ports import Camera, Detector, Line
from inspector.presence import PresenceCheck
from inspector.recipe import Recipe, load
from inspector.reference import Reference, Register
from inspector.station import Prepare, Product, Settings, Station, StopRules
from inspector.timing import Measured
from inspector.trace import EvidencePolicy, SqliteArchive

_ANSWER_MS = 10.0
"""PLC round trip assumed until `inspector bench` has measured it: generous, so that verdicts go out early rather than late."""


@dataclass(frozen=True, slots=True)
class DetectorChoice:
    """Where the model runs; None leaves it to the bundle and to OpenVINO."""

    device: str = "CPU"
    precision: str | None = None
    threads: int | None = None
    cache: Path | None = None


def prepare_product(recipe: Path, bundle: Path | None, choice: DetectorChoice, register: Register | None = None) -> Product:
    """Read and verify recipe and bundle; compiles nothing. `register` brings a reference of its own for each picture, in place of the
    recipe's. Raises RecipeError or BundleError."""
    return _product(load(recipe), Bundle.open(bundle or find_default_bundle()), choice, register)


def _register(recipe: Recipe, bundle: Bundle, own: Register | None) -> Register | None:
    """How a frame gets its reference, where the bundle looks at one. Raises RecipeError when recipe and bundle do not go together."""
    if bundle.input is InputKind.MONO_REFERENCE:
        if own is not None:
            return own
        if recipe.reference is None:
            text = f"recipe {recipe.name}: bundle {bundle.name} looks at a reference and the recipe has none"
            raise RecipeError(f'{text}; add reference = "golden.png", a frame of a good part, or take a bundle with input mono')
        golden = Reference.of(recipe)
        return lambda frame, pose: golden.register(frame.pixels, pose)
    if own is not None or recipe.reference is not None:
        text = f"recipe {recipe.name}: there is a reference, and bundle {bundle.name} ({bundle.input}) looks at none"
        raise RecipeError(f"{text}; take the reference out, or take a bundle with input {InputKind.MONO_REFERENCE}")
    return None


def _product(recipe: Recipe, bundle: Bundle, choice: DetectorChoice, own: Register | None = None) -> Product:
    register = _register(recipe, bundle, own)
    recipe.check_classes(bundle.classes)
    channels = 3 if bundle.input is InputKind.BGR else 1
    x1, y1, x2, y2 = recipe.region or (0, 0, recipe.frame.width, recipe.frame.height)
    height, width = y2 - y1, x2 - x1
    bundle.model(choice.precision)
    plan = tiles_for(recipe, bundle)
    shown = tiled_canary(bundle.canary(), plan, channels) if plan else bundle.canary().frame(height, width, channels)

    def open_detector() -> Detector:
        detector = OpenVinoDetector(
            bundle,
            height=plan.tile_height if plan else height,
            width=plan.tile_width if plan else width,
            channels=channels,
            device=choice.device,
            precision=choice.precision,
            cache_dir=choice.cache,
            threads=choice.threads,
        )
        return TiledDetector(detector, plan, channels=channels) if plan else detector

    canary = Canary(shown.pixels, shown.expected, shown.min_iou, shown.score_tolerance, reference=shown.reference)
    return Product(recipe, PresenceCheck(recipe), canary, channels, bundle.name, bundle.hash, open_detector, register)


def preparer(recipe: Path, bundle: Path | None, choice: DetectorChoice, register: Register | None = None) -> Prepare:
    """What the station calls to load a product: the given one, or what `activate recipe=… bundle=…` names."""

    def prepare(arguments: dict[str, str]) -> Product:
        unknown = [key for key in arguments if key not in ("recipe", "bundle")]
        if unknown:
            raise ConfigError(f"activate does not know {', '.join(unknown)}; it takes recipe=FILE and bundle=FOLDER")
        named = arguments.get("bundle")
        return prepare_product(Path(arguments.get("recipe", recipe)), Path(named) if named else bundle, choice, register)

    return prepare


def build(config: StationConfig, data: Path) -> Station:
    """The station that station.toml describes, with its archive in `data`; not started. Raises ConfigError, CameraError, ArchiveError."""
    if isinstance(config.line, DirectLineSection):
        raise ConfigError("line.driver = direct has no photo-eye to wait for; use modbus, or `inspector inspect` for pictures")
    if isinstance(config.camera, FolderSection):
        raise ConfigError("camera.driver = folder cannot be triggered by a PLC; use a camera, or `inspector inspect` for pictures")
    archive = SqliteArchive(data, evidence=EvidencePolicy(pass_share=config.evidence.pass_share))
    try:
        choice = detector_choice(config, data)
        prepare = preparer(config.product.recipe, config.product.bundle, choice)
        return Station(settings(config, data), camera(config), line(config), archive, prepare)
    except BaseException:
        archive.close()
        raise


def detector_choice(config: StationConfig, data: Path) -> DetectorChoice:
    """[detector], with compiled models kept in the data folder."""
    detector = config.detector
    return DetectorChoice(detector.device, detector.precision, detector.threads, data / "cache")


def camera(config: StationConfig) -> Camera:
    """The camera driver of [camera]. Raises CameraError."""
    section = config.camera
    if isinstance(section, FolderSection):
        size = (section.width, section.height)
        return FolderCamera(
            section.path, pixel=section.pixel, sixteen_bit=section.sixteen_bit, rate_hz=section.rate_hz, loop=section.loop, size=size
        )
    return RenderedCamera(section.frames, section.control)


def line(config: StationConfig) -> Line:
    """The line driver of [line]."""
    section = config.line
    if isinstance(section, DirectLineSection):
        return DirectLine()
    return ModbusLine(section.host, section.port, unit_id=section.unit_id, timeout_s=section.timeout_ms / 1000)


def settings(config: StationConfig, data: Path) -> Settings:
    """The station's times and rules, with the PLC's round trip as last measured here."""
    timing, limits = config.timing, config.limits
    try:
        answer_ms = Measured.load(data).line_p999_ms
    except ConfigError:
        answer_ms = _ANSWER_MS
    return Settings(
        station=config.station.name,
        lot=config.product.lot,
        deadline_ms=timing.send_deadline_ms,
        answer_ms=min(answer_ms, timing.send_deadline_ms / 2),
        frame_ms=timing.frame_limit_ms,
        detector_ms=config.detector.timeout_ms or timing.send_deadline_ms,
        pairing_ms=timing.smallest_spacing_ms / 2,
        poll_ms=5.0 if isinstance(config.line, DirectLineSection) else config.line.poll_ms,
        canary_idle_s=config.canary.idle_s,
        canary_every_s=config.canary.every_s,
        stops=StopRules(limits.rejects_in_row, limits.faults_in_row, limits.m_of_k),
    )


def verify(config: StationConfig) -> list[Finding]:
    """Recipe, bundle, canary and camera against each other; starts nothing and compiles nothing."""
    findings: list[Finding] = []
    try:
        recipe = load(config.product.recipe)
        findings.append(Finding(True, "recipe", f"{recipe.name}, revision {recipe.revision[:12]}"))
        folder = config.product.bundle or find_default_bundle()
        bundle = Bundle.open(folder)
        findings.append(Finding(True, "bundle", f"{bundle.name} {bundle.version}, input {bundle.input}, {', '.join(bundle.precisions)}"))
        _product(recipe, bundle, DetectorChoice(config.detector.device, config.detector.precision))
        if recipe.tiles is not None:
            plan = tiles_for(recipe, bundle)
            findings.append(Finding(True, "tiles", plan.text if plan else "not needed: the frame fits into the network's input"))
        findings.append(Finding(True, "presence", f"{recipe.presence_text}; the canary fits the frame"))
    except InspectorError as error:
        return [*findings, Finding(False, "product", str(error))]
    taught, shown = (recipe.frame.width, recipe.frame.height), (config.camera.width, config.camera.height)
    if taught != shown:
        text = f"camera gives {shown[0]}x{shown[1]}, recipe {recipe.name} was taught on {taught[0]}x{taught[1]}"
        findings.append(Finding(False, "frame size", text))
    if isinstance(config.camera, FolderSection) or isinstance(config.line, DirectLineSection):
        text = "a folder or a direct line has no trigger to be paired with; `inspector run` refuses it, `inspector inspect` takes pictures"
        findings.append(Finding(False, "pairing", text))
    else:
        text = f"by the PLC's trigger count and by time, within {config.timing.smallest_spacing_ms / 2:.0f} ms"
        findings.append(Finding(True, "pairing", text))
    return findings
