"""Pictures a second, flat out and preloaded, against OpenVINO's own benchmark_app, in turns."""

import re
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from inspector.bench.rig import Rig, running_rig
from inspector.build import DetectorChoice
from inspector.bundle import Bundle, find_default_bundle
from inspector.clock import NS_PER_S, now_ns
from inspector.errors import InspectorError

_AHEAD = 4
_FPS = re.compile(r"Throughput:\s+([0-9.]+) FPS")


@dataclass(frozen=True, slots=True)
class ThroughputFigures:
    """Pictures a second: medians over the rounds."""

    station_hz: float
    benchmark_app_hz: float
    rounds: int

    @property
    def ratio(self) -> float:
        return self.station_hz / self.benchmark_app_hz


def measure(folder: Path, choice: DetectorChoice, bundle: Path | None = None, rounds: int = 3, seconds: float = 8.0) -> ThroughputFigures:
    """`rounds` times: benchmark_app -hint latency -api sync -nireq 1, then the station. Raises InspectorError."""
    opened = Bundle.open(bundle or find_default_bundle())
    files = opened.card.precisions[choice.precision or opened.card.default_precision]
    model = opened.folder / files.model
    ours, theirs = [], []
    with running_rig(folder, choice, bundle) as rig:
        for _ in range(rounds):
            theirs.append(_benchmark_app(model, choice.device, seconds))
            ours.append(_flat_out(rig, seconds))
    return ThroughputFigures(statistics.median(ours), statistics.median(theirs), rounds)


def _flat_out(rig: Rig, seconds: float) -> float:
    under_way = done = 0
    began_ns = now_ns()
    while now_ns() - began_ns < seconds * NS_PER_S or under_way:
        while under_way < _AHEAD and now_ns() - began_ns < seconds * NS_PER_S:
            rig.line.pulse()
            under_way += 1
        rig.next_verdict()
        under_way -= 1
        done += 1
    return done / ((now_ns() - began_ns) / NS_PER_S)


def _benchmark_app(model: Path, device: str, seconds: float) -> float:
    app = Path(sys.executable).with_name("benchmark_app")
    command = [str(app), "-m", str(model), "-d", device, "-hint", "latency", "-api", "sync", "-nireq", "1", "-t", str(round(seconds))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    found = _FPS.search(done.stdout)
    if done.returncode != 0 or found is None:
        raise InspectorError(f"benchmark_app gave no figure: {(done.stderr or done.stdout).strip()[-200:]}")
    return float(found[1])
