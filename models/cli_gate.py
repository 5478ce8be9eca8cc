"""`inspector model gate` and `golden`: evidence before a release."""

import json
import shlex
import sys
from pathlib import Path

import click

from inspector.bundle import Bundle, find_default_bundle
from inspector.clock import wall_utc
from inspector.config import data_folder
from inspector.recipe import load
from models import gate_golden
from models.cli_release import precision_of, user
from models.evaluate import Evaluation, Release
from models.gate import Limits, Outcome, decide, limits, look, read_limits
from models.gate_golden import Golden, open_golden
from models.gate_looker import open_looker
from models.gate_report import gate_html
from models.releases import Candidate, Installed, Store
from models.sealed import ReleaseError, write_whole

LIMITS = "release_limits.toml"
"""In the data folder: the station's own release limits."""
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("golden", short_help="freeze and verify a golden set")
def golden() -> None:
    """A golden set: pictures with truth in dataset form, frozen by the SHA-256 of every file."""


@golden.command("freeze", short_help="write golden.json over every file of the folder")
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--bundle", type=_FOLDER, help="where DIR has no classes.txt: the model bundle whose class names its labels' numbers mean")
def freeze(folder: Path, bundle: Path | None) -> None:
    """Freeze DIR (defective/, good/, labels/, classes.txt) as a golden set. Look through it first: it says what is right from now on."""
    frozen = gate_golden.freeze(folder, () if bundle is None else Bundle.open(bundle).classes)
    split = frozen.split
    click.echo(f"{folder}: frozen, {len(split.defective)} defective and {len(split.good)} good parts, SHA-256 {frozen.hash}")


@golden.command("verify", short_help="say whether a golden set is as it was frozen")
@click.argument("folder", metavar="DIR", type=_FOLDER)
def verify(folder: Path) -> None:
    """Exit status 0 only if every file of DIR is as it was frozen, and none was added."""
    click.echo(f"{folder}: as frozen, SHA-256 {open_golden(folder).hash}")


@click.command("gate", short_help="whether a candidate release may replace the active one")
@click.argument("recipe_file", metavar="CANDIDATE_RECIPE", type=_FILE)
@click.option("--bundle", type=_FOLDER, help="model bundle; else the one that ships")
@click.option("--precision", help="one of the bundle's precisions; else its default")
@click.option("--device", default="CPU", show_default=True, help="OpenVINO device that will run it")
@click.option("--golden", "golden_folder", required=True, type=_FOLDER, metavar="DIR", help="golden set, frozen")
@click.option("--active", metavar="RELEASE", help="hold it against this release, not the active one")
@click.option("--escapes-upper", type=float, metavar="SHARE", help="highest 95 % bound of escapes, 0 to 1")
@click.option("--overkills-upper", type=float, metavar="SHARE", help="highest 95 % bound of overkills, 0 to 1")
@click.option("--limits", "limits_file", type=_FILE, metavar="TOML", help=f"file with [release_limits]; else {LIMITS} in the data folder")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="data folder of the station")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="write the report here as well")
@click.option("--json", "as_json", is_flag=True, help="one JSON object as the last line")
def gate(
    recipe_file: Path,
    bundle: Path | None,
    precision: str | None,
    device: str,
    golden_folder: Path,
    active: str | None,
    escapes_upper: float | None,
    overkills_upper: float | None,
    limits_file: Path | None,
    data: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Hold a candidate (recipe, bundle, device, precision) against the active release on the golden set, on this machine.

    It is installed in the store with the report, whatever that says; only one that passed can be activated. The exit status is 0 only if it
    passed."""
    store = Store(data_folder(data))
    bounds = _limits(store.data, limits_file, {"escapes_upper": escapes_upper, "overkills_upper": overkills_upper})
    frozen, recipe, opened = open_golden(golden_folder), load(recipe_file), Bundle.open(bundle or find_default_bundle())
    baseline = store.find(active) if active else store.baseline(recipe.name)
    before = None if baseline is None else _look_again(baseline, frozen, store.data)
    looker = open_looker(recipe, opened, device=device, precision=precision, cache_dir=store.data / "cache")
    try:
        measured_by = Release(opened.name, opened.hash, recipe.name, recipe.revision, recipe.presence_text)
        with click.progressbar(length=1, label="candidate") as bar:

            def progress(done: int, of: int) -> None:
                bar.length = of
                bar.update(done - bar.pos)

            outcome = decide(look(frozen, looker, measured_by, progress), before, bounds)
        page = gate_html(outcome, frozen, looker, shlex.join(["inspector", *sys.argv[1:]]))
        candidate = Candidate(recipe_file, recipe, opened, looker.info, device, precision_of(opened, precision))
    finally:
        looker.close()
    installed = store.install(candidate, user())
    content = outcome.document(frozen) | {"against": baseline and baseline.id, "utc": wall_utc(), "by": user()}
    kept = store.keep_gate(installed, content, page)
    if html is not None:
        write_whole((html, page.encode()))
    _tell(outcome, installed, baseline)
    if as_json:
        click.echo(json.dumps(kept.model_dump()))
    if not outcome.passed:
        raise click.exceptions.Exit(1)


def _limits(data: Path, file: Path | None, options: dict[str, float | None]) -> Limits:
    """From the options, else the file, else the station's own. Raises ReleaseError."""
    given = {key: value for key, value in options.items() if value is not None}
    path = file or (data / LIMITS if (data / LIMITS).is_file() else None)
    if len(given) == len(options) or path is None:
        if not given:
            raise ReleaseError(f"no release limits: give --escapes-upper and --overkills-upper, --limits, or {data / LIMITS}")
        return limits(given, "release limits")
    return limits(read_limits(path).model_dump() | given, str(path))


def _look_again(release: Installed, frozen: Golden, data: Path) -> Evaluation:
    """The release that the candidate is held against, on the same pictures, where and as it runs."""
    recipe, bundle = release.open()
    f = release.file
    looker = open_looker(recipe, bundle, device=f.asked_device, precision=f.asked_precision, cache_dir=data / "cache")
    try:
        return look(frozen, looker, Release(bundle.name, bundle.hash, recipe.name, recipe.revision, recipe.presence_text))
    finally:
        looker.close()


def _tell(outcome: Outcome, installed: Installed, baseline: Installed | None) -> None:
    click.echo(f"candidate {installed}")
    click.echo(f"against   {baseline or 'nothing: no active release of this recipe'}")
    for rule in outcome.rules:
        click.echo(f"{'ok' if rule.ok else 'NOT OK':<8}{rule.name}: {rule.text}")
    for flip in outcome.flips:
        click.echo(f"        flips: {flip.title}")
    info = outcome.candidate.info
    result = "passed" if outcome.passed else "REFUSED"
    click.echo(f"{result} on {info.device} {info.precision}, and there only; report: {installed.folder / 'gate.html'}")
