"""The station's side of the line: opened again when it was lost, READY always known, never an exception to the caller.

Used by dispatch alone. Every failure is told once through `lost`, and leaves READY low as far as the station can say: the PLC watches the
heartbeat and takes READY as low by itself when that stops.
"""

from collections.abc import Callable

from inspector.clock import NS_PER_S, now_ns
from inspector.errors import LineError
from inspector.ports import Line, LineSnapshot
from inspector.types import FaultCode, PartId, VerdictKind


class Plc:
    """Keeps the line open. `lost` is called with one line of text each time it goes."""

    def __init__(self, line: Line, run: int, reconnect_s: float, lost: Callable[[str], None]) -> None:
        self._line = line
        self._run = run
        self._reconnect_s = reconnect_s
        self._lost = lost
        self._next_try_ns = 0
        self.open = False

    def try_open(self) -> LineSnapshot | None:
        """Connect when it is time to; the first snapshot when that succeeded."""
        if self.open or now_ns() < self._next_try_ns:
            return None
        try:
            snapshot = self._line.open(self._run)
        except LineError as error:
            self.drop(str(error))
            return None
        self.open = True
        return snapshot

    def poll(self) -> LineSnapshot | None:
        """Read the line; None when it is not there."""
        if not self.open:
            return None
        try:
            return self._line.poll()
        except LineError as error:
            self.drop(str(error))
            return None

    def send(self, part: PartId, verdict: VerdictKind, fault: FaultCode | None = None) -> bool:
        """Write a result; False when it did not get out."""
        return self.open and self._try(lambda: self._line.send(part, verdict, fault))

    def set_ready(self, ready: bool, fault: bool = False) -> bool:
        """READY as asked; False when the line could not be told."""
        return self.open and self._try(lambda: self._line.set_ready(ready, fault))

    def beat(self) -> None:
        """Advance the heartbeat."""
        if self.open:
            self._try(self._line.beat)

    def close(self) -> None:
        """READY low if it can still be said, then disconnect."""
        self.open = False
        self._line.close()

    def _try(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except LineError as error:
            self.drop(str(error))
            return False
        return True

    def drop(self, text: str) -> None:
        """Give the connection up, tell why, and try again later."""
        self._next_try_ns = now_ns() + int(self._reconnect_s * NS_PER_S)
        self._lost(text)
        self.close()  # last: a driver may raise where it must not

    def stay_away(self) -> None:
        """The loss was taken note of: only now begins the time after which it may be there again, and whatever was opened before goes."""
        self._next_try_ns = now_ns() + int(self._reconnect_s * NS_PER_S)
        if self.open:
            self.close()
