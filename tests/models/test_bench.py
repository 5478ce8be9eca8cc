"""How boxes are held against each other, and pictures found, in the comparison with ultralytics (which the tests do not need)."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from inspector.types import Box, Detection
from models.bench import Agreement, agree, main


def _d(x: float, score: float, name: str = "short") -> Detection:
    return Detection(name, score, Box(x, 0, x + 10, 10))


def test_the_same_boxes_agree() -> None:
    found = [_d(0, 0.9), _d(50, 0.5), _d(90, 0.26, "open")]
    assert agree(found, list(reversed(found))) == Agreement(3, 0, 0.0, 0.0)


def test_small_differences_agree_and_are_told() -> None:
    result = agree([_d(0, 0.9)], [_d(0.75, 0.895)])
    assert (result.boxes, result.unmatched, result.worst_px) == (1, 0, 0.75)
    assert result.worst_score == pytest.approx(0.005)


@pytest.mark.parametrize("other", [_d(1.5, 0.9), _d(0, 0.88), _d(0, 0.9, "open")], ids=["place", "score", "class"])
def test_other_boxes_do_not_agree(other: Detection) -> None:
    assert agree([_d(0, 0.9)], [other]).unmatched == 2


def test_a_partner_serves_once() -> None:
    assert agree([_d(0, 0.9), _d(0.1, 0.9)], [_d(0, 0.9)]).unmatched == 1


def test_the_limit_makes_no_difference_by_itself() -> None:
    assert agree([_d(0, 0.251)], [_d(0, 0.249)]).unmatched == 0
    assert agree([_d(0, 0.245)], []).unmatched == 0
    assert agree([], [_d(0, 0.25)]).unmatched == 1


def test_agreements_add_up() -> None:
    assert Agreement(3, 1, 0.5, 0.001) + Agreement(2, 0, 0.1, 0.002) == Agreement(5, 1, 0.5, 0.002)


def test_pictures_of_two_sizes_are_refused(tmp_path: Path) -> None:
    for n, side in enumerate((32, 64)):
        cv2.imwrite(str(tmp_path / f"{n}.png"), np.zeros((side, side), np.uint8))
    result = CliRunner().invoke(main, ["--pictures", str(tmp_path)])
    assert result.exit_code == 1
    assert "of one size expected" in result.output
