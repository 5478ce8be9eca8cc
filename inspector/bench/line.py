"""Verdict → result slot echoed by the PLC, over TCP, against a bare Modbus write and a bare durable commit, in turns."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import zmq

from inspector.bench.rig import write_boards
from inspector.bench.spread import Spread
from inspector.camera.folder import FolderCamera
from inspector.camera.pictures import list_pictures, read_picture
from inspector.checks import Canary
from inspector.clock import ms, now_ns
from inspector.detect.scripted import Answer, ScriptedDetector, cycle
from inspector.errors import InspectorError
from inspector.line.modbus import ModbusLine
from inspector.ports import Detector
from inspector.presence import PresenceCheck
from inspector.recipe import load
from inspector.sim.boards_defects import CLASSES
from inspector.sim.plc_process import PlcSimOptions, PlcSimProcess
from inspector.station import Product, Settings, Station, StopRules
from inspector.trace import EvidencePolicy, SqliteArchive, open_reader
from inspector.trace.bare import BareCommit
from inspector.types import Box, Detection, Inspection, PartId, VerdictKind

_RATE_PER_MIN = 600.0
_TRAVEL_MS = 600.0
_DEADLINE_MS = 500.0
_SIDE = Detection(CLASSES[0], 0.9, Box(100, 100, 140, 140))


@dataclass(frozen=True, slots=True)
class LineFigures:
    """ms. reject, passed: verdict → echoed; a PASS waits for its durable row in between. Ratios are p50 ÷ the bare parts' p50."""

    reject: Spread
    passed: Spread
    bare_write: Spread
    bare_commit: Spread

    @property
    def reject_ratio(self) -> float:
        return self.reject.p50 / self.bare_write.p50

    @property
    def pass_ratio(self) -> float:
        return self.passed.p50 / (self.bare_write.p50 + self.bare_commit.p50)


def measure(folder: Path, parts: int = 300) -> LineFigures:
    """Run `parts` parts past a station whose detector answers at once, every second one a reject. Raises InspectorError."""
    recipe = load(write_boards(folder))
    camera = FolderCamera(folder / "boards", preload=True, loop=True)
    decided: SimpleQueue[Inspection] = SimpleQueue()  # one per part
    settings = Settings("bench", deadline_ms=_DEADLINE_MS, frame_ms=200, pairing_ms=45, stops=StopRules(faults_in_row=None))
    canary = Canary(read_picture(list_pictures(folder / "boards")[0], pixel="mono"), (_SIDE,))
    # The canary takes the first answer.
    answers = cycle([Answer((_SIDE,)), Answer()])

    def open_detector() -> Detector:
        return ScriptedDetector(answers, height=recipe.frame.height, width=recipe.frame.width, classes=CLASSES)

    product = Product(recipe, PresenceCheck(recipe), canary, 1, "scripted", "0" * 64, open_detector)
    wire = f"ipc://{folder / 'wire'}"
    options = PlcSimOptions(rate_per_min=_RATE_PER_MIN, parts=parts, travel_ms=_TRAVEL_MS, wire=wire, wait_ready=True)
    with _camera_on_the_wire(wire, camera), PlcSimProcess(options) as plc, PlcSimProcess(PlcSimOptions(wait_ready=True)) as idle_plc:
        archive = SqliteArchive(folder / "line", evidence=EvidencePolicy())
        line = ModbusLine("127.0.0.1", plc.port, timeout_s=0.5)
        station = Station(settings, camera, line, archive, lambda _: product, decided.put)
        try:
            station.start()
            station.command("start", {}, "bench")
            bare_write, bare_commit = _bare_in_turns(folder, idle_plc.port, plc)
        finally:
            station.stop()
        run = station.run
    reject, passed = _echoes(folder / "line", run, decided)
    return LineFigures(Spread.of(reject), Spread.of(passed), Spread.of(bare_write), Spread.of(bare_commit))


@contextmanager
def _camera_on_the_wire(wire: str, camera: FolderCamera) -> Iterator[None]:
    """The hardware trigger: every pulse on the wire exposes the next picture."""
    ending = threading.Event()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.PULL)
    socket.bind(wire)

    def listen() -> None:
        while not ending.is_set():
            if socket.poll(50):
                socket.recv()
                camera.trigger()

    listener = threading.Thread(target=listen, name="wire", daemon=True)
    listener.start()
    try:
        yield
    finally:
        ending.set()
        listener.join()
        context.destroy(linger=0)


def _bare_in_turns(folder: Path, port: int, plc: PlcSimProcess) -> tuple[list[float], list[float]]:
    """While the belt runs: a bare write of 8 registers to an idle PLC, and a bare commit, again and again. In ms."""
    writes, commits = [], []
    idle = ModbusLine("127.0.0.1", port, timeout_s=0.5)
    bare = BareCommit(folder)
    try:
        idle.open(1)
        while not plc.belt_done():
            began_ns = now_ns()
            idle.send(PartId(1, 1), VerdictKind.REJECT)
            writes.append(ms(now_ns() - began_ns))
            commits.append(bare.commit())
            time.sleep(0.04)
    finally:
        idle.close()
        bare.remove()
    return writes, commits


def _echoes(folder: Path, run: int, decided: SimpleQueue[Inspection]) -> tuple[list[float], list[float]]:
    """Verdict → echoed in ms, of the rejects and of the passes, from the records. Raises InspectorError when a part faulted."""
    times: dict[VerdictKind, list[float]] = {VerdictKind.REJECT: [], VerdictKind.PASS: []}
    with open_reader(folder) as reader:
        while not decided.empty():
            part = decided.get()
            if part.verdict.kind is VerdictKind.FAULT:
                raise InspectorError(f"part {part.part} of the bench faulted: {part.verdict}")
            record = reader.part(run, part.part.sequence)
            answers = [] if record is None else [e.data["acknowledged_ns"] for e in record.events if e.kind == "acknowledged"]
            if answers and part.timings.decided_ns is not None:
                times[part.verdict.kind].append(ms(answers[0] - part.timings.decided_ns))
    return times[VerdictKind.REJECT], times[VerdictKind.PASS]
