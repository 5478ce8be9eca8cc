"""Small networks whose answer can be worked out by hand, in bundles like the real ones."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
import pytest
from openvino import opset15 as op

from inspector.bundle import Bundle, InputKind, Layout, card_hash

BundleMaker = Callable[..., Bundle]
SIDE = 64


@pytest.fixture
def make_bundle(tmp_path: Path) -> BundleMaker:
    """make_bundle(network, kind=…, layout=…, classes=…, labels=…, side=…, xml=…) → an opened bundle in a folder of its own.

    network takes the input node (1, 3, side, side) and returns the output node.
    """

    def make(
        network: Callable[[Any], Any],
        *,
        kind: InputKind = InputKind.MONO,
        layout: Layout = Layout.CENTRE_SIZE,
        classes: tuple[str, ...] = ("open", "short"),
        labels: str | None = None,
        side: int = SIDE,
        xml: str | None = None,
    ) -> Bundle:
        folder = tmp_path / f"bundle{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        image = op.parameter([1, 3, SIDE, SIDE], np.float32, name="image")
        model = ov.Model([network(image)], [image], "tiny")
        if labels is not None:
            model.set_rt_info(labels, ["model_info", "labels"])
        ov.save_model(model, folder / "model.xml", compress_to_fp16=False)
        if xml is not None:
            (folder / "model.xml").write_text(xml)
        picture = np.zeros((side, side, 3) if kind is InputKind.BGR else (side, side), np.uint8)
        names = ["canary.png", "model.xml", "model.bin"]
        cv2.imwrite(str(folder / "canary.png"), picture)
        canary = {"picture": "canary.png", "min_iou": 0.5, "score_tolerance": 0.15}
        if kind is InputKind.MONO_REFERENCE:
            canary["reference"] = "canary.png"
        card: dict[str, Any] = {
            "format": 1,
            "name": "tiny",
            "version": "1",
            "classes": list(classes),
            "input": kind,
            "width": side,
            "height": side,
            "layout": layout,
            "nms_iou": 0.7,
            "precisions": {"fp32": {"model": "model.xml", "weights": "model.bin"}},
            "default_precision": "fp32",
            "canary": canary | {"detections": [{"defect_class": classes[0], "score": 0.9, "box": [1.0, 1.0, 9.0, 9.0]}]},
            "licence": "none",
            "training": "none",
            "measured": {},
            "files": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names},
        }
        (folder / "card.json").write_text(json.dumps(card | {"sha256": card_hash(card)}))
        return Bundle.open(folder)

    return make


@pytest.fixture
def constant() -> Callable[[Any], Callable[[Any], Any]]:
    """constant(table) → a network that answers `table` whatever it sees, after looking at all of it."""

    def answer(table: Any) -> Callable[[Any], Any]:
        def network(planes: Any) -> Any:
            everything = op.reduce_sum(planes, op.constant(np.array([0, 1, 2, 3], np.int64)), False)
            nothing = op.multiply(everything, op.constant(np.float32(0)))
            return op.add(op.constant(np.asarray(table, np.float32)), nothing)

        return network

    return answer
