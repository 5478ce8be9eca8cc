"""The gate and the releases by the command line, with a small network that really runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from inspector.bundle import Bundle
from inspector.errors import InspectorError
from models.releases import Installed, Store
from models.sealed import ReleaseError

RECIPE = """
name = "board"
frame = {{ width = 64, height = 64 }}
presence = {{ method = "off", why = "for tests" }}
classes = {{ open = {{ limit = {limit}, severity = "critical" }}, short = {{ limit = 0.5 }} }}
"""

Install = Callable[..., Installed]
Command = Callable[..., Result]


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_release_s_life(command: Command, golden: Path, bundle: Bundle, store: Store, tmp_path: Path) -> None:
    assert command("golden", "freeze", str(golden), "--bundle", str(bundle.folder)).exit_code == 0
    assert command("golden", "verify", str(golden)).exit_code == 0
    done = command("gate", "0.5", "--json")
    assert done.exit_code == 0, done.output
    first = json.loads(done.output.splitlines()[-1])
    assert (first["passed"], first["against"], first["device"], first["precision"]) == (True, None, "CPU", "fp32/f32")
    assert command("release", "activate", first["release"][:6]).exit_code == 0
    blind = command("gate", "0.95", "--html", str(tmp_path / "blind.html"), "--json")
    assert blind.exit_code == 1
    second = json.loads(blind.output.splitlines()[-1])
    assert (second["passed"], second["against"], len(second["flips"])) == (False, first["release"], 8)
    page = (tmp_path / "blind.html").read_text(encoding="utf-8")
    assert page == (store.folder / second["release"] / "gate.html").read_text(encoding="utf-8")
    assert page.count("<img") == 8
    refused = command("release", "activate", second["release"])
    assert isinstance(refused.exception, ReleaseError)
    third = json.loads(command("gate", "0.6", "--json").output.splitlines()[-1])
    assert command("release", "activate", third["release"]).exit_code == 0
    assert "is the one to go back to" in str(command("release", "retire", first["release"]).exception)
    assert command("release", "retire", second["release"]).exit_code == 0
    listed = json.loads(command("release", "list", "--json").output.splitlines()[-1])
    assert {r["id"]: r["state"] for r in listed["releases"]} == {
        first["release"]: "previous",
        second["release"]: "retired",
        third["release"]: "active",
    }
    assert f"went back to {first['release']}" in command("release", "rollback").output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--device", "TPU"], "device TPU is not there"),
        (["--precision", "int3"], "has no precision int3"),
        (["--active", "abc"], "there is no release abc"),
    ],
)
def test_the_gate_refuses_in_one_line(command: Command, golden: Path, store: Store, arguments: list[str], says: str) -> None:
    assert command("golden", "freeze", str(golden)).exit_code == 1, "nobody says what the numbers mean"
    (golden / "classes.txt").write_text("open\nshort\n")
    assert command("golden", "freeze", str(golden)).exit_code == 0
    done = command("gate", "0.5", *arguments)
    assert isinstance(done.exception, InspectorError)
    assert says in str(done.exception)
    assert "\n" not in str(done.exception)
    assert "no release limits" in str(command("gate", "0.5", limits=False).exception)
    (golden / "good" / "0.png").unlink()
    assert "0.png: is missing" in str(command("gate", "0.5").exception)
    assert list(store.every()) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [("card.json", '"none"', '"mine"', "was edited after it was made"), ("fp32/model.xml", "tiny", "tinx", "differs from what card.json")],
)
def test_a_bundle_that_was_edited(
    command: Command, golden: Path, bundle: Bundle, store: Store, tmp_path: Path, file: str, old: str, new: str, says: str
) -> None:
    (golden / "classes.txt").write_text("open\nshort\n")
    command("golden", "freeze", str(golden))
    shutil.copytree(bundle.folder, tmp_path / "edited")
    _edit(tmp_path / "edited" / file, old, new)
    assert says in str(command("gate", "0.5", folder=tmp_path / "edited").exception)
    assert list(store.every()) == []


def test_limits_of_the_station(command: Command, golden: Path, store: Store) -> None:
    (golden / "classes.txt").write_text("open\nshort\n")
    command("golden", "freeze", str(golden))
    store.data.mkdir()
    (store.data / "release_limits.toml").write_text("[release_limits]\nescapes_upper = 0.05\noverkills_upper = 0.05\n")
    strict = command("gate", "0.5", limits=False)
    assert strict.exit_code == 1
    assert "0 of 4 defective boards pass, at most 52.71 % at 95 %: not shown to be within the limit of 5.00 %" in strict.output
    wider = command("gate", "0.5", "--escapes-upper", "0.6", "--overkills-upper", "0.6", limits=False)
    assert wider.exit_code == 0, wider.output


def test_a_damaged_release_is_listed_as_such(command: Command, install: Install) -> None:
    made = install(0.5)
    (made.folder / "release.json").write_text("{")
    done = command("release", "list", "--json")
    assert done.exit_code == 1
    assert "is no JSON" in done.output
    assert json.loads(done.output.splitlines()[-1])["releases"][0]["state"] == "damaged"
