"""The station runs without what belongs to screens and training; import-linter (make lint) holds the other directions."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BANNED = ("PySide6", "pyqtgraph", "torch", "torchvision", "ultralytics", "nncf")

# Runs in a process of its own, where nothing has been imported yet. argv: the banned packages, comma-separated; "modules" or arguments.
WITHOUT_BANNED = """
import importlib, pkgutil, sys

banned = set(sys.argv.pop(1).split(","))

class Ban:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in banned:
            raise ImportError(f"{name} is banned in the station's process")

sys.meta_path.insert(0, Ban())
if sys.argv[1] == "modules":
    import inspector
    names = ["inspector", *(m.name for m in pkgutil.walk_packages(inspector.__path__, "inspector."))]
    for name in names:
        importlib.import_module(name)
    print("\\n".join(names))
else:
    from inspector.cli import main
    main()
"""


def run_without_banned(*arguments: str, banned: tuple[str, ...] = BANNED) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_BANNED, ",".join(banned), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, cwd=ROOT)


def test_every_module_of_the_station_is_imported_without_screens_and_training() -> None:
    done = run_without_banned("modules")
    assert done.returncode == 0, done.stderr
    files = [p.relative_to(ROOT).with_suffix("") for p in (ROOT / "inspector").rglob("*.py")]
    expected = {".".join(p.parent.parts if p.name == "__init__" else p.parts) for p in files}
    assert expected - {"inspector.__main__"} <= set(done.stdout.split())


def test_the_command_line_runs_without_screens_and_training() -> None:
    done = run_without_banned("--help")
    assert done.returncode == 0, done.stderr
    for command in ("demo", "inspect", "run", "check", "bench", "status", "ctl"):
        assert command in done.stdout


def test_the_ban_bites() -> None:
    done = run_without_banned("modules", banned=("numpy",))
    assert done.returncode != 0
    assert "numpy is banned" in done.stderr


def test_every_top_level_package_is_under_the_import_contracts() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    assert sorted(contracts["root_packages"]) == sorted(p.parent.name for p in ROOT.glob("*/__init__.py"))


def test_no_layer_is_optional() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = [layer for contract in contracts for layer in contract.get("layers", [])]
    assert layers
    assert not [layer for layer in layers if "(" in layer]


def test_tests_have_no_packages() -> None:
    # tests/ui/__init__.py would shadow the package ui.
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_a_station_reports_to_nobody() -> None:
    """OpenVINO tells its maker of every import, from a thread of its own, unless its reporter cannot be found."""
    look = "import inspector.detect.openvino as d, sys, threading; print(sys.modules.get('openvino_telemetry'), threading.active_count())"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=50, check=False, cwd=ROOT)
    assert (done.stdout.split(), done.returncode) == (["None", "1"], 0), done.stderr
