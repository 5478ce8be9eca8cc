"""How many results a line can hold at once, as its first look tells: the station opens no more parts than that."""

from collections.abc import Iterator

import pytest

from inspector.errors import LineError
from inspector.line.direct import DirectLine
from inspector.line.modbus import ModbusLine
from inspector.sim.plc_logic import PlcLogic
from inspector.sim.plc_thread import HandPlc


@pytest.fixture(params=[1, 5, 16])
def plc(request: pytest.FixtureRequest) -> Iterator[HandPlc]:
    with HandPlc(PlcLogic(slots=request.param)) as plc:
        yield plc


@pytest.fixture
def line(plc: HandPlc) -> Iterator[ModbusLine]:
    line = ModbusLine("127.0.0.1", plc.port, timeout_s=1.0)
    yield line
    line.close()


def test_a_plc_tells_its_slots_when_the_line_is_opened(plc: HandPlc, line: ModbusLine) -> None:
    assert line.open(1).slots == plc.logic._slots
    assert line.poll().slots is None, "no news"


def test_a_plc_that_was_programmed_anew_is_believed_at_the_next_opening(plc: HandPlc, line: ModbusLine) -> None:
    line.open(1)
    plc.call(lambda logic: setattr(logic, "_slots", 3))
    with pytest.raises(LineError, match="now announces 3 result slots"):
        line.poll()
    line.close()
    assert line.open(1).slots == 3


def test_the_in_process_line_has_no_bound() -> None:
    assert DirectLine().open(1).slots is None
