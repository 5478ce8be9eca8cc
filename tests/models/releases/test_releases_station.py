"""Changing over a running station, and what goes wrong on the way."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from inspector.errors import CommandRefused, InspectorError, LinkError
from inspector.link.address import socket_path
from inspector.link.client import LinkClient
from inspector.link.server import LinkServer
from inspector.types import Balances, Frame, Health, Latency, StationState, Status
from models.releases import Installed, Store
from models.releases_station import activate, roll_back
from models.sealed import ReleaseError

RUNTIME = "OpenVINO 2099.1"

Install = Callable[..., Installed]


@dataclass
class Panel:
    """A station that loads what it is told to: `makes` says which release comes of a recipe file, or which error."""

    makes: Callable[[dict[str, str]], str]
    now: Status
    asked: list[dict[str, str]] = field(default_factory=list)
    refuses: str | None = None

    def status(self) -> Status:
        return self.now

    def preview(self) -> Frame | None:
        return None

    def command(self, name: str, arguments: dict[str, str], who: str) -> str:
        assert (name, who) == ("activate", "mia")
        if self.refuses is not None:
            raise CommandRefused(self.refuses)
        self.asked.append(arguments)
        try:
            release, health = self.makes(arguments), Health("detector", True, "1 ms to open")
        except InspectorError as error:
            release, health = self.now.release, Health("detector", False, str(error))
        self.now = replace(self.now, seq=self.now.seq + 1, release=release, health=(health,))
        return "activating"


def _status(release: str, precision: str = "fp32/f32") -> Status:
    return Status(
        seq=1,
        station="cell 7",
        version="0.1.0",
        pid=4711,
        state=StationState.STOPPED,
        since_utc="2026-01-31T12:00:00.000000Z",
        run=3,
        cause=None,
        balances=Balances(),
        dispositions={},
        release=release,
        recipe="board",
        bundle="tiny",
        device="CPU",
        precision=precision,
        presence="off",
        lot=None,
        last=None,
        health=(Health("detector", True, "30 ms to open"),),
        latency_ms=Latency(),
        infer_ms=Latency(),
    )


@pytest.fixture
def panel(store: Store, install: Install) -> Iterator[Panel]:
    """A station that runs the release with limit 0.5, which is active; the one with 0.6 has passed against it."""
    first = install(0.5)
    activate(store, first, RUNTIME, "mia")
    install(0.6, against=first.id)
    made = Panel(lambda arguments: Path(arguments["recipe"]).parent.parent.name, _status(first.id))
    server = LinkServer(made, socket_path(store.data))
    server.start()
    yield made
    server.close()


def _limit(store: Store, limit: float) -> Installed:
    return next(r for r in store.every() if isinstance(r, Installed) and r.open()[0].classes["open"].limit == limit)


def _active(store: Store) -> str:
    pointer = store.pointer()
    assert pointer is not None
    return pointer.active.id


def test_a_running_station_changes_over_and_back(store: Store, panel: Panel) -> None:
    first, second = _limit(store, 0.5), _limit(store, 0.6)
    said = activate(store, second, RUNTIME, "mia")
    assert "the station has loaded it" in said
    assert (panel.now.release, _active(store)) == (second.id, second.id)
    assert panel.asked == [{"recipe": str(second.recipe_file), "bundle": str(second.bundle_folder)}]
    roll_back(store, "mia")
    assert (panel.now.release, _active(store)) == (first.id, first.id)


def test_a_station_whose_ready_is_high_refuses(store: Store, panel: Panel) -> None:
    panel.refuses = "a release is activated with READY low; the station is running: stop or pause it first"
    with pytest.raises(CommandRefused, match="stop or pause it first"):
        activate(store, _limit(store, 0.6), RUNTIME, "mia")
    assert _active(store) == _limit(store, 0.5).id


def test_a_station_on_another_precision_is_not_asked(store: Store, panel: Panel) -> None:
    panel.now = _status(panel.now.release, precision="int8/f32")
    with pytest.raises(ReleaseError, match=r"the station runs on CPU int8/f32, release .* passed on CPU fp32/f32 only"):
        activate(store, _limit(store, 0.6), RUNTIME, "mia")
    assert panel.asked == []
    assert _active(store) == _limit(store, 0.5).id


def test_a_station_that_cannot_load_it_is_sent_back(store: Store, panel: Panel) -> None:
    first, second = _limit(store, 0.5), _limit(store, 0.6)

    def makes(arguments: dict[str, str]) -> str:
        if second.id in arguments["recipe"]:
            raise InspectorError("CPU cannot compile tiny")
        return first.id

    panel.makes = makes
    with pytest.raises(ReleaseError, match=f"cannot load release .*cannot compile tiny; the station was sent back to {first.id}"):
        activate(store, second, RUNTIME, "mia")
    assert [Path(a["recipe"]).parent.parent.name for a in panel.asked] == [second.id, first.id]
    assert _active(store) == first.id


def test_a_station_that_makes_something_else_of_it_is_sent_back(store: Store, panel: Panel) -> None:
    panel.makes = lambda _: "another"
    with pytest.raises(ReleaseError, match="the station made release another"):
        activate(store, _limit(store, 0.6), RUNTIME, "mia")
    assert len(panel.asked) == 2
    assert _active(store) == _limit(store, 0.5).id


def test_a_station_that_never_gets_there(store: Store, panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.releases_station.LOADING_S", 0.3)
    panel.makes = lambda _: panel.now.release
    with pytest.raises(ReleaseError, match="has not loaded release"):
        activate(store, _limit(store, 0.6), RUNTIME, "mia")
    assert _active(store) == _limit(store, 0.5).id


def test_the_way_back_is_open_on_a_station_that_runs_it_otherwise(store: Store, panel: Panel) -> None:
    second = _limit(store, 0.6)
    activate(store, second, RUNTIME, "mia")
    panel.makes = lambda _: "another"
    assert "NOT as it was proven" in roll_back(store, "mia")
    assert _active(store) == _limit(store, 0.5).id


def test_a_station_that_goes_away_in_the_middle(store: Store, panel: Panel) -> None:
    class Gone(LinkClient):
        def command(self, name: str, arguments: dict[str, str], who: str) -> str:  # noqa: ARG002
            raise LinkError("the station went away before it answered")

    with pytest.raises(LinkError, match="went away"):
        activate(store, _limit(store, 0.6), RUNTIME, "mia", connect=Gone)
    assert _active(store) == _limit(store, 0.5).id
    assert panel.asked == []
