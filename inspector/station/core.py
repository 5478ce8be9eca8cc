"""The station: its threads put together, started in order, and always led back to the safe state."""

import platform
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer

from inspector import __version__
from inspector.errors import ArchiveError, CommandRefused, ConfigError, InspectorError
from inspector.ports import Archive, Camera, Line, RunStart
from inspector.station.dispatch import Dispatch, Watch
from inspector.station.grab import Grab
from inspector.station.inspect import Inspect
from inspector.station.messages import CommandAsked, Shutdown, Supplier, SupplierChanged
from inspector.station.product import Product
from inspector.station.settings import Settings
from inspector.types import Frame, StationState, Status

_ANSWER_S = 1.0
_END_S = 5.0

Prepare = Callable[[dict[str, str]], Product]
"""From the arguments of `activate` (or none: what station.toml names) to a verified product. Raises ConfigError."""


class Station:
    """One line: camera, detector, PLC and archive behind their ports. Implements ports.Controls.

    The station comes up whenever its archive opens; a camera, detector or PLC that is missing makes it `fault`, not dead.
    """

    def __init__(
        self, settings: Settings, camera: Camera, line: Line, archive: Archive, prepare: Prepare, watch: Watch | None = None
    ) -> None:
        """Opens a run in the archive; `watch` is told of every verdict. Raises ArchiveError."""
        self._archive = archive
        self._prepare = prepare
        self.run = archive.begin_run(RunStart(settings.station, __version__, _facts(settings)))
        self._dispatch = Dispatch(settings, self.run, line, archive, watch)
        self._inspect = Inspect(settings, self._dispatch.post, archive.record_release)
        self._grab = Grab(camera, self._dispatch.post, self._inspect, settings.reconnect_s)
        self._dispatch.attach(self._grab, self._inspect, watched=(self._grab, self._inspect))
        self._ended = threading.Event()
        self._shutdown_asked = threading.Event()
        self.problem_at_end: str | None = None

    def start(self) -> None:
        """Start the threads and load the product; READY stays low until `start` is commanded."""
        self._dispatch.start()
        self._inspect.start()
        self._grab.start()
        try:
            self._inspect.load(self._prepare({}))
        except InspectorError as error:
            self._dispatch.post(SupplierChanged(Supplier.DETECTOR, False, str(error)))

    def status(self) -> Status:
        """The newest snapshot."""
        status = self._dispatch.status
        assert status is not None
        return status

    def decided(self) -> int:
        """Parts that have their verdict at this moment."""
        balances = self._dispatch.ledger.balances()
        return balances.triggers - balances.undecided

    def preview(self) -> Frame | None:
        """The newest frame."""
        return self._grab.latest

    def command(self, name: str, arguments: dict[str, str], who: str) -> str:
        """Carry out a command; called from any thread but dispatch. Raises CommandRefused."""
        if name == "shutdown":
            try:
                return self._ask(name, arguments, who)
            finally:
                self._shutdown_asked.set()
        if name == "activate":
            try:
                product = self._prepare(arguments)
            except ConfigError as error:
                raise CommandRefused(f"not activated, nothing was changed: {error}") from error
            self._ask(name, arguments, who)
            self._inspect.load(product)
            return f"activating recipe {product.recipe.name} with bundle {product.bundle_name}; start when its canary was found"
        return self._ask(name, arguments, who)

    def wait_for_shutdown(self, timeout_s: float | None = None) -> bool:
        """Wait until a shutdown is commanded."""
        return self._shutdown_asked.wait(timeout_s)

    def stop(self) -> None:
        """READY low, every open part decided, everything recorded, all threads ended. Each step stands on its own; never raises.

        `problem_at_end` says what did not succeed, or None.
        """
        if self._ended.is_set():
            return
        self._ended.set()
        self._dispatch.post(Shutdown())
        problems = []
        ended = self._dispatch.join(_END_S)
        if not ended:
            problems.append("dispatch did not end in time")
        for worker in (self._grab, self._inspect):
            worker.end()
        problems += [f"{worker.name} hangs in its driver" for worker in (self._grab, self._inspect) if not worker.join(_END_S)]
        lost = self._dispatch.drain(_END_S) if ended else 0
        if lost:
            problems.append(f"{lost} records could not be written; the next start fills the gaps")
        if ended and not lost:
            try:
                self._archive.end_run(_END_S)
            except ArchiveError as error:
                problems.append(str(error))
        self._archive.close()
        self.problem_at_end = "; ".join(problems) or None

    def _ask(self, name: str, arguments: dict[str, str], who: str) -> str:
        if self.status().state is StationState.STOPPING:
            raise CommandRefused("the station is shutting down")
        answer: Future[str] = Future()
        self._dispatch.post(CommandAsked(name, arguments, who, answer))
        try:
            return answer.result(_ANSWER_S)
        except NoAnswer:
            if not answer.cancel():
                return answer.result(_ANSWER_S)  # it was taken up in this very moment
            raise CommandRefused("the station did not answer within a second; nothing was done unless its status says so") from None


def _facts(settings: Settings) -> dict[str, str]:
    """What a run's row says of where and with what it ran."""
    return {
        "host": platform.node(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "configuration": settings.configuration,
    }
