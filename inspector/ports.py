"""The sockets of the station: everything that it asks of the world, on one page.

A driver implements one of these protocols and passes its suite in tests/contracts/. The station knows no driver; build.py knows all.
Calls come from one thread each (named below) unless a method says otherwise. Every call returns or raises within the time it is given.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from inspector.types import Detection, Disposition, Event, FaultCode, Frame, Inspection, PartId, Pixels, Status, VerdictKind


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """Who the camera is and what it delivers: height and width in px, channels 1 (mono) or 3 (B, G, R)."""

    name: str
    driver: str
    height: int
    width: int
    channels: int


class Camera(Protocol):
    """Frames, each bound to the trigger that exposed it. Thread: grab."""

    def open(self) -> CameraInfo:
        """Connect and put every setting in place. Raises CameraError: what was tried, what to do."""

    def arm(self) -> None:
        """Begin afresh: forget frames still on the way; the next trigger's frame has frame_id 1. Raises CameraError."""

    def grab(self, timeout_s: float) -> Frame | None:
        """The next frame in order, or None when none came in time.

        Raises FrameError for one broken frame (go on), CameraError when the camera is lost (close, open again).
        """

    def close(self) -> None:
        """Let go of the device; a waiting grab returns None or raises CameraError. Safe to call twice, from any thread."""


@dataclass(frozen=True, slots=True)
class DetectorInfo:
    """What really runs: device and precision are resolved, never "AUTO"."""

    device: str
    precision: str
    classes: tuple[str, ...]
    runtime: str


class Detector(Protocol):
    """One picture at a time: start, wait in slices, then result or cancel. Thread: inspect."""

    @property
    def info(self) -> DetectorInfo: ...

    def start(self, pixels: Pixels, reference: Pixels | None = None) -> None:
        """Begin on pixels (uint8, the shape it was built for); they must not change until result or cancel. Raises DetectorError."""

    def wait(self, timeout_s: float) -> bool:
        """True once the result is there. Raises DetectorError when the inference failed."""

    def result(self) -> Sequence[Detection]:
        """All detections with score >= 0.01 in frame pixels, best first. Raises DetectorError for NaN or scores outside 0..1."""

    def cancel(self) -> None:
        """Give the running inference up; the detector can be started again."""

    def close(self) -> None:
        """Let go of the device. Safe to call twice."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """A part that the line has counted: the counter's value and the station time at which it passed the photo-eye."""

    sequence: int
    triggered_ns: int


@dataclass(frozen=True, slots=True)
class Disposed:
    """What the line did with a part, read back from its ring."""

    part: PartId
    disposition: Disposition
    accepted: VerdictKind | None


@dataclass(frozen=True, slots=True)
class LineSnapshot:
    """One consistent look at the line.

    counter      triggers counted by the line, 32 bit, never reset while `epoch` stays
    epoch        changes when the line's controller restarted (its counter may have begun again)
    triggers     new triggers since the last poll, oldest first; none is left out or told twice
    acknowledged parts whose result slot the line has taken and echoed, with the verdict that it understood, since the last poll
    disposed     parts that have left the line since the last poll
    in_transit   parts between camera and gate
    slots        parts that the line can hold results for at once; None: no bound
    """

    counter: int
    epoch: int
    triggers: tuple[Trigger, ...] = ()
    acknowledged: tuple[tuple[PartId, VerdictKind], ...] = ()
    disposed: tuple[Disposed, ...] = ()
    in_transit: int = 0
    slots: int | None = None


class Line(Protocol):
    """The reject signal and the line's own count. Thread: dispatch alone."""

    def open(self, run: int) -> LineSnapshot:
        """Connect; READY low; results carry `run` from now on. The snapshot's `disposed` holds all that the line's ring still knows,
        earlier runs included; `triggers` is empty. Raises LineError."""

    def poll(self) -> LineSnapshot:
        """Read the line once. Raises LineError when it cannot be reached in time, or when its counter runs backwards."""

    def send(self, part: PartId, verdict: VerdictKind, fault: FaultCode | None = None) -> None:
        """Write the part's result slot in one request (FAULT goes out as a reject, with its code). Raises LineError."""

    def set_ready(self, ready: bool, fault: bool = False) -> None:
        """READY high or low; low is the safe state. `fault` says that the station cannot vouch for parts. Raises LineError."""

    def beat(self) -> None:
        """Advance the heartbeat by one. Raises LineError."""

    def close(self) -> None:
        """READY low if it can still be said, then disconnect. Never raises; safe to call twice."""


@dataclass(frozen=True, slots=True)
class RunStart:
    """The row that opens a run: which station, which software, and what else is worth knowing (versions, host, configuration hash)."""

    station: str
    software: str
    facts: dict[str, Any] = field(default_factory=dict)


LINE_OPENED = "line opened"
"""Kind of the event by which the station tells the archive where the line's count stood: {"epoch": int, "counter": int}."""


OVERRULED = "overruled"
"""Kind of the event that says: the part's row is a PASS, but what counts is {"verdict": "FAULT", "code": …, "text": …}."""

ACKNOWLEDGED = "acknowledged"
"""Kind of the event that says: the line has echoed the part's result."""

DISPOSED = "disposed"
"""Kind of the event that says where the part went: {"disposition": …, "accepted": …}."""


@dataclass(frozen=True, slots=True)
class PastRun:
    """What the archive knows of the run before this one.

    line_epoch, line_counter  from its last LINE_OPENED event; None when the line was never reached
    newest_sequence           highest recorded sequence; None when no part is recorded
    missing                   sequences after the first LINE_OPENED counter and before newest_sequence that have no row: cut off by a crash
    undisposed                recorded sequences without a disposition
    passed                    those of them that count as PASS
    undelivered               those of the passed ones that the line never acknowledged
    clean_end                 end_run succeeded
    """

    run: int
    line_epoch: int | None
    line_counter: int | None
    newest_sequence: int | None
    missing: tuple[int, ...]
    undisposed: tuple[int, ...]
    clean_end: bool
    passed: tuple[int, ...] = ()
    undelivered: tuple[int, ...] = ()


Done = Callable[[Exception | None], None]


class Archive(Protocol):
    """The station's memory. put, note and close may be called from any thread, and never wait for the disk; `done` is called on the
    writer's thread, with None once the row is durable, or with the error when it is not."""

    @property
    def past_run(self) -> PastRun | None:
        """The run before this one, as found when the archive was opened."""

    @property
    def problem(self) -> str | None:
        """Why rows cannot be written at present, in one line; None when all is well."""

    def begin_run(self, start: RunStart) -> int:
        """Write the run's row durably and return its number, larger than any before. Raises ArchiveError."""

    def record_release(self, release_id: str, document: dict[str, Any]) -> None:
        """Write a release durably before a part refers to it; the same one again changes nothing.

        May wait for the disk. Raises ArchiveError."""

    def put(self, inspection: Inspection, done: Done | None = None) -> None:
        """Queue a part's row: PASS rows go first. Raises ArchiveFull when every slot is taken."""

    def note(self, event: Event) -> None:
        """Queue an event, after everything about the same part queued before. Raises ArchiveFull when there is no slot."""

    def end_run(self, timeout_s: float) -> None:
        """Write all that is queued and mark the run's end as clean. Raises ArchiveError when that does not succeed in time."""

    def close(self) -> None:
        """Stop the writer and close the files. Safe to call twice."""


class Controls(Protocol):
    """What the link may ask of the station. Thread: link; each call returns within a second or so, the work goes on in the station."""

    def status(self) -> Status:
        """The newest snapshot."""

    def preview(self) -> Frame | None:
        """The newest frame, or None; made small by the link, only when a screen asks."""

    def command(self, name: str, arguments: dict[str, str], who: str) -> str:
        """Carry out start, stop, pause, acknowledge, activate or shutdown; returns one line that says what was done.

        Raises CommandRefused: why, and what would make it possible.
        """
