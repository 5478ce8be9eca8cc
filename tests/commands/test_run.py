"""`inspector run` as a service manager sees it: a process that comes up, answers, and ends safely."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from inspector.clock import now_ns
from inspector.commands.run import run
from inspector.errors import CommandRefused, ConfigError, LinkError
from inspector.line.registers import READY
from inspector.link.address import socket_path
from inspector.link.client import LinkClient
from inspector.sim.board_camera_process import BoardCameraProcess
from inspector.sim.boards import Product
from inspector.sim.demo_files import DemoWiring, write_demo_files
from inspector.sim.plc_logic import PlcLogic
from inspector.sim.plc_thread import HandPlc
from inspector.trace import open_reader, verify
from inspector.types import StationState, Status

START_S = 30.0


@dataclass
class Service:
    """A running `inspector run`, its PLC, and a screen's connection to it."""

    process: subprocess.Popen[str]
    plc: HandPlc
    link: LinkClient
    data: Path

    def until(self, holds: Callable[[Status], bool]) -> Status:
        give_up = time.monotonic() + START_S
        while time.monotonic() < give_up:
            assert self.process.poll() is None, self.process.communicate()
            try:
                status = self.link.status()
            except LinkError:
                time.sleep(0.05)
                continue
            if holds(status):
                return status
            time.sleep(0.02)
        raise AssertionError(f"it never came true: {self.link.status()}")

    def end(self, number: int) -> str:
        """Send the signal; what the station said. Fails unless it ends with status 0."""
        self.process.send_signal(number)
        said, wrong = self.process.communicate(timeout=15)
        assert self.process.returncode == 0, wrong
        assert "Traceback" not in wrong
        return said


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data folder: the compiled model is kept there."""
    return tmp_path_factory.mktemp("station")


@pytest.fixture
def plc() -> Iterator[HandPlc]:
    with HandPlc(PlcLogic(epoch=int(time.time()))) as one:
        yield one


@pytest.fixture
def start(plc: HandPlc, data: Path, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts the station on this PLC and a simulated camera; broken(folder) may spoil its files first."""
    with BoardCameraProcess() as camera:
        made: list[Service] = []

        def begin(*options: str, broken: Callable[[Path], None] = lambda _: None) -> Service:
            toml = write_demo_files(tmp_path, Product(0), DemoWiring(plc.port, camera.frames, camera.control), 60)
            broken(tmp_path)
            command = [sys.executable, "-m", "inspector", "run", str(toml), "--data", str(data), *options]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            made.append(Service(process, plc, LinkClient(socket_path(data)), data))
            return made[-1]

        yield begin
        for service in made:
            service.link.close()
            service.process.kill()
            service.process.communicate()


def ready(plc: HandPlc) -> bool:
    return plc.call(lambda logic: logic.ready(now_ns()))


@pytest.mark.slow
def test_sigterm_ends_it_with_ready_low_and_everything_recorded(start: Callable[..., Service]) -> None:
    service = start()
    status = service.until(lambda status: status.state is StationState.RUNNING)
    assert ready(service.plc)
    number = service.plc.trigger()
    service.until(lambda status: status.balances.triggers == 1)
    said = service.end(signal.SIGTERM)
    assert not ready(service.plc)
    assert service.plc.call(lambda logic: logic.read(READY, 1, now_ns())) == [0], "said low, not only a heartbeat that stopped"
    assert f"run {status.run}" in said
    assert "station ended: READY low as far as the PLC could be reached, everything recorded" in said
    with open_reader(service.data) as reader:
        assert [row.part.sequence for row in reader.parts(status.run)] == [number]
        assert reader.station_events(status.run or 0)[-1].kind == "run ended"
    assert verify(service.data).ok


@pytest.mark.slow
def test_stopped_it_waits_for_start_and_shutdown_ends_it(start: Callable[..., Service]) -> None:
    service = start("--stopped")
    service.until(lambda status: status.state is StationState.STOPPED and all(h.ok for h in status.health if h.name != "canary"))
    assert not ready(service.plc)
    assert "started" in service.link.command("start", {}, "test")
    service.until(lambda status: status.state is StationState.RUNNING)
    assert "shutting down" in service.link.command("shutdown", {}, "test")
    said, wrong = service.process.communicate(timeout=15)
    assert service.process.returncode == 0, wrong
    assert "READY low" in said


@pytest.mark.slow
def test_with_a_bad_recipe_it_comes_up_in_fault_and_a_good_one_mends_it(start: Callable[..., Service], tmp_path: Path) -> None:
    good: list[str] = []

    def broken(folder: Path) -> None:
        recipe = folder / "boards.toml"
        good.append(recipe.read_text())
        recipe.write_text(good[0].replace("limit = 0.5", "limit = -1"))

    service = start(broken=broken)
    status = service.until(lambda status: status.state is StationState.FAULT)
    assert status.cause is not None
    assert "boards.toml" in status.cause.text
    with pytest.raises(CommandRefused, match=r"boards\.toml"):
        service.link.command("activate", {"recipe": str(tmp_path / "boards.toml")}, "test")
    (tmp_path / "boards.toml").write_text(good[0])
    service.link.command("activate", {"recipe": str(tmp_path / "boards.toml")}, "test")
    service.until(lambda status: status.state is StationState.RUNNING)
    service.end(signal.SIGINT)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (r"\[line\]\n(?:(?:[^\[\n].*)?\n)*", '[line]\ndriver = "direct"\n\n', "no photo-eye"),
        ("smallest_spacing_ms", "smalest_spacing_ms", "smalest_spacing_ms"),
        ('recipe = "boards.toml"', 'recipe = "nowhere.toml"', "nowhere.toml"),
    ],
)
def test_a_station_that_cannot_be_built_is_refused_in_one_line(tmp_path: Path, old: str, new: str, word: str) -> None:
    toml = write_demo_files(tmp_path, Product(0), DemoWiring(1502, "ipc:///tmp/f", "ipc:///tmp/c"), 60)
    toml.write_text(re.sub(old, new, toml.read_text()))
    result = CliRunner().invoke(run, [str(toml), "--data", str(tmp_path / "data")])
    assert isinstance(result.exception, ConfigError)
    assert "\n" not in str(result.exception)
    assert word in str(result.exception)
    assert not (tmp_path / "data").exists(), "refused before anything was made"
