"""The station with a reference: what the detector is shown beside each frame, and which parts fault before it looks."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from inspector.build import DetectorChoice, prepare_product
from inspector.bundle import find_default_bundle
from inspector.camera.folder import FolderCamera
from inspector.checks import Canary, verify_canary
from inspector.detect.scripted import Answer, ScriptedDetector
from inspector.errors import RecipeError
from inspector.line.direct import DirectLine
from inspector.reference import Registered, shifted
from inspector.sim.boards import BeltScene, Product, board
from inspector.sim.demo_files import REFERENCE_BUNDLE, DemoWiring, write_demo_files
from inspector.station import Product as Judged
from inspector.station import Settings, Station, StopRules
from inspector.trace import EvidencePolicy, SqliteArchive
from inspector.types import Box, Detection, FaultCode, Frame, Inspection, PartKind, Pixels, Pose, StationState, VerdictKind

PRODUCT = Product(0)
REGION = (12, 12, 628, 628)
BUNDLE = find_default_bundle().with_name(REFERENCE_BUNDLE)
SEEN = Detection("open", 0.9, Box(100, 100, 120, 120))
WAIT_S = 20.0

Shown = list[tuple[Pixels, Pixels | None]]


class Notebook(ScriptedDetector):
    """Finds the canary's defect in the canary, nothing elsewhere, and notes what it was shown."""

    def __init__(self, canary: Canary, shown: Shown) -> None:
        height, width = canary.pixels.shape

        def answer(_count: int, pixels: Pixels) -> Answer:
            return Answer(canary.expected if np.array_equal(pixels, canary.pixels) else ())

        super().__init__(answer, height=height, width=width, classes=("open",))
        self._shown = shown

    def start(self, pixels: Pixels, reference: Pixels | None = None) -> None:
        self._shown.append((pixels.copy(), None if reference is None else reference.copy()))
        super().start(pixels, reference)


def files(folder: Path) -> Path:
    write_demo_files(folder, PRODUCT, DemoWiring(1, "ipc:///unused", "ipc:///unused"), 60.0, with_reference=True)
    return folder / "boards.toml"


@contextmanager
def station(folder: Path, product: Judged, pictures: Sequence[Pixels]) -> Iterator[Callable[[], list[Inspection]]]:
    """A station with these pictures before its camera; the callable triggers them all and returns what was decided, in order."""
    (folder / "pictures").mkdir()
    for number, pixels in enumerate(pictures):
        cv2.imwrite(str(folder / "pictures" / f"{number}.png"), pixels)
    camera = FolderCamera(folder / "pictures")
    line = DirectLine(on_pulse=lambda _: camera.trigger())
    decided: list[Inspection] = []
    settings = Settings("bench", kind=PartKind.TEST, frame_ms=5000, detector_ms=5000, poll_ms=2, stops=StopRules(faults_in_row=None))
    archive = SqliteArchive(folder / "archive", evidence=EvidencePolicy(rejects=False))
    line_station = Station(settings, camera, line, archive, lambda _: product, decided.append)

    def judge_all() -> list[Inspection]:
        for _ in pictures:
            line.pulse()
        _until(lambda: len(decided) == len(pictures), lambda: f"{len(decided)} of {len(pictures)} parts decided")
        return sorted(decided, key=lambda part: part.part.sequence)

    try:
        line_station.start()
        line_station.command("start", {}, "bench")
        _until(lambda: line_station.status().state is StationState.RUNNING, lambda: str(line_station.status()))
        yield judge_all
    finally:
        line_station.stop()


def _until(holds: Callable[[], bool], found: Callable[[], str]) -> None:
    pause = threading.Event()
    for _ in range(round(WAIT_S / 0.005)):
        if holds():
            return
        pause.wait(0.005)
    pytest.fail(f"waited {WAIT_S} s: {found()}")


def noting(path: Path, shown: Shown) -> Judged:
    product = prepare_product(path, BUNDLE, DetectorChoice())
    canary = replace(product.canary, expected=(SEEN,))
    return replace(product, canary=canary, open_detector=lambda: Notebook(canary, shown))


def cropped(pixels: Pixels) -> Pixels:
    x1, y1, x2, y2 = REGION
    return pixels[y1:y2, x1:x2]


def test_each_frame_is_shown_beside_the_reference_where_its_part_lies(tmp_path: Path) -> None:
    shown: Shown = []
    parts = [board(PRODUCT, number, seed=3, defect_rate=0.5) for number in range(4)]
    product = noting(files(tmp_path), shown)
    with station(tmp_path, product, [p.pixels for p in parts]) as judge_all:
        decided = judge_all()
    assert [d.verdict.kind for d in decided] == [VerdictKind.PASS] * 4, "the detector finds nothing"
    assert all(", in register to 0." in d.presence for d in decided)
    assert [(d.pose.dx, d.pose.dy) for d in decided] == [p.shift for p in parts]
    (pixels, reference), *frames = shown
    assert np.array_equal(pixels, product.canary.pixels)
    assert reference is not None
    assert product.canary.reference is not None
    assert np.array_equal(reference, product.canary.reference), "the canary's own reference"
    assert len(frames) == 4
    for part, (pixels, reference) in zip(parts, frames, strict=True):
        assert reference is not None
        assert np.array_equal(pixels, cropped(part.pixels))
        assert np.array_equal(reference, cropped(shifted(PRODUCT.reference(), *part.shift)))


def test_what_does_not_come_into_register_faults_and_is_never_shown_to_the_detector(tmp_path: Path) -> None:
    odd = [board(PRODUCT, number, seed=1, odd_rate=1.0) for number in range(30)]
    scenes = [next(b.pixels for b in odd if b.scene is scene) for scene in BeltScene if scene is not BeltScene.PART]
    golden, mark = PRODUCT.reference(), PRODUCT.fiducials[0]
    window = (slice(round(mark.y1), round(mark.y2)), slice(round(mark.x1), round(mark.x2)))
    beside = shifted(golden, 4, 0)
    beside[window] = golden[window]  # as if the mark, and it alone, were where it was taught
    height, width = golden.shape
    around = ((mark.x1 + mark.x2) / 2, (mark.y1 + mark.y2) / 2)
    turned = cv2.warpAffine(golden, cv2.getRotationMatrix2D(around, 2.0, 1.0), (width, height), borderMode=cv2.BORDER_REPLICATE)
    shown: Shown = []
    with station(tmp_path, noting(files(tmp_path), shown), [*scenes, beside, np.asarray(turned, np.uint8), golden]) as judge_all:
        decided = judge_all()
    *bad, good = decided
    assert good.verdict.kind is VerdictKind.PASS
    for part in bad:
        assert part.verdict.kind is VerdictKind.FAULT
        assert part.verdict.reasons[0].code == FaultCode.PRESENCE.value
        assert part.pixels_sha256 is not None
        assert part.detections == ()
    assert "in register to +4" in bad[-2].verdict.reasons[0].text
    assert len(shown) == 2, "the canary and the good part"


@pytest.mark.parametrize("fails", ["has nothing to give", "raises"])
def test_a_reference_that_fails_faults_the_part_and_the_next_one_goes_on(fails: str, tmp_path: Path) -> None:
    golden = PRODUCT.reference()

    def register(frame: Frame, _pose: Pose) -> Registered:
        if frame.frame_id > 1:
            return Registered(golden, 0.0)
        if fails == "raises":
            raise OSError("the disk with the references is gone")
        return Registered(None, None, "no reference for this picture")

    shown: Shown = []
    product = replace(noting(files(tmp_path), shown), register=register)
    with station(tmp_path, product, [golden, golden]) as judge_all:
        first, second = judge_all()
    assert first.verdict.kind is VerdictKind.FAULT
    code = FaultCode.INTERNAL if fails == "raises" else FaultCode.PRESENCE
    assert first.verdict.reasons[0].code == code.value
    assert second.verdict.kind is VerdictKind.PASS


def test_recipe_and_bundle_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    path = files(tmp_path)
    with pytest.raises(RecipeError, match=r"there is a reference, and bundle deeppcb-yolo26n \(mono\) looks at none") as caught:
        prepare_product(path, None, DetectorChoice())
    assert "\n" not in str(caught.value)
    path.write_text("\n".join(row for row in path.read_text().splitlines() if not row.startswith("reference")))
    with pytest.raises(RecipeError, match="looks at a reference and the recipe has none; add reference"):
        prepare_product(path, BUNDLE, DetectorChoice())
    with pytest.raises(RecipeError, match="looks at none"):
        prepare_product(path, None, DetectorChoice(), lambda _frame, _pose: Registered(None, None, "none"))


def test_the_bundle_that_ships_finds_its_canary_and_the_planted_defects_and_passes_their_twin(tmp_path: Path) -> None:
    """The real network, once: the defects of one part, none on another, through the station's own pieces."""
    product = prepare_product(files(tmp_path), BUNDLE, DetectorChoice(cache=tmp_path))
    assert product.register is not None
    detector = product.open_detector()
    try:

        def look(pixels: Pixels, reference: Pixels | None) -> Sequence[Detection]:
            detector.start(np.ascontiguousarray(pixels), None if reference is None else np.ascontiguousarray(reference))
            assert detector.wait(WAIT_S)
            return detector.result()

        assert verify_canary(product.canary, look(product.canary.pixels, product.canary.reference)) is None
        for number in range(6):
            part = board(PRODUCT, number, seed=3, defect_rate=0.5)
            seen = product.register(Frame(part.pixels, 1, 0, 0), product.presence.look(part.pixels).pose)
            assert seen.pixels is not None
            found = [d for d in look(cropped(part.pixels), cropped(seen.pixels)) if d.score >= 0.5]
            assert sorted(d.defect_class for d in found) == sorted(d.defect_class for d in part.defects)
    finally:
        detector.close()
