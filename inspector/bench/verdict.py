"""Frame in memory → verdict through the whole station, against the bare infer() of the same model, in turns."""

from dataclasses import dataclass
from pathlib import Path

from inspector.bench.rig import Rig, running_rig
from inspector.bench.spread import Spread
from inspector.build import DetectorChoice
from inspector.bundle import Bundle, find_default_bundle
from inspector.clock import ms, now_ns
from inspector.detect.bare import bare_infer
from inspector.detect.openvino import OpenVinoDetector
from inspector.errors import InspectorError
from inspector.types import VerdictKind

_WARM_UP = 10


@dataclass(frozen=True, slots=True)
class VerdictFigures:
    """Both in ms; the ratios are station ÷ bare, percentile by percentile."""

    station: Spread
    bare: Spread
    device: str
    precision: str

    @property
    def ratio_p50(self) -> float:
        return self.station.p50 / self.bare.p50

    @property
    def ratio_p99(self) -> float:
        return self.station.p99 / self.bare.p99


def measure(folder: Path, choice: DetectorChoice, bundle: Path | None = None, parts: int = 300) -> VerdictFigures:
    """Judge `parts` boards one by one, a bare inference of the same picture between each two. Raises InspectorError."""
    with running_rig(folder, choice, bundle) as rig:
        pictures = rig.pictures
        opened = Bundle.open(bundle or find_default_bundle())
        height, width = pictures[0].shape[:2]
        detector = OpenVinoDetector(
            opened, height=height, width=width, channels=1, device=choice.device, precision=choice.precision, cache_dir=choice.cache
        )
        station_ms, bare_ms = [], []
        try:
            for index in range(parts + _WARM_UP):
                began_ns = now_ns()
                bare_infer(detector, pictures[index % len(pictures)])
                bare_ms.append(ms(now_ns() - began_ns))
                station_ms.append(_one_part(rig))
        finally:
            detector.close()
        status = rig.station.status()
    return VerdictFigures(Spread.of(station_ms[_WARM_UP:]), Spread.of(bare_ms[_WARM_UP:]), status.device, status.precision)


def _one_part(rig: Rig) -> float:
    rig.line.pulse()
    times = rig.next_verdict()
    if times.verdict.kind is VerdictKind.FAULT:
        raise InspectorError(f"a part of the bench faulted: {times.verdict}")
    assert times.timings.decided_ns is not None
    assert times.timings.arrived_ns is not None
    return ms(times.timings.decided_ns - times.timings.arrived_ns)
