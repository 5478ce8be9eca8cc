"""Weights in and out of ultralytics' checkpoints, and from weights to an IR: FP32, static shape, class names in it.

Import only after models.train_torch.load_ultralytics.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from ultralytics import YOLO, __version__
from ultralytics.nn.tasks import load_checkpoint

from models.train_plan import TrainError

_OURS = "inspector"
"""Key under which a checkpoint says what its network looks at."""


def look_into(weights: Path) -> tuple[tuple[str, ...], str | None]:
    """(classes, input kind or None where the file does not say) of a weights file. Raises TrainError when it is none."""
    model, checkpoint = _load(weights)
    said = checkpoint.get(_OURS, {}).get("input")
    return tuple(str(model.names[k]) for k in sorted(model.names)), None if said is None else str(said)


def slim(checkpoint: Path, out: Path, input_kind: str) -> None:
    """Write a checkpoint's averaged network alone, float16, without optimizer and without paths of this machine. Raises TrainError."""
    model, loaded = _load(checkpoint)
    model.args = {"task": "detect", "imgsz": loaded["train_args"]["imgsz"]}
    model.yaml["yaml_file"] = Path(str(model.yaml.get("yaml_file", ""))).name
    model.pt_path = out.name
    model.criterion = None
    for parameter in model.half().parameters():
        parameter.requires_grad = False
    kept: dict[str, Any] = {"epoch": -1, "model": model, "train_args": dict(model.args), "version": __version__}
    torch.save(kept | {"license": "AGPL-3.0-or-later", _OURS: {"input": input_kind}}, out)


def export_ir(weights: Path, folder: Path, size: int) -> None:
    """Write model.xml and model.bin (FP32, input (1, 3, size, size), output (1, 4 + classes, N)) to `folder`. Raises TrainError."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        copy = Path(scratch) / "model.pt"
        shutil.copyfile(weights, copy)
        _load(copy)
        try:
            # NMS outside, on one candidate a place: the layout that OpenVINO and INT8 keep exact
            YOLO(str(copy), task="detect").export(format="openvino", imgsz=size, batch=1, dynamic=False, device="cpu", verbose=False)
        except RuntimeError as e:
            raise TrainError(f"{weights}: cannot be exported ({' '.join(str(e).split())[:200]})") from e
        made = Path(scratch) / "model_openvino_model"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("model.xml", "model.bin"):
            shutil.move(made / name, folder / name)


def _load(weights: Path) -> tuple[Any, dict[str, Any]]:
    """(network, float32, evaluating; the checkpoint). ultralytics takes no pickled types but its own."""
    try:
        model, checkpoint = load_checkpoint(str(weights))
    except (OSError, RuntimeError, TypeError, ValueError, KeyError, AttributeError, ImportError, EOFError) as e:
        raise TrainError(f"{weights}: holds no network that ultralytics can read ({' '.join(str(e).split())[:160]})") from e
    return model, checkpoint
