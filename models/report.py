"""The report of an evaluation: one HTML file that needs nothing else, with all figures and the command that makes them."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path

from calibration.statistics import Share
from inspector.clock import wall_utc
from inspector.errors import InspectorError
from models.dataset import Split
from models.evaluate import Evaluation, part_picture
from models.looking import Looker
from models.part_level import PartFigures, PartKind, rejecting_boxes
from models.report_pictures import Case, crop_png, worst_false_calls, worst_misses
from models.report_svg import confusion_svg, curves_svg

_STYLE = """
body { font: 15px/1.5 sans-serif; color: #222; background: #f2f2f2; margin: 2em auto; max-width: 1100px; padding: 0 1em }
h1, h2 { font-weight: 600 } h2 { margin-top: 2em; border-bottom: 1px solid #bbb }
table { border-collapse: collapse; background: #fff } th, td { border: 1px solid #ccc; padding: .25em .7em; text-align: right }
th:first-child, td:first-child { text-align: left } th { background: #e6e6e6 }
code { background: #e6e6e6; padding: .2em .4em; overflow-wrap: anywhere } svg { background: #fff; border: 1px solid #ccc; max-width: 100% }
.cases { display: flex; flex-wrap: wrap; gap: 12px }
figure { margin: 0; width: 192px } figcaption { font-size: 12px; overflow-wrap: anywhere }
"""


def write_report(path: Path, result: Evaluation, split: Split, looker: Looker, command: str) -> None:
    """Write the report, whole or not at all. The pictures of its cases are read again. Raises InspectorError."""
    content = report_html(result, split, looker, command)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(content, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise InspectorError(f"{path}: the report cannot be written ({error.strerror}); make room, or name another file") from error


def report_html(result: Evaluation, split: Split, looker: Looker, command: str) -> str:
    """The whole page as text."""
    r = result.release
    title = f"{r.bundle}, recipe {r.recipe}"
    misses, calls = worst_misses(result.parts, result.recipe), worst_false_calls(result.parts, result.recipe)
    sections = (
        f"<h1>Evaluation of {escape(title)}</h1>",
        _facts(result, split, command),
        "<h2>Parts</h2>",
        _parts(result),
        "<h2>One limit for all classes</h2>",
        _sweep(result),
        "<h2>Boxes</h2>",
        _boxes(result),
        "<h2>Precision over recall, IoU above 0.33</h2>",
        curves_svg(result.boxes.curves, result.boxes.pooled),
        "<h2>Confusion at the recipe's limits</h2>",
        "<p>Defective and good boards. Right: the class that was found; bottom row: boxes where nothing is.</p>",
        confusion_svg(result.confusion, result.classes),
        "<h2>Worst misses</h2>",
        "<p>Defects that no rejecting box of their class meets, lowest score first. Green: defects; red: boxes that reject.</p>",
        _cases(misses, split, looker),
        "<h2>Worst false calls</h2>",
        "<p>Boxes that reject where no defect is, surest first.</p>",
        _cases(calls, split, looker),
    )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(sections)}</body></html>\n'


def _facts(result: Evaluation, split: Split, command: str) -> str:
    r, f = result.release, result.figures
    counts = ", ".join(f"{f.of(kind).judged + f.of(kind).faulted} {kind}" for kind in PartKind)
    rows = [
        ("made", wall_utc()[:19] + "Z"),
        ("pictures", str(split.folder)),
        ("parts", f"{counts}; {result.left_out} single-defect boards could not be made, because boxes are too close"),
        ("bundle", f"{r.bundle}, SHA-256 {r.bundle_hash}"),
        ("recipe", f"{r.recipe}, revision {r.recipe_revision}; presence {r.presence}"),
        ("runs on", f"{result.info.device}, {result.info.precision}, {result.info.runtime}"),
        ("input", "picture, reference (the good twin, brought into register), difference" if result.with_reference else "picture alone"),
    ]
    return _table(("", ""), [(name, escape(text)) for name, text in rows]) + f"<p>Made by <code>{escape(command)}</code></p>"


def _parts(result: Evaluation) -> str:
    f = result.figures
    rows = [("escapes: defective boards passed", *_upper(f.escapes))]
    if not result.with_reference:
        rows.append(("overkills: good boards rejected", *_upper(f.overkills)))
    rows += [
        ("overkills: disturbed good boards rejected", *_upper(f.disturbed_overkills)),
        ("mended boards rejected (every defect put back: what the seams do)", *_upper(f.mended_rejected)),
        ("defective boards with a false call", *_upper(f.boards_false_calls)),
        ("single-defect boards rejected", *_lower(f.single_rejected)),
        ("single-defect boards rejected for that very defect", *_lower(f.single_hit)),
        ("defects found, all", *_lower(f.defects_found)),
        *((f"defects found, {escape(name)}", *_lower(share)) for name, share in f.defects_found_by_class.items()),
    ]
    note = (
        f"<p>At the recipe's limits. Bounds are exact, one-sided, 95 % each, for independent parts. {f.faulted} parts faulted; they are in "
        "no share.</p>"
    )
    return note + _table(("", "count", "of", "%", "bound"), rows)


def _upper(share: Share) -> tuple[str, ...]:
    return (*_share(share), f"at most {100 * share.upper:.2f} %")


def _lower(share: Share) -> tuple[str, ...]:
    return (*_share(share), f"at least {100 * share.lower:.2f} %")


def _share(share: Share) -> tuple[str, str, str]:
    return str(share.count), str(share.of), "–" if share.rate is None else f"{100 * share.rate:.2f}"


def _sweep(result: Evaluation) -> str:
    head = (
        "limit",
        "escapes",
        "at most",
        "overkills",
        "at most",
        "disturbed",
        "at most",
        "single rejected",
        "for that defect",
        "defects found",
    )
    rows = [_sweep_row(limit, f, result.with_reference) for limit, f in result.swept]
    note = "<p>A limit chosen here, and the bound beside it, come from the same parts: the bound holds for limits set beforehand only.</p>"
    return note + _table(head, rows)


def _sweep_row(limit: float, f: PartFigures, with_reference: bool) -> tuple[str, ...]:
    over = ("–", "–") if with_reference else (str(f.overkills.count), _percent(f.overkills.upper))
    shares = (f.single_rejected, f.single_hit, f.defects_found)
    disturbed = (str(f.disturbed_overkills.count), _percent(f.disturbed_overkills.upper))
    return (f"{limit:.2f}", str(f.escapes.count), _percent(f.escapes.upper), *over, *disturbed, *(_percent(s.rate) for s in shares))


def _boxes(result: Evaluation) -> str:
    b = result.boxes
    rows = [
        ("AP at IoU 0.33, all classes in one list", _percent(b.ap33_pooled)),
        ("AP at IoU 0.33, mean over classes", _percent(b.map33)),
        ("best F at IoU 0.33", f"{_percent(b.f33)} at limit {b.pooled.best_limit or 0:.2f}"),
        ("mAP@0.5", _percent(b.map50)),
        ("mAP@0.5:0.95", _percent(b.map5095)),
        *((f"AP at IoU 0.33, {escape(name)}", _percent(ap)) for name, ap in b.by_class.items()),
    ]
    return "<p>Defective boards, all detections of 0.01 or more.</p>" + _table(("", "%"), rows)


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.2f}"


def _cases(cases: Sequence[Case], split: Split, looker: Looker) -> str:
    if not cases:
        return "<p>None.</p>"
    boards = {board.name: board for board in split.boards}
    figures = []
    for case in cases:
        pixels = part_picture(looker, boards[case.part.name], case.part)
        image = crop_png(pixels, case, [d.box for d in rejecting_boxes(case.part.seen, looker.recipe)])
        caption = escape(case.title)
        figures.append(f'<figure><img src="{image}" alt="{caption}" width="192" height="192"><figcaption>{caption}</figcaption></figure>')
    return f'<div class="cases">{"".join(figures)}</div>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
