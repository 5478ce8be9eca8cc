"""`inspector model evaluate`: what a bundle and a recipe find on pictures with truth."""

import json
import shlex
import sys
from pathlib import Path

import click

from calibration.statistics import Share
from inspector.bundle import Bundle, find_default_bundle
from inspector.config import data_folder
from inspector.recipe import load
from models.dataset import find_classes, open_split
from models.evaluate import Evaluation, Release
from models.evaluate import evaluate as measure
from models.looking import Looker
from models.part_level import PartFigures
from models.report import write_report

_RECIPE = Path(__file__).parent / "recipes" / "deeppcb.toml"


@click.command("evaluate", short_help="measure a bundle and a recipe on pictures with truth")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--bundle", type=click.Path(exists=True, file_okay=False, path_type=Path), help="model bundle; else the one that ships")
@click.option("--recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="recipe; else the one for DeepPCB boards")
@click.option("--precision", help="one of the bundle's precisions; else its default")
@click.option("--device", default="CPU", show_default=True, help="OpenVINO device")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="only N boards, spread evenly over the folder")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="write a report with curves and pictures, one file")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="data folder; compiled models are kept in its folder `cache`"
)
@click.option("--json", "as_json", is_flag=True, help="one JSON object as the last line")
def evaluate(
    folder: Path,
    bundle: Path | None,
    recipe: Path | None,
    precision: str | None,
    device: str,
    limit: int | None,
    html: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Measure on DIR with defective/, good/ and labels/: boxes (AP, mAP, F) and parts (escapes, overkills, single-defect boards,
    disturbed good boards) at the recipe's limits and over a sweep, with exact one-sided 95 % bounds. All shares in percent."""
    split = open_split(folder)
    opened, judged_by = Bundle.open(bundle or find_default_bundle()), load(recipe or _RECIPE)
    _check_classes(folder, opened)
    looker = Looker.open(judged_by, opened, device=device, precision=precision, cache_dir=data_folder(data) / "cache")
    release = Release(opened.name, opened.hash, judged_by.name, judged_by.revision, judged_by.presence_text)
    try:
        with click.progressbar(length=1, label="evaluating") as bar:

            def progress(done: int, of: int) -> None:
                bar.length = of
                bar.update(done - bar.pos)

            result = measure(split, looker, release, limit, progress)
        for line in summary(result):
            click.echo(line)
        if html is not None:
            write_report(html, result, split, looker, shlex.join(["inspector", *sys.argv[1:]]))
            click.echo(f"report: {html}")
    finally:
        looker.close()
    if as_json:
        click.echo(json.dumps(result.document()))


def summary(result: Evaluation) -> list[str]:
    """The figures for people, a line each."""
    d, f, b = result.document(), result.figures, result.boxes
    best = f"best F {d['f33']:.1f} at limit {b.pooled.best_limit or 0:.2f}"
    return [
        f"{d['bundle']} on {d['device']}, {d['precision']}; recipe {d['recipe']}; presence {d['presence']}",
        f"AP(0.33) pooled {d['ap33_pooled']:.1f}, class mean {d['map33']:.1f}; {best}",
        f"mAP@0.5 {d['map50']:.1f}, @0.5:0.95 {d['map5095']:.1f}",
        *_part_lines(f, result.with_reference),
        f"{result.left_out} single-defect boards could not be made: boxes too close; {f.faulted} parts faulted",
    ]


def _part_lines(f: PartFigures, with_reference: bool) -> list[str]:
    lines = [f"escapes               {f.escapes}"]
    lines += [] if with_reference else [f"overkills             {f.overkills}"]
    return [
        *lines,
        f"overkills, disturbed  {f.disturbed_overkills}",
        f"mended, rejected      {f.mended_rejected}",
        f"single, rejected      {_at_least(f.single_rejected)}",
        f"    for that defect   {_at_least(f.single_hit)}",
        f"defects found         {_at_least(f.defects_found)}",
    ]


def _at_least(share: Share) -> str:
    return f"{share.count} of {share.of} ({100 * (share.rate or 0):.2f} %, at least {100 * share.lower:.2f} %)"


def _check_classes(folder: Path, bundle: Bundle) -> None:
    """Refuse a dataset whose classes.txt has other names, or another order, than the bundle."""
    named = find_classes(folder)
    if named is not None and named != bundle.classes:
        raise click.ClickException(
            f"{folder}: classes.txt says {', '.join(named)}, {bundle.name} knows {', '.join(bundle.classes)}: numbers would be mixed up"
        )
