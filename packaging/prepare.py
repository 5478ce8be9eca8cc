"""Sets up what the make targets need: system packages, .venv, pinned dependencies.

make runs it with the system's python3, before anything is installed: standard library only, and no syntax that an older python3
could not read (it has to be able to say that it is too old).

    python3 packaging/prepare.py [--extra NAME]...
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CONSTRAINTS = ROOT / "packaging" / "constraints.txt"
SYSTEM_PACKAGES = ROOT / "packaging" / "system-packages.txt"
OLDEST_PYTHON = (3, 11)


class SetupError(Exception):
    """Setup cannot go on; the text says what is missing, and the command that helps."""


class SystemPackage(NamedTuple):
    """A package of the distribution and how its presence shows: kind "library" (proof: soname) or "module" (proof: name)."""

    name: str
    kind: str
    proof: str

    def is_present(self) -> bool:
        """True if the proof holds for the interpreter that runs this script."""
        if self.kind == "module":
            return importlib.util.find_spec(self.proof) is not None
        try:
            ctypes.CDLL(self.proof)
        except OSError:
            return False
        return True


def read_system_packages(text: str, python: str) -> list[SystemPackage]:
    """The packages of a list in the form of system-packages.txt; `python` takes the place of {python}. Raises SetupError."""
    packages = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        kind, _, proof = words[1].partition(":") if len(words) > 1 else ("", "", "")
        if kind not in ("library", "module") or not proof:
            raise SetupError(f"system-packages.txt, line {number}: expected PACKAGE library:NAME or PACKAGE module:NAME, found {line!r}")
        packages.append(SystemPackage(words[0].replace("{python}", python), kind, proof))
    return packages


def install_system_packages(packages: list[SystemPackage]) -> None:
    """Install what is missing, where root or a sudo without password allows. Raises SetupError: the missing ones and the command."""
    missing = [p for p in packages if not p.is_present()]
    if not missing:
        return
    names = [p.name for p in missing]
    command = ["apt-get", "install", "-y", "--no-install-recommends", *names]
    sudo = sudo_prefix()
    if sudo is None or shutil.which("apt-get") is None:
        raise SetupError(f"system packages are missing: {' '.join(names)}. Install them, then try again:\n    sudo {' '.join(command)}")
    say(f"installing system packages: {' '.join(names)}")
    # A bare image has no package lists; where the network is down, apt-get install may still find the packages in its cache.
    subprocess.run([*sudo, "apt-get", "update", "-qq"], check=False, stdin=subprocess.DEVNULL)
    done = subprocess.run([*sudo, "env", "DEBIAN_FRONTEND=noninteractive", *command, "-qq"], check=False, stdin=subprocess.DEVNULL)
    importlib.invalidate_caches()
    still = [p.name for p in missing if not p.is_present()]
    if done.returncode or still:
        raise SetupError(f"system packages could not be installed: {' '.join(still or names)}. By hand:\n    sudo {' '.join(command)}")


def sudo_prefix() -> list[str] | None:
    """What to put before a command to run it as root: nothing, sudo, or None where neither is possible without asking."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    asked = subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True, stdin=subprocess.DEVNULL)
    return ["sudo", "-n"] if asked.returncode == 0 else None


def make_venv() -> Path:
    """The python of .venv, made afresh where there is none that works (a moved folder, a removed interpreter). Raises SetupError."""
    python = VENV / "bin" / "python"
    probe = f"import pip, sys; sys.exit(sys.prefix != {str(VENV)!r} or sys.version_info < {OLDEST_PYTHON!r})"
    if python.exists() and subprocess.run([str(python), "-c", probe], check=False, capture_output=True).returncode == 0:
        return python
    say("making .venv")
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=False).returncode:
        raise SetupError(f"{sys.executable} could not make .venv; see its message above")
    return python


def install_dependencies(python: Path, extras: list[str]) -> None:
    """The package itself (editable) with its extras, every version from constraints.txt. Raises SetupError."""
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "-c", str(CONSTRAINTS)]
    say(f"installing the pinned dependencies ({', '.join(extras)}) into .venv; this takes a few minutes the first time")
    # Without build isolation the build backend, too, has the version of constraints.txt.
    for arguments in (["setuptools"], ["--no-build-isolation", "-e", f"{ROOT}[{','.join(extras)}]"]):
        if subprocess.run([*pip, *arguments], check=False, stdin=subprocess.DEVNULL).returncode:
            raise SetupError("pip could not install the dependencies; see its message above (is the package index within reach?)")


def say(text: str) -> None:
    """A line of progress, at once, so that it stands above what the next command prints."""
    print(f"setup: {text}", flush=True)


def main() -> int:
    """Exit status 0 when everything is in place."""
    parser = argparse.ArgumentParser(description="Set up system packages, .venv and the pinned dependencies.")
    parser.add_argument("--extra", action="append", default=[], help="an extra of pyproject.toml beyond dev, such as train")
    extras = ["dev", *parser.parse_args().extra]
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    try:
        if sys.version_info < OLDEST_PYTHON:
            raise SetupError(f"{sys.executable} is {name}; Inspector needs 3.11 or newer: make PYTHON=python3.11 ...")
        install_system_packages(read_system_packages(SYSTEM_PACKAGES.read_text(encoding="utf-8"), name))
        install_dependencies(make_venv(), extras)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
