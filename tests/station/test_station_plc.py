"""The whole station on a real Modbus TCP line: the PLC simulator as a process that is stopped and killed, one in a thread, and silence."""

import json
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from inspector.detect.scripted import Answer
from inspector.line.modbus import ModbusLine
from inspector.sim.plc_logic import PlcLogic
from inspector.sim.plc_process import PlcSimOptions, PlcSimProcess
from inspector.sim.plc_thread import HandPlc
from inspector.trace import open_reader
from inspector.types import StationState, VerdictKind

if TYPE_CHECKING:
    from tests.station.conftest import Rig

MakeRig = Callable[..., "Rig"]


@contextmanager
def trigger_wire(rigs: list["Rig"]) -> Iterator[str]:
    """The camera's end of the simulator's trigger wire: every pulse exposes the cameras of these rigs."""
    with tempfile.TemporaryDirectory() as folder:
        ending = threading.Event()
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        pull = context.socket(zmq.PULL)
        pull.bind(f"ipc://{folder}/wire")

        def listen() -> None:
            while not ending.is_set():
                if pull.poll(20):
                    number = int.from_bytes(pull.recv(), "big")
                    for rig in rigs:
                        rig.camera.expose(number)

        listener = threading.Thread(target=listen, name="wire")
        listener.start()
        try:
            yield f"ipc://{folder}/wire"
        finally:
            ending.set()
            listener.join()
            pull.close()
            context.term()


def belt(log: Path) -> dict[int, dict[str, Any]]:
    return {row["sequence"]: row for row in map(json.loads, log.read_text().splitlines())}


def verdicts(rig: "Rig") -> dict[int, VerdictKind]:
    with open_reader(rig.folder) as reader:
        rows = reader.parts(rig.station.run, limit=10_000)
    assert len({row.part for row in rows}) == len(rows)
    return {row.part.sequence: row.verdict for row in rows}


@pytest.fixture
def modbus_rig(make_rig: MakeRig, tmp_path: Path) -> Iterator[tuple["Rig", PlcSimProcess, Path]]:
    """A running station, and the simulator process that brings it ten parts a second."""
    rigs: list[Rig] = []
    log = tmp_path / "belt.jsonl"
    with trigger_wire(rigs) as wire:
        options = PlcSimOptions(rate_per_min=600, travel_ms=300, wire=wire, log=log, wait_ready=True)
        with PlcSimProcess(options) as plc:
            line = ModbusLine("127.0.0.1", plc.port, timeout_s=0.1)
            rig = make_rig(line=line, deadline_ms=250.0, answer_ms=20.0, frame_ms=100.0, poll_ms=4.0, pairing_ms=40.0, reconnect_s=0.1)
            rigs.append(rig)
            rig.run()
            yield rig, plc, log
            rig.station.stop()


def test_parts_pass_and_the_plc_agrees(modbus_rig: tuple["Rig", PlcSimProcess, Path], seen: Answer) -> None:
    rig, plc, log = modbus_rig
    for number in (2, 5):
        rig.answers[number] = seen
    rig.await_decided(8)
    rig.until(lambda: len(belt(log)) >= 6)
    rig.station.stop()
    plc.stop()
    known, lanes = verdicts(rig), belt(log)
    assert known[2] is known[5] is VerdictKind.REJECT
    assert {number: known[number] is VerdictKind.PASS for number in lanes} == {n: row["lane"] == "good lane" for n, row in lanes.items()}
    assert sum(verdict is VerdictKind.PASS for verdict in known.values()) >= 4
    assert rig.proving.unproven == []


def test_a_plc_that_hangs_faults_open_parts_and_station_which_comes_back_by_itself(modbus_rig: tuple["Rig", PlcSimProcess, Path]) -> None:
    rig, plc, log = modbus_rig
    rig.await_decided(3)
    os.kill(plc.process.pid, signal.SIGSTOP)
    try:
        cause = rig.await_state(StationState.FAULT).cause
        assert cause is not None
        assert "plc" in cause.text
        assert rig.status().balances.undecided == 0
    finally:
        os.kill(plc.process.pid, signal.SIGCONT)
    status = rig.await_state(StationState.RUNNING, StationState.HELD)
    if status.state is StationState.HELD:  # a PASS was under way when the PLC stopped: it let the part through, and the line is held
        assert status.cause is not None
        assert status.cause.code == "wrong lane"
        rig.command("acknowledge")
        rig.await_state(StationState.RUNNING)
    decided = rig.station.decided()
    rig.await_decided(decided + 3)
    rig.station.stop()
    plc.stop()
    assert set(belt(log)) <= set(verdicts(rig)), "every part that the belt brought has its row"
    assert sorted(verdicts(rig)) == list(range(1, len(verdicts(rig)) + 1))


def test_a_plc_that_is_killed_faults_the_station_and_a_new_one_asks_for_a_new_run(modbus_rig: tuple["Rig", PlcSimProcess, Path]) -> None:
    rig, plc, _ = modbus_rig
    rig.await_decided(2)
    plc.kill()
    rig.await_state(StationState.FAULT)
    with PlcSimProcess(PlcSimOptions(port=plc.port, rate_per_min=600)):
        rig.until(lambda: "restarted" in next(h.text for h in rig.status().health if h.name == "plc"))
        assert rig.status().state is StationState.FAULT
        rig.station.stop()
    assert rig.status().balances.undecided == 0


def test_a_plc_that_answers_late_loses_the_pass_and_the_station_says_so(make_rig: MakeRig) -> None:
    with HandPlc(PlcLogic(epoch=5)) as plc:
        line = ModbusLine("127.0.0.1", plc.port, timeout_s=0.05)
        rig = make_rig(line=line, deadline_ms=300.0, frame_ms=200.0, answer_ms=60.0, reconnect_s=0.1).run()
        rig.camera.expose(plc.trigger())
        assert rig.why(1) == (VerdictKind.PASS, "")
        busy = threading.Thread(target=lambda: plc.call(lambda _: time.sleep(0.4)))
        rig.camera.expose(plc.trigger())
        busy.start()
        verdict, code = rig.why(2)
        assert verdict is VerdictKind.FAULT
        assert code in ("not acknowledged", "late", "not ready")
        busy.join()
        rig.await_state(StationState.RUNNING)
        rig.camera.expose(plc.trigger())
        assert rig.why(3) == (VerdictKind.PASS, "")
        rig.station.stop()


def test_a_result_that_the_plc_never_echoes_is_overruled(make_rig: MakeRig) -> None:
    """The PLC's program stands (no scan): it stores the write and never takes the slot."""
    with HandPlc(PlcLogic(epoch=5, instant=False)) as plc:
        line = ModbusLine("127.0.0.1", plc.port, timeout_s=0.1)
        rig = make_rig(line=line, deadline_ms=200.0, frame_ms=100.0, answer_ms=50.0).run()
        rig.camera.expose(plc.trigger())
        assert rig.why(1) == (VerdictKind.FAULT, "not acknowledged")
        assert rig.record(1).row.judged is VerdictKind.PASS
        rig.station.stop()


def test_a_silent_plc_keeps_ready_low_and_the_station_answers_its_screen(make_rig: MakeRig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        line = ModbusLine("127.0.0.1", silent.getsockname()[1], timeout_s=0.05)
        rig = make_rig(line=line)
        rig.station.start()
        rig.command("start")
        cause = rig.await_state(StationState.FAULT).cause
        assert cause is not None
        assert "did not answer" in cause.text
        assert rig.proving.readies == []
        rig.station.stop()
    assert rig.station.problem_at_end is None
