"""A network looks at pictures, without a bundle around it: to calibrate, to compare precisions, and to find a canary."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import cv2
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from inspector.bundle import GREY, InputKind, Layout, Letterbox
from inspector.detect.decode import Decoder
from inspector.types import Detection, Pixels
from models.dataset import Split, Truth
from models.metrics import Looked, box_figures
from models.tiles import as_network_sees
from models.train_data import Part, read_part


@dataclass(frozen=True, slots=True)
class Net:
    """What has to be known about a network to use it. size: px of its square input."""

    classes: tuple[str, ...]
    input: InputKind
    size: int
    layout: Layout = Layout.CENTRE_SIZE
    nms_iou: float = 0.7

    def tensor(self, picture: Pixels, reference: Pixels | None) -> NDArray[np.float32]:
        """(1, 3, size, size), R, G, B, 0..1: the numbers that inspector.detect.graph feeds to the network."""
        planes = as_network_sees(picture, reference if self.input is InputKind.MONO_REFERENCE else None)
        box = self._letterbox(picture)
        rows, columns = box.inner
        if planes.shape[:2] != (rows, columns):
            planes = np.asarray(cv2.resize(planes, (columns, rows), interpolation=cv2.INTER_LINEAR), np.uint8)
        top, left = box.top_left
        sides = (top, self.size - rows - top, left, self.size - columns - left)
        padded = cv2.copyMakeBorder(planes, *sides, cv2.BORDER_CONSTANT, value=(GREY,) * 3)
        return np.ascontiguousarray(padded[..., ::-1].transpose(2, 0, 1)[None], np.float32) / np.float32(255)

    def detections(self, output: NDArray[np.float32], picture: Pixels) -> list[Detection]:
        """The network's answer in px of the picture. Raises DetectorError."""
        return Decoder(self.layout, self.classes, self.nms_iou, self._letterbox(picture))(output)

    def _letterbox(self, picture: Pixels) -> Letterbox:
        return Letterbox(picture.shape[0], picture.shape[1], self.size, self.size)


class Looker:
    """One network, compiled for this machine's CPU."""

    def __init__(self, model: ov.Model, net: Net) -> None:
        self._net = net
        self._compiled = ov.Core().compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY"})

    def __call__(self, picture: Pixels, reference: Pixels | None) -> list[Detection]:
        return self._net.detections(self._compiled(self._net.tensor(picture, reference))[0], picture)

    def time_ms(self, tensor: NDArray[np.float32]) -> float:
        """One inference."""
        began = perf_counter()
        self._compiled(tensor)
        return (perf_counter() - began) * 1000


def parts(split: Split, net: Net, most: int) -> Iterator[Part]:
    """About `most` parts with defects (and twins, where the network needs them), spread evenly over the split."""
    usable = [b for b in split.defective if b.good is not None or net.input is not InputKind.MONO_REFERENCE]
    for board in usable[:: max(1, -(-len(usable) // most))]:
        yield read_part(board, net.classes, net.input is InputKind.BGR)


def medians_ms(lookers: dict[str, Looker], tensor: NDArray[np.float32], rounds: int) -> dict[str, float]:
    """p50 of one inference for each, taken in turns, so that whatever else the machine does meets all alike."""
    took: dict[str, list[float]] = {name: [] for name in lookers}
    for _ in range(rounds):
        for name, looker in lookers.items():
            took[name].append(looker.time_ms(tensor))
    return {name: float(np.median(values[rounds // 10 :])) for name, values in took.items()}


def pooled_ap33(found: Sequence[Sequence[Detection]], looked_at: Sequence[Part], classes: Sequence[str]) -> float:
    """AP at IoU 0.33 over all classes together, in points of 100: see models.metrics."""
    truths = ((Truth(classes[c], box) for c, box in part.boxes) for part in looked_at)
    looked = [Looked("", tuple(of_one), tuple(there)) for of_one, there in zip(found, truths, strict=True)]
    return 100 * box_figures(looked, classes).ap33_pooled
