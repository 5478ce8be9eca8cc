"""The chain finds whatever is changed, and says where."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.errors import ArchiveError
from inspector.ports import RunStart
from inspector.trace import Head, SqliteArchive, verify
from inspector.trace.chain import canonical, follow
from inspector.trace.schema import CHAINED, DATABASE
from inspector.types import ClassScore, Event, Inspection, PartId, PartKind, Timings, Verdict, VerdictKind

PARTS = 8


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with rows in every table, closed."""
    folder = tmp_path_factory.mktemp("written")
    archive = SqliteArchive(folder)
    run = archive.begin_run(RunStart("cell 7", "0.1.0"))
    archive.record_release("r1", {"recipe": "board 3"})
    for sequence in range(1, PARTS + 1):
        scores = (ClassScore("short", "all", 0.5), ClassScore("open", "edge", 0.25))
        archive.put(Inspection(PartId(run, sequence), PartKind.PRODUCTION, Verdict(VerdictKind.PASS), "r1", Timings(), class_scores=scores))
        archive.note(Event("disposed", {"disposition": "good lane"}, PartId(run, sequence)))
    archive.end_run(4)
    archive.close()
    return folder


def tamper(folder: Path, work: Path, statements: list[tuple[str, tuple[Any, ...]]]) -> None:
    """A copy of the archive, changed by someone who takes the triggers away first."""
    shutil.copy(folder / DATABASE, work / DATABASE)
    conn = sqlite3.connect(work / DATABASE, isolation_level=None)
    for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        conn.execute(f"DROP TRIGGER {name}")
    for sql, values in statements:
        assert conn.execute(sql, values).rowcount >= 1
    conn.close()


def test_an_untouched_archive_verifies_and_tells_its_head(written: Path) -> None:
    report = verify(written)
    assert report.ok
    assert report.broken is None
    assert report.parts == PARTS
    assert report.rows == 2 + 2 * PARTS + 1
    assert report.head.index == report.rows
    assert verify(written, head=report.head).ok


@st.composite
def edits(draw: st.DrawFn) -> list[tuple[str, tuple[Any, ...]]]:
    """One change that leaves a database without complaint of its own."""
    kind = draw(st.sampled_from(["edit", "hash", "score", "delete", "swap", "insert", "lose score", "add score"]))
    index = draw(st.integers(3, 2 + 2 * PARTS))
    table = draw(st.sampled_from(["parts", "events"]))
    some = f"idx = (SELECT idx FROM {table} ORDER BY idx LIMIT 1 OFFSET {draw(st.integers(0, PARTS - 1))})"
    part = f"(SELECT idx FROM parts ORDER BY idx LIMIT 1 OFFSET {draw(st.integers(0, PARTS - 1))})"
    if kind == "edit":
        column = draw(st.sampled_from([name for name in CHAINED[table] if name.endswith(("_us", "_ns"))]))
        return [(f"UPDATE {table} SET {column} = COALESCE({column}, 0) + ? WHERE {some}", (draw(st.integers(1, 10**9)),))]
    if kind == "hash":
        return [(f"UPDATE {table} SET hash = ? WHERE {some}", (draw(st.binary(min_size=0, max_size=32)),))]
    if kind == "score":
        return [(f"UPDATE part_class SET score = score + ? WHERE part = {part} AND zone = 'all'", (draw(st.floats(0.001, 0.4)),))]
    if kind == "lose score":
        return [(f"DELETE FROM part_class WHERE part = {part} AND zone = 'edge'", ())]
    if kind == "add score":
        return [(f"INSERT INTO part_class VALUES ({part}, ?, 'added', 0.5)", (draw(st.text("abc", max_size=3)),))]
    if kind == "delete":
        return [(f"DELETE FROM events WHERE {some.replace('FROM parts', 'FROM events')}", ())]
    if kind == "swap":
        one, other = f"{index}", f"{index + 1}"
        swaps = []
        for name in CHAINED:
            swaps.append((f"UPDATE {name} SET idx = -1 - idx WHERE idx IN ({one}, {other})", ()))
            swaps.append((f"UPDATE {name} SET idx = CASE idx WHEN -1 - {one} THEN {other} ELSE {one} END WHERE idx < 0", ()))
        return swaps
    return [("INSERT INTO events (idx, kind, data, utc_us, at_ns, hash) VALUES (?, 'x', '{}', 1, 1, ?)", (10**6, b"\0" * 32))]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits())
def test_any_change_is_found(written: Path, tmp_path: Path, statements: list[tuple[str, tuple[Any, ...]]]) -> None:
    head = verify(written).head
    shutil.copy(written / DATABASE, tmp_path / DATABASE)
    conn = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
    for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        conn.execute(f"DROP TRIGGER {name}")
    changed = sum(conn.execute(sql, values).rowcount for sql, values in statements)
    conn.close()
    report = verify(tmp_path, head=head)
    assert changed >= 1
    assert not report.ok
    assert report.broken


def test_the_first_broken_row_is_named(written: Path, tmp_path: Path) -> None:
    tamper(written, tmp_path, [("UPDATE parts SET verdict = 'REJECT' WHERE sequence = 5", ())])
    report = verify(tmp_path)
    assert report.broken is not None
    assert "part 1-5" in report.broken
    assert report.parts < PARTS


def test_a_deleted_row_is_named_by_its_gap(written: Path, tmp_path: Path) -> None:
    tamper(written, tmp_path, [("DELETE FROM part_class WHERE part = 4", ()), ("DELETE FROM parts WHERE idx = 4", ())])
    report = verify(tmp_path)
    assert report.broken is not None
    assert "rows 4 to 4 are missing" in report.broken


def test_a_cut_tail_is_found_against_a_kept_head_only(written: Path, tmp_path: Path) -> None:
    head = verify(written).head
    tamper(written, tmp_path, [("DELETE FROM events WHERE idx = ?", (head.index,))])
    assert verify(tmp_path).ok
    report = verify(tmp_path, head=head)
    assert report.broken is not None
    assert "cut off" in report.broken


def test_another_history_under_a_kept_head_is_found(written: Path) -> None:
    head = verify(written).head
    report = verify(written, head=Head(head.index, b"\1" * 32))
    assert report.broken is not None
    assert "written anew" in report.broken


def test_the_archives_own_name_is_part_of_the_chain(written: Path, tmp_path: Path) -> None:
    tamper(written, tmp_path, [("UPDATE archive SET id = 'another'", ())])
    assert "runs 1" in str(verify(tmp_path).broken)


def test_text_that_is_no_utf8_is_reported_not_raised(written: Path, tmp_path: Path) -> None:
    tamper(written, tmp_path, [("UPDATE parts SET presence = CAST(X'ff' AS TEXT) WHERE sequence = 5", ())])
    assert not verify(tmp_path).ok


def test_no_archive_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="cannot be read") as caught:
        verify(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_record_survives_a_station_that_opens_again(written: Path, tmp_path: Path, start: RunStart) -> None:
    shutil.copy(written / DATABASE, tmp_path / DATABASE)
    before = verify(tmp_path).head
    archive = SqliteArchive(tmp_path)
    archive.begin_run(start)
    archive.close()
    report = verify(tmp_path, head=before)
    assert report.ok
    assert report.head.index == before.index + 1


integers = st.integers(-(2**63), 2**63 - 1)
values = st.lists(st.none() | integers | st.floats(allow_nan=False, allow_infinity=False) | st.text("a,\"'\\[]ü", max_size=5))


@given(values, values)
def test_different_rows_have_different_bytes(one: list[Any], other: list[Any]) -> None:
    assert (canonical("events", one) == canonical("events", other)) == (repr(one) == repr(other))


@given(values)
def test_a_hash_depends_on_table_and_predecessor(row: list[Any]) -> None:
    assert len({follow(b"a", "events", row), follow(b"b", "events", row), follow(b"a", "runs", row)}) == 3
