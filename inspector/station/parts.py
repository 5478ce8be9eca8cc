"""The parts between trigger and disposition: every trigger gets exactly one verdict, and dispatch alone gives it, through here.

waiting ──judged REJECT/FAULT──▶ sent at once, decided, then recorded
   │  └──judged PASS──▶ recording ──row durable──▶ sent ──acknowledged──▶ decided PASS
   └───────────────── deadline or any failure, in every step ───────────▶ decided FAULT (and "overruled", when a PASS row exists)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

from inspector.clock import NS_PER_MS, ms, now_ns
from inspector.errors import LineError
from inspector.ledger import Ledger
from inspector.ports import ACKNOWLEDGED, OVERRULED, Disposed, Trigger
from inspector.station.messages import FrameArrived, Judged, RowDone
from inspector.station.plc import Plc
from inspector.station.recorder import Recorder, disposed_event
from inspector.station.settings import Settings
from inspector.station.work import Post
from inspector.types import (
    Disposition,
    Event,
    FaultCode,
    Inspection,
    PartId,
    Reason,
    Timings,
    Verdict,
    VerdictKind,
)

_IN_TRANSIT = 4096
"""Decided parts whose disposition the line still owes; beyond it the oldest is disposed as unknown."""


class _Step(Enum):
    WAITING = auto()
    RECORDING = auto()
    SENT = auto()


@dataclass(slots=True)
class _Open:
    """An undecided part."""

    trigger: Trigger
    release: str
    step: _Step = _Step.WAITING
    frame: FrameArrived | None = None
    judged: Judged | None = None
    decided_ns: int | None = None
    sent_ns: int = 0


Decided = Callable[[Inspection, bool], None]
"""Told once per verdict: all that is known of the part, and whether the station had been ready for it. Returns at once."""


class Parts:
    """All open parts of the run. Used by dispatch alone."""

    def __init__(self, settings: Settings, run: int, ledger: Ledger, recorder: Recorder, plc: Plc, post: Post, decided: Decided) -> None:
        self._settings = settings
        self._run = run
        self._ledger = ledger
        self._recorder = recorder
        self._plc = plc
        self._post = post
        self._decided = decided
        self._open: dict[int, _Open] = {}
        self._answered: dict[int, int] = {}
        self.release = ""
        self.slots = settings.slots

    def __len__(self) -> int:
        return len(self._open)

    # -- the life of a part, in order

    def trigger(self, trigger: Trigger, refused: Verdict | None) -> bool:
        """The line counted a part. `refused`: the verdict when the station is not ready for it. False when no slot was free.

        Raises LineError for a sequence that is not newer than all before.
        """
        if not self._ledger.open(trigger.sequence):
            raise LineError(f"the PLC counted part {trigger.sequence} twice or backwards; restart the station, so that a new run begins")
        if refused is not None:
            self._close(trigger.sequence, _Open(trigger, self.release), refused, ready=False)
            return True
        part = _Open(trigger, self.release)
        if len(self._open) >= self.slots:
            text = f"{len(self._open)} parts are undecided already; the line is faster than the station"
            self._fault(trigger.sequence, part, FaultCode.OVERRUN, text)
            return False
        self._open[trigger.sequence] = part
        return True

    def frame(self, sequence: int, frame: FrameArrived) -> None:
        """The part's frame is known."""
        part = self._open.get(sequence)
        if part is None:
            return
        part.frame = frame
        if frame.fault is not None:
            self._fault(sequence, part, FaultCode(frame.fault.code), frame.fault.text)

    def judged(self, sequence: int, judged: Judged) -> None:
        """Inspect has a verdict for the part's frame."""
        part = self._open.get(sequence)
        if part is None:
            self._note_late(sequence, judged)
            return
        part.judged = judged
        if judged.release != part.release:
            self._fault(sequence, part, FaultCode.INTERNAL, "the release was changed between its trigger and its verdict")
            return
        if judged.verdict.kind is not VerdictKind.PASS:
            self._reject(sequence, part, judged.verdict)
            return
        if self._too_late(part):
            self._fault(sequence, part, FaultCode.LATE, f"judged {ms(now_ns() - part.trigger.triggered_ns):.0f} ms after its trigger")
            return
        part.step, part.decided_ns = _Step.RECORDING, now_ns()
        row = self._inspection(sequence, part, judged.verdict)
        if not self._recorder.put_pass(row, lambda error: self._post(RowDone(sequence, error))):
            part.step, part.decided_ns = _Step.WAITING, None
            self._fault(sequence, part, FaultCode.NO_RECORD, f"no record, no pass: {self._recorder.problem or 'the archive has no room'}")

    def recorded(self, done: RowDone) -> None:
        """The part's PASS row is durable, or could not be written."""
        part = self._open.get(done.sequence)
        if part is None or part.step is not _Step.RECORDING:
            return
        if done.error is not None:
            self._fault(done.sequence, part, FaultCode.NO_RECORD, f"no record, no pass: {done.error}")
        elif self._too_late(part):
            self._fault(done.sequence, part, FaultCode.LATE, "its row was durable too late")
        elif self._plc.send(PartId(self._run, done.sequence), VerdictKind.PASS):
            part.step, part.sent_ns = _Step.SENT, now_ns()
        else:
            self._fault(done.sequence, part, FaultCode.NOT_ACKNOWLEDGED, "its PASS could not be sent to the PLC")

    def acknowledged(self, answered: PartId, understood: VerdictKind) -> None:
        """The PLC echoed a result."""
        if answered.run != self._run:
            return
        sequence = answered.sequence
        part = self._open.get(sequence)
        if part is None or part.step is not _Step.SENT:
            sent_ns = self._answered.pop(sequence, None)
            if sent_ns is not None:
                self._note_answer(sequence, understood, sent_ns)
            return
        self._note_answer(sequence, understood, part.sent_ns)
        if understood is VerdictKind.PASS and not self._expired(part, now_ns()):
            assert part.judged is not None
            self._close(sequence, part, part.judged.verdict, ready=True, recorded=True)
        elif understood is VerdictKind.PASS:
            self._fault(sequence, part, FaultCode.NOT_ACKNOWLEDGED, "the PLC acknowledged its PASS after the deadline")
        else:
            self._fault(sequence, part, FaultCode.NOT_ACKNOWLEDGED, f"a PASS was sent, the PLC understood {understood}")

    def disposed(self, entry: Disposed) -> VerdictKind | None:
        """The line reported where a part went; returns its verdict when that was news."""
        if entry.part.run != self._run:
            return None
        if self._ledger.is_open(entry.part.sequence):
            part = self._open[entry.part.sequence]
            self._fault(entry.part.sequence, part, FaultCode.LATE, f"it left the line undecided: {entry.disposition}")
        verdict = self._ledger.dispose(entry.part.sequence, entry.disposition)
        if verdict is not None:
            self._recorder.note(disposed_event(entry))
        return verdict

    # -- time and trouble

    def expire(self) -> None:
        """Fault every part whose time is over."""
        now = now_ns()
        for sequence, part in list(self._open.items()):
            age_ms = ms(now - part.trigger.triggered_ns)
            if part.step is _Step.WAITING and part.frame is None and age_ms > self._settings.frame_ms:
                self._fault(sequence, part, FaultCode.NO_FRAME, f"no frame within {self._settings.frame_ms:.0f} ms of its trigger")
            elif part.step is not _Step.SENT and self._too_late(part):
                waits = "its row was not durable" if part.step is _Step.RECORDING else "it was not judged"
                code = FaultCode.NO_RECORD if part.step is _Step.RECORDING else FaultCode.LATE
                self._fault(sequence, part, code, f"{waits} in time: {age_ms:.0f} ms after its trigger")
            elif part.step is _Step.SENT and self._expired(part, now):
                self._fault(sequence, part, FaultCode.NOT_ACKNOWLEDGED, "the PLC did not acknowledge its PASS by the deadline")

    def next_expiry_ns(self) -> int | None:
        """The station time at which expire has something to do next; None without open parts."""
        return min((self._due_ns(part) for part in self._open.values()), default=None)

    def forget_older(self, oldest_known: int) -> None:
        """The line no longer knows parts before `oldest_known`: where those in transit went stays unknown."""
        while (oldest := self._ledger.oldest_in_transit()) is not None and oldest < oldest_known:
            self.disposed(Disposed(PartId(self._run, oldest), Disposition.UNKNOWN, None))

    def fault_all(self, code: FaultCode, text: str) -> None:
        """Fault every undecided part."""
        for sequence, part in list(self._open.items()):
            self._fault(sequence, part, code, text)

    def _due_ns(self, part: _Open) -> int:
        begin = part.trigger.triggered_ns
        due = [self._deadline_ns(part)] if part.step is _Step.SENT else [self._send_by_ns(part)]
        if part.frame is None:
            due.append(begin + int(self._settings.frame_ms * NS_PER_MS))
        return min((d for d in due if d is not None), default=begin + 10**12)

    def _deadline_ns(self, part: _Open) -> int | None:
        deadline_ms = self._settings.deadline_ms
        return None if deadline_ms is None else part.trigger.triggered_ns + int(deadline_ms * NS_PER_MS)

    def _send_by_ns(self, part: _Open) -> int | None:
        deadline_ns = self._deadline_ns(part)
        return None if deadline_ns is None else deadline_ns - int(self._settings.answer_ms * NS_PER_MS)

    def _too_late(self, part: _Open) -> bool:
        send_by_ns = self._send_by_ns(part)
        return send_by_ns is not None and now_ns() > send_by_ns

    def _expired(self, part: _Open, now: int) -> bool:
        deadline_ns = self._deadline_ns(part)
        return deadline_ns is not None and now > deadline_ns

    # -- the one place where a part gets its verdict

    def _fault(self, sequence: int, part: _Open, code: FaultCode, text: str) -> None:
        """FAULT: tell the PLC (it rejects anyway if that fails), decide, and overrule a PASS row that may exist."""
        self._plc.send(PartId(self._run, sequence), VerdictKind.FAULT, code)
        verdict = Verdict.fault(code, text)
        recorded = part.step is not _Step.WAITING
        self._close(sequence, part, verdict, ready=True, recorded=recorded)
        if recorded:
            data = {"verdict": VerdictKind.FAULT.value, "code": code.value, "text": text}
            self._recorder.note(Event(OVERRULED, data, PartId(self._run, sequence)))

    def _reject(self, sequence: int, part: _Open, verdict: Verdict) -> None:
        code = _fault_code(verdict.reasons[0]) if verdict.kind is VerdictKind.FAULT and verdict.reasons else None
        if self._plc.send(PartId(self._run, sequence), verdict.kind, code):
            self._remember_answer(sequence)
        self._close(sequence, part, verdict, ready=True)

    def _close(self, sequence: int, part: _Open, verdict: Verdict, *, ready: bool, recorded: bool = False) -> None:
        self._open.pop(sequence, None)
        if not self._ledger.decide(sequence, verdict.kind):
            return
        inspection = self._inspection(sequence, part, verdict)
        if not recorded:
            self._recorder.put(inspection)
        self._decided(inspection, ready)
        if self._ledger.balances().in_transit > _IN_TRANSIT:
            self.forget_older((self._ledger.oldest_in_transit() or 0) + 1)

    def _inspection(self, sequence: int, part: _Open, verdict: Verdict) -> Inspection:
        judged, frame = part.judged, part.frame
        times = Timings(triggered_ns=part.trigger.triggered_ns, decided_ns=part.decided_ns or now_ns())
        if frame is not None:
            times = replace(times, exposed_ns=frame.exposed_ns, arrived_ns=frame.arrived_ns)
        row = Inspection(PartId(self._run, sequence), self._settings.kind, verdict, part.release, times, lot=self._settings.lot)
        if judged is None:
            return replace(row, source=frame.source if frame is not None else "")
        return replace(
            row,
            timings=replace(times, detect_started_ns=judged.detect_started_ns, detected_ns=judged.detected_ns),
            detections=judged.detections,
            class_scores=judged.class_scores,
            pose=judged.pose,
            presence=judged.presence,
            pixels_sha256=judged.pixels_sha256,
            frame=judged.frame,
            source=judged.frame.source,
        )

    # -- events about parts

    def _remember_answer(self, sequence: int) -> None:
        self._answered[sequence] = now_ns()
        while len(self._answered) > self.slots:
            del self._answered[next(iter(self._answered))]

    def _note_answer(self, sequence: int, understood: VerdictKind, sent_ns: int) -> None:
        data = {"understood": understood.value, "sent_ns": sent_ns, "acknowledged_ns": now_ns()}
        self._recorder.note(Event(ACKNOWLEDGED, data, PartId(self._run, sequence)))

    def _note_late(self, sequence: int, judged: Judged) -> None:
        data = {"verdict": judged.verdict.kind.value, "reasons": [r.text for r in judged.verdict.reasons]}
        self._recorder.note(Event("late result", data, PartId(self._run, sequence)))


def _fault_code(reason: Reason) -> FaultCode:
    return FaultCode(reason.code)
