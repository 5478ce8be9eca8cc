"""SIGKILL of the station process while the belt runs, again and again: afterwards every part of the belt has exactly one row."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inspector.errors import LinkError
from inspector.link.address import socket_path
from inspector.link.client import LinkClient
from inspector.sim.board_camera import CameraOptions
from inspector.sim.board_camera_process import BoardCameraProcess
from inspector.sim.boards import Product
from inspector.sim.demo_files import TRAVEL_MS, DemoWiring, write_demo_files
from inspector.sim.plc_process import PlcSimOptions, PlcSimProcess
from inspector.trace import PartRow, open_reader, verify
from inspector.types import Disposition, StationState, Status, VerdictKind

RATE_PER_MIN = 240.0
KILLS = 3


class Killed:
    """A station process that may be killed at any time."""

    def __init__(self, toml: Path, data: Path) -> None:
        command = [sys.executable, "-m", "inspector", "run", str(toml), "--data", str(data)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._link = LinkClient(socket_path(data), timeout_s=1.0)

    def until(self, holds: Callable[[Status], bool]) -> Status:
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            assert self.process.poll() is None, self.process.communicate()[1].decode()
            try:
                status = self._link.status()
            except LinkError:
                time.sleep(0.05)
                continue
            if holds(status):
                return status
            time.sleep(0.02)
        raise AssertionError(f"it never came true: {self._link.status()}")

    def end(self, *, kill: bool) -> int:
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        try:
            self.process.communicate(timeout=15)
        finally:
            self._link.close()
        return self.process.returncode


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_after_being_killed_at_random_moments_every_part_has_exactly_one_row(tmp_path: Path) -> None:
    chance = random.Random(20)
    log, data = tmp_path / "belt.jsonl", tmp_path / "data"
    with BoardCameraProcess(CameraOptions(seed=3)) as camera:
        belt = PlcSimOptions(rate_per_min=RATE_PER_MIN, travel_ms=TRAVEL_MS, wire=camera.wire, log=log, wait_ready=True)
        with PlcSimProcess(belt) as plc:
            wiring = DemoWiring(plc.port, camera.frames, camera.control)
            toml = write_demo_files(tmp_path, Product(CameraOptions().product), wiring, RATE_PER_MIN)
            for number in range(KILLS):
                station = Killed(toml, data)
                if number != 1:  # the second one is killed while it starts
                    station.until(lambda status: status.balances.passed >= 2)
                time.sleep(chance.uniform(0.2, 1.2))
                station.end(kill=True)
            station = Killed(toml, data)
            last = station.until(lambda status: status.state is StationState.RUNNING and status.balances.passed >= 1)
            assert station.end(kill=False) == 0
    check(data, log, last.run or 0)


def check(data: Path, log: Path, last_run: int) -> None:
    with open_reader(data) as reader:
        runs = [row.run for row in reader.runs()]
        rows = {row.part.sequence: row for row in reader.parts(limit=10_000)}
        counted = Counter(row.part.sequence for row in reader.parts(limit=10_000))
    assert runs == sorted(set(runs), reverse=True), "run numbers grow"
    assert last_run == runs[0]
    assert len(runs) >= KILLS
    newest = max(counted)
    assert set(counted) == set(range(1, newest + 1)), "no part without a row"
    assert set(counted.values()) == {1}, "no part with two"
    check_lanes(rows, [json.loads(line) for line in log.read_text().splitlines()])
    reasons = {reason["code"] for row in rows.values() for reason in row.reasons}
    assert reasons & {"station down", "interrupted"}, "somebody was cut off, or the kills were none"
    assert verify(data).ok


def check_lanes(rows: dict[int, PartRow], belt: list[dict[str, Any]]) -> None:
    good = [row["sequence"] for row in belt if row["lane"] == Disposition.GOOD_LANE]
    assert good, "the line works: not everything is rejected"
    for sequence in good:
        assert rows[sequence].judged is VerdictKind.PASS, f"part {sequence} is in the good lane without its record"
