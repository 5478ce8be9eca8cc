"""What holds the line: rules over the verdicts and dispositions as they come. Pure."""

from collections import deque
from dataclasses import dataclass

from inspector.types import Disposition, PartId, StopCause, VerdictKind


@dataclass(frozen=True, slots=True)
class StopRules:
    """None switches a rule off. m_of_k: this many rejects or faults among the last k parts."""

    rejects_in_row: int | None = None
    faults_in_row: int | None = 10
    m_of_k: tuple[int, int] | None = None


class StopWatch:
    """Counts towards the stop rules; a cause is told once, and the counts begin anew."""

    def __init__(self, rules: StopRules) -> None:
        self._rules = rules
        self._rejects = 0
        self._faults = 0
        self._recent: deque[bool] = deque(maxlen=rules.m_of_k[1] if rules.m_of_k else 1)

    def reset(self) -> None:
        """A person has looked: count anew."""
        self._rejects = self._faults = 0
        self._recent.clear()

    def verdict(self, kind: VerdictKind, why: str = "no reason given") -> StopCause | None:
        """One more verdict on a part that the station was ready for; a cause quotes the last one's reason."""
        self._rejects = self._rejects + 1 if kind is VerdictKind.REJECT else 0
        self._faults = self._faults + 1 if kind is VerdictKind.FAULT else 0
        self._recent.append(kind is not VerdictKind.PASS)
        cause = self._broken_rule(why)
        if cause is not None:
            self.reset()
        return cause

    def _broken_rule(self, why: str) -> StopCause | None:
        rules = self._rules
        if rules.rejects_in_row and self._rejects >= rules.rejects_in_row:
            return StopCause(
                "rejects in a row",
                f"{self._rejects} rejects in a row, the last: {why}",
                "look at the last rejects, find the cause upstream, then acknowledge",
            )
        if rules.faults_in_row and self._faults >= rules.faults_in_row:
            return StopCause(
                "faults in a row",
                f"{self._faults} parts in a row could not be judged, the last because: {why}",
                "check camera, trigger wire, light and part position, then acknowledge",
            )
        if rules.m_of_k and sum(self._recent) >= rules.m_of_k[0]:
            m, k = rules.m_of_k
            return StopCause("m of k", f"{m} of the last {k} parts were not good", "look at the last rejects, then acknowledge")
        return None


def wrong_lane(part: PartId, verdict: VerdictKind, disposition: Disposition) -> StopCause | None:
    """A part that was not passed lies in the good lane: the line may not go on before a person has taken it out."""
    if disposition is Disposition.GOOD_LANE and verdict is not VerdictKind.PASS:
        return StopCause(
            "wrong lane",
            f"part {part} is a {verdict} and went to the good lane",
            f"take part {part} out of the good lane, check the gate, then acknowledge",
        )
    return None
