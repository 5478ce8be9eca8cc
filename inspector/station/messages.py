"""What the threads of the line tell dispatch. Each is posted once; dispatch alone acts on it.

Frames are named by (arming, frame_id): the camera's count begins anew each time it is armed.
"""

from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum

from inspector.ports import CameraInfo, DetectorInfo
from inspector.release import Release
from inspector.types import ClassScore, Detection, Frame, Pose, Reason, Verdict


class Supplier(StrEnum):
    """Who has to prove itself before READY rises."""

    CAMERA = "camera"
    DETECTOR = "detector"
    PLC = "plc"
    ARCHIVE = "archive"
    CANARY = "canary"


@dataclass(frozen=True, slots=True)
class SupplierChanged:
    supplier: Supplier
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class CameraArmed:
    arming: int
    info: CameraInfo


@dataclass(frozen=True, slots=True)
class FrameArrived:
    """A frame was exposed. `fault` says why it will not be inspected; None: Judged follows."""

    arming: int
    frame_id: int
    exposed_ns: int
    arrived_ns: int
    source: str
    fault: Reason | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What inspect has to say of one frame, and the id of the release that said it; exactly one per frame handed to it."""

    arming: int
    frame: Frame
    verdict: Verdict
    detections: tuple[Detection, ...]
    class_scores: tuple[ClassScore, ...]
    pose: Pose
    presence: str
    pixels_sha256: str | None
    detect_started_ns: int | None
    detected_ns: int | None
    release: str


@dataclass(frozen=True, slots=True)
class DetectorReady:
    release: Release
    info: DetectorInfo
    took_ms: float


@dataclass(frozen=True, slots=True)
class CanaryDone:
    problem: str | None
    took_ms: float


@dataclass(frozen=True, slots=True)
class RowDone:
    """A PASS row is durable, or why it is not."""

    sequence: int
    error: Exception | None


@dataclass(frozen=True, slots=True)
class CommandAsked:
    name: str
    arguments: dict[str, str]
    who: str
    answer: "Future[str]"


@dataclass(frozen=True, slots=True)
class Shutdown:
    pass


Message = SupplierChanged | CameraArmed | FrameArrived | Judged | DetectorReady | CanaryDone | RowDone | CommandAsked | Shutdown
