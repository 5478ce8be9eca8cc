"""The canary: what counts as found, and every way in which a detector can be wrong about it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.checks import Canary, iou, verify_canary
from inspector.types import Box, Detection

SHORT = Detection("short", 0.9, Box(10, 10, 30, 30))
OPEN = Detection("open", 0.6, Box(50, 50, 70, 60))
CANARY = Canary(np.zeros((100, 100), np.uint8), (SHORT, OPEN))
NAN = float("nan")


def moved(detection: Detection, dx: float) -> Detection:
    b = detection.box
    return replace(detection, box=Box(b.x1 + dx, b.y1, b.x2 + dx, b.y2))


def test_the_expected_is_found_in_any_order() -> None:
    assert verify_canary(CANARY, [SHORT, OPEN]) is None
    assert verify_canary(CANARY, (OPEN, SHORT)) is None


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], "short at 10, 10 was not found"),
        ([SHORT], "open at 50, 50 was not found"),
        ([SHORT, replace(OPEN, defect_class="spur")], "open at 50, 50 was not found"),
        ([moved(SHORT, 7), OPEN], "short at 10, 10 was not found"),
        ([replace(SHORT, box=Box(NAN, NAN, NAN, NAN)), OPEN], "short at 10, 10 was not found"),
        ([replace(SHORT, box=Box(30, 30, 10, 10)), OPEN], "short at 10, 10 was not found"),
        ([replace(SHORT, score=0.74), OPEN], "short scored 0.74, 0.90 expected"),
        ([SHORT, replace(OPEN, score=0.76)], "open scored 0.76, 0.60 expected"),
        ([SHORT, replace(OPEN, score=NAN)], "open scored nan, 0.60 expected"),
        ([SHORT, OPEN, Detection("spur", 0.5, Box(0, 0, 5, 5))], "found spur 0.50 in the canary"),
        ([SHORT, OPEN, Detection("spur", NAN, Box(0, 0, 5, 5))], "found spur nan in the canary"),
        ([SHORT, OPEN, SHORT], "found short 0.90 in the canary"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(found: list[Detection], words: str) -> None:
    problem = verify_canary(CANARY, found)
    assert problem is not None
    assert words in problem
    assert "\n" not in problem


def test_within_the_tolerances_all_is_well() -> None:
    near = [moved(replace(SHORT, score=0.76), 6), replace(OPEN, score=0.74)]
    assert verify_canary(CANARY, near) is None


def test_quiet_extras_are_no_alarm() -> None:
    assert verify_canary(CANARY, [SHORT, OPEN, Detection("spur", 0.49, Box(0, 0, 5, 5))]) is None


def test_one_detection_does_not_answer_for_two() -> None:
    twice = replace(CANARY, expected=(SHORT, moved(SHORT, 1)))
    assert verify_canary(twice, [SHORT]) is not None
    assert verify_canary(twice, [SHORT, moved(SHORT, 1)]) is None


def test_a_canary_that_expects_nothing_proves_nothing() -> None:
    problem = verify_canary(replace(CANARY, expected=()), [])
    assert problem is not None
    assert "proves nothing" in problem


def test_a_detector_that_answers_everything_alike_is_found_out() -> None:
    for stuck in ([], [SHORT] * 2, [replace(d, score=0.0) for d in (SHORT, OPEN)], [replace(d, score=1.0) for d in (SHORT, OPEN)]):
        assert verify_canary(CANARY, stuck) is not None


whole = st.integers(0, 50)
boxes = st.tuples(whole, whole, whole, whole).map(lambda c: Box(c[0], c[1], c[0] + c[2], c[1] + c[3]))


@given(boxes, boxes)
def test_overlap_is_a_share_and_symmetric(a: Box, b: Box) -> None:
    assert 0 <= iou(a, b) <= 1
    assert iou(a, b) == iou(b, a)
    if a.area > 0:
        assert iou(a, a) == 1


def test_overlap_of_known_boxes() -> None:
    assert iou(Box(0, 0, 2, 2), Box(1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert iou(Box(0, 0, 2, 2), Box(2, 0, 4, 2)) == 0
    assert iou(Box(0, 0, 0, 0), Box(0, 0, 0, 0)) == 0
