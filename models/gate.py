"""The gate: whether a candidate release may replace the active one, on the golden set and on the device that will run it. Pure but for
the looking itself.

Both are evaluated on the same frozen pictures (models.evaluate): real ones, and the single-defect and disturbed boards made of them. A
candidate passes when every rule holds:

    critical escapes   it passes no part with a critical defect that the active release rejects; without one, no golden part
    faults             it faults on no golden part that the active release judges; without an active release, on none at all
    escapes            the exact one-sided 95 % bound of defective boards passed is within the release limits
    overkills          the same of good boards rejected (of disturbed ones where each good twin is its own reference)

What passed on one device and precision has passed there only.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from calibration.statistics import Share
from inspector.judge import place
from inspector.recipe import Recipe, ZoneKind
from inspector.types import Pose, Severity, VerdictKind
from models.dataset import DatasetError, Truth
from models.evaluate import Evaluation, Progress, Release, evaluate
from models.gate_golden import Golden
from models.looking import Looker
from models.part_level import Part, PartKind, percent
from models.sealed import ReleaseError

SHOWN = (PartKind.DEFECTIVE, PartKind.GOOD, PartKind.SINGLE, PartKind.DISTURBED)
"""Kinds of part whose verdicts are compared; mended boards show what seams do, and are nobody's part."""
_REAL = (PartKind.DEFECTIVE, PartKind.GOOD)
"""A disturbed board may lie farther away than the recipe allows: then its fault is right."""

Key = tuple[PartKind, str, int]


class Limits(BaseModel):
    """[release_limits]: the highest 95 % bounds that a release may show, shares from 0 to 1."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)
    escapes_upper: float = Field(gt=0, lt=1)
    overkills_upper: float = Field(gt=0, lt=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the gate: what it says, whether it holds, and by what."""

    name: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Flip:
    """A part on which the verdict changes (before: None where the active release has not looked at it), or a new critical escape."""

    part: Part
    before: VerdictKind | None
    after: VerdictKind
    critical_escape: bool

    @property
    def title(self) -> str:
        defects = sorted({t.defect_class for t in self.part.truths})
        which = f" {self.part.index}" if self.part.kind is PartKind.SINGLE else ""
        what = f" with {', '.join(defects)}" if defects else ""
        mark = "; NEW CRITICAL ESCAPE" if self.critical_escape else ""
        return f"{self.part.name}, {self.part.kind}{which}{what}: {self.before or 'not looked at'} → {self.after}{mark}"

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "part": self.part.name,
            "kind": self.part.kind.value,
            "index": self.part.index,
            "defects": [t.defect_class for t in self.part.truths],
            "before": self.before and self.before.value,
            "after": self.after.value,
            "critical_escape": self.critical_escape,
        }


@dataclass(frozen=True)
class Outcome:
    """What the gate found. flips are in order of their weight: new critical escapes first."""

    candidate: Evaluation
    active: Evaluation | None
    limits: Limits
    rules: tuple[Rule, ...]
    flips: tuple[Flip, ...]

    @property
    def passed(self) -> bool:
        return all(rule.ok for rule in self.rules)

    def document(self, golden: Golden) -> dict[str, Any]:
        """What gate.json says of it: see models.releases.GateFile."""
        info = self.candidate.info
        return {
            "passed": self.passed,
            "device": info.device,
            "precision": info.precision,
            "runtime": info.runtime,
            "golden_sha256": golden.hash,
            "limits": self.limits.model_dump(),
            "findings": [{"rule": r.name, "ok": r.ok, "text": r.text} for r in self.rules],
            "flips": [flip.document() for flip in self.flips],
            "evaluation": self.candidate.document(),
            "active_evaluation": None if self.active is None else self.active.document(),
        }


def read_limits(path: Path) -> Limits:
    """[release_limits] of a TOML file. Raises ReleaseError naming the key."""
    try:
        section = tomllib.loads(path.read_text(encoding="utf-8")).get("release_limits")
    except OSError as error:
        raise ReleaseError(f"{path}: cannot be read ({error.strerror}); name a TOML file with [release_limits]") from None
    except ValueError as error:
        raise ReleaseError(f"{path}: is no TOML ({error}); write [release_limits] with escapes_upper and overkills_upper") from None
    return limits(section if isinstance(section, dict) else {}, f"{path}: [release_limits]")


def limits(values: dict[str, Any], where: str) -> Limits:
    """Release limits from plain values. Raises ReleaseError naming the key."""
    try:
        return Limits.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ReleaseError(f"{where}: key {key}: {first['msg']}; a share between 0 and 1, such as 0.05 for 5 %") from None


def look(golden: Golden, looker: Looker, release: Release, progress: Progress = lambda _done, _of: None) -> Evaluation:
    """Evaluate on the golden set. Raises DatasetError where class names differ from the set's, or the set changes meanwhile."""
    if looker.info.classes != golden.classes:
        known, named = ", ".join(looker.info.classes), ", ".join(golden.classes)
        raise DatasetError(
            f"{golden.split.folder}: its classes are {named}, bundle {release.bundle} knows {known}: they were renamed or "
            "reordered, and no verdict can be compared; take a bundle or a golden set with the same names"
        )
    result = evaluate(golden.split, looker, release, progress=progress)
    golden.verify()
    return result


def decide(candidate: Evaluation, active: Evaluation | None, limits: Limits) -> Outcome:
    """Hold the candidate against the active release and the limits. Both have looked at the same golden set."""
    before = {} if active is None else {_key(p): p.seen.verdict(active.recipe).kind for p in active.parts}
    recipes = [candidate.recipe] if active is None else [candidate.recipe, active.recipe]
    flips, faults = [], []
    for part in (p for p in candidate.parts if p.kind in SHOWN):
        was, now = before.get(_key(part)), part.seen.verdict(candidate.recipe).kind
        # made boards are there to compare by: on their own, a first release would have to find every one of thousands
        counts = active is not None or part.kind in _REAL
        escape = counts and now is VerdictKind.PASS and was is not VerdictKind.PASS and _critical(part, recipes)
        if part.kind in _REAL and now is VerdictKind.FAULT and was is not VerdictKind.FAULT:
            faults.append(part)
        if escape or (was is not None and was is not now):
            flips.append(Flip(part, was, now, escape))
    escapes = [flip for flip in flips if flip.critical_escape]
    figures = candidate.figures
    disturbed = candidate.with_reference
    overkills = figures.disturbed_overkills if disturbed else figures.overkills
    good = "disturbed good boards" if disturbed else "good boards"
    rules = (
        Rule("critical escapes", not escapes, _new([f.part for f in escapes], "pass with a critical defect", active)),
        Rule("faults", not faults, _new(faults, "fault", active)),
        _within("escapes", figures.escapes, limits.escapes_upper, "defective boards pass"),
        _within("overkills", overkills, limits.overkills_upper, f"{good} are rejected"),
    )
    order = {VerdictKind.PASS: 0, VerdictKind.FAULT: 1, VerdictKind.REJECT: 2}
    flips.sort(key=lambda f: (not f.critical_escape, not f.part.kind.is_defective, order[f.after], _key(f.part)))
    return Outcome(candidate, active, limits, rules, tuple(flips))


def _key(part: Part) -> Key:
    return part.kind, part.name, part.index


def _critical(part: Part, recipes: list[Recipe]) -> bool:
    """Whether the part has a defect that either recipe calls critical: a candidate cannot pass by calling it minor."""
    return any(_is_critical(truth, recipe, part.seen.pose) for truth in part.truths for recipe in recipes)


def _is_critical(truth: Truth, recipe: Recipe, pose: Pose) -> bool:
    zone, _ = place(truth.box, recipe, pose)
    in_zone = zone is not None and zone.kind is ZoneKind.CRITICAL
    return in_zone or recipe.rule(truth.defect_class, zone).severity is Severity.CRITICAL


def _new(parts: list[Part], what: str, active: Evaluation | None) -> str:
    against = ", which do not with the active release" if active is not None else "; there is no active release to compare with"
    if not parts:
        return f"0 parts {what}{against}"
    names = ", ".join(f"{p.name} ({p.kind})" for p in parts[:5]) + (f" and {len(parts) - 5} more" if len(parts) > 5 else "")
    return f"{len(parts)} parts {what}{against}: {names}"


def _within(name: str, share: Share, limit: float, what: str) -> Rule:
    shown = percent(share)
    ok = share.shows_at_most(limit)
    verb = "shown to be within" if ok else "not shown to be within"
    bound = f"at most {shown['upper95_pct']:.2f} %"
    return Rule(name, ok, f"{share.count} of {share.of} {what}, {bound} at 95 %: {verb} the limit of {100 * limit:.2f} %")
