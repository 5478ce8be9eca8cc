"""`inspector demo`: a whole line in four processes, and what it says when one of them does not come up."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from inspector.commands import demo as demo_module
from inspector.commands.demo import demo
from inspector.errors import CameraError, InspectorError
from inspector.trace import SqliteArchive, open_reader, verify

PARTS = 12


@pytest.mark.slow
def test_the_demo_accounts_for_every_part(tmp_path: Path) -> None:
    """PLC simulator, camera, station and this comparison, each a process of its own."""
    command = [sys.executable, "-m", "inspector", "demo", "--headless", "--parts", str(PARTS), "--rate", "240", "--odd-rate", "0.2"]
    done = subprocess.run([*command, "--json", "--data", str(tmp_path)], capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    counts = {"parts", "passed", "rejected", "faulted", "unaccounted", "plc_mismatches", "escapes", "overkills", "wrong_lane"}
    assert set(figures) == counts | {"latency_ms", "infer_ms", "device", "precision"}
    assert set(figures["latency_ms"]) == {"p50", "p99", "max"}
    assert set(figures["infer_ms"]) == {"p50", "p99"}
    assert figures["parts"] == PARTS == figures["passed"] + figures["rejected"] + figures["faulted"]
    assert [figures[name] for name in ("unaccounted", "plc_mismatches", "wrong_lane")] == [0, 0, 0]
    assert figures["passed"] > 0, "the line works: not everything is rejected"
    assert figures["latency_ms"]["p50"] > 0
    assert figures["device"] == "CPU"
    with open_reader(tmp_path / "demo") as reader:
        assert len(reader.parts(limit=1000)) == PARTS
    assert verify(tmp_path / "demo").ok


@pytest.mark.slow
def test_a_station_that_does_not_come_up_is_named_with_its_last_words(tmp_path: Path) -> None:
    """Its archive is in use; camera and PLC are ended all the same (the leak check of these tests looks for them)."""
    archive = SqliteArchive(tmp_path / "demo")
    try:
        result = CliRunner().invoke(demo, ["--headless", "--parts", "1", "--data", str(tmp_path)])
    finally:
        archive.close()
    assert isinstance(result.exception, InspectorError)
    assert "the station did not start: inspector: " in str(result.exception)
    assert "in use by another station" in str(result.exception)


@pytest.mark.parametrize(("display", "words"), [(":0", "there are no screens yet"), ("", "there is no display")])
def test_without_headless_it_says_why_nothing_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, display: str, words: str) -> None:
    def unplugged(*_: object) -> None:
        raise CameraError("simulated camera: did not start")

    monkeypatch.setattr(demo_module, "BoardCameraProcess", unplugged)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    result = CliRunner().invoke(demo, ["--parts", "1", "--data", str(tmp_path)])
    assert words in result.output
    assert isinstance(result.exception, CameraError)


def test_a_rate_that_the_belt_cannot_carry_is_a_usage_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(demo, ["--headless", "--rate", "100000", "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert "--rate" in result.output
