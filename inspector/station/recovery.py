"""What happened to parts while nobody was looking: the first look at the line fills the gaps of the run before.

A part that the line counted and that has no row was cut off by a crash, or passed while no station ran. Both are FAULT, in the name under
which the line tracked them: the run before.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

from inspector.errors import LineError
from inspector.ports import Disposed, LineSnapshot, PastRun
from inspector.types import Event, FaultCode, Inspection, PartId, PartKind, Timings, Verdict

_PLAUSIBLE = 1_000_000
"""More parts than this between two runs are no count but a mistake (a month at 20 parts/min)."""


def recovery(past: PastRun, snapshot: LineSnapshot, kind: PartKind) -> Iterator[Inspection | Event]:
    """A FAULT row for every part without one, then what the line's ring still knows of parts whose end was not recorded.

    Raises LineError, at once, when the line's count cannot be true.
    """
    newer = _counted_since(past, snapshot)
    down = "counted by the line while no station ran, or cut off when it ended"
    # Row by row, because a long stop makes a million of them.
    return chain(
        _faults(past, past.missing, kind, Verdict.fault(FaultCode.INTERRUPTED, "cut off when the station ended without warning")),
        _faults(past, newer, kind, Verdict.fault(FaultCode.STATION_DOWN, down)),
        _dispositions(past, snapshot.disposed, newer),
        _count_lost(past, snapshot),
    )


def _faults(past: PastRun, sequences: Sequence[int], kind: PartKind, verdict: Verdict) -> Iterator[Inspection]:
    return (Inspection(PartId(past.run, sequence), kind, verdict, "", Timings()) for sequence in sequences)


def _counted_since(past: PastRun, snapshot: LineSnapshot) -> range:
    if past.line_epoch != snapshot.epoch or past.line_counter is None:
        return range(0)
    known = max(past.line_counter, past.newest_sequence or 0)
    if not 0 <= snapshot.counter - known <= _PLAUSIBLE:
        counts = f"the PLC counts {snapshot.counter} parts, the archive knows {known} of the same count"
        raise LineError(f"{counts}; check that this is the right PLC")
    return range(known + 1, snapshot.counter + 1)


def _count_lost(past: PastRun, snapshot: LineSnapshot) -> Iterator[Event]:
    """The line restarted while no station ran: what it counted in between is not known to anybody, and the record says so."""
    if past.line_epoch is not None and past.line_epoch != snapshot.epoch:
        yield Event("line restarted", {"past_run": past.run, "past_epoch": past.line_epoch, "epoch": snapshot.epoch})


def _dispositions(past: PastRun, ring: Sequence[Disposed], newer: range) -> Iterator[Event]:
    open_ends = {*past.missing, *past.undisposed}
    told: set[int] = set()
    for entry in ring:
        sequence = entry.part.sequence
        if entry.part.run == past.run and (sequence in open_ends or sequence in newer) and sequence not in told:
            told.add(sequence)
            yield disposed_event(entry)


def disposed_event(entry: Disposed) -> Event:
    """The event that records where a part went."""
    accepted = entry.accepted.value if entry.accepted is not None else None
    return Event("disposed", {"disposition": entry.disposition.value, "accepted": accepted}, entry.part)
