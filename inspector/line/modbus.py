"""ModbusLine: the handshake with a PLC over Modbus TCP, as docs/registers.md describes it.

One request at a time, one answer each, nothing repeated behind the caller's back: a late write is worse than none. A connection that the
PLC closed, or on which an answer broke off, is not used again; connecting anew is the caller's decision (close, open).
"""

import logging
import socket
import struct
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse

from inspector.clock import now_ns
from inspector.errors import LineError
from inspector.line.follow import Follower
from inspector.line.registers import (
    CONTROL,
    DISPOSITION_RING,
    DISPOSITION_SIZE,
    DISPOSITIONS,
    HEARTBEAT,
    REQUEST_MAX,
    STATUS,
    STATUS_SIZE,
    DispositionEntry,
    PlcStatus,
    pack_slot,
    slot_address,
    unpack_disposition,
    unpack_status,
)
from inspector.ports import LineSnapshot
from inspector.types import FaultCode, PartId, VerdictKind

# What goes wrong is told in LineError; without this, pymodbus's log would fill stderr at every poll of an unplugged PLC.
logging.getLogger("pymodbus").addHandler(logging.NullHandler())

_EXCEPTIONS = {
    1: "function not supported: the PLC must offer read 3 and write 16",
    2: "illegal address: compare the PLC's data blocks with docs/registers.md",
    3: "illegal value: compare the PLC's data blocks with docs/registers.md",
    4: "device failure: check unit_id and the PLC",
    6: "PLC busy: give the Modbus server more cycle time",
    10: "gateway has no path: check unit_id",
    11: "gateway target does not answer: check unit_id and the wiring behind the gateway",
}


class ModbusLine:
    """Port Line on a PLC at host:port.

    timeout_s bounds each request (open: three and up to four ring reads; poll: one, and one more for each 20 dispositions; the others:
    one) and connect_timeout_s the connecting. After a mere timeout the next call may succeed: an answer that comes late is known by its
    transaction number and dropped.
    """

    def __init__(self, host: str, port: int = 502, *, unit_id: int = 1, timeout_s: float = 0.05, connect_timeout_s: float = 1.0) -> None:
        self._where = f"PLC at {host}:{port} unit {unit_id}"
        self._unit_id = unit_id
        self._timeout_s = timeout_s
        self._client = _Client(host, port, timeout_s, connect_timeout_s)
        self._follower = Follower()
        self._slots = 0
        self._run = 0
        self._heartbeat = 0
        self._fault = False

    def open(self, run: int) -> LineSnapshot:
        """See Line.open. Nothing is written before the device has shown that it carries this register map."""
        self._client.close()
        if not self._client.connect():
            raise LineError(f"{self._where} refuses the connection or does not answer; check that it runs, its address and the cable")
        try:
            self._status()
            self._run = run
            self.set_ready(False, self._fault)
            status, sent_ns, received_ns = self._status()
            entries = self._dispositions(self._follower.wanted(status, everything=True))
            snapshot = self._follower.begin(run, status, entries, sent_ns, received_ns)
        except LineError:
            self._client.close()
            raise
        self._slots = status.slots
        return replace(snapshot, slots=status.slots)

    def poll(self) -> LineSnapshot:
        """See Line.poll: one request, and more only when parts have left the line."""
        status, sent_ns, received_ns = self._status()
        if status.slots != self._slots:
            raise LineError(f"{self._where} now announces {status.slots} result slots instead of {self._slots}; stop and start the station")
        entries = self._dispositions(self._follower.wanted(status))
        return self._follower.follow(status, entries, sent_ns, received_ns)

    def send(self, part: PartId, verdict: VerdictKind, fault: FaultCode | None = None) -> None:
        """See Line.send: 8 registers in one request."""
        registers = pack_slot(part.run, part.sequence, verdict, fault)
        if not self._slots:
            raise LineError(f"{self._where} is not open; open it before results are sent")
        self._write(slot_address(part.sequence, self._slots), registers)

    def set_ready(self, ready: bool, fault: bool = False) -> None:
        """See Line.set_ready. The heartbeat is written as it stands: only beat() shows that the line works."""
        self._fault = fault
        self._write(CONTROL, [int(ready), int(fault), self._heartbeat, self._run & 0xFFFF])

    def beat(self) -> None:
        """See Line.beat."""
        following = (self._heartbeat + 1) & 0xFFFF
        self._write(HEARTBEAT, [following])
        self._heartbeat = following

    def close(self) -> None:
        """See Line.close; takes timeout_s at most."""
        if self._client.connected:
            try:
                self.set_ready(False, self._fault)
            except LineError:
                pass
            finally:
                self._client.close()

    def _status(self) -> tuple[PlcStatus, int, int]:
        sent_ns = now_ns()
        registers = self._read(STATUS, STATUS_SIZE)
        received_ns = now_ns()
        return unpack_status(registers), sent_ns, received_ns

    def _dispositions(self, wanted: range) -> list[DispositionEntry]:
        """The entries that now stand where the wanted ones were written, as few requests as they need."""
        entries: list[DispositionEntry] = []
        at = wanted.start
        while at < wanted.stop:
            position = at % DISPOSITIONS
            count = min(wanted.stop - at, REQUEST_MAX // DISPOSITION_SIZE, DISPOSITIONS - position)
            registers = self._read(DISPOSITION_RING + position * DISPOSITION_SIZE, count * DISPOSITION_SIZE)
            entries += [unpack_disposition(registers[i : i + DISPOSITION_SIZE]) for i in range(0, len(registers), DISPOSITION_SIZE)]
            at += count
        return entries

    def _read(self, address: int, count: int) -> Sequence[int]:
        what = f"reading {count} registers from {address}"
        self._prepare(what)
        try:
            answer = self._client.read_holding_registers(address, count=count, device_id=self._unit_id)
        except (ModbusException, OSError) as error:
            raise self._failed(what, error) from error
        self._check(what, answer, 3)
        if len(answer.registers) != count:
            raise LineError(f"{self._where}: {what} brought {len(answer.registers)}; check the PLC's Modbus server")
        return answer.registers

    def _write(self, address: int, registers: list[int]) -> None:
        what = f"writing {len(registers)} registers to {address}"
        self._prepare(what)
        try:
            answer = self._client.write_registers(address, registers, device_id=self._unit_id)
        except (ModbusException, OSError) as error:
            raise self._failed(what, error) from error
        self._check(what, answer, 16)
        if (answer.address, answer.count) != (address, len(registers)):
            raise LineError(f"{self._where}: {what} was confirmed as {answer.count} to {answer.address}; check the PLC's Modbus server")

    def _prepare(self, what: str) -> None:
        # Without this check pymodbus would connect again by itself.
        if not self._client.connected:
            raise LineError(f"{self._where} is not connected ({what}); close and open the line")
        self._client.begin()

    def _check(self, what: str, answer: ModbusPDU, function: int) -> None:
        if isinstance(answer, ExceptionResponse):
            hint = _EXCEPTIONS.get(answer.exception_code, "see the PLC's manual")
            raise LineError(f"{self._where}: {what} was refused with exception {answer.exception_code}, {hint}")
        if answer.function_code != function:
            raise LineError(f"{self._where}: {what} was answered as function {answer.function_code}; check the PLC's Modbus server")

    def _failed(self, what: str, error: Exception) -> LineError:
        if self._client.broke_off:
            self._client.close()
        if isinstance(error, ConnectionException | OSError):
            self._client.close()
            return LineError(f"{self._where} cut the connection while {what}; check the PLC and the cable, then open the line again")
        within = f"within {self._timeout_s * 1000:.0f} ms"
        return LineError(f"{self._where} did not answer {what} {within}; check the PLC's load and the network")


class _Registers(ReadHoldingRegistersResponse):
    """pymodbus unpacks register by register, which was a quarter of a poll's time on this side (124 registers)."""

    def decode(self, data: bytes) -> None:
        if len(data) != 1 + data[0] or data[0] % 2:
            raise ModbusException(f"{len(data) - 1} bytes of registers, {data[0]} announced")
        self.registers = struct.unpack(f">{data[0] // 2}H", data[1:])

    def __str__(self) -> str:
        return f"{len(self.registers)} registers"


class _Client(ModbusTcpClient):
    """pymodbus's client with one deadline for the whole exchange, no Nagle delay, and a connect timeout of its own."""

    def __init__(self, host: str, port: int, timeout_s: float, connect_timeout_s: float) -> None:
        super().__init__(host, port=port, timeout=timeout_s, retries=0)
        self.register(_Registers)
        self._address = (host, port)
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._deadline_s = 0.0
        self.broke_off = False

    def begin(self) -> None:
        """A new request: its answer has timeout_s from now."""
        self._deadline_s = monotonic() + self._timeout_s
        self.broke_off = False

    def connect(self) -> bool:
        if self.socket is None:
            try:
                self.socket = socket.create_connection(self._address, timeout=self._connect_timeout_s)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                self.close()
        return self.socket is not None

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket = None

    def send(self, request: bytes, addr: tuple[str, int] | None = None) -> int:  # noqa: ARG002
        if self.socket is None:
            raise ConnectionException(str(self))
        self.socket.settimeout(self._timeout_s)
        self.socket.sendall(request)
        return len(request)

    def recv(self, size: int | None) -> bytes:  # noqa: ARG002
        """What has arrived, or nothing at the deadline; `broke_off` tells that an exchange without a whole answer has read some."""
        if self.socket is None:
            raise ConnectionException(str(self))
        left_s = self._deadline_s - monotonic()
        if left_s <= 0:
            return b""
        self.socket.settimeout(left_s)
        try:
            data = self.socket.recv(4096)
        except TimeoutError:
            return b""
        if not data:
            raise ConnectionException(f"{self} was closed by the other end")
        self.broke_off = True
        return data
