"""Setup on machines where something is missing: it says what, and the command that helps."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "packaging" / "prepare.py"
ABSENT = ("libabsent1", "library", "libabsent.so.1")


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, loaded by its path: the folder packaging/ is no package, and a library has its name."""
    spec = importlib.util.spec_from_file_location("prepare", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "prepare", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would have been run; every one succeeds and does nothing."""
    run: list[list[str]] = []

    def record(command: list[str], **_: Any) -> "subprocess.CompletedProcess[str]":
        run.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", record)
    return run


def test_the_list_of_system_packages_can_be_read(prepare: ModuleType) -> None:
    packages = prepare.read_system_packages(prepare.SYSTEM_PACKAGES.read_text(encoding="utf-8"), "python3.12")
    assert ("python3.12-venv", "module", "ensurepip") in packages
    assert ("libgl1", "library", "libGL.so.1") in packages


@pytest.mark.parametrize("line", ["libgl1", "libgl1 libGL.so.1", "libgl1 library:", "libgl1 file:/usr/lib/libGL.so.1"])
def test_a_wrong_line_is_named(prepare: ModuleType, line: str) -> None:
    with pytest.raises(prepare.SetupError, match="line 2: expected PACKAGE library:NAME"):
        prepare.read_system_packages(f"# list\n{line}\n", "python3.11")


def test_what_is_there_is_not_installed(prepare: ModuleType, commands: list[list[str]]) -> None:
    prepare.install_system_packages(
        [prepare.SystemPackage("libc6", "library", "libc.so.6"), prepare.SystemPackage("python3", "module", "json")]
    )
    assert commands == []


def test_without_rights_the_missing_ones_and_the_command_are_named(
    prepare: ModuleType, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "sudo_prefix", lambda: None)
    with pytest.raises(prepare.SetupError, match=r"missing: libabsent1\..*\n    sudo apt-get install -y .*libabsent1$"):
        prepare.install_system_packages([prepare.SystemPackage(*ABSENT), prepare.SystemPackage("libc6", "library", "libc.so.6")])
    assert commands == []


def test_what_is_still_missing_after_the_installation_is_named(
    prepare: ModuleType, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "sudo_prefix", lambda: ["sudo", "-n"])
    monkeypatch.setattr(prepare.shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(prepare.SetupError, match="could not be installed: libabsent1"):
        prepare.install_system_packages([prepare.SystemPackage(*ABSENT)])
    assert [c[:3] for c in commands] == [["sudo", "-n", "apt-get"], ["sudo", "-n", "env"]]


def test_a_working_venv_is_kept_and_one_of_a_moved_clone_is_made_afresh(
    prepare: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True)
    (made / "pip.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(made))  # stands for an installed pip, which takes seconds
    ran: list[list[str]] = []
    real = subprocess.run

    def watch(command: list[str], **options: Any) -> Any:
        ran.append(command)
        return subprocess.CompletedProcess(command, 0) if "--clear" in command else real(command, **options)

    monkeypatch.setattr(subprocess, "run", watch)
    monkeypatch.setattr(prepare, "VENV", made)
    assert prepare.make_venv() == made / "bin" / "python"
    assert not [command for command in ran if "--clear" in command]
    moved = made.rename(tmp_path / "moved")
    (moved / "bin" / "python").unlink()
    (moved / "bin" / "python").symlink_to(tmp_path / "gone")
    monkeypatch.setattr(prepare, "VENV", moved)
    prepare.make_venv()
    assert [command for command in ran if "--clear" in command] == [[sys.executable, "-m", "venv", "--clear", str(moved)]]


def test_an_index_out_of_reach_is_one_clear_line(prepare: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1))
    with pytest.raises(prepare.SetupError, match="is the package index within reach"):
        prepare.install_dependencies(Path("python"), ["dev"])


def test_an_old_python_is_told_what_is_needed(
    prepare: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "OLDEST_PYTHON", (99, 0))
    monkeypatch.setattr(sys, "argv", ["prepare.py"])
    assert prepare.main() == 1
    assert "Inspector needs 3.11 or newer" in capsys.readouterr().err
