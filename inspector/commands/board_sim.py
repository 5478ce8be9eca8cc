"""`inspector board-sim`: pictures of rendered boards in DeepPCB's layout, so that nobody needs a download to have data."""

import json
from pathlib import Path

import click
import cv2

from inspector.sim.boards import Product, RenderedBoard, board, good_twin
from inspector.sim.boards_defects import CLASSES
from inspector.sim.boards_layout import FRAME_PX
from inspector.types import Box, Pixels


@click.command("board-sim")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--count", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="Number of parts.")
@click.option("--product", type=click.IntRange(min=0), default=0, show_default=True, help="Names the layout.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Names the lot: same seed, same parts.")
@click.option("--defect-rate", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="Share of defective parts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def board_sim(folder: Path, count: int, product: int, seed: int, defect_rate: float, as_json: bool) -> None:
    """Render parts into FOLDER: defective/N.png with labels/N.txt, and good/N.png, the same part without its defects."""
    for name in ("defective", "good", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        if any((folder / name).iterdir()):
            raise click.ClickException(f"{folder / name} is not empty; name a new folder, so that pictures and labels stay together")
    layout = Product(product)
    defective = 0
    for number in range(count):
        part = board(layout, number, seed=seed, defect_rate=defect_rate)
        _write(folder / "good" / f"{number:06d}.png", good_twin(layout, number, seed=seed, defect_rate=defect_rate).pixels)
        if part.defects:
            defective += 1
            _write(folder / "defective" / f"{number:06d}.png", part.pixels)
            (folder / "labels" / f"{number:06d}.txt").write_text(yolo_rows(part), encoding="ascii")
    click.echo(f"{count} good and {defective} defective boards in {folder}")
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "good": count, "defective": defective, "product": product, "seed": seed}))


def yolo_rows(part: RenderedBoard) -> str:
    """The truth about a part as YOLO rows: class cx cy w h, normalised by the frame's size."""
    return "".join(f"{CLASSES.index(defect.defect_class)} {_normalised(defect.box)}\n" for defect in part.defects)


def _normalised(box: Box) -> str:
    values = ((box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2, box.x2 - box.x1, box.y2 - box.y1)
    return " ".join(f"{value / FRAME_PX:.6f}" for value in values)


def _write(path: Path, pixels: Pixels) -> None:
    try:
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be written ({error.strerror})") from error
