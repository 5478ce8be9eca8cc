"""Makes a bundle of an exported network: `python -m models.make_bundle --ir DIR --int8 DIR --words FILE --out DIR`.

Copies the IRs, draws the canary, lets every precision look at it through the station's own detector, and seals all of it in card.json.
The words of the card (name, version, classes, licence, training, figures) are written once, by people, in FILE; an existing card.json
will do, so that the shipped bundle can be made again from itself.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from inspector.bundle import CARD, Bundle, card_hash
from inspector.checks import iou
from inspector.detect.openvino import OpenVinoDetector
from inspector.errors import BundleError
from inspector.types import Detection, Pixels
from models.canary_picture import canary_picture

PICTURE = "canary.png"
MIN_IOU = 0.5
SCORE_TOLERANCE = 0.15
CERTAIN = 0.6
"""What the canary shows has to score at least this much in every precision ..."""
SILENT = 0.35
"""... and everything else less than this: between the two a small difference between machines could tip the canary."""
_TEXTS = ("name", "version", "licence", "training", "measured")
WORDS = (*_TEXTS, "classes", "input", "width", "height", "layout", "nms_iou", "default_precision")


def make_bundle(irs: dict[str, Path], words: dict[str, Any], out: Path, picture: Pixels) -> Bundle:
    """Write a bundle to `out` (a new folder) and return it opened.

    irs      precision → folder with model.xml and model.bin
    words    the card's fields named in WORDS
    picture  the canary, uint8, of the network's size
    Raises BundleError when a field is missing or the canary is not clear in every precision.
    """
    if missing := [key for key in WORDS if key not in words]:
        raise BundleError(f"the card's words lack {', '.join(missing)}: add them to the file given as --words")
    out.mkdir(parents=True)
    for precision, folder in irs.items():
        (out / precision).mkdir()
        for name in ("model.xml", "model.bin"):
            shutil.copyfile(folder / name, out / precision / name)
    cv2.imwrite(str(out / PICTURE), picture)
    card: dict[str, Any] = {"format": 1} | {key: words[key] for key in WORDS}
    card["precisions"] = {p: {"model": f"{p}/model.xml", "weights": f"{p}/model.bin"} for p in irs}
    card["files"] = {str(f.relative_to(out).as_posix()): _sha256(f) for f in sorted(out.rglob("*")) if f.is_file()}
    # the detector takes a bundle, and a bundle has a canary: the first one only stands in until the detector has looked
    anything = [{"defect_class": words["classes"][0], "score": 0.0, "box": [0.0, 0.0, 1.0, 1.0]}]
    draft = _written(out, card, anything)
    seen = [_look(draft, precision, picture) for precision in irs]
    return _written(out, card, [_entry(same) for same in _agreed(seen)])


def _written(out: Path, card: dict[str, Any], detections: list[dict[str, Any]]) -> Bundle:
    """The bundle opened, its card sealed with these detections as the canary's."""
    canary = {"picture": PICTURE, "detections": detections, "min_iou": MIN_IOU, "score_tolerance": SCORE_TOLERANCE}
    whole = card | {"canary": canary}
    text = json.dumps(whole | {"sha256": card_hash(whole)}, indent=2, ensure_ascii=False)
    (out / CARD).write_text(text + "\n", encoding="utf-8")
    return Bundle.open(out)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _look(bundle: Bundle, precision: str, picture: Pixels) -> list[Detection]:
    """What one precision finds in the canary with a score of SILENT or more."""
    height, width = picture.shape[:2]
    detector = OpenVinoDetector(bundle, height=height, width=width, channels=1 if picture.ndim == 2 else 3, precision=precision)
    detector.start(picture)
    if not detector.wait(60):
        raise BundleError(f"{bundle.folder}: {precision} did not answer within 60 s; try again on an idle machine")
    found = [d for d in detector.result() if d.score >= SILENT]
    detector.close()
    return found


def _agreed(seen: list[list[Detection]]) -> list[list[Detection]]:
    """For each detection of the first precision, the same one of every precision. Raises BundleError when they do not agree."""
    groups = []
    for first in seen[0]:
        group = [d for found in seen for d in found if d.defect_class == first.defect_class and iou(d.box, first.box) >= MIN_IOU]
        if len(group) != len(seen):
            raise BundleError(f"the canary's {first.defect_class} is not seen by every precision: draw it more clearly")
        if unsure := [d.score for d in group if d.score < CERTAIN]:
            raise BundleError(f"the canary's {first.defect_class} scores {min(unsure):.2f}, {CERTAIN} needed: draw it more clearly")
        groups.append(group)
    if not groups or any(len(found) != len(groups) for found in seen):
        raise BundleError("the precisions do not find the same things in the canary: draw it more clearly")
    return groups


def _entry(same: list[Detection]) -> dict[str, Any]:
    """The card's entry for one thing that every precision found: the mean of scores and boxes."""
    boxes = np.array([(d.box.x1, d.box.y1, d.box.x2, d.box.y2) for d in same])
    return {
        "defect_class": same[0].defect_class,
        "score": round(float(np.mean([d.score for d in same])), 3),
        "box": [round(float(v), 1) for v in boxes.mean(axis=0)],
    }


@click.command(help=__doc__)
@click.option("--ir", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="folder of the FP32 model.xml")
@click.option("--int8", type=click.Path(exists=True, file_okay=False, path_type=Path), help="folder of the INT8 model.xml")
@click.option("--words", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON with the card's words")
@click.option("--out", required=True, type=click.Path(exists=False, path_type=Path), help="the bundle's folder; must not exist")
@click.option("--canary", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="a picture instead of the drawn board")
def main(ir: Path, int8: Path | None, words: Path, out: Path, canary: Path | None) -> None:
    if out.exists():
        raise click.ClickException(f"{out}: is there already; remove it or name another folder")
    irs = {"fp32": ir} | ({"int8": int8} if int8 else {})
    text = json.loads(words.read_text(encoding="utf-8"))
    picture = canary_picture() if canary is None else cv2.imread(str(canary), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise click.ClickException(f"{canary}: is no picture")
    try:
        bundle = make_bundle(irs, text, out, np.asarray(picture, np.uint8))
    except BundleError as e:
        shutil.rmtree(out, ignore_errors=True)
        raise click.ClickException(str(e)) from e
    expected = ", ".join(f"{d.defect_class} {d.score:.2f}" for d in bundle.canary().expected)
    click.echo(f"{out}: {bundle.name} {bundle.version}, sha256 {bundle.hash}, canary: {expected}")


if __name__ == "__main__":
    main()
