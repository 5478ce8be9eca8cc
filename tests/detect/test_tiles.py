"""Big frames in tiles: how they are cut, how the detector goes through them, and what happens when a tile fails."""

import time
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.bundle import GREY, BundleCanary
from inspector.detect.scripted import Answer, Script, ScriptedDetector
from inspector.detect.seams import EDGE_PX, Tile
from inspector.detect.tiles import TiledDetector, TilePlan, plan_tiles, tiled_canary
from inspector.errors import DetectorError, RecipeError
from inspector.types import Box, Detection, Pixels

HEIGHT, WIDTH, SIDE = 150, 230, 64
PLAN = plan_tiles(HEIGHT, WIDTH, tile_height=SIDE, tile_width=SIDE, largest_px=16)
BLANK = np.zeros((HEIGHT, WIDTH), np.uint8)


def bright_spots(_count: int, pixels: Pixels) -> Answer:
    """Finds bright spots: what a good detector of defects is, for pictures that show nothing else."""
    grey = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    _, _, stats, _ = cv2.connectedComponentsWithStats((grey > 100).astype(np.uint8))
    boxes = [Box(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:].tolist()]
    return Answer(tuple(Detection("defect", 0.9, box) for box in boxes))


def tiled(script: Script = bright_spots, channels: int = 1, plan: TilePlan = PLAN) -> tuple[TiledDetector, ScriptedDetector]:
    tile = ScriptedDetector(script, height=plan.tile_height, width=plan.tile_width, channels=channels)
    return TiledDetector(tile, plan, channels=channels), tile


def detect(detector: TiledDetector, pixels: Pixels) -> list[Box]:
    detector.start(pixels)
    assert detector.wait(10)
    return [d.box for d in detector.result()]


@given(
    st.integers(16, 900), st.integers(16, 900), st.integers(32, 300), st.integers(32, 300), st.integers(1, 27)
)  # 32 - 2 * EDGE_PX - 1 = 27
def test_tiles_cover_every_pixel_inside_the_frame_and_overlap_enough(height: int, width: int, tall: int, wide: int, largest: int) -> None:
    plan = plan_tiles(height, width, tile_height=tall, tile_width=wide, largest_px=largest)
    assert plan == plan_tiles(height, width, tile_height=tall, tile_width=wide, largest_px=largest)
    covered = np.zeros((height, width), bool)
    for t in plan.tiles:
        assert (t.width, t.height) == (min(wide, width), min(tall, height)), "never padded, never cut short"
        assert 0 <= t.x <= t.x2 <= width
        assert 0 <= t.y <= t.y2 <= height
        covered[t.y : t.y2, t.x : t.x2] = True
    assert covered.all()
    assert list(plan.tiles) == sorted(plan.tiles, key=lambda t: (t.y, t.x))
    xs, ys = sorted({t.x for t in plan.tiles}), sorted({t.y for t in plan.tiles})
    assert len(plan.tiles) == len(xs) * len(ys), "a tile for each row and column, and none twice"
    for starts, side in ((xs, wide), (ys, tall)):
        assert all(a + side - b >= largest + 2 * EDGE_PX for a, b in pairwise(starts))


@pytest.mark.parametrize(
    ("height", "width", "count"), [(640, 640, 1), (480, 640, 1), (641, 640, 2), (640, 1216, 2), (640, 1217, 3), (2048, 2448, 20)]
)
def test_no_more_tiles_than_needed(height: int, width: int, count: int) -> None:
    plan = plan_tiles(height, width, tile_height=640, tile_width=640, largest_px=60)
    assert len(plan.tiles) == count
    assert plan.text == f"{count} tile{'s' if count > 1 else ''} of 640x{min(640, height)}"


def test_objects_that_no_tile_can_show_whole_are_refused() -> None:
    assert len(plan_tiles(100, 65, tile_height=100, tile_width=64, largest_px=59).tiles) == 2
    with pytest.raises(RecipeError, match=r"tiles\.largest_px: 60 px do not fit between the seams of tiles of 64 px, 59 at most"):
        plan_tiles(100, 65, tile_height=100, tile_width=64, largest_px=60)


@given(st.data())
def test_spots_are_found_where_they_are_each_once(data: st.DataObject) -> None:
    """Through cutting and merging: exact to the pixel, wherever the seams run."""
    frame = BLANK.copy()
    boxes = []
    for row in range(0, HEIGHT - 20, 40):
        for column in range(0, WIDTH - 20, 40):
            if not data.draw(st.booleans()):
                continue
            x, y = column + data.draw(st.integers(0, 18)), row + data.draw(st.integers(0, 18))
            w, h = data.draw(st.integers(1, 16)), data.draw(st.integers(1, 16))
            frame[y : y + h, x : x + w] = 255
            boxes.append(Box(x, y, min(x + w, WIDTH), min(y + h, HEIGHT)))
    found = detect(tiled()[0], frame)
    assert sorted(found, key=repr) == sorted(boxes, key=repr)


def test_a_scratch_longer_than_the_overlap_is_one_box() -> None:
    frame = BLANK.copy()
    frame[70:76, 5:220] = 255
    assert detect(tiled()[0], frame) == [Box(5, 70, 220, 76)]


def test_colour_frames() -> None:
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[100:110, 200:212, 2] = 255
    assert detect(tiled(channels=3)[0], frame) == [Box(200, 100, 212, 110)]


class ReferenceSpy(ScriptedDetector):
    """Keeps what it is given."""

    pairs: list[tuple[Pixels, Pixels | None]]

    def start(self, pixels: Pixels, reference: Pixels | None = None) -> None:
        super().start(pixels, reference)
        self.pairs.append((pixels.copy(), None if reference is None else reference.copy()))


def test_each_tile_gets_its_own_piece_of_the_reference() -> None:
    spy = ReferenceSpy(bright_spots, height=SIDE, width=SIDE)
    spy.pairs = []
    detector = TiledDetector(spy, PLAN, channels=1)
    rng = np.random.default_rng(1)
    picture, reference = (rng.integers(0, 99, BLANK.shape, np.uint8) for _ in range(2))
    detector.start(picture, reference)
    assert detector.wait(10)
    detector.result()
    assert len(spy.pairs) == len(PLAN.tiles)
    for t, (seen, beside) in zip(PLAN.tiles, spy.pairs, strict=True):
        assert np.array_equal(seen, picture[t.y : t.y2, t.x : t.x2])
        assert beside is not None
        assert np.array_equal(beside, reference[t.y : t.y2, t.x : t.x2])


def test_a_reference_of_another_size_is_refused() -> None:
    detector, tile = tiled()
    with pytest.raises(DetectorError, match="was built for"):
        detector.start(BLANK, np.zeros((SIDE, SIDE), np.uint8))
    assert tile.started == 0


def test_waiting_in_slices_goes_on_from_tile_to_tile() -> None:
    detector, tile = tiled(lambda _count, _pixels: Answer(delay_s=0.004))
    detector.start(BLANK)
    slices, began = 0, time.perf_counter()
    while not detector.wait(0.003):
        slices += 1
        assert time.perf_counter() - began < 10
    assert slices >= len(PLAN.tiles)
    assert tile.started == len(PLAN.tiles)
    assert detector.result() == []


def test_no_time_left_is_kept_to_even_when_every_tile_answers_at_once() -> None:
    """Dispatch waits for nobody: a look with no time left takes one tile at most."""
    detector, tile = tiled()
    detector.start(BLANK)
    assert detector.wait(0.0) is False
    assert tile.started == 2


def test_a_tile_that_hangs_takes_its_slice_and_no_more() -> None:
    detector, tile = tiled(lambda count, _pixels: Answer(hangs=count == 3))
    detector.start(BLANK)
    began = time.perf_counter()
    assert detector.wait(0.02) is False
    assert time.perf_counter() - began < 0.5
    assert tile.started == 4
    detector.cancel()
    assert detect(detector, BLANK) == []


def test_cancelled_it_begins_with_the_first_tile_again() -> None:
    frame = BLANK.copy()
    frame[3:9, 3:9] = 255
    detector, tile = tiled()
    detector.start(frame)
    assert detector.wait(0.0) is False
    detector.cancel()
    assert detect(detector, BLANK) == [], "nothing of the frame that was given up"
    assert tile.started == 2 + len(PLAN.tiles)


@pytest.mark.parametrize(
    "bad", [Answer(raises="start"), Answer(raises="wait"), Answer((Detection("defect", float("nan"), Box(1, 1, 2, 2)),))]
)
@pytest.mark.parametrize("at", [1, len(PLAN.tiles) - 1])
def test_a_tile_that_fails_fails_the_frame_and_only_this_one(bad: Answer, at: int) -> None:
    detector, tile = tiled(lambda count, _pixels: bad if count == at else Answer())
    detector.start(BLANK)
    where = PLAN.tiles[at]
    with pytest.raises(DetectorError, match=rf"\(tile at {where.x}, {where.y}\)"):
        detector.wait(10)
    with pytest.raises(DetectorError, match="start it first"):
        detector.wait(0)
    assert detect(detector, BLANK) == []
    assert tile.started in (at + len(PLAN.tiles), at + 1 + len(PLAN.tiles))


def test_when_the_first_tile_does_not_start_nothing_runs() -> None:
    detector, _ = tiled(lambda count, _pixels: Answer(raises="start") if count == 0 else Answer())
    with pytest.raises(DetectorError, match="did not start"):
        detector.start(BLANK)
    tile_again = detector.info
    assert tile_again.device == "scripted"
    with pytest.raises(DetectorError, match="start it first"):
        detector.wait(0)


def test_closing_closes_the_tile_detector() -> None:
    detector, tile = tiled()
    detector.start(BLANK)
    detector.close()
    with pytest.raises(DetectorError, match="closed"):
        tile.start(BLANK[:SIDE, :SIDE].copy())


def canary(reference: Pixels | None = None) -> BundleCanary:
    picture = np.zeros((SIDE, SIDE), np.uint8)
    picture[28:36, 24:40] = 255
    return BundleCanary(picture, reference, (Detection("defect", 0.9, Box(24, 28, 40, 36)),), 0.5, 0.1)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_canary_is_found_in_the_last_tile(channels: int) -> None:
    shown = tiled_canary(canary(), PLAN, channels)
    assert shown.pixels.shape[:2] == (HEIGHT, WIDTH)
    last = PLAN.tiles[-1]
    assert last == Tile(WIDTH - SIDE, HEIGHT - SIDE, SIDE, SIDE)
    (expected,) = shown.expected
    assert expected.box == Box(last.x + 24, last.y + 28, last.x + 40, last.y + 36)
    assert (shown.pixels[0] == GREY).all()
    dark = np.where(shown.pixels == GREY, 0, shown.pixels).astype(np.uint8)
    assert detect(tiled(channels=channels)[0], dark) == [expected.box]


def test_the_canary_brings_its_reference() -> None:
    shown = tiled_canary(canary(np.full((SIDE, SIDE), 7, np.uint8)), PLAN, 1)
    assert shown.reference is not None
    last = PLAN.tiles[-1]
    assert (shown.reference[last.y :, last.x :] == 7).all()
    assert (shown.reference[: last.y] == shown.pixels[: last.y]).all(), "no difference where there is no canary"
