"""What a station's own time budget needs: inference and PLC as they are on this machine, with this station.toml."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inspector.bench.spread import Spread
from inspector.build import detector_choice, line, prepare_product
from inspector.bundle import Bundle, find_default_bundle
from inspector.clock import ms, now_ns, wall_utc
from inspector.config import DirectLine, StationConfig
from inspector.detect.tiles import tiles_for
from inspector.errors import ConfigError, DetectorError
from inspector.judge import class_scores, judge
from inspector.ports import Detector
from inspector.recipe import load
from inspector.station import Product
from inspector.timing import Measured
from inspector.trace import SqliteArchive
from inspector.trace.bare import BareCommit
from inspector.types import Frame, Pixels

_WARM_UP = 10
_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class StationFigures:
    """infer: frame in memory → verdict; plc: verdict → acknowledged, with a durable row before it; both ms."""

    infer: Spread
    plc: Spread
    measured: Measured


def measure(config: StationConfig, data: Path, count: int = 1000) -> StationFigures:
    """Measure with the station stopped, and store the figures for `inspector check`. Raises InspectorError, also when it runs."""
    if isinstance(config.line, DirectLine):
        raise ConfigError("line.driver = direct has no round trip to measure; a station with a PLC is measured")
    # Opening the archive proves that no station runs on it: the PLC would otherwise hear two voices.
    SqliteArchive(data).close()
    plc = Spread.of(_plc_ms(config, data, count))
    infer = Spread.of(_infer_ms(config, data, count))
    bundle = Bundle.open(config.product.bundle or find_default_bundle())
    plan = tiles_for(load(config.product.recipe), bundle)
    measured = Measured(
        infer_p999_ms=infer.p999,
        line_p999_ms=plc.p999,
        measured_utc=wall_utc(),
        bundle_sha256=bundle.hash,
        device=config.detector.device,
        precision=config.detector.precision or bundle.card.default_precision,
        frame_width=config.camera.width,
        frame_height=config.camera.height,
        tiles=len(plan.tiles) if plan else 1,
    )
    measured.save(data)
    return StationFigures(infer, plc, measured)


def _plc_ms(config: StationConfig, data: Path, count: int) -> list[float]:
    """The traffic of one verdict, READY low and no slot touched: a durable row, one write, one read."""
    plc, commit = line(config), BareCommit(data)
    durations = []
    try:
        plc.open(0)
        for _ in range(count + _WARM_UP):
            began_ns = now_ns()
            commit.commit()
            plc.beat()
            plc.poll()
            durations.append(ms(now_ns() - began_ns))
    finally:
        plc.close()
        commit.remove()
    return durations[_WARM_UP:]


def _infer_ms(config: StationConfig, data: Path, count: int) -> list[float]:
    product = prepare_product(config.product.recipe, config.product.bundle, detector_choice(config, data))
    frame = _frame(product)
    detector = product.open_detector()
    try:
        return [_one_frame(product, detector, frame) for _ in range(count + _WARM_UP)][_WARM_UP:]
    finally:
        detector.close()


def _one_frame(product: Product, detector: Detector, frame: Pixels) -> float:
    began_ns = now_ns()
    sighting = product.presence.look(frame)
    x1, y1, x2, y2 = product.recipe.region or (0, 0, frame.shape[1], frame.shape[0])
    if product.register is not None:
        # Its time counts; into register with the canary it cannot come, so the canary's own reference goes to the detector.
        product.register(Frame(frame, 1, began_ns, began_ns), sighting.pose)
    detector.start(np.ascontiguousarray(frame[y1:y2, x1:x2]), product.canary.reference)
    if not detector.wait(_WAIT_S):
        detector.cancel()
        raise DetectorError(f"one inference took longer than {_WAIT_S:.0f} s; choose another device")
    found = detector.result()
    judge(found, product.recipe, sighting.pose)
    class_scores(found, product.recipe, sighting.pose)
    return ms(now_ns() - began_ns)


def _frame(product: Product) -> Pixels:
    """The canary, where the detector looks, in a frame of the recipe's size: something to be found, as in a bad part."""
    size = product.recipe.frame
    shape = (size.height, size.width) if product.channels == 1 else (size.height, size.width, product.channels)
    frame = np.zeros(shape, dtype=np.uint8)
    x1, y1, x2, y2 = product.recipe.region or (0, 0, size.width, size.height)
    frame[y1:y2, x1:x2] = product.canary.pixels
    return frame
