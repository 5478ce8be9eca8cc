"""station.toml: how this station is wired and timed. Exposure, region and imaging limits of a product are its recipe's.

docs/configuration.md is made from this module: `python -m inspector.config > docs/configuration.md`.
"""

import hashlib
import os
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from inspector.config_text import documentation, explain
from inspector.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `inspector check` looked at: whether it can be used, what it is, and one line for people."""

    ok: bool
    what: str
    text: str


def _path(what: str, is_it: Callable[[Path], bool] | None = None) -> BeforeValidator:
    """A path as a person writes it: `~` is their home, and a relative one starts at the folder of station.toml."""

    def resolve(value: object, info: ValidationInfo) -> Path:
        if not isinstance(value, str | Path) or not str(value):
            raise ValueError(f"should be the path of a {what}, as text")
        path = Path((info.context or {}).get("folder", "")) / Path(value).expanduser()
        if is_it and not is_it(path):
            raise ValueError(f"should name a {what}, and {path} is none")
        return path

    return BeforeValidator(resolve)


def _device(name: str) -> str:
    if name.split(":")[0].split(".")[0] in {"AUTO", "MULTI", "HETERO", "BATCH"}:
        raise ValueError("should name the device that runs, such as CPU or GPU.0: a release holds for one device, not for any")
    return name


AnyFolder = Annotated[Path, _path("folder")]
File = Annotated[Path, _path("file", Path.is_file)]
Folder = Annotated[Path, _path("folder", Path.is_dir)]
Words = Annotated[str, Field(min_length=1, max_length=200)]
Endpoint = Annotated[str, Field(pattern=r"^(ipc|tcp)://[^\s]+$")]
PositiveMs = Annotated[float, Field(gt=0)]
NotNegativeMs = Annotated[float, Field(ge=0)]
Parts = Annotated[int, Field(ge=1)]
StrictParts = Annotated[int, Field(ge=1, strict=True)]


class Section(BaseModel):
    """What all sections share: no unknown key, no text for a number, no NaN, never changed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class StationSection(Section):
    """Which station this is, and where its data lie."""

    name: Words = Field(description="name of the station, as it stands in its records")
    data: AnyFolder | None = Field(
        default=None, description="folder of the records; `--data` and INSPECTOR_DATA win; left out: the platform's data folder"
    )


class ProductSection(Section):
    """What is inspected at the start; later changes are releases."""

    recipe: File = Field(description="the recipe")
    bundle: Folder | None = Field(default=None, description="the model bundle; left out: the one that ships")
    lot: Words | None = Field(default=None, description="lot of the parts, as it stands in their records")


class _Camera(Section):
    width: int = Field(gt=0, description="width of a frame in px; another one is a broken frame")
    height: int = Field(gt=0, description="height of a frame in px")


class FolderCamera(_Camera):
    """Pictures from a folder, in the order of their names."""

    driver: Literal["folder"] = Field(description="pictures from a folder")
    path: Folder = Field(description="the folder")
    pixel: Literal["mono", "bgr"] = Field(default="mono", description="what frames are made of")
    rate_hz: float | None = Field(default=None, gt=0, description="pictures per second; left out: as fast as they are inspected")
    loop: bool = Field(default=False, description="begin again after the last picture")
    sixteen_bit: Literal["refuse", "scale"] = Field(default="refuse", description="pictures of 16 bit: a broken frame, or scaled to 8 bit")


class SimulatedCamera(_Camera):
    """The renderer of `inspector demo`, a process of its own."""

    driver: Literal["simulated"] = Field(description="rendered boards")
    frames: Endpoint = Field(description="address at which the renderer hands out frames")
    control: Endpoint = Field(description="address at which the renderer takes orders")


class DetectorSection(Section):
    """Where the model runs. Device and precision are part of the release."""

    device: Annotated[Words, AfterValidator(_device)] = Field(default="CPU", description="OpenVINO device; AUTO is refused")
    precision: Words | None = Field(default=None, description="one of the bundle's precisions; left out: its default")
    threads: int | None = Field(default=None, ge=1, description="inference threads; left out: what OpenVINO chooses")
    timeout_ms: PositiveMs | None = Field(default=None, description="longest inference in ms; left out: the deadline alone ends it")


class ModbusLine(Section):
    """A PLC that speaks Modbus TCP; its registers are in registers.md."""

    driver: Literal["modbus"] = Field(description="a PLC over Modbus TCP")
    host: Words = Field(description="the PLC's address")
    port: int = Field(default=502, ge=1, le=65535, description="the PLC's TCP port")
    unit_id: int = Field(default=1, ge=0, le=255, description="Modbus unit")
    timeout_ms: PositiveMs = Field(default=50.0, description="longest wait for an answer in ms")
    poll_ms: PositiveMs = Field(default=5.0, description="time between two looks at the PLC in ms")


class DirectLine(Section):
    """A line in the same process: for pictures, without a PLC."""

    driver: Literal["direct"] = Field(description="no PLC")


class TimingSection(Section):
    """The way from camera to gate. All times count from the trigger, or are durations."""

    camera_to_gate_mm: float = Field(gt=0, description="from the trigger's photo-eye to the gate in mm, along the belt")
    belt_speed_mm_s: float = Field(gt=0, description="highest speed of the belt in mm/s")
    gate_ms: NotNegativeMs = Field(description="time the gate needs to move in ms")
    exposure_ms: NotNegativeMs = Field(description="longest exposure in ms")
    transfer_ms: NotNegativeMs = Field(description="longest read-out and transfer of a frame in ms")
    smallest_spacing_ms: PositiveMs = Field(description="shortest time between two parts in ms")
    frame_timeout_ms: PositiveMs | None = Field(
        default=None, description="trigger to frame in memory, at most, in ms; left out: exposure + transfer + half the smallest spacing"
    )
    deadline_ms: PositiveMs | None = Field(
        default=None, description="trigger to the PLC's acknowledgement, at most, in ms; left out: distance ÷ speed less gate"
    )

    @property
    def travel_ms(self) -> float:
        """From photo-eye to gate, in ms: distance ÷ speed."""
        return self.camera_to_gate_mm / self.belt_speed_mm_s * 1000

    @property
    def send_deadline_ms(self) -> float:
        """The deadline that holds, in ms from the trigger: the given one, or what the belt leaves."""
        return self.travel_ms - self.gate_ms if self.deadline_ms is None else self.deadline_ms

    @property
    def frame_limit_ms(self) -> float:
        """The frame timeout that holds, in ms from the trigger: a frame later than this may belong to the next part."""
        if self.frame_timeout_ms is not None:
            return self.frame_timeout_ms
        return self.exposure_ms + self.transfer_ms + self.smallest_spacing_ms / 2

    @model_validator(mode="after")
    def _possible(self) -> Self:
        left_ms = self.travel_ms - self.gate_ms
        if left_ms <= 0:
            raise ValueError(f"gate_ms = {self.gate_ms:g} leaves no time: distance ÷ speed is {self.travel_ms:.1f} ms")
        if self.deadline_ms is not None and self.deadline_ms > left_ms:
            raise ValueError(f"deadline_ms = {self.deadline_ms:g} is too late: distance ÷ speed less gate is {left_ms:.1f} ms")
        if self.exposure_ms >= self.smallest_spacing_ms:
            raise ValueError(f"exposure_ms = {self.exposure_ms:g} should be less than smallest_spacing_ms = {self.smallest_spacing_ms:g}")
        return self


class LimitsSection(Section):
    """When the line is held until a person has looked."""

    rejects_in_row: Parts = Field(default=10, description="this many rejects in a row hold the line")
    faults_in_row: Parts = Field(default=10, description="this many faults in a row hold the line")
    m_of_k: Annotated[tuple[StrictParts, StrictParts], Field(strict=False)] | None = Field(
        default=None, description="[m, k]: m rejects or faults among the last k parts hold the line; left out: no such rule"
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.m_of_k is not None and self.m_of_k[0] > self.m_of_k[1]:
            raise ValueError(f"m_of_k = {list(self.m_of_k)}: m should be at most k")
        return self


class CanarySection(Section):
    """How often the station proves that it still sees defects."""

    idle_s: float = Field(default=30.0, gt=0, description="after this long without a part, in s")
    every_s: float = Field(default=600.0, gt=0, le=600, description="at least this often between parts, in s")


class EvidenceSection(Section):
    """Which pictures are kept. Those of rejects and faults always are."""

    pass_share: float = Field(default=0.0, ge=0, le=1, description="share of passed parts whose picture is kept too")


class StationConfig(Section):
    """All of station.toml, checked. `load` reads it; paths are absolute then."""

    station: StationSection
    product: ProductSection
    camera: Annotated[FolderCamera | SimulatedCamera, Field(discriminator="driver")]
    detector: DetectorSection = DetectorSection()
    line: Annotated[ModbusLine | DirectLine, Field(discriminator="driver")]
    timing: TimingSection
    limits: LimitsSection = LimitsSection()
    canary: CanarySection = CanarySection()
    evidence: EvidenceSection = EvidenceSection()

    _sha256: str = PrivateAttr("")

    @property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes, for the records; empty when the configuration was not read from a file."""
        return self._sha256

    @classmethod
    def load(cls, path: Path) -> "StationConfig":
        """Read station.toml. Raises ConfigError: one line with the file, the key, its value, and what would be right."""
        content, raw = _read(path)
        try:
            config = cls.model_validate(raw, context={"folder": path.absolute().parent})
        except ValidationError as e:
            raise ConfigError(f"{path}: {explain(e, cls)}") from e
        config._sha256 = hashlib.sha256(content).hexdigest()
        return config


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        content = path.read_bytes()
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read ({e.strerror or e}): name a station.toml; docs/station.example.toml is one") from e
    try:
        return content, tomllib.loads(content.decode())
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path}: is not UTF-8 at byte {e.start}: save it as UTF-8 text") from e
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise ConfigError(f"{path}: is not TOML: {e}") from e


def data_folder(option: Path | None = None, configured: Path | None = None) -> Path:
    """Where the data lie: `--data`, else INSPECTOR_DATA, else station.toml, else the platform's data folder. Absolute; not created.

    Raises ConfigError when none is given and the user has no home.
    """
    named = os.environ.get("INSPECTOR_DATA")
    chosen = option or (Path(named) if named else None) or configured
    try:
        return (chosen.expanduser() if chosen else _platform_folder()).absolute()
    except RuntimeError as e:
        raise ConfigError(f"no data folder: {e}: name one with --data, INSPECTOR_DATA or station.data") from e


def _platform_folder() -> Path:
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "inspector"
    share = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification: a relative path in it is invalid, and to be ignored.
    return (Path(share) if os.path.isabs(share) else Path.home() / ".local" / "share") / "inspector"


if __name__ == "__main__":
    print(documentation(StationConfig), end="")
