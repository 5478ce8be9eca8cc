"""`inspector model dataset …`: what lies in a dataset, and what is wrong with it."""

import json
from pathlib import Path

import click

from models.dataset import check_class_names
from models.dataset_check import DatasetCheck, Finding, check_dataset

_SHOWN = 20
"""So many findings of one kind are printed; the JSON holds all."""


@click.group("dataset", short_help="look into a dataset")
def dataset() -> None:
    """Datasets: folders with defective/, good/ and labels/, or train/, val/ and test/ of that layout."""


@dataset.command("check")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--classes", help="class names in the order of the labels' numbers, with commas; else those of DIR/classes.txt")
@click.option("--json", "as_json", is_flag=True, help="one JSON object as the last line")
def check(folder: Path, classes: str | None, as_json: bool) -> None:
    """Classes, counts, sizes, duplicates, label errors and leakage between splits. Exit status 0 only when there is no error."""
    names = None if classes is None else check_class_names(classes.split(","), "--classes")
    with click.progressbar(length=1, label="looking") as bar:

        def progress(done: int, of: int) -> None:
            bar.length = of
            bar.update(done - bar.pos)

        result = check_dataset(folder, names, progress)
    _print(result)
    if as_json:
        click.echo(json.dumps(result.document()))
    if not result.ok:
        raise click.exceptions.Exit(1)


def _print(result: DatasetCheck) -> None:
    for name, counts in result.splits.items():
        d = counts.document()
        sizes = ", ".join(f"{n} of {size} px" for size, n in sorted(counts.sizes.items()))
        click.echo(f"{name}: {d['defective']} defective, {d['good']} good, {d['labels']} labels, {d['boxes']} boxes; {sizes}")
        for defect_class, n in d["classes"].items():
            click.echo(f"    {defect_class:<16}{n:>7}")
    _print_findings("note", result.notes)
    _print_findings("error", result.errors)
    click.echo(f"{len(result.errors)} errors, {len(result.notes)} notes")


def _print_findings(kind: str, findings: list[Finding]) -> None:
    shown: dict[str, int] = {}
    for finding in findings:
        shown[finding.code] = shown.get(finding.code, 0) + 1
        if shown[finding.code] <= _SHOWN:
            click.echo(f"{kind}: {finding}")
    for code, n in shown.items():
        if n > _SHOWN:
            click.echo(f"{kind}: {code}: {n - _SHOWN} more; --json lists all")
