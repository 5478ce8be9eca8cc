"""What happened to parts while nobody was looking: the first look at the line fills the gaps of the run before.

A part that the line counted and that has no row was cut off by a crash, or passed while no station ran. Both are FAULT, in the name under
which the line tracked them: the run before. A PASS that was recorded and never acknowledged counts only if the line says that it took it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from inspector.ports import OVERRULED, Disposed, LineSnapshot, PastRun
from inspector.station.recorder import disposed_event
from inspector.types import Disposition, Event, FaultCode, Inspection, PartId, PartKind, StopCause, Timings, Verdict, VerdictKind

_PLAUSIBLE = 5_000_000
"""More parts than this between two looks (more than five days at 600/min) are not told one by one, nor is a count that ran over."""

_DOWN = "counted by the line while no station ran, or cut off when it ended"

Record = Inspection | Event | StopCause


def recovery(past: PastRun, snapshot: LineSnapshot, kind: PartKind) -> Iterator[Record]:
    """In this order: a FAULT row for every part without one, what the line's ring still knows of parts whose end was not recorded, and
    what overrules a PASS that was not delivered. A StopCause stands where a person has to look before parts are passed again.
    """
    interrupted = Verdict.fault(FaultCode.INTERRUPTED, "cut off when the station ended without warning")
    newer, causes = _counted(past, snapshot)
    # Row by row, because a long stop makes a million of them.
    return chain(
        _faults(past.run, past.missing, kind, interrupted),
        counted_meanwhile(past.run, newer, kind),
        _endings(past, snapshot.disposed, newer),
        _count_lost(past, snapshot),
        causes,
    )


def counted_meanwhile(run: int, sequences: Iterable[int], kind: PartKind) -> Iterator[Inspection]:
    """A FAULT row for each part that the line counted while no station ran."""
    return _faults(run, sequences, kind, Verdict.fault(FaultCode.STATION_DOWN, _DOWN))


def _counted(past: PastRun, snapshot: LineSnapshot) -> tuple[range, tuple[Record, ...]]:
    """The sequences counted since the run before; or none and a cause, when the count cannot be told part by part."""
    if past.line_epoch != snapshot.epoch or past.line_counter is None:
        return range(0), ()
    known, counter = max(past.line_counter, past.newest_sequence or 0), snapshot.counter
    if 0 <= counter - known <= _PLAUSIBLE:
        return range(known + 1, counter + 1), ()
    text = f"the PLC counts {counter} parts, the archive knows {known} of the same count; those in between have no rows"
    step = "make sure that this is the right PLC and that no uninspected part is in the good lane, then acknowledge"
    return range(0), (Event("count lost", {"known": known, "counter": counter}), StopCause("count lost", text, step))


def _faults(run: int, sequences: Iterable[int], kind: PartKind, verdict: Verdict) -> Iterator[Inspection]:
    return (Inspection(PartId(run, sequence), kind, verdict, "", Timings()) for sequence in sequences)


def _count_lost(past: PastRun, snapshot: LineSnapshot) -> Iterator[Event]:
    """The line restarted while no station ran: what it counted in between is not known to anybody, and the record says so."""
    if past.line_epoch is not None and past.line_epoch != snapshot.epoch:
        yield Event("line restarted", {"past_run": past.run, "past_epoch": past.line_epoch, "epoch": snapshot.epoch})


def _endings(past: PastRun, ring: Sequence[Disposed], newer: range) -> Iterator[Record]:
    """Where parts of the run before went, and what that means for a PASS that nobody acknowledged."""
    open_ends, passed, undelivered = {*past.missing, *past.undisposed}, set(past.passed), set(past.undelivered)
    told: set[int] = set()
    for entry in ring:
        sequence = entry.part.sequence
        if entry.part.run != past.run or sequence in told or not (sequence in open_ends or sequence in newer):
            continue
        told.add(sequence)
        taken = entry.accepted is VerdictKind.PASS
        yield disposed_event(entry)
        if taken:
            undelivered.discard(sequence)
        if entry.disposition is Disposition.GOOD_LANE and not (taken and sequence in passed):
            text = f"part {entry.part} is in the good lane without a PASS that counts; it went there while no station ran"
            yield StopCause("wrong lane", text, f"take part {entry.part} out of the good lane, check the gate, then acknowledge")
    for sequence in sorted(undelivered):
        data = {"verdict": VerdictKind.FAULT.value, "code": FaultCode.INTERRUPTED.value, "text": "cut off before the PLC took its PASS"}
        yield Event(OVERRULED, data, PartId(past.run, sequence))
