"""The dispatch thread: waits for verdict or deadline, alone speaks to the PLC, alone closes ledger entries.

One turn: take one message or wait until something is due, read the line, expire, let Control go on, beat the heart, publish the status.
Nothing here waits for the disk, the camera or the detector.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from queue import Empty, SimpleQueue

from inspector import __version__
from inspector.clock import NS_PER_MS, NS_PER_S, now_ns
from inspector.errors import InspectorError, LineError
from inspector.ledger import Ledger
from inspector.ports import LINE_OPENED, Archive, Disposed, Line, LineSnapshot, Trigger
from inspector.station.binding import Binding
from inspector.station.control import Control
from inspector.station.grab import Grab
from inspector.station.inspect import Inspect
from inspector.station.messages import (
    CameraArmed,
    CanaryDone,
    CommandAsked,
    DetectorReady,
    FrameArrived,
    Judged,
    Message,
    RowDone,
    Shutdown,
    Supplier,
    SupplierChanged,
)
from inspector.station.pairing import Pairing, PairingLost
from inspector.station.parts import Parts
from inspector.station.plc import Plc
from inspector.station.recorder import Recorder
from inspector.station.recovery import Endings, Record, recovery
from inspector.station.settings import Settings
from inspector.station.status import Score
from inspector.station.stops import StopWatch, wrong_lane
from inspector.station.work import Worker
from inspector.types import Event, FaultCode, Inspection, StationState, Status, StopCause, Verdict

_STATUS_NS = 50 * NS_PER_MS
Watch = Callable[[Inspection], None]
"""Told of every verdict, on the dispatch thread: must return at once and never raise."""

_JUMP = 1 << 16
"""More parts than this between two looks are no count but a mistake, or a count that ran backwards or over."""


class Dispatch(Worker):
    """The heart of the station. Other threads post messages; everything else here belongs to this thread alone."""

    def __init__(self, settings: Settings, run: int, line: Line, archive: Archive, watch: Watch | None) -> None:
        super().__init__("dispatch")
        self._settings = settings
        self._run_number = run
        # Bounded by what posts to it: each open part posts at most four messages, suppliers and people a few.
        self._inbox: SimpleQueue[Message] = SimpleQueue()
        self.post: Callable[[Message], None] = self._inbox.put
        self.ledger = Ledger()
        self._past = archive.past_run
        self._recorder = Recorder(archive)
        self._plc = Plc(line, run, settings.reconnect_s, self._plc_lost)
        self._parts = Parts(settings, run, self.ledger, self._recorder, self._plc, self.post, self._on_decided)
        self._score = Score()
        self._watch = watch
        self._stops = StopWatch(settings.stops)
        tolerance_ns = None if settings.pairing_ms is None else int(settings.pairing_ms * NS_PER_MS)
        self._binding = Binding(Pairing(tolerance_ns, patience_ns=int(settings.frame_ms * NS_PER_MS)), self._parts)
        self._counter = 0
        self._epoch: int | None = None
        self._opened: LineSnapshot | None = None
        self._recovery: Iterator[Record] = iter(())
        self._endings: Endings | None = None
        self._last_trigger_ns = now_ns()
        self._poll_ns = self._beat_ns = self._status_ns = 0
        self._seq = 0
        self._release: DetectorReady | None = None
        self.status: Status | None = None

    def attach(self, grab: Grab, inspect: Inspect, watched: Sequence[Worker]) -> None:
        """Join the other threads of the line; before start()."""
        self._control = Control(self._settings, grab, inspect, self._plc, self._recorder)
        self._watched = tuple(watched)
        self._publish(force=True)

    def step(self) -> None:
        try:
            self._take_message()
            self._watch_line()
            self._parts.expire()
            self._recorder.flush()  # in fault nothing else may come that would hand over what waits
            self._control.advance(len(self._parts), self._last_trigger_ns)
            self._beat()
            if self._control.state is StationState.FAULT:
                self._parts.fault_all(self._control.fault_code, f"the station cannot vouch for it: {_why(self._control.cause)}")
            self._publish()
        except Exception as error:  # noqa: BLE001 - top of the thread: the count goes on, and what was in doubt is a FAULT
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Something broke that must not: the line is given up and opened anew, and everybody is told."""
        text = str(error) if isinstance(error, LineError) else f"dispatch failed: {error!r}"
        try:
            self._plc.drop(text)  # first: over a line that is given up nothing is sent, so that a driver's bug cannot keep parts open
        finally:
            self._parts.fault_all(FaultCode.INTERNAL, text)
            self._recorder.note(Event("dispatch failed", {"error": repr(error)}))
            self._publish(force=True)

    def drain(self, timeout_s: float) -> int:
        """After the end of the thread: hand over what still waits for the archive; returns how many records could not be."""
        until_ns = now_ns() + int(timeout_s * NS_PER_S)
        self._recorder.flush()
        while self._recorder.waiting and now_ns() < until_ns:
            time.sleep(0.02)
            self._recorder.flush()
        return self._recorder.waiting

    def finish(self) -> None:
        """The guaranteed way to the safe state: each step stands on its own."""
        for step in (
            self._control.shut_down,
            lambda: self._parts.fault_all(FaultCode.INTERRUPTED, "the station was shut down"),
            self._recorder.flush,
            self._plc.close,
            lambda: self._publish(force=True),
        ):
            try:
                step()
            except Exception as error:  # noqa: BLE001 - the next step of the way to the safe state must run all the same
                self._recorder.note(Event("shutdown step failed", {"error": repr(error)}))

    # -- messages

    def _take_message(self) -> None:
        now = now_ns()
        due = min(self._poll_ns, self._beat_ns, self._status_ns, self._parts.next_expiry_ns() or self._status_ns)
        try:
            message = self._inbox.get(timeout=max(0.0, (due - now) / 1e9)) if due > now else self._inbox.get_nowait()
        except Empty:
            return
        self._handle(message)

    def _handle(self, message: Message) -> None:
        match message:
            case Judged():
                self._on_judged(message)
            case RowDone():
                self._parts.recorded(message)
                self._poll_ns = 0
            case FrameArrived():
                self._on_frame(message)
            case SupplierChanged(supplier=supplier, ok=ok, text=text):
                self._control.supplier(supplier, ok, text)
                if supplier is Supplier.PLC and not ok:
                    self._parts.fault_all(FaultCode.NOT_ACKNOWLEDGED, f"the PLC is lost: {text}")
                    self._plc.stay_away()
            case CameraArmed():
                if self._control.armed(message.arming):
                    self._binding.restart(self._counter)
            case DetectorReady():
                self._release = message
                self._parts.release = message.release.id
                self._control.supplier(
                    Supplier.DETECTOR, True, f"{message.info.device} {message.info.precision}, {message.took_ms:.0f} ms to open"
                )
            case CanaryDone():
                self._control.canary(message)
            case CommandAsked():
                self._command(message)
            case Shutdown():
                self.end()

    def _command(self, asked: CommandAsked) -> None:
        if not asked.answer.set_running_or_notify_cancel():
            return
        try:
            if asked.name == "activate":
                self._control.may_activate(len(self._parts))
                self._control.product_changed()
                text = "activating"
            elif asked.name == "shutdown":
                text = "shutting down: READY goes low, then the station ends"
            else:
                text = self._control.command(asked.name)
            data = {"name": asked.name, "arguments": asked.arguments, "who": asked.who, "done": text}
            self._recorder.note(Event("command", data))
            asked.answer.set_result(text)
            if asked.name == "acknowledge":
                self._stops.reset()
        except InspectorError as error:
            asked.answer.set_exception(error)

    # -- frames and parts

    def _on_frame(self, frame: FrameArrived) -> None:
        if frame.arming != self._control.arming or not self._plc.open:
            return  # without the line nobody counts, and no frame can be bound
        self._binding.frame(frame)
        self._poll_ns = 0

    def _on_judged(self, judged: Judged) -> None:
        if judged.arming == self._control.arming:
            self._binding.judged(judged)
            self._poll_ns = 0

    def _bind(self) -> None:
        try:
            self._binding.settle()
        except PairingLost as error:
            self._parts.fault_all(FaultCode.PAIRING, f"it is not sure which frame shows this part: {error}")
            self._binding.restart(self._counter)
            self._control.resynchronise(str(error))

    def _on_decided(self, inspection: Inspection, ready: bool) -> None:
        self._score.add(inspection)
        if self._watch is not None:
            self._watch(inspection)
        if ready:
            cause = self._stops.verdict(inspection.verdict.kind, "; ".join(r.text for r in inspection.verdict.reasons[:1]))
            if cause is not None:
                self._control.hold(cause)

    # -- the line

    def _plc_lost(self, text: str) -> None:
        # Posted, not done at once: this is called from the midst of a part's life.
        self.post(SupplierChanged(Supplier.PLC, False, text))

    def _watch_line(self) -> None:
        if now_ns() < self._poll_ns:
            return
        self._poll_ns = now_ns() + int(self._settings.poll_ms * NS_PER_MS)
        if not self._plc.open:
            snapshot = self._plc.try_open()
            if snapshot is not None:
                self._line_opened(snapshot)
            return
        if self._opened is not None:
            self._recover(self._opened)
            return
        snapshot = self._plc.poll()
        if snapshot is None:
            return
        if snapshot.epoch != self._epoch:
            self._plc.drop(_restarted(snapshot))
            return
        for trigger in snapshot.triggers:
            self._count_up_to(trigger.sequence, trigger.triggered_ns)
        self._count_up_to(snapshot.counter, now_ns())
        for part, understood in snapshot.acknowledged:
            self._parts.acknowledged(part, understood)
        self._bind()
        for entry in snapshot.disposed:
            self._on_disposed(entry)

    def _count_up_to(self, counter: int, triggered_ns: int) -> None:
        """Open an entry for every part up to this count; one that nobody told in time gets the time of the next. Raises LineError."""
        new = counter - self._counter
        if not 0 <= new <= _JUMP:
            raise LineError(f"the PLC's count went from {self._counter} to {counter}; restart the station, so that a new run begins")
        for _ in range(new):
            # Step by step: should one part fail, the next look goes on where this one stopped.
            self._counter += 1
            self._on_trigger(Trigger(self._counter, triggered_ns))

    def _on_trigger(self, trigger: Trigger) -> None:
        self._last_trigger_ns = now_ns()
        self._binding.trigger(trigger)
        ready_since_ns = self._control.ready_since_ns
        refused = None
        if ready_since_ns is None or trigger.triggered_ns < ready_since_ns:
            refused = Verdict.fault(FaultCode.NOT_READY, f"triggered while the station was not ready ({self._control.state})")
        if not self._parts.trigger(trigger, refused):
            text = f"part {trigger.sequence} came while {len(self._parts)} were undecided: the line is faster than the station"
            step = "slow the line down, or look why inspection takes so long; then acknowledge"
            self._control.hold(StopCause(FaultCode.OVERRUN.value, text, step))

    def _on_disposed(self, entry: Disposed) -> None:
        if self._endings is not None:
            for record in self._endings.entry(entry):
                self._record(record)
        verdict = self._parts.disposed(entry)
        cause = wrong_lane(entry.part, verdict, entry.disposition) if verdict is not None else None
        if cause is not None:
            self._control.hold(cause)

    def _line_opened(self, snapshot: LineSnapshot) -> None:
        """First look: what happened before. After a loss within the run: what was counted meanwhile."""
        self._parts.slots = min(self._settings.slots, snapshot.slots or self._settings.slots)
        if self._opened is not None:
            self._opened_again(self._opened, snapshot)
        elif self._epoch is None:
            if self._past is not None:
                self._endings = Endings(self._past, snapshot)
                self._recovery = recovery(self._past, snapshot, self._settings.kind, self._endings)
            self._opened = snapshot
        elif snapshot.epoch != self._epoch:
            self._plc.drop(_restarted(snapshot))
        else:
            self._count_up_to(snapshot.counter, now_ns())
            for entry in snapshot.disposed:
                self._on_disposed(entry)
            ours = [entry.part.sequence for entry in snapshot.disposed if entry.part.run == self._run_number]
            self._parts.forget_older(min(ours, default=0))
            self._line_proven(snapshot)

    def _opened_again(self, first: LineSnapshot, snapshot: LineSnapshot) -> None:
        """Lost in the midst of recovery, which goes on where it stopped. What was counted since is counted after it, in this run."""
        if self._endings is not None:
            self._recovery = chain(self._recovery, self._endings.entries(snapshot.disposed))
        if snapshot.epoch != first.epoch:
            data = {"past_run": self._run_number, "past_epoch": first.epoch, "epoch": snapshot.epoch}
            self._recovery = chain(self._recovery, [Event("line restarted", data)])
            self._opened = snapshot

    def _recover(self, snapshot: LineSnapshot) -> None:
        """Record what the run before left open, as fast as the archive takes it. The line is not read meanwhile: its count keeps, and
        parts of this run have rows only after those of the run before are complete."""
        while self._recorder.has_room:
            record = next(self._recovery, None)
            if record is None:
                self._opened, self._past = None, None
                self._counter = snapshot.counter
                self._line_proven(snapshot)
                return
            self._record(record)

    def _record(self, record: Record) -> None:
        """One record about the run before."""
        if isinstance(record, StopCause):
            self._control.hold(record)
        elif isinstance(record, Event):
            self._recorder.note(record)
        else:
            self._recorder.put(record)

    def _line_proven(self, snapshot: LineSnapshot) -> None:
        self._epoch = snapshot.epoch
        self._recorder.note(Event(LINE_OPENED, {"epoch": snapshot.epoch, "counter": snapshot.counter}))
        self._control.supplier(Supplier.PLC, True, f"connected, {snapshot.counter} parts counted")

    # -- signs of life

    def _beat(self) -> None:
        now = now_ns()
        if now < self._beat_ns:
            return
        self._beat_ns = now + int(self._settings.beat_ms * NS_PER_MS)
        silent = [w for w in self._watched if w.silent_ms() > self._settings.stall_ms]
        if silent:
            names = " and ".join(f"{w.name} ({w.silent_ms():.0f} ms)" for w in silent)
            self._control.stalled(f"no sign of life from {names}")
        else:
            self._plc.beat()

    def _publish(self, force: bool = False) -> None:
        now = now_ns()
        if now < self._status_ns and not force:
            return
        self._status_ns = now + _STATUS_NS
        self._seq += 1
        release = self._release.release if self._release is not None else None
        self.status = Status(
            seq=self._seq,
            station=self._settings.station,
            version=__version__,
            pid=os.getpid(),
            state=self._control.state,
            since_utc=self._control.since_utc,
            run=self._run_number,
            cause=self._control.cause,
            balances=self.ledger.balances(),
            dispositions=self.ledger.dispositions(),
            release=release.id if release is not None else "",
            recipe=release.recipe.name if release is not None else "",
            bundle=release.bundle_name if release is not None else "",
            device=release.device if release is not None else "",
            precision=release.precision if release is not None else "",
            presence=release.recipe.presence_text if release is not None else "",
            lot=self._settings.lot,
            last=self._score.last,
            health=self._control.health(),
            latency_ms=self._score.latency.latency(),
            infer_ms=self._score.infer.latency(),
        )


def _why(cause: StopCause | None) -> str:
    return cause.text if cause is not None else "no cause given"


def _restarted(snapshot: LineSnapshot) -> str:
    """The PLC counts anew: the names of parts would repeat within this run."""
    return f"the PLC restarted (its count is now {snapshot.counter}); restart the station, so that a new run begins"
