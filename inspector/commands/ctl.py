"""`inspector ctl`: tell the running station what to do."""

import getpass
import json
from pathlib import Path

import click

from inspector.commands.status import connect, failure
from inspector.errors import InspectorError

COMMANDS = ("start", "stop", "pause", "acknowledge", "activate", "shutdown")


@click.command("ctl", short_help="start, stop, pause, acknowledge, activate, shutdown")
@click.argument("command", type=click.Choice(COMMANDS))
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--station", type=click.Path(path_type=Path), metavar="STATION.toml", help="where it names the data folder")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="data folder of the station")
@click.option("--who", help="who asks, for the records; otherwise the name of the user")
@click.option("--json", "as_json", is_flag=True, help="one JSON object as the last line")
def ctl(command: str, arguments: tuple[str, ...], station: Path | None, data: Path | None, who: str | None, as_json: bool) -> None:
    """Tell the running station what to do, and print what it did. The exit status is 0 only if it did it."""
    pairs = _pairs(arguments)
    if pairs and command != "activate":
        raise click.UsageError(f"{command} takes no arguments; only activate does: recipe=FILE bundle=FOLDER")
    if command == "activate":
        # The station runs in a folder of its own: a path means what it means here.
        pairs = {key: str(Path(value).absolute()) if key in ("recipe", "bundle") else value for key, value in pairs.items()}
    try:
        with connect(station, data) as client:
            text = client.command(command, pairs, who or _user())
    except InspectorError as e:
        raise failure(e, as_json) from e
    click.echo(json.dumps({"command": command, "done": text}) if as_json else text)


def _pairs(arguments: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not key or not equals:
            raise click.UsageError(f"{argument}: should be KEY=VALUE, such as recipe=board.toml")
        if key in pairs:
            raise click.UsageError(f"{key}: is given twice")
        pairs[key] = value
    return pairs


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"  # a user id without a name, as in a container
