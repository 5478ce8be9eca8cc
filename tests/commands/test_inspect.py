"""`inspector inspect` as a person calls it, with the bundle and the recipe that ship."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from inspector import cli
from inspector.commands.board_sim import board_sim
from inspector.commands.inspect import inspect
from inspector.trace import PartRow, SqliteArchive, open_reader, verify
from inspector.types import PartKind, VerdictKind

COUNT = 3
KEYS = {"parts", "passed", "rejected", "faulted", "device", "precision", "release", "run", "presence", "infer_ms"}
TRUTH_KEYS = {"defective", "good", "escapes", "overkills"}


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered boards: defective/ and good/."""
    folder = tmp_path_factory.mktemp("boards")
    result = CliRunner().invoke(board_sim, [str(folder), "--count", str(COUNT), "--defect-rate", "1"])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data folder for all: the compiled model is kept there. Every call makes a run of its own."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def call(data: Path) -> Callable[..., Result]:
    def invoke(*arguments: str | Path) -> Result:
        result = CliRunner().invoke(inspect, [*map(str, arguments), "--data", str(data)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def last_json(result: Result) -> dict[str, Any]:
    figures = json.loads(result.output.splitlines()[-1])
    assert isinstance(figures, dict)
    return figures


def rows_of(data: Path, run: int) -> list[PartRow]:
    with open_reader(data / "pictures") as reader:
        return reader.parts(run, limit=1000)


@pytest.mark.slow  # compiles the model, which the tests after it find in the cache
def test_rendered_boards_are_judged_counted_and_recorded(call: Callable[..., Result], boards: Path, data: Path, tmp_path: Path) -> None:
    result = call(boards / "defective", boards / "good", "--json", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    figures = last_json(result)
    assert set(figures) == KEYS | TRUTH_KEYS
    assert figures["parts"] == 2 * COUNT == figures["passed"] + figures["rejected"] + figures["faulted"]
    assert (figures["defective"], figures["good"], figures["faulted"]) == (COUNT, COUNT, 0)
    assert figures["escapes"] == 0
    rows = rows_of(data, figures["run"])
    assert {row.kind for row in rows} == {PartKind.TEST}
    assert {Path(row.source).parent.name for row in rows} == {"defective", "good"}
    assert sum(row.verdict is VerdictKind.REJECT for row in rows) == figures["rejected"]
    assert all(row.release == figures["release"] for row in rows)
    drawn = sorted((tmp_path / "out" / "defective").iterdir())
    assert [path.name for path in drawn] == [f"{n:06d}-reject.png" for n in range(COUNT)]
    colours = cv2.imread(str(drawn[0]))
    assert colours is not None
    assert (np.ptp(colours, axis=2) > 100).any(), "the boxes are drawn in colour"
    assert verify(data / "pictures", pictures=True).ok


def test_a_folder_with_defective_and_good_is_taken_whole(call: Callable[..., Result], boards: Path) -> None:
    figures = last_json(call(boards, "--json"))
    assert (figures["defective"], figures["good"]) == (COUNT, COUNT)


def test_a_single_picture_has_no_truth_and_a_verdict_line(call: Callable[..., Result], boards: Path) -> None:
    path = boards / "good" / "000000.png"
    result = call(path, "--json")
    assert result.exit_code == 0
    assert set(last_json(result)) == KEYS
    assert f"{path}: PASS" in result.output


def test_the_runs_of_one_data_folder_grow(call: Callable[..., Result], boards: Path) -> None:
    first, second = (last_json(call(boards / "good" / "000000.png", "--json")) for _ in range(2))
    assert second["run"] == first["run"] + 1


def write(path: Path, pixels: np.ndarray[Any, Any]) -> Path:
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return path


def test_every_picture_that_cannot_be_used_is_a_fault_that_names_it(
    call: Callable[..., Result], boards: Path, data: Path, tmp_path: Path
) -> None:
    good = (boards / "good" / "000000.png").read_bytes()
    grey = cv2.imdecode(np.frombuffer(good, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a-good.png").write_bytes(good)
    (folder / "empty.png").write_bytes(b"")
    (folder / "unreadable.png").write_bytes(b"no picture at all")
    (folder / "truncated.png").write_bytes(good[: len(good) // 2])
    write(folder / "small.png", np.ascontiguousarray(grey[:320, :320]))
    write(folder / "deep.png", grey.astype(np.uint16) * 257)
    write(folder / "alpha.png", np.dstack([grey] * 4))
    (folder / "z-good.png").write_bytes(good)
    result = call(folder, "--json")
    assert result.exit_code == 1
    figures = last_json(result)
    assert (figures["parts"], figures["passed"], figures["faulted"]) == (8, 2, 6)
    lines = {Path(line.partition(": ")[0]).name: line for line in result.output.splitlines() if line.startswith(str(folder))}
    words = {
        "empty": "is empty",
        "unreadable": "not a picture",
        "truncated": "truncated",
        "small": "320x320",
        "deep": "16 bit",
        "alpha": "alpha",
    }
    for name, word in words.items():
        assert ": FAULT (" in lines[f"{name}.png"]
        assert word in lines[f"{name}.png"]
    faults = [row for row in rows_of(data, figures["run"]) if row.verdict is VerdictKind.FAULT]
    assert {Path(row.source).stem for row in faults} == set(words)
    assert {row.reasons[0]["code"] for row in faults} == {"bad frame"}


def test_sixteen_bits_are_scaled_only_on_purpose(call: Callable[..., Result], boards: Path, tmp_path: Path) -> None:
    grey = cv2.imread(str(boards / "good" / "000000.png"), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    path = write(tmp_path / "deep.png", grey.astype(np.uint16) * 257)
    result = call(path, "--sixteen-bit", "scale", "--json")
    assert result.exit_code == 0, result.output
    assert last_json(result)["passed"] == 1


def one_line(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What `inspector inspect` says on standard error when it refuses."""
    monkeypatch.setattr(sys, "argv", ["inspector", "inspect", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("inspector: ")
    assert said.count("\n") == 1, said
    return said


def test_a_folder_without_pictures_is_refused_in_one_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = one_line([str(tmp_path), "--data", str(data)], monkeypatch, capsys)
    assert f"{tmp_path}: holds no picture" in said


def test_when_no_picture_can_be_read_nothing_starts(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    said = one_line([str(tmp_path), "--data", str(data)], monkeypatch, capsys)
    assert "none can be used" in said
    assert "broken.png" in said


def test_a_recipe_for_other_classes_is_refused_in_one_line(
    boards: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "other.toml"
    presence = 'presence = { method = "off", why = "test" }'
    recipe.write_text(f'name = "other"\nframe = {{ width = 640, height = 640 }}\n{presence}\n[classes]\ndent = {{ limit = 0.5 }}\n')
    said = one_line([str(boards / "good"), "--recipe", str(recipe), "--data", str(data)], monkeypatch, capsys)
    assert "classes dent are unknown to the model" in said


def test_an_archive_in_use_is_refused_in_one_line(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = SqliteArchive(tmp_path / "pictures")
    try:
        said = one_line([str(boards / "good"), "--data", str(tmp_path)], monkeypatch, capsys)
    finally:
        archive.close()
    assert "in use by another station" in said


def test_a_path_that_does_not_exist_is_a_usage_error(call: Callable[..., Result], tmp_path: Path) -> None:
    result = call(tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "does not exist" in result.output


@pytest.mark.slow
def test_real_boards_end_to_end(call: Callable[..., Result], deeppcb_dir: Path, data: Path) -> None:
    """Ten boards of the validation split and their good twins; what they show is in the README, here only that it is plausible."""
    pictures = [path for kind in ("defective", "good") for path in sorted((deeppcb_dir / "val" / kind).iterdir())[:10]]
    result = call(*pictures, "--json")
    assert result.exit_code == 0, result.output
    figures = last_json(result)
    assert (figures["parts"], figures["defective"], figures["good"], figures["faulted"]) == (20, 10, 10, 0)
    assert figures["escapes"] <= 1
    assert figures["overkills"] <= 3
    rows = rows_of(data, figures["run"])
    assert len(rows) == 20
    with open_reader(data / "pictures") as reader:
        rejected = next(row for row in rows if row.verdict is VerdictKind.REJECT)
        record = reader.part(rejected.part.run, rejected.part.sequence)
    assert record is not None
    assert record.picture is not None, "the picture of a reject is kept"
    assert record.detections


def test_colour_frames_are_no_food_for_a_mono_model(
    boards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = one_line([str(boards / "good" / "000000.png"), "--pixel", "bgr"], monkeypatch, capsys)
    assert "--pixel bgr: the bundle looks at mono pictures" in said
