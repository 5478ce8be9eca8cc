"""Previews: small, of the right shape, few, and never a fault."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.clock import NS_PER_S
from inspector.link.preview import LONGEST_SIDE_PX, PreviewSlot, encode
from inspector.types import Frame


def frame(shape: tuple[int, ...], value: int = 90) -> Frame:
    return Frame(np.full(shape, value, np.uint8), 3, 5, 6, "a test picture")


@settings(max_examples=25)
@given(st.integers(1, 3000), st.integers(1, 3000), st.booleans())
def test_preview_keeps_the_frames_proportions_and_its_grey(height: int, width: int, colour: bool) -> None:
    made = encode(frame((height, width, 3) if colour else (height, width)))
    decoded = cv2.imdecode(np.frombuffer(made.jpeg, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    assert decoded.shape[:2] == (made.about.height, made.about.width)
    assert (made.about.frame_height, made.about.frame_width) == (height, width)
    assert max(decoded.shape[:2]) <= LONGEST_SIDE_PX
    assert max(decoded.shape[:2]) >= min(max(height, width), LONGEST_SIDE_PX) - 1
    if min(height, width) > 50:
        scale = max(decoded.shape[:2]) / max(height, width)
        assert min(decoded.shape[:2]) == pytest.approx(min(height, width) * scale, abs=2)
    assert abs(float(decoded.mean()) - 90) < 2


def test_a_line_camera_picture_thinner_than_the_reduction_is_still_shown() -> None:
    assert encode(frame((2, 20_000))).about.width == LONGEST_SIDE_PX


def test_slot_makes_one_preview_per_fifteenth_of_a_second() -> None:
    slot = PreviewSlot()
    first = slot.newest(frame((8, 8), 1), 0)
    assert first is not None
    newer = frame((8, 8), 2)
    assert slot.newest(newer, NS_PER_S // 16) is first
    second = slot.newest(newer, NS_PER_S // 15)
    assert second is not None
    assert second is not first
    assert slot.newest(newer, 10 * NS_PER_S) is second


def test_no_frame_and_broken_frames_give_no_preview() -> None:
    slot = PreviewSlot()
    assert slot.newest(None, 0) is None
    assert slot.newest(frame((0, 8)), 0) is None
    assert slot.newest(frame((8, 8, 7)), NS_PER_S) is None
    assert slot.newest(frame((8, 8)), 2 * NS_PER_S) is not None
