"""`inspector run`: the station as a service."""

import os
import signal
from pathlib import Path
from types import FrameType

import click

from inspector.build import build
from inspector.commands.check import time_budget
from inspector.config import StationConfig, data_folder
from inspector.errors import ConfigError, InspectorError
from inspector.link.address import socket_path
from inspector.link.server import LinkServer
from inspector.station import Station


@click.command(short_help="the station, as a service")
@click.argument("station_toml", metavar="STATION.toml", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="folder of the archive; else INSPECTOR_DATA, station.toml")
@click.option("--stopped", is_flag=True, help="wait for `inspector ctl start` instead of starting at once")
def run(station_toml: Path, data: Path | None, stopped: bool) -> None:
    """Run the station that STATION.toml describes until SIGTERM, Ctrl-C or `inspector ctl shutdown`; each leads to the safe state."""
    config = StationConfig.load(station_toml)
    folder = data_folder(data, config.station.data)
    _require_time(config, data)
    station = build(config, folder)
    server = LinkServer(station, socket_path(folder))
    try:
        server.start()
        station.start()
        _shutdown_on_signals(station)
        click.echo(f"station {config.station.name}, run {station.run}, pid {os.getpid()}, data in {folder}")
        if not stopped:
            click.echo(station.command("start", {}, "service"))
        while not station.wait_for_shutdown(timeout_s=1.0):
            pass
    finally:
        station.stop()
        server.close()
    if station.problem_at_end is not None:
        raise InspectorError(f"the station ended, but: {station.problem_at_end}")
    click.echo("station ended: READY low, everything recorded")


def _require_time(config: StationConfig, data: Path | None) -> None:
    """Refuse a line on which verdicts come too late by what was measured; say so when nothing was measured yet."""
    try:
        budget = time_budget(config, data)
    except ConfigError as error:
        click.echo(f"time budget not known: {error}", err=True)
        return
    if not budget.ok:
        raise ConfigError(f"verdicts would come too late: {budget.summary()}")


def _shutdown_on_signals(station: Station) -> None:
    def shut_down(number: int, _: FrameType | None) -> None:
        station.command("shutdown", {}, signal.Signals(number).name)

    signal.signal(signal.SIGTERM, shut_down)
    signal.signal(signal.SIGINT, shut_down)
