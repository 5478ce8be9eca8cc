"""Frames on their way to their parts: what arrived, what is judged already, and which part it is. Used by dispatch alone."""

from collections import OrderedDict
from typing import TypeVar

from inspector.clock import now_ns
from inspector.ports import Trigger
from inspector.station.messages import FrameArrived, Judged
from inspector.station.pairing import Pairing
from inspector.station.parts import Parts

_FRAMES_KNOWN = 256
"""Frames remembered by their number; the oldest is forgotten, and its part faults at its deadline."""

T = TypeVar("T")


class Binding:
    """Hands each frame, and what inspect says of it, to the part that pairing names; in whatever order the two come."""

    def __init__(self, pairing: Pairing, parts: Parts) -> None:
        self._pairing = pairing
        self._parts = parts
        self._sequences: OrderedDict[int, int] = OrderedDict()
        self._early: OrderedDict[int, Judged] = OrderedDict()
        self._arrived: OrderedDict[int, FrameArrived] = OrderedDict()

    def restart(self, counter: int) -> None:
        """The camera counts anew, when the line's counter stands at `counter`: frames of before belong to nobody."""
        for known in (self._sequences, self._early, self._arrived):
            known.clear()
        self._pairing.restart(counter)

    def trigger(self, trigger: Trigger) -> None:
        """The line counted a part."""
        self._pairing.trigger(trigger)

    def frame(self, frame: FrameArrived) -> None:
        """A frame came."""
        if frame.frame_id not in self._arrived:
            self._pairing.frame(frame.frame_id, frame.exposed_ns)
        _remember(self._arrived, frame.frame_id, frame)

    def judged(self, judged: Judged) -> None:
        """Inspect has a verdict for a frame."""
        frame_id = judged.frame.frame_id
        sequence = self._sequences.get(frame_id)
        if sequence is None:
            _remember(self._early, frame_id, judged)
        else:
            self._parts.judged(sequence, judged)

    def settle(self) -> None:
        """Bind what can be bound by now. Raises PairingLost."""
        for sequence, frame_id in self._pairing.settle(now_ns()):
            _remember(self._sequences, frame_id, sequence)
            frame = self._arrived.pop(frame_id, None)
            if frame is not None:
                self._parts.frame(sequence, frame)
            judged = self._early.pop(frame_id, None)
            if judged is not None:
                self._parts.judged(sequence, judged)


def _remember(known: OrderedDict[int, T], frame_id: int, what: T) -> None:
    known[frame_id] = what
    while len(known) > _FRAMES_KNOWN:
        known.popitem(last=False)
