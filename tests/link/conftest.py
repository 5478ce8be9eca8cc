"""A station for the link's tests: a real server over a small set of controls."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from inspector.errors import CommandRefused
from inspector.link.client import LinkClient
from inspector.link.server import LinkServer
from inspector.types import Balances, Frame, Health, LastPart, Latency, StationState, Status, StopCause, VerdictKind

STATUS = Status(
    seq=1,
    station="cell 7",
    version="0.1.0",
    pid=4711,
    state=StationState.HELD,
    since_utc="2026-01-31T12:00:00.000000Z",
    run=3,
    cause=StopCause("rejects in a row", "20 rejects in a row", "look at the last parts, then acknowledge"),
    balances=Balances(triggers=10, passed=6, rejected=2, faulted=1, undecided=1, disposed=8, in_transit=1),
    dispositions={"good lane": 6, "reject confirmed": 2},
    release="r1",
    recipe="board 3",
    bundle="pcb 1",
    device="CPU",
    precision="INT8",
    presence="template 0.93",
    lot=None,
    last=LastPart("3-9", VerdictKind.REJECT, ("short 0.93 in zone edge, limit 0.60",), 14.5),
    health=(Health("camera", True, "40 frames/s"), Health("plc", False, "no answer for 80 ms")),
    latency_ms=Latency(14.0, 18.0, 21.0),
    infer_ms=Latency(),
)


@dataclass
class Panel:
    """Controls that keep what they were told; a test may make them slow, broken or mute."""

    now: Status = STATUS
    frame: Frame | None = None
    commands: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    def status(self) -> Status:
        if self.error is not None:
            raise self.error
        return self.now

    def preview(self) -> Frame | None:
        return self.frame

    def command(self, name: str, arguments: dict[str, str], who: str) -> str:
        if name == "hang":
            self.gate.wait(10)
        if name == "break":
            raise ZeroDivisionError("inside the station")
        if name == "pause":
            raise CommandRefused("pause: the line is held: acknowledge first")
        self.commands.append((name, arguments, who))
        return f"{name}: done"

    def advance(self) -> None:
        self.now = replace(self.now, seq=self.now.seq + 1)

    def show(self, height: int, width: int, channels: int, frame_id: int = 1) -> None:
        shape = (height, width) if channels == 1 else (height, width, channels)
        pixels = np.arange(height * width * channels, dtype=np.uint32).astype(np.uint8).reshape(shape)
        self.frame = Frame(pixels, frame_id, 5, 6, "a test picture")


@pytest.fixture
def panel() -> Iterator[Panel]:
    made = Panel()
    yield made
    made.gate.set()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "station.sock"


@pytest.fixture
def server(panel: Panel, path: Path) -> Iterator[LinkServer]:
    made = LinkServer(panel, path)
    made.start()
    yield made
    panel.gate.set()
    made.close()


@pytest.fixture
def connect(path: Path) -> Iterator[Callable[..., LinkClient]]:
    made: list[LinkClient] = []

    def _connect(timeout_s: float = 3.0) -> LinkClient:
        made.append(LinkClient(path, timeout_s))
        return made[-1]

    yield _connect
    for client in made:
        client.close()


@pytest.fixture
@pytest.mark.usefixtures("server")
def client(connect: Callable[..., LinkClient]) -> LinkClient:
    return connect()
