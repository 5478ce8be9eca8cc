"""Parts to record, and an archive to record them in."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from inspector.ports import RunStart
from inspector.trace import EvidencePolicy, SqliteArchive
from inspector.types import Box, ClassScore, Detection, Frame, Inspection, PartId, PartKind, Reason, Severity, Timings, Verdict, VerdictKind

START = RunStart("cell 7", "0.1.0", {"host": "line-3"})


def frame(size_px: int = 16, seed: int = 0) -> Frame:
    pixels = np.random.default_rng(seed).integers(0, 255, (size_px, size_px), np.uint8)
    return Frame(pixels, 1, 10, 20, "cam")


def inspection(run: int, sequence: int, verdict: VerdictKind = VerdictKind.PASS, *, picture: Frame | None = None) -> Inspection:
    reason = Reason("defect", "short 0.93 in zone edge, limit 0.60", "short", Severity.MAJOR, "edge", 0.93, 0.6, Box(1, 2, 3, 4))
    return Inspection(
        part=PartId(run, sequence),
        kind=PartKind.PRODUCTION,
        verdict=Verdict(verdict, () if verdict is VerdictKind.PASS else (reason,)),
        release="r1",
        timings=Timings(1, 2, 3, 4, 5, 6),
        detections=(Detection("short", 0.93, Box(1, 2, 3, 4)), Detection("open", 0.05, Box(0, 0, 1, 1))),
        class_scores=(ClassScore("short", "edge", 0.93), ClassScore("open", "all", 0.05)),
        presence="template 0.93",
        pixels_sha256="ab" * 32,
        frame=picture,
        source="cam",
    )


class Hold:
    """Stops the writer's thread inside a `done` until released: what is queued meanwhile forms one transaction."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, _: Exception | None) -> None:
        self.inside.set()
        self.go_on.wait(4)


@pytest.fixture
def hold() -> Iterator[Hold]:
    held = Hold()
    yield held
    held.go_on.set()


@pytest.fixture
def part() -> Callable[..., Inspection]:
    return inspection


@pytest.fixture
def picture() -> Callable[..., Frame]:
    return frame


@pytest.fixture
def open_archive(tmp_path: Path) -> Iterator[Callable[..., SqliteArchive]]:
    """Opens archives (by default in tmp_path/"archive", without pictures) and closes those that the test left open."""
    opened: list[SqliteArchive] = []

    def open_one(folder: Path | None = None, *, slots: int = 64, evidence: EvidencePolicy | None = None) -> SqliteArchive:
        archive = SqliteArchive(folder or tmp_path / "archive", slots=slots, evidence=evidence or EvidencePolicy(rejects=False))
        opened.append(archive)
        return archive

    yield open_one
    for archive in opened:
        archive.close()


@pytest.fixture
def start() -> RunStart:
    return START


@pytest.fixture
def raw() -> Iterator[Callable[[Path], sqlite3.Connection]]:
    """A bare connection, as anybody with the file might open one."""
    opened: list[sqlite3.Connection] = []

    def connect(path: Path) -> sqlite3.Connection:
        conn = sqlite3.connect(path, isolation_level=None)
        opened.append(conn)
        return conn

    yield connect
    for conn in opened:
        conn.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Waits until something holds; fails after four seconds."""

    def wait(condition: Callable[[], bool]) -> None:
        give_up = time.monotonic() + 4
        while not condition():
            assert time.monotonic() < give_up, "it never came true"
            time.sleep(0.005)

    return wait
