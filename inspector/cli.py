"""The command line. A table names the commands; the module behind one is loaded when it is called."""

import importlib
import sys

import click

from inspector import __version__
from inspector.errors import InspectorError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("inspector.commands.demo:demo", "a whole line on this machine: PLC simulator, camera, station"),
    "inspect": ("inspector.commands.inspect:inspect", "judge pictures as parts"),
    "run": ("inspector.commands.run:run", "the station, as a service"),
    "check": ("inspector.commands.check:check", "verify station.toml and all that it names; starts nothing"),
    "bench": ("inspector.commands.bench:bench", "measure inference and PLC on this machine"),
    "status": ("inspector.commands.status:status", "what the running station is doing"),
    "ctl": ("inspector.commands.ctl:ctl", "start, stop, pause, acknowledge, activate, shutdown"),
    "plc-sim": ("inspector.commands.plc_sim:plc_sim", "a line behind a real Modbus TCP server"),
    "board-sim": ("inspector.commands.board_sim:board_sim", "render boards with known defects into a folder"),
    "model": ("models.cli:model", "datasets, training, evaluation and releases of models"),
}


class _Table(click.Group):
    """Commands from COMMANDS, each imported only when it is called or explains itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0].split(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=_Table, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="inspector")
def cli() -> None:
    """Inspector: an inspection station that can prove what happened to every part."""


def main() -> None:
    """Entry point: an error raised on purpose, or by the operating system, is one line on standard error and exit status 1."""
    try:
        cli()
    except InspectorError as error:
        click.echo(f"inspector: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(
            f"inspector: {error.filename or 'this machine'}: {error.strerror or error}; check the path, its rights and the disk", err=True
        )
        sys.exit(1)
