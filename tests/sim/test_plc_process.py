"""The PLC simulator as a process: a line that runs, is watched, is killed."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import zmq
from click.testing import CliRunner

from inspector.commands.plc_sim import plc_sim
from inspector.errors import LineError
from inspector.line.modbus import ModbusLine
from inspector.ports import LineSnapshot
from inspector.sim.plc_process import PlcSimOptions, PlcSimProcess, start_plc_sim
from inspector.types import Disposition, PartId, VerdictKind

RUN = 9


def inspect(line: ModbusLine, parts: int, judge: Callable[[int], VerdictKind]) -> list[LineSnapshot]:
    """A tiny station: answers every trigger by `judge`, until all parts are disposed."""
    line.open(RUN)
    line.beat()
    line.set_ready(True)
    snapshots: list[LineSnapshot] = []
    deadline_s, beat_s = monotonic() + 4, monotonic()
    while sum(len(snapshot.disposed) for snapshot in snapshots) < parts:
        assert monotonic() < deadline_s, snapshots
        snapshots.append(line.poll())
        for trigger in snapshots[-1].triggers:
            line.send(PartId(RUN, trigger.sequence), judge(trigger.sequence))
        if monotonic() - beat_s > 0.05:
            line.beat()
            beat_s = monotonic()
        sleep(0.002)
    return snapshots


def log_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def wait_for(enough: Callable[[], bool], timeout_s: float = 4.0) -> None:
    deadline_s = monotonic() + timeout_s
    while not enough():
        assert monotonic() < deadline_s
        sleep(0.01)


@pytest.mark.parametrize(("scan_ms", "counter_start"), [(0.0, (1 << 32) - 3), (10.0, 65_533)])
def test_line_and_station_agree_part_by_part(tmp_path: Path, scan_ms: float, counter_start: int) -> None:
    options = PlcSimOptions(
        rate_per_min=1800, parts=10, travel_ms=150, scan_ms=scan_ms, counter_start=counter_start, wait_ready=True, log=tmp_path / "log"
    )
    with start_plc_sim(options) as plc:
        line = ModbusLine("127.0.0.1", plc.port, timeout_s=1.0)
        snapshots = inspect(line, 10, lambda sequence: VerdictKind.PASS if sequence % 2 else VerdictKind.REJECT)
        line.close()
        assert plc.wait_done(2.0)
    sequences = [(counter_start + i) % (1 << 32) for i in range(1, 11)]
    assert [trigger.sequence for snapshot in snapshots for trigger in snapshot.triggers] == sequences
    lanes = {part.part.sequence: part.disposition for snapshot in snapshots for part in snapshot.disposed}
    assert lanes == {s: Disposition.GOOD_LANE if s % 2 else Disposition.REJECT_CONFIRMED for s in sequences}
    log = log_of(tmp_path / "log")
    assert [(part["part"], part["sequence"], part["run"]) for part in log] == [(i + 1, s, RUN) for i, s in enumerate(sequences)]
    assert {part["sequence"]: part["lane"] for part in log} == {s: str(lane) for s, lane in lanes.items()}
    assert all(part["ready_at_trigger"] and part["triggered_ns"] < part["accepted_ns"] < part["gate_ns"] for part in log)


def test_trigger_times_are_the_stations_time(tmp_path: Path) -> None:
    with PlcSimProcess(PlcSimOptions(rate_per_min=1800, parts=8, travel_ms=50, wait_ready=True, log=tmp_path / "log")) as plc:
        line = ModbusLine("127.0.0.1", plc.port, timeout_s=1.0)
        snapshots = inspect(line, 8, lambda _: VerdictKind.PASS)
        line.close()
    told = {trigger.sequence: trigger.triggered_ns for snapshot in snapshots for trigger in snapshot.triggers}
    log = log_of(tmp_path / "log")
    assert all(abs(told[part["sequence"]] - part["triggered_ns"]) < 5_000_000 for part in log)


def test_the_belt_keeps_rate_jitter_and_travel_time(tmp_path: Path) -> None:
    with PlcSimProcess(PlcSimOptions(rate_per_min=1200, parts=20, travel_ms=100, seed=3, log=tmp_path / "log")) as plc:
        assert plc.wait_done(4.0)
    log = log_of(tmp_path / "log")
    spacings_ms = [(b["triggered_ns"] - a["triggered_ns"]) / 1e6 for a, b in pairwise(log)]
    travels_ms = [(part["gate_ns"] - part["triggered_ns"]) / 1e6 for part in log]
    # The median is what the belt does; single events may be late on a busy machine.
    assert 44 <= sorted(spacings_ms)[len(spacings_ms) // 2] <= 56
    assert max(spacings_ms) - min(spacings_ms) > 2
    assert min(travels_ms) >= 99.9
    assert sorted(travels_ms)[len(travels_ms) // 2] < 102
    assert {part["lane"] for part in log} == {"reject confirmed"}
    assert not any(part["ready_at_trigger"] for part in log)


def test_the_wire_carries_each_parts_number_to_the_camera(tmp_path: Path) -> None:
    context = zmq.Context()
    camera = context.socket(zmq.PULL)
    camera.linger = 0
    endpoint = f"ipc://{tmp_path}/wire"
    camera.bind(endpoint)
    with PlcSimProcess(PlcSimOptions(rate_per_min=3000, parts=5, travel_ms=30, wire=endpoint, log=tmp_path / "log")) as plc:
        numbers: list[int] = []
        while len(numbers) < 5 and camera.poll(3000):
            numbers.append(int.from_bytes(camera.recv(), "big"))
        assert plc.wait_done(3.0)
    camera.close()
    context.term()
    assert numbers == [1, 2, 3, 4, 5]
    assert all(part["camera_pulsed"] for part in log_of(tmp_path / "log"))


def test_pulses_into_an_absent_camera_are_lost_without_holding_the_belt(tmp_path: Path) -> None:
    options = PlcSimOptions(rate_per_min=6000, parts=5, travel_ms=20, wire=f"ipc://{tmp_path}/nobody", log=tmp_path / "log")
    with PlcSimProcess(options) as plc:
        assert plc.wait_done(3.0)
    assert [part["camera_pulsed"] for part in log_of(tmp_path / "log")] == [False] * 5


def test_the_conveyor_waits_for_ready() -> None:
    with PlcSimProcess(PlcSimOptions(rate_per_min=6000, parts=3, travel_ms=10, wait_ready=True)) as plc:
        line = ModbusLine("127.0.0.1", plc.port, timeout_s=1.0)
        line.open(RUN)
        sleep(0.1)
        assert line.poll().counter == 0
        assert not plc.belt_done()
        line.beat()
        line.set_ready(True)
        assert plc.wait_done(3.0)
        assert line.poll().counter == 3
        line.close()


def test_a_killed_plc_is_named_within_the_timeout() -> None:
    plc = PlcSimProcess(PlcSimOptions(rate_per_min=600))
    line = ModbusLine("127.0.0.1", plc.port, timeout_s=0.3)
    line.open(RUN)
    plc.kill()
    started_s = monotonic()
    with pytest.raises(LineError):
        line.poll()
    with pytest.raises(LineError):
        line.send(PartId(RUN, 1), VerdictKind.PASS)
    with pytest.raises(LineError):
        line.open(RUN)
    line.close()
    assert monotonic() - started_s < 1.0
    with pytest.raises(LineError, match="not reachable"):
        plc.belt_done()


def test_a_frozen_plc_is_named_within_the_timeout_and_answers_again_when_it_thaws() -> None:
    with PlcSimProcess(PlcSimOptions(rate_per_min=600)) as plc:
        line = ModbusLine("127.0.0.1", plc.port, timeout_s=0.3)
        opened = line.open(RUN)
        os.kill(plc.process.pid, signal.SIGSTOP)
        started_s = monotonic()
        with pytest.raises(LineError, match="did not answer"):
            line.poll()
        assert monotonic() - started_s < 0.6
        os.kill(plc.process.pid, signal.SIGCONT)
        sleep(0.3)
        assert line.poll().epoch == opened.epoch
        line.close()


def test_a_restarted_plc_shows_another_epoch() -> None:
    epochs = []
    for _ in range(2):
        with PlcSimProcess(PlcSimOptions()) as plc:
            line = ModbusLine("127.0.0.1", plc.port, timeout_s=1.0)
            epochs.append(line.open(RUN).epoch)
            line.close()
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    plc = PlcSimProcess(PlcSimOptions(rate_per_min=6000))
    line = ModbusLine("127.0.0.1", plc.port, timeout_s=1.0)
    line.open(RUN)
    plc.process.send_signal(number)
    assert plc.process.wait(3.0) == 0
    line.close()
    plc.stop()


def test_a_taken_port_is_named() -> None:
    with PlcSimProcess(PlcSimOptions()) as plc, pytest.raises(LineError, match=f"cannot listen on port {plc.port}"):
        PlcSimProcess(PlcSimOptions(port=plc.port))


def test_it_ends_with_the_process_that_started_it() -> None:
    parent = textwrap.dedent(
        """
        import os
        from inspector.sim.plc_process import PlcSimOptions, PlcSimProcess
        plc = PlcSimProcess(PlcSimOptions())
        print(plc.process.pid, flush=True)
        os._exit(1)
        """
    )
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, timeout=10, check=False)
    pid = int(done.stdout)

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] == "Z"
        except FileNotFoundError:
            return True

    wait_for(gone)


def test_the_command_explains_itself_and_refuses_nonsense() -> None:
    runner = CliRunner()
    assert "--travel-ms" in runner.invoke(plc_sim, ["--help"]).output
    refused = runner.invoke(plc_sim, ["--rate", "0"])
    assert refused.exit_code == 2
    assert "--rate" in refused.output
