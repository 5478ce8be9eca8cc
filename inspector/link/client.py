"""The screen's end of the link: asks one question at a time, and never waits longer than it was told."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import zmq

from inspector.clock import NS_PER_MS, now_ns
from inspector.errors import CommandRefused, LinkError
from inspector.link import address
from inspector.link.messages import (
    LONGEST_WAIT_MS,
    Command,
    Done,
    Failed,
    Next,
    Preview,
    Refused,
    Reply,
    Request,
    Shown,
    decode_reply,
    encode_request,
)
from inspector.types import Status

_LOOK_MS = 200
"""How often a waiting call looks whether the station is still there."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A status, and a picture where a new one was asked for: what it shows, and the JPEG's bytes (empty without a picture)."""

    status: Status
    preview: Preview | None = None
    jpeg: bytes = b""


class LinkClient:
    """Asks the station at `socket_path`; each call answers or raises LinkError within `timeout_s` (plus the wait that `next` was given).

    For one thread. Connects at the first call, and anew after every failure; so it may be made before the station runs.
    """

    def __init__(self, socket_path: Path, timeout_s: float = 5.0) -> None:
        self._path = socket_path
        self._timeout_ms = round(timeout_s * 1000)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._dealer: zmq.Socket[bytes] | None = None
        self._request = 0

    def status(self) -> Status:
        """The newest status, at once."""
        return self.next(-1, wait_ms=0).status

    def next(self, after_seq: int, *, wait_ms: int = 1000, preview: bool = False) -> Snapshot:
        """The newest snapshot: at once when its seq is not `after_seq`, else once it changes, or as it is after `wait_ms` (<= 10 s)."""
        ask = Next(after_seq, preview, min(wait_ms, LONGEST_WAIT_MS), self._number())
        reply, jpeg = self._ask(ask, self._timeout_ms + ask.wait_ms)
        if not isinstance(reply, Shown):
            raise self._unexpected(ask, reply)
        return Snapshot(reply.status, reply.preview, jpeg)

    def command(self, name: str, arguments: dict[str, str], who: str) -> str:
        """Have the station do it; returns its one line. Raises CommandRefused, or LinkError: then look at the state before asking again."""
        ask = Command(name, arguments, who, now_ns() + self._timeout_ms * NS_PER_MS, self._number())
        reply, _ = self._ask(ask, self._timeout_ms)
        if isinstance(reply, Refused):
            raise CommandRefused(reply.text)
        if not isinstance(reply, Done):
            raise self._unexpected(ask, reply)
        return reply.text

    def close(self) -> None:
        """Let go of the socket. Safe to call twice."""
        self._drop()
        self._context.destroy(linger=0)

    def __enter__(self) -> "LinkClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _number(self) -> int:
        self._request += 1
        return self._request

    def _ask(self, request: Request, timeout_ms: int) -> tuple[Reply, bytes]:
        data = encode_request(request)
        fate = "" if isinstance(request, Next) else "; whether it was carried out is not known: look at `inspector status`"
        until_ns = now_ns() + timeout_ms * NS_PER_MS
        dealer = self._connected()
        try:
            dealer.send(data)
            return self._reply(dealer, request, until_ns)
        except zmq.Again as e:
            # Without this a request that still waits in the socket would reach the next station that starts here.
            self._drop()
            raise LinkError(f"the station at {self._path} did not answer {request.kind} within {timeout_ms / 1000:.1f} s{fate}") from e
        except zmq.ZMQError as e:
            self._drop()
            raise LinkError(f"the station at {self._path} went away before it answered {request.kind} ({e}){fate}") from e
        except (LinkError, KeyboardInterrupt):
            self._drop()
            raise

    def _reply(self, dealer: zmq.Socket[bytes], request: Request, until_ns: int) -> tuple[Reply, bytes]:
        while True:
            left_ms = (until_ns - now_ns()) // NS_PER_MS
            if left_ms < 0:
                raise zmq.Again
            if not dealer.poll(min(left_ms, _LOOK_MS), zmq.POLLIN):
                if not dealer.poll(0, zmq.POLLOUT):
                    raise zmq.ZMQError(zmq.EHOSTUNREACH)
                continue
            head, *rest = dealer.recv_multipart(zmq.NOBLOCK)
            reply = decode_reply(head)
            if isinstance(reply, Failed) and reply.request in (0, request.request):
                raise LinkError(reply.text)
            if reply.request == request.request:
                return reply, rest[0] if rest else b""

    def _connected(self) -> zmq.Socket[bytes]:
        # Without a connection there is no room to send: the station has gone since the last call.
        if self._dealer is not None and not self._dealer.poll(0, zmq.POLLOUT):
            self._drop()
        if self._dealer is None:
            address.require_station(self._path)
            dealer = self._context.socket(zmq.DEALER)
            dealer.set_hwm(4)  # full: send waits, and then raises Again
            dealer.setsockopt(zmq.LINGER, 0)
            dealer.setsockopt(zmq.SNDTIMEO, self._timeout_ms)
            # One connection to one station: a request is never queued for whoever comes there next.
            dealer.setsockopt(zmq.IMMEDIATE, 1)
            dealer.setsockopt(zmq.RECONNECT_IVL, -1)
            dealer.connect(f"ipc://{self._path}")
            self._dealer = dealer
        return self._dealer

    def _drop(self) -> None:
        if self._dealer is not None:
            self._dealer.close(linger=0)
            self._dealer = None

    def _unexpected(self, request: Request, reply: Reply) -> LinkError:
        return LinkError(f"the station at {self._path} answered {request.kind} with {reply.kind}: run station and screen from one version")
