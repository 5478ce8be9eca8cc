"""The time budget: what was measured, for what it holds, and the sum."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import ConfigError
from inspector.timing import FILE, Measured, TimeBudget

MEASURED = Measured(18.5, 2.25, "2026-01-31T12:00:00.000000Z", "a" * 64, "CPU", "int8", 640, 480)
NOW: dict[str, Any] = {"bundle_sha256": "a" * 64, "device": "CPU", "precision": "int8", "frame_width": 640, "frame_height": 480}
BUDGET = TimeBudget(2.0, 20.0, 18.5, 2.5, 60.0, 412.0, 352.0)

TIMES = st.floats(0, 1e6)


def test_measured_is_read_as_it_was_saved(tmp_path: Path) -> None:
    assert MEASURED.save(tmp_path / "new") == tmp_path / "new" / FILE
    assert Measured.load(tmp_path / "new") == MEASURED
    replace(MEASURED, device="GPU.0").save(tmp_path / "new")
    assert Measured.load(tmp_path / "new").device == "GPU.0"
    assert [path.name for path in (tmp_path / "new").iterdir()] == [FILE]


def test_absent_figures_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"bench\.json: is not there, .*: run `inspector bench STATION\.toml`"):
        Measured.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("infer_p999_ms", -1, "infer_p999_ms"),
        ("infer_p999_ms", "18", "infer_p999_ms"),
        ("line_p999_ms", None, "line_p999_ms"),
        ("frame_width", 0, "frame_width"),
        ("device", "", "device"),
        ("extra", 1, "extra"),
        ("line_p999_ms", float("nan"), "line_p999_ms"),
    ],
)
def test_figures_that_make_no_sense_name_the_key_and_the_command(tmp_path: Path, key: str, value: object, told: str) -> None:
    (tmp_path / FILE).write_text(json.dumps({**asdict(MEASURED), key: value}))
    with pytest.raises(ConfigError, match=rf"{told}: .*: run `inspector bench STATION\.toml` anew"):
        Measured.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"infer_p999_ms": 1'])
def test_torn_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ConfigError, match="inspector bench"):
        Measured.load(tmp_path)


def test_places_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        Measured.load(tmp_path)
    with pytest.raises(ConfigError, match="cannot be written"):
        MEASURED.save(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        MEASURED.save(tmp_path / "file")


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), -1.0])
def test_figures_that_make_no_sense_are_not_saved(tmp_path: Path, figure: float) -> None:
    MEASURED.save(tmp_path)
    with pytest.raises(ConfigError, match="not written"):
        replace(MEASURED, infer_p999_ms=figure).save(tmp_path)
    assert Measured.load(tmp_path) == MEASURED


def test_figures_hold_for_what_they_were_measured_for() -> None:
    MEASURED.require(**NOW)
    replace(MEASURED, device="GPU.0").require(**{**NOW, "device": "GPU"})


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("bundle_sha256", "b" * 64, "bundle aaaaaaaaaaaa, now bbbbbbbbbbbb"),
        ("device", "GPU", "device CPU, now GPU"),
        ("precision", "fp32", "precision int8, now fp32"),
        ("frame_height", 481, "frame size 640x480, now 640x481"),
    ],
)
def test_figures_for_something_else_are_refused(key: str, value: object, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"measured for {told}: run `inspector bench STATION\.toml` anew"):
        MEASURED.require(**{**NOW, key: value})


def test_inference_is_counted_once_for_each_tile_and_never_less_than_measured() -> None:
    assert MEASURED.infer_ms(1) == 18.5
    assert MEASURED.infer_ms(20) == 370.0
    assert replace(MEASURED, tiles=20).infer_ms(20) == 18.5
    assert replace(MEASURED, tiles=20).infer_ms(30) == pytest.approx(27.75)
    assert replace(MEASURED, tiles=20).infer_ms(1) == 18.5


def test_figures_from_before_there_were_tiles_are_read(tmp_path: Path) -> None:
    path = MEASURED.save(tmp_path)
    path.write_text(json.dumps({key: value for key, value in asdict(MEASURED).items() if key != "tiles"}))
    assert Measured.load(tmp_path) == MEASURED


@given(TIMES, TIMES, TIMES, TIMES, TIMES, TIMES, TIMES)
def test_budget_is_a_sum_that_nobody_gains_from_adding_to(
    a: float, b: float, c: float, d: float, gate: float, travel: float, more: float
) -> None:
    budget = TimeBudget(a, b, c, d, gate, travel, travel - gate)
    assert budget.margin_ms == pytest.approx(travel - (a + b + c + d + gate), abs=1e-6)
    assert budget.ok == (budget.margin_ms >= 0)
    for key in ("exposure_ms", "transfer_ms", "infer_p999_ms", "line_p999_ms"):
        assert replace(budget, **{key: getattr(budget, key) + more}).margin_ms <= budget.margin_ms


def test_an_earlier_deadline_leaves_less() -> None:
    assert BUDGET.margin_ms == pytest.approx(309.0)
    assert replace(BUDGET, deadline_ms=43.0).margin_ms == pytest.approx(0.0)
    assert replace(BUDGET, deadline_ms=42.9).ok is False


def test_text_for_people() -> None:
    assert BUDGET.summary() == "needs 103.0 ms of 412.0 ms, margin 309.0 ms"
    assert "slow the belt down" in replace(BUDGET, travel_ms=100.0).summary()
    assert BUDGET.lines()[0] == "exposure                    2.0 ms"
    assert len({len(line) for line in BUDGET.lines()}) == 1
    assert replace(BUDGET, tiles=20).lines()[2] == "inference, 20 tiles        18.5 ms"
