"""What every camera driver keeps to. A new driver adds a rig, and passes all of this."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import zmq

from inspector.camera.folder import FolderCamera
from inspector.camera.rendered import RenderedCamera
from inspector.clock import now_ns
from inspector.errors import CameraError
from inspector.ports import Camera
from inspector.sim.board_camera import PULSE
from inspector.sim.board_camera_process import BoardCameraProcess
from inspector.types import Frame

PATIENCE_S = 5.0  # far more than any driver here needs; a busy machine shall not fail a test


@dataclass(frozen=True, slots=True)
class Rig:
    """A camera, its trigger line, and a camera of the same kind that is not there."""

    camera: Camera
    pulse: Callable[[], None]
    absent: Callable[[], Camera]

    def ready(self) -> Camera:
        self.camera.open()
        self.camera.arm()
        return self.camera

    def take(self, count: int) -> list[Frame]:
        frames = []
        for _ in range(count):
            self.pulse()
            frame = self.camera.grab(PATIENCE_S)
            assert frame is not None
            frames.append(frame)
        return frames


@pytest.fixture(scope="module")
def simulated() -> Iterator[BoardCameraProcess]:
    with BoardCameraProcess() as process:
        yield process


def _folder_rig(folder: Path) -> Iterator[Rig]:
    rng = np.random.default_rng(1)
    for number in range(12):
        cv2.imwrite(str(folder / f"{number:02d}.png"), rng.integers(0, 256, (24, 32), np.uint8))
    camera = FolderCamera(folder)

    def absent() -> Camera:
        broken = folder / "broken.png"
        broken.write_bytes(b"no picture")
        return FolderCamera([broken])

    yield Rig(camera, camera.trigger, absent)
    camera.close()


def _simulated_rig(process: BoardCameraProcess) -> Iterator[Rig]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    wire = context.socket(zmq.PUSH)
    wire.connect(process.wire)
    numbers = iter(range(1, 1000))
    camera = RenderedCamera(process.frames, process.control, timeout_s=PATIENCE_S)
    nobody = "ipc:///tmp/inspector-test-nobody-is-here"
    yield Rig(camera, lambda: wire.send(PULSE.pack(next(numbers))), lambda: RenderedCamera(nobody, nobody, timeout_s=0.2))
    camera.close()
    context.destroy(linger=0)


@pytest.fixture(params=["folder", "simulated"])
def rig(request: pytest.FixtureRequest, tmp_path: Path, simulated: BoardCameraProcess) -> Iterator[Rig]:
    if request.param == "folder":
        yield from _folder_rig(tmp_path)
    else:
        yield from _simulated_rig(simulated)


def test_it_says_who_it_is_and_delivers_what_it_said(rig: Rig) -> None:
    info = rig.camera.open()
    rig.camera.arm()
    (frame,) = rig.take(1)
    assert info.name
    assert info.driver
    assert (frame.height, frame.width, frame.channels) == (info.height, info.width, info.channels)
    assert frame.source


def test_frames_come_in_order_with_ids_from_1(rig: Rig) -> None:
    rig.ready()
    frames = rig.take(5)
    assert [frame.frame_id for frame in frames] == [1, 2, 3, 4, 5]
    assert len({frame.pixels.tobytes() for frame in frames}) == 5


def test_pulses_in_a_burst_give_a_frame_each(rig: Rig) -> None:
    camera = rig.ready()
    for _ in range(4):
        rig.pulse()
    frames = [camera.grab(PATIENCE_S) for _ in range(4)]
    assert [frame and frame.frame_id for frame in frames] == [1, 2, 3, 4]
    assert camera.grab(0.05) is None


def test_exposure_is_station_time_between_pulse_and_arrival(rig: Rig) -> None:
    rig.ready()
    before = now_ns()
    (frame,) = rig.take(1)
    assert before <= frame.exposed_ns <= frame.arrived_ns <= now_ns()


def test_a_frame_is_yours(rig: Rig) -> None:
    rig.ready()
    (frame,) = rig.take(1)
    assert frame.pixels.dtype == np.uint8
    assert frame.pixels.flags.c_contiguous
    kept = frame.pixels.copy()
    rig.take(3)
    assert np.array_equal(frame.pixels, kept)
    frame.pixels[:] = 0  # raises for a borrowed, read-only buffer


def test_grab_gives_up_in_time(rig: Rig) -> None:
    camera = rig.ready()
    started = time.monotonic()
    assert camera.grab(0.1) is None
    assert 0.05 < time.monotonic() - started < 1.0
    assert camera.grab(0.0) is None


def test_close_ends_a_waiting_grab(rig: Rig) -> None:
    camera = rig.ready()
    got: list[Frame | CameraError | None] = []

    def wait() -> None:
        try:
            got.append(camera.grab(PATIENCE_S))
        except CameraError as error:
            got.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.05)
    started = time.monotonic()
    camera.close()
    waiting.join(PATIENCE_S)
    assert not waiting.is_alive()
    assert time.monotonic() - started < 1.0
    assert got[0] is None or isinstance(got[0], CameraError)


def test_close_is_safe_before_open_and_twice(rig: Rig) -> None:
    rig.camera.close()
    rig.ready()
    rig.camera.close()
    rig.camera.close()
    with pytest.raises(CameraError, match="closed"):
        rig.camera.grab(0.01)


def test_a_closed_camera_says_so(rig: Rig) -> None:
    with pytest.raises(CameraError, match="closed"):
        rig.camera.grab(0.01)
    with pytest.raises(CameraError, match="closed"):
        rig.camera.arm()


def test_it_opens_again_and_counts_from_1(rig: Rig) -> None:
    rig.ready()
    rig.take(2)
    rig.camera.close()
    rig.ready()
    assert [frame.frame_id for frame in rig.take(2)] == [1, 2]


def test_arm_forgets_what_is_on_its_way_and_counts_from_1(rig: Rig) -> None:
    camera = rig.ready()
    old = rig.take(1)
    for _ in range(3):
        rig.pulse()
    camera.arm()
    new = rig.take(2)
    while camera.grab(0.1):  # a pulse may reach the camera after the arming; it must not come before what was pulsed later
        pass
    assert new[0].frame_id == 1
    assert new[1].frame_id == 2
    assert new[0].pixels.tobytes() != old[0].pixels.tobytes()


def test_nothing_is_delivered_before_arm(rig: Rig) -> None:
    rig.camera.open()
    rig.pulse()
    assert rig.camera.grab(0.1) is None


def test_an_absent_camera_is_refused_in_one_line(rig: Rig) -> None:
    camera = rig.absent()
    started = time.monotonic()
    with pytest.raises(CameraError) as refused:
        camera.open()
    camera.close()
    assert "\n" not in str(refused.value)
    assert time.monotonic() - started < 2.0
