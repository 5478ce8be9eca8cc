"""The network with everything around it compiled in: frames go in as the camera delivers them, 8 bit.

Built from operations, not with OpenVINO's PrePostProcessor: that one cannot join two inputs into one picture, as `mono+reference`
needs, and one way for all three kinds is easier to trust. It compiles to the same graph (times differ by less than they vary).
"""

from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as op

from inspector.bundle import GREY, Bundle, InputKind, Layout, Letterbox
from inspector.errors import BundleError

_FULL_SCALE = 255.0


def prepared(model: ov.Model, bundle: Bundle, letterbox: Letterbox) -> ov.Model:
    """`model` (float32 RGB 0..1, (1, 3, H, W)) with inputs of uint8 (1, height, width, channels) in frame pixels in its place.

    One input "picture" (mono, or B, G, R), and for mono+reference a second one "reference". Raises BundleError when the model is not
    what the card says.
    """
    _check(model, bundle)
    if bundle.input is InputKind.BGR:
        inputs = [_input("picture", letterbox, 3)]
        planes = op.gather(op.transpose(_float(inputs[0]), _ints(0, 3, 1, 2)), _ints(2, 1, 0), _ints(1))
    elif bundle.input is InputKind.MONO:
        inputs = [_input("picture", letterbox, 1)]
        planes = _plane(inputs[0], letterbox)
    else:
        inputs = [_input("picture", letterbox, 1), _input("reference", letterbox, 1)]
        picture, reference = (_plane(i, letterbox) for i in inputs)
        # trained on pictures whose B, G, R are picture, reference, difference: the network takes R, G, B
        planes = op.concat([op.abs(op.subtract(picture, reference)), reference, picture], 1)
    planes = op.divide(_fitted(planes, letterbox), op.constant(np.float32(_FULL_SCALE)))
    if bundle.input is InputKind.MONO:
        planes = op.concat([planes, planes, planes], 1)
    for consumer in model.input(0).get_target_inputs():
        consumer.replace_source_output(planes.output(0))
    return ov.Model(model.outputs, inputs, bundle.name)


def _input(name: str, letterbox: Letterbox, channels: int) -> Any:
    parameter = op.parameter([1, letterbox.frame_height, letterbox.frame_width, channels], np.uint8, name=name)
    parameter.output(0).set_names({name})
    return parameter


def _float(node: Any) -> Any:
    return op.convert(node, "f32")


def _plane(node: Any, letterbox: Letterbox) -> Any:
    """A mono input as float32 (1, 1, height, width): with one channel, moving it to the front moves no data."""
    return op.reshape(_float(node), _ints(1, 1, letterbox.frame_height, letterbox.frame_width), False)


def _fitted(planes: Any, letterbox: Letterbox) -> Any:
    """(1, C, frame height, frame width) scaled and centred on grey, as ultralytics' LetterBox; untouched where the sizes agree."""
    rows, columns = letterbox.inner
    if (rows, columns) != (letterbox.frame_height, letterbox.frame_width):
        # half-pixel centres without antialiasing: what cv2.INTER_LINEAR does
        planes = op.interpolate(planes, _ints(rows, columns), "linear_onnx", "sizes", axes=_ints(2, 3))
    top, left = letterbox.top_left
    bottom, right = letterbox.height - rows - top, letterbox.width - columns - left
    if top or left or bottom or right:
        planes = op.pad(planes, _ints(0, 0, top, left), _ints(0, 0, bottom, right), "constant", op.constant(np.float32(GREY)))
    return planes


def _ints(*values: int) -> Any:
    return op.constant(np.array(values, np.int64))


def _check(model: ov.Model, bundle: Bundle) -> None:
    """Raises BundleError when the model's input, output or class names differ from the card's."""
    card = bundle.card

    def refuse(what: str, found: object, expected: object) -> None:
        raise BundleError(f"{bundle.folder}: the model's {what} is {found}, the card says {expected}; make the bundle again")

    if len(model.inputs) != 1 or len(model.outputs) != 1:
        refuse("number of inputs and outputs", f"{len(model.inputs)} and {len(model.outputs)}", "1 and 1")
    shape = model.input(0).get_partial_shape()
    if shape != ov.PartialShape([1, 3, card.height, card.width]):
        refuse("input", shape, f"[1,3,{card.height},{card.width}]")
    out = model.output(0).get_partial_shape()
    rows = 4 + len(card.classes)
    fits = out.is_static and len(out) == 3 and out.get_shape()[0] == 1
    if card.layout is Layout.CENTRE_SIZE and not (fits and out.get_shape()[1] == rows):
        refuse("output", out, f"[1,{rows},N]: {card.layout}, {len(card.classes)} classes")
    if card.layout is Layout.END_TO_END and not (fits and out.get_shape()[2] == 6):
        refuse("output", out, f"[1,M,6]: {card.layout}")
    if model.has_rt_info(["model_info", "labels"]):
        labels = model.get_rt_info(["model_info", "labels"]).astype(str)
        # exporters write the names in one line, with _ for a blank inside a name
        if labels != " ".join(name.replace(" ", "_") for name in card.classes):
            refuse("class list", f"'{labels}'", f"'{' '.join(card.classes)}'")
