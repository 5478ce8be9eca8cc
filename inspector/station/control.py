"""The state of the line: what people ask for, what the suppliers can vouch for, and READY, which follows from both.

Used by dispatch alone; it decides, dispatch carries the parts. See state.py for the picture of the states.
"""

from dataclasses import dataclass

from inspector.clock import NS_PER_MS, NS_PER_S, now_ns, wall_utc
from inspector.errors import CommandRefused
from inspector.station.grab import Grab
from inspector.station.inspect import Inspect
from inspector.station.messages import CanaryDone, Supplier
from inspector.station.plc import Plc
from inspector.station.recorder import Recorder
from inspector.station.settings import Settings
from inspector.station.state import may_follow
from inspector.types import Event, FaultCode, Health, StationState, StopCause

_FINISHING = (StationState.STOPPED, StationState.PAUSED, StationState.HELD)
"""States in which parts met while READY was high are still judged to their end."""
_RESYNCS = 3
_RESYNC_WINDOW_S = 60
_CANARY_FORCED_BEFORE_S = 30
_LONGEST_RETRY_S = 60.0
_ARMING_NS = 5 * NS_PER_S
_LONGEST_CAUSE = 600
_AND_MORE = "; and more, see the records"


@dataclass(slots=True)
class _Standing:
    """What is known of a supplier: ok is None until it has said anything."""

    ok: bool | None = None
    text: str = "not there yet"


class Control:
    """The one owner of StationState. READY is high in RUNNING only, and leaves it first."""

    def __init__(self, settings: Settings, grab: Grab, inspect: Inspect, plc: Plc, recorder: Recorder) -> None:
        self._settings = settings
        self._grab = grab
        self._inspect = inspect
        self._plc = plc
        self._recorder = recorder
        self.state = StationState.STOPPED
        self.since_utc = wall_utc()
        self.cause: StopCause | None = None
        self.ready_since_ns: int | None = None
        self.arming = 0
        self._wanted = False
        self._armed = False
        self._arm_asked_ns = 0
        self._suppliers = {supplier: _Standing() for supplier in Supplier}
        self._retry_ns = 0
        self._retry_s = settings.reconnect_s
        self._canary_asked_ns: int | None = None
        self._canary_good_ns = 0
        self._resyncs: list[int] = []

    # -- what people ask for

    def command(self, name: str) -> str:
        """Carry out start, stop, pause or acknowledge; one line of what was done. Raises CommandRefused."""
        actions = {"start": self._start, "stop": self._stop, "pause": self._pause, "acknowledge": self._acknowledge}
        if name not in actions:
            raise CommandRefused(f"unknown command {name}; there are {', '.join([*actions, 'activate', 'shutdown'])}")
        return actions[name]()

    def may_activate(self, open_parts: int) -> None:
        """Refuse a changeover while parts are being judged."""
        if self.state in (StationState.RUNNING, StationState.STARTING, StationState.STOPPING):
            raise CommandRefused(f"a release is activated with READY low; the station is {self.state}: stop or pause it first")
        if open_parts:
            raise CommandRefused(f"{open_parts} parts are still being judged by the release that is active; try again in a moment")

    def product_changed(self) -> None:
        """Another product is being loaded: detector and canary have to prove themselves again."""
        self._suppliers[Supplier.DETECTOR] = _Standing(None, "loading")
        self._suppliers[Supplier.CANARY] = _Standing()

    def _start(self) -> str:
        if self.state is StationState.HELD:
            raise CommandRefused("the line is held; acknowledge the stop cause first")
        self._wanted = True
        if self.state in (StationState.STOPPED, StationState.PAUSED):
            self._begin_starting()
        return f"started: {self.state}"

    def _stop(self) -> str:
        if self.state is StationState.HELD:
            raise CommandRefused("the line is held; acknowledge the stop cause first")
        self._wanted = False
        if self.state is not StationState.STOPPED:
            self._enter(StationState.STOPPED)
        return "stopped: READY is low; this is no emergency stop"

    def _pause(self) -> str:
        if self.state is not StationState.RUNNING:
            raise CommandRefused(f"only a running station can pause; it is {self.state}")
        # Whoever paused may have a hand in the machine: no supplier that fails and comes back may start it.
        self._wanted = False
        self._enter(StationState.PAUSED)
        return "paused: READY is low, parts are rejected as not ready"

    def _acknowledge(self) -> str:
        if self.state is not StationState.HELD:
            raise CommandRefused(f"nothing to acknowledge; the station is {self.state}")
        code = self.cause.code if self.cause is not None else ""
        self._wanted = True
        self._begin_starting()
        return f"acknowledged: {code}"

    # -- what the line and the suppliers say

    def supplier(self, supplier: Supplier, ok: bool, text: str) -> None:
        """A supplier proved itself, or failed."""
        before = self._suppliers[supplier]
        self._suppliers[supplier] = _Standing(ok, text)
        if before.ok != ok:
            self._recorder.note(Event("supplier", {"name": supplier.value, "ok": ok, "text": text}))
        if supplier is Supplier.DETECTOR and ok and self.state is StationState.STARTING:
            self._ask_canary()
        if supplier is Supplier.PLC and ok and self.state is StationState.STARTING:
            self._ask_to_arm()  # what the camera counted before the line's own count was known cannot be compared with it

    def armed(self, arming: int) -> bool:
        """The camera counts from 1; False when that is not the arming that was asked for last."""
        self._armed = arming == self.arming
        if self._armed and self._suppliers[Supplier.CAMERA].ok is False:
            self.supplier(Supplier.CAMERA, True, "counts again")
        return self._armed

    def canary(self, done: CanaryDone) -> None:
        """The canary came back."""
        self._canary_asked_ns = None
        if not self._suppliers[Supplier.DETECTOR].ok:
            return  # it was run by the product before, and proves nothing about the one that is being loaded
        self._recorder.note(Event("canary", {"ok": done.problem is None, "problem": done.problem, "took_ms": round(done.took_ms, 2)}))
        text = done.problem or f"found, {done.took_ms:.0f} ms"
        if done.problem is None:
            self._canary_good_ns = now_ns()
        self.supplier(Supplier.CANARY, done.problem is None, text)

    def hold(self, cause: StopCause) -> None:
        """Stop the line until a person has acknowledged; one cause more is added to those that hold it already."""
        if self.state is StationState.HELD and self.cause is not None:
            self.cause = _joined(self.cause, cause)
            self._recorder.note(Event("stop cause", {"code": cause.code, "text": cause.text}))
        elif may_follow(self.state, StationState.HELD):
            self._enter(StationState.HELD, cause)

    def resynchronise(self, why: str) -> None:
        """Frames and parts could not be told apart: READY low, the camera counts anew, and up again. Often: hold."""
        now = now_ns()
        self._resyncs = [t for t in self._resyncs if now - t < _RESYNC_WINDOW_S * NS_PER_S] + [now]
        self._recorder.note(Event("resynchronise", {"why": why}))
        if len(self._resyncs) >= _RESYNCS:
            step = "check the photo-eye, the camera's trigger cable and the part spacing, then acknowledge"
            self.hold(StopCause("pairing", f"frames and parts do not match: {why}", step))
        elif self.state is StationState.RUNNING:
            self._begin_starting()
        elif self.state is StationState.STARTING:
            self._ask_to_arm()

    def stalled(self, text: str) -> None:
        """A thread of the line stopped working: nobody can vouch for parts."""
        if self.state is StationState.RUNNING:
            self._fault("stalled", text)

    def shut_down(self) -> None:
        """READY low for good."""
        self._wanted = False
        if self.state is not StationState.STOPPING:
            self._enter(StationState.STOPPING)

    # -- what follows

    def advance(self, open_parts: int, last_trigger_ns: int) -> None:
        """Go on where nothing stands in the way, and fall back where something does. Called in every turn of dispatch."""
        problem = self._recorder.problem
        if (problem is None) != self._suppliers[Supplier.ARCHIVE].ok:
            self.supplier(Supplier.ARCHIVE, problem is None, problem or "rows are durable")
        self._watch_canary()
        self._watch_arming()
        failed = self._failed()
        if self.state in (StationState.RUNNING, StationState.STARTING, StationState.PAUSED) and failed is not None:
            self._fault(failed.value, f"{failed}: {self._suppliers[failed].text}")
        elif self.state is StationState.STARTING and self._all_proven():
            self._go()
        elif self.state is StationState.FAULT:
            self._name_what_fails(failed)
            self._try_again()
        if self.state is StationState.RUNNING:
            self._keep_canary(open_parts, last_trigger_ns)
        self._grab.inspecting = self.state is StationState.RUNNING or (self.state in _FINISHING and open_parts > 0)

    @property
    def fault_code(self) -> FaultCode:
        """What a part that is open in the state fault is recorded as."""
        no_record = self.cause is not None and self.cause.code == Supplier.ARCHIVE.value
        return FaultCode.NO_RECORD if no_record else FaultCode.NOT_READY

    def health(self) -> tuple[Health, ...]:
        """Every supplier, as a screen shows it."""
        return tuple(Health(s.value, bool(standing.ok), standing.text) for s, standing in self._suppliers.items())

    def _failed(self) -> Supplier | None:
        return next((s for s, standing in self._suppliers.items() if standing.ok is False), None)

    def _all_proven(self) -> bool:
        return self._armed and all(standing.ok for standing in self._suppliers.values())

    def _begin_starting(self) -> None:
        self._suppliers[Supplier.CANARY] = _Standing(None, "asked for")
        self._enter(StationState.STARTING)
        self._ask_to_arm()
        self._ask_canary()

    def _ask_to_arm(self) -> None:
        self._armed = False
        self._arm_asked_ns = now_ns()
        self.arming = self._grab.ask_to_arm()

    def _ask_canary(self) -> None:
        if self._canary_asked_ns is None and self._suppliers[Supplier.DETECTOR].ok:
            self._canary_asked_ns = now_ns()
            self._inspect.canary()

    def _go(self) -> None:
        self._grab.inspecting = True  # before READY rises: the first part may come with it
        if self._plc.set_ready(True):
            self.ready_since_ns = now_ns()
            self._retry_s = self._settings.reconnect_s
            self._enter(StationState.RUNNING)

    def _name_what_fails(self, failed: Supplier | None) -> None:
        """What stands in the way may have changed since the fault began: the cause that people read is the present one."""
        if failed is not None and self.cause is not None and failed is not Supplier.CANARY:
            text = f"{failed}: {self._suppliers[failed].text}"
            if text != self.cause.text:
                self.cause = StopCause(failed.value, text, self.cause.next_step)

    def _try_again(self) -> None:
        """In fault: once every supplier but the canary is there again, and it was wanted, start over; the canary decides."""
        if now_ns() < self._retry_ns:
            return
        others = [standing.ok for s, standing in self._suppliers.items() if s is not Supplier.CANARY]
        if self._wanted and all(others):
            self._begin_starting()

    def _watch_arming(self) -> None:
        """A camera that does not begin to count hangs, whatever it said before."""
        waited_ns = now_ns() - self._arm_asked_ns
        if self.state is StationState.STARTING and not self._armed and self._suppliers[Supplier.CAMERA].ok and waited_ns > _ARMING_NS:
            self.supplier(Supplier.CAMERA, False, f"does not begin to count, {waited_ns / NS_PER_S:.0f} s after it was told to")

    def _watch_canary(self) -> None:
        """A canary that does not come back means that inspect hangs; no other one is sent after it."""
        waited_ns = 0 if self._canary_asked_ns is None else now_ns() - self._canary_asked_ns
        if waited_ns > (self._settings.detector_ms + 2000) * NS_PER_MS and self._suppliers[Supplier.CANARY].ok is not False:
            self.supplier(Supplier.CANARY, False, f"no answer from inspect for {waited_ns / NS_PER_S:.0f} s")

    def _keep_canary(self, open_parts: int, last_trigger_ns: int) -> None:
        age_s = (now_ns() - self._canary_good_ns) / NS_PER_S
        idle_s = (now_ns() - last_trigger_ns) / NS_PER_S
        every_s, when_idle_s = self._settings.canary_every_s, self._settings.canary_idle_s
        if age_s > every_s:
            self._suppliers[Supplier.CANARY] = _Standing(False, f"overdue: last found {age_s:.0f} s ago")
        elif (open_parts == 0 and idle_s > when_idle_s and age_s > when_idle_s) or (
            age_s > every_s - min(_CANARY_FORCED_BEFORE_S, every_s / 2) or (open_parts == 0 and age_s > every_s / 2)
        ):
            self._ask_canary()

    def _fault(self, code: str, text: str) -> None:
        self._retry_ns = now_ns() + int(self._retry_s * NS_PER_S)
        self._retry_s = min(2 * self._retry_s, _LONGEST_RETRY_S)
        step = (
            f"mend what it names; {'the station goes on by itself' if self._wanted else 'start the station'} once everything is there again"
        )
        self._enter(StationState.FAULT, StopCause(code, text, step))

    def _enter(self, state: StationState, cause: StopCause | None = None) -> None:
        if not may_follow(self.state, state):
            raise RuntimeError(f"station went from {self.state} to {state}")
        if state is not StationState.RUNNING:
            self.ready_since_ns = None
            self._plc.set_ready(False, fault=state is StationState.FAULT)
        before, self.state, self.cause, self.since_utc = self.state, state, cause, wall_utc()
        data = {"from": before.value, "to": state.value, "cause": cause.text if cause is not None else None}
        self._recorder.note(Event("state", data))


def _joined(first: StopCause, more: StopCause) -> StopCause:
    """Both causes in one; what a screen cannot hold is in the records."""
    if more.text in first.text:
        return first
    if len(first.text) + len(more.text) > _LONGEST_CAUSE:
        return StopCause(first.code, f"{first.text.removesuffix(_AND_MORE)}{_AND_MORE}", first.next_step)
    return StopCause(first.code, f"{first.text}; {more.text}", f"{first.next_step}; {more.next_step}")
