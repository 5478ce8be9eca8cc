"""Exact bounds against published values, an independent calculation, and their laws."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.statistics import Share, at_most, lower_bound, upper_bound

COUNT_OF = st.integers(1, 3000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))


@pytest.mark.parametrize(("of", "percent"), [(59, 5.0), (149, 2.0), (299, 1.0), (2995, 0.1)])
def test_the_smallest_number_of_clean_parts_that_shows_a_rate(of: int, percent: float) -> None:
    assert 100 * upper_bound(0, of) <= percent
    assert 100 * upper_bound(0, of - 1) > percent


def test_none_of_250() -> None:
    assert 100 * upper_bound(0, 250) == pytest.approx(1.19, abs=0.005)


def test_48_of_50_as_in_the_textbook_of_measurement_systems() -> None:
    # two-sided 95 %: 86.3 to 99.5 %
    assert 100 * lower_bound(48, 50, 0.975) == pytest.approx(86.3, abs=0.05)
    assert 100 * upper_bound(48, 50, 0.975) == pytest.approx(99.5, abs=0.05)


@pytest.mark.parametrize(("count", "of"), [(1, 10), (3, 40), (12, 25), (24, 25)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_bound_solves_its_equation_summed_with_whole_numbers(count: int, of: int, confidence: float) -> None:
    rate = upper_bound(count, of, confidence)
    tail = sum(math.comb(of, i) * rate**i * (1 - rate) ** (of - i) for i in range(count + 1))
    assert tail == pytest.approx(1 - confidence, abs=1e-9)


def test_thousands_of_parts_lose_nothing() -> None:
    assert at_most(500_000, 1_000_000, 0.5) == pytest.approx(0.5004, abs=1e-4)
    assert upper_bound(5000, 100_000) == pytest.approx(0.05 + 1.645 * math.sqrt(0.05 * 0.95 / 100_000), rel=1e-3)


def test_nothing_tried_shows_nothing() -> None:
    assert (upper_bound(0, 0), lower_bound(0, 0)) == (1.0, 0.0)
    assert Share(0, 0).rate is None
    assert str(Share(0, 0)) == "none tried"
    assert not Share(0, 0).shows_at_most(0.99)


@pytest.mark.parametrize(("count", "of", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 0.0), (1, 5, 1.0), (0, -1, 0.9)])
def test_what_is_no_share_is_refused(count: int, of: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="has to be"):
        upper_bound(count, of, confidence)


@given(COUNT_OF)
def test_bounds_hold_the_rate_between_them_and_mirror_each_other(count_of: tuple[int, int]) -> None:
    count, of = count_of
    assert lower_bound(count, of) <= count / of <= upper_bound(count, of)
    assert lower_bound(count, of) == pytest.approx(1 - upper_bound(of - count, of))


@given(COUNT_OF.filter(lambda pair: pair[0] < pair[1]))
def test_one_more_miss_never_shows_a_lower_rate(count_of: tuple[int, int]) -> None:
    count, of = count_of
    assert upper_bound(count + 1, of) > upper_bound(count, of)
    assert upper_bound(count, of + 1) < upper_bound(count, of)


def test_a_share_says_it_in_one_line() -> None:
    share = Share(0, 250)
    assert str(share) == "0 of 250 (0.00 %, at most 1.19 %)"
    assert share.shows_at_most(0.012)
    assert not share.shows_at_most(0.011)
    assert share.document()["upper95"] == pytest.approx(0.0119, abs=5e-5)
