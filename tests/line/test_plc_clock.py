"""From the PLC's clock to the station's, whatever the network and the wrap-around do."""

from hypothesis import given
from hypothesis import strategies as st

from inspector.line.plc_clock import DRIFT_NS, PlcClock

MS = 1_000_000
WRAP = 1 << 32


@given(
    ahead_us=st.integers(0, WRAP - 1),
    trips=st.lists(st.tuples(st.integers(50_000, 5 * MS), st.floats(0, 1)), min_size=1, max_size=80),
    age_us=st.integers(0, 2_000_000),
)
def test_the_error_is_at_most_half_the_best_round_trip(ahead_us: int, trips: list[tuple[int, float]], age_us: int) -> None:
    clock, now_ns = PlcClock(), 10**12
    for trip_ns, where in trips:
        read_ns = now_ns + int(trip_ns * where)
        clock.sample((read_ns // 1000 + ahead_us) % WRAP, now_ns, now_ns + trip_ns)
        now_ns += trip_ns + 5 * MS
    event_ns = now_ns - age_us * 1000
    mapped_ns = clock.station_ns((event_ns // 1000 + ahead_us) % WRAP)
    best_ns = min(trip_ns for trip_ns, _ in trips[-64:])
    assert abs(mapped_ns - event_ns) <= best_ns // 2 + 2000


def test_a_jump_of_the_plc_clock_forgets_what_was_before() -> None:
    clock = PlcClock()
    clock.sample(1_000_000, 0, 100_000)
    clock.sample(501_000_000, 5 * MS, 6 * MS)
    assert clock.station_ns(501_000_000) == 5 * MS + MS // 2


def test_a_long_pause_forgets_what_was_before() -> None:
    clock = PlcClock()
    clock.sample(0, 0, 100_000)
    # 11 s at 50 ppm fast: the old sample would be off by more than half a millisecond.
    clock.sample(11_000_550, 11_000 * MS, 11_001 * MS)
    assert abs(clock.station_ns(11_000_550) - (11_000 * MS + MS // 2)) < DRIFT_NS // 10
