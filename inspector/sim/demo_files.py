"""The files of a demonstration: station.toml, recipe, the mark by which a rendered board shows that it is in place, its reference."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2

from inspector.bundle import find_default_bundle
from inspector.sim.boards import MAX_SHIFT_PX, Product
from inspector.sim.boards_defects import CLASSES
from inspector.sim.boards_layout import FRAME_PX

_GATE_MM, _SPEED_MM_S, _GATE_MS = 600.0, 500.0, 50.0
TRAVEL_MS = _GATE_MM / _SPEED_MM_S * 1000
LARGEST_RATE_PER_MIN = 600.0
"""Above it more parts lie between camera and gate than the PLC has result slots."""

REFERENCE_BUNDLE = "deeppcb-yolo26n-reference-v0"

_LARGEST_SHIFT_PX = MAX_SHIFT_PX + 4
_SEEN = (_LARGEST_SHIFT_PX, _LARGEST_SHIFT_PX, FRAME_PX - _LARGEST_SHIFT_PX, FRAME_PX - _LARGEST_SHIFT_PX)
# A part that lies lower shows at its upper border what the reference does not; there every edge of copper would be a false call.
_REFERENCE = f"""\
reference = "golden.png"
region = {list(_SEEN)} # as far inside as a part may be shifted: the reference is known everywhere in it
"""

_LIMIT = 0.5
_CRITICAL = ("open", "short")


@dataclass(frozen=True, slots=True)
class DemoWiring:
    """Where the simulators listen."""

    plc_port: int
    frames: str
    control: str


def write_demo_files(folder: Path, product: Product, wiring: DemoWiring, rate_per_min: float, *, with_reference: bool = False) -> Path:
    """Write mark.png, boards.toml and station.toml into `folder`; returns the path of station.toml.

    with_reference: the product's reference picture as well, and the bundle that looks at it. Raises BundleError when none is installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = product.fiducials[0]
    x1, y1, x2, y2 = round(mark.x1), round(mark.y1), round(mark.x2), round(mark.y2)
    cv2.imwrite(str(folder / "mark.png"), product.reference()[y1:y2, x1:x2])
    recipe, station = _recipe(product.seed, x1, y1), _station(wiring, rate_per_min)
    if with_reference:
        cv2.imwrite(str(folder / "golden.png"), product.reference())
        recipe = _REFERENCE + recipe
        bundle = json.dumps(str(find_default_bundle().with_name(REFERENCE_BUNDLE)))
        station = station.replace('recipe = "boards.toml"\n', f'recipe = "boards.toml"\nbundle = {bundle}\n')
    (folder / "boards.toml").write_text(recipe, encoding="utf-8")
    path = folder / "station.toml"
    path.write_text(station, encoding="utf-8")
    return path


def _recipe(product: int, x: int, y: int) -> str:
    rules = "\n".join(f'{name} = {{ limit = {_LIMIT}, severity = "{_severity(name)}" }}' for name in CLASSES)
    return f"""\
name = "rendered board {product}"
note = "written by the demo; the mark is the board's first fiducial"
frame = {{ width = {FRAME_PX}, height = {FRAME_PX} }}

[presence]
method = "template"
picture = "mark.png"
position = [{x}, {y}]
min_score = 0.7
max_shift_px = {_LARGEST_SHIFT_PX}

[classes]
{rules}
"""


def _severity(defect_class: str) -> str:
    return "critical" if defect_class in _CRITICAL else "major"


def _station(wiring: DemoWiring, rate_per_min: float) -> str:
    # The belt spaces its parts with ±10 %; the smallest spacing is a little less.
    smallest_ms = 60_000 / rate_per_min * 0.8
    return f"""\
[station]
name = "demo"

[product]
recipe = "boards.toml"
lot = "demo"

[camera]
driver = "simulated"
frames = "{wiring.frames}"
control = "{wiring.control}"
width = {FRAME_PX}
height = {FRAME_PX}

[line]
driver = "modbus"
host = "127.0.0.1"
port = {wiring.plc_port}
timeout_ms = 250 # everything shares one machine here

[timing]
camera_to_gate_mm = {_GATE_MM}
belt_speed_mm_s = {_SPEED_MM_S}
gate_ms = {_GATE_MS}
exposure_ms = 1
transfer_ms = 20
smallest_spacing_ms = {smallest_ms:.1f}
"""
