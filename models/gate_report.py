"""The gate's report for people: one HTML file that needs nothing else, with the picture of every verdict that flips."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

import cv2
import numpy as np

from inspector.clock import wall_utc
from inspector.types import Box, Pixels
from models.evaluate import Evaluation, part_picture
from models.gate import Flip, Outcome
from models.gate_golden import Golden
from models.looking import Looker
from models.part_level import Part, rejecting_boxes

LARGEST_PX = 480
"""Longer side of an embedded picture."""
_TRUE, _AFTER, _BEFORE = (60, 160, 40), (40, 40, 198), (190, 90, 20)
"""B, G, R: what is there, what the candidate rejects for, what the active release rejects for."""
_STYLE = """
body { font: 15px/1.5 sans-serif; color: #222; background: #f2f2f2; margin: 2em auto; max-width: 1100px; padding: 0 1em }
h1, h2 { font-weight: 600 } h2 { margin-top: 2em; border-bottom: 1px solid #bbb }
table { border-collapse: collapse; background: #fff } th, td { border: 1px solid #ccc; padding: .25em .7em; text-align: left }
th { background: #e6e6e6 } code { overflow-wrap: anywhere } .no { font-weight: 600; color: #a11 }
.cases { display: flex; flex-wrap: wrap; gap: 12px } figure { margin: 0; width: 340px } img { width: 100% }
figcaption { font-size: 12px; overflow-wrap: anywhere }
"""


def gate_html(outcome: Outcome, golden: Golden, looker: Looker, command: str) -> str:
    """The whole page as text; looker is the candidate's. Pictures of flipped parts are read again. Raises DatasetError, PictureError."""
    c = outcome.candidate
    title = f"Gate: recipe {c.release.recipe}, {c.release.bundle}, {c.info.device} {c.info.precision}"
    result = "PASSED" if outcome.passed else '<span class="no">REFUSED</span>'
    rules = [(r.name, "holds" if r.ok else '<span class="no">does not hold</span>', escape(r.text)) for r in outcome.rules]
    pictures = "".join(_figure(flip, outcome, golden, looker) for flip in outcome.flips) or "<p>None.</p>"
    body = (
        f"<h1>{escape(title)}</h1><p>{result}, on this device and precision only. {escape(wall_utc()[:19])}Z</p>",
        _table(("rule", "", "found"), rules),
        "<p>Each bound is exact, one-sided, 95 %, for independent parts. A FAULT is neither escape nor overkill.</p>",
        "<h2>What was held against what</h2>",
        _table(("", "candidate", "active release"), _both(c, outcome.active)),
        f"<p>Golden set <code>{escape(str(golden.split.folder))}</code>, SHA-256 <code>{golden.hash}</code>. "
        f"Made by <code>{escape(command)}</code></p>",
        f"<h2>Verdicts that flip: {len(outcome.flips)}</h2>",
        "<p>Green: defects; red: what the candidate rejects for; blue, thin: what the active release rejected for.</p>",
        f'<div class="cases">{pictures}</div>',
    )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def flip_picture(pixels: Pixels, truths: Iterable[Box], before: Iterable[Box], after: Iterable[Box]) -> str:
    """The whole part, at most LARGEST_PX, as a JPEG in a data address. pixels: uint8 (h, w) or (h, w, 3)."""
    height, width = pixels.shape[:2]
    gain = min(1.0, LARGEST_PX / max(height, width))
    size = (max(1, round(width * gain)), max(1, round(height * gain)))
    shown = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    canvas = np.array(cv2.cvtColor(shown, cv2.COLOR_GRAY2BGR) if shown.ndim == 2 else shown, np.uint8)
    for boxes, colour, thick in ((truths, _TRUE, 2), (after, _AFTER, 2), (before, _BEFORE, 1)):
        for b in boxes:
            corners = [round(v * gain) for v in (b.x1, b.y1, b.x2, b.y2)]
            cv2.rectangle(canvas, (corners[0], corners[1]), (corners[2], corners[3]), colour, thick)
    data = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


def _figure(flip: Flip, outcome: Outcome, golden: Golden, looker: Looker) -> str:
    part, active = flip.part, outcome.active
    board = next(b for b in golden.split.boards if b.name == part.name)
    before = [] if active is None else [d.box for p in active.parts if _same(p, part) for d in rejecting_boxes(p.seen, active.recipe)]
    after = [d.box for d in rejecting_boxes(part.seen, outcome.candidate.recipe)]
    image = flip_picture(part_picture(looker, board, part), [t.box for t in part.truths], before, after)
    why = part.seen.verdict(outcome.candidate.recipe)
    caption = escape(f"{flip.title}. {why}")
    return f'<figure><img src="{image}" alt="{escape(flip.title)}"><figcaption>{caption}</figcaption></figure>'


def _same(a: Part, b: Part) -> bool:
    return (a.kind, a.name, a.index) == (b.kind, b.name, b.index)


def _both(candidate: Evaluation, active: Evaluation | None) -> list[tuple[str, str, str]]:
    def column(e: Evaluation | None) -> list[str]:
        if e is None:
            return ["none of this recipe"] + [""] * 8
        f, r = e.figures, e.release
        shares = (f.escapes, f.disturbed_overkills) if e.with_reference else (f.escapes, f.overkills, f.disturbed_overkills)
        texts = [str(s) for s in shares]
        if e.with_reference:
            texts.insert(1, "not counted: a good twin is its own reference")
        runs = f"{e.info.device} {e.info.precision}, {e.info.runtime}"
        single = str(f.single_rejected.count) + f" of {f.single_rejected.of}"
        return [f"{r.recipe}, revision {r.recipe_revision}", f"{r.bundle}, SHA-256 {r.bundle_hash}", runs, *texts, single, str(f.faulted)]

    names = ("recipe", "bundle", "runs on", "escapes", "overkills", "overkills, disturbed", "single-defect rejected", "parts faulted")
    return [(n, escape(a), escape(b)) for n, a, b in zip(names, column(candidate), column(active), strict=False)]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
