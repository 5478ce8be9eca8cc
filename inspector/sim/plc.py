"""`inspector plc-sim`: a line behind a real Modbus TCP server, in a process of its own.

Conveyor, photo-eye, camera trigger wire, gate, good and reject lane; `--log` writes what became of each part ("run" is its low 16 bits).

The first line on stdout is "listening HOST:PORT". SIGTERM or SIGINT ends it cleanly.
"""

import asyncio
import json
import os
import secrets
import signal
from pathlib import Path
from typing import TextIO

import click
import zmq

from inspector.clock import now_ns
from inspector.errors import LineError
from inspector.sim.plc_belt import Belt, BeltSettings
from inspector.sim.plc_logic import PlcLogic, TrackedPart
from inspector.sim.plc_server import PlcServer
from inspector.types import Disposition

WIRE_MAX = 64
PARENT_POLL_S = 0.5


class Wire:
    """The camera's hardware trigger line: each pulse is the physical part's number, 8 bytes big-endian, PUSH to `endpoint`."""

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        # Bounded by WIRE_MAX pulses. Full, or nobody connected: the pulse is lost, as on a real wire.
        self._socket.set(zmq.SNDHWM, WIRE_MAX)
        self._socket.set(zmq.IMMEDIATE, 1)
        self._socket.set(zmq.LINGER, 0)
        self._socket.connect(endpoint)

    def pulse(self, number: int) -> bool:
        """Send without waiting; False when the pulse is lost."""
        try:
            self._socket.send(number.to_bytes(8, "big"), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        self._socket.close()
        self._context.term()


class PlcSimulator:
    """Everything together: `serve` runs until `stop` is set or the parent process is gone."""

    def __init__(self, logic: PlcLogic, server: PlcServer, settings: BeltSettings, *, wire: Wire | None, log: TextIO | None) -> None:
        self._logic = logic
        self._server = server
        self._wire = wire
        self._log = log
        self._belt = Belt(logic, settings, self._triggered, self._disposed)
        self._lost_pulses: set[int] = set()
        self.good = 0
        self.rejected = 0

    async def serve(self, stop: asyncio.Event, *, scan_ms: float, parent: int | None) -> None:
        """Raises LineError when the port is taken."""
        try:
            await self._server.start()
        except RuntimeError as error:
            raise LineError(f"PLC simulator cannot listen on port {self._server.port}: {error}; take another --port") from error
        click.echo(f"listening 127.0.0.1:{self._server.port}")
        tasks = [asyncio.create_task(self._belt.run())]
        if scan_ms > 0:
            tasks.append(asyncio.create_task(self._scan(scan_ms / 1000)))
        if parent is not None:
            tasks.append(asyncio.create_task(_watch_parent(parent, stop)))
        stopped = asyncio.create_task(stop.wait())
        try:
            await self._until_stopped(stopped, tasks)
        finally:
            for task in (*tasks, stopped):
                task.cancel()
            await asyncio.gather(*tasks, stopped, return_exceptions=True)
            await self._server.stop()

    async def _until_stopped(self, stopped: "asyncio.Task[bool]", tasks: "list[asyncio.Task[None]]") -> None:
        """A simulator whose physics died must not go on answering: the first exception of a task ends it."""
        running = set(tasks)
        while not stopped.done():
            done, _ = await asyncio.wait({stopped, *running}, return_when=asyncio.FIRST_COMPLETED)
            for task in done & running:
                running.discard(task)
                task.result()

    async def _scan(self, period_s: float) -> None:
        while True:
            await asyncio.sleep(period_s)
            self._logic.scan(now_ns())

    def _triggered(self, part: TrackedPart) -> None:
        if self._wire is not None and not self._wire.pulse(part.number):
            self._lost_pulses.add(part.number)

    def _disposed(self, part: TrackedPart, lane: Disposition, gate_ns: int) -> None:
        if lane is Disposition.GOOD_LANE:
            self.good += 1
        else:
            self.rejected += 1
        pulsed = self._wire is not None and part.number not in self._lost_pulses
        self._lost_pulses.discard(part.number)
        if self._log is not None:
            record = {
                "part": part.number,
                "sequence": part.sequence,
                "run": part.run16,
                "ready_at_trigger": part.ready,
                "camera_pulsed": pulsed,
                "verdict": part.understood,
                "fault_code": part.fault_code,
                "lane": lane,
                "triggered_ns": part.triggered_ns,
                "accepted_ns": part.accepted_ns,
                "gate_ns": gate_ns,
            }
            self._log.write(json.dumps(record) + "\n")
            self._log.flush()


async def _watch_parent(parent: int, stop: asyncio.Event) -> None:
    """Whoever started the simulator may be killed: nothing is left behind."""
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_POLL_S)
    stop.set()


async def _run(simulator: PlcSimulator, scan_ms: float, parent: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await simulator.serve(stop, scan_ms=scan_ms, parent=parent)


@click.command("plc-sim", short_help="Simulate a line behind a Modbus TCP server.")
@click.option("--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="TCP port; 0 takes a free one, which is printed.")
@click.option("--rate", default=600.0, show_default=True, type=click.FloatRange(0, min_open=True), help="Parts per minute.")
@click.option("--parts", default=0, show_default=True, type=click.IntRange(0), help="Parts in all; 0 is without end.")
@click.option("--travel-ms", default=412.0, show_default=True, type=click.FloatRange(0, min_open=True), help="Camera to gate, ms.")
@click.option("--scan-ms", default=0.0, show_default=True, type=click.FloatRange(0), help="PLC cycle, ms; 0 takes results at once.")
@click.option("--wire", default=None, help="ZeroMQ endpoint of the camera's trigger input.")
@click.option("--log", "log_path", default=None, type=click.Path(dir_okay=False, path_type=Path), help="JSON Lines, one for each part.")
@click.option("--counter-start", default=0, show_default=True, type=click.IntRange(0, (1 << 32) - 1), help="Trigger counter before part 1.")
@click.option("--slots", default=16, show_default=True, type=click.IntRange(1, 16), help="Result slots K.")
@click.option("--unit-id", default=1, show_default=True, type=click.IntRange(1, 247), help="Modbus unit.")
@click.option("--wait-ready", is_flag=True, help="The conveyor starts when READY is first high.")
@click.option("--seed", default=0, show_default=True, type=int, help="Seed of the spacing's jitter (10 %).")
@click.option("--parent", default=None, type=int, help="End when this process is no longer the parent.")
def plc_sim(
    port: int,
    rate: float,
    parts: int,
    travel_ms: float,
    scan_ms: float,
    wire: str | None,
    log_path: Path | None,
    counter_start: int,
    slots: int,
    unit_id: int,
    wait_ready: bool,
    seed: int,
    parent: int | None,
) -> None:
    """Simulate conveyor, photo-eye, camera trigger wire, gate (which defaults to reject) and lanes behind a real Modbus TCP server."""
    logic = PlcLogic(
        slots=slots,
        epoch=secrets.randbits(32) or 1,
        counter_start=counter_start,
        clock_offset_us=secrets.randbits(32),
        instant=scan_ms == 0,
    )
    settings = BeltSettings(rate_per_min=rate, parts=parts, travel_ms=travel_ms, wait_ready=wait_ready, seed=seed)
    camera = Wire(wire) if wire else None
    log = log_path.open("a", encoding="utf-8") if log_path else None
    simulator = PlcSimulator(logic, PlcServer(logic, port=port, unit_id=unit_id), settings, wire=camera, log=log)
    try:
        asyncio.run(_run(simulator, scan_ms, parent))
    except LineError as error:
        raise click.ClickException(str(error)) from error
    finally:
        if camera is not None:
            camera.close()
        if log is not None:
            log.close()
    click.echo(f"good lane {simulator.good}, reject lane {simulator.rejected}, still on the belt {len(logic.tracked)}")


if __name__ == "__main__":
    plc_sim()
