"""`inspector model release`: the releases of a station, and which one is active."""

import getpass
import json
from pathlib import Path
from typing import Any

import click
import openvino as ov

from inspector.bundle import Bundle, find_default_bundle
from inspector.config import data_folder
from inspector.recipe import load
from models import releases_station
from models.gate_looker import open_looker
from models.releases import Candidate, Installed, Store
from models.sealed import ReleaseError

_DATA = click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="data folder of the station")
_WHO = click.option("--who", help="who asks, for the records; otherwise the name of the user")


@click.group("release", short_help="install, list, activate, roll back, retire")
def release() -> None:
    """Releases: recipe revision, bundle, device and precision together. One is active; a change needs a passed gate, the way back
    does not."""


@release.command("install", short_help="copy recipe and bundle into the store, verified")
@click.argument("recipe_file", metavar="RECIPE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--bundle", type=click.Path(exists=True, file_okay=False, path_type=Path), help="model bundle; else the one that ships")
@click.option("--precision", help="one of the bundle's precisions; else its default")
@click.option("--device", default="CPU", show_default=True, help="OpenVINO device that will run it")
@_DATA
@_WHO
def install(recipe_file: Path, bundle: Path | None, precision: str | None, device: str, data: Path | None, who: str | None) -> None:
    """Copy recipe and bundle into the data folder, every file verified. `inspector model gate` does the same on its way."""
    recipe, opened, store = load(recipe_file), Bundle.open(bundle or find_default_bundle()), Store(data_folder(data))
    looker = open_looker(recipe, opened, device=device, precision=precision, cache_dir=store.data / "cache")
    looker.close()
    candidate = Candidate(recipe_file, recipe, opened, looker.info, device, precision_of(opened, precision))
    click.echo(f"installed {store.install(candidate, who or user())}")


@release.command("list", short_help="every release, its gate, and which one is active")
@_DATA
@click.option("--json", "as_json", is_flag=True, help="one JSON object as the last line")
def list_(data: Path | None, as_json: bool) -> None:
    """Every release in the store. The exit status is 1 if one of them is damaged."""
    store = Store(data_folder(data))
    pointer = store.pointer()
    active = None if pointer is None else pointer.active.id
    before = [] if pointer is None else [step.id for step in pointer.before]
    rows: list[dict[str, Any]] = []
    for found in store.every():
        row = _row(found, active, before)
        rows.append(row)
        click.echo(f"{row['state']:<12}{found}{'; ' + row['gate'] if isinstance(found, Installed) else ''}")
    if not rows:
        click.echo(f"{store.folder}: no releases; `inspector model gate` or `release install` adds one")
    if as_json:
        click.echo(json.dumps({"active": active, "before": before, "releases": rows}))
    if any(row["state"] == "damaged" for row in rows):
        raise click.exceptions.Exit(1)


@release.command("activate", short_help="make a release active that passed the gate")
@click.argument("ident", metavar="RELEASE")
@_DATA
@_WHO
def activate(ident: str, data: Path | None, who: str | None) -> None:
    """Change over to RELEASE (its id, or how it begins). A running station has to be stopped or paused first."""
    store = Store(data_folder(data))
    click.echo(releases_station.activate(store, store.find(ident), f"OpenVINO {ov.__version__}", who or user()))


@release.command("rollback", short_help="back to the release before, in one step")
@_DATA
@_WHO
def rollback(data: Path | None, who: str | None) -> None:
    """Go back to the release that was active before; no gate is asked. A running station has to be stopped or paused first."""
    click.echo(releases_station.roll_back(Store(data_folder(data)), who or user()))


@release.command("retire", short_help="never activate a release again")
@click.argument("ident", metavar="RELEASE")
@_DATA
@_WHO
def retire(ident: str, data: Path | None, who: str | None) -> None:
    """Retire RELEASE: it cannot be activated any more. Its files stay, because records refer to them."""
    store = Store(data_folder(data))
    found = store.find(ident)
    store.retire(found, who or user())
    click.echo(f"retired {found}")


def user() -> str:
    """Who asks, by the name that the system knows."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"  # a user id without a name, as in a container


def precision_of(bundle: Bundle, asked: str | None) -> str:
    """The name in the bundle of the precision that was asked for."""
    return asked or bundle.card.default_precision


def _row(found: Installed | ReleaseError, active: str | None, before: list[str]) -> dict[str, Any]:
    if isinstance(found, ReleaseError):
        return {"state": "damaged", "problem": str(found)}
    try:
        gate = found.gate()
    except ReleaseError as error:
        return {"id": found.id, "state": "damaged", "problem": str(error), "gate": str(error)}
    state = "active" if found.id == active else "retired" if found.retired else "previous" if before[-1:] == [found.id] else "installed"
    result = "passed" if gate is not None and gate.passed else "REFUSED"
    text = "not gated" if gate is None else f"gate {result} {gate.utc[:19]}Z against {gate.against or 'none'}"
    return found.file.model_dump() | {"state": state, "gate": text, "passed": gate and gate.passed}
