"""What people may ask for in each state, READY, the canary, and the change of product."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from inspector.detect.scripted import Answer
from inspector.errors import BundleError, CommandRefused, RecipeError
from inspector.station import StopRules
from inspector.types import StationState, VerdictKind

if TYPE_CHECKING:
    from tests.station.conftest import Rig

MakeRig = Callable[..., "Rig"]
S = StationState


def go_to(rig: "Rig", state: StationState) -> threading.Event:
    """Bring a station to a state; setting the returned event lets its canary go on."""
    go_on = threading.Event()
    if state in (S.STOPPED, S.STARTING):
        rig.station.start()
    if state is S.STARTING:
        rig.canary = lambda: Answer(rig_canary(rig).detections, delay_s=0.0) if go_on.wait(4) else Answer()
        rig.command("start")
    elif state is not S.STOPPED:
        rig.run()
    if state is S.PAUSED:
        rig.command("pause")
    elif state is S.HELD:
        rig.why(rig.trigger(Answer(raises="wait")))
    elif state is S.FAULT:
        rig.camera.dead = True
    elif state is S.STOPPING:
        rig.station.stop()
        assert rig.status().state is S.STOPPING
        return go_on
    rig.await_state(state)
    return go_on


def rig_canary(rig: "Rig") -> Answer:
    """The answer that the rig's canary expects."""
    return Answer(rig.prepare({}).canary.expected)


MOVES: list[tuple[StationState, str, StationState]] = [
    (S.STOPPED, "start", S.RUNNING),
    (S.STARTING, "stop", S.STOPPED),
    (S.RUNNING, "stop", S.STOPPED),
    (S.RUNNING, "pause", S.PAUSED),
    (S.PAUSED, "start", S.RUNNING),
    (S.PAUSED, "stop", S.STOPPED),
    (S.HELD, "acknowledge", S.RUNNING),
    (S.FAULT, "stop", S.STOPPED),
]
STAYS: dict[StationState, tuple[str, ...]] = {
    S.STOPPED: ("stop", "activate"),
    S.STARTING: ("start",),
    S.RUNNING: ("start",),
    S.PAUSED: ("activate",),
    S.HELD: ("activate",),
    S.FAULT: ("start", "activate"),
    S.STOPPING: (),
}
COMMANDS = {"start", "stop", "pause", "acknowledge", "activate"}


@pytest.mark.parametrize(("state", "command", "then"), MOVES)
def test_a_command_that_leads_to_another_state(make_rig: MakeRig, state: StationState, command: str, then: StationState) -> None:
    rig = make_rig(stops=StopRules(faults_in_row=1))
    go_on = go_to(rig, state)
    assert rig.command(command)
    go_on.set()
    rig.await_state(then)


@pytest.mark.parametrize("state", list(STAYS), ids=str)
def test_every_other_command_changes_no_state_or_is_refused_with_a_reason(make_rig: MakeRig, state: StationState) -> None:
    rig = make_rig(stops=StopRules(faults_in_row=1))
    go_on = go_to(rig, state)
    before = rig.station.status().since_utc
    for command in STAYS[state]:
        assert rig.command(command)
    for command in COMMANDS - {*STAYS[state], *(name for at, name, _ in MOVES if at is state)}:
        with pytest.raises(CommandRefused, match=r"\w+ .*\w+"):
            rig.command(command)
    if state is not S.STOPPING:
        status = rig.await_state(state)
        assert status.since_utc == before or state is S.FAULT
    go_on.set()


def test_an_unknown_command_is_refused_by_naming_those_there_are(make_rig: MakeRig) -> None:
    rig = make_rig().run()
    with pytest.raises(CommandRefused, match=r"unknown command dance; there are start, .*activate, shutdown"):
        rig.command("dance")


def test_commands_are_recorded_with_who_asked(make_rig: MakeRig) -> None:
    rig = make_rig().run()
    rig.command("pause")

    def said() -> list[tuple[str, str]]:
        return [(event.data["name"], event.data["who"]) for event in rig.events() if event.kind == "command"]

    rig.until(lambda: said() == [("start", "bench"), ("pause", "bench")], lambda: str(said()))


def test_ready_is_high_in_running_only(make_rig: MakeRig) -> None:
    rig = make_rig(stops=StopRules(faults_in_row=1)).run()
    assert rig.proving.readies[-1] == (True, False)
    rig.command("pause")
    assert rig.proving.readies[-1] == (False, False)
    rig.command("start")
    rig.await_state(S.RUNNING)
    assert rig.proving.readies[-1] == (True, False)
    rig.why(rig.trigger(Answer(raises="wait")))
    rig.await_state(S.HELD)
    assert rig.proving.readies[-1] == (False, False)
    rig.command("acknowledge")
    rig.await_state(S.RUNNING)
    rig.camera.dead = True
    rig.await_state(S.FAULT)
    assert rig.proving.readies[-1] == (False, True)
    rig.camera.dead = False
    rig.await_state(S.RUNNING)
    rig.command("stop")
    assert rig.proving.readies[-1] == (False, False)
    into_running = [event.data for event in rig.events() if event.kind == "state" and event.data["to"] == "running"]
    assert sum(ready for ready, _ in rig.proving.readies) == len(into_running)


@pytest.mark.parametrize("state", [S.STOPPED, S.STARTING, S.PAUSED, S.HELD, S.FAULT], ids=str)
def test_parts_met_outside_running_are_counted_and_faulted(make_rig: MakeRig, state: StationState) -> None:
    rig = make_rig(stops=StopRules(faults_in_row=1))
    go_on = go_to(rig, state)
    before = rig.status().balances.triggers
    try:
        number = rig.trigger()
        verdict, code = rig.why(number)
        assert (verdict, code) == (VerdictKind.FAULT, "not ready")
        assert number not in rig.judged
        rig.await_state(state)
        assert rig.status().balances.triggers == before + 1
    finally:
        go_on.set()


def test_parts_that_were_met_while_ready_are_judged_to_their_end_after_a_pause(make_rig: MakeRig) -> None:
    rig = make_rig().run()
    number = rig.trigger(Answer(delay_s=0.15))
    rig.until(lambda: rig.judged == [number])
    rig.command("pause")
    assert rig.why(number) == (VerdictKind.PASS, "")


def test_a_paused_station_stays_out_of_running_when_a_supplier_fails_and_comes_back(make_rig: MakeRig) -> None:
    """Who paused it may have a hand in the machine."""
    rig = make_rig().run()
    rig.command("pause")
    rig.camera.dead = True
    rig.await_state(S.FAULT)
    rig.camera.dead = False
    rig.until(lambda: all(health.ok for health in rig.status().health if health.name == "camera"))
    time.sleep(0.3)
    status = rig.await_state(S.FAULT)
    assert status.cause is not None
    assert "start" in status.cause.next_step
    assert not rig.proving.readies[-1][0]
    rig.command("start")
    rig.await_state(S.RUNNING)


def test_a_refused_stop_changes_nothing(make_rig: MakeRig) -> None:
    rig = make_rig(stops=StopRules(faults_in_row=1))
    go_to(rig, S.HELD)
    rig.try_command("stop")
    rig.command("acknowledge")
    rig.await_state(S.RUNNING)
    rig.camera.dead = True
    rig.await_state(S.FAULT)
    rig.camera.dead = False
    rig.await_state(S.RUNNING)


def test_the_first_part_after_ready_is_inspected_however_soon_it_comes(make_rig: MakeRig) -> None:
    rig = make_rig(poll_ms=40.0)
    rig.station.start()
    rig.command("start")
    rig.until(lambda: (True, False) in rig.proving.readies)
    time.sleep(0.001)
    assert rig.why(rig.trigger()) == (VerdictKind.PASS, "")


# -- the canary


def test_a_canary_that_is_not_found_keeps_ready_low_until_it_is(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.canary = Answer()
    rig.station.start()
    rig.command("start")
    cause = rig.await_state(S.FAULT).cause
    assert cause is not None
    assert "canary" in cause.text
    time.sleep(0.3)
    assert not any(ready for ready, _ in rig.proving.readies)
    rig.canary = rig_canary(rig)
    rig.await_state(S.RUNNING)


def test_a_canary_runs_when_the_line_is_idle_and_a_missed_one_is_a_fault(make_rig: MakeRig) -> None:
    rig = make_rig(canary_idle_s=0.1).run()
    rig.until(lambda: len([event for event in rig.events() if event.kind == "canary"]) >= 3)
    rig.await_state(S.RUNNING)
    rig.canary = Answer()
    rig.await_state(S.FAULT)
    assert rig.proving.readies[-1] == (False, True)
    assert rig.status().balances.triggers == 0, "a canary is an event, never a part"


def test_an_overdue_canary_is_a_fault(make_rig: MakeRig) -> None:
    rig = make_rig(canary_every_s=0.4).run()
    rig.canary = Answer(rig_canary(rig).detections, delay_s=0.8)
    cause = rig.await_state(S.FAULT).cause
    assert cause is not None
    assert "overdue" in cause.text
    rig.canary = rig_canary(rig)
    rig.await_state(S.RUNNING)


def test_the_canary_of_the_product_before_proves_nothing_about_the_next_one(make_rig: MakeRig) -> None:
    """A canary is under way when another product is activated and started: the new product needs a canary of its own."""
    go_on = threading.Event()
    rig = make_rig(canary_idle_s=0.1, stall_ms=5000.0).run()
    sings = rig_canary(rig)
    asked: list[int] = []

    def waits() -> Answer:
        asked.append(len(asked))
        go_on.wait(4)
        return sings

    rig.canary = waits
    rig.until(lambda: bool(asked))
    rig.command("stop")
    rig.command("activate", name="the next one")
    rig.command("start")
    rig.canary = Answer()
    go_on.set()
    rig.await_state(S.FAULT)
    assert sum(ready for ready, _ in rig.proving.readies) == 1, "READY was high under the first product only"


# -- another product


def test_activate_changes_what_parts_are_judged_by(make_rig: MakeRig) -> None:
    rig = make_rig().run()
    before = rig.status()
    first = rig.trigger()
    rig.why(first)
    rig.command("pause")
    assert "bench two" in rig.command("activate", name="bench two")
    rig.command("start")
    after = rig.await_state(S.RUNNING)
    assert (before.recipe, after.recipe) == ("bench", "bench two")
    second = rig.trigger()
    rig.why(second)
    assert rig.record(first).row.release == before.release
    assert rig.record(second).row.release == after.release != before.release


@pytest.mark.parametrize("problem", [RecipeError("board.toml: key classes: no"), BundleError("bundle: changed since it was made")])
def test_a_bad_product_is_refused_and_the_active_one_goes_on(make_rig: MakeRig, problem: Exception) -> None:
    rig = make_rig().run()
    release = rig.status().release
    rig.command("pause")
    rig.product_problem = problem
    with pytest.raises(CommandRefused, match=str(problem)):
        rig.command("activate", name="bad")
    rig.command("start")
    assert rig.await_state(S.RUNNING).release == release
    assert rig.why(rig.trigger()) == (VerdictKind.PASS, "")


def test_a_product_whose_detector_does_not_open_is_a_fault_until_a_good_one_is_activated(make_rig: MakeRig) -> None:
    rig = make_rig().run()
    release = rig.status().release
    rig.command("stop")
    rig.detector_problem = RuntimeError("no such device")
    rig.command("activate", name="bad")
    rig.command("start")
    cause = rig.await_state(S.FAULT).cause
    assert cause is not None
    assert "no such device" in cause.text
    rig.detector_problem = None
    rig.command("activate")
    assert rig.await_state(S.RUNNING).release == release


def test_the_station_comes_up_without_a_usable_product_and_takes_a_good_one(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.product_problem = RecipeError("board.toml: key classes: no")
    rig.station.start()
    rig.command("start")
    cause = rig.await_state(S.FAULT).cause
    assert cause is not None
    assert "board.toml" in cause.text
    rig.product_problem = None
    rig.command("activate")
    rig.await_state(S.RUNNING)


@pytest.mark.parametrize("kind", ["rejects", "faults", "m of k"])
def test_a_stop_rule_holds_the_line_and_counts_anew_after_acknowledging(make_rig: MakeRig, seen: Answer, kind: str) -> None:
    rules = {"rejects": StopRules(rejects_in_row=2), "faults": StopRules(faults_in_row=2), "m of k": StopRules(m_of_k=(2, 4))}
    bad = Answer(raises="wait") if kind == "faults" else seen
    rig = make_rig(stops=rules[kind]).run()
    for _ in range(2):
        rig.why(rig.trigger(bad))
        if kind == "m of k":
            rig.why(rig.trigger())
        rig.why(rig.trigger(bad))
        cause = rig.await_state(S.HELD).cause
        assert cause is not None
        assert kind in cause.code
        assert cause.next_step
        rig.command("acknowledge")
        rig.await_state(S.RUNNING)


def test_a_part_in_the_wrong_lane_holds_the_line_and_names_the_part(make_rig: MakeRig, seen: Answer) -> None:
    rig = make_rig().run()
    rig.proving.gate_stuck = True
    number = rig.trigger(seen)
    cause = rig.await_state(S.HELD).cause
    assert cause is not None
    assert cause.code == "wrong lane"
    assert f"{rig.station.run}-{number}" in cause.text
