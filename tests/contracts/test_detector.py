"""What every Detector does, real or scripted."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from inspector.bundle import Bundle, CanaryFrame, find_default_bundle
from inspector.checks import Canary, verify_canary
from inspector.detect.decode import FLOOR
from inspector.detect.openvino import OpenVinoDetector
from inspector.detect.scripted import Answer, ScriptedDetector
from inspector.detect.seams import Tile
from inspector.detect.tiles import TiledDetector, TilePlan, plan_tiles
from inspector.errors import DetectorError
from inspector.ports import Detector
from inspector.types import Box, Detection, Pixels

HEIGHT, WIDTH = 480, 640
ENOUGH_S = 20.0
Maker = Callable[[], Detector]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open(find_default_bundle())


@pytest.fixture(scope="module")
def canary(bundle: Bundle) -> CanaryFrame:
    return bundle.canary().frame(HEIGHT, WIDTH)


def _scripted(bundle: Bundle, canary: CanaryFrame) -> ScriptedDetector:
    """Knows the canary when it sees it, and takes its time."""

    def script(_count: int, pixels: Pixels) -> Answer:
        return Answer(canary.expected if np.array_equal(pixels, canary.pixels) else (), delay_s=0.02)

    return ScriptedDetector(script, height=HEIGHT, width=WIDTH, classes=bundle.classes)


def _tiled(tile: Detector, plan: TilePlan) -> TiledDetector:
    return TiledDetector(tile, plan, channels=1)


def _tiled_scripted(bundle: Bundle, canary: CanaryFrame) -> TiledDetector:
    """Knows every piece of the canary, and finds there what is to be seen of its defects."""
    plan = plan_tiles(HEIGHT, WIDTH, tile_height=300, tile_width=400, largest_px=110)

    def script(_count: int, pixels: Pixels) -> Answer:
        for tile in plan.tiles:
            if np.array_equal(pixels, canary.pixels[tile.y : tile.y2, tile.x : tile.x2]):
                return Answer(tuple(_seen_in(tile, canary.expected)), delay_s=0.004)
        return Answer(delay_s=0.004)

    return _tiled(ScriptedDetector(script, height=plan.tile_height, width=plan.tile_width, classes=bundle.classes), plan)


def _seen_in(tile: Tile, detections: tuple[Detection, ...]) -> Iterator[Detection]:
    for d in detections:
        (x1, x2), (y1, y2) = ((max(a - o, 0), min(b - o, side)) for a, b, o, side in _sides(tile, d.box))
        if x1 < x2 and y1 < y2:
            yield Detection(d.defect_class, d.score, Box(x1, y1, x2, y2))


def _sides(tile: Tile, box: Box) -> tuple[tuple[float, float, int, int], tuple[float, float, int, int]]:
    return (box.x1, box.x2, tile.x, tile.width), (box.y1, box.y2, tile.y, tile.height)


def _tiled_openvino(bundle: Bundle) -> TiledDetector:
    plan = plan_tiles(HEIGHT, WIDTH, tile_height=420, tile_width=WIDTH, largest_px=110)
    return _tiled(OpenVinoDetector(bundle, height=plan.tile_height, width=plan.tile_width, channels=1), plan)


@pytest.fixture(scope="module", params=["openvino int8", "openvino fp32", "scripted", "tiled openvino", "tiled scripted"])
def shared_detector(request: pytest.FixtureRequest, bundle: Bundle, canary: CanaryFrame) -> Iterator[Detector]:
    made: Detector
    if request.param == "scripted":
        made = _scripted(bundle, canary)
    elif request.param == "tiled openvino":
        made = _tiled_openvino(bundle)
    elif request.param == "tiled scripted":
        made = _tiled_scripted(bundle, canary)
    else:
        made = OpenVinoDetector(bundle, height=HEIGHT, width=WIDTH, channels=1, precision=request.param.split()[1])
    yield made
    made.close()


@pytest.fixture
def detector(shared_detector: Detector) -> Iterator[Detector]:
    """A detector that works on nothing, however the test before left it."""
    shared_detector.cancel()
    yield shared_detector
    shared_detector.cancel()


@pytest.fixture
def blank() -> Pixels:
    return np.full((HEIGHT, WIDTH), 255, np.uint8)


def _detect(detector: Detector, pixels: Pixels) -> list[Detection]:
    detector.start(pixels)
    assert detector.wait(ENOUGH_S)
    return list(detector.result())


def test_it_finds_the_canary(detector: Detector, canary: CanaryFrame) -> None:
    found = _detect(detector, canary.pixels)
    assert verify_canary(Canary(canary.pixels, canary.expected, canary.min_iou, canary.score_tolerance), found) is None


def test_results_are_best_first_in_the_frame_and_of_known_classes(detector: Detector, canary: CanaryFrame) -> None:
    found = _detect(detector, canary.pixels)
    scores = [d.score for d in found]
    assert scores == sorted(scores, reverse=True)
    assert all(FLOOR <= s <= 1 for s in scores)
    assert {d.defect_class for d in found} <= set(detector.info.classes)
    assert all(0 <= d.box.x1 <= d.box.x2 <= WIDTH and 0 <= d.box.y1 <= d.box.y2 <= HEIGHT for d in found)


def test_a_picture_tells_nothing_of_the_one_before(detector: Detector, canary: CanaryFrame, blank: Pixels) -> None:
    first = _detect(detector, canary.pixels)
    assert not [d for d in _detect(detector, blank) if d.score > 0.25]
    assert _detect(detector, canary.pixels) == first


def test_results_outlive_the_next_picture(detector: Detector, canary: CanaryFrame, blank: Pixels) -> None:
    first = _detect(detector, canary.pixels)
    copy = [(d.defect_class, d.score, d.box) for d in first]
    _detect(detector, blank)
    assert [(d.defect_class, d.score, d.box) for d in first] == copy


def test_it_does_not_write_to_the_picture(detector: Detector, canary: CanaryFrame) -> None:
    locked = canary.pixels.copy()
    locked.flags.writeable = False
    assert _detect(detector, locked) == _detect(detector, canary.pixels)
    assert np.array_equal(locked, canary.pixels)


def test_wait_returns_when_its_time_is_over(detector: Detector, blank: Pixels) -> None:
    detector.start(blank)
    began = time.perf_counter()
    assert detector.wait(0.002) is False
    assert time.perf_counter() - began < 0.1
    # below a millisecond too, and at nothing left
    assert detector.wait(0.0004) is False
    assert detector.wait(0.0) is False
    assert detector.wait(ENOUGH_S) is True
    assert detector.wait(0.0) is True
    detector.result()


def test_cancel_gives_up_quickly_and_the_next_picture_is_right(detector: Detector, canary: CanaryFrame, blank: Pixels) -> None:
    right = _detect(detector, canary.pixels)
    for _ in range(3):
        detector.start(blank)
        began = time.perf_counter()
        detector.cancel()
        assert time.perf_counter() - began < 0.3
        assert _detect(detector, canary.pixels) == right


def test_a_result_that_nobody_wants_can_be_cancelled(detector: Detector, blank: Pixels) -> None:
    detector.start(blank)
    assert detector.wait(ENOUGH_S)
    detector.cancel()
    detector.cancel()
    _detect(detector, blank)


def test_calls_out_of_order_are_refused(detector: Detector, blank: Pixels) -> None:
    with pytest.raises(DetectorError, match="start it first"):
        detector.wait(0)
    with pytest.raises(DetectorError):
        detector.result()
    detector.start(blank)
    with pytest.raises(DetectorError, match="still works on the frame before"):
        detector.start(blank)
    with pytest.raises(DetectorError, match="wait for it first"):
        detector.result()
    assert detector.wait(ENOUGH_S)
    detector.result()
    with pytest.raises(DetectorError):
        detector.result()


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((HEIGHT, WIDTH, 3), np.uint8),
        np.zeros((WIDTH, HEIGHT), np.uint8),
        np.zeros((HEIGHT, WIDTH), np.uint16),
        np.zeros((HEIGHT, WIDTH), np.float32),
        np.zeros((0, WIDTH), np.uint8),
        np.zeros((HEIGHT, 2 * WIDTH), np.uint8)[:, ::2],
    ],
    ids=["colour", "turned", "16 bit", "float", "empty", "strided"],
)
def test_frames_that_it_was_not_built_for(detector: Detector, blank: Pixels, wrong: Any) -> None:
    with pytest.raises(DetectorError, match="was built for"):
        detector.start(wrong)
    _detect(detector, blank)


def test_info_names_what_runs(detector: Detector) -> None:
    info = detector.info
    assert info.device not in ("", "AUTO")
    assert info.precision
    assert info.runtime
    assert info.classes == ("open", "short", "mousebite", "spur", "copper", "pin-hole")


def test_closed_it_refuses_and_closes_again(bundle: Bundle, canary: CanaryFrame, shared_detector: Detector, blank: Pixels) -> None:
    mine: Detector
    if isinstance(shared_detector, TiledDetector):
        mine = _tiled_openvino(bundle)
    elif isinstance(shared_detector, ScriptedDetector):
        mine = _scripted(bundle, canary)
    else:
        mine = OpenVinoDetector(bundle, height=HEIGHT, width=WIDTH, channels=1)
    mine.start(blank)
    mine.close()
    mine.close()
    with pytest.raises(DetectorError, match="closed"):
        mine.start(blank)
