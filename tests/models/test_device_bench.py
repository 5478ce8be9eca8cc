"""The bench of devices: real processes on a network whose answer is known, and what becomes of one that fails, hangs or dies."""

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
import pytest
from click.testing import CliRunner
from openvino import opset15 as op

from inspector.bundle import Bundle, card_hash
from inspector.cli import cli
from inspector.errors import InspectorError
from models import device_bench
from models.device_bench import Case, Failed, Figures, cases, measure, recommend

SIDE = 64
FRAMES = [np.full((SIDE, SIDE), value, np.uint8) for value in (10, 200)]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A network that answers one box whatever it sees; its second precision names a file that is no network."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    image = op.parameter([1, 3, SIDE, SIDE], np.float32, name="image")
    nothing = op.multiply(op.reduce_sum(image, op.constant(np.array([0, 1, 2, 3], np.int64)), False), op.constant(np.float32(0)))
    table = np.array([32, 32, 10, 8, 0.8], np.float32).reshape(1, 5, 1)
    ov.save_model(ov.Model([op.add(op.constant(table), nothing)], [image], "tiny"), folder / "model.xml", compress_to_fp16=False)
    (folder / "broken.xml").write_text("<net/>")
    cv2.imwrite(str(folder / "canary.png"), FRAMES[0])
    names = ["canary.png", "model.xml", "model.bin", "broken.xml"]
    card: dict[str, Any] = {
        "format": 1,
        "name": "tiny",
        "version": "1",
        "classes": ["open"],
        "input": "mono",
        "width": SIDE,
        "height": SIDE,
        "layout": "centre-size with classes, needs NMS",
        "nms_iou": 0.7,
        "precisions": {
            "fp32": {"model": "model.xml", "weights": "model.bin"},
            "int8": {"model": "broken.xml", "weights": "model.bin"},
        },
        "default_precision": "fp32",
        "canary": {
            "picture": "canary.png",
            "min_iou": 0.5,
            "score_tolerance": 0.15,
            "detections": [{"defect_class": "open", "score": 0.9, "box": [1.0, 1.0, 9.0, 9.0]}],
        },
        "licence": "none",
        "training": "none",
        "measured": {},
        "files": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names},
    }
    (folder / "card.json").write_text(json.dumps(card | {"sha256": card_hash(card)}))
    return Bundle.open(folder)


def _figures(device: str, p99_ms: float) -> Figures:
    return Figures(device, "int8", f"{device} int8/f32", 10, 1.0, p99_ms, p99_ms, 100.0, 50.0, 900.0, 300.0)


def test_the_smallest_p99_is_recommended() -> None:
    slow_mean_sure_tail, other = _figures("CPU", 20.0), _figures("GPU", 25.0)
    assert recommend([other, Failed("NPU", "int8", "no driver"), slow_mean_sure_tail]) is slow_mean_sure_tail
    assert recommend([Failed("NPU", "int8", "no driver")]) is None
    assert recommend([]) is None


@pytest.mark.slow
def test_one_that_runs_and_one_that_does_not(bundle: Bundle, tmp_path: Path) -> None:
    """By the command; four processes that load OpenVINO."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n, frame in enumerate(FRAMES):
        cv2.imwrite(str(folder / f"{n}.png"), frame)
    options = ["--bundle", str(bundle.folder), "--pictures", str(folder), "--device", "CPU", "--rounds", "3", "--json"]
    done = CliRunner().invoke(cli, ["model", "bench", *options])
    assert done.exit_code == 0, done.output
    d = json.loads(done.output.splitlines()[-1])
    fp32, int8 = d["measured"]
    assert d["recommended"] == {"device": "CPU", "precision": "fp32"}
    assert fp32["pictures"] == 6
    assert 0 < fp32["p50_ms"] <= fp32["p99_ms"] <= fp32["max_ms"]
    assert fp32["pictures_per_s"] <= 1000 / (fp32["p50_ms"] / 2)
    assert fp32["compile_cold_ms"] > 0
    assert fp32["compile_warm_ms"] > 0
    assert fp32["memory_mb"] is None or 0 < fp32["memory_mb"] < 1000
    assert fp32["runs_as"].startswith("CPU fp32/")
    assert "cannot read the model" in int8["problem"]
    assert "\n" not in int8["problem"]
    assert "int8    cannot be used" in done.output


def test_one_that_hangs_is_ended(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_bench, "OPEN_S", 0.01)
    monkeypatch.setattr(device_bench, "_END_S", 0.01)
    (failed,) = measure(bundle, FRAMES, [Case("CPU", "fp32")], rounds=2)
    assert isinstance(failed, Failed)
    assert "no answer within" in failed.problem


def test_one_that_dies_is_told(bundle: Bundle, tmp_path: Path) -> None:
    run = device_bench._Run(Case("CPU", "fp32"), bundle.folder, tmp_path / "nothing.npy", tmp_path / "cache")
    run.open()
    run.round(1.0)
    run.close()
    failed = run.figures()
    assert isinstance(failed, Failed)
    assert failed.problem == "its process died (exit status 1)"


def test_what_is_not_there(bundle: Bundle, tmp_path: Path) -> None:
    assert cases(bundle, "CPU") == [Case("CPU", "fp32"), Case("CPU", "int8")]
    assert cases(bundle, "CPU", "int8") == [Case("CPU", "int8")]
    with pytest.raises(InspectorError, match=r"device TPU is not there; choose one of .*CPU"):
        cases(bundle, "TPU")
    with pytest.raises(InspectorError, match="has no precision int3; choose one of fp32, int8"):
        cases(bundle, "CPU", "int3")
    with pytest.raises(InspectorError, match="0 pictures"):
        measure(bundle, [], [Case("CPU", "fp32")], rounds=1)
    with pytest.raises(InspectorError, match="all of one size"):
        measure(bundle, [FRAMES[0], FRAMES[0][:32]], [Case("CPU", "fp32")], rounds=1)
    for n, frame in enumerate((FRAMES[0], FRAMES[0][:32])):
        cv2.imwrite(str(tmp_path / f"{n}.png"), frame)
    done = CliRunner().invoke(cli, ["model", "bench", "--bundle", str(bundle.folder), "--pictures", str(tmp_path)])
    assert isinstance(done.exception, InspectorError)
    assert "1.png: has another size than 0.png" in str(done.exception)
