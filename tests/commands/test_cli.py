"""The command line as a whole: what it lists, what it refuses, and how an error looks."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from inspector import __version__, cli


def test_help_lists_every_command_with_its_line() -> None:
    result = CliRunner().invoke(cli.cli, ["--help"])
    assert result.exit_code == 0
    for name, (_, text) in cli.COMMANDS.items():
        assert f"  {name} " in result.output
        assert text[:30] in " ".join(result.output.split())


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_explains_itself(name: str) -> None:
    # In the same words everywhere: the table must not name what is not there.
    result = CliRunner().invoke(cli.cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Usage: ")


def test_no_command_is_loaded_before_it_is_called() -> None:
    heavy = "('inspector.commands', 'openvino', 'cv2', 'pymodbus')"
    code = f"import sys, inspector.cli; print([name for name, module in sys.modules.items() if module and name.startswith({heavy})])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert said.stdout.strip() == "[]"


def test_an_unknown_command_is_named_and_the_exit_status_says_so() -> None:
    result = CliRunner().invoke(cli.cli, ["polish"])
    assert result.exit_code == 2
    assert "No such command 'polish'" in result.output


def test_the_version_is_that_of_the_package() -> None:
    result = CliRunner().invoke(cli.cli, ["--version"])
    assert result.output.strip() == f"inspector, version {__version__}"


def test_an_error_raised_on_purpose_is_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["inspector", "run", str(tmp_path / "nowhere.toml")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"inspector: {tmp_path / 'nowhere.toml'}: cannot be read")
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what was raised on purpose is shortened: anything else has to be found."""

    @click.command()
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "cli", broken)
    monkeypatch.setattr(sys, "argv", ["inspector"])
    with pytest.raises(ZeroDivisionError):
        cli.main()
