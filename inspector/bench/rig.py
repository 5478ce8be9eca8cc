"""A station on rendered boards that are in memory before the clock runs: the rig for latency and throughput."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import cv2

from inspector.build import DetectorChoice, prepare_product
from inspector.camera.folder import FolderCamera
from inspector.camera.pictures import list_pictures, read_picture
from inspector.clock import now_ns
from inspector.errors import InspectorError
from inspector.line.direct import DirectLine
from inspector.sim.boards import Product, board
from inspector.sim.demo_files import DemoWiring, write_demo_files
from inspector.station import Settings, Station, StopRules
from inspector.trace import EvidencePolicy, SqliteArchive
from inspector.types import Inspection, PartKind, Pixels, StationState

_START_S = 120.0
_VERDICT_S = 30.0
_BOARDS = 16
_SEED = 7
_DEFECT_RATE = 0.06
"""Rejects cost more than passes: their pictures are stored. This is a bad day of a line, not the demo's every third part."""


@dataclass(frozen=True, slots=True)
class Rig:
    """A running station, its hand on the photo-eye, and its verdicts."""

    station: Station
    line: DirectLine
    verdicts: "SimpleQueue[Inspection]"
    pictures: tuple[Pixels, ...]

    def next_verdict(self) -> Inspection:
        """The next verdict. Raises InspectorError when none comes within half a minute."""
        try:
            return self.verdicts.get(timeout=_VERDICT_S)
        except Empty:
            raise InspectorError(f"no verdict within {_VERDICT_S:.0f} s; the station is {self.station.status().state}") from None


def write_boards(folder: Path) -> Path:
    """Recipe, mark and a few rendered boards in `folder`; returns the path of the recipe."""
    product = Product(0)
    write_demo_files(folder, product, DemoWiring(1, "ipc:///unused", "ipc:///unused"), 60.0)
    (folder / "boards").mkdir(exist_ok=True)
    for number in range(_BOARDS):
        cv2.imwrite(str(folder / "boards" / f"{number:03d}.png"), board(product, number, seed=_SEED, defect_rate=_DEFECT_RATE).pixels)
    return folder / "boards.toml"


@contextmanager
def running_rig(folder: Path, choice: DetectorChoice, bundle: Path | None) -> Iterator[Rig]:
    """The rig, RUNNING; stopped on leaving. Raises InspectorError."""
    recipe = write_boards(folder)
    camera = FolderCamera(folder / "boards", preload=True, loop=True)
    verdicts: SimpleQueue[Inspection] = SimpleQueue()  # bounded by the parts that the bench has under way
    line = DirectLine(on_pulse=lambda _: camera.trigger(), epoch=now_ns() & 0x7FFFFFFF)
    settings = Settings(
        "bench",
        PartKind.TEST,
        frame_ms=_VERDICT_S * 1000,
        detector_ms=_VERDICT_S * 1000,
        poll_ms=50,
        stops=StopRules(faults_in_row=None),
    )
    archive = SqliteArchive(folder / "archive", evidence=EvidencePolicy())
    station = Station(settings, camera, line, archive, lambda _: prepare_product(recipe, bundle, choice), verdicts.put)
    try:
        station.start()
        station.command("start", {}, "bench")
        _wait_running(station)
        pictures = tuple(read_picture(path, pixel="mono") for path in list_pictures(folder / "boards"))
        yield Rig(station, line, verdicts, pictures)
    finally:
        station.stop()


def _wait_running(station: Station) -> None:
    pause = threading.Event()
    until_ns = now_ns() + int(_START_S * 1e9)
    while station.status().state is not StationState.RUNNING:
        status = station.status()
        if now_ns() > until_ns or status.state is StationState.FAULT:
            raise InspectorError(f"the station is {status.state}: {status.cause.text if status.cause else 'no cause given'}")
        pause.wait(0.01)
