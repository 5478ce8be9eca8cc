"""Makes a bundle of an exported network: `python -m models.make_bundle --ir DIR --int8 DIR --words FILE --out DIR`.

Copies the IRs, draws the canary, lets every precision look at it through the station's own detector, in frames of several shapes, and
seals all of it in card.json.
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

from inspector.bundle import CARD, Bundle, InputKind, Letterbox, card_hash
from inspector.checks import iou
from inspector.detect.openvino import OpenVinoDetector
from inspector.errors import BundleError
from inspector.types import Box, Detection, Pixels
from models.canary_picture import canary_picture, canary_reference

PICTURE = "canary.png"
REFERENCE = "canary-reference.png"
MIN_IOU = 0.5
SURE_IOU = 0.6
"""How far each look has to overlap with the stored box: more than MIN_IOU, so that small differences between machines cannot tip it."""
SCORE_TOLERANCE = 0.15
MAX_SPREAD = 0.24
"""How far the scores of one defect may lie apart over precisions and shapes: the middle is stored, and leaves a fifth of the tolerance."""
CERTAIN = 0.5
"""What the canary shows has to score at least this much, always ..."""
SILENT = 0.35
"""... and everything else less than this: between the two a small difference between machines could tip the canary."""
SHAPES = ((1, 1), (4, 3), (3, 4), (8, 5), (5, 8), (2, 1), (1, 2))
"""Width to height of the frames that the canary is proven for: the letterbox shows more or less of its surroundings."""
_TEXTS = ("name", "version", "licence", "training", "measured")
WORDS = (*_TEXTS, "classes", "input", "width", "height", "layout", "nms_iou", "default_precision")


def make_bundle(
    irs: dict[str, Path],
    words: dict[str, Any],
    out: Path,
    picture: Pixels,
    reference: Pixels | None = None,
    also: dict[str, Path] | None = None,
) -> Bundle:
    """Write a bundle to `out` (a new folder) and return it opened.

    irs        precision → folder with model.xml and model.bin
    words      the card's fields named in WORDS
    picture    the canary, uint8, of the network's size; reference: how it should look, for mono+reference
    also       other files that the bundle carries, sealed like the rest: name → file
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
    if reference is not None:
        cv2.imwrite(str(out / REFERENCE), reference)
    for name, file in (also or {}).items():
        shutil.copyfile(file, out / name)
    card: dict[str, Any] = {"format": 1} | {key: words[key] for key in WORDS}
    card["precisions"] = {p: {"model": f"{p}/model.xml", "weights": f"{p}/model.bin"} for p in irs}
    card["files"] = {str(f.relative_to(out).as_posix()): _sha256(f) for f in sorted(out.rglob("*")) if f.is_file()}
    # the detector takes a bundle, and a bundle has a canary: the first one only stands in until the detector has looked
    middle = [card["width"] / 2 - 1, card["height"] / 2 - 1, card["width"] / 2 + 1, card["height"] / 2 + 1]
    draft = _written(out, card, [{"defect_class": words["classes"][0], "score": 0.0, "box": middle}])
    seen = [_look(draft, precision, shape) for precision in irs for shape in SHAPES]
    return _written(out, card, [_entry(same) for same in _agreed(seen)])


def _written(out: Path, card: dict[str, Any], detections: list[dict[str, Any]]) -> Bundle:
    """The bundle opened, its card sealed with these detections as the canary's."""
    canary: dict[str, Any] = {"picture": PICTURE, "detections": detections, "min_iou": MIN_IOU, "score_tolerance": SCORE_TOLERANCE}
    if REFERENCE in card["files"]:
        canary["reference"] = REFERENCE
    whole = card | {"canary": canary}
    text = json.dumps(whole | {"sha256": card_hash(whole)}, indent=2, ensure_ascii=False)
    (out / CARD).write_text(text + "\n", encoding="utf-8")
    return Bundle.open(out)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _look(bundle: Bundle, precision: str, shape: tuple[int, int]) -> list[Detection]:
    """What one precision finds in the canary with a score of SILENT or more, in px of the canary."""
    card = bundle.card
    scale = min(card.width / shape[0], card.height / shape[1])
    width, height = int(shape[0] * scale), int(shape[1] * scale)
    channels = 3 if bundle.input is InputKind.BGR else 1
    frame = bundle.canary().frame(height, width, channels)
    detector = OpenVinoDetector(bundle, height=height, width=width, channels=channels, precision=precision)
    detector.start(frame.pixels, frame.reference)
    if not detector.wait(60):
        raise BundleError(f"{bundle.folder}: {precision} did not answer within 60 s; try again on an idle machine")
    top, left = Letterbox(height, width, card.height, card.width).top_left
    found = [_moved(d, left, top) for d in detector.result() if d.score >= SILENT]
    detector.close()
    return found


def _moved(d: Detection, dx: int, dy: int) -> Detection:
    return Detection(d.defect_class, d.score, Box(d.box.x1 + dx, d.box.y1 + dy, d.box.x2 + dx, d.box.y2 + dy))


def _agreed(seen: list[list[Detection]]) -> list[list[Detection]]:
    """For each detection of the first look, the same one of every look. Raises BundleError when they do not agree."""
    groups = []
    for first in seen[0]:
        group = [d for found in seen for d in found if d.defect_class == first.defect_class and iou(d.box, first.box) > 0]
        scores = [d.score for d in group]
        if len(group) != len(seen):
            raise BundleError(f"the canary's {first.defect_class} is not seen by every precision in every shape: draw it more clearly")
        if min(scores) < CERTAIN or max(scores) - min(scores) > MAX_SPREAD:
            span = f"from {min(scores):.2f} to {max(scores):.2f}, {CERTAIN} needed and {MAX_SPREAD} apart at most"
            raise BundleError(f"the canary's {first.defect_class} scores {span}: draw it more clearly")
        if (overlap := min(iou(d.box, _mean_box(group)) for d in group)) < SURE_IOU:
            raise BundleError(f"the canary's {first.defect_class} moves (IoU {overlap:.2f}, {SURE_IOU} needed): draw it more clearly")
        groups.append(group)
    if not groups or any(len(found) != len(groups) for found in seen):
        raise BundleError("not every precision finds the same things in the canary in every shape: draw it more clearly")
    return groups


def _entry(same: list[Detection]) -> dict[str, Any]:
    """The card's entry for one thing that every look found: the middle of the scores, the mean of the boxes."""
    scores = [d.score for d in same]
    box = _mean_box(same)
    return {
        "defect_class": same[0].defect_class,
        "score": round((min(scores) + max(scores)) / 2, 3),
        "box": [round(v, 1) for v in (box.x1, box.y1, box.x2, box.y2)],
    }


def _mean_box(same: list[Detection]) -> Box:
    return Box(*np.mean([(d.box.x1, d.box.y1, d.box.x2, d.box.y2) for d in same], axis=0).tolist())


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
    picture, reference = canary_picture() if canary is None else cv2.imread(str(canary), cv2.IMREAD_UNCHANGED), None
    if picture is None:
        raise click.ClickException(f"{canary}: is no picture")
    if text.get("input") == InputKind.MONO_REFERENCE:
        if canary is not None:
            raise click.ClickException("--canary: a network with a reference is shown the drawn board; leave the option out")
        reference = canary_reference()
    try:
        bundle = make_bundle(irs, text, out, np.asarray(picture, np.uint8), reference)
    except BundleError as e:
        shutil.rmtree(out, ignore_errors=True)
        raise click.ClickException(str(e)) from e
    expected = ", ".join(f"{d.defect_class} {d.score:.2f}" for d in bundle.canary().expected)
    click.echo(f"{out}: {bundle.name} {bundle.version}, sha256 {bundle.hash}, canary: {expected}")


if __name__ == "__main__":
    main()
