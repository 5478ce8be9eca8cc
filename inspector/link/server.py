"""The station's end of the link: answers screens, and never makes the line wait.

One thread, "link". What it costs the line is bounded: at most 400 requests a second over all screens, 15 previews a second, one waiting
question per screen, and a reply that a screen does not fetch is dropped.
"""

import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import zmq

from inspector.clock import NS_PER_MS, now_ns
from inspector.errors import CommandRefused, LinkError
from inspector.link import address
from inspector.link.messages import Command, Done, Failed, Next, Refused, Reply, Shown, decode_request, encode_reply, request_number
from inspector.link.preview import Picture, PreviewSlot
from inspector.ports import Controls

_BATCH = 4
_PACE_S = 0.010
_IDLE_MS = 50
_WAITING_MS = 20
_GOODBYE_S = 0.1
"""How long the last answers lie ready: a screen that has not read one when the socket closes loses it ("shutdown: done", say)."""
_LARGEST_FRAME_BYTES = 1 << 20
_MOST_SCREENS = 32
_QUEUED_PER_SCREEN = 8

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A screen's question that has no answer yet."""

    ask: Next
    until_ns: int


class LinkServer:
    """Serves `controls` at `socket_path` until closed. A screen that vanishes, floods or talks nonsense harms only itself."""

    def __init__(self, controls: Controls, socket_path: Path) -> None:
        self._controls = controls
        self._path = socket_path
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._preview = PreviewSlot()
        # One question per screen; a newer one of the same screen replaces it. Full: answered at once, without the wait.
        self._waiting: dict[bytes, _Waiting] = {}
        # What each screen saw last, so that no picture goes out twice. Full: the screen not heard of for longest is forgotten.
        self._seen: dict[bytes, Picture] = {}

    def start(self) -> None:
        """Claim the socket and begin to answer. Raises LinkError when another station holds it, or the folder cannot be used."""
        if self._thread is not None:
            raise LinkError(f"{self._path}: this link was started before: make a new LinkServer")
        lock = address.claim(self._path)
        context = zmq.Context()
        try:
            router = self._bind(context)
        except (zmq.ZMQError, OSError) as e:
            context.destroy(linger=0)
            os.close(lock)
            raise LinkError(f"{self._path}: cannot listen there ({e}): choose another data folder") from e
        self._thread = threading.Thread(target=self._run, args=(context, router, lock), name="link", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """Answer what is open and stop. Returns within `timeout_s` even if a command hangs in the station. Safe to call twice."""
        self._closing.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                _log.error("the link did not stop within %.1f s: a command still runs in the station", timeout_s)

    def _bind(self, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
        router = context.socket(zmq.ROUTER)
        # Full: requests wait in the screen's own socket; replies are dropped (ROUTER_MANDATORY says so instead of losing them silently).
        router.set_hwm(_QUEUED_PER_SCREEN)
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.setsockopt(zmq.MAXMSGSIZE, _LARGEST_FRAME_BYTES)
        router.bind(f"ipc://{self._path}")
        self._path.chmod(0o660)
        return router

    def _run(self, context: zmq.Context[zmq.Socket[bytes]], router: zmq.Socket[bytes], lock: int) -> None:
        try:
            while not self._closing.is_set():
                if router.poll(_WAITING_MS if self._waiting else _IDLE_MS):
                    self._answer_some(router)
                    self._closing.wait(_PACE_S)
                self._answer_waiting(router)
            self._answer_waiting(router, last=True)
            time.sleep(_GOODBYE_S)
        except Exception:  # noqa: BLE001 - the top of the thread
            _log.exception("the link stopped; the line goes on, but screens see nothing until the station is started again")
        finally:
            context.destroy(linger=0)
            self._path.unlink(missing_ok=True)
            os.close(lock)

    def _answer_some(self, router: zmq.Socket[bytes]) -> None:
        for _ in range(_BATCH):
            try:
                who, *parts = router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._answer(router, who, parts)

    def _answer(self, router: zmq.Socket[bytes], who: bytes, parts: list[bytes]) -> None:
        number = request_number(parts[0]) if len(parts) == 1 else 0
        try:
            if len(parts) != 1:
                raise LinkError(f"a request of {len(parts)} parts: one is expected: is the other side an Inspector?")
            request = decode_request(parts[0])
            if isinstance(request, Command):
                self._send(router, who, self._carry_out(request))
            else:
                self._wait_or_show(router, who, request)
        except LinkError as e:
            self._send(router, who, Failed(str(e), number))
        except Exception as e:  # noqa: BLE001 - the top of this thread's work: whatever the station raises becomes an answer
            _log.exception("request %d could not be answered", number)
            self._send(router, who, Failed(f"the station could not answer: {type(e).__name__}: {e}", number))

    def _carry_out(self, command: Command) -> Reply:
        if now_ns() > command.expires_ns:
            return Refused(f"{command.name}: came too late, its sender waits no more: look at the state, send it again", command.request)
        try:
            text = self._controls.command(command.name, command.arguments, command.who)
        except CommandRefused as e:
            _log.info("%s by %s refused: %s", command.name, command.who, e)
            return Refused(str(e), command.request)
        _log.info("%s by %s: %s", command.name, command.who, text)
        return Done(text, command.request)

    def _wait_or_show(self, router: zmq.Socket[bytes], who: bytes, ask: Next) -> None:
        self._waiting.pop(who, None)
        # Not "greater": after a restart the station counts anew, and a screen must not wait for the old count to be reached.
        if ask.wait_ms == 0 or len(self._waiting) >= _MOST_SCREENS or self._controls.status().seq != ask.after_seq:
            self._show(router, who, ask)
        else:
            self._waiting[who] = _Waiting(ask, now_ns() + ask.wait_ms * NS_PER_MS)

    def _answer_waiting(self, router: zmq.Socket[bytes], last: bool = False) -> None:
        if not self._waiting:
            return
        try:
            seq: int | None = self._controls.status().seq
        except Exception:  # noqa: BLE001 - top of this thread's work: _show meets it again and says it to the screen
            seq = None
        now = now_ns()
        ready = [who for who, waiting in self._waiting.items() if last or seq != waiting.ask.after_seq or now >= waiting.until_ns]
        for who in ready:
            ask = self._waiting.pop(who).ask
            try:
                self._show(router, who, ask)
            except Exception as e:  # noqa: BLE001 - top of this thread's work
                _log.warning("request %d could not be answered: %s", ask.request, e)
                self._send(router, who, Failed(f"the station could not answer: {type(e).__name__}: {e}", ask.request))

    def _show(self, router: zmq.Socket[bytes], who: bytes, ask: Next) -> None:
        picture = self._preview.newest(self._controls.preview(), now_ns()) if ask.preview else None
        if picture is not None and self._seen.get(who) is picture:
            picture = None
        status = self._controls.status()
        sent = self._send(router, who, Shown(status, picture.about if picture else None, ask.request), picture.jpeg if picture else b"")
        if sent and picture is not None:
            self._seen.pop(who, None)
            self._seen[who] = picture
            if len(self._seen) > _MOST_SCREENS:
                del self._seen[next(iter(self._seen))]

    def _send(self, router: zmq.Socket[bytes], who: bytes, reply: Reply, jpeg: bytes = b"") -> bool:
        parts = [who, encode_reply(reply), jpeg] if jpeg else [who, encode_reply(reply)]
        try:
            router.send_multipart(parts, zmq.NOBLOCK)
        except zmq.ZMQError as e:
            _log.debug("an answer was dropped, its screen has gone or does not read: %s", e)
            return False
        return True
