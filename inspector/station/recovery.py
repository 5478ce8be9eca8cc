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

Record = Inspection | Event | StopCause


class Endings:
    """Where parts of the run before went, as the line tells it: at the first look, or later, for those that were still on the belt."""

    def __init__(self, past: PastRun, snapshot: LineSnapshot) -> None:
        self._run = past.run
        self._newer, _ = _counted(past, snapshot)
        self._open = {*past.missing, *past.undisposed}
        self._passed, self._undelivered = set(past.passed), set(past.undelivered)
        self._told: set[int] = set()

    def entry(self, entry: Disposed) -> Iterator[Record]:
        """Where one part went, and the cause to hold the line if it should not have gone there; nothing when it is known already."""
        sequence = entry.part.sequence
        if entry.part.run != self._run or sequence in self._told or not (sequence in self._open or sequence in self._newer):
            return
        self._told.add(sequence)
        taken = entry.accepted is VerdictKind.PASS
        yield disposed_event(entry)
        if taken:
            self._undelivered.discard(sequence)
        if entry.disposition is Disposition.GOOD_LANE and not (taken and sequence in self._passed):
            text = f"part {entry.part} of the run before is in the good lane without a PASS that counts"
            yield StopCause("wrong lane", text, f"take part {entry.part} out of the good lane, check the gate, then acknowledge")

    def entries(self, ring: Sequence[Disposed]) -> Iterator[Record]:
        """The same for all that the line's ring knows."""
        return chain.from_iterable(map(self.entry, ring))

    def undelivered(self) -> Iterator[Event]:
        """What overrules each PASS of which the line has not said by now that it took it."""
        for sequence in sorted(self._undelivered):
            self._passed.discard(sequence)
            data = {"verdict": VerdictKind.FAULT.value, "code": FaultCode.INTERRUPTED.value, "text": "cut off before the PLC took its PASS"}
            yield Event(OVERRULED, data, PartId(self._run, sequence))


def recovery(past: PastRun, snapshot: LineSnapshot, kind: PartKind, endings: Endings | None = None) -> Iterator[Record]:
    """In this order: a FAULT row for every part without one, what the line's ring still knows of parts whose end was not recorded, and
    what overrules a PASS that was not delivered. A StopCause stands where a person has to look before parts are passed again.
    """
    interrupted = Verdict.fault(FaultCode.INTERRUPTED, "cut off when the station ended without warning")
    down = Verdict.fault(FaultCode.STATION_DOWN, "counted by the line while no station ran, or cut off when it ended")
    newer, causes = _counted(past, snapshot)
    endings = endings or Endings(past, snapshot)
    # Row by row, because a long stop makes a million of them.
    return chain(
        _faults(past.run, past.missing, kind, interrupted),
        _faults(past.run, newer, kind, down),
        endings.entries(snapshot.disposed),
        endings.undelivered(),
        _count_lost(past, snapshot),
        causes,
    )


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
