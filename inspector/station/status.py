"""The snapshot that screens read: put together by dispatch, frozen, swapped in one piece."""

from collections import deque

import numpy as np

from inspector.clock import NS_PER_MS, now_ns
from inspector.types import Inspection, LastPart, Latency

_WINDOW = 1000
_FRESH_NS = 500 * NS_PER_MS


class LatencyWindow:
    """The newest thousand durations, ms. Percentiles are linear (numpy's default)."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=_WINDOW)
        self._told = Latency()
        self._told_ns = 0
        self._changed = False

    def add(self, value_ms: float) -> None:
        self._values.append(value_ms)
        self._changed = True

    def latency(self) -> Latency:
        """p50, p99 and max of the window, at most half a second old: sorting a thousand values costs as much as judging a part."""
        if self._changed and now_ns() - self._told_ns > _FRESH_NS:
            p50, p99, top = np.percentile(list(self._values), [50, 99, 100])
            self._told = Latency(round(float(p50), 3), round(float(p99), 3), round(float(top), 3))
            self._told_ns, self._changed = now_ns(), False
        return self._told


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
