"""The snapshot that screens read: put together by dispatch, frozen, swapped in one piece."""

from collections import deque

import numpy as np

from inspector.station.messages import Judged
from inspector.types import LastPart, Latency, PartId, Verdict

_WINDOW = 1000


class LatencyWindow:
    """The newest thousand durations, ms. Percentiles are linear (numpy's default)."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=_WINDOW)

    def add(self, value_ms: float) -> None:
        self._values.append(value_ms)

    def latency(self) -> Latency:
        """p50, p99 and max of the window."""
        if not self._values:
            return Latency()
        p50, p99, top = np.percentile(list(self._values), [50, 99, 100])
        return Latency(round(float(p50), 3), round(float(p99), 3), round(float(top), 3))


class Score:
    """What the newest verdicts looked like. latency: frame in memory → verdict; infer: detector start → result, both ms."""

    def __init__(self) -> None:
        self.latency = LatencyWindow()
        self.infer = LatencyWindow()
        self.last: LastPart | None = None

    def add(self, part: PartId, verdict: Verdict, judged: Judged | None, decided_ns: int) -> None:
        """One more verdict."""
        latency_ms = None
        if judged is not None:
            latency_ms = (decided_ns - judged.frame.arrived_ns) / 1e6
            self.latency.add(latency_ms)
            if judged.detect_started_ns is not None and judged.detected_ns is not None:
                self.infer.add((judged.detected_ns - judged.detect_started_ns) / 1e6)
        self.last = LastPart(str(part), verdict.kind, tuple(r.text for r in verdict.reasons), latency_ms)
