"""INT8 by NNCF, after training: needs pictures to see how large the numbers get, no labels, no gradient.

Preset MIXED; what turns numbers into boxes and scores in the head (decoding, every Sigmoid) stays in floating point, because scores near
0 and 1 and coordinates up to 640 do not fit into 256 steps (ultralytics PR #25306 keeps the same scope).
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from models.train_plan import TrainError
from models.train_torch import tell_nobody

Tensors = Sequence[NDArray[np.float32]]
MAX_DROP = 0.003
"""How much of AP33 (0..1) INT8 may lose."""


def quantised(model: ov.Model, calibration: Tensors) -> ov.Model:
    """The plain form. calibration: network inputs (1, 3, H, W). Raises TrainError where NNCF is not installed."""
    nncf = _nncf()
    return nncf.quantize(
        model,
        nncf.Dataset(calibration),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(calibration),
        ignored_scope=nncf.IgnoredScope(names=_kept_in_float(model)),
    )


def quantised_with_control(
    model: ov.Model, calibration: Tensors, validation: Tensors, figure: Callable[[Any, Tensors], tuple[float, list[float]]]
) -> ov.Model:
    """The form that gives layers back to floating point until at most MAX_DROP is lost.

    figure(compiled model, inputs) → AP33 as a share of 1, over all and of each input. Takes minutes: each layer's share in the loss is
    measured.
    """
    nncf = _nncf()

    def validate(compiled: Any, inputs: Iterable[NDArray[np.float32]]) -> tuple[float, list[float]]:
        return figure(compiled, list(inputs))

    return nncf.quantize_with_accuracy_control(
        model,
        calibration_dataset=nncf.Dataset(calibration),
        validation_dataset=nncf.Dataset(validation),
        validation_fn=validate,
        max_drop=MAX_DROP,
        drop_type=nncf.DropType.ABSOLUTE,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(calibration),
        ignored_scope=nncf.IgnoredScope(names=_kept_in_float(model)),
    )


def version() -> str:
    """NNCF's, for the card."""
    return str(_nncf().__version__)


def _kept_in_float(model: ov.Model) -> list[str]:
    operations = model.get_ordered_ops()
    sigmoids = [op.get_friendly_name() for op in operations if op.get_type_name() == "Sigmoid"]
    if not sigmoids:
        raise TrainError("the network has no Sigmoid: it is no YOLO head as it is known here; ship it in FP32 and FP16")
    head = sigmoids[-1].split("/", 1)[0]
    in_head = (f"{head}/", f"{head}.dfl")
    return [op.get_friendly_name() for op in operations if op.get_type_name() == "Sigmoid" or op.get_friendly_name().startswith(in_head)]


def _nncf() -> Any:
    tell_nobody()
    try:
        import nncf
    except ImportError as e:
        raise TrainError(f"{e.name} is not installed: make setup-train installs what INT8 needs") from e
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf
