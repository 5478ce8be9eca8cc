"""A small network in a bundle, a store of releases, and ways to fill it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
import pytest
from click.testing import CliRunner, Result
from openvino import opset15 as op

from inspector.bundle import Bundle
from inspector.cli import cli
from inspector.ports import DetectorInfo
from inspector.recipe import load
from models.make_bundle import make_bundle
from models.releases import Candidate, Installed, Store

SIDE = 64
RUNTIME = "OpenVINO 2099.1"
INFO = DetectorInfo("CPU", "fp32/f32", ("open", "short"), RUNTIME)
RECIPE = """
name = "board"
frame = {{ width = 64, height = 64 }}
presence = {{ method = "off", why = "for tests" }}
classes = {{ open = {{ limit = {limit}, severity = "critical" }}, short = {{ limit = 0.5 }} }}
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A network that says "open" in the middle of every picture, as surely as its brightest pixel is bright (250: 0.88)."""
    folder = tmp_path_factory.mktemp("bundle")
    image = op.parameter([1, 3, SIDE, SIDE], np.float32, name="image")
    brightest = op.reduce_max(image, op.constant(np.array([1, 2, 3], np.int64)), False)
    score = op.reshape(op.multiply(brightest, op.constant(np.float32(0.9))), op.constant(np.array([1, 1, 1], np.int64)), False)
    box = op.constant(np.array([32, 32, 10, 8], np.float32).reshape(1, 4, 1))
    ir = folder / "ir"
    ir.mkdir()
    answer = op.concat([box, score, op.constant(np.zeros((1, 1, 1), np.float32))], 1)
    ov.save_model(ov.Model([answer], [image], "tiny"), ir / "model.xml", compress_to_fp16=False)
    words: dict[str, Any] = {"name": "tiny", "version": "1", "classes": ["open", "short"], "input": "mono", "width": SIDE, "height": SIDE}
    words |= {"layout": "centre-size with classes, needs NMS", "nms_iou": 0.7, "default_precision": "fp32"}
    words |= {"licence": "none", "training": "none", "measured": {}}
    return make_bundle({"fp32": ir}, words, folder / "tiny", np.full((SIDE, SIDE), 250, np.uint8))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


Install = Callable[..., Installed]


@pytest.fixture
def install(store: Store, bundle: Bundle, tmp_path: Path) -> Install:
    """install(limit, passed=…, against=…) → a release of the recipe with that limit; passed=None leaves it without a gate."""

    def make(limit: float, passed: bool | None = True, against: str | None = None, name: str = "board") -> Installed:
        path = tmp_path / f"{name}-{limit}.toml"
        path.write_text(RECIPE.format(limit=limit).replace('"board"', f'"{name}"'))
        made = store.install(Candidate(path, load(path), bundle, INFO, "CPU", "fp32"), "mia")
        if passed is not None:
            store.keep_gate(made, _gate(passed, against), "<html>")
        return made

    return make


@pytest.fixture
def make_gate() -> Callable[..., dict[str, Any]]:
    """make_gate(passed, against, …) → what a gate leaves behind."""
    return _gate


def _gate(passed: bool, against: str | None, **more: object) -> dict[str, Any]:
    found = [{"rule": "escapes", "ok": passed, "text": "3 of 3 defective boards pass"}]
    ran = {"device": INFO.device, "precision": INFO.precision, "runtime": RUNTIME}
    rest: dict[str, Any] = {
        "golden_sha256": "0" * 64,
        "utc": "2026-01-31T12:00:00Z",
        "by": "mia",
        "limits": {},
        "evaluation": {},
        "active_evaluation": None,
    }
    return {"passed": passed, "against": against, "findings": found, "flips": []} | ran | rest | more


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """Four boards of 64 px with a bright spot in the middle, and their good twins."""
    folder = tmp_path / "golden"
    for kind in ("defective", "good", "labels"):
        (folder / kind).mkdir(parents=True)
    for k in range(4):
        pixels = np.full((SIDE, SIDE), 30 + k, np.uint8)
        cv2.imwrite(str(folder / "good" / f"{k}.png"), pixels)
        pixels[28:36, 27:37] = 250
        cv2.imwrite(str(folder / "defective" / f"{k}.png"), pixels)
        (folder / "labels" / f"{k}.txt").write_text("0 0.5 0.5 0.15625 0.125")
    return folder


Command = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path, bundle: Bundle, golden: Path) -> Command:
    """command("gate", "0.5", …) → what `inspector model gate` with a recipe of that limit does; others as they are."""
    data = ["--data", str(tmp_path / "data")]

    def invoke(*arguments: str, limits: bool = True, folder: Path = bundle.folder) -> Result:
        if arguments[0] == "gate":
            path = tmp_path / f"{arguments[1]}.toml"
            path.write_text(RECIPE.format(limit=arguments[1]))
            bounds = ["--escapes-upper", "0.6", "--overkills-upper", "0.6"] if limits else []
            arguments = ("gate", str(path), "--bundle", str(folder), "--golden", str(golden), *bounds, *arguments[2:])
        return CliRunner().invoke(cli, ["model", *arguments, *([] if arguments[0] == "golden" else data)])

    return invoke
