"""The ledger under any order of calls: both balances hold, and nothing is written twice."""

import threading
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from inspector.ledger import Ledger
from inspector.types import Balances, Disposition, VerdictKind


@dataclass
class Part:
    """What the ledger should know of one part."""

    verdict: VerdictKind | None = None
    disposition: Disposition | None = None


def balanced(b: Balances) -> bool:
    decided = b.passed + b.rejected + b.faulted
    return b.triggers == decided + b.undecided and decided == b.disposed + b.in_transit and min(b.undecided, b.in_transit) >= 0


sequences = st.integers(0, 12)


class LedgerMachine(RuleBasedStateMachine):
    """Open, decide and dispose in any order, sequences that were never opened included, beside a plain account of every part."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.parts: dict[int, Part] = {}

    @rule(step=st.integers(1, 5))
    def open_newer(self, step: int) -> None:
        sequence = max(self.parts, default=0) + step
        assert self.ledger.open(sequence)
        self.parts[sequence] = Part()

    @rule(sequence=sequences)
    def open_any(self, sequence: int) -> None:
        newer = sequence > max(self.parts, default=-1)
        assert self.ledger.open(sequence) is newer
        if newer:
            self.parts[sequence] = Part()

    @rule(sequence=sequences, verdict=st.sampled_from(VerdictKind))
    def decide(self, sequence: int, verdict: VerdictKind) -> None:
        part = self.parts.get(sequence)
        first = part is not None and part.verdict is None
        assert self.ledger.decide(sequence, verdict) is first
        if part is not None and first:
            part.verdict = verdict

    @rule(sequence=sequences, disposition=st.sampled_from(Disposition))
    def dispose(self, sequence: int, disposition: Disposition) -> None:
        part = self.parts.get(sequence)
        first = part is not None and part.verdict is not None and part.disposition is None
        answer = self.ledger.dispose(sequence, disposition)
        if part is not None and first:
            assert answer is part.verdict
            part.disposition = disposition
        else:
            assert answer is None

    @invariant()
    def the_counts_are_those_of_the_parts(self) -> None:
        verdicts = Counter(p.verdict for p in self.parts.values())
        disposed = Counter(p.disposition for p in self.parts.values() if p.disposition is not None)
        balances = self.ledger.balances()
        assert balanced(balances)
        assert balances.triggers == len(self.parts)
        assert (balances.passed, balances.rejected, balances.faulted) == tuple(verdicts[kind] for kind in VerdictKind)
        assert (balances.undecided, balances.disposed) == (verdicts[None], disposed.total())
        assert self.ledger.dispositions() == {d.value: n for d, n in disposed.items()}

    @invariant()
    def every_part_stands_where_it_is(self) -> None:
        transit = [s for s, p in sorted(self.parts.items()) if p.verdict is not None and p.disposition is None]
        assert self.ledger.oldest_in_transit() == (transit[0] if transit else None)
        for sequence in range(15):
            part = self.parts.get(sequence)
            assert self.ledger.is_open(sequence) is (part is not None and part.verdict is None)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=40, stateful_step_count=30)


@pytest.mark.parametrize("first", VerdictKind)
@pytest.mark.parametrize("second", VerdictKind)
def test_a_second_verdict_is_refused(first: VerdictKind, second: VerdictKind) -> None:
    ledger = Ledger()
    assert ledger.open(7)
    assert ledger.decide(7, first)
    assert not ledger.decide(7, second)
    assert ledger.dispose(7, Disposition.UNKNOWN) is first


def test_a_second_disposition_is_refused() -> None:
    ledger = Ledger()
    ledger.open(7)
    ledger.decide(7, VerdictKind.PASS)
    assert ledger.dispose(7, Disposition.GOOD_LANE) is VerdictKind.PASS
    assert ledger.dispose(7, Disposition.REMOVED_BY_HAND) is None
    assert not ledger.decide(7, VerdictKind.FAULT)
    assert ledger.dispositions() == {"good lane": 1}


def test_an_undecided_part_cannot_be_disposed() -> None:
    ledger = Ledger()
    ledger.open(7)
    assert ledger.dispose(7, Disposition.GOOD_LANE) is None
    assert ledger.is_open(7)


def test_a_new_ledger_is_all_zero() -> None:
    assert Ledger().balances() == Balances()
    assert Ledger().dispositions() == {}
    assert Ledger().oldest_in_transit() is None


def test_a_ledger_begins_anywhere_and_forgets_what_is_over() -> None:
    ledger = Ledger()
    for sequence in range(4_294_960_000, 4_294_967_000):
        assert ledger.open(sequence)
        assert ledger.decide(sequence, VerdictKind.PASS)
        assert ledger.dispose(sequence, Disposition.GOOD_LANE) is VerdictKind.PASS
    assert ledger._entries == {}
    assert ledger.balances() == Balances(triggers=7_000, passed=7_000, disposed=7_000)


def test_readers_in_other_threads_always_see_both_balances() -> None:
    ledger = Ledger()
    over = threading.Event()
    together = threading.Barrier(3, timeout=10)
    wrong: list[Balances] = []

    def read() -> None:
        last = 0
        together.wait()
        while not over.is_set():
            seen = ledger.balances()
            if not balanced(seen) or seen.triggers < last or sum(ledger.dispositions().values()) < seen.disposed:
                wrong.append(seen)
            last = seen.triggers

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    together.wait()
    kinds, ends = tuple(VerdictKind), tuple(Disposition)
    for sequence in range(3_000):
        ledger.open(sequence)
        if sequence >= 2:
            ledger.decide(sequence - 2, kinds[sequence % 3])
        if sequence >= 5:
            ledger.dispose(sequence - 5, ends[sequence % 5])
    over.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert ledger.balances() == Balances(triggers=3_000, passed=999, rejected=999, faulted=1_000, undecided=2, disposed=2_995, in_transit=3)
