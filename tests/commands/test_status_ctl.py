"""status, ctl and check as a person calls them."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from inspector.bundle import Bundle, find_default_bundle
from inspector.commands.check import check
from inspector.commands.ctl import ctl
from inspector.commands.status import status
from inspector.config import Finding, StationConfig
from inspector.errors import BundleError, CommandRefused
from inspector.link.address import socket_path
from inspector.link.server import LinkServer
from inspector.timing import Measured
from inspector.types import Balances, Frame, Health, LastPart, Latency, StationState, Status, StopCause, VerdictKind

STATUS = Status(
    seq=1,
    station="cell 7",
    version="0.1.0",
    pid=4711,
    state=StationState.HELD,
    since_utc="2026-01-31T12:00:00.000000Z",
    run=3,
    cause=StopCause("rejects in a row", "20 rejects in a row", "look at the last parts, then acknowledge"),
    balances=Balances(triggers=10, passed=6, rejected=2, faulted=1, undecided=1, disposed=8, in_transit=1),
    dispositions={"good lane": 6, "reject confirmed": 2},
    release="r1",
    recipe="board 3",
    bundle="pcb 1",
    device="CPU",
    precision="int8",
    presence="template 0.93",
    lot=None,
    last=LastPart("3-9", VerdictKind.REJECT, ("short 0.93 in zone edge, limit 0.60",), 14.5),
    health=(Health("camera", True, "40 frames/s"), Health("plc", False, "no answer for 80 ms")),
    latency_ms=Latency(14.0, 18.0, 21.0),
    infer_ms=Latency(),
)


@dataclass
class Panel:
    """Controls of a station that is held."""

    now: Status = STATUS
    commands: list[tuple[str, dict[str, str], str]] = field(default_factory=list)

    def status(self) -> Status:
        return self.now

    def preview(self) -> Frame | None:
        return None

    def command(self, name: str, arguments: dict[str, str], who: str) -> str:
        if name == "start":
            raise CommandRefused("start: the line is held: acknowledge first")
        self.commands.append((name, arguments, who))
        return f"{name}: done"


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[Panel]:
    made = Panel()
    server = LinkServer(made, socket_path(tmp_path))
    server.start()
    yield made
    server.close()


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., Result]:
    def _call(*arguments: str) -> Result:
        command = {"status": status, "ctl": ctl, "check": check}[arguments[0]]
        return CliRunner().invoke(command, [*arguments[1:], "--data", str(tmp_path)])

    return _call


def last_object(result: Result) -> dict[str, object]:
    found = json.loads(result.stdout.strip().splitlines()[-1])
    assert isinstance(found, dict)
    return found


@pytest.mark.usefixtures("panel")
def test_status_for_people(call: Callable[..., Result]) -> None:
    result = call("status")
    assert result.exit_code == 0
    for wanted in (
        "cell 7, version 0.1.0",
        "held since 2026-01-31T12:00:00.000000Z, run 3",
        "20 rejects in a row",
        "look at the last parts, then acknowledge",
        "10 = 6 passed + 2 rejected + 1 faulted + 1 undecided",
        "9 = 8 disposed + 1 in transit",
        "6 good lane, 2 reject confirmed",
        "p50 14.0 ms, p99 18.0 ms, max 21.0 ms",
        "not measured yet",
        "3-9 REJECT (short 0.93 in zone edge, limit 0.60)",
        "NOT OK: no answer for 80 ms",
    ):
        assert wanted in result.output


def test_status_of_a_station_that_has_seen_nothing(call: Callable[..., Result], panel: Panel) -> None:
    panel.now = replace(STATUS, run=None, cause=None, last=None, dispositions={}, health=(), release="", device="")
    result = call("status")
    assert result.exit_code == 0
    assert "none yet" in result.output
    assert "run" not in result.output.splitlines()[1]


@pytest.mark.usefixtures("panel")
def test_status_as_json(call: Callable[..., Result]) -> None:
    result = call("status", "--json")
    found = last_object(result)
    assert result.exit_code == 0
    assert found["state"] == "held"
    assert found["balances"] == {"triggers": 10, "passed": 6, "rejected": 2, "faulted": 1, "undecided": 1, "disposed": 8, "in_transit": 1}
    assert found["health"] == [
        {"name": "camera", "ok": True, "text": "40 frames/s"},
        {"name": "plc", "ok": False, "text": "no answer for 80 ms"},
    ]


def test_no_station_is_an_error_with_a_remedy(call: Callable[..., Result]) -> None:
    for arguments in (["status"], ["ctl", "stop"], ["status", "--watch"]):
        result = call(*arguments)
        assert result.exit_code == 1
        assert "start it with `inspector run STATION.toml`" in result.stderr
    assert "no station answers" in str(last_object(call("status", "--json"))["error"])


def test_watch_shows_each_change_until_the_station_ends(call: Callable[..., Result], tmp_path: Path) -> None:
    panel = Panel()
    server = LinkServer(panel, socket_path(tmp_path))
    server.start()

    def live() -> None:
        time.sleep(0.3)
        panel.now = replace(STATUS, seq=2, state=StationState.RUNNING, cause=None)
        time.sleep(0.7)
        server.close()

    living = threading.Thread(target=live)
    living.start()
    result = call("status", "--watch")
    living.join()
    first, second = result.stdout.splitlines()
    assert first.startswith("held")
    assert "20 rejects in a row: look at the last parts, then acknowledge" in first
    assert second.startswith("running")
    assert "last 3-9 REJECT" in second
    assert result.exit_code == 1
    assert "no station answers" in result.stderr or "went away" in result.stderr


@pytest.mark.usefixtures("panel")
def test_watch_ended_by_hand_is_a_success(call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("inspector.commands.status.time.sleep", interrupted)
    result = call("status", "--watch", "--json")
    assert result.exit_code == 0
    assert last_object(result)["seq"] == 1


def test_ctl_passes_arguments_and_asker_on(call: Callable[..., Result], panel: Panel) -> None:
    result = call("ctl", "activate", "recipe=a=b.toml", "lot=7", "--who", "mia", "--json")
    assert result.exit_code == 0
    assert last_object(result) == {"command": "activate", "done": "activate: done"}
    assert panel.commands == [("activate", {"recipe": str(Path("a=b.toml").absolute()), "lot": "7"}, "mia")]
    assert call("ctl", "stop").output == "stop: done\n"
    assert panel.commands[-1][2]


def test_ctl_refused_is_no_success(call: Callable[..., Result], panel: Panel) -> None:
    result = call("ctl", "start", "--json")
    assert result.exit_code == 1
    assert last_object(result) == {"error": "start: the line is held: acknowledge first"}
    assert panel.commands == []


@pytest.mark.parametrize("arguments", [["explode"], ["stop", "lot"], ["stop", "=7"], ["stop", "a=1", "a=2"], []])
def test_ctl_called_wrongly_reaches_nobody(call: Callable[..., Result], panel: Panel, arguments: list[str]) -> None:
    assert call("ctl", *arguments).exit_code == 2
    assert panel.commands == []


def test_ctl_argument_that_no_message_may_carry_is_named(call: Callable[..., Result], panel: Panel) -> None:
    result = call("ctl", "activate", "No Key=1")
    assert result.exit_code == 1
    assert "arguments" in result.stderr
    assert panel.commands == []


STATION = """
[station]
name = "cell 7"
data = "elsewhere"
[product]
recipe = "recipe.toml"
[camera]
driver = "folder"
path = "."
width = 640
height = 480
[line]
driver = "modbus"
host = "192.0.2.10"
[timing]
camera_to_gate_mm = 412
belt_speed_mm_s = 1000
gate_ms = 60
exposure_ms = 2
transfer_ms = 20
smallest_spacing_ms = 98
"""


SHIPPED = Path(__file__).resolve().parents[2] / "models/recipes/deeppcb.toml"


@pytest.fixture
def station(tmp_path: Path) -> Path:
    shipped = SHIPPED.read_text(encoding="utf-8")
    (tmp_path / "recipe.toml").write_text(shipped.replace("height = 640", "height = 480"), encoding="utf-8")
    path = tmp_path / "station.toml"
    path.write_text(STATION)
    return path


@pytest.fixture
def product(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What is found of recipe and bundle; whether that is right is tested where it is made."""
    found = [Finding(True, "recipe", "board 3")]

    def verify(config: StationConfig) -> list[Finding]:
        assert config.station.name == "cell 7"
        return found

    build = ModuleType("inspector.build")
    build.__dict__["verify"] = verify
    monkeypatch.setitem(sys.modules, "inspector.build", build)
    return found


def measure(data: Path, infer_p999_ms: float, *, width: int = 640, height: int = 480) -> None:
    bundle = Bundle.open(find_default_bundle())
    Measured(infer_p999_ms, 2.0, "2026-01-31", bundle.hash, "CPU", bundle.card.default_precision, width, height).save(data)


@pytest.mark.usefixtures("product")
def test_check_adds_up_the_time_and_passes(call: Callable[..., Result], station: Path, tmp_path: Path) -> None:
    measure(tmp_path, 18.0)
    result = call("check", str(station), "--json")
    assert result.exit_code == 0, result.output
    assert "margin 310.0 ms" in result.output
    found = last_object(result)
    assert found["ok"] is True
    assert isinstance(found["budget"], dict)
    assert found["budget"]["margin_ms"] == pytest.approx(310.0)


@pytest.mark.usefixtures("product")
def test_check_counts_the_tiles(call: Callable[..., Result], station: Path, tmp_path: Path) -> None:
    """What was measured on one picture of the network's size is needed once for each tile."""
    measure(tmp_path, 18.0, width=2448, height=2048)
    recipe = tmp_path / "recipe.toml"
    large = recipe.read_text().replace("width = 640\nheight = 480", "width = 2448\nheight = 2048")
    station.write_text(STATION.replace("width = 640", "width = 2448").replace("height = 480", "height = 2048"))
    recipe.write_text(large)
    assert last_object(call("check", str(station), "--json"))["budget"]["margin_ms"] == pytest.approx(310.0)  # type: ignore[index]
    recipe.write_text(large + "\n[tiles]\nlargest_px = 60\n")
    result = call("check", str(station), "--json")
    assert result.exit_code == 1
    assert "inference, 20 tiles       360.0 ms" in result.output
    assert last_object(result)["budget"]["margin_ms"] == pytest.approx(310.0 - 19 * 18.0)  # type: ignore[index]


@pytest.mark.usefixtures("product")
def test_check_refuses_a_negative_margin(call: Callable[..., Result], station: Path, tmp_path: Path) -> None:
    measure(tmp_path, 328.5)
    result = call("check", str(station), "--json")
    assert result.exit_code == 1
    assert "NOT OK  time budget: needs 412.5 ms of 412.0 ms, margin -0.5 ms: slow the belt down" in result.output
    assert last_object(result)["ok"] is False


@pytest.mark.usefixtures("product")
def test_check_without_a_measurement_names_the_command(call: Callable[..., Result], station: Path) -> None:
    result = call("check", str(station))
    assert result.exit_code == 1
    assert "run `inspector bench STATION.toml`" in result.output


@pytest.mark.usefixtures("product")
def test_check_refuses_what_was_measured_for_another_frame(call: Callable[..., Result], station: Path, tmp_path: Path) -> None:
    measure(tmp_path, 18.0)
    station.write_text(STATION.replace("480", "481"))
    result = call("check", str(station))
    assert result.exit_code == 1
    assert "frame size 640x480, now 640x481" in result.output


def test_check_fails_with_the_product(call: Callable[..., Result], station: Path, tmp_path: Path, product: list[Finding]) -> None:
    measure(tmp_path, 18.0)
    product.append(Finding(False, "bundle", "a class is unknown"))
    result = call("check", str(station))
    assert result.exit_code == 1
    assert "NOT OK  bundle: a class is unknown" in result.output


@pytest.mark.usefixtures("product")
def test_check_of_a_bundle_that_is_not_there_is_a_finding(
    call: Callable[..., Result], station: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(tmp_path, 18.0)

    def gone() -> Path:
        raise BundleError("the default bundle is not installed")

    monkeypatch.setattr("inspector.commands.check.find_default_bundle", gone)
    result = call("check", str(station))
    assert result.exit_code == 1
    assert "time budget: the default bundle is not installed" in result.output


@pytest.mark.usefixtures("product")
def test_check_of_a_wrong_file_names_the_key(call: Callable[..., Result], station: Path) -> None:
    station.write_text(STATION.replace("gate_ms = 60", "gate = 60"))
    result = call("check", str(station), "--json")
    assert result.exit_code == 1
    assert "timing.gate = 60: there is no such key; did you mean gate_ms?" in result.output
    assert last_object(result)["budget"] is None


@pytest.mark.usefixtures("product")
def test_check_of_a_line_without_a_gate_needs_no_time(call: Callable[..., Result], station: Path) -> None:
    station.write_text(STATION.replace('driver = "modbus"\nhost = "192.0.2.10"', 'driver = "direct"'))
    result = call("check", str(station))
    assert result.exit_code == 0
    assert "this line has no gate" in result.output


@pytest.mark.usefixtures("product")
def test_station_toml_names_the_data_folder(station: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INSPECTOR_DATA")
    panel = Panel()
    server = LinkServer(panel, socket_path(station.parent / "elsewhere"))
    server.start()
    try:
        assert CliRunner().invoke(status, [str(station)]).exit_code == 0
        assert CliRunner().invoke(ctl, ["stop", "--station", str(station)]).exit_code == 0
    finally:
        server.close()
    assert [name for name, _, _ in panel.commands] == ["stop"]
