"""Pictures as parts through the station: a line in the same process, software triggers, no deadline."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from inspector.build import DetectorChoice, preparer
from inspector.camera.folder import FolderCamera
from inspector.clock import now_ns
from inspector.errors import InspectorError
from inspector.line.direct import DirectLine
from inspector.reference import Register
from inspector.station import Settings, Station, StopRules
from inspector.trace import EvidencePolicy, SqliteArchive
from inspector.types import Inspection, PartKind, StationState

_START_S = 120.0
"""The longest start: compiling for some devices takes most of it."""
_AHEAD = 4
"""Parts that are triggered ahead of their verdicts: so many frames the station holds, and inference never waits for a picture."""


class PicturesRun:
    """A started station that judges pictures. `feed` triggers them one after the other; verdicts come to `watch`."""

    def __init__(self, station: Station, camera: FolderCamera, line: DirectLine) -> None:
        self._station = station
        self._camera = camera
        self._line = line

    @property
    def files(self) -> tuple[Path, ...]:
        return self._camera.files

    @property
    def station(self) -> Station:
        return self._station

    def start(self) -> None:
        """Bring the station to RUNNING. Raises InspectorError with its stop cause when that does not succeed."""
        self._station.start()
        self._station.command("start", {}, "inspect")
        waited = threading.Event()
        for _ in range(int(_START_S / 0.01)):
            status = self._station.status()
            if status.state is StationState.RUNNING:
                return
            if status.state is StationState.FAULT and status.cause is not None:
                raise InspectorError(status.cause.text)
            waited.wait(0.01)
        raise InspectorError(f"the station did not start within {_START_S:.0f} s")

    def feed(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Trigger every picture once, never more than a few ahead. Raises InspectorError when the station leaves RUNNING meanwhile."""
        pause = threading.Event()
        fed = 0
        while fed < len(self._camera.files) or self._station.decided() < fed:
            running = self._running()
            if stopped():
                return
            if running and fed < len(self._camera.files) and fed - self._station.decided() < _AHEAD:
                self._line.pulse()
                fed += 1
            else:
                pause.wait(0.001)

    def _running(self) -> bool:
        """False while the station starts again: frames are bound by their count alone, so no part may come while it is armed."""
        status = self._station.status()
        if status.state not in (StationState.RUNNING, StationState.STARTING):
            cause = status.cause.text if status.cause is not None else "no cause given"
            raise InspectorError(f"the station is {status.state}: {cause}")
        return status.state is StationState.RUNNING


@contextmanager
def pictures_run(
    camera: FolderCamera,
    recipe: Path,
    bundle: Path | None,
    choice: DetectorChoice,
    data: Path,
    watch: Callable[[Inspection], None],
    register: Register | None = None,
) -> Iterator[PicturesRun]:
    """A station over these pictures, stopped and recorded on leaving; `register` brings each picture's own reference.

    Raises InspectorError.
    """
    # A count of its own each time: what an earlier run of pictures left open says nothing about this one.
    line = DirectLine(on_pulse=lambda _: camera.trigger(), epoch=now_ns() & 0x7FFFFFFF)
    archive = SqliteArchive(data, evidence=EvidencePolicy())
    try:
        rules = StopRules(faults_in_row=None)
        settings = Settings(station="pictures", kind=PartKind.TEST, frame_ms=30_000, detector_ms=60_000, poll_ms=50, stops=rules)
        station = Station(settings, camera, line, archive, preparer(recipe, bundle, choice, register), watch)
    except BaseException:
        archive.close()
        raise
    try:
        yield PicturesRun(station, camera, line)
    finally:
        station.stop()
    if station.problem_at_end is not None:
        raise InspectorError(f"not all was recorded: {station.problem_at_end}")
