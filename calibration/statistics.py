"""Exact bounds for shares: what k of n parts show, and what they do not.

One-sided Clopper-Pearson bounds (Clopper and Pearson, Biometrika 26, 1934): with 0 misses of 59 parts the miss rate is at most 5 % at
95 % confidence, of 299 at most 1 %, of 2,995 at most 0.1 %. They hold for independent parts. Several bounds quoted together need the
remaining 5 % divided among them; parts from few lots are not independent, so they show less than their number.
"""

import math
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
_HALVINGS = 60
"""Bisection steps: the bound is exact to 2**-60, far below what a float of its size can say."""


def upper_bound(count: int, of: int, confidence: float = CONFIDENCE) -> float:
    """The largest rate at which `count` or fewer of `of` parts would still be seen with probability 1 - confidence.

    1.0 when nothing was tried. Raises ValueError when count is not within 0..of or confidence not within 0..1.
    """
    _check(count, of, confidence)
    if count == of:
        return 1.0
    if count == 0:
        return -math.expm1(math.log1p(-confidence) / of)
    low, high = count / of, 1.0
    for _ in range(_HALVINGS):
        rate = (low + high) / 2
        if at_most(count, of, rate) > 1 - confidence:
            low = rate
        else:
            high = rate
    return high


def lower_bound(count: int, of: int, confidence: float = CONFIDENCE) -> float:
    """The smallest rate at which `count` or more of `of` parts would still be seen with probability 1 - confidence.

    0.0 when nothing was tried. Raises ValueError as `upper_bound` does.
    """
    _check(count, of, confidence)
    return 1.0 - upper_bound(of - count, of, confidence)


def at_most(count: int, of: int, rate: float) -> float:
    """P(X <= count) for X binomial (of, rate), 0 < rate < 1; summed in logarithms, so that no term is lost at thousands of parts."""
    if count >= of:
        return 1.0
    i = np.arange(1, count + 1)
    log_choices = np.concatenate(([0.0], np.cumsum(np.log((of - i + 1) / i))))
    i = np.arange(count + 1)
    log_terms = log_choices + i * math.log(rate) + (of - i) * math.log1p(-rate)
    top = float(log_terms.max())
    return min(1.0, math.exp(top) * float(np.exp(log_terms - top).sum()))


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `of` parts, with its bounds, each one-sided at 95 %: only one of the two may be quoted at that confidence."""

    count: int
    of: int

    @property
    def rate(self) -> float | None:
        """count ÷ of; None when nothing was tried."""
        return self.count / self.of if self.of else None

    @property
    def upper(self) -> float:
        return upper_bound(self.count, self.of)

    @property
    def lower(self) -> float:
        return lower_bound(self.count, self.of)

    def shows_at_most(self, rate: float) -> bool:
        """Whether the share is shown to be at most `rate`; False means "not shown", not "higher"."""
        return self.upper <= rate

    def document(self) -> dict[str, float | int | None]:
        """Plain values for JSON; rates from 0 to 1."""
        return {"count": self.count, "of": self.of, "rate": self.rate, "upper95": self.upper, "lower95": self.lower}

    def __str__(self) -> str:
        if not self.of:
            return "none tried"
        return f"{self.count} of {self.of} ({100 * self.count / self.of:.2f} %, at most {100 * self.upper:.2f} %)"


def _check(count: int, of: int, confidence: float) -> None:
    if not 0 <= count <= of:
        raise ValueError(f"{count} of {of} parts is no share: the count has to be within 0 and {of}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} has to be between 0 and 1")
