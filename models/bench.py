"""Our detector against ultralytics' own predict, on the same network, pictures and machine: `python -m models.bench`.

The two and the bare inference take turns picture by picture, so that whatever else the machine does meets all three alike; ratios are
worth more than times. Then every box of 0.25 or more is held against the other side's boxes: same class, one to one, at most 1 px and
0.01 of score apart. Needs the extra `train` (make setup-train). Exit status 0 only if all boxes agree.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import cv2
import numpy as np

from inspector.bundle import Bundle, InputKind, find_default_bundle
from inspector.detect.openvino import OpenVinoDetector
from inspector.errors import InspectorError
from inspector.types import Box, Detection, Pixels

LIMIT = 0.25
MAX_PX, MAX_SCORE = 1.0, 0.01
GOAL = 1.12
WARM_UP = 5
TIMEOUT_S = 60.0
DEEPPCB = "INSPECTOR_DEEPPCB"
_held: list[Any] = []
"""A torch library takes its operators along when it goes, so it stays for the life of the process."""
Predict = Callable[[Pixels], list[Detection]]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two lists of detections compare: boxes held against each other, boxes without a partner, greatest differences."""

    boxes: int = 0
    unmatched: int = 0
    worst_px: float = 0.0
    worst_score: float = 0.0

    def __add__(self, other: "Agreement") -> "Agreement":
        worst_px, worst_score = max(self.worst_px, other.worst_px), max(self.worst_score, other.worst_score)
        return Agreement(self.boxes + other.boxes, self.unmatched + other.unmatched, worst_px, worst_score)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One precision's figures. Times are ms from a picture in memory to its detections (bare: infer() alone): p10, p50, p99.

    On a busy machine p10 says more than p50 about the work itself.
    """

    precision: str
    device: str
    pictures: int
    ours_ms: tuple[float, float, float]
    ultralytics_ms: tuple[float, float, float]
    bare_ms: tuple[float, float, float]
    speedup_p10: float
    speedup_p50: float
    ours_to_bare_p50: float
    ours_to_bare_p99: float
    agreement: Agreement


def agree(ours: Sequence[Detection], theirs: Sequence[Detection]) -> Agreement:
    """Hold two lists against each other: every detection of LIMIT or more on either side needs a partner of its own on the other.

    Partners have the same class and lie within MAX_PX in every coordinate and MAX_SCORE in score; they may score just under LIMIT, so
    that the limit itself makes no difference. The nearest in place is taken, best score first.
    """
    free = list(theirs)
    pairs: list[tuple[float, float]] = []
    unmatched = 0
    for mine in sorted(ours, key=lambda d: -d.score):
        near = [(_px_apart(mine, other), i) for i, other in enumerate(free) if other.defect_class == mine.defect_class]
        near = [(px, i) for px, i in near if px <= MAX_PX and abs(free[i].score - mine.score) <= MAX_SCORE]
        if near:
            px, i = min(near)
            pairs.append((px, abs(free.pop(i).score - mine.score)))
        elif mine.score >= LIMIT:
            unmatched += 1
    unmatched += sum(other.score >= LIMIT for other in free)
    worst_px, worst_score = (max((pair[k] for pair in pairs), default=0.0) for k in (0, 1))
    return Agreement(len(pairs) + unmatched, unmatched, worst_px, worst_score)


def _px_apart(a: Detection, b: Detection) -> float:
    return max(abs(a.box.x1 - b.box.x1), abs(a.box.y1 - b.box.y1), abs(a.box.x2 - b.box.x2), abs(a.box.y2 - b.box.y2))


def compare(bundle: Bundle, precision: str, pictures: Sequence[Pixels], theirs: Predict) -> Comparison:
    """Let both look at all pictures (uint8, mono, one size), in turns. Raises InspectorError."""
    height, width = pictures[0].shape[:2]
    detector = OpenVinoDetector(bundle, height=height, width=width, channels=1, precision=precision)
    took: dict[str, list[float]] = {"ours": [], "theirs": [], "bare": []}
    agreement = Agreement()

    def timed(name: str, work: Callable[[Pixels], Any], picture: Pixels) -> Any:
        began = perf_counter()
        answer = work(picture)
        took[name].append((perf_counter() - began) * 1000)
        return answer

    def ours(picture: Pixels) -> list[Detection]:
        detector.start(picture)
        if not detector.wait(TIMEOUT_S):
            raise InspectorError(f"the detector did not answer within {TIMEOUT_S:g} s: try again on an idle machine")
        return list(detector.result())

    def bare(_picture: Pixels) -> None:
        detector.request.infer()

    for picture in pictures[:WARM_UP]:
        ours(picture)
        theirs(picture)
    for n, picture in enumerate(pictures):
        jobs: list[tuple[str, Callable[[Pixels], Any]]] = [("ours", ours), ("theirs", theirs), ("bare", bare)]
        # who comes first changes, because the first one wakes the machine for the others
        answers = {name: timed(name, work, picture) for name, work in jobs[n % 3 :] + jobs[: n % 3]}
        agreement += agree([d for d in answers["ours"] if d.score >= LIMIT - MAX_SCORE], answers["theirs"])
    detector.close()
    o, t, b = (_percentiles(took[k]) for k in ("ours", "theirs", "bare"))
    return Comparison(
        precision=detector.info.precision,
        device=detector.info.device,
        pictures=len(pictures),
        ours_ms=o,
        ultralytics_ms=t,
        bare_ms=b,
        speedup_p10=t[0] / o[0],
        speedup_p50=t[1] / o[1],
        ours_to_bare_p50=o[1] / b[1],
        ours_to_bare_p99=o[2] / b[2],
        agreement=agreement,
    )


def _percentiles(times_ms: Sequence[float]) -> tuple[float, float, float]:
    p10, p50, p99 = (round(float(v), 3) for v in np.percentile(times_ms, [10, 50, 99]))
    return p10, p50, p99


def ultralytics_predict(bundle: Bundle, precision: str, folder: Path) -> Predict:
    """ultralytics' YOLO on the bundle's IR, laid out in `folder` as its exporter does. Raises InspectorError where it is not installed."""
    home = folder / f"{precision}_openvino_model"
    home.mkdir(parents=True)
    xml, weights = bundle.model(precision)
    (home / "model.xml").write_bytes(xml)
    (home / "model.bin").write_bytes(weights)
    card = bundle.card
    metadata = {
        "task": "detect",
        "stride": 32,
        "batch": 1,
        "imgsz": [card.height, card.width],
        "names": dict(enumerate(card.classes)),
        "channels": 3,
        "args": {"batch": 1, "nms": False},
    }
    # JSON is YAML
    (home / "metadata.yaml").write_text(json.dumps(metadata), encoding="utf-8")
    yolo = _ultralytics().YOLO(str(home), task="detect")
    size = [card.height, card.width]

    def predict(picture: Pixels) -> list[Detection]:
        colour = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) if picture.ndim == 2 else picture
        boxes = yolo.predict(colour, imgsz=size, conf=LIMIT - MAX_SCORE, iou=card.nms_iou, device="cpu", verbose=False)[0].boxes
        rows = zip(boxes.xyxy.tolist(), boxes.conf.tolist(), boxes.cls.tolist(), strict=True)
        return [Detection(card.classes[int(c)], s, Box(*box)) for box, s, c in rows]

    return predict


@cache
def _ultralytics() -> Any:
    """The package, made to work where torchvision's compiled operators do not load (its wheel for another torch, or for GPUs).

    Without them `torchvision::nms` does not exist and predict fails. ultralytics has one in plain torch, which then takes its place.
    Whether they load is tried in a process of its own: naming an operator that exists already ends the process.
    """
    os.environ["YOLO_OFFLINE"] = "1"
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    try:
        torch = importlib.import_module("torch")
        probe = [sys.executable, "-c", "import torch, torchvision; torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)"]
        if subprocess.run(probe, capture_output=True, timeout=120, check=False).returncode == 0:
            return importlib.import_module("ultralytics")
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torchvision = importlib.import_module("torchvision")
        ultralytics = importlib.import_module("ultralytics")
        torchvision.ops.nms = importlib.import_module("ultralytics.utils.nms").TorchNMS.nms
        _held.append(library)
    except ImportError as e:
        raise InspectorError(f"{e.name} is not installed: make setup-train installs what the comparison needs") from e
    return ultralytics


def _pictures(folder: Path | None) -> list[Pixels]:
    """All pictures of the folder, or of the data set, or else drawn ones: uint8 mono, one size. Raises InspectorError."""
    if folder is None and os.environ.get(DEEPPCB):
        folder = Path(os.environ[DEEPPCB]) / "test" / "defective"
    if folder is None:
        boards = importlib.import_module("inspector.sim.boards")
        product = boards.Product(1)
        return [boards.board(product, n, seed=1, defect_rate=1.0).pixels for n in range(250)]
    found = [cv2.imread(str(f), cv2.IMREAD_GRAYSCALE) for f in sorted(folder.iterdir()) if f.suffix in (".jpg", ".png", ".bmp")]
    pictures = [np.asarray(picture, np.uint8) for picture in found if picture is not None]
    if not pictures or len({picture.shape for picture in pictures}) > 1:
        raise InspectorError(f"{folder}: {len(pictures)} pictures, of one size expected; name another folder with --pictures")
    return pictures


def _lines(c: Comparison) -> Iterator[str]:
    yield f"{c.precision} on {c.device}, {c.pictures} pictures, in turns"
    for name, (p10, p50, p99) in (("bare infer()", c.bare_ms), ("this detector", c.ours_ms), ("ultralytics predict", c.ultralytics_ms)):
        yield f"  {name:20} p10 {p10:6.2f}  p50 {p50:6.2f}  p99 {p99:6.2f} ms"
    yield f"  {c.speedup_p50:.3f} x faster than ultralytics at p50 (goal {GOAL}), {c.speedup_p10:.3f} at p10"
    yield f"  {c.ours_to_bare_p50:.3f} x bare at p50, {c.ours_to_bare_p99:.3f} at p99"
    a = c.agreement
    yield f"  {a.boxes} boxes, {a.unmatched} without a partner; at most {a.worst_px:.3f} px and {a.worst_score:.4f} apart"


@click.command(help=__doc__)
@click.option("--pictures", type=click.Path(exists=True, file_okay=False, path_type=Path), help=f"default: {DEEPPCB}, or drawn boards")
@click.option("--bundle", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="default: the one that ships")
@click.option("--json", "as_json", is_flag=True, help="one JSON object as the last line")
def main(pictures: Path | None, folder: Path | None, as_json: bool) -> None:
    try:
        bundle = Bundle.open(folder or find_default_bundle())
        if bundle.input is not InputKind.MONO:
            raise InspectorError(f"{bundle.folder}: looks at {bundle.input}, the comparison is for mono bundles")
        shown = _pictures(pictures)
        done: list[Comparison] = []
        with tempfile.TemporaryDirectory() as scratch:
            for precision in bundle.precisions:
                done.append(compare(bundle, precision, shown, ultralytics_predict(bundle, precision, Path(scratch))))
                click.echo("\n".join(_lines(done[-1])))
    except InspectorError as e:
        raise click.ClickException(str(e)) from e
    if as_json:
        click.echo(json.dumps({"comparisons": [asdict(c) for c in done]}))
    sys.exit(any(c.agreement.unmatched for c in done))


if __name__ == "__main__":
    main()
