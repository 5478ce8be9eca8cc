"""docs/records.md says what the database is."""

import sqlite3
from pathlib import Path

import pytest

from inspector.trace.schema import CHAINED, MIGRATIONS

PAGE = Path(__file__).parents[2] / "docs" / "records.md"


@pytest.mark.parametrize("table", ["archive", "part_class", *CHAINED])
def test_every_column_is_explained_in_its_tables_section(table: str) -> None:
    db = sqlite3.connect(":memory:")
    for statement in MIGRATIONS[0]:
        db.execute(statement)
    columns = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
    db.close()
    section = PAGE.read_text().split(f"\n**{table}**")[1].split("\n**")[0]
    assert {column for column in columns if f"`{column}`" not in section} == set()


@pytest.mark.parametrize("table", list(CHAINED))
def test_the_hashed_order_is_the_documented_one(table: str) -> None:
    listed = PAGE.read_text().split(f"\n- {table}: `")[1].split("`")[0]
    assert [name.strip() for name in listed.split(",")] == list(CHAINED[table])
