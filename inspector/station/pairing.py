"""Which frame shows which part. Two witnesses, the count and the clock, have to agree. Pure.

The trigger counter of the line is the authority. `sequence - frame_id` is constant while the camera misses no trigger, and a frame is
exposed within `tolerance_ns` (half the smallest part spacing) of its trigger. Where the witnesses contradict each other nobody knows
which parts were swapped: PairingLost, every part in doubt faults, and the count begins anew.

What is guaranteed: as long as parts keep the smallest spacing and each is exposed less than half of it from its trigger, no frame is bound
to another part than its own, whatever frames are lost on the way and whatever triggers the camera misses; a miss is PairingLost at the
next frame. What cannot be told: a clock that is always wrong by a whole spacing; and, where tolerance_ns is None, a missed trigger or one
that comes while the camera is being armed: such a line may only move while the station is RUNNING, as `inspector inspect` sees to.
"""

from collections import OrderedDict
from dataclasses import dataclass

from inspector.ports import Trigger

_REMEMBER = 256
"""Triggers remembered for frames that come late; more than can be between camera and gate."""


class PairingLost(Exception):
    """Count and clock contradict each other; the text says how."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame as pairing sees it: its count since arming, and the station time of its exposure."""

    frame_id: int
    exposed_ns: int


class Pairing:
    """Binds frames to triggers. tolerance_ns None: the clock says nothing (parts without a spacing), the count alone binds."""

    def __init__(self, tolerance_ns: int | None, patience_ns: int) -> None:
        self._tolerance_ns = tolerance_ns
        self._patience_ns = patience_ns
        self._triggers: OrderedDict[int, int] = OrderedDict()
        self._waiting: list[Shot] = []
        self._offset: int | None = None

    def restart(self, counter: int) -> None:
        """The camera was armed, when the line's counter stood at `counter`: the count begins anew."""
        self._waiting.clear()
        self._offset = counter if self._tolerance_ns is None else None

    def trigger(self, trigger: Trigger) -> None:
        """The line counted a part."""
        self._triggers[trigger.sequence] = trigger.triggered_ns
        while len(self._triggers) > _REMEMBER:
            self._triggers.popitem(last=False)

    def frame(self, frame_id: int, exposed_ns: int) -> None:
        """The camera exposed a frame."""
        self._waiting.append(Shot(frame_id, exposed_ns))

    def settle(self, now_ns: int) -> list[tuple[int, int]]:
        """(sequence, frame_id) of every frame that can be bound now, in order. Raises PairingLost."""
        bound: list[tuple[int, int]] = []
        while self._waiting:
            sequence = self._find(self._waiting[0], now_ns)
            if sequence is None:
                break
            bound.append((sequence, self._waiting.pop(0).frame_id))
        return bound

    def _find(self, shot: Shot, now_ns: int) -> int | None:
        if self._offset is None:
            sequence = self._only_near(shot)
            if sequence is not None:
                self._offset = sequence - shot.frame_id
                return sequence
            self._wait_or_lose(shot, now_ns, "shows no part that the line counted")
            return None
        sequence = shot.frame_id + self._offset
        triggered_ns = self._triggers.get(sequence)
        if triggered_ns is None:
            self._wait_or_lose(shot, now_ns, f"should show part {sequence}, which the line did not count")
            return None
        apart_ns = shot.exposed_ns - triggered_ns
        if self._tolerance_ns is not None and abs(apart_ns) > self._tolerance_ns:
            raise PairingLost(
                f"frame {shot.frame_id} is part {sequence} by count, but was exposed {apart_ns / 1e6:+.0f} ms from its trigger"
            )
        return sequence

    def _only_near(self, shot: Shot) -> int | None:
        assert self._tolerance_ns is not None
        near = [s for s, t in self._triggers.items() if abs(shot.exposed_ns - t) <= self._tolerance_ns]
        if len(near) > 1:
            # Parts closer than the smallest spacing, or a bouncing photo-eye. Without a count the nearer one would be a guess.
            raise PairingLost(
                f"frame {shot.frame_id} may show part {near[0]} or part {near[1]}, which came closer than the smallest spacing"
            )
        return near[0] if near else None

    def _wait_or_lose(self, shot: Shot, now_ns: int, what: str) -> None:
        if now_ns - shot.exposed_ns > self._patience_ns:
            raise PairingLost(f"frame {shot.frame_id} {what}")
