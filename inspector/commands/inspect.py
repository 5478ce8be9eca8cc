"""`inspector inspect`: pictures as parts through the same station; a line in the same process, no deadline."""

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal

import click

from inspector.build import DetectorChoice, prepare_product
from inspector.camera.folder import FolderCamera
from inspector.commands.inspect_reference import parts_of, references_from
from inspector.commands.marked import MarkedPictures
from inspector.commands.pictures_run import PicturesRun, pictures_run
from inspector.config import data_folder
from inspector.errors import ConfigError, InspectorError
from inspector.types import Inspection, VerdictKind

_DEFAULT_RECIPE = Path("recipes", "deeppcb.toml")


@click.command(short_help="judge pictures as parts")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="recipe; else the one for DeepPCB boards")
@click.option("--bundle", type=click.Path(exists=True, file_okay=False, path_type=Path), help="model bundle; else the one that ships")
@click.option("--device", default="CPU", show_default=True, help="OpenVINO device")
@click.option("--precision", help="one of the bundle's precisions; else its default")
@click.option("--pixel", type=click.Choice(["mono", "bgr"]), default="mono", show_default=True, help="what pictures are read as")
@click.option("--sixteen-bit", type=click.Choice(["refuse", "scale"]), default="refuse", show_default=True, help="pictures of 16 bit")
@click.option("--reference-from", metavar="NAME", help="for a bundle that looks at a reference: that of DIR/x/K is DIR/NAME/K")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="folder for the pictures with boxes")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="data folder; parts are recorded in its folder `pictures`")
@click.option("--json", "as_json", is_flag=True, help="one JSON object as the last line")
def inspect(
    paths: tuple[Path, ...],
    recipe: Path | None,
    bundle: Path | None,
    device: str,
    precision: str | None,
    pixel: Literal["mono", "bgr"],
    sixteen_bit: Literal["refuse", "scale"],
    reference_from: str | None,
    out: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Judge every picture under PATH... and record it as a test part. Exit status 0 whatever the verdicts, 1 on any FAULT.

    In a folder with `defective/` and `good/` escapes and overkills are counted. With --reference-from good only `defective/` is judged:
    good pictures prove nothing against themselves.
    """
    folder = data_folder(data)
    shown, register = list(paths), None
    if reference_from is not None:
        shown, left_out = parts_of(paths, reference_from)
        register = references_from(reference_from, sixteen_bit)
        click.echo(f"{left_out} pictures of {reference_from}/ are references and prove nothing against themselves: not judged")
    camera = FolderCamera(shown, pixel=pixel, sixteen_bit=sixteen_bit)
    choice = DetectorChoice(device, precision, cache=folder / "cache")
    _require_pixels(pixel, prepare_product(recipe or _default_recipe(), bundle, choice, register).channels)
    verdicts: SimpleQueue[Inspection] = SimpleQueue()  # at most one per picture
    tally = Tally()
    with pictures_run(camera, recipe or _default_recipe(), bundle, choice, folder / "pictures", verdicts.put, register) as pictures:
        pictures.start()
        _show_all(pictures, verdicts, tally, MarkedPictures(out) if out is not None else None)
        status = pictures.station.status()
    figures = tally.figures() | {"device": status.device, "precision": status.precision, "release": status.release, "run": status.run}
    figures |= {"presence": status.presence, "infer_ms": {"p50": status.infer_ms.p50, "p99": status.infer_ms.p99}}
    click.echo(tally.summary() + f"; recorded in {folder / 'pictures'}")
    if as_json:
        click.echo(json.dumps(figures))
    if tally.kinds[VerdictKind.FAULT]:
        raise click.exceptions.Exit(1)


@dataclass
class Tally:
    """Verdicts, and what they mean where the truth is known from the folder's name."""

    kinds: Counter[VerdictKind] = field(default_factory=Counter)
    truth: Counter[str] = field(default_factory=Counter)
    escapes: int = 0
    overkills: int = 0

    def add(self, part: Inspection) -> None:
        """Count one verdict. An escape is a defective part passed, an overkill a good part rejected; a FAULT is neither."""
        kind = part.verdict.kind
        truth = Path(part.source).parent.name
        self.kinds[kind] += 1
        self.truth[truth] += 1
        self.escapes += truth == "defective" and kind is VerdictKind.PASS
        self.overkills += truth == "good" and kind is VerdictKind.REJECT

    @property
    def has_truth(self) -> bool:
        return bool(self.truth["defective"] and self.truth["good"])

    def figures(self) -> dict[str, Any]:
        kinds = self.kinds
        out: dict[str, Any] = {"parts": kinds.total(), "passed": kinds[VerdictKind.PASS], "rejected": kinds[VerdictKind.REJECT]}
        out["faulted"] = kinds[VerdictKind.FAULT]
        if self.has_truth:
            out |= {"defective": self.truth["defective"], "good": self.truth["good"]}
            out |= {"escapes": self.escapes, "overkills": self.overkills}
        return out

    def summary(self) -> str:
        kinds = self.kinds
        passed, rejected, faulted = (kinds[kind] for kind in VerdictKind)
        text = f"{kinds.total()} parts: {passed} passed, {rejected} rejected, {faulted} faulted"
        if not self.has_truth:
            return text
        escapes = f"{self.escapes} of {self.truth['defective']} defective parts escaped"
        return f"{text}; {escapes}, {self.overkills} of {self.truth['good']} good parts were rejected"


def _show_all(pictures: PicturesRun, verdicts: SimpleQueue[Inspection], tally: Tally, marked: MarkedPictures | None) -> None:
    """Feed on a thread of its own, print and draw here."""
    problems: list[InspectorError] = []
    stop = threading.Event()

    def feed() -> None:
        try:
            pictures.feed(stop.is_set)
        except InspectorError as error:
            problems.append(error)

    feeder = threading.Thread(target=feed, name="feed", daemon=True)
    feeder.start()
    try:
        with click.progressbar(length=len(pictures.files), label="inspecting") as bar:
            while tally.kinds.total() < len(pictures.files):
                try:
                    part = verdicts.get(timeout=0.1)
                except Empty:
                    if not feeder.is_alive() and verdicts.empty():
                        break
                    continue
                tally.add(part)
                click.echo(f"{part.source}: {part.verdict}")
                if marked is not None:
                    marked.write(part)
                bar.update(1)
    finally:
        stop.set()
        feeder.join()
    if problems:
        raise problems[0]


def _require_pixels(pixel: str, channels: int) -> None:
    fits = "mono" if channels == 1 else "bgr"
    if pixel != fits:
        raise ConfigError(f"--pixel {pixel}: the bundle looks at {fits} pictures; take --pixel {fits}, or another bundle")


def _default_recipe() -> Path:
    spec = find_spec("models")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / _DEFAULT_RECIPE).is_file():
            return Path(place) / _DEFAULT_RECIPE
    raise ConfigError("the recipe that ships is not installed: install inspector-station again, or name one with --recipe")
