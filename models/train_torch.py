"""torch and ultralytics, loaded so that they work offline and on a plain CPU box, and the choice of device and arithmetic."""

import importlib.util
import os
from functools import cache
from pathlib import Path
from typing import Any

from models.train_plan import TrainError

_held: list[Any] = []
"""A torch library takes its operators along when it goes, so it stays for the life of the process."""


@cache
def load_ultralytics(settings: Path) -> Any:
    """The package ultralytics, silent, offline, with its settings file in `settings`. Raises TrainError where it is not installed.

    On CPU builds of torch the operators of torchvision's wheel may not load; then `torchvision::nms` does not exist and validation fails.
    ultralytics has one in plain torch, which takes its place. (Defining an operator that exists ends the process, so its library is tried
    first.)
    """
    os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false", YOLO_CONFIG_DIR=str(settings))
    tell_nobody()
    try:
        import torch

        missing = not _loads(torch)
        if missing:
            library = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _held.append(library)
        import torchvision
        import ultralytics
        from ultralytics.utils.nms import TorchNMS

        if missing:
            torchvision.ops.nms = TorchNMS.nms
    except ImportError as e:
        raise TrainError(f"{e.name} is not installed: make setup-train installs what training needs") from e
    return ultralytics


def _loads(torch: Any) -> bool:
    """Whether torchvision's compiled operators fit this torch."""
    spec = importlib.util.find_spec("torchvision")
    libraries = [f for place in (spec.submodule_search_locations or ()) for f in Path(place).glob("_C*")] if spec else []
    try:
        for library in libraries:
            torch.ops.load_library(str(library))
    except OSError:
        return False
    return bool(libraries)


def tell_nobody() -> None:
    """OpenVINO's converter and NNCF report their use over the network unless these are set; call before importing either."""
    os.environ.setdefault("CI", "true")
    os.environ.setdefault("NNCF_CI", "1")


def arithmetic(device: str) -> str:
    """How `device` ("cpu", "cuda", "cuda:1") computes while it trains: "fp32", "bf16" or "fp16".

    bfloat16 on a CPU only where it has instructions for it; elsewhere it is emulated, 7 x slower than float32 (tried). Raises TrainError
    when there is no such GPU.
    """
    import torch

    if device == "cpu":
        return "bf16" if _cpu_has_bf16() else "fp32"
    if not torch.cuda.is_available():
        raise TrainError(f"--device {device}: torch {torch.__version__} finds no GPU; take --device cpu, or install a GPU build of torch")
    number = int(device.split(":")[1]) if ":" in device else 0
    if number >= torch.cuda.device_count():
        raise TrainError(f"--device {device}: there are {torch.cuda.device_count()} GPUs here, numbered from 0")
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def describe(device: str) -> str:
    """The device by its make, for the card."""
    import torch

    if device != "cpu":
        return str(torch.cuda.get_device_name(device))
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")
    return f"{model}, {torch.get_num_threads()} threads"


def _cpu_has_bf16() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    flags = set(next((line for line in text.splitlines() if line.startswith("flags")), "").split())
    return bool(flags & {"avx512_bf16", "amx_bf16"})
