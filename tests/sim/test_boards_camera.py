"""The simulated camera as a process: it shows the part that was pulsed, misbehaves as told, and never outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest
import zmq
from click.testing import CliRunner

from inspector.camera.rendered import RenderedCamera
from inspector.clock import now_ns
from inspector.errors import CameraError, FrameError
from inspector.sim.board_camera import PULSE, CameraOptions, main
from inspector.sim.board_camera_process import BoardCameraProcess
from inspector.sim.boards import Product, board
from inspector.types import Frame

Start = Callable[[CameraOptions], "Bench"]
PATIENCE_S = 5.0


class Bench:
    """A running camera, its driver and its trigger line."""

    def __init__(self, options: CameraOptions, guard: ExitStack) -> None:
        self.process = guard.enter_context(BoardCameraProcess(options))
        self.camera = RenderedCamera(self.process.frames, self.process.control, timeout_s=PATIENCE_S)
        guard.callback(self.camera.close)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        guard.callback(context.destroy, linger=0)
        self.wire = context.socket(zmq.PUSH)
        guard.callback(self.wire.close, linger=0)
        self.wire.connect(self.process.wire)
        self.camera.open()
        self.camera.arm()

    def pulse(self, *numbers: int) -> None:
        for number in numbers:
            self.wire.send(PULSE.pack(number))

    def frame(self) -> Frame:
        frame = self.camera.grab(PATIENCE_S)
        assert frame is not None
        return frame


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as guard:
        yield lambda options: Bench(options, guard)


def gone(pid: int) -> bool:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_it_shows_the_part_that_was_pulsed(start: Start) -> None:
    bench = start(CameraOptions(seed=4, product=1, defect_rate=0.5, odd_rate=0.2))
    product = Product(1)
    for number in (1, 2, 3, 2**32 - 1, 50):
        bench.pulse(number)
        assert np.array_equal(bench.frame().pixels, board(product, number, seed=4, defect_rate=0.5, odd_rate=0.2).pixels)


def test_lost_missed_and_torn_frames_leave_the_traces_of_a_real_camera(start: Start) -> None:
    bench = start(CameraOptions(drop=frozenset({2}), miss=frozenset({4}), torn=frozenset({6})))
    bench.pulse(1, 2, 3, 4, 5, 6, 7)
    assert [bench.frame().frame_id for _ in range(3)] == [1, 3, 4]  # id 2 was lost on its way; pulse 4 has none, so pulse 5 is id 4
    with pytest.raises(FrameError, match="torn") as torn:
        bench.frame()
    assert torn.value.frame_id == 5
    assert bench.frame().frame_id == 6


def test_a_delay_shows_in_the_arrival_and_not_in_the_exposure(start: Start) -> None:
    bench = start(CameraOptions(delay_ms=120))
    sent = now_ns()
    bench.pulse(1, 2)
    for frame in (bench.frame(), bench.frame()):
        assert frame.arrived_ns - frame.exposed_ns >= 115e6
        assert frame.exposed_ns - sent < 110e6


def test_nonsense_on_the_wire_and_on_control_changes_nothing(start: Start) -> None:
    bench = start(CameraOptions())
    bench.wire.send(b"123")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    other = context.socket(zmq.DEALER)
    other.connect(bench.process.control)
    other.send_multipart([b"token", b'{"command": "explode"}'])
    other.send(b"x")
    bench.pulse(9)
    assert bench.frame().frame_id == 1
    assert not other.poll(50)
    context.destroy(linger=0)


def test_pulses_while_nobody_fetches_lose_frames_and_not_the_camera(start: Start) -> None:
    bench = start(CameraOptions())
    bench.pulse(*range(1, 61))
    time.sleep(0.5)
    bench.camera.arm()
    bench.pulse(100)
    assert bench.frame().pixels.any()


def test_a_camera_pulled_out_is_lost_and_is_found_again_once_back(start: Start) -> None:
    bench = start(CameraOptions())
    bench.process.kill()
    with pytest.raises(CameraError, match="lost"):
        bench.frame()
    bench.camera.close()
    bench.process.stop()
    bench.process.start()
    bench.camera.open()
    bench.camera.arm()
    bench.pulse(1)
    assert bench.frame().frame_id == 1


def test_sigterm_ends_it(start: Start) -> None:
    bench = start(CameraOptions())
    pid = bench.process.pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    bench.process.stop()
    assert gone(pid)
    assert bench.process.pid is None


def test_it_does_not_outlive_a_killed_parent() -> None:
    code = (
        "import time; from inspector.sim.board_camera_process import BoardCameraProcess as P\n"
        "p = P(); p.start(); print(p.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    assert gone(pid)


def test_a_camera_that_cannot_start_is_told_at_once() -> None:
    process = BoardCameraProcess(wire="ipc:///no/such/folder/wire")
    with pytest.raises(CameraError, match="did not start"), process:
        pass


def test_an_endpoint_in_use_is_refused_in_one_line() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    holder = context.socket(zmq.PULL)
    taken = f"tcp://127.0.0.1:{holder.bind_to_random_port('tcp://127.0.0.1')}"
    done = CliRunner().invoke(main, ["--wire", taken, "--frames", taken, "--control", taken])
    context.destroy(linger=0)
    assert done.exit_code == 1
    assert "take free endpoints" in done.output
