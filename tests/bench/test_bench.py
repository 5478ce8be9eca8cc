"""The bench runs on real parts and stores what `inspector check` reads; how fast it finds them is not tested."""

from pathlib import Path

import pytest

from inspector.bench import line, station
from inspector.bench.spread import Spread
from inspector.commands.check import time_budget
from inspector.config import StationConfig
from inspector.errors import ArchiveError, ConfigError, LineError
from inspector.sim.boards import Product
from inspector.sim.demo_files import DemoWiring, write_demo_files
from inspector.sim.plc_process import PlcSimOptions, PlcSimProcess
from inspector.timing import Measured
from inspector.trace import SqliteArchive


def test_a_spread_is_that_of_its_durations() -> None:
    spread = Spread.of([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (spread.n, spread.p50, spread.max) == (5, 3.0, 100.0)
    assert 4.0 < spread.p99 <= spread.p999 <= 100.0
    with pytest.raises(ValueError, match="nothing was measured"):
        Spread.of([])


def demo_config(folder: Path, port: int) -> StationConfig:
    wiring = DemoWiring(port, "ipc:///nowhere-frames", "ipc:///nowhere-control")
    return StationConfig.load(write_demo_files(folder, Product(0), wiring, 120.0))


@pytest.mark.slow  # compiles the model
def test_a_station_s_own_figures_are_stored_and_add_up_to_its_time_budget(tmp_path: Path) -> None:
    with PlcSimProcess(PlcSimOptions(wait_ready=True)) as plc:
        config = demo_config(tmp_path / "station", plc.port)
        figures = station.measure(config, tmp_path / "data", count=20)
    assert (figures.infer.n, figures.plc.n) == (20, 20)
    assert Measured.load(tmp_path / "data") == figures.measured
    budget = time_budget(config, tmp_path / "data")
    assert budget.infer_p999_ms == figures.infer.p999
    assert not list((tmp_path / "data").glob("bare.db*"))


def test_a_running_station_and_an_absent_plc_are_refused(tmp_path: Path) -> None:
    config = demo_config(tmp_path / "station", 1)
    running = SqliteArchive(tmp_path / "data")
    try:
        with pytest.raises(ArchiveError, match=r"in use|another"):
            station.measure(config, tmp_path / "data", count=20)
    finally:
        running.close()
    with pytest.raises(LineError, match="refuses the connection"):
        station.measure(config, tmp_path / "data", count=20)
    with pytest.raises(ConfigError, match=r"bench\.json"):
        Measured.load(tmp_path / "data")


@pytest.mark.slow  # a belt of real time
def test_the_line_is_measured_verdict_by_verdict(tmp_path: Path) -> None:
    figures = line.measure(tmp_path, parts=12)
    assert (figures.reject.n, figures.passed.n) == (6, 6)
    assert figures.bare_write.n > 6
    assert 0 < figures.reject.p50 < 500
