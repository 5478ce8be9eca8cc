"""YOLO label rows: class, centre x, centre y, width, height, the last four as parts of the picture's size. Pure."""

import math
from dataclasses import dataclass

_ROUNDING = 1e-3
"""How far a box may reach over the picture's edge, as a part of its size: rows are written with few digits."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, as written: `number` names the class."""

    number: int
    cx: float
    cy: float
    w: float
    h: float


@dataclass(frozen=True, slots=True)
class RowProblem:
    """What is wrong with one row: `code` for statistics, `text` ("row 3: …") for people."""

    code: str
    text: str


def parse_rows(text: str, classes: int | None) -> tuple[list[Row], list[RowProblem]]:
    """The good rows of a label file, and what is wrong with the others; blank lines do not count.

    classes: how many there are; None takes any number from 0 on.
    """
    rows: list[Row] = []
    problems: list[RowProblem] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        row = _row(line)
        problem = row if isinstance(row, RowProblem) else _problem(row, classes, rows)
        if problem is not None:
            problems.append(RowProblem(problem.code, f"row {number}: {problem.text}"))
        elif isinstance(row, Row):
            rows.append(row)
    return rows, problems


def _row(line: str) -> Row | RowProblem:
    fields = line.split()
    if len(fields) != 5:
        return RowProblem("malformed row", f"has {len(fields)} fields, 5 are expected (class cx cy w h): {line.strip()!r:.80}")
    try:
        number, *values = (float(field) for field in fields)
    except ValueError:
        return RowProblem("malformed row", f"holds something that is no number: {line.strip()!r:.80}")
    if not all(map(math.isfinite, (number, *values))):
        return RowProblem("malformed row", f"holds something that is no finite number: {line.strip()!r:.80}")
    if number != int(number):
        return RowProblem("malformed row", f"class {fields[0]} is no whole number")
    return Row(int(number), *values)


def _problem(row: Row, classes: int | None, before: list[Row]) -> RowProblem | None:
    if row.number < 0 or (classes is not None and row.number >= classes):
        known = "from 0 on" if classes is None else f"0 to {classes - 1}"
        return RowProblem("unknown class", f"class {row.number} is unknown; there are {known}")
    if row.w <= 0 or row.h <= 0:
        return RowProblem("empty box", f"the box is {row.w:g} x {row.h:g} of the picture: it holds nothing")
    low, high = -_ROUNDING, 1 + _ROUNDING
    edges = (row.cx - row.w / 2, row.cy - row.h / 2, row.cx + row.w / 2, row.cy + row.h / 2)
    if min(edges) < low or max(edges) > high:
        return RowProblem(
            "box outside", f"the box reaches from {edges[0]:.3f}, {edges[1]:.3f} to {edges[2]:.3f}, {edges[3]:.3f} of the picture"
        )
    if row in before:
        return RowProblem("row twice", "is there twice")
    return None
