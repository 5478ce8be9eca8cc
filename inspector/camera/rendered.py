"""Driver of the simulated camera (`python -m inspector.sim.board_camera`) over zmq: frames on one socket, control on another.

Wire format, strict. A frame is two parts: a JSON header {frame_id, exposed_ns, width, height, channels, armed} and
width x height x channels raw bytes. Control is request and reply, each two parts: a token of 8 bytes that the reply
repeats, and JSON: {"command": "hello"} or {"command": "arm"}, answered by {name, width, height, channels, armed}.
`armed` counts the armings: a frame of an older one is discarded.
exposed_ns is station time, for CLOCK_MONOTONIC is shared by all processes of one machine.
"""

import os
import threading
import time
from typing import Literal

import numpy as np
import zmq
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from zmq.utils.monitor import recv_monitor_message

from inspector.clock import NS_PER_S, now_ns
from inspector.errors import CameraError, FrameError
from inspector.ports import CameraInfo
from inspector.types import Frame

RECEIVE_FRAMES = 8
"""Frames that zmq keeps for grab; when full the camera keeps its own few, and beyond loses frames (their ids are missing)."""

_SLICE_MS = 20  # one look at the sockets: how long close waits for a grab in another thread
_MONITOR = zmq.Event.DISCONNECTED


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Header(_Strict):
    frame_id: int = Field(ge=1)
    exposed_ns: int = Field(ge=0)
    width: int = Field(ge=1, le=65_535)
    height: int = Field(ge=1, le=65_535)
    channels: Literal[1, 3]
    armed: int = Field(ge=0)


class _Answer(_Strict):
    name: str
    width: int = Field(ge=1, le=65_535)
    height: int = Field(ge=1, le=65_535)
    channels: Literal[1, 3]
    armed: int = Field(ge=0)


class RenderedCamera:
    """Implements the port Camera for the simulated camera over zmq. One driver a camera: two would share its frames out between them."""

    def __init__(self, frames: str, control: str, *, timeout_s: float = 2.0) -> None:
        """`frames` and `control` are the camera's zmq endpoints; an answer to open or arm may take timeout_s."""
        self._frames_endpoint = frames
        self._control_endpoint = control
        self._timeout_s = timeout_s
        self._lock = threading.Lock()  # held by whoever touches the sockets, for a slice at a time
        self._closing = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._frames: zmq.Socket[bytes] | None = None
        self._control: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._armed: int | None = None
        self._info: CameraInfo | None = None

    def open(self) -> CameraInfo:
        """Connect and ask who is there. Raises CameraError when nobody answers within timeout_s."""
        self.close()
        with self._lock:
            self._closing.clear()
            self._connect()
            try:
                answer = self._ask("hello")
            except CameraError:
                self._disconnect()
                raise
            self._armed = None
            self._info = CameraInfo(answer.name, "simulated camera over zmq", answer.height, answer.width, answer.channels)
            return self._info

    def arm(self) -> None:
        """Begin afresh; frames of earlier armings are discarded by grab. Raises CameraError when the camera is silent or closed."""
        with self._lock:
            if self._control is None:
                raise CameraError(f"camera at {self._control_endpoint}: is closed; open it first")
            self._armed = None
            self._forget_waiting()
            self._armed = self._ask("arm").armed

    def grab(self, timeout_s: float) -> Frame | None:
        """The next frame since arm, copied out of zmq's buffer. Raises FrameError for a torn one, CameraError when the camera is lost."""
        if self._frames is None:
            raise CameraError(f"camera at {self._frames_endpoint}: is closed; open it first")
        until = time.monotonic() + timeout_s
        while not self._closing.is_set():
            left_ms = round((until - time.monotonic()) * 1000)
            with self._lock:
                if self._frames is None:
                    return None
                frame = self._look(max(0, min(_SLICE_MS, left_ms)))
            if frame is not None:
                return frame
            if time.monotonic() >= until:
                return None
        return None

    def close(self) -> None:
        """Disconnect; a waiting grab returns None. Safe to call twice, from any thread."""
        self._closing.set()
        with self._lock:
            self._disconnect()

    def _connect(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context = context
        self._frames = context.socket(zmq.PULL)
        self._frames.set_hwm(RECEIVE_FRAMES)
        self._monitor = self._frames.get_monitor_socket(_MONITOR)
        self._control = context.socket(zmq.DEALER)
        self._control.set_hwm(4)  # one question at a time; when full the question counts as not answered
        for socket in (self._frames, self._control):
            socket.setsockopt(zmq.LINGER, 0)
        try:
            self._frames.connect(self._frames_endpoint)
            self._control.connect(self._control_endpoint)
        except zmq.ZMQError as error:
            self._disconnect()
            text = f"camera at {self._frames_endpoint} and {self._control_endpoint}: no such endpoint ({error.strerror}); correct it"
            raise CameraError(text) from error

    def _disconnect(self) -> None:
        if self._frames is not None:
            self._frames.disable_monitor()
        for socket in (self._frames, self._control, self._monitor):
            if socket is not None:
                socket.close(linger=0)
        if self._context is not None:
            self._context.term()
        self._frames = self._control = self._monitor = self._context = None

    def _forget_waiting(self) -> None:
        """Make room: the camera answers `arm` when it can send its next frame."""
        while self._frames is not None and self._frames.poll(0):
            self._frames.recv_multipart(copy=False)

    def _ask(self, command: str) -> _Answer:
        assert self._control is not None
        token = os.urandom(8)
        until = time.monotonic() + self._timeout_s
        silent = f"camera at {self._control_endpoint}: no answer to {command!r} within {self._timeout_s:g} s; is the camera running?"
        try:
            self._control.send_multipart([token, b'{"command": "%s"}' % command.encode()], zmq.NOBLOCK)
        except zmq.Again as error:
            raise CameraError(silent) from error
        while not self._closing.is_set():
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise CameraError(silent)
            if not self._control.poll(min(_SLICE_MS, max(1, round(left_s * 1000)))):
                continue
            parts = self._control.recv_multipart()
            if len(parts) == 2 and parts[0] == token:
                return self._answer(parts[1])
        raise CameraError(f"camera at {self._control_endpoint}: was closed while {command!r} waited for its answer")

    def _answer(self, text: bytes) -> _Answer:
        try:
            return _Answer.model_validate_json(text)
        except ValidationError as error:
            raise CameraError(f"camera at {self._control_endpoint}: unreadable answer ({_first(error)}); is it another version?") from error

    def _look(self, timeout_ms: int) -> Frame | None:
        """Wait one slice; a frame of this arming, or None."""
        assert self._frames is not None
        assert self._monitor is not None
        if not self._frames.poll(timeout_ms):
            # Looked at last: frames sent before the camera died are still good.
            if self._monitor.poll(0):
                recv_monitor_message(self._monitor)
                raise CameraError(f"camera at {self._frames_endpoint}: lost, it hung up; start it and open it again")
            return None
        parts = self._frames.recv_multipart(copy=False)
        arrived_ns = now_ns()
        header = self._header(bytes(parts[0].buffer))
        if header.armed != self._armed:
            return None
        source = self._info.name if self._info else ""
        broken = self._broken(header, [len(part.buffer) for part in parts[1:]], arrived_ns)
        if broken:
            raise FrameError(broken, frame_id=header.frame_id, exposed_ns=min(header.exposed_ns, arrived_ns), source=source)
        shape = (header.height, header.width) if header.channels == 1 else (header.height, header.width, header.channels)
        pixels = np.frombuffer(parts[1].buffer, np.uint8).reshape(shape).copy()
        return Frame(pixels, header.frame_id, header.exposed_ns, arrived_ns, source)

    def _header(self, text: bytes) -> _Header:
        try:
            return _Header.model_validate_json(text)
        except ValidationError as error:
            raise CameraError(f"camera at {self._frames_endpoint}: unreadable header ({_first(error)}); is it another version?") from error

    def _broken(self, header: _Header, lengths: list[int], arrived_ns: int) -> str | None:
        expected = header.width * header.height * header.channels
        where = f"frame {header.frame_id} of the camera at {self._frames_endpoint}"
        info = self._info
        if info is not None and (header.width, header.height, header.channels) != (info.width, info.height, info.channels):
            return f"{where}: is {header.width}x{header.height}x{header.channels}, not {info.width}x{info.height}x{info.channels}"
        if lengths != [expected]:
            return f"{where}: torn, {sum(lengths)} of {expected} bytes arrived"
        if header.exposed_ns > arrived_ns + NS_PER_S // 1000:
            return f"{where}: exposed after it arrived; camera and station do not share one clock"
        return None


def _first(error: ValidationError) -> str:
    """The first complaint of a validation, as one line."""
    first = error.errors()[0]
    return f"{'.'.join(str(step) for step in first['loc']) or 'message'}: {first['msg']}"
