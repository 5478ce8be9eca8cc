"""Decoding against a plain, slow statement of the same rule, and against answers that no network should give."""

import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inspector.bundle import Layout, Letterbox
from inspector.detect.decode import ALWAYS_KEPT, CROWD, FLOOR, KEPT, Decoder, nms
from inspector.errors import DetectorError
from inspector.types import Box

CLASSES = ("open", "short", "spur")
SQUARE = Letterbox(640, 640, 640, 640)
Floats = NDArray[np.float32]


def centre_size(rows: Sequence[tuple[float, ...]]) -> Floats:
    """(1, 7, N) from rows of cx, cy, w, h and three scores."""
    return np.array(rows, np.float32).reshape(-1, 7).T[None]


def decoder(layout: Layout = Layout.CENTRE_SIZE, letterbox: Letterbox = SQUARE) -> Decoder:
    return Decoder(layout, CLASSES, 0.7, letterbox)


def plain_nms(boxes: Floats, scores: Floats, classes: NDArray[np.intp], limit: float) -> list[int]:
    """Greedy class-wise NMS as the textbook has it."""

    def iou(a: Floats, b: Floats) -> float:
        w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        if w <= 0 or h <= 0:
            return 0.0
        return float(w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h))

    kept: list[int] = []
    for i in range(len(scores)):
        if all(classes[i] != classes[k] or iou(boxes[i], boxes[k]) <= limit for k in kept):
            kept.append(i)
    return kept


# sides of 1 to 9: no ratio of such areas is 0.31, 0.47 or 0.69, so rounding decides nothing
whole = st.integers(-20, 20)
candidates = st.lists(st.tuples(whole, whole, st.integers(1, 9), st.integers(1, 9), st.integers(0, 2)), min_size=0, max_size=90)


@given(candidates, st.sampled_from([0.31, 0.47, 0.69]))
def test_nms_is_greedy_class_wise_nms(rows: list[tuple[int, int, int, int, int]], limit: float) -> None:
    table = np.array(rows, np.float32).reshape(-1, 5)
    boxes = np.concatenate((table[:, :2], table[:, :2] + table[:, 2:4]), axis=1) * 2
    classes = table[:, 4].astype(np.intp)
    scores = np.linspace(1, 0.2, len(table), dtype=np.float32)
    assert nms(boxes[:, :2], boxes[:, 2:] - boxes[:, :2], scores, classes, limit).tolist() == plain_nms(boxes, scores, classes, limit)


def test_nms_of_many_agrees_with_the_plain_rule() -> None:
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 100, (900, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(20, 60, (900, 2))), axis=1).astype(np.float32)
    classes = rng.integers(0, 3, 900)
    scores = np.linspace(0.9, 0.2, 900, dtype=np.float32)
    assert nms(boxes[:, :2], boxes[:, 2:] - boxes[:, :2], scores, classes, 0.3).tolist() == plain_nms(boxes, scores, classes, 0.3)


def test_candidates_beyond_count_are_decoded_in_bounded_time() -> None:
    """Every one of 8400 candidates above the floor, hardly overlapping: the worst that a network can answer."""
    rng = np.random.default_rng(4)
    output = np.zeros((1, 7, 8400), np.float32)
    output[0, :2] = rng.uniform(0, 640, (2, 8400))
    output[0, 2:4] = 4
    output[0, 4] = rng.uniform(0.02, 0.09, 8400)
    began = time.perf_counter()
    found = decoder()(output)
    assert time.perf_counter() - began < 0.5
    assert len(found) == KEPT
    assert found[0].score == pytest.approx(output[0, 4].max())


def test_classes_stay_apart_beyond_the_edges() -> None:
    """Class 1 moved by the largest coordinate would land on class 0, were it not for the shift to zero."""
    boxes = np.array([[600, 600, 640, 640], [-41, -41, -1, -1]], np.float32)
    kept = nms(boxes[:, :2], boxes[:, 2:] - boxes[:, :2], np.array([0.9, 0.8], np.float32), np.array([0, 1]), 0.5)
    assert kept.tolist() == [0, 1]


def test_a_candidate_counts_as_its_best_class() -> None:
    (found,) = decoder()(centre_size([(100, 200, 20, 10, 0.2, 0.9, 0.3)]))
    assert found.defect_class == "short"
    assert found.score == pytest.approx(0.9)
    assert found.box == Box(90, 195, 110, 205)


def test_overlapping_boxes_of_one_class_become_one_and_of_two_classes_stay_two() -> None:
    found = decoder()(centre_size([(100, 100, 20, 20, 0.8, 0, 0), (101, 100, 20, 20, 0.9, 0, 0), (100, 100, 20, 20, 0, 0.7, 0)]))
    assert [(d.defect_class, round(d.score, 3)) for d in found] == [("open", 0.9), ("short", 0.7)]


def test_the_floor() -> None:
    found = decoder()(centre_size([(100, 100, 9, 9, FLOOR, 0, 0), (300, 300, 9, 9, FLOOR - 0.001, 0, 0)]))
    assert [d.score for d in found] == [pytest.approx(FLOOR)]


def test_nothing_found() -> None:
    assert decoder()(np.zeros((1, 7, 8400), np.float32)) == []
    assert decoder()(np.zeros((1, 7, 0), np.float32)) == []
    assert decoder(Layout.END_TO_END)(np.zeros((1, 300, 6), np.float32)) == []
    assert decoder(Layout.END_TO_END)(np.zeros((1, 0, 6), np.float32)) == []


def test_boxes_are_clipped_to_the_frame() -> None:
    (found,) = decoder()(centre_size([(0, 640, 30, 30, 0.9, 0, 0)]))
    assert found.box == Box(0, 625, 15, 640)


def test_boxes_come_back_in_frame_pixels() -> None:
    """1280x960 lies half as large in 640x640, 80 rows down."""
    (found,) = decoder(letterbox=Letterbox(960, 1280, 640, 640))(centre_size([(100, 180, 20, 20, 0.9, 0, 0)]))
    assert found.box == Box(180, 180, 220, 220)


def test_end_to_end_takes_what_the_network_chose() -> None:
    output = np.zeros((1, 300, 6), np.float32)
    output[0, 0] = (10, 20, 30, 40, 0.4, 2)
    output[0, 1] = (12, 20, 30, 40, 0.9, 2)
    output[0, 2] = (50, 60, 40, 30, 0.3, 0)
    found = decoder(Layout.END_TO_END)(output)
    assert [(d.defect_class, round(d.score, 3)) for d in found] == [("spur", 0.9), ("spur", 0.4), ("open", 0.3)]
    # corners in the wrong order are put right, because a Box promises x1 <= x2
    assert found[2].box == Box(40, 30, 50, 60)


def test_strong_detections_are_never_left_out_and_weak_ones_are() -> None:
    grid = [(10 + 16 * (i % 39), 10 + 16 * (i // 39), 8, 8) for i in range(400)]
    strong: list[tuple[float, ...]] = [(*box, ALWAYS_KEPT + 0.01, 0, 0) for box in grid[:150]]
    weak: list[tuple[float, ...]] = [(*box, 0.05, 0, 0) for box in grid[150:390]]
    rare: list[tuple[float, ...]] = [(*box, 0, 0, 0.02) for box in grid[390:]]
    found = decoder()(centre_size(strong + weak + rare))
    assert sum(d.defect_class == "open" for d in found) == 150
    # the best of a class is kept however weak, because statistics stand on it
    assert [d.score for d in found if d.defect_class == "spur"] == [pytest.approx(0.02)]
    assert len(decoder()(centre_size(weak + rare))) == KEPT + 1


def test_a_crowd_is_no_picture_of_a_part() -> None:
    grid = [(5 + 10 * (i % 60), 5 + 10 * (i // 60), 6, 6, 0.5, 0, 0) for i in range(CROWD + 1)]
    with pytest.raises(DetectorError, match="no picture of a part"):
        decoder()(centre_size(grid))
    assert len(decoder()(centre_size(grid[:-1]))) == CROWD


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf, 1.01, -0.01])
def test_scores_that_cannot_be(score: float) -> None:
    with pytest.raises(DetectorError, match="expected 0 to 1"):
        decoder()(centre_size([(100, 100, 9, 9, 0.5, 0, 0), (100, 100, 9, 9, 0, score, 0)]))
    output = np.zeros((1, 300, 6), np.float32)
    output[0, 299, 4] = score
    with pytest.raises(DetectorError, match="expected 0 to 1"):
        decoder(Layout.END_TO_END)(output)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", range(4))
def test_boxes_that_cannot_be(value: float, place: int) -> None:
    row = [100.0, 100, 9, 9, 0.5, 0, 0]
    row[place] = value
    with pytest.raises(DetectorError, match="not numbers"):
        decoder()(centre_size([tuple(row)]))
    output = np.zeros((1, 300, 6), np.float32)
    output[0, 0] = (10, 20, 30, 40, 0.4, 1)
    output[0, 0, place] = value
    with pytest.raises(DetectorError, match="not numbers"):
        decoder(Layout.END_TO_END)(output)


def test_scores_a_rounding_error_outside_are_put_right() -> None:
    found = decoder()(centre_size([(100, 100, 9, 9, 1.0005, 0, 0), (300, 300, 9, 9, 0, 0.5, -0.0005)]))
    assert [round(d.score, 4) for d in found] == [1.0, 0.5]


@pytest.mark.parametrize("number", [-1, 3, 0.5, np.nan])
def test_classes_that_do_not_exist(number: float) -> None:
    output = np.zeros((1, 300, 6), np.float32)
    output[0, 0] = (10, 20, 30, 40, 0.4, number)
    with pytest.raises(DetectorError):
        decoder(Layout.END_TO_END)(output)


def test_outputs_of_another_shape() -> None:
    with pytest.raises(DetectorError, match=r"expected \(1, 7, N\)"):
        decoder()(np.zeros((1, 10, 8400), np.float32))
    with pytest.raises(DetectorError, match=r"expected \(1, M, 6\)"):
        decoder(Layout.END_TO_END)(np.zeros((1, 7, 8400), np.float32))


@given(st.lists(st.tuples(*[st.floats(-200, 900, width=32)] * 2, *[st.floats(0, 400, width=32)] * 2, *[st.floats(0, 1, width=32)] * 3)))
def test_what_comes_out_can_be_relied_on(rows: list[tuple[float, ...]]) -> None:
    """Best first, scores in 0..1 and not below the floor, boxes in the frame with their corners in order."""
    found = decoder(letterbox=Letterbox(480, 1000, 640, 640))(centre_size(rows))
    scores = [d.score for d in found]
    assert scores == sorted(scores, reverse=True)
    assert all(FLOOR * 0.999 <= s <= 1 for s in scores)
    assert all(0 <= d.box.x1 <= d.box.x2 <= 1000 and 0 <= d.box.y1 <= d.box.y2 <= 480 for d in found)
