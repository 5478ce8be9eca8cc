"""The simulated camera: a process of its own that photographs rendered boards when the hardware trigger comes.

`python -m inspector.sim.board_camera --wire ENDPOINT --frames ENDPOINT --control ENDPOINT` binds three zmq sockets:
wire     PULL    the trigger line: a pulse is the part number of what lies under the camera, 8 bytes, big-endian, unsigned
frames   PUSH    one message a frame: JSON header {frame_id, exposed_ns, width, height, channels, armed} and the raw pixels
control  ROUTER  [token, {"command": "hello" | "arm"}] → [token, {name, width, height, channels, armed}]
Part N shows board(Product(product), N, seed=seed, ...), so everybody who knows these numbers knows the truth.
"""

import json
import os
import signal
import struct
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import click
import zmq

from inspector.clock import NS_PER_MS, now_ns
from inspector.sim.boards import Product, board
from inspector.sim.boards_layout import FRAME_PX
from inspector.types import Pixels

PULSE = struct.Struct(">Q")

_SEND_FRAMES = 8  # frames that zmq keeps for the driver; when full the frame is lost on its way: its id is missing
_PULSES = 1000  # pulses that zmq keeps; when full the sender of pulses waits
_AHEAD = 4  # boards rendered before their pulse comes
_DELAYED = 64  # frames held back by --delay-ms; when full the frame is lost on its way
_IDLE_MS = 50  # how long a signal or the death of the parent may stay unseen


@dataclass(frozen=True, slots=True)
class CameraOptions:
    """What the camera shows, and how it misbehaves. Pulses are counted from 1 since the process started.

    drop      these pulses' frames are lost on their way: the frame id counts on
    miss      these pulses find the camera busy (over-triggered): no frame and no id
    torn      these pulses' frames arrive without their last rows
    delay_ms  every frame is sent this late
    """

    seed: int = 0
    product: int = 0
    defect_rate: float = 0.3
    odd_rate: float = 0.0
    drop: frozenset[int] = frozenset()
    miss: frozenset[int] = frozenset()
    torn: frozenset[int] = frozenset()
    delay_ms: float = 0.0


class BoardCamera:
    """The camera's one loop over its three sockets."""

    def __init__(self, wire: str, frames: str, control: str, options: CameraOptions) -> None:
        """Bind the sockets and draw the product. Raises zmq.ZMQError for an endpoint that cannot be bound."""
        self._options = options
        self._product = Product(options.product)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._wire = self._bound(zmq.PULL, wire, _PULSES)
        self._frames = self._bound(zmq.PUSH, frames, _SEND_FRAMES)
        self._control = self._bound(zmq.ROUTER, control, 16)  # when full zmq drops the answer, and the driver asks again
        self._ready: dict[int, Pixels] = {}  # bounded by _prepare: numbers far from the newest pulse are thrown out
        self._outbox: deque[tuple[int, list[bytes]]] = deque()  # at most _DELAYED; when full the new frame is lost
        self._pulses = 0
        self._frame_id = 0
        self._armed = 0
        self._prepare(range(_AHEAD))  # the first board costs more than the later ones

    def close(self) -> None:
        """Close the sockets; frames that nobody fetched are lost."""
        self._context.destroy(linger=0)

    def step(self, idle_ms: int = _IDLE_MS) -> None:
        """Answer what has come, or wait for it idle_ms at most."""
        poller = zmq.Poller()
        poller.register(self._wire, zmq.POLLIN)
        poller.register(self._control, zmq.POLLIN)
        if self._outbox:
            idle_ms = max(0, min(idle_ms, (self._outbox[0][0] - now_ns()) // NS_PER_MS))
        ready = dict(poller.poll(idle_ms))
        if self._control in ready:
            self._answer()
        if self._wire in ready:
            self._pulse(self._wire.recv(), now_ns())
        while self._outbox and self._outbox[0][0] <= now_ns():
            self._send(self._outbox.popleft()[1])

    def _bound(self, kind: int, endpoint: str, messages: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.set_hwm(messages)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError:
            self.close()
            raise
        return socket

    def _pulse(self, message: bytes, at_ns: int) -> None:
        if len(message) != PULSE.size:
            print(f"board camera: a pulse of {len(message)} bytes is none; it has {PULSE.size}", file=sys.stderr, flush=True)
            return
        number = int(PULSE.unpack(message)[0])
        self._pulses += 1
        if self._pulses in self._options.miss:
            return
        self._frame_id += 1
        pixels = self._photograph(number)
        if self._pulses not in self._options.drop and len(self._outbox) < _DELAYED:
            due_ns = at_ns + round(self._options.delay_ms * NS_PER_MS)
            self._outbox.append((due_ns, [self._header(at_ns), self._sent(pixels)]))
            if due_ns <= now_ns():
                self._send(self._outbox.popleft()[1])
        self._prepare(range(number + 1, number + 1 + _AHEAD))

    def _header(self, exposed_ns: int) -> bytes:
        size = {"width": FRAME_PX, "height": FRAME_PX, "channels": 1}
        return json.dumps({"frame_id": self._frame_id, "exposed_ns": exposed_ns, "armed": self._armed} | size).encode()

    def _sent(self, pixels: Pixels) -> bytes:
        torn = self._pulses in self._options.torn
        return (pixels[: FRAME_PX // 3] if torn else pixels).tobytes()

    def _photograph(self, number: int) -> Pixels:
        kept = self._ready.pop(number, None)
        return self._render(number) if kept is None else kept

    def _render(self, number: int) -> Pixels:
        options = self._options
        return board(self._product, number, seed=options.seed, defect_rate=options.defect_rate, odd_rate=options.odd_rate).pixels

    def _prepare(self, numbers: range) -> None:
        """Render what comes next, as long as no pulse waits."""
        self._ready = {number: pixels for number, pixels in self._ready.items() if number in numbers}
        for number in numbers:
            if self._wire.poll(0) or self._control.poll(0):
                return
            if number not in self._ready:
                self._ready[number] = self._render(number)

    def _send(self, parts: list[bytes]) -> None:
        try:
            self._frames.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            print("board camera: a frame is lost, nobody fetches them", file=sys.stderr, flush=True)

    def _answer(self) -> None:
        parts = self._control.recv_multipart()
        if len(parts) != 3 or parts[2] not in (b'{"command": "hello"}', b'{"command": "arm"}'):
            print("board camera: an unknown command is not answered", file=sys.stderr, flush=True)
            return
        if b"arm" in parts[2]:
            self._armed += 1
            self._frame_id = 0
            self._outbox.clear()
            self._frames.poll(200, zmq.POLLOUT)  # a driver that has just connected: its first frame must not find nobody there
        answer = {"name": self._name(), "width": FRAME_PX, "height": FRAME_PX, "channels": 1, "armed": self._armed}
        self._control.send_multipart([parts[0], parts[1], json.dumps(answer).encode()])

    def _name(self) -> str:
        return f"simulated camera, product {self._options.product}, lot {self._options.seed}"


def run_camera(camera: BoardCamera, parent: int | None) -> None:
    """Serve until SIGTERM, SIGINT, or until `parent` (a process id) is no longer the parent."""
    asked: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    print("ready", flush=True)
    try:
        while not asked and (parent is None or os.getppid() == parent):
            camera.step()
    finally:
        camera.close()


def _bind(wire: str, frames: str, control: str, options: CameraOptions) -> BoardCamera:
    try:
        return BoardCamera(wire, frames, control, options)
    except zmq.ZMQError as error:
        raise click.ClickException(f"cannot bind {wire}, {frames} and {control}: {error.strerror}; take free endpoints") from error


def _numbers(_context: click.Context, _parameter: click.Parameter, value: Iterable[int]) -> frozenset[int]:
    return frozenset(value)


_PULSE_NUMBER: dict[str, Any] = {"type": click.IntRange(min=1), "multiple": True, "callback": _numbers, "metavar": "PULSE"}


@click.command("board-camera")
@click.option("--wire", required=True, help="Endpoint of the trigger line.")
@click.option("--frames", required=True, help="Endpoint of the frames.")
@click.option("--control", required=True, help="Endpoint of the control socket.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Names the lot: same seed, same parts.")
@click.option("--product", type=click.IntRange(min=0), default=0, show_default=True, help="Names the layout.")
@click.option("--defect-rate", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Share of defective parts.")
@click.option("--odd-rate", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Share of frames without a proper part.")
@click.option("--drop", help="This pulse's frame is lost on its way; may be repeated.", **_PULSE_NUMBER)
@click.option("--miss", help="This pulse finds the camera busy; may be repeated.", **_PULSE_NUMBER)
@click.option("--torn", help="This pulse's frame arrives torn; may be repeated.", **_PULSE_NUMBER)
@click.option("--delay-ms", type=click.FloatRange(min=0), default=0.0, help="Every frame is sent this late.")
@click.option("--parent", type=int, default=None, help="End when this process is no longer the parent.")
def main(wire: str, frames: str, control: str, parent: int | None, **options: Any) -> None:
    """A simulated camera that photographs rendered boards."""
    started = time.perf_counter()
    camera = _bind(wire, frames, control, CameraOptions(**options))
    print(f"board camera: product drawn in {time.perf_counter() - started:.2f} s", file=sys.stderr, flush=True)
    run_camera(camera, parent)


if __name__ == "__main__":
    main()
