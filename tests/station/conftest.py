"""A whole station on a bench: real engine and archive; camera, line and detector do what each part's plan says.

Test files name the classes for the type checker only (`if TYPE_CHECKING:`); they get them as fixtures.
"""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest

from inspector.checks import Canary
from inspector.clock import now_ns
from inspector.detect.scripted import Answer, ScriptedDetector
from inspector.errors import CameraError, CommandRefused, FrameError, LineError
from inspector.line.direct import DirectLine
from inspector.ports import Archive, CameraInfo, Line, LineSnapshot
from inspector.presence import PresenceCheck
from inspector.recipe import parse
from inspector.station import Product, Settings, Station, StopRules
from inspector.trace import EventRow, EvidencePolicy, PartRecord, PartRow, SqliteArchive, open_reader
from inspector.trace.rows import Row
from inspector.trace.store import Store
from inspector.types import (
    Box,
    Detection,
    Disposition,
    FaultCode,
    Frame,
    Inspection,
    PartId,
    PartKind,
    Pixels,
    StationState,
    Status,
    VerdictKind,
)

SIZE_PX = 32
DEFECT = Detection("defect", 0.9, Box(4, 4, 12, 12))
SEEN = Answer((DEFECT,))
CLEAN = Answer()
_CANARY_MARK = 201
_BRIGHT = 180

Behaviour = Answer | Callable[[], Answer]


@dataclass(frozen=True, slots=True)
class Shot:
    """What the camera makes of one trigger. lost: the id counts, no frame; missed: no frame and no id; dead: the camera is gone."""

    torn: bool = False
    lost: bool = False
    missed: bool = False
    dead: bool = False
    empty: bool = False
    size_px: int = SIZE_PX
    delay_s: float = 0.0


class BenchCamera:
    """Port Camera. `expose` is the trigger wire; `dead` makes every call fail until it is cleared."""

    def __init__(self) -> None:
        self.shots: dict[int, Shot] = {}
        self.dead = False
        self.opened = 0
        self._frame_id = 0
        self._armed = False
        self._waiting: deque[tuple[int, int, int, Shot]] = deque()  # a test's few parts
        self._changed = threading.Condition()

    def expose(self, sequence: int) -> None:
        """The trigger of this part; any thread."""
        with self._changed:
            shot = self.shots.get(sequence, Shot())
            self.dead = self.dead or shot.dead
            if self._armed and not shot.missed and not self.dead:
                self._frame_id += 1
                if not shot.lost:
                    self._waiting.append((sequence, self._frame_id, now_ns(), shot))
            self._changed.notify_all()

    def open(self) -> CameraInfo:
        self._require_alive()
        self.opened += 1
        return CameraInfo("bench camera", "bench", SIZE_PX, SIZE_PX, 1)

    def arm(self) -> None:
        self._require_alive()
        with self._changed:
            self._frame_id, self._armed = 0, True
            self._waiting.clear()

    def grab(self, timeout_s: float) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self.dead or self._waiting, timeout_s)
            self._require_alive()
            if not self._waiting:
                return None
            sequence, frame_id, exposed_ns, shot = self._waiting.popleft()
        time.sleep(shot.delay_s)
        if shot.torn:
            raise FrameError(f"frame {frame_id}: torn, 7 of 1024 bytes arrived", frame_id=frame_id, exposed_ns=exposed_ns, source="bench")
        return Frame(picture(sequence, shot), frame_id, exposed_ns, now_ns(), f"bench {sequence}")

    def close(self) -> None:
        with self._changed:
            self._armed = False
            self._changed.notify_all()

    def _require_alive(self) -> None:
        if self.dead:
            raise CameraError("bench camera: unplugged; plug it in")


def picture(sequence: int, shot: Shot) -> Pixels:
    """A bright part on a dark ground (or none), with its number in the first two pixels."""
    pixels = np.zeros((shot.size_px, shot.size_px), np.uint8)
    if not shot.empty:
        pixels[8:24, 8:24] = _BRIGHT
    pixels[0, 0], pixels[0, 1] = sequence & 0xFF, sequence >> 8 & 0xFF
    return pixels


class ProvingLine:
    """Port Line around another one: looks into the archive with a connection of its own whenever a PASS goes out, and can be cut.

    unproven    parts whose PASS was sent without a durable PASS row
    gate_stuck  every part ends in the good lane
    """

    def __init__(self, inner: Line, folder: Path) -> None:
        self.inner = inner
        self.sent: list[tuple[PartId, VerdictKind, FaultCode | None]] = []
        self.readies: list[tuple[bool, bool]] = []
        self.unproven: list[PartId] = []
        self.cut = False
        self.gate_stuck = False
        self.calls: list[str] = []
        self._folder = folder

    def open(self, run: int) -> LineSnapshot:
        self._live("open")
        return self.inner.open(run)

    def poll(self) -> LineSnapshot:
        self._live("poll")
        snapshot = self.inner.poll()
        if self.gate_stuck:
            return replace(snapshot, disposed=tuple(replace(d, disposition=Disposition.GOOD_LANE) for d in snapshot.disposed))
        return snapshot

    def send(self, part: PartId, verdict: VerdictKind, fault: FaultCode | None = None) -> None:
        self._live(f"send {part.sequence} {verdict}")
        if verdict is VerdictKind.PASS and not self._durable(part):
            self.unproven.append(part)
        self.sent.append((part, verdict, fault))
        self.inner.send(part, verdict, fault)

    def set_ready(self, ready: bool, fault: bool = False) -> None:
        self._live(f"ready {ready}")
        self.inner.set_ready(ready, fault)
        self.readies.append((ready, fault))

    def beat(self) -> None:
        self._live("beat")
        self.inner.beat()

    def close(self) -> None:
        self.calls.append("close")
        self.inner.close()

    def _durable(self, part: PartId) -> bool:
        with open_reader(self._folder) as reader:
            record = reader.part(part.run, part.sequence)
        return record is not None and record.row.judged is VerdictKind.PASS and record.row.verdict is VerdictKind.PASS

    def _live(self, call: str) -> None:
        if call not in ("poll", "beat"):
            self.calls.append(call)
        if self.cut:
            raise LineError("bench line: the cable is cut; mend it")


class Rig:
    """The station and everything around it. Behaviour is by part: `answers` of the detector, `camera.shots` of the camera.

    judged   parts in the order in which the detector got them; decided: what the station told its watcher
    """

    def __init__(self, folder: Path, settings: Settings, line: Line | None = None, archive: Archive | None = None) -> None:
        self.folder = folder
        self.presence: dict[str, Any] = {"method": "off", "why": "bench"}
        self.answers: dict[int, Behaviour] = {}
        self.canary: Behaviour = SEEN
        self.judged: list[int] = []
        self.decided: list[Inspection] = []
        self.product_problem: Exception | None = None
        self.detector_problem: Exception | None = None
        self.disk_full = False
        self.pulsed = 0
        self.camera = BenchCamera()
        self.pulses = DirectLine(on_pulse=self.camera.expose)
        self.proving = ProvingLine(line or self.pulses, folder)
        store = archive or SqliteArchive(folder, evidence=EvidencePolicy(rejects=False))
        self.station = Station(settings, self.camera, self.proving, store, self.prepare, self.decided.append)

    def __enter__(self) -> "Rig":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.station.stop()

    def prepare(self, arguments: dict[str, str]) -> Product:
        """What `activate` loads; {"name": …} names another recipe."""
        if self.product_problem is not None:
            raise self.product_problem
        raw = {
            "name": arguments.get("name", "bench"),
            "frame": {"width": SIZE_PX, "height": SIZE_PX},
            "presence": self.presence,
            "classes": {"defect": {"limit": 0.5}},
        }
        recipe = parse(raw, folder=self.folder)
        canary = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
        canary[0, 2] = _CANARY_MARK
        return Product(recipe, PresenceCheck(recipe), Canary(canary, (DEFECT,)), 1, "bench bundle", "ab" * 32, self.open_detector)

    def open_detector(self) -> ScriptedDetector:
        if self.detector_problem is not None:
            raise self.detector_problem
        return ScriptedDetector(self._script, height=SIZE_PX, width=SIZE_PX)

    def _script(self, _count: int, pixels: Pixels) -> Answer:
        if pixels[0, 2] == _CANARY_MARK:
            behaviour = self.canary
        else:
            sequence = int(pixels[0, 0]) | int(pixels[0, 1]) << 8
            self.judged.append(sequence)
            behaviour = self.answers.get(sequence, CLEAN)
        return behaviour if isinstance(behaviour, Answer) else behaviour()

    # -- what a test does

    def run(self) -> "Rig":
        """Bring the station to RUNNING."""
        self.station.start()
        self.command("start")
        self.await_state(StationState.RUNNING)
        return self

    def command(self, name: str, /, **arguments: str) -> str:
        return self.station.command(name, arguments, "bench")

    def try_command(self, name: str, /, **arguments: str) -> None:
        with suppress(CommandRefused):
            self.command(name, **arguments)

    def trigger(self, answer: Behaviour | None = None, shot: Shot | None = None) -> int:
        """One part, numbered from 1; its sequence."""
        sequence = self.pulsed + 1
        if answer is not None:
            self.answers[sequence] = answer
        if shot is not None:
            self.camera.shots[sequence] = shot
        self.pulsed = self.pulses.pulse()
        assert self.pulsed == sequence
        return sequence

    def status(self) -> Status:
        """The newest snapshot, its balances checked."""
        status = self.station.status()
        b = status.balances
        assert b.triggers == b.passed + b.rejected + b.faulted + b.undecided
        assert b.passed + b.rejected + b.faulted == b.disposed + b.in_transit
        return status

    def await_state(self, *states: StationState, timeout_s: float = 4.0) -> Status:
        """Wait for one of the states in a snapshot that is newer than this call."""
        before = self.station.status().seq
        self.until(
            lambda: self.station.status().seq > before and self.status().state in states,
            lambda: f"{', '.join(states)}, but {self.status()}",
            timeout_s,
        )
        return self.status()

    def await_decided(self, parts: int, timeout_s: float = 4.0) -> None:
        self.until(lambda: self.station.decided() >= parts, lambda: f"{parts} verdicts, but {self.status()}", timeout_s)

    def until(self, holds: Callable[[], bool], wanted: Callable[[], str] = lambda: "it", timeout_s: float = 4.0) -> None:
        give_up = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < give_up, f"waited {timeout_s} s for {wanted()}"
            self.status()
            time.sleep(0.002)

    # -- what the archive says

    def record(self, sequence: int) -> PartRecord:
        """The part's record, once it is durable."""
        found: list[PartRecord] = []

        def there() -> bool:
            with open_reader(self.folder) as reader:
                record = reader.part(self.station.run, sequence)
            found.extend([record] if record is not None else [])
            return record is not None

        self.until(there, lambda: f"a row of part {sequence}")
        return found[0]

    def rows(self) -> list[PartRow]:
        with open_reader(self.folder) as reader:
            return reader.parts(self.station.run, limit=10_000)

    def events(self) -> list[EventRow]:
        """What is recorded of the station, once all that was said so far is durable."""
        marks = [0]

        def settled() -> bool:
            time.sleep(0.05)  # events wait that long for company
            with open_reader(self.folder) as reader:
                marks.append(len(reader.station_events(self.station.run)))
            return marks[-1] == marks[-2]

        self.until(settled)
        with open_reader(self.folder) as reader:
            return reader.station_events(self.station.run)

    def why(self, sequence: int) -> tuple[VerdictKind, str]:
        """The verdict that counts, and the code of its first reason ("" for a PASS)."""
        self.until(lambda: any(part.part.sequence == sequence for part in self.decided), lambda: f"a verdict on part {sequence}")
        self.record(sequence)
        self.until(lambda: self._settled(sequence), lambda: f"the archive and the verdict to agree on part {sequence}")
        row = self.record(sequence).row
        if row.overruled is not None:
            return row.verdict, row.overruled.partition(":")[0]
        return row.verdict, str(row.reasons[0]["code"]) if row.reasons else ""

    def _settled(self, sequence: int) -> bool:
        told = next(part.verdict.kind for part in self.decided if part.part.sequence == sequence)
        return self.record(sequence).row.verdict is told


@pytest.fixture
def make_rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Rig]]:
    """Builds stations on benches; settings are given by name. All are stopped at the end."""
    made: list[Rig] = []
    write = Store.write

    def on_this_disk(store: Store, rows: Sequence[Row]) -> None:
        if any(rig.disk_full and store.path.parent == rig.folder for rig in made):
            raise sqlite3.OperationalError("database or disk is full")
        write(store, rows)

    monkeypatch.setattr(Store, "write", on_this_disk)

    def make(*, folder: Path | None = None, line: Line | None = None, archive: Archive | None = None, **settings: Any) -> Rig:
        base = Settings("bench", kind=PartKind.TEST, deadline_ms=2000, frame_ms=500, detector_ms=2000, poll_ms=1, reconnect_s=0.05)
        chosen = replace(base, **{"stops": StopRules(faults_in_row=None), **settings})
        rig = Rig(folder or tmp_path / f"archive{len(made)}", chosen, line, archive)
        made.append(rig)
        return rig

    yield make
    for rig in made:
        rig.disk_full = False
        rig.station.stop()


@pytest.fixture
def shot() -> type[Shot]:
    """What the camera makes of a trigger."""
    return Shot


@pytest.fixture
def seen() -> Answer:
    """The detector's answer that rejects a part."""
    return SEEN
