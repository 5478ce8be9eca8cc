"""No record, no pass: the disk is full, slow or gone while the line runs."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inspector.detect.scripted import Answer
from inspector.errors import ArchiveError
from inspector.station import core
from inspector.trace import PartRow, SqliteArchive, open_reader, verify, writer
from inspector.trace.rows import Row
from inspector.trace.store import Store
from inspector.types import StationState, VerdictKind

if TYPE_CHECKING:
    from tests.station.conftest import Rig

MakeRig = Callable[..., "Rig"]


def sent(rig: "Rig", number: int) -> list[VerdictKind]:
    return [verdict for part, verdict, _ in rig.proving.sent if part.sequence == number]


def told(rig: "Rig", number: int) -> str:
    """The code of the verdict as the station's watcher heard it, without waiting for the disk."""
    rig.until(lambda: any(part.part.sequence == number for part in rig.decided))
    verdict = next(part.verdict for part in rig.decided if part.part.sequence == number)
    return verdict.reasons[0].code if verdict.reasons else verdict.kind.value


def test_a_full_disk_rejects_by_itself_and_the_line_comes_back_when_there_is_room(make_rig: MakeRig, seen: Answer) -> None:
    rig = make_rig().run()
    rig.disk_full = True
    number = rig.trigger()
    # Which comes first: word of this row, or word that the archive takes none.
    assert told(rig, number) in ("no record", "not ready")
    assert "disk is full" in rig.decided[-1].verdict.reasons[0].text
    assert sent(rig, number) == [VerdictKind.FAULT]
    cause = rig.await_state(StationState.FAULT).cause
    assert cause is not None
    assert "disk is full" in cause.text
    assert rig.proving.readies[-1] == (False, True)
    refused = rig.trigger(seen)
    assert told(rig, refused) == "not ready"
    rig.disk_full = False
    rig.await_state(StationState.RUNNING)
    good = rig.trigger()
    assert rig.why(good) == (VerdictKind.PASS, "")
    assert rig.why(number)[0] is VerdictKind.FAULT
    assert rig.record(number).row.judged is VerdictKind.PASS, "its row, written late, is overruled"
    assert rig.why(refused) == (VerdictKind.FAULT, "not ready")
    assert rig.proving.unproven == []


def test_a_reject_goes_out_while_the_disk_is_full_and_its_row_follows(make_rig: MakeRig, seen: Answer) -> None:
    rig = make_rig().run()
    rig.disk_full = True
    number = rig.trigger(seen)
    assert told(rig, number) == "defect"
    assert sent(rig, number) == [VerdictKind.REJECT]
    rig.await_state(StationState.FAULT)
    rig.disk_full = False
    rig.await_state(StationState.RUNNING)
    assert rig.why(number) == (VerdictKind.REJECT, "defect")


def test_a_row_that_is_durable_too_late_is_no_pass(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = make_rig(deadline_ms=120.0, frame_ms=100.0).run()
    write = Store.write

    def slow(store: Store, rows: Sequence[Row]) -> None:
        if any(row.table == "parts" for row in rows):
            time.sleep(0.3)
        write(store, rows)

    monkeypatch.setattr(Store, "write", slow)
    number = rig.trigger()
    assert told(rig, number) == "no record"
    assert sent(rig, number) == [VerdictKind.FAULT]
    monkeypatch.setattr(Store, "write", write)
    assert rig.why(number) == (VerdictKind.FAULT, "no record")


def test_a_disk_that_lets_go_of_the_file_passes_nothing(make_rig: MakeRig) -> None:
    rig = make_rig().run()
    files = sorted(rig.folder.glob("inspector.db*"))
    away = rig.folder / "away"
    away.mkdir()
    for path in files:
        path.rename(away / path.name)
    number = rig.trigger()
    assert told(rig, number) == "no record"
    cause = rig.await_state(StationState.FAULT).cause
    assert cause is not None
    assert "is gone" in cause.text
    for path in files:
        (away / path.name).rename(path)
    rig.await_state(StationState.RUNNING)
    assert rig.why(number) == (VerdictKind.FAULT, "no record")


def test_the_rows_of_a_long_outage_are_all_there_afterwards(make_rig: MakeRig, seen: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """More parts than the archive has slots for: they wait in the station, in order."""
    monkeypatch.setattr(writer, "BACKOFF_S", (0.05, 0.2))
    rig = make_rig().run()
    rig.disk_full = True
    rig.trigger()
    rig.await_state(StationState.FAULT)
    numbers = [rig.trigger(seen) for _ in range(150)]
    rig.await_decided(len(numbers) + 1)
    rig.disk_full = False
    rig.await_state(StationState.RUNNING)
    rig.until(lambda: len(rig.rows()) == len(numbers) + 1)
    rig.station.stop()
    assert rig.station.problem_at_end is None
    assert verify(rig.folder).ok


def test_parts_that_could_not_be_recorded_before_the_end_are_found_by_the_next_run(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "_END_S", 0.5)
    first = make_rig(deadline_ms=200.0, frame_ms=100.0).run()
    assert first.why(first.trigger()) == (VerdictKind.PASS, "")
    first.disk_full = True
    lost = first.trigger()
    assert told(first, lost) == "no record"
    later = first.trigger()
    assert told(first, later) in ("no record", "not ready")
    first.station.stop()
    assert first.station.problem_at_end is not None
    first.disk_full = False
    # The next station looks at the same line: the belt's count is the witness of what has no row.
    second = make_rig(folder=first.folder, line=first.pulses).run()
    second.until(lambda: {row.part.sequence for row in all_rows(second) if row.part.run == first.station.run} == {1, lost, later})
    faults = [row for row in all_rows(second) if row.part.sequence in (lost, later)]
    assert [row.verdict for row in faults] == [VerdictKind.FAULT] * 2
    assert second.station.run == first.station.run + 1


def all_rows(rig: "Rig") -> list[PartRow]:
    """Rows of every run."""
    with open_reader(rig.folder) as reader:
        return reader.parts(limit=1000)


def test_a_station_whose_archive_cannot_begin_a_run_does_not_start(
    make_rig: MakeRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(_store: Store, _rows: Sequence[Row]) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    archive = SqliteArchive(tmp_path / "archive")
    monkeypatch.setattr(Store, "write", dead)
    with pytest.raises(ArchiveError, match="disk I/O error"):
        make_rig(archive=archive)
    archive.close()
