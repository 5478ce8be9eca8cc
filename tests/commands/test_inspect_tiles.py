"""`inspector inspect` on frames that are larger than the network's input: rendered boards side by side, looked at in tiles."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from inspector.checks import iou
from inspector.commands.inspect import inspect
from inspector.sim.boards import PlantedDefect, Product, board
from inspector.sim.boards_defects import CLASSES
from inspector.sim.boards_layout import FRAME_PX
from inspector.trace import open_reader
from inspector.types import Box, Detection, Pixels, VerdictKind

ACROSS = 2
SIDE = ACROSS * FRAME_PX
LIMIT = 0.5
IN_PLACE = 0.33
"""IoU with the planted box, as DeepPCB's own figures ask for."""


def panel(seed: int, defect_rate: float) -> tuple[Pixels, list[PlantedDefect]]:
    """Boards of one product side by side, and what was planted on them, in px of the panel."""
    picture = np.zeros((SIDE, SIDE), np.uint8)
    planted: list[PlantedDefect] = []
    product = Product(0)
    for number in range(ACROSS**2):
        x, y = number % ACROSS * FRAME_PX, number // ACROSS * FRAME_PX
        one = board(product, number, seed=seed, defect_rate=defect_rate)
        picture[y : y + FRAME_PX, x : x + FRAME_PX] = one.pixels
        planted += [PlantedDefect(d.defect_class, moved(d.box, x, y)) for d in one.defects]
    return picture, planted


def recipe(folder: Path) -> Path:
    rules = "\n".join(f"{name} = {{ limit = {LIMIT} }}" for name in CLASSES)
    path = folder / "panel.toml"
    path.write_text(f"""\
name = "panel"
frame = {{ width = {SIDE}, height = {SIDE} }}
presence = {{ method = "off", why = "boards fill the frame" }}
tiles = {{ largest_px = 60 }}
[classes]
{rules}
""")
    return path


def moved(box: Box, x: int, y: int) -> Box:
    return Box(box.x1 + x, box.y1 + y, box.x2 + x, box.y2 + y)


def found(planted: PlantedDefect, detections: Sequence[Detection]) -> bool:
    near = [d for d in detections if d.score >= LIMIT and iou(d.box, planted.box) > IN_PLACE]
    return planted.defect_class in {d.defect_class for d in near}


@pytest.mark.slow  # compiles the model, and looks at 27 tiles
def test_defects_planted_on_a_panel_are_found_and_a_good_panel_passes(tmp_path: Path) -> None:
    defective, planted = panel(seed=5, defect_rate=1.0)
    good, nothing = panel(seed=5, defect_rate=0.0)
    assert len(planted) >= 4
    assert not nothing
    for name, picture in (("defective", defective), ("good", good)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "panel.png"), picture)
    arguments = [tmp_path / "defective", tmp_path / "good", "--recipe", recipe(tmp_path), "--data", tmp_path / "data", "--json"]
    result = CliRunner().invoke(inspect, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.output.splitlines()[-1])
    assert (figures["parts"], figures["faulted"], figures["escapes"], figures["overkills"]) == (2, 0, 0, 0)
    with open_reader(tmp_path / "data" / "pictures") as reader:
        rows = {row.verdict: row for row in reader.parts(figures["run"])}
        rejected = reader.part(figures["run"], rows[VerdictKind.REJECT].part.sequence)
    assert rejected is not None
    detections = [Detection(name, score, Box(*corners)) for name, score, *corners in rejected.detections]
    missed = [p for p in planted if not found(p, detections)]
    assert len(missed) <= len(planted) // 10, missed
    assert rows[VerdictKind.PASS].source.endswith("good/panel.png")
