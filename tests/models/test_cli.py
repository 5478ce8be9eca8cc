"""`inspector model`: its commands are there without the training extra, which only a command that trains asks for."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from inspector.cli import cli
from models import cli as model_cli

ROOT = Path(__file__).resolve().parents[2]
# Runs in a process of its own, where nothing has been imported yet.
WITHOUT_TRAINING = """
import sys

class Ban:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "ultralytics", "nncf"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Ban())
from inspector.cli import main
main()
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TRAINING, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, cwd=ROOT)


def test_help_works_without_torch() -> None:
    done = run("model", "--help")
    assert done.returncode == 0, done.stderr
    for command in ("dataset", "evaluate"):
        assert command in done.stdout


@pytest.mark.parametrize("command", [("dataset", "check"), ("evaluate",)])
def test_what_needs_no_torch_runs_without_it(command: tuple[str, ...]) -> None:
    done = run("model", *command, "--help")
    assert done.returncode == 0, done.stderr
    assert "DIR" in done.stdout


def test_a_command_that_needs_the_extra_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch.nn')")
    (tmp_path / "is_broken.py").write_text("import a_module_that_nobody_has")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(model_cli.COMMANDS, "learn", ("needs_torch:learn", "learns"))
    monkeypatch.setitem(model_cli.COMMANDS, "broken", ("is_broken:broken", "is broken"))
    done = CliRunner().invoke(cli, ["model", "learn"])
    assert done.exit_code == 1
    assert "learn needs torch.nn, which is not installed: run make setup-train" in done.output
    assert isinstance(CliRunner().invoke(cli, ["model", "broken"]).exception, ModuleNotFoundError)


def test_a_command_whose_module_is_not_there_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(model_cli.COMMANDS, "later", ("models.no_such_module:later", "comes later"))
    assert isinstance(model_cli.model, click.Group)
    assert "later" not in model_cli.model.list_commands(click.Context(model_cli.model))
    done = CliRunner().invoke(cli, ["model", "later"])
    assert done.exit_code == 2
    assert "No such command" in done.output
