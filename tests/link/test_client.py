"""A client before a station that answers what it must not."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from inspector.errors import LinkError
from inspector.link.client import LinkClient
from inspector.link.messages import Done, Refused, encode_reply

Stranger = Callable[[Callable[[dict[str, Any]], list[bytes]]], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "station.sock"


@pytest.fixture
def stranger(path: Path) -> Iterator[Stranger]:
    """A station that answers its first request with whatever it is told to."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.RCVTIMEO, 3000)
    router.bind(f"ipc://{path}")
    threads: list[threading.Thread] = []

    def _answer_with(make: Callable[[dict[str, Any]], list[bytes]]) -> None:
        def run() -> None:
            who, data = router.recv_multipart()
            for reply in make(json.loads(data)):
                router.send_multipart([who, reply])

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield _answer_with
    for thread in threads:
        thread.join()
    context.destroy(linger=0)


@pytest.fixture
def client(path: Path) -> Iterator[LinkClient]:
    with LinkClient(path, 2.0) as made:
        yield made


def test_other_protocol_is_refused_by_the_screen(stranger: Stranger, client: LinkClient) -> None:
    stranger(lambda ask: [encode_reply(Done("x", ask["request"])).replace(b'"protocol":1', b'"protocol":2')])
    with pytest.raises(LinkError, match="station speaks link protocol 2, this program 1"):
        client.command("start", {}, "mia")


def test_answer_to_an_earlier_question_is_not_taken_for_this_one(stranger: Stranger, client: LinkClient) -> None:
    late = encode_reply(Done("pause: done", 99))
    stranger(lambda ask: [late, encode_reply(Done("start: done", ask["request"]))])
    assert client.command("start", {}, "mia") == "start: done"


def test_answer_of_the_wrong_kind_is_an_error(stranger: Stranger, client: LinkClient) -> None:
    stranger(lambda ask: [encode_reply(Refused("no", ask["request"]))])
    with pytest.raises(LinkError, match="answered next with refused"):
        client.status()


def test_answer_that_is_nonsense_is_an_error(stranger: Stranger, client: LinkClient) -> None:
    stranger(lambda _: [b'{"protocol":1,"kind":"shown","request":1,"status":{},"preview":null}'])
    with pytest.raises(LinkError, match=r"status"):
        client.status()
