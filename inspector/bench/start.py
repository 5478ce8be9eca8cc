"""The station as a process: how soon it judges its first part, and how much memory it holds."""

from dataclasses import dataclass
from pathlib import Path

from inspector.clock import NS_PER_S, now_ns
from inspector.errors import InspectorError
from inspector.sim.board_camera_process import BoardCameraProcess
from inspector.sim.boards import Product
from inspector.sim.demo_files import TRAVEL_MS, DemoWiring, write_demo_files
from inspector.sim.plc_process import PlcSimOptions, PlcSimProcess
from inspector.station_process import station_process

_RATE_PER_MIN = 240.0
_PARTS = 40
_WAIT_MS = 500


@dataclass(frozen=True, slots=True)
class StartFigures:
    """first_verdict_s: process started → first verdict, with a warm model cache; resident_mb: after 40 parts; MB of 10^6 bytes."""

    first_verdict_s: float
    resident_mb: float


def measure(folder: Path) -> StartFigures:
    """Start the station twice on the simulated line; the first time fills the model cache. Raises InspectorError."""
    _run(folder, 1)
    return _run(folder, _PARTS)


def _run(folder: Path, parts: int) -> StartFigures:
    folder.mkdir(parents=True, exist_ok=True)
    with BoardCameraProcess() as camera:
        options = PlcSimOptions(rate_per_min=_RATE_PER_MIN, parts=parts, travel_ms=TRAVEL_MS, wire=camera.wire, wait_ready=True)
        with PlcSimProcess(options) as plc:
            toml = write_demo_files(folder, Product(0), DemoWiring(plc.port, camera.frames, camera.control), _RATE_PER_MIN)
            began_ns = now_ns()
            with station_process(toml, folder) as station:
                first_s: float | None = None
                status = station.link.status()
                while now_ns() - began_ns < 180 * NS_PER_S:
                    status = station.link.next(status.seq, wait_ms=_WAIT_MS).status
                    if first_s is None and status.last is not None:
                        first_s = (now_ns() - began_ns) / NS_PER_S
                    if first_s is not None and status.balances.triggers >= parts and plc.belt_done():
                        return StartFigures(round(first_s, 2), _resident_mb(station.pid))
    raise InspectorError(f"the station judged {status.balances.triggers} of {parts} parts in three minutes; it is {status.state}")


def _resident_mb(pid: int) -> float:
    for text in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if text.startswith("VmRSS:"):
            return round(int(text.split()[1]) * 1024 / 1e6, 1)
    raise InspectorError(f"process {pid} does not say how much memory it holds; this figure needs Linux")
