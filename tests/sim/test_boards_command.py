"""`board-sim` writes a folder in DeepPCB's layout that agrees with the truth."""

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from inspector.camera.pictures import list_pictures, read_picture
from inspector.commands.board_sim import board_sim
from inspector.sim.boards import Product, board
from inspector.sim.boards_defects import CLASSES


def test_a_folder_in_deeppcb_layout(tmp_path: Path) -> None:
    done = CliRunner().invoke(board_sim, [str(tmp_path / "new"), "--count", "6", "--defect-rate", "0.6", "--seed", "2", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output.splitlines()[-1])
    truth = [board(Product(0), number, seed=2, defect_rate=0.6) for number in range(6)]
    defective = [number for number, part in enumerate(truth) if part.defects]
    assert 0 < len(defective) < 6
    assert (told["good"], told["defective"]) == (6, len(defective))
    assert len(list_pictures(tmp_path / "new")) == 6 + len(defective)
    for number in defective:
        assert np.array_equal(read_picture(tmp_path / "new/defective" / f"{number:06d}.png"), truth[number].pixels)
        rows = (tmp_path / "new/labels" / f"{number:06d}.txt").read_text().splitlines()
        assert [CLASSES[int(row.split()[0])] for row in rows] == [defect.defect_class for defect in truth[number].defects]
        for row, defect in zip(rows, truth[number].defects, strict=True):
            cx, cy, w, h = (float(value) * 640 for value in row.split()[1:])
            assert abs(cx - w / 2 - defect.box.x1) < 0.01
            assert abs(cy + h / 2 - defect.box.y2) < 0.01


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "a.png").touch()
    done = CliRunner().invoke(board_sim, [str(tmp_path), "--count", "1"])
    assert done.exit_code == 1
    assert "not empty" in done.output
