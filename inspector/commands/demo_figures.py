"""Three witnesses about the same parts: the belt's own log, the station's archive, and the truth of the renderer. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspector.types import Disposition, VerdictKind


@dataclass(frozen=True, slots=True)
class BeltPart:
    """What the belt says of one part: its number on the belt, its name in the station, whether the PLC took a PASS, and its lane."""

    number: int
    run16: int
    sequence: int
    passed: bool
    lane: Disposition


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts of parts, as DESIGN names them.

    unaccounted     on the belt, without a verdict in the archive
    plc_mismatches  passed by one of station and PLC, and not by the other
    escapes         defective and passed; overkills: good and rejected; a FAULT is neither
    wrong_lane      in the good lane without a PASS, or in the reject lane with one
    """

    parts: int = 0
    passed: int = 0
    rejected: int = 0
    faulted: int = 0
    unaccounted: int = 0
    plc_mismatches: int = 0
    escapes: int = 0
    overkills: int = 0
    wrong_lane: int = 0

    @property
    def proven(self) -> bool:
        """Every part has one verdict, and line and station agree on all of them."""
        return not (self.unaccounted or self.plc_mismatches or self.wrong_lane)


def read_belt_log(path: Path) -> list[BeltPart]:
    """The simulator's log, one part a line."""
    parts = []
    for text in path.read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(text)
        passed = row["verdict"] == VerdictKind.PASS.value
        parts.append(BeltPart(row["part"], row["run"], row["sequence"], passed, Disposition(row["lane"])))
    return parts


def compare(belt: Iterable[BeltPart], verdicts: Mapping[int, VerdictKind], good: Mapping[int, bool]) -> Figures:
    """verdicts: by sequence, what counts in the archive; good: by number on the belt, the truth."""
    counts = dict.fromkeys(Figures.__dataclass_fields__, 0)
    names = {VerdictKind.PASS: "passed", VerdictKind.REJECT: "rejected", VerdictKind.FAULT: "faulted"}
    for part in belt:
        counts["parts"] += 1
        verdict = verdicts.get(part.sequence)
        if verdict is None:
            counts["unaccounted"] += 1
            continue
        passed = verdict is VerdictKind.PASS
        counts[names[verdict]] += 1
        counts["plc_mismatches"] += passed != part.passed
        counts["wrong_lane"] += passed != (part.lane is Disposition.GOOD_LANE)
        counts["escapes"] += passed and not good[part.number]
        counts["overkills"] += verdict is VerdictKind.REJECT and good[part.number]
    return Figures(**counts)
