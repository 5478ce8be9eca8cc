"""The comparison of belt, archive and truth: every part lands in exactly one place, and a lie of either side shows."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from inspector.commands.demo_figures import BeltPart, Figures, compare, read_belt_log
from inspector.types import Disposition, VerdictKind

GOOD_LANE, REJECTED = Disposition.GOOD_LANE, Disposition.REJECT_CONFIRMED


def part(number: int, *, passed: bool, lane: Disposition | None = None) -> BeltPart:
    return BeltPart(number, 1, number + 100, passed, lane or (GOOD_LANE if passed else REJECTED))


def test_the_log_of_the_belt_is_read_part_by_part(tmp_path: Path) -> None:
    rows = [
        {"part": 1, "sequence": 101, "run": 7, "verdict": "PASS", "lane": "good lane", "gate_ns": 5},
        {"part": 2, "sequence": 102, "run": 7, "verdict": "REJECT", "lane": "reject confirmed", "gate_ns": 6},
        {"part": 3, "sequence": 103, "run": 7, "verdict": None, "lane": "reject confirmed", "gate_ns": 7},
    ]
    log = tmp_path / "belt.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_belt_log(log) == [
        BeltPart(1, 7, 101, True, GOOD_LANE),
        BeltPart(2, 7, 102, False, REJECTED),
        BeltPart(3, 7, 103, False, REJECTED),
    ]


def test_three_witnesses_that_agree() -> None:
    belt = [part(1, passed=True), part(2, passed=False), part(3, passed=False)]
    verdicts = {101: VerdictKind.PASS, 102: VerdictKind.REJECT, 103: VerdictKind.FAULT}
    figures = compare(belt, verdicts, {1: True, 2: False, 3: True})
    assert figures == Figures(parts=3, passed=1, rejected=1, faulted=1)
    assert figures.proven


def test_escapes_and_overkills_count_no_fault() -> None:
    belt = [part(1, passed=True), part(2, passed=False), part(3, passed=False), part(4, passed=False)]
    verdicts = {101: VerdictKind.PASS, 102: VerdictKind.REJECT, 103: VerdictKind.FAULT, 104: VerdictKind.FAULT}
    figures = compare(belt, verdicts, {1: False, 2: True, 3: True, 4: False})
    assert (figures.escapes, figures.overkills) == (1, 1)
    assert figures.proven, "a wrong judgement is no lost part"


def test_a_part_without_a_verdict_is_unaccounted() -> None:
    figures = compare([part(1, passed=False)], {}, {1: True})
    assert figures == Figures(parts=1, unaccounted=1)
    assert not figures.proven


def test_a_plc_that_passed_what_the_station_did_not_is_a_mismatch_in_both_directions() -> None:
    belt = [part(1, passed=True, lane=REJECTED), part(2, passed=False)]
    figures = compare(belt, {101: VerdictKind.FAULT, 102: VerdictKind.PASS}, {1: True, 2: True})
    assert figures.plc_mismatches == 2
    assert not figures.proven


def test_a_part_in_the_lane_of_the_other_verdict_shows() -> None:
    belt = [part(1, passed=False, lane=GOOD_LANE), part(2, passed=True, lane=Disposition.REJECT_UNCONFIRMED)]
    figures = compare(belt, {101: VerdictKind.REJECT, 102: VerdictKind.PASS}, {1: False, 2: True})
    assert figures.wrong_lane == 2
    assert not figures.proven


belts = st.lists(st.tuples(st.booleans(), st.sampled_from(list(Disposition)), st.sampled_from([None, *VerdictKind]), st.booleans()))


@given(belts)
def test_every_part_is_counted_exactly_once(belt: list[tuple[bool, Disposition, VerdictKind | None, bool]]) -> None:
    parts = [part(n, passed=passed, lane=lane) for n, (passed, lane, _, _) in enumerate(belt)]
    verdicts = {n + 100: verdict for n, (_, _, verdict, _) in enumerate(belt) if verdict is not None}
    figures = compare(parts, verdicts, {n: good for n, (*_, good) in enumerate(belt)})
    assert figures.parts == len(belt) == figures.passed + figures.rejected + figures.faulted + figures.unaccounted
    assert figures.escapes <= figures.passed
    assert figures.overkills <= figures.rejected
    assert figures.proven == (not (figures.unaccounted or figures.plc_mismatches or figures.wrong_lane))
