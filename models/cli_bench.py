"""`inspector model bench`: each device and precision of a bundle on this machine, and which one to take."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from inspector.bundle import Bundle, InputKind, find_default_bundle
from inspector.camera.pictures import list_pictures, read_picture
from inspector.errors import InspectorError
from inspector.types import Pixels
from models.device_bench import Figures, cases, measure, recommend

_MOST = 50


@click.command("bench", short_help="measure each device and precision of a bundle on this machine")
@click.option("--bundle", type=click.Path(exists=True, file_okay=False, path_type=Path), help="model bundle; else the one that ships")
@click.option(
    "--pictures", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR", help="pictures; else drawn boards"
)
@click.option("--device", help="only this OpenVINO device")
@click.option("--precision", help="only this precision of the bundle")
@click.option("--rounds", type=click.IntRange(1, 1000), default=10, show_default=True, help="how often all pictures are looked at")
@click.option("--limit", type=click.IntRange(1, 1000), default=_MOST, show_default=True, metavar="N", help="so many pictures at most")
@click.option("--json", "as_json", is_flag=True, help="one JSON object as the last line")
def bench(
    bundle: Path | None, pictures: Path | None, device: str | None, precision: str | None, rounds: int, limit: int, as_json: bool
) -> None:
    """Measure p50, p99, throughput, memory and compile time of each device with each precision, in turns, each in a process of its own,
    and recommend by measured p99. Run it on an idle machine. What is recommended still has to pass the gate."""
    opened = Bundle.open(bundle or find_default_bundle())
    shown = _folder(opened, pictures, limit) if pictures else _drawn(opened, limit)
    measured = measure(opened, shown, cases(opened, device, precision), rounds)
    best = recommend(measured)
    click.echo(f"{opened.name}: {len(shown)} pictures of {shown[0].shape[1]}x{shown[0].shape[0]} px, {rounds} rounds in turns")
    for m in measured:
        click.echo(_line(m) if isinstance(m, Figures) else f"{m.device:8}{m.precision:8}cannot be used: {m.problem}")
    if best is not None:
        click.echo(f"recommended: {best.device} {best.precision}, p99 {best.p99_ms:.1f} ms (has to pass `inspector model gate` there)")
    if as_json:
        named = None if best is None else {"device": best.device, "precision": best.precision}
        document = {"bundle": opened.name, "bundle_sha256": opened.hash, "measured": [asdict(m) for m in measured], "recommended": named}
        click.echo(json.dumps(document))
    if best is None:
        raise InspectorError(f"{opened.name} runs on no device of this machine; compile it for one that is there")


def _line(m: Figures) -> str:
    memory = "?" if m.memory_mb is None else f"{m.memory_mb:.0f}"
    times = f"p50 {m.p50_ms:.1f}  p99 {m.p99_ms:.1f}  max {m.max_ms:.1f} ms  {m.pictures_per_s:.1f} pictures/s"
    compile_ms = f"compile {m.compile_cold_ms:.0f} ms cold, {m.compile_warm_ms:.0f} warm"
    return f"{m.device:8}{m.precision:8}{times}  {memory} MB  {compile_ms}  ({m.runs_as})"


def _folder(bundle: Bundle, folder: Path, most: int) -> list[Pixels]:
    paths = list_pictures(folder)[:most]
    pictures = [read_picture(p, pixel="bgr" if bundle.input is InputKind.BGR else "mono") for p in paths]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            raise InspectorError(f"{path}: has another size than {paths[0].name}; a station's frames have one size, name another folder")
    return pictures


def _drawn(bundle: Bundle, most: int) -> list[Pixels]:
    if bundle.input is InputKind.BGR:
        raise InspectorError(f"{bundle.folder}: looks at colour, and the drawn boards have none; name a folder with --pictures")
    # Here, not above: a folder needs no renderer.
    from inspector.sim.boards import Product, board

    product = Product(1)
    return [board(product, n, seed=1, defect_rate=0.5).pixels for n in range(most)]
