"""The bare inference of an opened detector: what everything around it is measured against."""

import openvino as ov

from inspector.detect.openvino import OpenVinoDetector
from inspector.types import Pixels


def bare_infer(detector: OpenVinoDetector, pixels: Pixels) -> None:
    """One synchronous infer() of the detector's own compiled model, with the pixels shared: no decoding, no judging."""
    request = detector.request
    request.set_input_tensor(0, ov.Tensor(detector.as_tensor(pixels), shared_memory=True))
    request.infer()
