"""The laws of the line, through a whole station with its archive: every trigger gets exactly one verdict, and no failure gives a PASS."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.detect.scripted import Answer
from inspector.station import StopRules
from inspector.trace import verify
from inspector.types import Box, Detection, VerdictKind

if TYPE_CHECKING:
    from tests.station.conftest import Rig, Shot

DEADLINE_MS = 60.0
NAN = Answer((Detection("defect", float("nan"), Box(1, 1, 2, 2)),))


def _raise_unexpected() -> Answer:
    raise RuntimeError("a driver's bug")


ANSWERS: dict[str, Answer | Callable[[], Answer]] = {
    "clean": Answer(),
    "slow": Answer(delay_s=0.02),
    "defect": Answer((Detection("defect", 0.9, Box(4, 4, 12, 12)),)),
    "nan": NAN,
    "start": Answer(raises="start"),
    "wait": Answer(raises="wait"),
    "bug": _raise_unexpected,
    "hangs": Answer(hangs=True),
    "late": Answer(delay_s=DEADLINE_MS / 1000 * 1.5),
}
SHOTS: dict[str, dict[str, Any]] = {
    "whole": {},
    "delayed": {"delay_s": 0.01},
    "torn": {"torn": True},
    "lost": {"lost": True},
    "small": {"size_px": 16},
    "dead": {"dead": True},
}
GOOD_ANSWERS, GOOD_SHOTS = ("clean", "slow"), ("whole", "delayed")
DISTURBANCES = ("pause", "stop", "start", "acknowledge", "cut", "mend", "full", "room", "plug")


@dataclass(frozen=True)
class Part:
    """One trigger: what the detector and the camera do, and how long the line waits afterwards."""

    answer: str
    shot: str
    wait_ms: float


parts = st.builds(
    Part,
    # Good parts are the ones that could pass by mistake: every other one.
    st.sampled_from(["clean"] * 6 + list(ANSWERS)),
    st.sampled_from(["whole"] * 6 + list(SHOTS)),
    st.sampled_from([20.0, 25.0, 40.0]),
)
scenes = st.lists(parts | parts | parts | st.sampled_from(DISTURBANCES), min_size=1, max_size=14)


def disturb(rig: "Rig", name: str) -> None:
    """A person does something, or the world does."""
    if name in ("cut", "mend"):
        rig.proving.cut = name == "cut"
    elif name in ("full", "room"):
        rig.disk_full = name == "full"
    elif name == "plug":
        rig.camera.dead = False
    else:
        rig.try_command(name)


@pytest.mark.slow
@pytest.mark.timeout(120)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(scene=scenes, faults_in_row=st.sampled_from([None, None, 3]))
def test_every_trigger_has_exactly_one_verdict_and_no_failure_passes(
    make_rig: "Callable[..., Rig]", shot: "type[Shot]", scene: "Sequence[Part | str]", faults_in_row: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rules = StopRules(faults_in_row=faults_in_row)
        times = {"deadline_ms": DEADLINE_MS, "frame_ms": 40.0, "detector_ms": 200.0, "reconnect_s": 0.02, "pairing_ms": 9.0}
        rig = make_rig(folder=Path(folder) / "a", stops=rules, **times)
        with rig.run():
            made: dict[int, Part] = {}
            for step in scene:
                if isinstance(step, str):
                    disturb(rig, step)
                    continue
                number = rig.trigger(ANSWERS[step.answer], shot(**SHOTS[step.shot]))
                made[number] = step
                until = time.monotonic() + step.wait_ms / 1000
                while time.monotonic() < until:
                    rig.status()
                    time.sleep(0.001)
            rig.proving.cut = rig.disk_full = rig.camera.dead = False
            rig.await_decided(len(made))
        assert rig.station.problem_at_end is None
        check_verdicts(rig, made)


def check_verdicts(rig: "Rig", made: dict[int, Part]) -> None:
    rows = rig.rows()
    assert sorted(row.part.sequence for row in rows) == sorted(made)
    assert sorted(part.part.sequence for part in rig.decided) == sorted(made), "told once each"
    told = {part.part.sequence: part.verdict.kind for part in rig.decided}
    assert {row.part.sequence: row.verdict for row in rows} == told, "archive and ledger agree"
    balances = rig.status().balances
    kinds = Counter(told.values())
    assert (balances.passed, balances.rejected, balances.faulted) == tuple(kinds[kind] for kind in VerdictKind)
    assert balances.triggers == len(made)
    assert balances.undecided == 0
    for number, part in made.items():
        good = part.answer in GOOD_ANSWERS and part.shot in GOOD_SHOTS
        assert good or told[number] is not VerdictKind.PASS, f"part {number} passed: {part}"
        assert part.answer == "defect" or told[number] is not VerdictKind.REJECT, f"part {number} was rejected: {part}"
    assert rig.proving.unproven == []
    assert max(Counter(rig.judged).values(), default=0) <= 1, "nothing is judged twice"
    assert verify(rig.folder).ok
