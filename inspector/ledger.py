"""The ledger: one entry per part, from trigger to disposition, and the two balances.

    triggers = passed + rejected + faulted + undecided
    passed + rejected + faulted = disposed + in transit

A verdict is written once and a disposition is written once; a second one is refused, not counted. Only dispatch writes; anyone may read.
"""

from collections import Counter
from dataclasses import dataclass
from threading import Lock

from inspector.types import Balances, Disposition, VerdictKind


@dataclass(slots=True)
class _Entry:
    verdict: VerdictKind | None = None


class Ledger:
    """Counts every part of a run exactly once. Memory holds undecided parts and parts in transit only."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._entries: dict[int, _Entry] = {}
        self._newest: int | None = None
        self._triggers = 0
        self._verdicts: Counter[VerdictKind] = Counter()
        self._dispositions: Counter[Disposition] = Counter()

    def open(self, sequence: int) -> bool:
        """A trigger was counted. False when this sequence is not newer than all before: it has its entry already."""
        with self._lock:
            if self._newest is not None and sequence <= self._newest:
                return False
            self._newest = sequence
            self._entries[sequence] = _Entry()
            self._triggers += 1
            return True

    def decide(self, sequence: int, verdict: VerdictKind) -> bool:
        """Close the entry with its verdict. False when it has one already, or never was opened."""
        with self._lock:
            entry = self._entries.get(sequence)
            if entry is None or entry.verdict is not None:
                return False
            entry.verdict = verdict
            self._verdicts[verdict] += 1
            return True

    def dispose(self, sequence: int, disposition: Disposition) -> VerdictKind | None:
        """The line reported where a decided part went. Returns its verdict, or None when it is unknown, undecided or already disposed."""
        with self._lock:
            entry = self._entries.get(sequence)
            if entry is None or entry.verdict is None:
                return None
            del self._entries[sequence]
            self._dispositions[disposition] += 1
            return entry.verdict

    def oldest_in_transit(self) -> int | None:
        """The oldest decided part whose disposition is not known."""
        with self._lock:
            return next((sequence for sequence, entry in self._entries.items() if entry.verdict is not None), None)

    def is_open(self, sequence: int) -> bool:
        """True while the part has no verdict."""
        with self._lock:
            entry = self._entries.get(sequence)
            return entry is not None and entry.verdict is None

    def balances(self) -> Balances:
        """Both balances, taken in one moment."""
        with self._lock:
            decided = sum(self._verdicts.values())
            disposed = sum(self._dispositions.values())
            return Balances(
                triggers=self._triggers,
                passed=self._verdicts[VerdictKind.PASS],
                rejected=self._verdicts[VerdictKind.REJECT],
                faulted=self._verdicts[VerdictKind.FAULT],
                undecided=self._triggers - decided,
                disposed=disposed,
                in_transit=decided - disposed,
            )

    def dispositions(self) -> dict[str, int]:
        """How many parts went where."""
        with self._lock:
            return {d.value: self._dispositions[d] for d in Disposition if self._dispositions[d]}
