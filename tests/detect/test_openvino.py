"""The OpenVINO detector on small networks: layouts, inputs, devices, faults."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset15 as op

from inspector.bundle import Bundle, InputKind, Layout
from inspector.detect import openvino as driver
from inspector.detect.openvino import OpenVinoDetector
from inspector.errors import BundleError, DetectorError
from inspector.types import Box, Detection, Pixels

SIDE = 64
BLACK = np.zeros((SIDE, SIDE), np.uint8)


def _detect(detector: OpenVinoDetector, pixels: Pixels, reference: Pixels | None = None) -> list[Detection]:
    detector.start(pixels, reference)
    assert detector.wait(10)
    return list(detector.result())


def _built(bundle: Bundle, **kwargs: Any) -> OpenVinoDetector:
    return OpenVinoDetector(bundle, **({"height": SIDE, "width": SIDE, "channels": 1} | kwargs))


def _centre_size(*rows: tuple[float, ...]) -> Any:
    return np.array(rows, np.float32).T[None]


def _brightness(channel: int) -> Callable[[Any], Any]:
    """A network that scores class "open" by the mean of one of its planes."""

    def network(planes: Any) -> Any:
        mean = op.reduce_mean(planes, op.constant(np.array([2, 3], np.int64)), False)
        plane = op.gather(mean, op.constant(np.array([channel], np.int64)), op.constant(np.int64(1)))
        score = op.reshape(plane, op.constant(np.array([1, 1, 1], np.int64)), False)
        box = op.constant(np.array([[[20], [20], [10], [10]]], np.float32))
        return op.concat([box, score, op.constant(np.zeros((1, 1, 1), np.float32))], 1)

    return network


def test_centre_size_layout(make_bundle: Callable[..., Bundle], constant: Callable[..., Any]) -> None:
    detector = _built(make_bundle(constant(_centre_size((20, 30, 10, 8, 0.7, 0.1), (21, 30, 10, 8, 0.6, 0)))))
    (found,) = _detect(detector, BLACK)
    assert (found.defect_class, found.box) == ("open", Box(15, 26, 25, 34))


def test_end_to_end_layout(make_bundle: Callable[..., Bundle], constant: Callable[..., Any]) -> None:
    detector = _built(make_bundle(constant(np.array([[[15, 26, 25, 34, 0.7, 1]]])), layout=Layout.END_TO_END))
    (found,) = _detect(detector, BLACK)
    assert (found.defect_class, found.box) == ("short", Box(15, 26, 25, 34))


def test_frames_of_another_size_are_fitted_and_boxes_led_back(make_bundle: Callable[..., Bundle], constant: Callable[..., Any]) -> None:
    """256x128 lies in 64x64 at a quarter, 16 rows down."""
    detector = _built(make_bundle(constant(_centre_size((20, 30, 10, 8, 0.7, 0.1)))), height=128, width=256)
    (found,) = _detect(detector, np.zeros((128, 256), np.uint8))
    assert found.box == Box(60, 40, 100, 72)


def test_what_the_network_sees_is_the_picture(make_bundle: Callable[..., Bundle]) -> None:
    detector = _built(make_bundle(_brightness(0)))
    for grey in (51, 204, 51):
        (found,) = _detect(detector, np.full((SIDE, SIDE), grey, np.uint8))
        assert found.score == pytest.approx(grey / 255, abs=1e-5)


def test_colour_frames(make_bundle: Callable[..., Bundle]) -> None:
    detector = _built(make_bundle(_brightness(0), kind=InputKind.BGR), channels=3)
    red = np.zeros((SIDE, SIDE, 3), np.uint8)
    red[..., 2] = 204
    (found,) = _detect(detector, red)
    assert found.score == pytest.approx(0.8, abs=1e-5)


@pytest.mark.parametrize(("plane", "score"), [(0, 0.6), (1, 0.2), (2, 0.8)])
def test_reference_frames(make_bundle: Callable[..., Bundle], plane: int, score: float) -> None:
    """The planes are difference, reference, picture."""
    detector = _built(make_bundle(_brightness(plane), kind=InputKind.MONO_REFERENCE))
    (found,) = _detect(detector, np.full((SIDE, SIDE), 204, np.uint8), np.full((SIDE, SIDE), 51, np.uint8))
    assert found.score == pytest.approx(score, abs=1e-5)


def test_a_reference_where_it_belongs_and_nowhere_else(make_bundle: Callable[..., Bundle]) -> None:
    with_reference = _built(make_bundle(_brightness(0), kind=InputKind.MONO_REFERENCE))
    with pytest.raises(DetectorError, match="needs a reference"):
        with_reference.start(BLACK)
    with pytest.raises(DetectorError, match="was built for"):
        with_reference.start(BLACK, np.zeros((SIDE, SIDE + 1), np.uint8))
    assert _detect(with_reference, BLACK, BLACK) == []
    with pytest.raises(DetectorError, match="does not look at a reference"):
        _built(make_bundle(_brightness(0))).start(BLACK, BLACK)


@pytest.mark.parametrize(
    ("kind", "channels"), [(InputKind.MONO, 3), (InputKind.MONO_REFERENCE, 3), (InputKind.BGR, 1), (InputKind.MONO, 4)]
)
def test_cameras_that_deliver_what_the_bundle_does_not_look_at(make_bundle: Callable[..., Bundle], kind: InputKind, channels: int) -> None:
    with pytest.raises(BundleError, match="set the camera's pixel format"):
        _built(make_bundle(_brightness(0), kind=kind), channels=channels)


@pytest.mark.parametrize("device", ["AUTO", "MULTI:CPU", "HETERO:CPU", "BATCH:CPU", "cpu", "TPU", "CPU.7", ""])
def test_devices_that_are_not_there_or_choose_by_themselves(make_bundle: Callable[..., Bundle], device: str) -> None:
    with pytest.raises(DetectorError, match="choose one of CPU") as caught:
        _built(make_bundle(_brightness(0)), device=device)
    assert "\n" not in str(caught.value)


def test_what_runs_is_resolved(make_bundle: Callable[..., Bundle]) -> None:
    info = _built(make_bundle(_brightness(0)), threads=1).info
    assert info.device == "CPU"
    assert info.precision.split("/")[0] == "fp32"
    assert info.precision.split("/")[1] in ("f32", "bf16", "f16")
    assert ov.__version__ in info.runtime


@pytest.mark.parametrize("score", [np.nan, 7.0])
def test_a_network_that_answers_nonsense_is_refused_at_the_start(
    make_bundle: Callable[..., Bundle], constant: Callable[..., Any], score: float
) -> None:
    with pytest.raises(DetectorError, match="expected 0 to 1"):
        _built(make_bundle(constant(_centre_size((20, 30, 10, 8, score, 0.1)))))


def test_a_network_that_answers_nonsense_later_faults_that_frame_only(make_bundle: Callable[..., Bundle]) -> None:
    def broken(planes: Any) -> Any:
        table = _brightness(0)(planes)
        # the square root of less than nothing is no number
        dark = op.subtract(op.constant(np.float32(0.5)), op.reduce_mean(planes, op.constant(np.array([0, 1, 2, 3], np.int64)), False))
        return op.multiply(table, op.divide(op.sqrt(dark), op.sqrt(dark)))

    detector = _built(make_bundle(broken))
    assert _detect(detector, BLACK) == []
    detector.start(np.full((SIDE, SIDE), 255, np.uint8))
    assert detector.wait(10)
    with pytest.raises(DetectorError, match="expected 0 to 1"):
        detector.result()
    assert _detect(detector, BLACK) == []


def test_a_model_that_openvino_cannot_read(make_bundle: Callable[..., Bundle]) -> None:
    with pytest.raises(BundleError, match="cannot read the model") as caught:
        _built(make_bundle(_brightness(0), xml="<net/>"))
    assert "\n" not in str(caught.value)


def test_the_model_cache_is_used_and_a_spoilt_one_does_no_harm(make_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    bundle = make_bundle(_brightness(0))
    cache = tmp_path / "cache"
    light = np.full((SIDE, SIDE), 204, np.uint8)
    first = _detect(_built(bundle, cache_dir=cache), light)
    blobs = [f for f in cache.rglob("*") if f.is_file()]
    assert blobs
    assert _detect(_built(bundle, cache_dir=cache), light) == first
    for blob in blobs:
        blob.write_bytes(b"spoilt")
    assert _detect(_built(bundle, cache_dir=cache), light) == first


class _StuckRequest:
    """A request on a device that has stopped answering: OpenVINO offers no such device, so its place is taken."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.stuck = True
        self.fails = False

    def wait_for(self, timeout_ms: int) -> bool:
        if self.fails:
            raise RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:223:\nthe device was removed\n")
        return False if self.stuck else bool(self.real.wait_for(timeout_ms))

    def cancel(self) -> None:
        """Not heard."""

    def answers(self) -> None:
        """From now on, the device answers again; what it was working on has ended."""
        assert self.real.wait_for(10_000)
        self.stuck = self.fails = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@pytest.fixture
def stuck(make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch) -> tuple[OpenVinoDetector, _StuckRequest]:
    monkeypatch.setattr(driver, "_CANCEL_MS", 5)
    detector = _built(make_bundle(_brightness(0)))
    request = _StuckRequest(detector._request)
    monkeypatch.setattr(detector, "_request", request)
    return detector, request


def test_a_device_that_hangs_is_left_alone_until_it_answers(stuck: tuple[OpenVinoDetector, _StuckRequest]) -> None:
    detector, request = stuck
    detector.start(BLACK)
    assert detector.wait(0.01) is False
    detector.cancel()
    with pytest.raises(DetectorError, match="is stuck in a frame that was given up"):
        detector.start(BLACK)
    request.answers()
    assert _detect(detector, BLACK) == []


def test_a_device_that_fails_says_so_in_one_line(stuck: tuple[OpenVinoDetector, _StuckRequest]) -> None:
    detector, request = stuck
    detector.start(BLACK)
    request.fails = True
    with pytest.raises(DetectorError, match="the device was removed") as caught:
        detector.wait(1)
    assert "\n" not in str(caught.value)
    request.answers()
    assert _detect(detector, BLACK) == []
