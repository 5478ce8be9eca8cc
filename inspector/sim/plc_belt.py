"""The conveyor in front of the PLC: parts pass the photo-eye at a rate with jitter, and reach the gate after the travel time."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from inspector.clock import NS_PER_MS, NS_PER_S, now_ns
from inspector.line.registers import BELT_DONE, BELT_RUNNING
from inspector.sim.plc_logic import PlcLogic, TrackedPart
from inspector.types import Disposition

JITTER = 0.1
_LATE_NS = 2 * NS_PER_MS
_READY_POLL_S = 0.005


@dataclass(frozen=True, slots=True)
class BeltSettings:
    """parts 0 is without end; travel_ms is from camera to gate; wait_ready holds the belt until READY is high."""

    rate_per_min: float = 600.0
    parts: int = 0
    travel_ms: float = 412.0
    wait_ready: bool = False
    seed: int = 0


Triggered = Callable[[TrackedPart], None]
Disposed = Callable[[TrackedPart, Disposition, int], None]


class Belt:
    """Runs the parts past `logic`; on_trigger(part) at the photo-eye, on_disposed(part, lane, gate_ns) behind the gate."""

    def __init__(self, logic: PlcLogic, settings: BeltSettings, on_trigger: Triggered, on_disposed: Disposed) -> None:
        self._logic = logic
        self._settings = settings
        self._on_trigger = on_trigger
        self._on_disposed = on_disposed
        self._random = random.Random(settings.seed)
        self._spacing_ns = 60 * NS_PER_S / settings.rate_per_min
        # Bounded by the belt itself: travel time over the smallest spacing.
        self._to_gate: deque[TrackedPart] = deque()

    async def run(self) -> None:
        """Move parts until the last has left; without end when `parts` is 0. Events come up to about 1 ms late (asyncio's timers)."""
        while self._settings.wait_ready and not self._logic.ready(now_ns()):
            await asyncio.sleep(_READY_POLL_S)
        self._logic.belt = BELT_RUNNING
        travel_ns = round(self._settings.travel_ms * NS_PER_MS)
        number = 1
        next_trigger_ns = now_ns() + self._next_spacing_ns()
        while self._more(number) or self._to_gate:
            gate_ns = self._to_gate[0].triggered_ns + travel_ns if self._to_gate else None
            trigger_first = self._more(number) and (gate_ns is None or next_trigger_ns < gate_ns)
            if trigger_first or gate_ns is None:
                await _sleep_until(next_trigger_ns)
                self._trigger(number)
                number += 1
                # A belt does not hurry after a pause of the computer: the plan moves, the spacing stays.
                late_ns = now_ns() - next_trigger_ns
                next_trigger_ns += self._next_spacing_ns() + (late_ns if late_ns > _LATE_NS else 0)
            else:
                await _sleep_until(gate_ns)
                self._gate()
        self._logic.belt = BELT_DONE

    def _more(self, number: int) -> bool:
        return self._settings.parts == 0 or number <= self._settings.parts

    def _next_spacing_ns(self) -> int:
        return round(self._spacing_ns * self._random.uniform(1 - JITTER, 1 + JITTER))

    def _trigger(self, number: int) -> None:
        part = self._logic.trigger(number, now_ns())
        self._to_gate.append(part)
        self._on_trigger(part)

    def _gate(self) -> None:
        part, lane = self._logic.gate(self._to_gate.popleft().sequence)
        self._on_disposed(part, lane, now_ns())


async def _sleep_until(due_ns: int) -> None:
    left_ns = due_ns - now_ns()
    await asyncio.sleep(max(0, left_ns) / NS_PER_S)
