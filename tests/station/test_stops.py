"""The stop rules: told once at the right part, counted anew afterwards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.station.stops import StopRules, StopWatch, wrong_lane
from inspector.types import Disposition, PartId, VerdictKind

PASS, REJECT, FAULT = VerdictKind
LETTERS = {"p": PASS, "r": REJECT, "f": FAULT}
verdicts = st.lists(st.sampled_from(VerdictKind), max_size=60)


def stopped_at(rules: StopRules, parts: str) -> list[tuple[int, str]]:
    """(number of the part from 1, code) of every stop over a string of p, r and f."""
    watch = StopWatch(rules)
    causes = [(number, watch.verdict(LETTERS[letter])) for number, letter in enumerate(parts, start=1)]
    return [(number, cause.code) for number, cause in causes if cause is not None]


@pytest.mark.parametrize(
    ("rules", "parts", "stops"),
    [
        (StopRules(rejects_in_row=3), "rrprrprr", []),
        (StopRules(rejects_in_row=3), "prrrp", [(4, "rejects in a row")]),
        (StopRules(rejects_in_row=3), "rrfrr", []),
        (StopRules(rejects_in_row=2), "rrrrr", [(2, "rejects in a row"), (4, "rejects in a row")]),
        (StopRules(rejects_in_row=1), "pr", [(2, "rejects in a row")]),
        (StopRules(faults_in_row=2), "frfpff", [(6, "faults in a row")]),
        (StopRules(), "f" * 9, []),
        (StopRules(), "f" * 10, [(10, "faults in a row")]),
        (StopRules(), "r" * 100, []),
        (StopRules(m_of_k=(2, 4)), "rpppr", []),
        (StopRules(m_of_k=(2, 4)), "rppr", [(4, "m of k")]),
        (StopRules(m_of_k=(2, 4)), "rf", [(2, "m of k")]),
        (StopRules(m_of_k=(2, 4)), "rfpr", [(2, "m of k")]),
        (StopRules(rejects_in_row=2, m_of_k=(2, 4)), "rr", [(2, "rejects in a row")]),
        (StopRules(faults_in_row=None), "f" * 100, []),
    ],
)
def test_the_line_is_stopped_at_the_right_part(rules: StopRules, parts: str, stops: list[tuple[int, str]]) -> None:
    assert stopped_at(rules, parts) == stops


@given(verdicts)
def test_passes_stop_nothing_and_no_rules_stop_nothing(seen: list[VerdictKind]) -> None:
    watch = StopWatch(StopRules(rejects_in_row=1, faults_in_row=1, m_of_k=(1, 5)))
    assert all(watch.verdict(PASS) is None for _ in seen)
    off = StopWatch(StopRules(faults_in_row=None))
    assert all(off.verdict(kind) is None for kind in seen)


@given(verdicts, st.integers(1, 5), st.integers(1, 5))
def test_rows_are_stopped_exactly_when_they_are_full(seen: list[VerdictKind], rejects: int, faults: int) -> None:
    watch = StopWatch(StopRules(rejects_in_row=rejects, faults_in_row=faults))
    row: list[VerdictKind] = []
    for kind in seen:
        row = [*row, kind] if row[-1:] == [kind] else [kind]
        full = len(row) == {PASS: 10**6, REJECT: rejects, FAULT: faults}[kind]
        cause = watch.verdict(kind)
        assert (cause is not None) == full
        if cause is not None:
            assert cause.text.startswith(str(len(row)))
            assert cause.next_step.endswith("acknowledge")
            row = []


@given(verdicts, st.integers(1, 6), st.integers(0, 6))
def test_m_of_k_looks_at_the_last_k_since_the_last_stop(seen: list[VerdictKind], m: int, more: int) -> None:
    watch = StopWatch(StopRules(faults_in_row=None, m_of_k=(m, m + more)))
    since: list[VerdictKind] = []
    for kind in seen:
        since.append(kind)
        full = sum(k is not PASS for k in since[-(m + more) :]) >= m
        assert (watch.verdict(kind) is not None) == full
        if full:
            since = []


@given(verdicts)
def test_after_a_reset_all_is_as_new(seen: list[VerdictKind]) -> None:
    rules = StopRules(rejects_in_row=3, faults_in_row=4, m_of_k=(5, 9))
    used, new = StopWatch(rules), StopWatch(rules)
    for kind in seen:
        used.verdict(kind)
    used.reset()
    assert [used.verdict(kind) for kind in seen] == [new.verdict(kind) for kind in seen]


@pytest.mark.parametrize("verdict", VerdictKind)
@pytest.mark.parametrize("disposition", Disposition)
def test_only_a_part_in_the_good_lane_that_was_not_passed_is_in_the_wrong_lane(verdict: VerdictKind, disposition: Disposition) -> None:
    cause = wrong_lane(PartId(3, 77), verdict, disposition)
    assert (cause is not None) == (disposition is Disposition.GOOD_LANE and verdict is not PASS)
    if cause is not None:
        assert cause.code == "wrong lane"
        assert f"part 3-77 is a {verdict}" in cause.text
        assert "take part 3-77 out" in cause.next_step
