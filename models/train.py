"""From a dataset to a bundle: check everything first, cut tiles, train, export. Taken up again where a kill cut it off."""

import hashlib
import json
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inspector import __version__
from inspector.bundle import Bundle, InputKind
from models.dataset import DatasetError, Split, open_dataset
from models.train_data import choose_classes, open_for_training, splits_hash
from models.train_plan import WEIGHTS, Plan, Progress, TrainError, WorkFolder, write_whole
from models.train_torch import arithmetic, describe, load_ultralytics

Said = Callable[[str], None]
NETWORK = "yolo26n.yaml"


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line; see models.cli_train for the meaning of each."""

    data: Path
    out: Path
    input: InputKind
    base: Path | None = None
    adapt: bool = False
    also: tuple[Path, ...] = ()
    classes: str | None = None
    network: str = NETWORK
    epochs: int | None = None
    minutes: float | None = None
    device: str = "cpu"
    size: int = 640
    tile: int = 320
    views: int = 4
    batch: int = 16
    seed: int = 0
    resume: bool = False
    version: str = "1"
    licence: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class _Base:
    """What training starts from; `weights` is None for random ones."""

    weights: Path | None
    text: str
    sha256: str | None
    classes: tuple[str, ...] | None


def train(request: Request, said: Said) -> Bundle:
    """Train as asked and return the bundle. `said` takes the line of progress.

    Raises TrainError, DatasetError, PictureError, BundleError, each one line. What was trained so far stays in the work folder.
    """
    if request.out.exists():
        raise TrainError(f"{request.out}: is there already; remove it, or name another --out")
    if (request.epochs is None) == (request.minutes is None):
        raise TrainError("how long to train: give either --epochs or --time")
    work = WorkFolder(request.out.with_name(request.out.name + ".work"))
    with work.locked():
        base = _base(request, work)
        classes = choose_classes(request.data, request.classes, base.classes)
        splits = _splits(request, classes, request.input is InputKind.MONO_REFERENCE)
        plan = _plan(request, classes, base, splits_hash([*splits["train"], *splits["val"]]))
        if request.resume and not work.begun:
            raise TrainError(f"{work.path}: holds no training to take up again; leave out --resume")
        load_ultralytics(work.path / "ultralytics")
        precision = arithmetic(request.device)
        work.take_up(plan)
        try:
            progress = _trained(request, plan, work, splits, base, precision, said)
            return _exported(request, plan, work, splits, progress, said)
        except OSError as e:
            raise TrainError(f"{work.path}: {e.strerror or e}; make room and run the same command again, it goes on") from e


def _splits(request: Request, classes: tuple[str, ...], reference: bool) -> dict[str, list[Split]]:
    """The splits "train" (with what --also names) and "val", their labels all readable. Raises DatasetError."""
    there = {split.name for split in open_dataset(request.data)}
    for name in ("train", "val"):
        if name not in there:
            raise DatasetError(f"{request.data}: has no {name}/; training needs train/ and val/, each with defective/, labels/ and good/")
    folders = {"train": [request.data / "train", *request.also], "val": [request.data / "val"]}
    return {name: [open_for_training(folder, classes, reference) for folder in several] for name, several in folders.items()}


def _base(request: Request, work: WorkFolder) -> _Base:
    """Raises TrainError, BundleError: no weights in it, another kind of input."""
    if request.base is None:
        return _Base(None, "random weights", None, None)
    classes: tuple[str, ...]
    kind: str | None
    if request.base.is_dir():
        bundle = Bundle.open(request.base)
        if WEIGHTS not in bundle.card.files:
            raise TrainError(f"{request.base}: this bundle carries no {WEIGHTS} to go on from; name a weights file instead")
        weights, text = request.base / WEIGHTS, f"{bundle.name} {bundle.version}, bundle {bundle.hash[:12]}"
        classes, kind = bundle.classes, str(bundle.input)
    else:
        load_ultralytics(work.path / "ultralytics")
        from models.train_export import look_into

        weights, text = request.base, request.base.name
        classes, kind = look_into(weights)
    if kind is not None and kind != request.input and not request.adapt:
        raise TrainError(f"{request.base}: looks at {kind}, and {request.input} was asked for; --adapt goes on from it all the same")
    return _Base(weights, text, hashlib.sha256(weights.read_bytes()).hexdigest(), None if request.adapt else classes)


def _plan(request: Request, classes: tuple[str, ...], base: _Base, data: str) -> Plan:
    for name, value in (("--size", request.size), ("--tile", request.tile)):
        if value % 32 or value < 64:
            raise TrainError(f"{name} {value}: the network works in steps of 32 px; take a multiple of 32, 64 or more")
    return Plan(
        input=request.input,
        classes=classes,
        data=data,
        base=base.text,
        base_sha256=base.sha256,
        network=request.network,
        epochs=request.epochs,
        minutes=request.minutes,
        tile=request.tile,
        size=request.size,
        views=request.views,
        seed=request.seed,
        device=request.device,
        batch=request.batch,
        command=request.command,
    )


def _trained(
    request: Request, plan: Plan, work: WorkFolder, splits: dict[str, list[Split]], base: _Base, precision: str, said: Said
) -> Progress:
    """Train to the end, or find it trained. Raises TrainError."""
    progress = work.progress()
    if progress.finished:
        return progress
    said("cutting tiles")
    images = work.cut_tiles(plan, splits["train"], splits["val"][0], said)
    data = {"path": str(work.tiles.resolve()), "train": "images/train", "val": "images/val", "names": dict(enumerate(plan.classes))}
    write_whole(work.tiles / "data.yaml", json.dumps(data).encode())  # JSON is YAML
    if plan.epochs is not None and progress.epochs >= plan.epochs:
        return work.finish()
    said(f"{images} tiles, {precision} on {describe(request.device)}, from {base.text}")
    from models.train_loop import run

    return run(plan, work, base.weights, precision, said)


def _exported(request: Request, plan: Plan, work: WorkFolder, splits: dict[str, list[Split]], progress: Progress, said: Said) -> Bundle:
    try:  # only here: a machine that trains on its GPU need not have OpenVINO
        from models.compile import Source, compile_bundle
        from models.looker import Net
    except ImportError as e:
        raise TrainError(f"{e.name} is not installed: the training is kept in {work.path}; run the same command where it is") from e
    from models.train_export import export_ir, slim

    best = work.run / "weights" / "best.pt"
    if not best.exists():
        raise TrainError(f"{work.path}: holds no trained network; remove the folder and train anew")
    said("exporting")
    facts = _facts(plan, progress)
    words = {
        "name": request.out.name,
        "version": request.version,
        "licence": request.licence or "Network: AGPL-3.0-or-later (trained with ultralytics). Training data: as their owner allows.",
        "training": _sentence(facts),
    }
    with tempfile.TemporaryDirectory(dir=work.path) as scratch:
        weights, ir = Path(scratch) / WEIGHTS, Path(scratch) / "ir"
        slim(best, weights, str(plan.input))
        export_ir(weights, ir, plan.size)
        source = Source(ir, Net(plan.classes, plan.input, plan.size), words, weights, facts)
        data = {"train": splits["train"][0], "val": splits["val"][0]}
        return compile_bundle(source, data, request.out, ("fp32",), 0, said)


def _facts(plan: Plan, progress: Progress) -> dict[str, Any]:
    """All that is needed to repeat the training."""
    import openvino
    import torch
    import ultralytics

    per_image_s = progress.seconds / max(1, progress.epochs * progress.images)
    return {
        **{key: value for key, value in asdict(plan).items() if value is not None},
        "input": str(plan.input),
        "epochs_done": progress.epochs,
        "seconds": round(progress.seconds),
        "seconds_per_image": round(per_image_s, 4),
        "tiles": progress.images,
        "runs": progress.runs,
        "arithmetic": progress.precision,
        "on": describe(plan.device),
        "versions": {
            "inspector": __version__,
            "ultralytics": ultralytics.__version__,
            "torch": torch.__version__,
            "openvino": openvino.__version__,
            "python": platform.python_version(),
        },
    }


def _sentence(facts: dict[str, Any]) -> str:
    again = f", taken up again {facts['runs'] - 1} times" if facts["runs"] > 1 else ""
    return (
        f"{facts['command']}: "
        f"{Path(facts['network']).stem} from {facts['base']}, {facts['epochs_done']} epochs over {facts['tiles']} tiles "
        f"of {facts['tile']} px in {facts['seconds'] / 60:.0f} min{again}, {facts['arithmetic']} on {facts['on']}, seed {facts['seed']}, "
        f"ultralytics {facts['versions']['ultralytics']}, torch {facts['versions']['torch']}; data SHA-256 {facts['data'][:16]}"
    )
