"""Promises of the repository itself: everything pinned, nothing of one machine in it, files of a readable size, data in the wheel."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LONGEST_FILE = 400
MAY_BE_LONGER = ("LICENSE", "packaging/constraints.txt")
MODEL_SUFFIXES = (".xml",)  # written by OpenVINO

# Put together from pieces, because this file is searched, too.
MACHINE_PATHS = [
    "/".join(("", *parts)) for parts in (("work", "main"), ("work", "shared"), ("root", ""), ("home", ""), ("tmp", "bash"), ("opt", "pypi"))
]
REGISTRIES = [".".join(parts) for parts in (("files", "pythonhosted"), ("pypi", "org"), ("download", "pytorch"), ("deb", "debian"))]
INDEX_OPTIONS = ["--" + option for option in ("index-url", "extra-index-url", "find-links", "trusted-host")]


def tracked() -> list[Path]:
    """Files in git that are in the working tree. Paths relative to ROOT."""
    if not (ROOT / ".git").exists():
        pytest.fail("these tests look at what git tracks: run them in a clone")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str | None:
    """The text of a tracked file; None where it is not text."""
    data = (ROOT / path).read_bytes()
    return None if b"\0" in data else data.decode("utf-8")


def pins() -> dict[str, str]:
    lines = (ROOT / "packaging/constraints.txt").read_text(encoding="utf-8").splitlines()
    found: dict[str, str] = {}
    for line in (line.split("#")[0].strip() for line in lines):
        if line:
            pinned = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line)
            assert pinned, f"constraints.txt: {line!r} is no NAME==VERSION"
            assert canonicalize_name(pinned[1]) not in found, f"constraints.txt: {pinned[1]} stands twice"
            found[canonicalize_name(pinned[1])] = pinned[2]
    return found


def test_every_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    wanted += [r for extra in project["project"]["optional-dependencies"].values() for r in extra]
    pinned = pins()
    for requirement in map(Requirement, wanted):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} has no pin in packaging/constraints.txt"
        assert requirement.specifier.contains(version), f"{requirement} does not allow its own pin {version}"


def test_what_is_installed_for_the_station_and_its_tests_is_what_is_pinned() -> None:
    pinned = pins()
    unpinned = {n: v for n, v in installed_for("inspector-station[dev]").items() if pinned.get(n) != v}
    assert not unpinned, f"not as packaging/constraints.txt has it: {unpinned}; pin it there, or run make setup"


def installed_for(requirement: str) -> dict[str, str]:
    """All that a requirement brings along, from the metadata of what is installed: name → version."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(requirement)]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        package = distribution(name)
        found[name] = package.version
        extras = wanted.extras or {""}
        needed = map(Requirement, package.requires or [])
        waiting += [n for n in needed if n.marker is None or any(n.marker.evaluate({"extra": extra}) for extra in extras)]
    return {name: version for name, version in found.items() if name not in ("inspector-station", "pip")}  # pip comes with the .venv


@pytest.mark.parametrize("forbidden", [*MACHINE_PATHS, *REGISTRIES, *INDEX_OPTIONS])
def test_no_file_names_a_machine_or_a_registry(forbidden: str) -> None:
    named = [str(path) for path in tracked() if path.name != "LICENSE" and forbidden in (text_of(path) or "")]
    assert named == []


def test_every_file_is_of_a_readable_size() -> None:
    long = {}
    for path in tracked():
        if path.suffix not in MODEL_SUFFIXES and path.as_posix() not in MAY_BE_LONGER:
            lines = (text_of(path) or "").count("\n")
            if lines > LONGEST_FILE:
                long[path.as_posix()] = lines
    assert long == {}


def test_ci_runs_what_the_readme_names() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in ("make demo", "make test"):
        assert f"    {command}\n" in readme, f"README.md does not show {command}"
    for command in ("make lint", "make test"):
        assert re.search(rf"^{command}\b", script.read_text(encoding="utf-8"), re.MULTILINE)


def test_links_in_markdown_lead_somewhere() -> None:
    for path in (p for p in tracked() if p.suffix == ".md"):
        targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(path) or "")
        broken = [t for t in targets if "://" not in t and not (ROOT / path.parent / t).exists()]
        assert broken == [], f"{path} links to what is not there"


@pytest.mark.slow
def test_the_wheel_carries_models_and_recipes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for path in tracked():
        (source / path.parent).mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, source / path)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(tmp_path),
        str(source),
    ]
    done = subprocess.run(build, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    carried = set(zipfile.ZipFile(wheel).namelist())
    data = [p.as_posix() for p in tracked() if p.as_posix().startswith(("models/bundles/", "models/recipes/"))]
    assert data
    assert set(data) <= carried
    assert not [name for name in carried if name.startswith(("tests/", "packaging/"))]
