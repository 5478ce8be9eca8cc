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
    lost = {*past.missing, *newer}
    rows = [(sequence, FaultCode.INTERRUPTED, "cut off when the station ended without warning") for sequence in past.missing]
    text = "counted by the line while no station ran, or cut off when it ended"
    rows += [(sequence, FaultCode.STATION_DOWN, text) for sequence in newer]
    return chain(
        (Inspection(PartId(past.run, sequence), kind, Verdict.fault(code, why), "", Timings()) for sequence, code, why in rows),
        _dispositions(past, snapshot.disposed, lost.union(past.undisposed)),
    )


def _counted_since(past: PastRun, snapshot: LineSnapshot) -> range:
    if past.line_epoch != snapshot.epoch or past.line_counter is None:
        return range(0)
    known = max(past.line_counter, past.newest_sequence or 0)
    if not 0 <= snapshot.counter - known <= _PLAUSIBLE:
        counts = f"the PLC counts {snapshot.counter} parts, the archive knows {known} of the same count"
        raise LineError(f"{counts}; check that this is the right PLC")
    return range(known + 1, snapshot.counter + 1)


def _dispositions(past: PastRun, ring: Sequence[Disposed], wanted: set[int]) -> Iterator[Event]:
    for entry in ring:
        if entry.part.run == past.run and entry.part.sequence in wanted:
            wanted.discard(entry.part.sequence)
            yield disposed_event(entry)


def disposed_event(entry: Disposed) -> Event:
    """The event that records where a part went."""
    accepted = entry.accepted.value if entry.accepted is not None else None
    return Event("disposed", {"disposition": entry.disposition.value, "accepted": accepted}, entry.part)
