"""The words of the station: what flows along the line, frozen and slotted.

A part is (run, sequence). Its life: trigger → Frame → Detection … → Verdict → Disposition.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


class VerdictKind(StrEnum):
    """What was decided about a part. Exactly one per trigger."""

    PASS = "PASS"
    REJECT = "REJECT"
    FAULT = "FAULT"


class Disposition(StrEnum):
    """What the line did with a part. Exactly one per part, once the line reports it."""

    GOOD_LANE = "good lane"
    REJECT_CONFIRMED = "reject confirmed"
    REJECT_UNCONFIRMED = "reject unconfirmed"
    REMOVED_BY_HAND = "removed by hand"
    UNKNOWN = "unknown"


class PartKind(StrEnum):
    """Why a part was inspected; only production counts in yield."""

    PRODUCTION = "production"
    CHALLENGE = "challenge"
    GOLDEN = "golden"
    TEST = "test"


class Severity(StrEnum):
    """How much a defect class matters; a critical zone makes every class in it critical."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"


class StationState(StrEnum):
    """The state of the line; READY is high in RUNNING only. Transitions are drawn in station/state.py."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    HELD = "held"
    FAULT = "fault"
    STOPPING = "stopping"


class FaultCode(StrEnum):
    """Why a part could not be judged, or not in time. The value is what records and PLC documentation name."""

    NOT_READY = "not ready"
    STATION_DOWN = "station down"
    INTERRUPTED = "interrupted"
    OVERRUN = "overrun"
    PAIRING = "pairing"
    NO_FRAME = "no frame"
    BAD_FRAME = "bad frame"
    PRESENCE = "presence"
    DETECTOR = "detector"
    LATE = "late"
    NO_RECORD = "no record"
    NOT_ACKNOWLEDGED = "not acknowledged"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, order=True)
class PartId:
    """The name of a part for ever: the run (counted by the archive) and the trigger counter's value in it (32 bit)."""

    run: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.run}-{self.sequence}"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One exposed picture. It is yours: no driver writes to `pixels` after handing it over.

    pixels      uint8, C-contiguous, (height, width) for mono or (height, width, 3) in B, G, R order
    frame_id    the camera's own count since it was armed, starting at 1, without the wrap-around of its wire format
    exposed_ns  station time at which the exposure began (or the arrival less the worst-case delay)
    arrived_ns  station time at which the whole picture lay in memory
    source      where it comes from, for people: a file name, a camera's serial number
    """

    pixels: Pixels
    frame_id: int
    exposed_ns: int
    arrived_ns: int
    source: str = ""

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        return 1 if self.pixels.ndim == 2 else int(self.pixels.shape[2])


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-parallel box in frame pixels; x1 <= x2, y1 <= y2; the far edges are exclusive."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def area(self) -> float:
        """Area in px²."""
        return max(0.0, self.x2 - self.x1) * max(0.0, self.y2 - self.y1)


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing found in a frame: which defect class, how sure (0..1), where (frame pixels)."""

    defect_class: str
    score: float
    box: Box


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the inspected part lies in its frame, against where the recipe was taught. Pixels."""

    dx: float = 0.0
    dy: float = 0.0
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason of a verdict, for people (`text`) and for statistics (the rest).

    code is "defect" for a REJECT, or the value of a FaultCode.
    """

    code: str
    text: str
    defect_class: str | None = None
    severity: Severity | None = None
    zone: str | None = None
    score: float | None = None
    limit: float | None = None
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about a part, and why. Written once."""

    kind: VerdictKind
    reasons: tuple[Reason, ...] = ()

    @classmethod
    def fault(cls, code: FaultCode, text: str) -> "Verdict":
        return cls(VerdictKind.FAULT, (Reason(code.value, text),))

    def __str__(self) -> str:
        return f"{self.kind} ({'; '.join(r.text for r in self.reasons)})" if self.reasons else str(self.kind)


@dataclass(frozen=True, slots=True)
class ClassScore:
    """The highest raw score of one class in one zone of one part (down to 0.01): the unit of every statistic."""

    defect_class: str
    zone: str
    score: float


@dataclass(frozen=True, slots=True)
class Timings:
    """Station times of a part's steps in ns; None where the step did not happen."""

    triggered_ns: int | None = None
    exposed_ns: int | None = None
    arrived_ns: int | None = None
    detect_started_ns: int | None = None
    detected_ns: int | None = None
    decided_ns: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """All that the archive writes about one part at its verdict.

    frame is kept only while the picture may still have to be stored as evidence; pixels_sha256 is the hash of its raw bytes.
    presence says how the part proved to be there: "template 0.93", "silhouette 41000 px²", "off".
    """

    part: PartId
    kind: PartKind
    verdict: Verdict
    release: str
    timings: Timings
    detections: Sequence[Detection] = ()
    class_scores: Sequence[ClassScore] = ()
    pose: Pose = field(default_factory=Pose)
    presence: str = ""
    pixels_sha256: str | None = None
    frame: Frame | None = None
    source: str = ""
    serial: str | None = None
    lot: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One later fact about a part, or about the station (part is None), chained in the archive."""

    kind: str
    data: dict[str, Any] = field(default_factory=dict)
    part: PartId | None = None


@dataclass(frozen=True, slots=True)
class StopCause:
    """Why the line stands or the station cannot vouch for parts: what happened, and what the operator does next."""

    code: str
    text: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Balances:
    """The two balances of the ledger; both equations hold in every snapshot:

    triggers = passed + rejected + faulted + undecided        passed + rejected + faulted = disposed + in_transit
    """

    triggers: int = 0
    passed: int = 0
    rejected: int = 0
    faulted: int = 0
    undecided: int = 0
    disposed: int = 0
    in_transit: int = 0


@dataclass(frozen=True, slots=True)
class LastPart:
    """The newest decided part, as the screen shows it. latency_ms: frame in memory → verdict; None without a frame."""

    part: str
    verdict: VerdictKind
    reasons: tuple[str, ...]
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class Health:
    """One supplier of the line (camera, detector, plc, archive, canary): proven or not, and one line for people."""

    name: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds over the newest thousand parts; None before the first."""

    p50: float | None = None
    p99: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """A frozen look at the whole station; screens read nothing else. `seq` grows with every change."""

    seq: int
    station: str
    version: str
    pid: int
    state: StationState
    since_utc: str
    run: int | None
    cause: StopCause | None
    balances: Balances
    dispositions: dict[str, int]
    release: str
    recipe: str
    bundle: str
    device: str
    precision: str
    presence: str
    lot: str | None
    last: LastPart | None
    health: tuple[Health, ...]
    latency_ms: Latency
    infer_ms: Latency
