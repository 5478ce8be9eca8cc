"""DirectLine: a line in the same process, for `inspector inspect` and tests; no PLC, no network, no time.

It keeps the PLC's rules: a result counts only for a part that was triggered with READY high under that very run.
"""

import threading
from collections import deque
from collections.abc import Callable

from inspector.clock import now_ns
from inspector.errors import LineError
from inspector.ports import Disposed, LineSnapshot, Trigger
from inspector.types import Disposition, FaultCode, PartId, VerdictKind

WAITING_MAX = 65_536
RING = 64
_WRAP = 1 << 32


class DirectLine:
    """Port Line without a PLC. `pulse` may be called from any thread, everything else by dispatch alone.

    on_pulse is called with the new sequence by the thread that pulses, e.g. to trigger the camera.
    """

    def __init__(self, on_pulse: Callable[[int], None] | None = None, *, epoch: int = 1, counter_start: int = 0) -> None:
        self._on_pulse = on_pulse
        self._epoch = epoch
        self._counter = counter_start % _WRAP
        self._lock = threading.Lock()
        self._open = False
        self._run = 0
        self._ready = False
        # All three bounded by WAITING_MAX parts between two polls or on the belt: a pulse beyond is refused with LineError.
        self._triggers: list[Trigger] = []
        self._belt: dict[int, tuple[int, bool]] = {}
        self._disposed: list[Disposed] = []
        self._acknowledged: list[tuple[PartId, VerdictKind]] = []
        # The oldest falls out, as in a PLC's ring.
        self._ring: deque[Disposed] = deque(maxlen=RING)
        self.beats = 0
        self.fault = False

    def pulse(self) -> int:
        """Count a trigger and return its sequence. Raises LineError when nobody takes the triggers away, and what on_pulse raises."""
        with self._lock:
            if max(len(self._triggers), len(self._belt), len(self._disposed)) >= WAITING_MAX:
                raise LineError(f"in-process line: {WAITING_MAX} parts wait for a verdict or a poll; the station has stopped reading")
            self._counter = (self._counter + 1) % _WRAP
            sequence = self._counter
            self._triggers.append(Trigger(sequence, now_ns()))
            self._belt[sequence] = (self._run, self._ready)
        if self._on_pulse is not None:
            self._on_pulse(sequence)
        return sequence

    def open(self, run: int) -> LineSnapshot:
        """See Line.open; parts still on the belt belong to nobody and are rejected."""
        with self._lock:
            for sequence, (past_run, _) in self._belt.items():
                self._ring.append(Disposed(PartId(past_run, sequence), Disposition.REJECT_CONFIRMED, None))
            self._belt.clear()
            self._triggers.clear()
            self._disposed.clear()
            self._acknowledged.clear()
            self._open, self._run, self._ready = True, run, False
            return LineSnapshot(self._counter, self._epoch, disposed=tuple(self._ring))

    def poll(self) -> LineSnapshot:
        """See Line.poll."""
        with self._lock:
            self._check_open()
            snapshot = LineSnapshot(
                self._counter,
                self._epoch,
                tuple(self._triggers),
                tuple(self._acknowledged),
                tuple(self._disposed),
                len(self._belt),
            )
            self._triggers.clear()
            self._acknowledged.clear()
            self._disposed.clear()
            return snapshot

    def send(self, part: PartId, verdict: VerdictKind, fault: FaultCode | None = None) -> None:
        """See Line.send; the part is echoed and leaves the line at once, into the good lane only by a PASS that counts."""
        with self._lock:
            self._check_open()
            if verdict is VerdictKind.PASS and fault is not None:
                raise LineError(f"part {part}: a PASS cannot carry the fault '{fault}'; send FAULT instead")
            if part.sequence not in self._belt or self._belt[part.sequence][0] != part.run:
                return
            _, ready = self._belt.pop(part.sequence)
            understood = VerdictKind.PASS if verdict is VerdictKind.PASS else VerdictKind.REJECT
            accepted = understood if ready else None
            if accepted is not None:
                self._acknowledged.append((part, accepted))
            lane = Disposition.GOOD_LANE if accepted is VerdictKind.PASS else Disposition.REJECT_CONFIRMED
            disposed = Disposed(part, lane, accepted)
            self._disposed.append(disposed)
            self._ring.append(disposed)

    def set_ready(self, ready: bool, fault: bool = False) -> None:
        """See Line.set_ready."""
        with self._lock:
            self._check_open()
            self._ready, self.fault = ready and not fault, fault

    def beat(self) -> None:
        """See Line.beat; `beats` counts them."""
        with self._lock:
            self._check_open()
            self.beats += 1

    def close(self) -> None:
        """See Line.close."""
        with self._lock:
            self._open = self._ready = False

    def _check_open(self) -> None:
        if not self._open:
            raise LineError("in-process line is not open; open it first")
