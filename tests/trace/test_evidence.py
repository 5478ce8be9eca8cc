"""Pictures: lossless, beside the database, named by their part, and never missing without a reason."""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from inspector.errors import ArchiveError
from inspector.ports import RunStart
from inspector.trace import EvidencePolicy, PartRecord, SqliteArchive, evidence, open_reader, verify
from inspector.trace.evidence import Evidence
from inspector.types import Frame, Inspection, VerdictKind

OpenArchive = Callable[..., SqliteArchive]
Part = Callable[..., Inspection]
Picture = Callable[..., Frame]
PASS, REJECT, FAULT = VerdictKind.PASS, VerdictKind.REJECT, VerdictKind.FAULT


def record(folder: Path, run: int, sequence: int) -> PartRecord:
    with open_reader(folder) as reader:
        found = reader.part(run, sequence)
    assert found is not None
    return found


def reason(folder: Path, run: int, sequence: int) -> Any:
    (event,) = record(folder, run, sequence).events
    assert event.kind == "picture missing"
    return event.data["reason"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


class Gate:
    """Holds the encoder at each picture until opened; counts the pictures that came."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.came = threading.Semaphore(0)
        real = cv2.imencode

        def slow(*args: Any) -> Any:
            self.came.release()
            self.open.wait(4)
            return real(*args)

        monkeypatch.setattr(evidence, "imencode", slow)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


@pytest.mark.parametrize("verdict", [REJECT, FAULT])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_of_a_reject_comes_back_bit_for_bit(
    open_archive: OpenArchive, part: Part, start: RunStart, folder: Path, verdict: VerdictKind, channels: int
) -> None:
    pixels = np.random.default_rng(5).integers(0, 255, (31, 17, 3) if channels == 3 else (31, 17), np.uint8)
    archive = open_archive(evidence=EvidencePolicy())
    run = archive.begin_run(start)
    archive.put(part(run, 1234, verdict, picture=Frame(pixels, 1, 1, 1)))
    archive.end_run(4)
    found = record(folder, run, 1234)
    assert found.picture is not None
    stored = cv2.imread(str(found.picture), cv2.IMREAD_UNCHANGED)
    assert stored is not None
    assert np.array_equal(stored, pixels)
    (event,) = found.events
    content = found.picture.read_bytes()
    assert event.data["sha256"] == hashlib.sha256(content).hexdigest()
    assert event.data["bytes"] == len(content)
    assert "1-1234" in found.picture.name
    assert found.picture.stat().st_mode & 0o777 == 0o660
    assert verify(folder, pictures=True).pictures == 1


def test_a_pass_keeps_its_picture_by_share_only(
    open_archive: OpenArchive, part: Part, picture: Picture, start: RunStart, folder: Path
) -> None:
    archive = open_archive(evidence=EvidencePolicy(pass_share=0.0))
    run = archive.begin_run(start)
    archive.put(part(run, 1, picture=picture()))
    archive.end_run(4)
    archive.close()
    archive = open_archive(evidence=EvidencePolicy(pass_share=1.0))
    again = archive.begin_run(start)
    archive.put(part(again, 1, picture=picture()))
    archive.end_run(4)
    assert record(folder, run, 1).events == ()
    assert record(folder, again, 1).picture is not None


def test_no_frame_is_a_reason(open_archive: OpenArchive, part: Part, start: RunStart, folder: Path) -> None:
    archive = open_archive(evidence=EvidencePolicy())
    run = archive.begin_run(start)
    archive.put(part(run, 1, FAULT))
    archive.end_run(4)
    assert reason(folder, run, 1) == "no frame"


def test_a_full_queue_is_a_reason_and_put_never_waits(
    open_archive: OpenArchive, part: Part, picture: Picture, start: RunStart, folder: Path, gate: Gate
) -> None:
    archive = open_archive(evidence=EvidencePolicy(pictures=2))
    run = archive.begin_run(start)
    for sequence in (1, 2, 3):
        archive.put(part(run, sequence, REJECT, picture=picture()))
    gate.open.set()
    archive.end_run(4)
    assert "too many pictures" in reason(folder, run, 3)
    assert record(folder, run, 1).picture is not None
    assert record(folder, run, 2).picture is not None


def test_the_queue_is_bounded_in_memory_too_but_takes_one_big_frame(
    open_archive: OpenArchive, part: Part, picture: Picture, start: RunStart, folder: Path, gate: Gate
) -> None:
    archive = open_archive(evidence=EvidencePolicy(megabytes=1))
    run = archive.begin_run(start)
    archive.put(part(run, 1, REJECT, picture=picture(1100)))
    archive.put(part(run, 2, REJECT, picture=picture(16)))
    gate.open.set()
    archive.end_run(4)
    assert record(folder, run, 1).picture is not None
    assert "too many pictures" in reason(folder, run, 2)


def test_a_waiting_pass_gives_way_to_a_reject(
    open_archive: OpenArchive, part: Part, picture: Picture, start: RunStart, folder: Path, gate: Gate
) -> None:
    archive = open_archive(evidence=EvidencePolicy(pass_share=1.0, pictures=2))
    run = archive.begin_run(start)
    archive.put(part(run, 1, picture=picture()))
    assert gate.came.acquire(timeout=4)  # the first is being encoded
    durable = threading.Event()
    archive.put(part(run, 2, picture=picture()))
    archive.put(part(run, 3), lambda _: durable.set())  # "no frame": only to know that the second waits for its encoding
    assert durable.wait(4)
    archive.put(part(run, 4, REJECT, picture=picture()))
    gate.open.set()
    archive.end_run(4)
    assert "gave way" in reason(folder, run, 2)
    assert record(folder, run, 4).picture is not None


def test_a_picture_that_cannot_be_encoded_or_written_is_a_reason_and_the_next_one_is_kept(
    open_archive: OpenArchive, part: Part, picture: Picture, start: RunStart, folder: Path
) -> None:
    archive = open_archive(evidence=EvidencePolicy())
    run = archive.begin_run(start)
    (folder / "evidence" / str(run)).mkdir()
    (folder / "evidence" / str(run) / "0000000").write_text("in the way")
    archive.put(part(run, 1, REJECT, picture=Frame(np.zeros((0, 4), np.uint8), 1, 1, 1)))
    archive.put(part(run, 2, REJECT, picture=picture()))
    archive.put(part(run, 1003, REJECT, picture=picture()))
    archive.end_run(4)
    assert "error" in reason(folder, run, 1)
    assert "NotADirectoryError" in reason(folder, run, 2)
    assert record(folder, run, 1003).picture is not None


def test_a_run_does_not_end_cleanly_while_pictures_wait_and_close_says_what_was_lost(
    open_archive: OpenArchive, part: Part, picture: Picture, start: RunStart, folder: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inspector.trace.archive.CLOSE_TIMEOUT_S", 0.2)
    archive = open_archive(evidence=EvidencePolicy())
    run = archive.begin_run(start)
    for sequence in (1, 2):
        archive.put(part(run, sequence, REJECT, picture=picture()))
    assert gate.came.acquire(timeout=4)
    with pytest.raises(ArchiveError, match="pictures of the run"):
        archive.end_run(0.1)
    archive.close()
    assert "closed before" in reason(folder, run, 2)
    gate.open.set()


def test_after_a_crash_rests_go_and_each_reject_gets_its_picture_or_the_reason(
    open_archive: OpenArchive, part: Part, picture: Picture, start: RunStart, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # as a kill would: the files are there or not, the events never
        patch.setattr(SqliteArchive, "_emit", lambda *_: None)
        archive = open_archive(evidence=EvidencePolicy())
        run = archive.begin_run(start)
        archive.put(part(run, 1, REJECT, picture=picture()))
        archive.put(part(run, 2, REJECT))
        archive.end_run(4)
        archive.close()
    unfinished = folder / "evidence" / "unfinished" / "1-2.png"
    unfinished.write_bytes(b"half a pic")
    assert [record(folder, run, sequence).events for sequence in (1, 2)] == [(), ()]
    again = open_archive(evidence=EvidencePolicy())
    again.begin_run(start)
    again.end_run(4)
    assert record(folder, run, 1).picture is not None
    assert "cut off" in reason(folder, run, 2)
    assert not unfinished.exists()
    report = verify(folder, pictures=True)
    assert report.ok
    assert report.pictures == 1


def test_a_changed_and_a_lost_picture_are_named(
    open_archive: OpenArchive, part: Part, picture: Picture, start: RunStart, folder: Path
) -> None:
    archive = open_archive(evidence=EvidencePolicy())
    run = archive.begin_run(start)
    for sequence in (1, 2, 3):
        archive.put(part(run, sequence, REJECT, picture=picture(seed=sequence)))
    archive.end_run(4)
    paths = [record(folder, run, sequence).picture for sequence in (1, 2)]
    assert paths[0] is not None
    assert paths[1] is not None
    content = bytearray(paths[0].read_bytes())
    content[-1] ^= 1
    paths[0].write_bytes(content)
    paths[1].unlink()
    report = verify(folder, pictures=True)
    assert not report.ok
    assert report.broken is None
    assert [text.split(":")[0] for text in report.changed] == [
        "picture of part 1-1 was changed",
        "picture of part 1-2 cannot be read (No such file or directory)",
    ]


def test_encoding_runs_at_low_priority(tmp_path: Path, part: Part, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = cv2.imencode

    def watched(*args: Any) -> Any:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return real(*args)

    monkeypatch.setattr(evidence, "imencode", watched)
    one = Evidence(tmp_path, EvidencePolicy(), lambda _: None)
    try:
        after = one.accept(part(1, 1, REJECT, picture=picture()))
        assert after is not None
        after(True)
        assert one.wait_idle(4)
    finally:
        one.close(4)
    assert seen[0] >= min(19, os.getpriority(os.PRIO_PROCESS, 0) + 1)
