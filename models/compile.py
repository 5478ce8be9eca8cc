"""From a trained network to a bundle for the machine: FP32, FP16 and INT8 beside each other, measured, under one sealed card.

A bundle is built in a folder beside its place and put there as a whole: a kill or a full disk leaves no half bundle under its name.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from inspector.bundle import Bundle, InputKind
from models.canaries import Canary, find_canary, remove_draft
from models.compile_int8 import MAX_DROP, Tensors, quantised, quantised_with_control, version
from models.dataset import Split
from models.looker import Looker, Net, medians_ms, parts, pooled_ap33
from models.make_bundle import make_bundle
from models.train_data import Part
from models.train_plan import WEIGHTS, TrainError

Said = Callable[[str], None]
_VALIDATION_PICTURES, _ROUNDS = 100, 40
_WORTH_IT = 1.25
"""INT8 becomes the default only if it is so many times faster: else nothing pays for what it may lose."""


@dataclass(frozen=True, slots=True)
class Source:
    """A network on its way into a bundle. ir: folder with model.xml in FP32. words: the card's name, version, licence, training."""

    ir: Path
    net: Net
    words: dict[str, str]
    weights: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def compile_bundle(source: Source, data: dict[str, Split], out: Path, precisions: tuple[str, ...], calibration: int, said: Said) -> Bundle:
    """Make the bundle `out`. data: splits "train" (calibrates INT8) and "val" (every figure).

    Raises TrainError, DatasetError, PictureError, BundleError; then there is nothing at `out`.
    """
    if out.exists():
        raise TrainError(f"{out}: is there already; remove it, or name another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        try:
            return _compiled(source, data, out, Path(scratch), precisions, calibration, said)
        except OSError as e:
            raise TrainError(f"{out}: cannot be written ({e.strerror or e}); nothing is left under that name") from e


def _compiled(
    source: Source, data: dict[str, Split], out: Path, scratch: Path, precisions: tuple[str, ...], calibration: int, said: Said
) -> Bundle:
    net = source.net
    shown = list(parts(data["val"], net, _VALIDATION_PICTURES))
    models = {"fp32": _read(source.ir)}
    notes: dict[str, str] = {}
    said(f"fp32: looking at {len(shown)} validation pictures")
    figures = {"fp32": _ap33(models["fp32"], net, shown)}
    if "int8" in precisions:
        models["int8"], figures["int8"], notes["int8"] = _int8(source, net, data["train"], shown, figures["fp32"], calibration, said)
        if figures["fp32"] - figures["int8"] > 100 * MAX_DROP:
            notes["int8"] = f"left out: {figures['int8']:.2f} against {figures['fp32']:.2f} points of AP33 in FP32; {notes['int8']}"
            del models["int8"]
    irs = {name: scratch / name for name in models}
    for name, model in models.items():
        ov.save_model(model, irs[name] / "model.xml", compress_to_fp16=False)
    if "fp16" in precisions:
        irs["fp16"] = scratch / "fp16"
        ov.save_model(models["fp32"], irs["fp16"] / "model.xml", compress_to_fp16=True)
        figures["fp16"] = _ap33(_read(irs["fp16"]), net, shown)
    if "fp32" not in precisions:
        del irs["fp32"]
    lookers = {name: Looker(_read(folder), net) for name, folder in irs.items()}
    said("measuring times")
    tensor = net.tensor(*_pictures(shown[0]))
    times = medians_ms(lookers, tensor, _ROUNDS)
    default, why = _default(times)
    measured = _measured(net, figures, times, why, notes, len(shown)) | {"training": source.facts}
    words = _words(source, measured, default)
    said("looking for a canary")
    look = lookers.get("fp32") or next(iter(lookers.values()))
    draft = scratch / "bundle"
    also = {} if source.weights is None else {WEIGHTS: source.weights}

    def make(canary: Canary) -> Bundle:
        if draft.exists():
            remove_draft(draft)
        return make_bundle(irs, words, draft, canary[0], canary[1], also)

    find_canary(net, look, data["val"], make)
    _into_place(draft, out)
    return Bundle.open(out)


def _int8(
    source: Source, net: Net, training: Split, shown: list[Part], fp32: float, calibration: int, said: Said
) -> tuple[ov.Model, float, str]:
    """(model, its AP33, how it was made)."""
    said(f"int8: calibrating on {calibration} training pictures")
    inputs = [net.tensor(*_pictures(part)) for part in parts(training, net, calibration)]
    made = f"NNCF {version()}, preset mixed, {len(inputs)} training pictures"
    model = quantised(_read(source.ir), inputs)
    reached = _ap33(model, net, shown)
    if fp32 - reached <= 100 * MAX_DROP:
        return model, reached, made
    said(f"int8: loses {fp32 - reached:.2f} points; giving layers back to floating point, this takes a while")

    def figure(compiled: Any, tensors: Tensors) -> tuple[float, list[float]]:
        looked_at = [of_input[_key(tensor)] for tensor in tensors]  # NNCF may send a part of them
        found = [net.detections(compiled(tensor)[0], _pictures(part)[0]) for tensor, part in zip(tensors, looked_at, strict=True)]
        each = [pooled_ap33([one], [part], net.classes) / 100 for one, part in zip(found, looked_at, strict=True)]
        return pooled_ap33(found, looked_at, net.classes) / 100, each

    validation = [net.tensor(*_pictures(part)) for part in shown]
    of_input = {_key(tensor): part for tensor, part in zip(validation, shown, strict=True)}

    model = quantised_with_control(_read(source.ir), inputs, validation, figure)
    return model, _ap33(model, net, shown), made + ", accuracy-controlled"


def _key(tensor: NDArray[np.float32]) -> bytes:
    return hashlib.sha256(tensor.tobytes()).digest()


def _ap33(model: ov.Model, net: Net, shown: list[Part]) -> float:
    look = Looker(model, net)
    return pooled_ap33([look(*_pictures(part)) for part in shown], shown, net.classes)


def _pictures(part: Part) -> Any:
    assert part.defective is not None
    return part.defective, part.good


def _default(times: dict[str, float]) -> tuple[str, str]:
    """The precision that ships as default, and why."""
    others = {name: ms for name, ms in times.items() if name != "int8"}
    plain = min(others, key=lambda name: (name != "fp32", others[name])) if others else "int8"
    if "int8" not in times or plain == "int8":
        return plain, "the only one compared"
    ratio = times[plain] / times["int8"]
    if ratio >= _WORTH_IT:
        return "int8", f"int8 is {ratio:.2f} x faster than {plain}"
    return plain, f"int8 is {ratio:.2f} x as fast as {plain} on this CPU, {_WORTH_IT} x asked for: the CPU may lack 8-bit instructions"


def _measured(
    net: Net, figures: dict[str, float], times: dict[str, float], why: str, notes: dict[str, str], pictures: int
) -> dict[str, Any]:
    return {
        "data": f"{pictures} defective pictures of the validation split",
        "val_ap_0.33_pooled_pct": {name: round(value, 2) for name, value in figures.items()},
        "infer_p50_ms": {name: round(value, 2) for name, value in times.items()},
        "default_precision": why,
        "openvino": ov.__version__,
        "looks_at": str(net.input),
        **notes,
    }


def _words(source: Source, measured: dict[str, Any], default: str) -> dict[str, Any]:
    net = source.net
    return source.words | {
        "measured": measured,
        "classes": list(net.classes),
        "input": str(net.input),
        "width": net.size,
        "height": net.size,
        "layout": str(net.layout),
        "nms_iou": net.nms_iou,
        "default_precision": default,
    }


def _into_place(draft: Path, out: Path) -> None:
    """Durable first, then under its name in one step."""
    for path in [*sorted(draft.rglob("*")), draft]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    draft.rename(out)
    handle = os.open(out.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(folder: Path) -> ov.Model:
    """Raises TrainError for what OpenVINO cannot read."""
    try:
        return ov.Core().read_model(folder / "model.xml")
    except RuntimeError as e:
        raise TrainError(f"{folder / 'model.xml'}: OpenVINO {ov.__version__} cannot read it ({' '.join(str(e).split())[-160:]})") from e


def copied(folder: Path, to: Path) -> Path:
    """An IR copied where it can be renamed."""
    to.mkdir(parents=True, exist_ok=True)
    for name in ("model.xml", "model.bin"):
        shutil.copyfile(folder / name, to / name)
    return to


def net_of(bundle: Bundle) -> Net:
    """What a bundle's card says about its network. Raises TrainError for one that is not square."""
    card = bundle.card
    if card.width != card.height:
        raise TrainError(f"{bundle.folder}: its input is {card.width}x{card.height} px; only square networks are compiled here")
    return Net(tuple(card.classes), InputKind(card.input), card.width, card.layout, card.nms_iou)
