"""What the station has to know of its line, in its own words; build.py fills it from station.toml."""

from dataclasses import dataclass, field

from inspector.station.stops import StopRules
from inspector.types import PartKind


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in ms.

    deadline_ms   trigger → the PLC's acknowledgement has to be in; None: no deadline (pictures from a folder)
    answer_ms     p99.9 of the PLC's round trip: a verdict is sent at deadline - answer at the latest
    frame_ms      trigger → frame in memory; later the part faults "no frame"
    detector_ms   the longest that one inference may take when no deadline ends it sooner
    pairing_ms    half the smallest part spacing; None: only the count binds frames to parts
    configuration SHA-256 of station.toml, for the records
    slots         parts that may be undecided at once: the PLC's result slots
    """

    station: str
    kind: PartKind = PartKind.PRODUCTION
    lot: str | None = None
    configuration: str = ""
    deadline_ms: float | None = None
    answer_ms: float = 3.0
    frame_ms: float = 500.0
    detector_ms: float = 10_000.0
    pairing_ms: float | None = None
    poll_ms: float = 5.0
    beat_ms: float = 100.0
    stall_ms: float = 300.0
    slots: int = 16
    canary_idle_s: float = 30.0
    canary_every_s: float = 600.0
    reconnect_s: float = 1.0
    stops: StopRules = field(default_factory=StopRules)
