"""`inspector demo`: a whole line on this machine, in four processes: PLC with its belt, camera, station, and this one, which watches."""

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

import click

from inspector.commands.demo_figures import Figures, compare, read_belt_log
from inspector.config import data_folder
from inspector.errors import InspectorError
from inspector.link.client import LinkClient
from inspector.sim.board_camera import CameraOptions
from inspector.sim.board_camera_process import BoardCameraProcess
from inspector.sim.boards import Product, plan_part
from inspector.sim.demo_files import LARGEST_RATE_PER_MIN, TRAVEL_MS, DemoWiring, write_demo_files
from inspector.sim.plc_process import PlcSimOptions, PlcSimProcess
from inspector.station_process import refuse_company, station_process
from inspector.trace import open_reader
from inspector.types import Status, VerdictKind

_START_S = 120.0
_PAGE = 1000


@click.command(short_help="a whole line on this machine: PLC simulator, camera, station")
@click.option("--headless", is_flag=True, help="no screen")
@click.option("--parts", type=click.IntRange(1, 1_000_000), default=60, show_default=True, help="parts that the belt brings")
@click.option("--rate", type=click.FloatRange(1, LARGEST_RATE_PER_MIN), default=120.0, show_default=True, help="parts per minute")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="names the lot: same seed, same boards")
@click.option("--defect-rate", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="share of defective boards")
@click.option("--odd-rate", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="share of empty, wrong or displaced boards")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="data folder; the demo uses its folder `demo`")
@click.option("--json", "as_json", is_flag=True, help="one JSON object as the last line")
def demo(headless: bool, parts: int, rate: float, seed: int, defect_rate: float, odd_rate: float, data: Path | None, as_json: bool) -> None:
    """Run rendered boards with known defects past the station, over a real Modbus TCP line, and compare station, PLC and truth.

    Exit status 0 only if every part has one verdict, and station and PLC agree on it.
    """
    _say_where_it_shows(headless)
    folder = data_folder(data) / "demo"
    product = Product(0)
    options = CameraOptions(seed=seed, product=product.seed, defect_rate=defect_rate, odd_rate=odd_rate)
    folder.mkdir(parents=True, exist_ok=True)
    refuse_company(folder)
    # Whoever ends the demo ends its line too: the way out leads through every `with` below.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    log = folder / "belt.jsonl"
    log.unlink(missing_ok=True)
    with BoardCameraProcess(options) as camera:
        line = PlcSimOptions(rate_per_min=rate, parts=parts, travel_ms=TRAVEL_MS, wire=camera.wire, log=log, wait_ready=True, seed=seed)
        with PlcSimProcess(line) as plc:
            station_toml = write_demo_files(folder, product, DemoWiring(plc.port, camera.frames, camera.control), rate, with_reference=True)
            with station_process(station_toml, folder) as station:
                last = _watch(station.link, plc, parts, rate)
    truth = {number: plan_part(number, seed=seed, defect_rate=defect_rate, odd_rate=odd_rate).good for number in range(parts + 1)}
    figures = compare(read_belt_log(log), _verdicts(folder, last.run or 0), truth)
    click.echo(_summary(figures, last))
    if as_json:
        more = {"latency_ms": asdict(last.latency_ms), "infer_ms": {"p50": last.infer_ms.p50, "p99": last.infer_ms.p99}}
        click.echo(json.dumps(asdict(figures) | more | {"device": last.device, "precision": last.precision}))
    if not figures.proven or figures.parts != parts:
        raise click.exceptions.Exit(1)


def _say_where_it_shows(headless: bool) -> None:
    if headless:
        return
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform in ("win32", "darwin"):
        click.echo("there are no screens yet: the demo runs headless")
    else:
        click.echo("there is no display: the demo runs headless")


def _watch(link: LinkClient, plc: PlcSimProcess, parts: int, rate: float) -> Status:
    """Follow the station until the belt is empty; returns its last status."""
    until = time.monotonic() + _START_S + parts * 60 / rate * 1.3 + TRAVEL_MS / 1000
    with click.progressbar(length=parts, label="parts") as bar:
        seen, status = 0, link.status()
        while time.monotonic() < until:
            status = link.next(status.seq, wait_ms=500).status
            bar.update(status.balances.triggers - seen)
            seen = status.balances.triggers
            if status.balances.in_transit == 0 and seen >= parts and plc.belt_done():
                return link.status()
    cause = f": {status.cause.text}" if status.cause is not None else ""
    raise InspectorError(f"the belt is not empty in time; {seen} of {parts} parts came, the station is {status.state}{cause}")


def _verdicts(folder: Path, run: int) -> dict[int, VerdictKind]:
    """By sequence, the verdict that counts."""
    found: dict[int, VerdictKind] = {}
    after: int | None = None
    with open_reader(folder) as reader:
        while rows := reader.parts(run, after=after, limit=_PAGE):
            found |= {row.part.sequence: row.verdict for row in rows}
            after = rows[-1].index
    return found


def _summary(figures: Figures, last: Status) -> str:
    counts = f"{figures.parts} parts: {figures.passed} passed, {figures.rejected} rejected, {figures.faulted} faulted"
    proof = f"{figures.unaccounted} unaccounted, {figures.plc_mismatches} PLC mismatches, {figures.wrong_lane} in the wrong lane"
    truth = f"{figures.escapes} escapes, {figures.overkills} overkills"
    speed = f"frame → verdict p50 {last.latency_ms.p50} ms, p99 {last.latency_ms.p99} ms on {last.device} {last.precision}"
    return "\n".join((counts, proof, truth, speed))
