"""`inspector model train` and `inspector model compile`."""

import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inspector.bundle import CARD, Bundle, InputKind
from models.dataset import DatasetError, open_dataset
from models.train import NETWORK, Request
from models.train import train as train_as_asked
from models.train_data import choose_classes, open_for_training
from models.train_plan import PRECISIONS, WEIGHTS, TrainError

if TYPE_CHECKING:
    from models.compile import Source

_Folder = click.Path(exists=True, file_okay=False, path_type=Path)
_There = click.Path(exists=True, path_type=Path)
_New = click.Path(path_type=Path)


class _Line:
    """One line of progress, written over itself on a terminal; elsewhere a line when what happens changes, or a batch in a hundred."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = ""

    def __call__(self, text: str) -> None:
        if self._terminal:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)
        elif (key := text.split("  ")[0]) != self._last:
            self._last = key
            click.echo(text, err=True)

    def end(self) -> None:
        if self._terminal:
            click.echo(err=True)


@click.command("train")
@click.argument("data", type=_Folder)
@click.option("--out", required=True, type=_New, help="The bundle to make; its work folder stands beside it, as OUT.work.")
@click.option("--base", type=_There, help="A bundle with weights, or a .pt file, to go on from. Default: random weights.")
@click.option("--adapt", is_flag=True, help="Take a base that knows other classes or looks at another kind of input.")
@click.option("--also", type=_Folder, multiple=True, help="Another folder with defective/, labels/ and good/ to train on.")
@click.option("--classes", help="Class names in the order of their numbers, with commas; default: classes.txt in DATA, or the base's.")
@click.option("--epochs", type=click.IntRange(1, 999), help="How often each tile is seen.")
@click.option("--time", "minutes", type=click.FloatRange(min=0, min_open=True), help="Minutes to train, instead of --epochs.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--reference/--no-reference", default=False, help="Show the network the good twin and the difference as well.")
@click.option("--colour", is_flag=True, help="Colour pictures (no reference then).")
@click.option("--size", default=640, show_default=True, help="px of the network's input.")
@click.option("--tile", default=320, show_default=True, help="px of the training tiles, cut at native resolution.")
@click.option("--views", type=click.IntRange(1, 99), default=4, show_default=True, help="Tiles cut from each picture.")
@click.option("--batch", type=click.IntRange(2, 1024), default=16, show_default=True, help="Tiles a step.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Same seed, same tiles and draws.")
@click.option("--network", default=NETWORK, show_default=True, help="The network's description, of ultralytics or a file.")
@click.option("--resume", is_flag=True, help="Only go on with a training that was cut off (the same command does so anyway).")
@click.option("--version", "version_", default="1", show_default=True, help="For the card.")
@click.option("--licence", default="", help="For the card: under what the network and its data may be used.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def train(reference: bool, colour: bool, version_: str, as_json: bool, also: tuple[Path, ...], device: str, **rest: Any) -> None:
    """Train a detector on DATA (with train/ and val/, each with defective/, labels/ and good/) and make a bundle of it.

    Cut off by a kill or a power cut, the same command goes on after the last whole epoch. The bundle is FP32; `inspector model compile`
    adds FP16 and INT8. Weights are read only as far as ultralytics trusts them: take --base from people you know.
    """
    if reference and colour:
        raise click.ClickException("--reference and --colour: a network looks at a reference beside mono pictures only; take one of them")
    if device != "cpu" and device != "cuda" and not (device.startswith("cuda:") and device[5:].isdigit()):
        raise click.ClickException(f"--device {device}: is none of cpu, cuda, cuda:N")
    kind = InputKind.MONO_REFERENCE if reference else InputKind.BGR if colour else InputKind.MONO
    line = _Line()
    try:
        bundle = train_as_asked(Request(input=kind, version=version_, also=also, device=device, command=_command(), **rest), line)
    finally:
        line.end()
    _tell(bundle, as_json)


@click.command("compile")
@click.argument("source", type=_There)
@click.argument("data", type=_Folder)
@click.option("--out", required=True, type=_New, help="The bundle to make.")
@click.option("--precisions", default=",".join(PRECISIONS), show_default=True, help="Which to make, with commas.")
@click.option("--calibration", type=click.IntRange(10, 5000), default=200, show_default=True, help="Training pictures for INT8.")
@click.option("--classes", help="Class names, where SOURCE is an IR and DATA has no classes.txt.")
@click.option(
    "--input", "kind", type=click.Choice([str(k) for k in InputKind]), help="What the network looks at, where SOURCE does not say."
)
@click.option("--size", default=640, show_default=True, help="px of the input, where SOURCE is a .pt file or an IR.")
@click.option("--version", "version_", default=None, help="For the card; default: SOURCE's, or 1.")
@click.option("--licence", default=None, help="For the card; default: SOURCE's.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def compile_(source: Path, data: Path, out: Path, precisions: str, calibration: int, as_json: bool, **rest: Any) -> None:
    """Make a bundle of SOURCE (a bundle, a .pt file, or a folder with an FP32 model.xml) in every precision, measured on DATA.

    INT8 is calibrated on DATA's train/; every figure is of its val/. The default precision is INT8 where that is 1.25 x faster here.
    """
    wanted = tuple(p.strip() for p in precisions.split(","))
    if strangers := sorted(set(wanted) - set(PRECISIONS)):
        raise click.ClickException(f"--precisions {', '.join(strangers)}: choose from {', '.join(PRECISIONS)}")
    from models.compile import compile_bundle

    line = _Line()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            found = _source(source, data, out, Path(scratch), rest)
            reference = found.net.input is InputKind.MONO_REFERENCE
            if not {"train", "val"} <= {split.name for split in open_dataset(data)}:
                raise DatasetError(f"{data}: has not both train/ and val/: INT8 is calibrated on one and measured on the other")
            splits = {name: open_for_training(data / name, found.net.classes, reference) for name in ("train", "val")}
            bundle = compile_bundle(found, splits, out, wanted, calibration, line)
    finally:
        line.end()
    _tell(bundle, as_json)


def _source(path: Path, data: Path, out: Path, scratch: Path, said: dict[str, Any]) -> "Source":
    """Raises TrainError, BundleError, DatasetError."""
    from models.compile import Source, copied, net_of
    from models.looker import Net

    words = {"name": out.name, "version": said["version_"] or "1", "licence": said["licence"] or "not said", "training": "not said"}
    if (path / CARD).is_file():
        bundle = Bundle.open(path)
        if "fp32" not in bundle.precisions:
            raise TrainError(f"{path}: has no fp32 to compile from; name the weights file")
        card = bundle.card
        words |= {"version": said["version_"] or card.version, "licence": said["licence"] or card.licence, "training": card.training}
        ir = scratch / "ir"
        ir.mkdir()
        for name, content in zip(("model.xml", "model.bin"), bundle.model("fp32"), strict=True):
            (ir / name).write_bytes(content)
        weights = path / WEIGHTS if WEIGHTS in card.files else None
        return Source(ir, net_of(bundle), words, weights, card.measured.get("training", {}))
    if path.is_dir():
        if not (path / "model.xml").is_file():
            raise TrainError(f"{path}: is no bundle (no {CARD}) and holds no model.xml")
        net = Net(choose_classes(data, said["classes"], None), _kind(None, said["kind"], path), said["size"])
        return Source(copied(path, scratch / "ir"), net, words)
    from models.train_torch import load_ultralytics

    load_ultralytics(scratch / "ultralytics")
    from models.train_export import export_ir, look_into

    classes, kind = look_into(path)
    net = Net(choose_classes(data, said["classes"], classes), _kind(kind, said["kind"], path), said["size"])
    export_ir(path, scratch / "ir", net.size)
    return Source(scratch / "ir", net, words, path)


def _kind(of_file: str | None, said: str | None, path: Path) -> InputKind:
    if of_file is not None and said is not None and of_file != said:
        raise TrainError(f"{path}: looks at {of_file}, --input says {said}; leave --input out")
    if of_file is None and said is None:
        raise TrainError(f"{path}: does not say what the network looks at; name it with --input")
    return InputKind(of_file or said or "")


def _command() -> str:
    """The command as it was typed, paths without the folders they lie in: nobody else has those."""
    words = [Path(word).name if "/" in word and not word.startswith("-") else word for word in sys.argv[1:]]
    return shlex.join(["inspector", *words])


def _tell(bundle: Bundle, as_json: bool) -> None:
    measured = bundle.card.measured
    click.echo(
        f"{bundle.folder}: {', '.join(bundle.precisions)}; default {bundle.card.default_precision} ({measured['default_precision']})"
    )
    click.echo(f"AP(0.33) on the validation split, pooled: {measured['val_ap_0.33_pooled_pct']}")
    if as_json:
        facts = {"bundle": str(bundle.folder), "hash": bundle.hash, "precisions": list(bundle.precisions), "measured": measured}
        click.echo(json.dumps(facts | {"default_precision": bundle.card.default_precision}))
