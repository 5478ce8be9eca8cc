"""Whatever the station hands over becomes a row that the database takes and the chain can hash."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.ports import RunStart
from inspector.trace import SqliteArchive, open_reader, verify
from inspector.trace.chain import canonical
from inspector.trace.rows import event_row, part_row, to_json
from inspector.types import (
    Box,
    ClassScore,
    Detection,
    Event,
    Inspection,
    PartId,
    PartKind,
    Pose,
    Reason,
    Timings,
    Verdict,
    VerdictKind,
)

anything = st.text(st.characters(), max_size=8)  # lone surrogates and NUL included
numbers = st.floats(allow_nan=True, allow_infinity=True)
maybe = st.none() | anything
boxes = st.builds(Box, numbers, numbers, numbers, numbers)
inspections = st.builds(
    Inspection,
    part=st.just(PartId(1, 1)),
    kind=st.sampled_from(PartKind),
    verdict=st.builds(
        Verdict,
        st.sampled_from(VerdictKind),
        st.tuples(st.builds(Reason, anything, anything, maybe, st.none(), maybe, st.none() | numbers, st.none() | numbers, boxes)),
    ),
    release=anything,
    timings=st.builds(Timings, st.none() | st.integers(0, 2**62)),
    detections=st.lists(st.builds(Detection, anything, numbers, boxes), max_size=3),
    class_scores=st.lists(st.builds(ClassScore, anything, anything, numbers), max_size=4),
    pose=st.builds(Pose, numbers, numbers, st.none() | numbers),
    presence=anything,
    source=anything,
    serial=maybe,
    lot=maybe,
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(inspections, min_size=5, max_size=10))
def test_any_part_is_recorded_and_its_chain_verifies(tmp_path_factory: pytest.TempPathFactory, parts: list[Inspection]) -> None:
    folder = tmp_path_factory.mktemp("any")
    archive = SqliteArchive(folder)
    try:
        run = archive.begin_run(RunStart("cell \udcff", "\0"))
        errors: list[Exception | None] = []
        for sequence, some in enumerate(parts):
            row = Inspection(
                PartId(run, sequence), some.kind, some.verdict, some.release, some.timings, some.detections, some.class_scores, some.pose,
                some.presence, source=some.source, serial=some.serial, lot=some.lot,
            )  # fmt: skip
            archive.put(row, errors.append)
        archive.end_run(4)
        assert errors == [None] * len(parts)
    finally:
        archive.close()
    report = verify(folder)
    assert report.ok, report.broken
    assert report.parts == len(parts)
    with open_reader(folder) as reader:
        assert len(reader.parts(run)) == len(parts)


leaves = st.none() | st.booleans() | numbers | anything | st.binary() | st.complex_numbers()


@settings(max_examples=60)
@given(st.recursive(leaves, lambda x: st.lists(x, max_size=3) | st.dictionaries(anything, x, max_size=3), max_leaves=6))
def test_any_event_data_becomes_json(data: object) -> None:
    row = event_row(Event("x", {"data": data}), 1, 5)
    assert canonical(row.table, (1, *row.values))
    assert "data" in json.loads(str(row.values[3]))


def test_a_cycle_is_cut_not_followed_for_ever() -> None:
    loop: dict[str, object] = {"a": 1}
    loop["self"] = loop
    assert json.loads(to_json(loop))["a"] == 1


def test_numpy_numbers_are_written_as_numbers(part: Callable[..., Inspection]) -> None:
    some = Inspection(
        PartId(np.int64(1), np.uint32(7)),  # type: ignore[arg-type]
        PartKind.PRODUCTION,
        Verdict(VerdictKind.PASS),
        "r1",
        Timings(np.int64(5)),  # type: ignore[arg-type]
        detections=[Detection("short", np.float32(0.5), Box(1, 2, 3, 4))],  # type: ignore[arg-type]
    )
    row = part_row(some)
    assert row.values[:2] == (1, 7)
    assert json.loads(str(row.values[6])) == [["short", 0.5, 1, 2, 3, 4]]
    assert all(type(value) in (int, float, str, type(None)) for value in row.values)
    assert part(1, 7).part == PartId(1, 7)


def test_detections_below_a_tenth_stay_out_and_scores_keep_the_highest(part: Callable[..., Inspection]) -> None:
    some = part(1, 1)
    scores = (ClassScore("b", "z", 0.2), ClassScore("a", "z", math.nan), ClassScore("a", "z", 0.4), ClassScore("a", "z", 0.3))
    row = part_row(Inspection(some.part, some.kind, some.verdict, "r1", some.timings, some.detections, scores))
    assert json.loads(str(row.values[6])) == [["short", 0.93, 1, 2, 3, 4]]
    assert row.scores == (("a", "z", 0.4), ("b", "z", 0.2))


def test_reasons_keep_what_people_and_statistics_need(part: Callable[..., Inspection], tmp_path: Path) -> None:
    row = part_row(part(1, 1, VerdictKind.REJECT))
    (reason,) = json.loads(str(row.values[5]))
    assert reason == {
        "code": "defect", "text": "short 0.93 in zone edge, limit 0.60", "class": "short", "severity": "major", "zone": "edge",
        "score": 0.93, "limit": 0.6, "box": [1, 2, 3, 4],
    }  # fmt: skip
    assert not list(tmp_path.iterdir())
