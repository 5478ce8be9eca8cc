"""The states of the line: the table is the drawing."""

import re

import pytest

from inspector.station import state
from inspector.station.state import may_follow
from inspector.types import StationState

S = StationState
DRAWN = {
    S.STOPPED: {S.STARTING, S.HELD, S.STOPPING},
    S.STARTING: {S.RUNNING, S.STOPPED, S.PAUSED, S.HELD, S.FAULT, S.STOPPING},
    S.RUNNING: {S.STARTING, S.STOPPED, S.PAUSED, S.HELD, S.FAULT, S.STOPPING},
    S.PAUSED: {S.STARTING, S.STOPPED, S.HELD, S.FAULT, S.STOPPING},
    S.HELD: {S.STARTING, S.STOPPED, S.STOPPING},
    S.FAULT: {S.STARTING, S.STOPPED, S.HELD, S.STOPPING},
    S.STOPPING: set(),
}


def reachable(begin: StationState) -> set[StationState]:
    seen = {begin}
    while more := {then for now in seen for then in S if may_follow(now, then)} - seen:
        seen |= more
    return seen


@pytest.mark.parametrize("now", S)
@pytest.mark.parametrize("then", S)
def test_what_may_follow(now: StationState, then: StationState) -> None:
    assert may_follow(now, then) is (then in DRAWN[now])


@pytest.mark.parametrize("now", [s for s in S if s is not S.STARTING])
def test_running_is_reached_through_starting_alone(now: StationState) -> None:
    # Starting is where camera, canary, PLC and archive prove themselves: no way round it raises READY.
    assert not may_follow(now, S.RUNNING)


@pytest.mark.parametrize("now", [s for s in S if s is not S.STOPPING])
def test_a_shutdown_is_possible_from_everywhere_and_final(now: StationState) -> None:
    assert may_follow(now, S.STOPPING)
    assert not may_follow(S.STOPPING, now)


@pytest.mark.parametrize("now", [s for s in S if s is not S.STOPPING])
def test_no_state_is_a_dead_end(now: StationState) -> None:
    assert reachable(now) == set(S)


@pytest.mark.parametrize("now", S)
def test_a_state_does_not_follow_itself(now: StationState) -> None:
    assert not may_follow(now, now)


def test_every_state_stands_in_the_drawing() -> None:
    drawing = set(re.findall(r"\b[a-z]+\b", state.__doc__ or ""))
    assert {s.value for s in S} <= drawing
