"""A network becomes a bundle: as a whole or not at all, its numbers those of the station, its default precision the one that pays.

INT8 needs the extra (make setup-train); everything else here runs without it.
"""

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from openvino import opset15 as op

from inspector.bundle import Bundle, InputKind, Letterbox, find_default_bundle
from inspector.detect.graph import prepared
from inspector.detect.openvino import OpenVinoDetector
from inspector.sim.boards import Product, board, good_twin
from inspector.sim.boards_defects import CLASSES
from inspector.types import Box, Detection
from models import compile as compiling
from models.cli_train import compile_
from models.compile import Source, compile_bundle
from models.dataset import Split
from models.looker import Looker, Net, parts, pooled_ap33
from models.make_bundle import make_bundle
from models.train_data import Part, open_for_training
from models.train_plan import TrainError

SIDE = 64
NET = Net(("open", "short"), InputKind.MONO, SIDE)
WORDS = {"name": "tiny", "version": "1", "licence": "none", "training": "none"}
NEEDS_EXTRA = pytest.mark.skipif(find_spec("nncf") is None, reason="INT8 needs nncf: make setup-train installs it")


def _ir(folder: Path, *rows: tuple[float, ...]) -> Path:
    """A network that always answers these rows of cx, cy, w, h, open, short."""
    image = op.parameter([1, 3, SIDE, SIDE], np.float32, name="image")
    nothing = op.multiply(op.reduce_sum(image, op.constant(np.array([0, 1, 2, 3], np.int64)), False), op.constant(np.float32(0)))
    table: NDArray[np.float32] = np.array(rows, np.float32).T[None]
    folder.mkdir()
    ov.save_model(ov.Model([op.add(op.constant(table), nothing)], [image], "tiny"), folder / "model.xml", compress_to_fp16=False)
    return folder


def _split(folder: Path, count: int = 3) -> Split:
    """Boards with one defect in the middle, where the network above sees one."""
    for kind in ("defective", "labels", "good"):
        (folder / kind).mkdir(parents=True)
    for n in range(count):
        good = np.full((SIDE, SIDE), 200 + n, np.uint8)
        cv2.imwrite(str(folder / "good" / f"{n}.png"), good)
        good[28:36, 27:37] = 0
        cv2.imwrite(str(folder / "defective" / f"{n}.png"), good)
        (folder / "labels" / f"{n}.txt").write_text(f"0 0.5 0.5 {10 / SIDE} {8 / SIDE}")
    return open_for_training(folder, NET.classes, False)


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Split]:
    return {name: _split(tmp_path / "data" / name) for name in ("train", "val")}


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(_ir(tmp_path / "ir", (32, 32, 10, 8, 0.8, 0.0)), NET, WORDS)


def _quiet(_text: str) -> None:
    pass


def test_a_bundle_with_its_figures(source: Source, data: dict[str, Split], tmp_path: Path) -> None:
    bundle = compile_bundle(source, data, tmp_path / "out", ("fp32", "fp16"), 10, _quiet)
    assert Bundle.open(tmp_path / "out").hash == bundle.hash
    assert set(bundle.precisions) == {"fp32", "fp16"}
    assert bundle.card.measured["val_ap_0.33_pooled_pct"] == {"fp32": 100.0, "fp16": 100.0}
    assert bundle.card.default_precision == "fp32"
    assert bundle.canary().expected[0].defect_class == "open"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "ir", "out"]


def test_weights_travel_sealed(source: Source, data: dict[str, Split], tmp_path: Path) -> None:
    weights = tmp_path / "any.pt"
    weights.write_bytes(b"weights")
    bundle = compile_bundle(Source(source.ir, NET, WORDS, weights), data, tmp_path / "out", ("fp32",), 10, _quiet)
    assert bundle.read("weights.pt") == b"weights"


def test_a_network_that_finds_nothing_has_no_canary(data: dict[str, Split], tmp_path: Path) -> None:
    blind = Source(_ir(tmp_path / "ir", (32, 32, 10, 8, 0.3, 0.0)), NET, WORDS)
    with pytest.raises(TrainError, match="no canary convinces"):
        compile_bundle(blind, data, tmp_path / "out", ("fp32",), 10, _quiet)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "ir"]


def test_a_disk_that_fills(source: Source, data: dict[str, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for place in ("models.make_bundle.shutil.copyfile", "models.compile.os.fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            with pytest.raises(TrainError, match="No space left on device"):
                compile_bundle(source, data, tmp_path / "out", ("fp32",), 10, _quiet)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "ir"]


_SLOWLY = """
import sys, time
from pathlib import Path
import models.compile as c
from models.dataset import open_split
from models.looker import Net
from inspector.bundle import InputKind
def wait(draft, out):
    Path("ready").touch()
    time.sleep(60)
c._into_place = wait
source = c.Source(Path("ir"), Net(("open", "short"), InputKind.MONO, 64), dict(name="t", version="1", licence="n", training="n"))
c.compile_bundle(source, {"val": open_split(Path("data/val"))}, Path("out"), ("fp32",), 10, lambda text: None)
"""


@pytest.mark.slow
def test_a_kill_leaves_no_half_bundle(source: Source, data: dict[str, Split], tmp_path: Path) -> None:
    assert source.ir == tmp_path / "ir"
    assert data["val"].folder == tmp_path / "data" / "val"
    with subprocess.Popen([sys.executable, "-c", _SLOWLY], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        give_up = time.monotonic() + 40
        while not (tmp_path / "ready").exists():
            if process.poll() is not None or time.monotonic() > give_up:
                process.kill()
                pytest.fail(process.communicate()[1])
            time.sleep(0.05)
        process.kill()
    assert not (tmp_path / "out").exists()
    assert compile_bundle(source, data, tmp_path / "out", ("fp32",), 10, _quiet).name == "tiny"


def test_what_is_there_is_left_alone(source: Source, data: dict[str, Split], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(TrainError, match="is there already"):
        compile_bundle(source, data, tmp_path / "out", ("fp32",), 10, _quiet)


def test_int8_has_to_pay() -> None:
    assert compiling._default({"fp32": 20.0, "int8": 10.0, "fp16": 19.0})[0] == "int8"
    name, why = compiling._default({"fp32": 20.0, "int8": 18.0})
    assert name == "fp32"
    assert "1.11 x as fast" in why
    assert compiling._default({"fp16": 20.0})[0] == "fp16"
    assert compiling._default({"int8": 20.0})[0] == "int8"


def _patched(monkeypatch: pytest.MonkeyPatch, plain: Path, controlled: Path) -> list[str]:
    """INT8 made by hand, so that what follows from its figures can be seen without NNCF."""
    asked: list[str] = []

    def quick(_model: Any, _inputs: Any) -> Any:
        asked.append("plain")
        return ov.Core().read_model(plain / "model.xml")

    def careful(_model: Any, _inputs: Any, validation: Any, figure: Any) -> Any:
        asked.append("controlled")
        model = ov.Core().read_model(controlled / "model.xml")
        whole, each = figure(ov.Core().compile_model(model, "CPU"), validation[1:])
        assert len(each) == len(validation) - 1
        assert whole == pytest.approx(np.mean(each))
        return model

    monkeypatch.setattr(compiling, "quantised", quick)
    monkeypatch.setattr(compiling, "quantised_with_control", careful)
    monkeypatch.setattr(compiling, "version", lambda: "0")
    return asked


def test_int8_that_loses_is_made_again_under_control(
    source: Source, data: dict[str, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _patched(monkeypatch, _ir(tmp_path / "bad", (10, 10, 10, 8, 0.8, 0.0)), source.ir)
    bundle = compile_bundle(source, data, tmp_path / "out", ("fp32", "int8"), 10, _quiet)
    assert asked == ["plain", "controlled"]
    assert "accuracy-controlled" in bundle.card.measured["int8"]
    assert set(bundle.precisions) == {"fp32", "int8"}


def test_int8_that_still_loses_is_left_out_and_the_card_says_so(
    source: Source, data: dict[str, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = _ir(tmp_path / "bad", (10, 10, 10, 8, 0.8, 0.0))
    _patched(monkeypatch, bad, bad)
    bundle = compile_bundle(source, data, tmp_path / "out", ("fp32", "int8"), 10, _quiet)
    assert set(bundle.precisions) == {"fp32"}
    assert bundle.card.measured["int8"].startswith("left out: 0.00 against 100.00")


@settings(max_examples=8)
@given(height=st.integers(20, 300), width=st.integers(20, 300), kind=st.sampled_from(list(InputKind)), seed=st.integers(0, 99))
def test_the_network_is_calibrated_on_what_the_station_feeds_it(height: int, width: int, kind: InputKind, seed: int) -> None:
    """Net.tensor and inspector.detect.graph agree within the rounding of a resize to whole grey levels."""
    rng = np.random.default_rng(seed)
    shape = (height, width, 3) if kind is InputKind.BGR else (height, width)
    picture, reference = (np.asarray(cv2.blur(rng.integers(0, 256, shape, np.uint8), (5, 5)), np.uint8) for _ in range(2))
    image = op.parameter([1, 3, SIDE, SIDE], np.float32, name="image")
    card = Bundle.open(find_default_bundle()).card.model_copy(update={"input": kind, "width": SIDE, "height": SIDE})
    rows = 4 + len(card.classes)
    answer = op.reshape(
        op.concat([image, op.broadcast(op.constant(np.float32(0)), op.constant(np.array([1, rows - 3, SIDE, SIDE])))], 1),
        op.constant(np.array([1, rows, SIDE * SIDE])),
        False,
    )
    graph = prepared(ov.Model([answer], [image], "echo"), Bundle(find_default_bundle(), card), Letterbox(height, width, SIDE, SIDE))
    fed = [np.ascontiguousarray(p).reshape(1, height, width, -1) for p in (picture, reference)]
    out = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(fed[: len(graph.inputs)])[0]
    ours = Net(CLASSES, kind, SIDE).tensor(picture, reference)
    assert np.abs(out[0, :3].reshape(3, SIDE, SIDE) - ours[0]).max() <= 1.6 / 255


def test_ap33_by_hand() -> None:
    """Three truths; hits at ranks 1 and 3: (1/1 + 2/3) / 3. A second box on a truth that is taken, and a wrong class, are no hits."""
    boxes = ((0, Box(0, 0, 10, 10)), (1, Box(50, 50, 60, 60)), (0, Box(90, 0, 99, 9)))
    found = [
        Detection("open", 0.9, Box(0, 0, 10, 10)),
        Detection("open", 0.8, Box(1, 0, 11, 10)),
        Detection("short", 0.7, Box(50, 50, 60, 60)),
        Detection("short", 0.6, Box(90, 0, 99, 9)),
    ]
    assert pooled_ap33([found], [Part(None, None, boxes)], ("open", "short")) == pytest.approx(100 * (1 + 2 / 3) / 3)


def _boards(folder: Path, count: int) -> None:
    from inspector.commands.board_sim import yolo_rows

    for kind in ("defective", "labels", "good"):
        (folder / kind).mkdir(parents=True)
    product = Product(1)
    for n in range(count):
        part, twin = (f(product, n, seed=5, defect_rate=1.0) for f in (board, good_twin))
        cv2.imwrite(str(folder / "defective" / f"{n}.png"), part.pixels)
        cv2.imwrite(str(folder / "good" / f"{n}.png"), twin.pixels)
        (folder / "labels" / f"{n}.txt").write_text(yolo_rows(part))


_INT8 = """
import sys
from pathlib import Path
import openvino as ov
from inspector.bundle import InputKind
from inspector.sim.boards_defects import CLASSES
from models.compile_int8 import quantised
from models.dataset import open_split
from models.looker import Net, parts
net = Net(CLASSES, InputKind.MONO, 640)
inputs = [net.tensor(p.defective, None) for p in parts(open_split(Path("boards")), net, 12)]
ov.save_model(quantised(ov.Core().read_model("fp32/model.xml"), inputs), "int8/model.xml", compress_to_fp16=False)
"""


@NEEDS_EXTRA
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_int8_runs_in_the_station_and_finds_what_fp32_finds(tmp_path: Path) -> None:
    """The network that ships, quantised anew: figures within a few points on boards as few as these."""
    shipped = Bundle.open(find_default_bundle())
    (tmp_path / "fp32").mkdir()
    for name, content in zip(("model.xml", "model.bin"), shipped.model("fp32"), strict=True):
        (tmp_path / "fp32" / name).write_bytes(content)
    _boards(tmp_path / "boards", 12)
    done = subprocess.run([sys.executable, "-c", _INT8], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    net = Net(CLASSES, InputKind.MONO, 640)
    split = open_for_training(tmp_path / "boards", CLASSES, False)
    shown = list(parts(split, net, 12))
    figures = {}
    for name in ("fp32", "int8"):
        look = Looker(ov.Core().read_model(tmp_path / name / "model.xml"), net)
        figures[name] = pooled_ap33([look(p.defective, None) for p in shown if p.defective is not None], shown, CLASSES)
    assert figures["int8"] > figures["fp32"] - 3, figures
    words = {key: getattr(shipped.card, key) for key in ("name", "version", "licence", "training", "nms_iou")}
    words |= {"measured": {}, "classes": list(CLASSES), "input": "mono", "width": 640, "height": 640}
    words |= {"layout": str(shipped.card.layout), "default_precision": "int8"}
    bundle = make_bundle({"int8": tmp_path / "int8"}, words, tmp_path / "out", shipped.canary().picture)
    detector = OpenVinoDetector(bundle, height=640, width=640, channels=1)
    detector.start(bundle.canary().picture)
    assert detector.wait(30)
    assert {d.defect_class for d in detector.result() if d.score > 0.5} == set(CLASSES)
    detector.close()
    assert "FakeQuantize" in (tmp_path / "int8" / "model.xml").read_text()


def _asked(*words: str | Path) -> Result:
    return CliRunner().invoke(compile_, [os.fspath(w) for w in words])


def test_the_command_makes_a_bundle_of_an_ir(source: Source, data: dict[str, Split], tmp_path: Path) -> None:
    root = data["val"].folder.parent
    common = ("--out", tmp_path / "out", "--classes", "open,short", "--size", "64")
    for words, says in (
        (("--precisions", "fp32"), "name it with --input"),
        (("--precisions", "int4", "--input", "mono"), "choose from fp32, fp16, int8"),
    ):
        refused = _asked(source.ir, root, *common, *words)
        assert refused.exit_code == 1
        assert says in f"{refused.exception} {refused.output}"
        assert not (tmp_path / "out").exists()
    made = _asked(source.ir, root, *common, "--precisions", "fp32", "--input", "mono", "--json")
    assert made.exit_code == 0, made.exception
    again = _asked(tmp_path / "out", root, "--out", tmp_path / "more", "--precisions", "fp32,fp16")
    assert again.exit_code == 0, again.exception
    assert Bundle.open(tmp_path / "more").card.licence == "not said"


def test_sources_that_are_none(tmp_path: Path, data: dict[str, Split]) -> None:
    root = data["val"].folder.parent
    (tmp_path / "empty").mkdir()
    assert "is no bundle" in str(_asked(tmp_path / "empty", root, "--out", tmp_path / "out", "--input", "mono").exception)
    assert "has not both" in str(_asked(find_default_bundle(), root / "val", "--out", tmp_path / "out").exception)
