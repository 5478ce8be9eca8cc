"""FolderCamera beyond the contract: pacing, overrun, bad pictures, the end of the folder."""

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.camera.folder import MAX_LOST, MAX_WAITING, FolderCamera
from inspector.errors import CameraError, FrameError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 10), number, np.uint8))
    return tmp_path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "a.png"
    cv2.imwrite(str(path), np.zeros((1, 1), np.uint8))
    return path


def armed(camera: FolderCamera) -> FolderCamera:
    camera.open()
    camera.arm()
    return camera


def shown(camera: FolderCamera, count: int) -> list[int]:
    frames = [camera.grab(1.0) for _ in range(count)]
    return [int(frame.pixels[0, 0]) for frame in frames if frame is not None]


def test_flat_out_shows_every_picture_once_then_nothing(folder: Path) -> None:
    camera = armed(FolderCamera(folder, rate_hz=0))
    assert not camera.exhausted
    assert shown(camera, 5) == [0, 1, 2, 3, 4]
    assert camera.exhausted
    started = time.monotonic()
    assert camera.grab(5.0) is None
    assert time.monotonic() - started < 1.0
    camera.close()


def test_a_rate_is_kept_and_stamped(folder: Path) -> None:
    camera = armed(FolderCamera(folder, rate_hz=50))
    frames = [camera.grab(1.0) for _ in range(5)]
    stamps = [frame.exposed_ns for frame in frames if frame is not None]
    assert np.diff(stamps).tolist() == [20_000_000] * 4
    camera.close()


def test_loop_goes_round(folder: Path) -> None:
    camera = armed(FolderCamera(folder, rate_hz=0, loop=True))
    assert shown(camera, 7) == [0, 1, 2, 3, 4, 0, 1]
    assert not camera.exhausted
    camera.close()


def test_arm_does_not_show_a_picture_twice_and_open_begins_again(folder: Path) -> None:
    camera = armed(FolderCamera(folder, rate_hz=0))
    assert shown(camera, 2) == [0, 1]
    camera.arm()
    assert shown(camera, 1) == [2]
    assert shown(armed(camera), 1) == [0]
    camera.close()


def test_a_kept_picture_is_not_changed_by_who_got_it(folder: Path) -> None:
    camera = armed(FolderCamera(folder, rate_hz=0, loop=True, preload=True))
    for _ in range(2):
        frames = [camera.grab(1.0) for _ in range(5)]
        assert [int(frame.pixels.max()) for frame in frames if frame] == [0, 1, 2, 3, 4]
        for frame in frames:
            assert frame is not None
            frame.pixels[:] = 200
    camera.close()


@pytest.mark.parametrize("preload", [False, True])
def test_a_bad_picture_costs_its_own_frame_only(folder: Path, preload: bool) -> None:
    (folder / "1.png").write_bytes(b"")
    camera = FolderCamera(folder, preload=preload)
    armed(camera)
    for _ in range(3):
        camera.trigger()
    assert shown(camera, 1) == [0]
    with pytest.raises(FrameError, match=r"1\.png.*empty") as caught:
        camera.grab(1.0)
    assert caught.value.frame_id == 2
    assert caught.value.exposed_ns > 0
    assert caught.value.source.endswith("1.png")
    frame = camera.grab(1.0)
    assert frame is not None
    assert frame.frame_id == 3
    camera.close()


def test_a_picture_of_another_size_is_a_broken_frame(folder: Path) -> None:
    cv2.imwrite(str(folder / "2.png"), np.zeros((9, 10), np.uint8))
    camera = armed(FolderCamera(folder, rate_hz=0, size=(10, 8)))
    assert shown(camera, 2) == [0, 1]
    with pytest.raises(FrameError, match="10x9"):
        camera.grab(1.0)
    assert shown(camera, 2) == [3, 4]
    camera.close()


def test_a_file_that_vanishes_is_a_broken_frame(folder: Path) -> None:
    camera = armed(FolderCamera(folder, rate_hz=0))
    (folder / "0.png").unlink()
    with pytest.raises(FrameError, match="No such file"):
        camera.grab(1.0)
    camera.close()


def test_open_passes_over_a_bad_first_picture_but_not_over_all(folder: Path) -> None:
    (folder / "0.png").write_bytes(b"junk")
    camera = FolderCamera(folder)
    assert (camera.open().width, camera.open().height) == (10, 8)
    camera.close()
    with pytest.raises(CameraError, match="none can be used"):
        FolderCamera([folder / "0.png"]).open()


def test_an_empty_folder_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="holds no picture"):
        FolderCamera(tmp_path)


@pytest.mark.parametrize("rate_hz", [-1.0, float("nan"), float("inf")])
def test_a_senseless_rate_is_refused(folder: Path, rate_hz: float) -> None:
    with pytest.raises(ValueError, match="rate_hz"):
        FolderCamera(folder, rate_hz=rate_hz)


@given(pulses=st.integers(0, 3 * MAX_WAITING))
def test_each_pulse_gives_one_frame_or_one_overrun_in_order(tiny: Path, pulses: int) -> None:
    camera = _looping(tiny)
    for _ in range(pulses):
        camera.trigger()
    whole, lost = _drain(camera)
    assert [*lost, *whole] == list(range(1, pulses + 1))
    assert len(whole) == min(pulses, MAX_WAITING)
    camera.close()


def test_a_camera_that_nobody_grabs_from_is_lost_and_comes_back_with_arm(tiny: Path) -> None:
    camera = _looping(tiny)
    for _ in range(MAX_LOST + 10):
        camera.trigger()
    with pytest.raises(CameraError, match="never grabbed"):
        camera.grab(0.1)
    camera.arm()
    camera.trigger()
    frame = camera.grab(1.0)
    assert frame is not None
    assert frame.frame_id == 1
    camera.close()


def test_a_slow_grabber_of_a_paced_camera_meets_overruns(folder: Path) -> None:
    camera = armed(FolderCamera(folder, rate_hz=5000, loop=True))
    time.sleep(0.03)
    with pytest.raises(FrameError, match="overrun") as caught:
        camera.grab(1.0)
    assert caught.value.frame_id == 1
    camera.close()


def test_pulses_from_many_threads_are_all_counted(folder: Path) -> None:
    camera = armed(FolderCamera(folder, loop=True))

    def pulse() -> None:
        for _ in range(15):
            camera.trigger()

    threads = [threading.Thread(target=pulse) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole, lost = _drain(camera)
    assert (len(whole), lost) == (60, [])
    camera.close()


def test_a_pulse_to_a_closed_camera_goes_nowhere(folder: Path) -> None:
    camera = FolderCamera(folder)
    camera.trigger()
    armed(camera)
    assert camera.grab(0.02) is None
    camera.close()
    camera.trigger()
    armed(camera)
    assert camera.grab(0.02) is None
    camera.close()


def _looping(tiny: Path) -> FolderCamera:
    """A camera whose pictures cost next to nothing."""
    return armed(FolderCamera([tiny], loop=True, preload=True))


def _drain(camera: FolderCamera) -> tuple[list[int], list[int]]:
    whole: list[int] = []
    lost: list[int] = []
    while True:
        try:
            frame = camera.grab(0.0)
        except FrameError as error:
            lost.append(error.frame_id)
            continue
        if frame is None:
            return whole, lost
        whole.append(frame.frame_id)
