"""The driver of the simulated camera against a camera that lies, tears, falls silent or goes away."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import zmq

from inspector.camera.rendered import RenderedCamera
from inspector.clock import now_ns
from inspector.errors import CameraError, FrameError

ANSWER = {"name": "liar", "width": 4, "height": 3, "channels": 1, "armed": 1}


class Liar:
    """The camera's end of both sockets; it answers with `answer`, or not at all when that is None."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] | bytes | None = dict(ANSWER)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._frames = self._context.socket(zmq.PUSH)
        self._control = self._context.socket(zmq.ROUTER)
        self._ended = threading.Event()
        self.frames = f"tcp://127.0.0.1:{self._frames.bind_to_random_port('tcp://127.0.0.1')}"
        self.control = f"tcp://127.0.0.1:{self._control.bind_to_random_port('tcp://127.0.0.1')}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ended.is_set():
            if self._control.poll(10):
                identity, token, _ = self._control.recv_multipart()
                if self.answer is not None:
                    text = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
                    self._control.send_multipart([identity, b"00000000", text])  # an answer to an older question
                    self._control.send_multipart([identity, token, text])

    def send(self, *parts: bytes, **changed: Any) -> None:
        header = {"frame_id": 1, "exposed_ns": now_ns(), "width": 4, "height": 3, "channels": 1, "armed": 1} | changed
        self._frames.send_multipart([json.dumps(header).encode(), *(parts or (bytes(range(12)),))])

    def send_raw(self, *parts: bytes) -> None:
        self._frames.send_multipart(list(parts))

    def hang_up(self) -> None:
        self._frames.close(linger=0)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._context.destroy(linger=0)


@pytest.fixture
def liar() -> Iterator[Liar]:
    camera = Liar()
    yield camera
    camera.end()


@pytest.fixture
def camera(liar: Liar) -> Iterator[RenderedCamera]:
    driver = RenderedCamera(liar.frames, liar.control, timeout_s=0.5)
    driver.open()
    driver.arm()
    yield driver
    driver.close()


def test_pixels_and_stamps_arrive_as_sent(liar: Liar, camera: RenderedCamera) -> None:
    liar.send(exposed_ns=now_ns() - 1_000_000, frame_id=70_000)
    frame = camera.grab(2.0)
    assert frame is not None
    assert np.array_equal(frame.pixels, np.arange(12, dtype=np.uint8).reshape(3, 4))
    assert frame.frame_id == 70_000
    assert frame.arrived_ns - frame.exposed_ns >= 1_000_000
    assert frame.source == "liar"


@pytest.mark.parametrize(
    ("parts", "changed", "says"),
    [
        ((b"short",), {}, "torn, 5 of 12"),
        ((bytes(13),), {}, "torn, 13 of 12"),
        ((bytes(12), b"x"), {}, "torn"),
        ((bytes(12),), {"width": 3, "height": 4}, "is 3x4x1, not 4x3x1"),
        ((bytes(36),), {"channels": 3}, "4x3x3"),
        ((bytes(12),), {"exposed_ns": 2**62}, "one clock"),
    ],
)
def test_a_broken_frame_names_its_trigger_and_the_camera_goes_on(
    liar: Liar, camera: RenderedCamera, parts: tuple[bytes, ...], changed: dict[str, int], says: str
) -> None:
    liar.send(*parts, **{"frame_id": 7, **changed})
    liar.send(frame_id=8)
    with pytest.raises(FrameError, match=says) as caught:
        camera.grab(2.0)
    assert caught.value.frame_id == 7
    assert caught.value.exposed_ns <= now_ns()
    frame = camera.grab(2.0)
    assert frame is not None
    assert frame.frame_id == 8


def test_a_header_alone_is_a_torn_frame(liar: Liar, camera: RenderedCamera) -> None:
    header = {"frame_id": 3, "exposed_ns": 1, "width": 4, "height": 3, "channels": 1, "armed": 1}
    liar.send_raw(json.dumps(header).encode())
    with pytest.raises(FrameError, match="torn, 0 of 12"):
        camera.grab(2.0)


@pytest.mark.parametrize(
    "changed",
    [
        {"frame_id": "1"},
        {"frame_id": 0},
        {"frame_id": 1.5},
        {"exposed_ns": -1},
        {"channels": 2},
        {"armed": True},
        {"extra": 1},
        {"width": None},
    ],
)
def test_a_header_that_is_not_exactly_right_loses_the_camera(liar: Liar, camera: RenderedCamera, changed: dict[str, Any]) -> None:
    liar.send(**changed)
    with pytest.raises(CameraError, match="unreadable header") as caught:
        camera.grab(2.0)
    assert not isinstance(caught.value, FrameError)


def test_a_header_that_is_no_json_loses_the_camera(liar: Liar, camera: RenderedCamera) -> None:
    liar.send_raw(b"\xff\x00", bytes(12))
    with pytest.raises(CameraError, match="unreadable header"):
        camera.grab(2.0)


def test_frames_of_an_older_arming_are_discarded(liar: Liar, camera: RenderedCamera) -> None:
    liar.send(armed=0)
    liar.send(armed=1, frame_id=2)
    frame = camera.grab(2.0)
    assert frame is not None
    assert frame.frame_id == 2


def test_silence_at_arm(liar: Liar, camera: RenderedCamera) -> None:
    liar.answer = None
    with pytest.raises(CameraError, match="no answer to 'arm' within"):
        camera.arm()
    assert camera.grab(0.0) is None


@pytest.mark.parametrize("answer", [b"junk", {**ANSWER, "width": 0}, {**ANSWER, "more": 1}, {"name": "liar"}])
def test_a_nonsense_answer_is_refused(liar: Liar, answer: dict[str, Any] | bytes) -> None:
    liar.answer = answer
    driver = RenderedCamera(liar.frames, liar.control, timeout_s=0.5)
    with pytest.raises(CameraError, match="unreadable answer"):
        driver.open()
    driver.close()


def test_a_camera_that_hangs_up_is_lost_after_its_last_frame(liar: Liar, camera: RenderedCamera) -> None:
    liar.send()
    assert camera.grab(2.0) is not None
    liar.hang_up()
    with pytest.raises(CameraError, match="lost"):
        camera.grab(2.0)


def test_an_endpoint_that_is_none_is_refused() -> None:
    driver = RenderedCamera("nonsense", "nonsense")
    with pytest.raises(CameraError, match="no such endpoint"):
        driver.open()
    driver.close()


def test_close_ends_a_waiting_arm(liar: Liar) -> None:
    driver = RenderedCamera(liar.frames, liar.control, timeout_s=30.0)
    liar.answer = None
    said: list[str] = []

    def wait() -> None:
        try:
            driver.open()
        except CameraError as error:
            said.append(str(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not driver._lock.locked():
        pass
    driver.close()
    waiting.join(2.0)
    assert not waiting.is_alive()
    assert "closed while" in said[0]
