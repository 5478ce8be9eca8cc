"""The PLC simulator as a process: started, found, watched and ended by whoever needs a line (the demo, tests, the bench)."""

import select
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from os import getpid
from pathlib import Path
from types import TracebackType
from typing import Any

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from inspector.errors import LineError
from inspector.line.registers import BELT, BELT_DONE

_STOP_S = 3.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class PlcSimOptions:
    """What `inspector plc-sim --help` explains; port 0 takes a free one, parts 0 is without end."""

    port: int = 0
    rate_per_min: float = 600.0
    parts: int = 0
    travel_ms: float = 412.0
    scan_ms: float = 0.0
    wire: str | None = None
    log: Path | None = None
    counter_start: int = 0
    slots: int = 16
    unit_id: int = 1
    wait_ready: bool = False
    seed: int = 0

    def arguments(self) -> list[str]:
        """The command line for these options."""
        out = [f"--port={self.port}", f"--rate={self.rate_per_min}", f"--parts={self.parts}", f"--travel-ms={self.travel_ms}"]
        out += [f"--scan-ms={self.scan_ms}", f"--counter-start={self.counter_start}", f"--slots={self.slots}"]
        out += [f"--unit-id={self.unit_id}", f"--seed={self.seed}"]
        out += [f"--wire={self.wire}"] if self.wire else []
        out += [f"--log={self.log}"] if self.log else []
        return out + (["--wait-ready"] if self.wait_ready else [])


class PlcSimProcess:
    """A running simulator on 127.0.0.1; `port` is where it listens. It ends with this process, or by stop() or leaving the context."""

    def __init__(self, options: PlcSimOptions, *, start_timeout_s: float = 15.0) -> None:
        """Start and wait until it listens. Raises LineError with what it said when it does not."""
        self._options = options
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by stop()
        command = [sys.executable, "-m", "inspector.sim.plc", *options.arguments(), f"--parent={getpid()}"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors)
        self.port = self._wait_port(start_timeout_s)

    def __enter__(self) -> "PlcSimProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def belt_done(self) -> bool:
        """Whether all parts have been disposed. Raises LineError when the simulator does not answer."""
        client: Any = ModbusTcpClient("127.0.0.1", port=self.port, timeout=1.0, retries=0)
        try:
            if not client.connect():
                raise LineError(f"PLC simulator on port {self.port} is not reachable; it has probably ended")
            answer = client.read_holding_registers(BELT, count=1, device_id=self._options.unit_id)
            if answer.isError():
                raise LineError(f"PLC simulator on port {self.port} refuses to show register {BELT}: {answer}")
            return bool(answer.registers[0] == BELT_DONE)
        except ModbusException as error:
            raise LineError(f"PLC simulator on port {self.port} does not answer: {error}") from error
        finally:
            client.close()

    def wait_done(self, timeout_s: float) -> bool:
        """Wait until all parts have been disposed; False when they were not in time."""
        deadline_s = time.monotonic() + timeout_s
        while not self.belt_done():
            if time.monotonic() > deadline_s:
                return False
            time.sleep(_POLL_S)
        return True

    def kill(self) -> None:
        """SIGKILL, as a power cut of the PLC."""
        self.process.kill()
        self.stop()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not help within 3 s. Safe to call twice."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._errors.close()

    def _wait_port(self, timeout_s: float) -> int:
        out = self.process.stdout
        assert out is not None
        ready, _, _ = select.select([out], [], [], timeout_s)
        line = out.readline().decode() if ready else ""
        if line.startswith("listening "):
            return int(line.rsplit(":", 1)[1])
        self.process.kill()
        self.process.wait()
        self._errors.seek(0)
        said = " ".join(self._errors.read().decode(errors="replace").split())[-400:]
        self.stop()
        raise LineError(f"PLC simulator did not start within {timeout_s:.0f} s: {said or 'it said nothing'}")


def start_plc_sim(options: PlcSimOptions | None = None) -> PlcSimProcess:
    """A running PLC simulator with these options; the caller stops it."""
    return PlcSimProcess(options or PlcSimOptions())
