"""Drawings of the report as SVG text: precision over recall, and the confusion matrix. Pure; no file, no network."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from models.metrics import Curve, Ints

COLOURS = ("#1b6ca8", "#c0392b", "#2e7d32", "#8e44ad", "#b7791f", "#00838f", "#5d4037", "#ad1457")
_SIDE, _MARGIN, _LEGEND = 420, 46, 190
_CELL, _HEAD = 56, 96
_LONGEST = 16
"""Characters of a class name that there is room for."""
_POINTS = 300
"""So many points of a curve are drawn; the figures are of all."""


def curves_svg(curves: Mapping[str, Curve], pooled: Curve) -> str:
    """Precision over recall, both from 0 to 1: a thin line for each class, a black one for all together."""
    parts = [_open(_SIDE + _LEGEND, _SIDE, "precision over recall"), *_axes()]
    for place, (name, curve) in enumerate([*curves.items(), ("all classes", pooled)]):
        last = place == len(curves)
        colour = "#111" if last else COLOURS[place % len(COLOURS)]
        # Colours repeat after eight classes; the dashes then tell which is which.
        dash = "" if place < len(COLOURS) or last else ' stroke-dasharray="5 3"'
        points = " ".join(f"{_x(r):.1f},{_y(p):.1f}" for r, p in _thinned(curve))
        width = 2.5 if last else 1.3
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="{width}"{dash} points="{points}"/>')
        y = _MARGIN + 18 * place
        parts.append(f'<line x1="{_SIDE}" y1="{y}" x2="{_SIDE + 24}" y2="{y}" stroke="{colour}" stroke-width="{width}"{dash}/>')
        parts.append(f'<text x="{_SIDE + 30}" y="{y + 4}">{_label(name)}, best F {100 * curve.best_f:.1f}</text>')
    return "".join([*parts, "</svg>"])


def confusion_svg(counts: Ints, classes: Sequence[str]) -> str:
    """counts as models.metrics.confusion gives them; the darker, the more of the row's truths."""
    names = [*classes, "nothing"]
    width, height = _HEAD + _CELL * len(names) + 10, _HEAD + _CELL * len(names) + 24
    parts = [_open(width, height, "confusion matrix")]
    parts.append(f'<text x="{_HEAD + 4}" y="14">found as</text><text x="4" y="{_HEAD - 8}">true class</text>')
    for i, name in enumerate(names):
        middle = _HEAD + _CELL * i + _CELL // 2
        parts.append(f'<text x="{_HEAD - 6}" y="{middle + 4}" text-anchor="end">{_label(name)}</text>')
        parts.append(f'<text transform="translate({middle + 4} {_HEAD - 6}) rotate(-55)">{_label(name)}</text>')
    for row in range(len(names)):
        total = max(1, int(counts[row].sum()))
        for column in range(len(names)):
            if row == column == len(classes):
                continue  # what is not there and was not found cannot be counted
            n = int(counts[row, column])
            share = n / total
            x, y = _HEAD + _CELL * column, _HEAD + _CELL * row
            shade = "46,125,50" if row == column else "192,57,43"
            parts.append(f'<rect x="{x}" y="{y}" width="{_CELL}" height="{_CELL}" fill="rgba({shade},{share:.3f})" stroke="#999"/>')
            ink = "#fff" if share > 0.6 else "#111"
            parts.append(f'<text x="{x + _CELL // 2}" y="{y + _CELL // 2 + 4}" text-anchor="middle" fill="{ink}">{n}</text>')
    return "".join([*parts, "</svg>"])


def _label(name: str) -> str:
    return escape(name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…")


def _open(width: int, height: int, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{title}" '
        'font-family="sans-serif" font-size="12">'
    )


def _axes() -> list[str]:
    low, high = _x(0), _x(1)
    parts = [f'<rect x="{low}" y="{_y(1)}" width="{high - low}" height="{_y(0) - _y(1)}" fill="none" stroke="#555"/>']
    for tenth in range(0, 11, 2):
        v = tenth / 10
        parts.append(f'<line x1="{_x(v)}" y1="{_y(0)}" x2="{_x(v)}" y2="{_y(1)}" stroke="#ddd"/>')
        parts.append(f'<line x1="{low}" y1="{_y(v)}" x2="{high}" y2="{_y(v)}" stroke="#ddd"/>')
        parts.append(f'<text x="{_x(v)}" y="{_y(0) + 16}" text-anchor="middle">{v:.1f}</text>')
        parts.append(f'<text x="{low - 6}" y="{_y(v) + 4}" text-anchor="end">{v:.1f}</text>')
    parts.append(f'<text x="{(low + high) / 2}" y="{_y(0) + 34}" text-anchor="middle">recall</text>')
    parts.append(f'<text transform="translate(12 {(_y(0) + _y(1)) / 2}) rotate(-90)" text-anchor="middle">precision</text>')
    return parts


def _x(recall: float) -> float:
    return _MARGIN + recall * (_SIDE - 2 * _MARGIN)


def _y(precision: float) -> float:
    return _SIDE - _MARGIN - precision * (_SIDE - 2 * _MARGIN)


def _thinned(curve: Curve) -> list[tuple[float, float]]:
    if not curve.recall.size:
        return []
    places = np.unique(np.linspace(0, curve.recall.size - 1, _POINTS).astype(int))
    return [(float(curve.recall[i]), float(curve.precision[i])) for i in places]
