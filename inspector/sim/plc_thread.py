"""A PLC in a thread, with its parts moved by hand: for trying a station's end of the handshake step by step."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TypeVar

from inspector.clock import now_ns
from inspector.sim.plc_logic import PlcLogic
from inspector.sim.plc_server import PlcServer
from inspector.types import Disposition

_T = TypeVar("_T")
_WAIT_S = 5.0


class HandPlc:
    """Serves `logic` on a free port of 127.0.0.1; trigger() and gate() move parts. Context manager; methods from any thread."""

    def __init__(self, logic: PlcLogic, *, unit_id: int = 1) -> None:
        self.logic = logic
        self._unit_id = unit_id
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hand-plc", daemon=True)
        self.port = 0

    def __enter__(self) -> "HandPlc":
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(_WAIT_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(_WAIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WAIT_S)
        self._loop.close()

    def trigger(self, number: int = 0) -> int:
        """A part passes the photo-eye; its sequence."""
        return self.call(lambda logic: logic.trigger(number, now_ns()).sequence)

    def gate(self, sequence: int) -> Disposition:
        """The part reaches the gate; the lane it takes."""
        return self.call(lambda logic: logic.gate(sequence)[1])

    def call(self, work: Callable[[PlcLogic], _T]) -> _T:
        """Run `work` on the PLC's thread, between two requests, and return what it returns."""
        done: Future[_T] = Future()

        def run() -> None:
            try:
                done.set_result(work(self.logic))
            except BaseException as error:  # noqa: BLE001  top of a thread's work: the caller gets it
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(_WAIT_S)

    async def _start(self) -> int:
        self._server = PlcServer(self.logic, unit_id=self._unit_id)
        await self._server.start()
        return self._server.port

    async def _stop(self) -> None:
        await self._server.stop()
        # Connections that the server has just closed tell their transports in the loop's next rounds.
        await asyncio.sleep(0.01)
