"""What readers see, beside a station that writes."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from inspector.errors import ArchiveError
from inspector.ports import RunStart
from inspector.trace import SqliteArchive, open_reader
from inspector.types import Disposition, Event, Inspection, PartId, PartKind, Timings, VerdictKind

OpenArchive = Callable[..., SqliteArchive]
Part = Callable[..., Inspection]
PASS, REJECT, FAULT = VerdictKind.PASS, VerdictKind.REJECT, VerdictKind.FAULT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def archive(open_archive: OpenArchive, part: Part, start: RunStart) -> SqliteArchive:
    """Two runs with the parts 1 to 10 each; every third one a reject."""
    one = open_archive()
    for _ in range(2):
        run = one.begin_run(start)
        for sequence in range(1, 11):
            one.put(part(run, sequence, PASS if sequence % 3 else REJECT))
            one.end_run(4)
    return one


def test_pages_go_through_all_parts_once_in_both_directions(archive: SqliteArchive, folder: Path) -> None:
    del archive
    with open_reader(folder) as reader:
        for newest_first in (False, True):
            for run, expected in ((None, 20), (1, 10), (2, 10), (3, 0)):
                seen, after = [], None
                while page := reader.parts(run, after, 3, newest_first=newest_first):
                    seen += [row.part for row in page]
                    after = page[-1].index
                assert len(seen) == expected
                assert seen == sorted(set(seen), reverse=newest_first)
                assert run is None or {part.run for part in seen} <= {run}


def test_a_part_comes_back_as_it_was_put(archive: SqliteArchive, folder: Path, part: Part) -> None:
    archive.note(Event("sent", {"slot": 3}, PartId(2, 3)))
    archive.note(Event("disposed", {"disposition": "reject confirmed"}, PartId(2, 3)))
    archive.note(Event("disposed", {"disposition": "good lane"}, PartId(2, 3)))
    archive.end_run(4)
    with open_reader(folder) as reader:
        found = reader.part(2, 3)
    put = part(2, 3, REJECT)
    assert found is not None
    assert (found.row.part, found.row.kind, found.row.judged, found.row.verdict) == (put.part, put.kind, REJECT, REJECT)
    assert (found.row.release, found.row.source, found.row.serial, found.row.lot) == (put.release, put.source, None, None)
    assert found.row.reasons[0]["text"] == put.verdict.reasons[0].text
    assert found.row.disposition is Disposition.REJECT_CONFIRMED, "the first report stands"
    assert found.row.utc.endswith("Z")
    assert found.timings == Timings(1, 2, 3, 4, 5, 6)
    assert found.detections == (["short", 0.93, 1, 2, 3, 4],)
    assert found.class_scores == (("short", "edge", 0.93), ("open", "all", 0.05))
    assert found.pose == (0.0, 0.0, None)
    assert (found.presence, found.pixels_sha256, found.picture) == (put.presence, put.pixels_sha256, None)
    assert (found.events[0].kind, found.events[0].data) == ("sent", {"slot": 3})


def test_an_overruling_event_is_what_counts(archive: SqliteArchive, folder: Path) -> None:
    archive.note(Event("overruled", {"verdict": "FAULT", "code": "late", "text": "12 ms late"}, PartId(1, 1)))
    archive.note(Event("overruled", {}, PartId(1, 2)))
    archive.note(Event("overruled", {"verdict": "what?"}, PartId(1, 3)))
    archive.end_run(4)
    with open_reader(folder) as reader:
        rows = {row.part.sequence: row for row in reader.parts(1)}
        assert reader.counts(1) == {PASS: 5, REJECT: 2, FAULT: 3}
        assert reader.counts(2) == {PASS: 7, REJECT: 3, FAULT: 0}
        assert reader.counts(1, PartKind.GOLDEN) == {PASS: 0, REJECT: 0, FAULT: 0}
    assert (rows[1].verdict, rows[1].judged, rows[1].overruled) == (FAULT, PASS, "late: 12 ms late")
    assert [rows[number].verdict for number in (2, 3)] == [FAULT, FAULT], "what is no verdict never counts as a pass"
    assert (rows[4].verdict, rows[4].overruled) == (PASS, None)


def test_what_is_not_there_is_none_or_empty(archive: SqliteArchive, folder: Path) -> None:
    del archive
    with open_reader(folder) as reader:
        assert reader.part(1, 11) is None
        assert reader.counts(9) == {PASS: 0, REJECT: 0, FAULT: 0}
        facts = {"host": "line-3"}
        assert [(run.run, run.station, run.facts) for run in reader.runs()] == [(2, "cell 7", facts), (1, "cell 7", facts)]


def test_a_strange_disposition_reads_as_unknown(archive: SqliteArchive, folder: Path) -> None:
    archive.note(Event("disposed", {"disposition": "flew away"}, PartId(1, 1)))
    archive.end_run(4)
    with open_reader(folder) as reader:
        found = reader.part(1, 1)
    assert found is not None
    assert found.row.disposition is Disposition.UNKNOWN


def test_no_archive_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="name the folder of an archive") as caught:
        open_reader(tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir()), "a reader makes nothing"


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inspector.db").write_bytes(b"a letter to the quality department, not a database at all" * 20)
    with pytest.raises(ArchiveError, match="cannot be read"):
        open_reader(tmp_path)


def test_readers_work_when_the_station_is_down_and_leave_the_files_alone(archive: SqliteArchive, folder: Path) -> None:
    archive.close()
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix == ".db"}
    with open_reader(folder) as reader:
        assert len(reader.parts()) == 20
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix == ".db"} == before


def test_readers_and_the_writer_do_not_hold_each_other_up(archive: SqliteArchive, folder: Path, part: Part, start: RunStart) -> None:
    run = archive.begin_run(start)
    stop, errors = threading.Event(), list[Exception]()

    def read() -> None:
        try:
            with open_reader(folder) as reader:
                while not stop.is_set():
                    counted = sum(reader.counts(run).values())
                    assert counted <= len(reader.parts(run, limit=1000))
        except Exception as error:  # noqa: BLE001 - the top of the thread; asserted below
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    told: list[Exception | None] = []
    for sequence in range(1, 61):
        archive.put(part(run, sequence), told.append)
        stop.wait(0.003)
    archive.end_run(4)
    stop.set()
    thread.join(4)
    assert errors == []
    assert told == [None] * 60
