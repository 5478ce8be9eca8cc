"""A detector that answers what it was told to: for tests, demonstrations and commissioning without a model.

It ships with the product and passes the same contract suite as the real one; no production code can tell them apart but by `info`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from inspector.clock import NS_PER_S, now_ns
from inspector.detect.decode import FLOOR, check_detections
from inspector.errors import DetectorError
from inspector.ports import DetectorInfo
from inspector.types import Detection, Pixels


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of one picture.

    detections  what `result` returns; a score that is NaN or outside 0..1 comes out as the DetectorError that it is
    delay_s     how long the inference takes
    hangs       it never ends: `wait` returns False until `cancel`
    raises      "start" or "wait": which call fails
    """

    detections: tuple[Detection, ...] = ()
    delay_s: float = 0.0
    hangs: bool = False
    raises: Literal["start", "wait"] | None = None


Script = Callable[[int, Pixels], Answer]
"""(how many pictures were started before this one, the picture) → what becomes of it."""


def cycle(answers: Sequence[Answer]) -> Script:
    """A script that goes through `answers` again and again."""
    return lambda count, _pixels: answers[count % len(answers)]


class ScriptedDetector:
    """Port `Detector` without a network. height, width in px, channels 1 or 3: the frames that it takes."""

    def __init__(self, script: Script, *, height: int, width: int, channels: int = 1, classes: Sequence[str] = ("defect",)) -> None:
        self.info = DetectorInfo(device="scripted", precision="none", classes=tuple(classes), runtime="scripted")
        self.started = 0
        self._script = script
        self._shape = (height, width) if channels == 1 else (height, width, channels)
        self._answer: Answer | None = None
        self._due_ns = 0
        self._closed = False

    def start(self, pixels: Pixels, reference: Pixels | None = None) -> None:
        """See port."""
        if self._closed or self._answer is not None:
            raise DetectorError(f"scripted detector {'is closed' if self._closed else 'still works on the frame before: cancel it'}")
        for plane in (pixels,) if reference is None else (pixels, reference):
            if plane.shape != self._shape or plane.dtype != np.uint8 or not plane.flags.c_contiguous:
                raise DetectorError(f"scripted detector was built for frames of uint8 {self._shape} and got {plane.dtype} {plane.shape}")
        answer = self._script(self.started, pixels)
        self.started += 1
        if answer.raises == "start":
            raise DetectorError("scripted detector did not start, as its script says")
        self._answer = answer
        self._due_ns = now_ns() + int(answer.delay_s * NS_PER_S)

    def wait(self, timeout_s: float) -> bool:
        """See port."""
        answer = self._running()
        left_s = (self._due_ns - now_ns()) / NS_PER_S
        time.sleep(max(0.0, timeout_s if answer.hangs else min(timeout_s, left_s)))
        if answer.hangs or now_ns() < self._due_ns:
            return False
        if answer.raises == "wait":
            self._answer = None
            raise DetectorError("scripted detector failed, as its script says")
        return True

    def result(self) -> Sequence[Detection]:
        """See port."""
        answer = self._running()
        if answer.hangs or now_ns() < self._due_ns:
            raise DetectorError("scripted detector has no result: wait for it first")
        self._answer = None
        check_detections(answer.detections)
        return sorted((d for d in answer.detections if d.score >= FLOOR), key=lambda d: -d.score)

    def cancel(self) -> None:
        """See port."""
        self._answer = None

    def close(self) -> None:
        """See port."""
        self.cancel()
        self._closed = True

    def _running(self) -> Answer:
        if self._answer is None:
            raise DetectorError("scripted detector does not work on a frame: start it first")
        return self._answer
