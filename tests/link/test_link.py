"""Server and client over a real socket, with what goes wrong between them."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import zmq

from inspector.clock import now_ns
from inspector.errors import CommandRefused, LinkError
from inspector.link.client import LinkClient
from inspector.link.messages import PROTOCOL
from inspector.link.server import LinkServer
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
    """Controls that keep what they were told; a test may make them slow, broken or mute."""

    now: Status = STATUS
    frame: Frame | None = None
    commands: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    def status(self) -> Status:
        if self.error is not None:
            raise self.error
        return self.now

    def preview(self) -> Frame | None:
        return self.frame

    def command(self, name: str, arguments: dict[str, str], who: str) -> str:
        if name == "hang":
            self.gate.wait(10)
        if name == "break":
            raise ZeroDivisionError("inside the station")
        if name == "pause":
            raise CommandRefused("pause: the line is held: acknowledge first")
        self.commands.append((name, arguments, who))
        return f"{name}: done"


@pytest.fixture
def panel() -> Panel:
    return Panel()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "station.sock"


@pytest.fixture
def server(panel: Panel, path: Path) -> Iterator[LinkServer]:
    made = LinkServer(panel, path)
    made.start()
    yield made
    panel.gate.set()
    made.close()


Connect = Callable[[float], LinkClient]
Raw = Callable[[], zmq.Socket[bytes]]


@pytest.fixture
def connect(path: Path) -> Iterator[Connect]:
    made: list[LinkClient] = []

    def _connect(timeout_s: float) -> LinkClient:
        made.append(LinkClient(path, timeout_s))
        return made[-1]

    yield _connect
    for client in made:
        client.close()


@pytest.fixture
def client(server: LinkServer, connect: Connect) -> LinkClient:
    assert server is not None
    return connect(3.0)


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def raw(server: LinkServer, context: zmq.Context[zmq.Socket[bytes]], path: Path) -> Iterator[Raw]:
    """Makes screens that speak as they like."""
    assert server is not None
    screens: list[zmq.Socket[bytes]] = []

    def _raw() -> zmq.Socket[bytes]:
        made = context.socket(zmq.DEALER)
        made.setsockopt(zmq.RCVTIMEO, 2000)
        made.connect(f"ipc://{path}")
        screens.append(made)
        return made

    yield _raw
    for screen in screens:
        screen.close(linger=0)


def picture(height: int, width: int, frame_id: int) -> Frame:
    return Frame(np.full((height, width), frame_id, np.uint8), frame_id, 5, 6, "a test picture")


def test_status_arrives_as_it_was(client: LinkClient) -> None:
    assert client.status() == STATUS


def test_command_is_carried_out_once_with_its_arguments(client: LinkClient, panel: Panel) -> None:
    assert client.command("activate", {"recipe": "board.toml"}, "mia") == "activate: done"
    assert panel.commands == [("activate", {"recipe": "board.toml"}, "mia")]


def test_refusal_keeps_its_reason(client: LinkClient) -> None:
    with pytest.raises(CommandRefused, match="the line is held: acknowledge first"):
        client.command("pause", {}, "mia")


def test_error_inside_the_station_is_an_answer_and_the_link_goes_on(client: LinkClient) -> None:
    with pytest.raises(LinkError, match="ZeroDivisionError: inside the station"):
        client.command("break", {}, "mia")
    assert client.status() == STATUS


def test_status_that_raises_is_an_answer_for_askers_and_waiters(client: LinkClient, panel: Panel) -> None:
    panel.error = RuntimeError("no snapshot")
    with pytest.raises(LinkError, match="no snapshot"):
        client.status()
    panel.error = None
    breaking = threading.Timer(0.1, lambda: setattr(panel, "error", RuntimeError("broke meanwhile")))
    breaking.start()
    with pytest.raises(LinkError, match="broke meanwhile"):
        client.next(1, wait_ms=3000)
    breaking.join()


def test_status_with_nan_is_refused_and_not_shown_as_unmeasured(client: LinkClient, panel: Panel) -> None:
    panel.now = replace(STATUS, latency_ms=Latency(float("nan")))
    with pytest.raises(LinkError, match="cannot be sent"):
        client.status()
    panel.now = STATUS
    assert client.status() == STATUS


def test_next_waits_for_another_status_and_then_answers_soon(client: LinkClient, panel: Panel) -> None:
    changing = threading.Timer(0.15, lambda: setattr(panel, "now", replace(STATUS, seq=2)))
    changing.start()
    begun = time.monotonic()
    assert client.next(1, wait_ms=3000).status.seq == 2
    assert 0.1 < time.monotonic() - begun < 1.5
    changing.join()


def test_next_answers_the_current_status_after_its_wait(client: LinkClient) -> None:
    begun = time.monotonic()
    assert client.next(1, wait_ms=150).status == STATUS
    assert 0.14 < time.monotonic() - begun < 1.5


def test_next_does_not_wait_for_the_count_of_a_station_before_the_restart(client: LinkClient) -> None:
    begun = time.monotonic()
    assert client.next(5000, wait_ms=3000).status.seq == 1
    assert time.monotonic() - begun < 1.5


def test_preview_is_small_comes_once_and_only_when_asked_for(client: LinkClient, panel: Panel) -> None:
    assert client.next(-1, preview=True).preview is None
    panel.frame = picture(1000, 2000, 7)
    assert client.next(-1).jpeg == b""
    shown = client.next(-1, preview=True)
    assert shown.preview is not None
    assert (shown.preview.width, shown.preview.height, shown.preview.frame_width, shown.preview.frame_id) == (1280, 640, 2000, 7)
    assert shown.jpeg.startswith(b"\xff\xd8")
    again = client.next(-1, preview=True)
    assert again.preview is None
    assert again.jpeg == b""


def test_previews_are_limited_however_often_a_screen_asks(client: LinkClient, panel: Panel) -> None:
    begun = time.monotonic()
    pictures = 0
    for number in range(40):
        panel.frame = picture(32, 32, number)
        pictures += client.next(-1, preview=True).preview is not None
    took_s = time.monotonic() - begun
    assert 1 <= pictures <= took_s * 15 + 1


def test_each_of_many_screens_gets_its_own_answers(server: LinkServer, connect: Connect, panel: Panel) -> None:
    assert server is not None
    panel.frame = picture(32, 32, 1)
    clients = [connect(5.0) for _ in range(8)]
    assert all(client.next(-1, preview=True).jpeg for client in clients)
    for number, client in enumerate(clients):
        client.command("acknowledge", {}, f"screen {number}")
    assert [who for _, _, who in panel.commands] == [f"screen {number}" for number in range(8)]


MALFORMED = [
    b"",
    b"\xff\x00 no text",
    b"{}",
    b"[" * 60_000,
    b'{"protocol":1e999}',
    b'{"protocol":1,"kind":"next","request":9}',
    b'{"protocol":1,"kind":"format the disk","request":9}',
    b'{"protocol":1,"kind":"next","request":9,"after_seq":"0","preview":false,"wait_ms":0}',
    b'{"protocol":1,"kind":"next","request":9,"after_seq":0,"preview":false,"wait_ms":0,"more":1}',
    b"x" * 70_000,
]


def test_malformed_requests_are_answered_and_the_link_goes_on(raw: Raw, client: LinkClient) -> None:
    screen = raw()
    for data in MALFORMED:
        screen.send(data)
        answer = json.loads(screen.recv())
        assert answer["kind"] == "failed"
        assert answer["text"]
    screen.send_multipart([b"two", b"parts"])
    assert "2 parts" in json.loads(screen.recv())["text"]
    assert client.status() == STATUS


def test_huge_message_disconnects_its_sender_only(raw: Raw, client: LinkClient) -> None:
    screen = raw()
    screen.send(b"x" * (4 << 20))
    assert client.status() == STATUS


def test_other_protocol_is_refused_by_the_station(raw: Raw) -> None:
    screen = raw()
    screen.send(b'{"protocol":2,"kind":"next","request":9}')
    answer = json.loads(screen.recv())
    assert answer["request"] == 9
    assert f"protocol 2, this program {PROTOCOL}" in answer["text"]


def test_screen_that_vanishes_while_it_waits_harms_nobody(raw: Raw, client: LinkClient, panel: Panel) -> None:
    screen = raw()
    ask = {"protocol": 1, "kind": "next", "request": 1, "after_seq": 1, "preview": True, "wait_ms": 9000}
    screen.send(json.dumps(ask).encode())
    assert client.status() == STATUS
    screen.close(linger=0)
    panel.now = replace(STATUS, seq=2)
    assert client.next(1, wait_ms=2000).status.seq == 2


def test_screen_that_floods_and_never_reads_does_not_shut_others_out(raw: Raw, client: LinkClient, panel: Panel) -> None:
    screen = raw()
    ask = {"protocol": 1, "kind": "next", "request": 1, "after_seq": -1, "preview": False, "wait_ms": 0}
    for _ in range(900):
        screen.send(json.dumps(ask).encode())
    begun = time.monotonic()
    assert client.command("stop", {}, "mia") == "stop: done"
    assert time.monotonic() - begun < 1.5
    assert panel.commands == [("stop", {}, "mia")]


def test_no_station_says_how_to_start_one(connect: Connect, path: Path) -> None:
    with pytest.raises(LinkError, match=r"no station answers at .*station\.sock: start it with `inspector run STATION\.toml`"):
        connect(2.0).status()
    path.parent.mkdir()
    path.write_text("no socket")
    with pytest.raises(LinkError, match="no station answers"):
        connect(2.0).status()


def test_client_finds_the_station_again_after_a_restart(server: LinkServer, connect: Connect, panel: Panel, path: Path) -> None:
    client = connect(3.0)
    assert client.status() == STATUS
    server.close()
    begun = time.monotonic()
    with pytest.raises(LinkError, match="no station answers"):
        client.status()
    assert time.monotonic() - begun < 1.0
    second = LinkServer(panel, path)
    second.start()
    try:
        assert client.status() == STATUS
    finally:
        second.close()


def test_hung_command_ends_in_time_for_everybody(server: LinkServer, connect: Connect, panel: Panel) -> None:
    first, second = connect(0.3), connect(0.3)
    with pytest.raises(LinkError, match=r"did not answer command within 0\.3 s; whether it was carried out is not known"):
        first.command("hang", {}, "mia")
    with pytest.raises(LinkError, match="did not answer next"):
        second.status()
    begun = time.monotonic()
    server.close(timeout_s=0.2)
    assert time.monotonic() - begun < 1.0
    assert panel.commands == []


def test_command_whose_sender_gave_up_is_not_carried_out_later(server: LinkServer, connect: Connect, panel: Panel) -> None:
    assert server is not None
    first, second = connect(0.3), connect(0.3)
    with pytest.raises(LinkError):
        first.command("hang", {}, "mia")
    with pytest.raises(LinkError):
        second.command("start", {}, "mia")
    panel.gate.set()
    assert connect(3.0).status() == STATUS
    assert [name for name, _, _ in panel.commands] == ["hang"]


def test_expired_command_is_refused_with_the_reason(raw: Raw, panel: Panel) -> None:
    screen = raw()
    ask = {"protocol": 1, "kind": "command", "request": 4, "name": "start", "arguments": {}, "who": "mia", "expires_ns": now_ns() - 1}
    screen.send(json.dumps(ask).encode())
    answer = json.loads(screen.recv())
    assert (answer["kind"], answer["request"]) == ("refused", 4)
    assert "too late" in answer["text"]
    assert panel.commands == []


def test_waiting_screens_are_answered_when_the_station_ends(server: LinkServer, connect: Connect) -> None:
    closing = threading.Timer(0.2, server.close)
    closing.start()
    assert connect(2.0).next(1, wait_ms=5000).status == STATUS
    closing.join()


def test_close_is_quick_and_may_be_repeated(server: LinkServer, path: Path) -> None:
    begun = time.monotonic()
    server.close()
    server.close()
    assert time.monotonic() - begun < 1.5
    assert not path.exists()
    with pytest.raises(LinkError, match="started before"):
        server.start()


def test_client_refuses_what_the_station_would_refuse(client: LinkClient, panel: Panel) -> None:
    with pytest.raises(LinkError, match="name"):
        client.command("rm -rf", {}, "mia")
    with pytest.raises(LinkError, match="at most 65536"):
        client.command("activate", {f"key{number}": "x" * 4000 for number in range(20)}, "mia")
    with pytest.raises(LinkError, match="who"):
        client.command("start", {}, "")
    assert panel.commands == []
