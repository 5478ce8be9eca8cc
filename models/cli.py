"""`inspector model …`: a model's life. A table names the commands; the module behind one is loaded when it is called.

Nothing here needs torch: a command that does says so when it is called without it.
"""

import importlib
from importlib.util import find_spec

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "dataset": ("models.cli_dataset:dataset", "look into a dataset: counts, label errors, duplicates, leakage"),
    "train": ("models.cli_train:train", "train a detector on a dataset"),
    "compile": ("models.cli_train:compile_", "make a bundle of a trained detector, in every precision"),
    "evaluate": ("models.cli_evaluate:evaluate", "measure a bundle and a recipe on pictures with truth"),
    "bench": ("models.cli_bench:bench", "measure each device and precision of a bundle on this machine"),
    "golden": ("models.cli_gate:golden", "freeze and verify a golden set"),
    "gate": ("models.cli_gate:gate", "whether a candidate release may replace the active one"),
    "release": ("models.cli_release:release", "install, list, activate, roll back and retire releases"),
}
_TRAIN_EXTRA = ("torch", "torchvision", "ultralytics", "nncf")


class _Table(click.Group):
    """Commands from COMMANDS whose module is installed, each imported only when it is called or explains itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [name for name, (target, _) in COMMANDS.items() if find_spec(target.split(":")[0]) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module, name = COMMANDS[cmd_name][0].split(":")
        try:
            command = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] not in _TRAIN_EXTRA:
                raise
            raise click.ClickException(f"{cmd_name} needs {error.name}, which is not installed: run make setup-train") from error
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group("model", cls=_Table)
def model() -> None:
    """Datasets, training, evaluation and releases of models."""
