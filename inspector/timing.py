"""Does a part's verdict reach the gate in time? What was measured on this station (bench.json), and the sum that it goes into."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from inspector.errors import ConfigError

FILE = "bench.json"
REMEDY = "run `inspector bench STATION.toml`"

Words = Annotated[str, Field(min_length=1)]
Ms = Annotated[float, Field(ge=0)]
Px = Annotated[int, Field(gt=0)]


@dataclass(frozen=True, slots=True)
class Measured:
    """What `inspector bench` measured on this station, and for what it holds.

    infer_p999_ms  frame in memory → verdict, p99.9
    line_p999_ms   verdict → acknowledged by the PLC, p99.9, with the durable row that a PASS waits for
    measured_utc   ISO 8601
    bundle_sha256  hash of the bundle
    precision      as the bundle's card names it
    tiles          how many tiles a frame was looked at in
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    infer_p999_ms: Ms
    line_p999_ms: Ms
    measured_utc: Words
    bundle_sha256: Words
    device: Words
    precision: Words
    frame_width: Px
    frame_height: Px
    tiles: Px = 1

    def infer_ms(self, tiles: int) -> float:
        """What a frame in so many tiles takes, p99.9: every tile as long as one of those measured, and never less than was measured.

        Too long rather than too short: the slowest of a thousand tiles do not follow one upon the other.
        """
        return self.infer_p999_ms * max(1.0, tiles / self.tiles)

    @classmethod
    def load(cls, data: Path) -> Self:
        """Read bench.json of a data folder. Raises ConfigError that names what to run when it is absent or cannot be used."""
        path = data / FILE
        try:
            return TypeAdapter(cls).validate_json(path.read_bytes())
        except FileNotFoundError as e:
            raise ConfigError(f"{path}: is not there, so the time that inference and PLC take is not known: {REMEDY}") from e
        except OSError as e:
            raise ConfigError(f"{path}: cannot be read ({e.strerror or e}): make it readable, or {REMEDY}") from e
        except ValidationError as e:
            first = e.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "file"
            raise ConfigError(f"{path}: {where}: {first['msg']}: {REMEDY} anew") from e

    def save(self, data: Path) -> Path:
        """Write bench.json into the data folder, whole or not at all; returns its path. Raises ConfigError."""
        path = data / FILE
        try:
            content = TypeAdapter(type(self)).dump_json(self, indent=1)
            TypeAdapter(type(self)).validate_json(content)
            data.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{FILE}.{os.getpid()}")
            beside.write_bytes(content + b"\n")
            beside.replace(path)
        except ValidationError as e:
            raise ConfigError(f"{path}: not written, because the figures make no sense ({e.errors()[0]['msg']}): {REMEDY} anew") from e
        except OSError as e:
            raise ConfigError(f"{path}: cannot be written ({e.strerror or e}): make room, or name another folder with --data") from e
        return path

    def require(self, *, bundle_sha256: str, device: str, precision: str, frame_width: int, frame_height: int) -> None:
        """Raise ConfigError when the figures were measured for something else than what is to run; "GPU" is also "GPU.0"."""
        device = self.device if self.device.startswith(f"{device}.") else device
        pairs = (
            ("bundle", self.bundle_sha256[:12], bundle_sha256[:12]),
            ("device", self.device, device),
            ("precision", self.precision, precision),
            ("frame size", f"{self.frame_width}x{self.frame_height}", f"{frame_width}x{frame_height}"),
        )
        if different := [f"{name} {then}, now {now}" for name, then, now in pairs if then != now]:
            raise ConfigError(f"{FILE} of {self.measured_utc} was measured for {'; '.join(different)}: {REMEDY} anew")


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """The way of a part from trigger to gate, in ms. What has to fit: exposure, transfer, inference and PLC into `deadline_ms`.

    travel_ms is distance ÷ speed; deadline_ms is at most travel_ms less gate_ms; infer_p999_ms is that of all tiles of a frame.
    """

    exposure_ms: float
    transfer_ms: float
    infer_p999_ms: float
    line_p999_ms: float
    gate_ms: float
    travel_ms: float
    deadline_ms: float
    tiles: int = 1

    @property
    def needed_ms(self) -> float:
        """Trigger → the gate has moved, at p99.9."""
        return self.exposure_ms + self.transfer_ms + self.infer_p999_ms + self.line_p999_ms + self.gate_ms

    @property
    def available_ms(self) -> float:
        """What the belt gives, or less where station.toml names an earlier deadline."""
        return min(self.travel_ms, self.deadline_ms + self.gate_ms)

    @property
    def margin_ms(self) -> float:
        """What is left; negative: parts would reach the gate before their verdict."""
        return self.available_ms - self.needed_ms

    @property
    def ok(self) -> bool:
        return self.margin_ms >= 0

    def summary(self) -> str:
        """One line for people: the margin, and what to do when there is none."""
        text = f"needs {self.needed_ms:.1f} ms of {self.available_ms:.1f} ms, margin {self.margin_ms:.1f} ms"
        return text if self.ok else f"{text}: slow the belt down, move the gate away, expose shorter, or use a faster device or model"

    def lines(self) -> list[str]:
        """The sum, a line each, for people."""
        parts = (
            ("exposure", self.exposure_ms),
            ("transfer", self.transfer_ms),
            ("inference, p99.9" if self.tiles == 1 else f"inference, {self.tiles} tiles", self.infer_p999_ms),
            ("PLC round trip, p99.9", self.line_p999_ms),
            ("gate", self.gate_ms),
            ("needed", self.needed_ms),
            ("distance ÷ speed", self.travel_ms),
            ("available", self.available_ms),
            ("margin", self.margin_ms),
        )
        return [f"{name:<22}{value:>9.1f} ms" for name, value in parts]
