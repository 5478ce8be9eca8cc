"""`inspector run`: the station as a service."""

import os
import signal
import threading
from pathlib import Path

import click

from inspector.build import build
from inspector.commands.check import time_budget
from inspector.config import StationConfig, data_folder
from inspector.errors import ConfigError, InspectorError
from inspector.link.address import socket_path
from inspector.link.server import LinkServer
from inspector.station import Station
from inspector.types import Status

_LOOK_S = 0.1


@click.command(short_help="the station, as a service")
@click.argument("station_toml", metavar="STATION.toml", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="folder of the archive; else INSPECTOR_DATA, station.toml")
@click.option("--stopped", is_flag=True, help="wait for `inspector ctl start` instead of starting at once")
@click.option("--parent", type=int, hidden=True, help="end when this process is no longer the parent")
def run(station_toml: Path, data: Path | None, stopped: bool, parent: int | None) -> None:
    """Run the station that STATION.toml describes until SIGTERM, Ctrl-C or `inspector ctl shutdown`; each leads to the safe state.

    Every change of state is a line on standard output.
    """
    asked = _signals()
    config = StationConfig.load(station_toml)
    folder = data_folder(data, config.station.data)
    _require_time(config, data)
    station = build(config, folder)
    server = LinkServer(station, socket_path(folder))
    try:
        server.start()
        station.start()
        click.echo(f"station {config.station.name}, run {station.run}, pid {os.getpid()}, data in {folder}")
        if not stopped and not asked:
            click.echo(station.command("start", {}, "service"))
        _serve(station, asked, parent)
    finally:
        station.stop()
        server.close()
    if station.problem_at_end is not None:
        raise InspectorError(f"the station ended, but: {station.problem_at_end}")
    click.echo("station ended: READY low as far as the PLC could be reached, everything recorded")


def _signals() -> list[str]:
    """The names of the signals that asked for the end, so far; from now on they end nothing by themselves."""
    asked: list[str] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(signal.Signals(number).name))
    return asked


def _serve(station: Station, asked: list[str], parent: int | None) -> None:
    """Say what happens until somebody asks for the end."""
    pause, told = threading.Event(), ""
    while not station.wait_for_shutdown(timeout_s=0):
        said = _line(station.status())
        if said != told:
            click.echo(said)
            told = said
        if parent is not None and os.getppid() != parent:
            asked.append("the end of its parent")
        if asked:
            click.echo(station.command("shutdown", {}, asked[0]))
            return
        pause.wait(_LOOK_S)


def _line(status: Status) -> str:
    cause = f": {status.cause.text}; {status.cause.next_step}" if status.cause is not None else ""
    return f"{status.since_utc} {status.state}{cause}"


def _require_time(config: StationConfig, data: Path | None) -> None:
    """Refuse a line on which verdicts come too late by what was measured; say so when nothing was measured yet."""
    try:
        budget = time_budget(config, data)
    except ConfigError as error:
        click.echo(f"time budget not known: {error}", err=True)
        return
    if not budget.ok:
        raise ConfigError(f"verdicts would come too late: {budget.summary()}")
