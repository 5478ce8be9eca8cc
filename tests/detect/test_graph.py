"""What the network sees, pixel by pixel, when the camera's 8 bits go through the compiled preparation.

A network that only hands its input on is built with `prepared` and run: its output is what a real one would look at.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import openvino as ov
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from openvino import opset15 as op

from inspector.bundle import Bundle, InputKind, Layout, Letterbox
from inspector.detect import graph
from inspector.errors import BundleError

SIDE = 64
Pixels = NDArray[np.uint8]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, make_bundle: Callable[..., Bundle]) -> Callable[..., NDArray[np.float32]]:
    """seen(kind, picture[, reference]) → (3, 64, 64) in 0..1: the planes that the network gets."""
    monkeypatch.setattr(graph, "_check", lambda *_: None)  # this network finds nothing, and no card describes it

    def look(kind: InputKind, *pictures: Pixels) -> NDArray[np.float32]:
        bundle = make_bundle(lambda planes: op.relu(planes), kind=kind)
        core = ov.Core()
        model = core.read_model(*bundle.model())
        height, width = pictures[0].shape[:2]
        compiled = core.compile_model(graph.prepared(model, bundle, Letterbox(height, width, SIDE, SIDE)), "CPU")
        answer = compiled([p.reshape(1, height, width, -1) for p in pictures])[0]
        return np.asarray(answer[0], np.float32)

    return look


def _noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_mono_becomes_three_equal_planes(seen: Callable[..., NDArray[np.float32]]) -> None:
    picture = _noise(SIDE, SIDE)
    for plane in seen(InputKind.MONO, picture):
        np.testing.assert_allclose(plane, picture / 255, atol=1e-6)


def test_colour_comes_as_bgr_and_goes_in_as_rgb(seen: Callable[..., NDArray[np.float32]]) -> None:
    picture = _noise(SIDE, SIDE, 3)
    np.testing.assert_allclose(seen(InputKind.BGR, picture), picture[..., ::-1].transpose(2, 0, 1) / 255, atol=1e-6)


def test_reference_goes_in_as_difference_reference_picture(seen: Callable[..., NDArray[np.float32]]) -> None:
    picture, reference = _noise(SIDE, SIDE), _noise(SIDE, SIDE, seed=1)
    planes = seen(InputKind.MONO_REFERENCE, picture, reference)
    np.testing.assert_allclose(planes, np.stack((cv2.absdiff(picture, reference), reference, picture)) / 255, atol=1e-6)


def _letterboxed(picture: Pixels) -> Pixels:
    """Resize and border with OpenCV, in the rounding of ultralytics' LetterBox (8.4: r, new_unpad, ± 0.1)."""
    height, width = picture.shape[:2]
    r = min(SIDE / height, SIDE / width)
    columns, rows = round(width * r), round(height * r)
    dw, dh = (SIDE - columns) / 2, (SIDE - rows) / 2
    if (columns, rows) != (width, height):
        picture = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    top, bottom, left, right = round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1)
    return cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114)).astype(np.uint8)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=st.integers(20, 200), width=st.integers(20, 200), colour=st.booleans())
def test_frames_of_any_shape_are_letterboxed(seen: Callable[..., NDArray[np.float32]], height: int, width: int, colour: bool) -> None:
    picture = _noise(height, width, 3) if colour else _noise(height, width)
    expected = _letterboxed(picture)
    planes = seen(InputKind.BGR if colour else InputKind.MONO, picture)[0]
    plane = expected[..., 2] if colour else expected
    # OpenCV rounds to whole grey values and to weights of 11 bits
    np.testing.assert_allclose(planes * 255, plane, atol=1.5)


class TestModelsThatTheirCardDoesNotDescribe:
    def _refusal(self, bundle: Bundle) -> str:
        model: Any = ov.Core().read_model(*bundle.model())
        with pytest.raises(BundleError) as caught:
            graph.prepared(model, bundle, Letterbox(SIDE, SIDE, SIDE, SIDE))
        return str(caught.value)

    def test_number_of_classes(self, make_bundle: Callable[..., Bundle], constant: Callable[..., Any]) -> None:
        bundle = make_bundle(constant(np.zeros((1, 6, 8))), classes=("open", "short", "spur"))
        assert "the model's output is [1,6,8], the card says [1,7,N]" in self._refusal(bundle)

    def test_layout(self, make_bundle: Callable[..., Bundle], constant: Callable[..., Any]) -> None:
        bundle = make_bundle(constant(np.zeros((1, 6, 8))), layout=Layout.END_TO_END)
        assert "the card says [1,M,6]" in self._refusal(bundle)

    def test_input_size(self, make_bundle: Callable[..., Bundle], constant: Callable[..., Any]) -> None:
        bundle = make_bundle(constant(np.zeros((1, 6, 8))), side=96)
        assert "the model's input is [1,3,64,64], the card says [1,3,96,96]" in self._refusal(bundle)

    def test_class_names(self, make_bundle: Callable[..., Bundle], constant: Callable[..., Any]) -> None:
        bundle = make_bundle(constant(np.zeros((1, 6, 8))), labels="short open")
        assert "the model's class list is 'short open'" in self._refusal(bundle)

    def test_class_names_with_blanks(self, make_bundle: Callable[..., Bundle], constant: Callable[..., Any]) -> None:
        bundle = make_bundle(constant(np.zeros((1, 6, 8))), classes=("open line", "short"), labels="open_line short")
        model: Any = ov.Core().read_model(*bundle.model())
        assert graph.prepared(model, bundle, Letterbox(SIDE, SIDE, SIDE, SIDE)).input(0).get_element_type() == ov.Type.u8
