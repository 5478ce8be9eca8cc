"""Which frame shows which part: what is guaranteed, and what is said when nobody can know.

The simulated line here keeps its promises: parts come at least SPACING apart, and each is exposed less than half of that from its trigger.
Everything else may go wrong: word of triggers and frames comes late and in any mixture, frames are lost on the way, the camera misses
triggers without an id, and exposes without a trigger.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.ports import Trigger
from inspector.station.pairing import Pairing, PairingLost

SPACING = 1_001
TOLERANCE = SPACING // 2
MOST_JITTER = (SPACING - 1) // 2
LONGEST_DELAY = 3 * SPACING
PATIENCE = 5 * SPACING
LONG_AFTER = 10**6

Bound = list[tuple[int, int]]


@dataclass(frozen=True)
class Part:
    """One part: when it came, when it was exposed, and what went wrong. Delays: until dispatch hears of it."""

    sequence: int
    triggered_ns: int
    exposed_ns: int
    trigger_delay_ns: int
    frame_delay_ns: int
    missed: bool
    lost: bool


@dataclass(frozen=True)
class Word:
    """What dispatch hears, and when."""

    at_ns: int
    said: Trigger | tuple[int, int]


delays = st.integers(0, LONGEST_DELAY)


@st.composite
def lines(draw: st.DrawFn, *, misses: bool, first: int = 1, begin_ns: int = 0) -> list[Part]:
    made: list[Part] = []
    time_ns = begin_ns
    for sequence in range(first, first + draw(st.integers(1, 12))):
        time_ns += SPACING + draw(st.sampled_from([0, 0, 1, 400, 5_000]))
        exposed_ns = time_ns + draw(st.integers(-MOST_JITTER, MOST_JITTER))
        missed = misses and draw(st.integers(0, 4)) == 0
        made.append(Part(sequence, time_ns, exposed_ns, draw(delays), draw(delays), missed, draw(st.integers(0, 3)) == 0))
    return made


def numbered(parts: list[Part]) -> dict[int, Part]:
    """The camera's count: a missed trigger gets no id, a lost frame keeps its own."""
    return dict(enumerate((p for p in parts if not p.missed), start=1))


def words(parts: list[Part]) -> list[Word]:
    """Triggers in order and frames in order, each as late as it may be, mixed as they come."""
    triggers, frames = [], []
    at_ns = 0
    for part in parts:
        at_ns = max(at_ns, part.triggered_ns + part.trigger_delay_ns)
        triggers.append(Word(at_ns, Trigger(part.sequence, part.triggered_ns)))
    at_ns = 0
    for frame_id, part in numbered(parts).items():
        if not part.lost:
            at_ns = max(at_ns, part.exposed_ns + part.frame_delay_ns)
            frames.append(Word(at_ns, (frame_id, part.exposed_ns)))
    return sorted(triggers + frames, key=lambda word: word.at_ns)


def tell(pairing: Pairing, word: Word) -> None:
    if isinstance(word.said, Trigger):
        pairing.trigger(word.said)
    else:
        pairing.frame(*word.said)


def follow(pairing: Pairing, heard: list[Word]) -> Iterator[tuple[int, int]]:
    """Every binding, as it is made; a last look long after, so that nothing may wait for ever."""
    last_ns = 0
    for word in heard:
        tell(pairing, word)
        last_ns = word.at_ns
        yield from pairing.settle(last_ns)
    yield from pairing.settle(last_ns + LONG_AFTER)


def until_lost(pairing: Pairing, heard: list[Word]) -> tuple[Bound, str | None]:
    bound: Bound = []
    try:
        bound.extend(follow(pairing, heard))
    except PairingLost as error:
        return bound, str(error)
    return bound, None


def truth(parts: list[Part]) -> Bound:
    return [(part.sequence, frame_id) for frame_id, part in numbered(parts).items() if not part.lost]


def a_pairing(tolerance_ns: int | None = TOLERANCE, counter: int = 0) -> Pairing:
    pairing = Pairing(tolerance_ns, PATIENCE)
    pairing.restart(counter)
    return pairing


@given(lines(misses=False))
def test_whatever_frames_are_lost_on_the_way_the_others_find_their_part(parts: list[Part]) -> None:
    assert until_lost(a_pairing(), words(parts)) == (truth(parts), None)


@given(lines(misses=False, first=4_294_967_290))
def test_it_does_not_matter_where_the_count_stands(parts: list[Part]) -> None:
    assert until_lost(a_pairing(), words(parts)) == (truth(parts), None)


@given(lines(misses=True))
def test_no_frame_is_ever_bound_to_another_part_and_a_missed_trigger_is_noticed(parts: list[Part]) -> None:
    bound, why = until_lost(a_pairing(), words(parts))
    true = truth(parts)
    assert bound == true[: len(bound)]
    # The offset between the counts is known from the first frame on; it changes where the camera missed a trigger in between.
    steps = {sequence - frame_id for sequence, frame_id in true}
    assert (why is not None) == (len(steps) > 1)
    if why is None:
        assert bound == true


@given(lines(misses=True), st.data())
def test_after_a_restart_the_first_frame_finds_its_part_too(before: list[Part], data: st.DataObject) -> None:
    pairing = a_pairing()
    until_lost(pairing, words(before))
    pairing.restart(before[-1].sequence)
    after = data.draw(lines(misses=False, first=before[-1].sequence + 1, begin_ns=before[-1].triggered_ns))
    assert until_lost(pairing, words(after)) == (truth(after), None)


@given(lines(misses=True), st.data())
def test_after_a_loss_the_count_may_begin_anew_without_the_camera(parts: list[Part], data: st.DataObject) -> None:
    # Until the camera is armed again its ids run on; the next frames are bound by the clock first.
    pairing = a_pairing()
    bound: Bound = []
    for word in words(parts):
        tell(pairing, word)
        try:
            bound += pairing.settle(word.at_ns)
        except PairingLost:
            pairing.restart(data.draw(st.integers(0, 20)))
    assert set(bound) <= set(truth(parts))


anything = st.lists(
    st.builds(Trigger, st.integers(0, 12), st.integers(0, 12_000)) | st.tuples(st.integers(1, 12), st.integers(0, 12_000)), max_size=30
)


@given(anything, st.integers(0, 20_000))
def test_whatever_line_and_camera_say_a_binding_has_both_witnesses(said: list[Trigger | tuple[int, int]], now_ns: int) -> None:
    pairing = a_pairing()
    triggers: dict[int, int] = {}
    frames: list[tuple[int, int]] = []
    offsets: set[int] = set()
    for word in said:
        if isinstance(word, Trigger):
            pairing.trigger(word)
            triggers[word.sequence] = word.triggered_ns
        else:
            pairing.frame(*word)
            frames.append(word)
        try:
            bound = pairing.settle(now_ns)
        except PairingLost:
            return
        for sequence, frame_id in bound:
            offsets.add(sequence - frame_id)
            assert any(f == frame_id and abs(e - triggers[sequence]) <= TOLERANCE for f, e in frames)
    assert len(offsets) <= 1


def test_a_frame_waits_for_word_of_its_trigger() -> None:
    pairing = a_pairing()
    pairing.frame(1, 5_000)
    assert pairing.settle(5_000 + PATIENCE) == []
    pairing.trigger(Trigger(17, 5_100))
    assert pairing.settle(5_000 + PATIENCE) == [(17, 1)]
    pairing.frame(2, 7_000)
    assert pairing.settle(7_000) == []
    pairing.trigger(Trigger(18, 6_990))
    assert pairing.settle(7_000) == [(18, 2)]


def test_an_exposure_without_a_trigger_is_lost_when_patience_ends() -> None:
    pairing = a_pairing()
    pairing.trigger(Trigger(1, 1_000))
    pairing.frame(1, 1_000)
    pairing.frame(2, 1_700)
    assert pairing.settle(1_700 + PATIENCE) == [(1, 1)]
    with pytest.raises(PairingLost, match="frame 2 should show part 2, which the line did not count"):
        pairing.settle(1_701 + PATIENCE)


def test_an_exposure_without_a_trigger_is_noticed_sooner_by_the_next_part() -> None:
    pairing = a_pairing()
    pairing.trigger(Trigger(1, 1_000))
    pairing.frame(1, 1_000)
    pairing.frame(2, 1_700)
    pairing.trigger(Trigger(2, 3_000_000))
    pairing.frame(3, 3_000_000)
    with pytest.raises(PairingLost, match=r"frame 2 is part 2 by count, but was exposed -3 ms from its trigger"):
        pairing.settle(3_000)


def test_a_first_frame_near_no_part_is_lost_when_patience_ends() -> None:
    pairing = a_pairing()
    pairing.trigger(Trigger(1, 1_000))
    pairing.frame(1, 1_000 + TOLERANCE + 1)
    assert pairing.settle(1_000 + TOLERANCE + 1 + PATIENCE) == []
    with pytest.raises(PairingLost, match="frame 1 shows no part that the line counted"):
        pairing.settle(1_000 + TOLERANCE + 2 + PATIENCE)


def test_a_first_frame_between_two_parts_that_came_too_close_is_no_guess() -> None:
    pairing = a_pairing()
    pairing.trigger(Trigger(5, 1_000))
    pairing.trigger(Trigger(6, 1_050))
    pairing.frame(1, 1_040)
    with pytest.raises(PairingLost, match="frame 1 may show part 5 or part 6"):
        pairing.settle(1_100)


@pytest.mark.parametrize("apart", [TOLERANCE, -TOLERANCE])
def test_the_tolerance_itself_is_still_in_time(apart: int) -> None:
    pairing = a_pairing()
    pairing.trigger(Trigger(1, 10_000))
    pairing.frame(1, 10_000 + apart)
    pairing.trigger(Trigger(2, 12_000))
    pairing.frame(2, 12_000 + apart)
    assert pairing.settle(12_500) == [(1, 1), (2, 2)]


def test_a_part_forgotten_long_ago_is_not_guessed() -> None:
    pairing = a_pairing()
    for sequence in range(1, 300):
        pairing.trigger(Trigger(sequence, sequence * SPACING))
    pairing.frame(1, SPACING)
    with pytest.raises(PairingLost, match="frame 1 shows no part"):
        pairing.settle(300 * SPACING)


# -- by count alone: parts without a spacing, such as pictures from a folder


@given(lines(misses=False, first=8))
def test_the_count_alone_binds_while_the_camera_misses_nothing(parts: list[Part]) -> None:
    assert until_lost(a_pairing(None, counter=7), words(parts)) == (truth(parts), None)


def test_the_count_alone_says_nothing_about_time() -> None:
    pairing = a_pairing(None, counter=7)
    pairing.trigger(Trigger(8, 0))
    pairing.frame(1, 10**9)
    assert pairing.settle(10**9) == [(8, 1)]


def test_the_count_alone_notices_an_exposure_without_a_trigger() -> None:
    pairing = a_pairing(None, counter=7)
    pairing.frame(1, 1_000)
    assert pairing.settle(1_000 + PATIENCE) == []
    with pytest.raises(PairingLost, match="frame 1 should show part 8, which the line did not count"):
        pairing.settle(1_001 + PATIENCE)


def test_a_restart_forgets_frames_that_wait() -> None:
    pairing = a_pairing(None, counter=7)
    pairing.frame(1, 1_000)
    pairing.restart(20)
    pairing.trigger(Trigger(21, 2_000))
    pairing.frame(1, 2_000)
    assert pairing.settle(10**9) == [(21, 1)]
