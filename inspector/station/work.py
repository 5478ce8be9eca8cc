"""What the threads of the line share: a way to be told to end, and a tick that shows that they are alive."""

import logging
import threading
from collections.abc import Callable

from inspector.clock import NS_PER_MS, now_ns
from inspector.station.messages import Message

_PAUSE_S = 0.1
_log = logging.getLogger(__name__)

Post = Callable[[Message], None]


class Worker:
    """A thread that ticks. Subclasses implement `step`, one short turn of their work, and end with `finish`.

    The thread is a daemon: a driver that hangs for ever must not keep the process from ending.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._ending = threading.Event()
        self._ticked_ns = now_ns()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin work."""
        self._thread.start()

    def end(self) -> None:
        """Ask the thread to end; returns at once."""
        self._ending.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False when the thread still hangs in a driver."""
        if self._thread.ident is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def tick(self) -> None:
        """Say: still alive."""
        self._ticked_ns = now_ns()

    def silent_ms(self) -> float:
        """How long ago the last tick was."""
        return (now_ns() - self._ticked_ns) / NS_PER_MS

    def rest(self, seconds: float) -> None:
        """Wait, ticking, until the time is over or the thread is asked to end."""
        until_ns = now_ns() + int(seconds * 1e9)
        while not self._ending.is_set() and now_ns() < until_ns:
            self.tick()
            self._ending.wait(min(0.1, seconds))

    def step(self) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no step")

    def finish(self) -> None:
        """Let go of what the thread owns."""

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - top of the thread: a driver that raises where it must not costs a pause, never the thread
            _log.exception("%s goes on after an error", self.name)
            self.rest(_PAUSE_S)

    def _run(self) -> None:
        while not self._ending.is_set():
            self.tick()
            self._guarded(self.step)
        self._guarded(self.finish)
