"""The scripted detector fails in every way that it is asked to."""

import math
import time

import numpy as np
import pytest

from inspector.detect.scripted import Answer, ScriptedDetector, cycle
from inspector.errors import DetectorError
from inspector.types import Box, Detection

PICTURE = np.zeros((8, 8), np.uint8)
FOUND = Detection("short", 0.8, Box(1, 1, 3, 3))


def detector(*answers: Answer) -> ScriptedDetector:
    return ScriptedDetector(cycle(answers), height=8, width=8, classes=("short",))


def test_answers_in_turn() -> None:
    d = detector(Answer((FOUND,)), Answer())
    for expected in ([FOUND], [], [FOUND]):
        d.start(PICTURE)
        assert d.wait(1)
        assert list(d.result()) == expected
    assert d.started == 3


def test_raises_at_start_and_goes_on() -> None:
    d = detector(Answer(raises="start"), Answer((FOUND,)))
    with pytest.raises(DetectorError, match="did not start"):
        d.start(PICTURE)
    d.start(PICTURE)
    assert d.wait(1)
    assert list(d.result()) == [FOUND]


def test_raises_while_it_works_and_goes_on() -> None:
    d = detector(Answer(raises="wait", delay_s=0.01), Answer())
    d.start(PICTURE)
    assert d.wait(0.001) is False
    with pytest.raises(DetectorError, match="failed"):
        d.wait(1)
    d.start(PICTURE)
    assert d.wait(1)


def test_hangs_until_cancelled() -> None:
    d = detector(Answer(hangs=True), Answer((FOUND,)))
    d.start(PICTURE)
    began = time.perf_counter()
    assert d.wait(0.03) is False
    assert time.perf_counter() - began >= 0.03
    with pytest.raises(DetectorError, match="wait for it first"):
        d.result()
    d.cancel()
    d.start(PICTURE)
    assert d.wait(1)
    assert list(d.result()) == [FOUND]


@pytest.mark.parametrize("lie", [Detection("short", s, FOUND.box) for s in (math.nan, math.inf, 1.5, -0.5)])
def test_scores_that_cannot_be_come_out_as_errors(lie: Detection) -> None:
    d = detector(Answer((FOUND, lie)))
    d.start(PICTURE)
    assert d.wait(1)
    with pytest.raises(DetectorError, match="expected 0 to 1"):
        d.result()


def test_boxes_that_cannot_be_come_out_as_errors() -> None:
    d = detector(Answer((Detection("short", 0.5, Box(0, 0, math.nan, 4)),)))
    d.start(PICTURE)
    assert d.wait(1)
    with pytest.raises(DetectorError, match="not numbers"):
        d.result()
