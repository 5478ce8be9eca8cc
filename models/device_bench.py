"""What each device and precision of a bundle does on this machine: time, throughput, memory, compile time.

Every combination runs in two processes of its own: the first compiles with an empty cache (cold) and ends; the second compiles with
what the first left (warm), and looks at the pictures. Memory is what that process holds resident beyond what it held before it opened the
detector. All combinations look in turns, a round each, so that whatever else the machine does meets all alike. A time is that from a
picture in memory to its detections, as on the line: one picture at a time. A combination that fails, hangs or dies is told, and the
others go on.
"""

import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import openvino as ov

from inspector.bundle import Bundle, InputKind
from inspector.detect.openvino import OpenVinoDetector
from inspector.errors import InspectorError
from inspector.types import Pixels

PICTURE_S = 10.0
"""A picture that takes longer: the device hangs."""
OPEN_S = 300.0
"""Drivers of accelerators compile for a minute or more the first time."""
_END_S = 5.0
_ONE_DEVICE = ("CPU", "GPU", "NPU")


@dataclass(frozen=True, slots=True)
class Case:
    """One combination to measure."""

    device: str
    precision: str


@dataclass(frozen=True, slots=True)
class Figures:
    """One combination's figures. Times in ms from a picture in memory to its detections; memory in MB (10^6 bytes), None where the
    system does not tell; compile times in ms, without and with a cache. runs_as: the device and precision that really ran."""

    device: str
    precision: str
    runs_as: str
    pictures: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    pictures_per_s: float
    memory_mb: float | None
    compile_cold_ms: float
    compile_warm_ms: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A combination that cannot be used here, and why."""

    device: str
    precision: str
    problem: str


class _Problem(InspectorError):
    """A combination's process told of an error, hung or died."""


def cases(bundle: Bundle, device: str | None = None, precision: str | None = None) -> list[Case]:
    """Each device of this machine with each precision of the bundle, or only those named. Raises InspectorError for one not there."""
    there = [d for d in ov.Core().available_devices if d.split(".")[0] in _ONE_DEVICE]
    if device is not None and device not in there:
        raise InspectorError(f"device {device} is not there; choose one of {', '.join(there)}")
    if precision is not None and precision not in bundle.precisions:
        raise InspectorError(f"{bundle.folder}: has no precision {precision}; choose one of {', '.join(bundle.precisions)}")
    devices, precisions = [device] if device else there, [precision] if precision else bundle.precisions
    return [Case(d, p) for d in devices for p in precisions]


def recommend(measured: Sequence[Figures | Failed]) -> Figures | None:
    """The combination with the smallest measured p99; None where nothing runs."""
    return min((m for m in measured if isinstance(m, Figures)), key=lambda m: (m.p99_ms, m.p50_ms), default=None)


def measure(bundle: Bundle, pictures: Sequence[Pixels], wanted: Sequence[Case], rounds: int) -> list[Figures | Failed]:
    """Measure all cases in turns. pictures: uint8 of one shape, all looked at in every round; for a bundle that takes a reference, each
    picture is its own. Raises InspectorError when there is nothing to look at."""
    if not pictures or len({p.shape for p in pictures}) > 1 or rounds < 1:
        raise InspectorError(f"{len(pictures)} pictures: at least one is needed, all of one size; name another folder with --pictures")
    with tempfile.TemporaryDirectory() as scratch:
        shown = Path(scratch) / "pictures.npy"
        np.save(shown, np.stack(pictures))
        runs = [_Run(case, bundle.folder, shown, Path(scratch) / f"cache{i}") for i, case in enumerate(wanted)]
        try:
            for run in runs:
                run.open()
            for turn in range(rounds):
                # who comes first changes, because the first one wakes the machine for the others
                for run in runs[turn % len(runs) :] + runs[: turn % len(runs)]:
                    run.round(PICTURE_S * len(pictures))
        finally:
            for run in runs:
                run.close()
    return [run.figures() for run in runs]


class _Run:
    """One combination's process, seen from here."""

    def __init__(self, case: Case, bundle: Path, pictures: Path, cache: Path) -> None:
        self._case = case
        self._arguments = (bundle, case.device, case.precision, pictures, cache)
        self._worker: _Worker | None = None
        self._cold: dict[str, Any] = {}
        self._warm: dict[str, Any] = {}
        self._times: list[float] = []
        self._busy_s = 0.0
        self._problem: str | None = None

    def open(self) -> None:
        with self._told():
            first = _Worker(self._arguments)
            try:
                self._cold = first.answer(OPEN_S)
            finally:
                first.close()
            self._worker = _Worker(self._arguments)
            self._warm = self._worker.answer(OPEN_S)

    def round(self, timeout_s: float) -> None:
        with self._told():
            if self._worker is not None:
                answer = self._worker.ask(timeout_s)
                self._times += answer["times_ms"]
                self._busy_s += answer["busy_s"]
                self._warm["memory_mb"] = answer["memory_mb"]

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def figures(self) -> Figures | Failed:
        c = self._case
        if self._problem is not None:
            return Failed(c.device, c.precision, self._problem)
        p50, p99, top = (round(float(v), 3) for v in np.percentile(self._times, [50, 99, 100]))
        return Figures(
            device=c.device,
            precision=c.precision,
            runs_as=self._warm["runs_as"],
            pictures=len(self._times),
            p50_ms=p50,
            p99_ms=p99,
            max_ms=top,
            pictures_per_s=round(len(self._times) / self._busy_s, 2),
            memory_mb=self._warm["memory_mb"],
            compile_cold_ms=self._cold["compile_ms"],
            compile_warm_ms=self._warm["compile_ms"],
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """A problem ends this combination, not the others."""
        try:
            yield
        except _Problem as problem:
            self._problem = str(problem)
            self.close()


class _Worker:
    """A process that opens one detector, says so, and then looks at all pictures whenever it is asked."""

    def __init__(self, arguments: tuple[Path, str, str, Path, Path]) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, timeout_s: float) -> dict[str, Any]:
        try:
            self._ours.send(True)
        except OSError:
            raise _Problem("its process died") from None
        return self.answer(timeout_s)

    def answer(self, timeout_s: float) -> dict[str, Any]:
        if not self._ours.poll(timeout_s):
            raise _Problem(f"no answer within {timeout_s:.0f} s")
        try:
            answer = self._ours.recv()
        except (EOFError, OSError):
            self._process.join(_END_S)
            raise _Problem(f"its process died (exit status {self._process.exitcode})") from None
        if isinstance(answer, str):
            raise _Problem(answer)
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        self._ours.close()
        self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


def _work(pipe: Connection, folder: Path, device: str, precision: str, shown: Path, cache: Path) -> None:
    """The other process: answers once when it is open, then after every round; ends when the pipe is closed."""
    pictures = [np.ascontiguousarray(p) for p in np.load(shown)]
    try:
        bundle = Bundle.open(folder)
        needs_reference = bundle.input is InputKind.MONO_REFERENCE
        idle_mb = _resident_mb()
        began = perf_counter()
        height, width = pictures[0].shape[:2]
        channels = 3 if pictures[0].ndim == 3 else 1
        detector = OpenVinoDetector(
            bundle, height=height, width=width, channels=channels, device=device, precision=precision, cache_dir=cache
        )
        compile_ms = round((perf_counter() - began) * 1000, 1)
        runs_as = f"{detector.info.device} {detector.info.precision}, {detector.info.runtime}"
        pipe.send({"compile_ms": compile_ms, "runs_as": runs_as})
        while pipe.recv():
            round_began = perf_counter()
            times_ms = [_time_ms(detector, picture, needs_reference) for picture in pictures]
            busy_s = perf_counter() - round_began
            memory_mb = None if idle_mb is None else round((_resident_mb() or 0.0) - idle_mb, 1)
            pipe.send({"times_ms": times_ms, "busy_s": busy_s, "memory_mb": memory_mb})
    except (EOFError, BrokenPipeError):
        return
    except InspectorError as error:
        pipe.send(str(error))


def _time_ms(detector: OpenVinoDetector, picture: Pixels, needs_reference: bool) -> float:
    began = perf_counter()
    detector.start(picture, picture if needs_reference else None)
    if not detector.wait(PICTURE_S):
        raise InspectorError(f"one picture took more than {PICTURE_S:.0f} s")
    detector.result()
    return (perf_counter() - began) * 1000


def _resident_mb() -> float | None:
    """Resident memory of this process (VmRSS of /proc/self/status), MB; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS:")), None)
