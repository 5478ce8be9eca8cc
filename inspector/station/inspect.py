"""The inspect thread: Frame → presence → detect → judge → Verdict. It owns the detector.

Whatever goes wrong on a frame becomes a FAULT verdict with its reason: every frame taken gets exactly one `Judged`.
"""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from inspector.checks import verify_canary
from inspector.clock import NS_PER_MS, ms, now_ns
from inspector.errors import DetectorError, InspectorError
from inspector.judge import class_scores, judge
from inspector.ports import Detector
from inspector.station.messages import CanaryDone, DetectorReady, Judged, Supplier, SupplierChanged
from inspector.station.product import Product
from inspector.station.settings import Settings
from inspector.station.work import Post, Worker
from inspector.types import Box, Detection, FaultCode, Frame, Pixels, Pose, Verdict

_ROOM = 4
"""Frames that may wait for inspect; one more and its part faults as overrun (see Grab)."""
_SLICE_S = 0.05

RecordRelease = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True, eq=False)
class _FrameJob:
    arming: int
    frame: Frame


@dataclass(frozen=True, slots=True, eq=False)
class _LoadJob:
    product: Product


@dataclass(frozen=True, slots=True)
class _CanaryJob:
    pass


class _TooLate(Exception):
    """The time for this frame is used up."""


class Inspect(Worker):
    """Judges frames one by one, in order; loads products and runs the canary between them."""

    def __init__(self, settings: Settings, post: Post, record_release: RecordRelease) -> None:
        super().__init__("inspect")
        self._settings = settings
        self._post = post
        self._record_release = record_release
        # Frames are bounded by the semaphore; dispatch asks for one load and one canary at a time.
        self._jobs: SimpleQueue[_FrameJob | _LoadJob | _CanaryJob] = SimpleQueue()
        self._room = threading.Semaphore(_ROOM)
        self._product: Product | None = None
        self._detector: Detector | None = None
        self._release = ""

    def reserve(self) -> bool:
        """Keep room for one frame; False when there is none. Called by grab."""
        return self._room.acquire(blocking=False)

    def put(self, arming: int, frame: Frame) -> None:
        """Take the frame that room was reserved for. Called by grab."""
        self._jobs.put(_FrameJob(arming, frame))

    def load(self, product: Product) -> None:
        """Open this product's detector and use it from then on. DetectorReady or SupplierChanged follows."""
        self._jobs.put(_LoadJob(product))

    def canary(self) -> None:
        """Run the canary after the frames that wait. CanaryDone follows."""
        self._jobs.put(_CanaryJob())

    def step(self) -> None:
        try:
            job = self._jobs.get(timeout=0.1)
        except Empty:
            return
        if isinstance(job, _FrameJob):
            self._room.release()
            self._post(replace(self._judge_safely(job), release=self._release))
        elif isinstance(job, _LoadJob):
            self._load(job.product)
        else:
            self._run_canary()

    def finish(self) -> None:
        if self._detector is not None:
            self._detector.close()

    def _load(self, product: Product) -> None:
        began_ns = now_ns()
        try:
            detector = product.open_detector()
            release = product.release(detector.info)
            self._record_release(release.id, release.document())
        except InspectorError as error:
            self._post(SupplierChanged(Supplier.DETECTOR, False, str(error)))
            return
        except Exception as error:  # noqa: BLE001 - top of the thread: a detector that cannot be built is a fault of the station
            self._post(SupplierChanged(Supplier.DETECTOR, False, f"the detector cannot be opened: {error!r}"))
            return
        old, self._detector, self._product, self._release = self._detector, detector, product, release.id
        self._post(DetectorReady(release, detector.info, ms(now_ns() - began_ns)))
        if old is not None:
            old.close()

    def _run_canary(self) -> None:
        began_ns = now_ns()
        try:
            if self._product is None or self._detector is None:
                raise DetectorError("no detector is loaded")
            canary = self._product.canary
            found = self._detect(canary.pixels, canary.reference, began_ns + int(self._settings.detector_ms * NS_PER_MS))
            problem = verify_canary(canary, found)
        except _TooLate:
            problem = f"the canary took longer than {self._settings.detector_ms:.0f} ms"
        except Exception as error:  # noqa: BLE001 - top of the thread: a canary that cannot be run was not found
            problem = f"the canary could not be run: {error}"
        self._post(CanaryDone(problem, ms(now_ns() - began_ns)))

    def _judge_safely(self, job: _FrameJob) -> Judged:
        try:
            return self._judge(job)
        except Exception as error:  # noqa: BLE001 - top of the thread: no failure may lose the part or pass it
            return _faulted(job, FaultCode.INTERNAL, f"inspection failed: {error!r}")

    def _judge(self, job: _FrameJob) -> Judged:
        frame, product = job.frame, self._product
        if product is None:
            return _faulted(job, FaultCode.DETECTOR, "no detector is loaded")
        wrong = _wrong_shape(frame, product)
        if wrong is not None:
            return _faulted(job, FaultCode.BAD_FRAME, wrong)
        sighting = product.presence.look(frame.pixels)
        seen = replace(_faulted(job, FaultCode.PRESENCE, sighting.problem or ""), pose=sighting.pose, presence=sighting.text)
        if sighting.problem is not None:
            return replace(seen, pixels_sha256=_sha256(frame.pixels))
        reference: Pixels | None = None
        if product.register is not None:
            registered = product.register(frame, sighting.pose)
            if registered.pixels is None:
                text = registered.problem or "the reference cannot be brought into register"
                return replace(seen, verdict=Verdict.fault(FaultCode.PRESENCE, text), pixels_sha256=_sha256(frame.pixels))
            reference = registered.pixels
            seen = replace(seen, presence=f"{sighting.text}, in register to {registered.rest_px or 0.0:.1f} px")
        started_ns = now_ns()
        try:
            detections, digest = self._detect_and_hash(frame, reference, product, self._give_up_ns(frame, started_ns))
        except _TooLate:
            left_ms = ms(now_ns() - frame.exposed_ns)
            return replace(seen, verdict=Verdict.fault(FaultCode.LATE, f"no detections {left_ms:.0f} ms after the exposure, given up"))
        except DetectorError as error:
            return replace(seen, verdict=Verdict.fault(FaultCode.DETECTOR, str(error)))
        detected_ns = now_ns()
        return replace(
            seen,
            verdict=judge(detections, product.recipe, sighting.pose),
            detections=detections,
            class_scores=class_scores(detections, product.recipe, sighting.pose),
            pixels_sha256=digest,
            detect_started_ns=started_ns,
            detected_ns=detected_ns,
        )

    def _give_up_ns(self, frame: Frame, started_ns: int) -> int:
        give_up_ns = started_ns + int(self._settings.detector_ms * NS_PER_MS)
        if self._settings.deadline_ms is not None:
            send_by_ms = self._settings.deadline_ms - self._settings.answer_ms
            give_up_ns = min(give_up_ns, frame.exposed_ns + int(send_by_ms * NS_PER_MS))
        return give_up_ns

    def _detect_and_hash(
        self, frame: Frame, reference: Pixels | None, product: Product, give_up_ns: int
    ) -> tuple[tuple[Detection, ...], str]:
        pixels, x, y = _crop(frame.pixels, product.recipe.region)
        beside = None if reference is None else _crop(reference, product.recipe.region)[0]
        digests: list[str] = []
        # The hash of the raw pixels costs nothing while the detector is at work: hashlib lets go of the interpreter.
        found = self._detect(pixels, beside, give_up_ns, meanwhile=lambda: digests.append(_sha256(frame.pixels)))
        return _moved(found, x, y), digests[0]

    def _detect(
        self, pixels: Pixels, reference: Pixels | None, give_up_ns: int, meanwhile: Callable[[], None] | None = None
    ) -> tuple[Detection, ...]:
        detector = self._detector
        assert detector is not None
        if now_ns() >= give_up_ns:
            raise _TooLate
        detector.start(pixels, reference)
        try:
            if meanwhile is not None:
                meanwhile()
            while not detector.wait(min(_SLICE_S, max(0.0, (give_up_ns - now_ns()) / 1e9))):
                self.tick()
                if now_ns() >= give_up_ns or self._ending.is_set():
                    raise _TooLate
        except BaseException:
            detector.cancel()
            raise
        return tuple(detector.result())


def _faulted(job: _FrameJob, code: FaultCode, text: str) -> Judged:
    return Judged(job.arming, job.frame, Verdict.fault(code, text), (), (), Pose(), "", None, None, None, "")


def _wrong_shape(frame: Frame, product: Product) -> str | None:
    wanted = product.recipe.frame
    if (frame.width, frame.height) != (wanted.width, wanted.height):
        return f"the frame is {frame.width}x{frame.height}, recipe {product.recipe.name} expects {wanted.width}x{wanted.height}"
    if frame.channels != product.channels:
        return f"the frame has {frame.channels} channels, the detector takes {product.channels}; set the camera's pixel format"
    return None


def _crop(pixels: Pixels, region: tuple[int, int, int, int] | None) -> tuple[Pixels, int, int]:
    if region is None:
        return pixels, 0, 0
    x1, y1, x2, y2 = region
    return np.ascontiguousarray(pixels[y1:y2, x1:x2]), x1, y1


def _moved(detections: tuple[Detection, ...], x: int, y: int) -> tuple[Detection, ...]:
    if not x and not y:
        return detections
    return tuple(replace(d, box=Box(d.box.x1 + x, d.box.y1 + y, d.box.x2 + x, d.box.y2 + y)) for d in detections)


def _sha256(pixels: Pixels) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
