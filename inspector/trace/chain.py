"""The hash chain over every row of the archive, in the order of writing.

hash(row) = SHA-256(hash of the row before + canonical bytes of this row), after the idea of RFC 6962 reduced to a list. It finds every
edited, deleted, inserted or swapped row; a cut tail or a rewritten whole only against a head that was kept elsewhere (`Head`).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

Value = str | int | float | None
"""What a cell of a chained table may hold, besides the hash."""

Score = tuple[str, str, float | None]
"""One row of part_class without its part: defect class, zone, score."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain: the index of its newest row (0: none yet) and that row's hash (32 bytes)."""

    index: int
    digest: bytes


def genesis(archive_id: str, created_us: int, sqlite: str) -> Head:
    """What the first row is chained to: the one row of the table `archive`, so that no chain fits another archive."""
    return Head(0, hashlib.sha256(canonical("archive", (archive_id, created_us, sqlite))).digest())


def canonical(table: str, values: Sequence[Value], scores: Sequence[Score] = ()) -> bytes:
    """The bytes of a row that are hashed: compact UTF-8 JSON of [table, column, column, …], then the scores of a part as one list.

    values  the columns in the order of schema.CHAINED, `hash` left out
    scores  rows of part_class in the order of their key; only parts have them

    Raises ValueError for NaN or infinity, UnicodeEncodeError for a lone surrogate: rows.py lets neither through.
    """
    row: list[object] = [table, *values]
    if table == "parts":
        row.append(scores)
    return _encode(row).encode()


def follow(previous: bytes, table: str, values: Sequence[Value], scores: Sequence[Score] = ()) -> bytes:
    """The hash (32 bytes) of a row that follows `previous`."""
    return hashlib.sha256(previous + canonical(table, values, scores)).digest()
