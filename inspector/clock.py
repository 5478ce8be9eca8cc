"""The one clock of the station.

Deadlines, time stamps of frames and triggers, and latencies are nanoseconds of `now_ns`; wall-clock time is for people and records only,
because it may jump. (`perf_counter_ns` is CLOCK_MONOTONIC on Linux: processes of one machine share it.)
"""

from datetime import UTC, datetime
from time import perf_counter_ns

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


def now_ns() -> int:
    """Station time in ns; monotonic, the same in every process of this machine, without meaning across a reboot."""
    return perf_counter_ns()


def wall_utc() -> str:
    """Wall-clock time, UTC, ISO 8601 with microseconds: "2026-01-31T12:00:00.000000Z"."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def ms(duration_ns: int) -> float:
    """A duration in ns as milliseconds."""
    return duration_ns / NS_PER_MS
