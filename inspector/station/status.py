"""The snapshot that screens read: put together by dispatch, frozen, swapped in one piece."""

from collections import deque

import numpy as np

from inspector.clock import NS_PER_MS
from inspector.types import Inspection, LastPart, Latency

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

    def add(self, inspection: Inspection) -> None:
        """One more verdict."""
        times = inspection.timings
        latency_ms = None
        if times.arrived_ns is not None and times.decided_ns is not None:
            latency_ms = (times.decided_ns - times.arrived_ns) / NS_PER_MS
            self.latency.add(latency_ms)
        if times.detect_started_ns is not None and times.detected_ns is not None:
            self.infer.add((times.detected_ns - times.detect_started_ns) / NS_PER_MS)
        reasons = tuple(reason.text for reason in inspection.verdict.reasons)
        self.last = LastPart(str(inspection.part), inspection.verdict.kind, reasons, latency_ms)
