"""`inspector status`: what the station says of itself, once or as it changes."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click

from inspector.config import StationConfig, data_folder
from inspector.errors import InspectorError
from inspector.link.address import socket_path
from inspector.link.client import LinkClient
from inspector.types import Latency, Status

_LINES_APART_S = 0.5


@click.command("status", short_help="state, balances and health of the running station")
@click.argument("station", required=False, type=click.Path(path_type=Path), metavar="[STATION.toml]")
@click.option("--watch", is_flag=True, help="go on, a line for each change (at most two a second), until Ctrl-C or the station ends")
@click.option("--json", "as_json", is_flag=True, help="one JSON object; with --watch one per line")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="data folder of the station")
def status(station: Path | None, watch: bool, as_json: bool, data: Path | None) -> None:
    """Ask the running station. STATION.toml is needed only where it names the data folder."""
    try:
        with connect(station, data) as client:
            if watch:
                _watch(client, json_line if as_json else line)
            else:
                now = client.status()
                click.echo(json_line(now) if as_json else page(now))
    except InspectorError as e:
        raise failure(e, as_json) from e


def connect(station: Path | None, data: Path | None) -> LinkClient:
    """A client for the station whose data folder these options name. Raises ConfigError, LinkError."""
    configured = StationConfig.load(station).station.data if station is not None else None
    return LinkClient(socket_path(data_folder(data, configured)))


def failure(error: InspectorError, as_json: bool) -> click.ClickException:
    """The error as click shows it (exit status 1); with --json also as the last line's object."""
    if as_json:
        click.echo(json.dumps({"error": str(error)}))
    return click.ClickException(str(error))


def _watch(client: LinkClient, show: Callable[[Status], str]) -> None:
    seq = -1
    try:
        while True:
            now = client.next(seq, wait_ms=1000).status
            if now.seq != seq:
                click.echo(show(now))
                seq = now.seq
                time.sleep(_LINES_APART_S)
    except KeyboardInterrupt:
        return


def json_line(now: Status) -> str:
    """The status as one JSON object."""
    return json.dumps(asdict(now))


def line(now: Status) -> str:
    """The status in one line."""
    b = now.balances
    parts = f"{b.triggers} parts: {b.passed} passed, {b.rejected} rejected, {b.faulted} faulted, {b.undecided} undecided"
    last = f"; last {now.last.part} {now.last.verdict}" if now.last else ""
    cause = f"; {now.cause.text}: {now.cause.next_step}" if now.cause else ""
    return f"{now.state:<8} {parts}{last}{cause}"


def page(now: Status) -> str:
    """The status for people, a line per subject."""
    b = now.balances
    rows = [
        ("station", f"{now.station}, version {now.version}, process {now.pid}"),
        ("state", f"{now.state} since {now.since_utc}" + (f", run {now.run}" if now.run is not None else "")),
    ]
    if now.cause:
        rows += [("cause", now.cause.text), ("what to do", now.cause.next_step)]
    rows += [
        ("triggers", f"{b.triggers} = {b.passed} passed + {b.rejected} rejected + {b.faulted} faulted + {b.undecided} undecided"),
        ("decided", f"{b.passed + b.rejected + b.faulted} = {b.disposed} disposed + {b.in_transit} in transit"),
        ("lanes", ", ".join(f"{count} {name}" for name, count in now.dispositions.items()) or "none yet"),
        ("release", f"{now.release or 'none'} (recipe {now.recipe or 'none'}, bundle {now.bundle or 'none'})"),
        ("runs on", f"{now.device or '?'} {now.precision or '?'}, presence {now.presence or '?'}, lot {now.lot or 'none'}"),
        ("latency", _latency(now.latency_ms)),
        ("inference", _latency(now.infer_ms)),
    ]
    if now.last:
        reasons = f" ({'; '.join(now.last.reasons)})" if now.last.reasons else ""
        rows.append(("last part", f"{now.last.part} {now.last.verdict}{reasons}"))
    rows += [(health.name, f"{'ok' if health.ok else 'NOT OK'}: {health.text}") for health in now.health]
    return "\n".join(f"{name:<12}{text}" for name, text in rows)


def _latency(figures: Latency) -> str:
    if figures.p50 is None or figures.p99 is None or figures.max is None:
        return "not measured yet"
    return f"p50 {figures.p50:.1f} ms, p99 {figures.p99:.1f} ms, max {figures.max:.1f} ms"
