"""From the PLC's clock to the station's.

Each poll is a sample: the PLC read its clock somewhere between the request and its answer, so half the round trip bounds the error of
taking the middle (the idea of NTP's clock filter, RFC 5905 section 10: among recent samples the one with the smallest round trip is best).
"""

from collections import deque
from dataclasses import dataclass

SAMPLES = 64
MAX_AGE_NS = 10_000_000_000
DRIFT_NS = 1_000_000
_WRAP = 1 << 32


@dataclass(frozen=True, slots=True)
class _Sample:
    clock_us: int
    sent_ns: int
    received_ns: int

    @property
    def round_trip_ns(self) -> int:
        return self.received_ns - self.sent_ns

    @property
    def middle_ns(self) -> int:
        return (self.sent_ns + self.received_ns) // 2


class PlcClock:
    """Maps 32-bit µs of the PLC to station ns. Not thread-safe."""

    def __init__(self) -> None:
        # Bounded: the oldest sample falls out; drift over 64 polls is far below a round trip.
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES)

    def sample(self, clock_us: int, sent_ns: int, received_ns: int) -> None:
        """Take in one poll. Samples from before a pause of 10 s or a jump of the PLC's clock are forgotten."""
        new = _Sample(clock_us, sent_ns, received_ns)
        if self._samples and not self._agrees(new):
            self._samples.clear()
        self._samples.append(new)

    def station_ns(self, clock_us: int) -> int:
        """Station time of a PLC time within ±35 minutes (half a wrap) of the newest poll; needs one sample."""
        best = min(self._samples, key=lambda sample: sample.round_trip_ns)
        return best.middle_ns + _difference_us(clock_us, best.clock_us) * 1000

    def _agrees(self, new: _Sample) -> bool:
        newest = self._samples[-1]
        if new.sent_ns - newest.received_ns > MAX_AGE_NS:
            return False
        # Where the newest sample says that the new clock value must lie; round trips widen it, drift a little more.
        expected_ns = newest.middle_ns + _difference_us(new.clock_us, newest.clock_us) * 1000
        slack_ns = (newest.round_trip_ns + new.round_trip_ns) // 2 + DRIFT_NS
        return abs(expected_ns - new.middle_ns) <= slack_ns


def _difference_us(later: int, earlier: int) -> int:
    """later less earlier on a 32-bit clock, as the nearest signed number."""
    difference = (later - earlier) % _WRAP
    return difference - _WRAP if difference >= _WRAP // 2 else difference
