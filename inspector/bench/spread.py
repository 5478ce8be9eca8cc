"""Durations and what is said of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of measured durations, ms (numpy's linear method)."""

    n: int
    p50: float
    p99: float
    p999: float
    max: float

    @classmethod
    def of(cls, durations_ms: Sequence[float]) -> "Spread":
        """Raises ValueError for no durations at all."""
        if not len(durations_ms):
            raise ValueError("nothing was measured")
        p50, p99, p999, top = (round(float(v), 4) for v in np.percentile(durations_ms, [50, 99, 99.9, 100]))
        return cls(len(durations_ms), p50, p99, p999, top)

    def __str__(self) -> str:
        return f"p50 {self.p50:.2f}  p99 {self.p99:.2f}  max {self.max:.2f} ms  (n = {self.n})"
