"""The Modbus driver against a PLC that hangs, cuts, answers late or wrongly, or is another device: one clear LineError, in time."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic, sleep

import pytest

from inspector.errors import LineError
from inspector.line import registers as r
from inspector.line.modbus import ModbusLine
from inspector.sim.plc_logic import PlcLogic
from inspector.sim.plc_thread import HandPlc
from inspector.types import PartId, VerdictKind

TIMEOUT_S = 0.05
SLACK_S = 0.2
Answer = Callable[[bytes], list[tuple[float, bytes]] | None]


def frame(request: bytes, pdu: bytes, *, unit: int | None = None, tid: int | None = None) -> bytes:
    """A Modbus TCP answer to `request`: MBAP header, then `pdu`."""
    (transaction,) = struct.unpack(">H", request[:2])
    return struct.pack(">HHHB", transaction if tid is None else tid, 0, len(pdu) + 1, request[6] if unit is None else unit) + pdu


def honest(request: bytes) -> bytes:
    """What a standing, empty PLC answers."""
    function, address, count = struct.unpack(">BHH", request[7:12])
    if function == 16:
        return frame(request, struct.pack(">BHH", 16, address, count))
    image = PlcLogic(epoch=3).read(address, count, 0)
    return frame(request, struct.pack(f">BB{count}H", 3, 2 * count, *image))


class Server:
    """A TCP server that answers each request as `answer` says: chunks with delays before them, or None to cut the connection."""

    def __init__(self) -> None:
        self.answer: Answer = lambda request: [(0, honest(request))]
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="faulty-plc")
        self.port = int(self._listener.getsockname()[1])
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            with connection:
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(0.05)
        while not self._stop.is_set():
            try:
                request = connection.recv(4096)
            except TimeoutError:
                continue
            except ConnectionResetError:
                return
            if not request:
                return
            self.requests.append(request)
            chunks = self.answer(request)
            if chunks is None:
                return
            for delay_s, chunk in chunks:
                sleep(delay_s)
                try:
                    connection.sendall(chunk)
                except (BrokenPipeError, ConnectionResetError):
                    return


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def line(server: Server) -> Iterator[ModbusLine]:
    line = ModbusLine("127.0.0.1", server.port, timeout_s=TIMEOUT_S)
    # A busy machine may delay this one answer; what is tested is what comes after.
    for attempt in range(5):
        try:
            line.open(5)
            break
        except LineError:
            if attempt == 4:
                raise
    yield line
    server.answer = lambda request: [(0, honest(request))]
    line.close()


@contextmanager
def in_time(bound_s: float = TIMEOUT_S + SLACK_S) -> Iterator[None]:
    started_s = monotonic()
    yield
    assert monotonic() - started_s < bound_s


CALLS: list[Callable[[ModbusLine], object]] = [
    lambda line: line.poll(),
    lambda line: line.beat(),
    lambda line: line.set_ready(True),
    lambda line: line.send(PartId(5, 1), VerdictKind.REJECT),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_silent_plc_is_named_within_the_timeout_and_nothing_is_repeated(
    server: Server, line: ModbusLine, call: Callable[[ModbusLine], object]
) -> None:
    server.answer = lambda _: []
    before = len(server.requests)
    with in_time(), pytest.raises(LineError, match=r"127\.0\.0\.1.*did not answer"):
        call(line)
    sleep(2 * TIMEOUT_S)
    assert len(server.requests) == before + 1


def test_a_plc_that_only_accepts_is_named_at_open(server: Server) -> None:
    server.answer = lambda _: []
    line = ModbusLine("127.0.0.1", server.port, timeout_s=TIMEOUT_S)
    with in_time(), pytest.raises(LineError, match="did not answer reading"):
        line.open(5)
    line.close()


def test_nobody_listening_is_named_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    line = ModbusLine("127.0.0.1", port)
    with in_time(), pytest.raises(LineError, match="refuses the connection"):
        line.open(5)


def test_an_unreachable_host_is_given_up_after_the_connect_timeout() -> None:
    with socket.socket() as full:
        # A listener with a full backlog drops further connection requests: they hang as with an unplugged cable.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fill = [socket.socket() for _ in range(4)]
        for one in fill:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        sleep(0.05)
        line = ModbusLine("127.0.0.1", full.getsockname()[1], connect_timeout_s=0.2)
        with in_time(0.2 + SLACK_S), pytest.raises(LineError, match="refuses the connection or does not answer"):
            line.open(5)
        for one in fill:
            one.close()


@pytest.mark.parametrize("call", CALLS)
def test_a_cut_connection_is_named_and_stays_closed(server: Server, line: ModbusLine, call: Callable[[ModbusLine], object]) -> None:
    server.answer = lambda _: None
    with in_time(), pytest.raises(LineError, match="cut the connection"):
        call(line)
    server.answer = lambda request: [(0, honest(request))]
    before = len(server.requests)
    with pytest.raises(LineError, match="not connected"):
        call(line)
    assert len(server.requests) == before


def test_a_line_can_be_opened_again_after_a_cut(server: Server, line: ModbusLine) -> None:
    server.answer = lambda _: None
    with pytest.raises(LineError):
        line.poll()
    server.answer = lambda request: [(0, honest(request))]
    line.close()
    assert line.open(6).epoch == 3


def test_a_late_answer_is_not_taken_for_the_next_one(server: Server, line: ModbusLine) -> None:
    late = r.pack_status(replace(r.unpack_status(PlcLogic(epoch=3).read(r.STATUS, r.STATUS_SIZE, 0)), counter=9))
    lying = struct.pack(f">BB{len(late)}H", 3, 2 * len(late), *late)
    server.answer = lambda request: [(1.5 * TIMEOUT_S, frame(request, lying))]
    with pytest.raises(LineError, match="did not answer"):
        line.poll()
    server.answer = lambda request: [(0, honest(request))]
    sleep(TIMEOUT_S)
    assert line.poll().counter == 0


def test_an_answer_that_comes_in_pieces_is_put_together(server: Server, line: ModbusLine) -> None:
    server.answer = lambda request: [(0, honest(request)[:9]), (0.005, honest(request)[9:])]
    assert line.poll().epoch == 3


def test_an_answer_that_breaks_off_ends_the_connection(server: Server, line: ModbusLine) -> None:
    server.answer = lambda request: [(0, honest(request)[:30])]
    with in_time(), pytest.raises(LineError, match="did not answer"):
        line.poll()
    with pytest.raises(LineError, match="not connected"):
        line.poll()


def test_an_answer_that_drips_does_not_stretch_the_timeout(server: Server, line: ModbusLine) -> None:
    server.answer = lambda request: [(0.02, bytes([byte])) for byte in honest(request)[:20]]
    with in_time(), pytest.raises(LineError, match="did not answer"):
        line.poll()


@pytest.mark.parametrize(("code", "hint"), [(2, "illegal address"), (4, "device failure"), (6, "busy"), (11, "unit_id"), (99, "manual")])
@pytest.mark.parametrize("call", CALLS)
def test_an_exception_response_is_named(
    server: Server, line: ModbusLine, call: Callable[[ModbusLine], object], code: int, hint: str
) -> None:
    server.answer = lambda request: [(0, frame(request, bytes([request[7] | 0x80, code])))]
    with pytest.raises(LineError, match=f"refused with exception {code}, .*{hint}"):
        call(line)


def short_read(request: bytes) -> bytes:
    return frame(request, struct.pack(">BB3H", 3, 6, 1, 2, 3))


def uneven_read(request: bytes) -> bytes:
    return frame(request, bytes([3, 200, 0, 1, 2]))


def other_unit(request: bytes) -> bytes:
    return frame(request, honest(request)[7:], unit=9)


def other_function(request: bytes) -> bytes:
    return frame(request, struct.pack(">BB2H", 4, 4, 0, 0))


def noise(request: bytes) -> bytes:
    return bytes(reversed(request)) * 7


@pytest.mark.parametrize("answer", [short_read, uneven_read, other_unit, other_function, noise])
def test_a_wrong_answer_is_never_a_snapshot(server: Server, line: ModbusLine, answer: Callable[[bytes], bytes]) -> None:
    server.answer = lambda request: [(0, answer(request))]
    with in_time(), pytest.raises(LineError):
        line.poll()


def test_a_write_confirmed_elsewhere_is_named(server: Server, line: ModbusLine) -> None:
    server.answer = lambda request: [(0, frame(request, struct.pack(">BHH", 16, 999, 8)))]
    with pytest.raises(LineError, match="was confirmed as 8 to 999"):
        line.send(PartId(5, 1), VerdictKind.PASS)


def test_a_failed_beat_is_not_counted(server: Server, line: ModbusLine) -> None:
    server.answer = lambda _: []
    with pytest.raises(LineError):
        line.beat()
    server.answer = lambda request: [(0, honest(request))]
    line.beat()
    assert struct.unpack(">H", server.requests[-1][-2:]) == (1,)


def test_nothing_is_written_to_a_device_with_another_map(server: Server) -> None:
    server.answer = lambda request: [(0, frame(request, bytes([3, 2 * r.STATUS_SIZE]) + bytes(2 * r.STATUS_SIZE)))]
    line = ModbusLine("127.0.0.1", server.port, timeout_s=1.0)
    with pytest.raises(LineError, match="another device or map"):
        line.open(5)
    line.close()
    assert [request[7] for request in server.requests] == [3]


def test_closing_a_hung_line_takes_no_longer_than_one_request(server: Server, line: ModbusLine) -> None:
    server.answer = lambda _: []
    with in_time():
        line.close()
    line.close()


def test_the_wrong_unit_id_is_refused() -> None:
    with HandPlc(PlcLogic(), unit_id=1) as plc:
        line = ModbusLine("127.0.0.1", plc.port, unit_id=2, timeout_s=1.0)
        with pytest.raises(LineError, match=r"unit 2: .*check unit_id"):
            line.open(5)
        line.close()


def test_a_counter_that_runs_backwards_over_the_wire_is_named() -> None:
    with HandPlc(PlcLogic(counter_start=1000)) as plc:
        line = ModbusLine("127.0.0.1", plc.port, timeout_s=1.0)
        line.open(5)

        def back(logic: PlcLogic) -> None:
            logic.counter = 500

        plc.call(back)
        with pytest.raises(LineError, match="ran backwards from 1000 to 500"):
            line.poll()
        line.close()
