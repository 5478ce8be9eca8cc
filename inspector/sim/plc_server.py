"""The PLC's Modbus TCP server: pymodbus in front of PlcLogic, in one asyncio loop with the physics, so nothing needs a lock."""

import struct
from typing import Any, cast

from pymodbus.constants import ExcCodes
from pymodbus.datastore import ModbusServerContext
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadHoldingRegistersResponse
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice

from inspector.clock import now_ns
from inspector.line import registers as r
from inspector.sim.plc_logic import PlcLogic

_READ, _WRITE = 3, (6, 16)


class _Registers(ReadHoldingRegistersResponse):
    """Packed at once; pymodbus packs register by register."""

    def encode(self) -> bytes:
        count = len(self.registers)
        return struct.pack(f">B{count}H", 2 * count, *self.registers)


class _Read(ReadHoldingRegistersRequest):
    async def datastore_update(self, context: ModbusServerContext, device_id: int) -> ModbusPDU:
        answer = await super().datastore_update(context, device_id)
        if not isinstance(answer, ReadHoldingRegistersResponse):
            return answer
        return _Registers(registers=answer.registers, dev_id=device_id, transaction_id=self.transaction_id)


class _Handler(ServerRequestHandler):
    def handle_later(self) -> None:
        """Answer in the loop's next round; pymodbus wakes its own loop through a socket first, which costs two system calls."""
        handler: Any = self
        self.loop.create_task(handler.handle_request())


class _Server(ModbusTcpServer):
    def callback_new_connection(self) -> ServerRequestHandler:
        handler: Any = _Handler
        return cast(ServerRequestHandler, handler(self, None, None, None))


class PlcServer:
    """Serves `logic` as unit `unit_id`; port 0 takes a free one, found in `port` after start(). All calls on the loop's thread."""

    def __init__(self, logic: PlcLogic, *, host: str = "127.0.0.1", port: int = 0, unit_id: int = 1) -> None:
        self._logic = logic
        self._address = (host, port)
        self._unit_id = unit_id
        self._server: _Server | None = None
        self.port = port

    async def start(self) -> None:
        """Listen. Raises RuntimeError when the address is taken."""
        registers = DataType.REGISTERS
        blocks = [
            SimData(r.CONTROL, count=r.CONTROL_SIZE, datatype=registers),
            SimData(r.SLOTS, count=r.SLOTS_MAX * r.SLOT_SIZE, datatype=registers),
            SimData(r.STATUS, count=r.STATUS_SIZE, datatype=registers, readonly=True),
            SimData(r.DISPOSITION_RING, count=r.DISPOSITIONS * r.DISPOSITION_SIZE, datatype=registers, readonly=True),
        ]
        device = SimDevice(self._unit_id, blocks, action=self._access)
        self._server = _Server(device, address=self._address, custom_pdu=[_Read])
        await self._server.serve_forever(background=True)
        transport: Any = self._server.transport
        self.port = int(transport.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            server: Any = self._server
            await server.shutdown()
            self._server = None

    async def _access(
        self, function: int, start: int, address: int, count: int, current: list[int], values: list[int] | list[bool] | None
    ) -> ExcCodes | None:
        """pymodbus asks before each access: the logic's registers are the truth, pymodbus's own only the way out."""
        if values is None and function == _READ:
            current[address - start : address - start + count] = self._logic.read(address, count, now_ns())
            return None
        if values is not None and function in _WRITE:
            self._logic.write(address, [int(value) for value in values], now_ns())
            return None
        return ExcCodes.ILLEGAL_FUNCTION
