"""SIGKILL at a random moment: what was acknowledged is there, the chain holds, and numbers go on."""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from inspector.ports import RunStart
from inspector.trace import EvidencePolicy, SqliteArchive, open_reader, verify
from inspector.types import VerdictKind

CHILD = """
import os, sys, time
from pathlib import Path
import numpy as np
from inspector.errors import ArchiveFull
from inspector.ports import LINE_OPENED, RunStart
from inspector.trace import EvidencePolicy, SqliteArchive
from inspector.types import Event, Frame, Inspection, PartId, PartKind, Timings, Verdict, VerdictKind

archive = SqliteArchive(Path(sys.argv[1]), slots=16, evidence=EvidencePolicy())
run = archive.begin_run(RunStart("cell 7", "0.1.0"))
archive.note(Event(LINE_OPENED, {"epoch": 1, "counter": 0}))
frame = Frame(np.random.default_rng(1).integers(0, 255, (200, 200), np.uint8), 1, 1, 1)
os.write(1, b"run %d\\n" % run)
sequence = 0
while True:
    sequence += 1
    verdict = VerdictKind.REJECT if sequence % 5 == 0 else VerdictKind.PASS
    inspection = Inspection(PartId(run, sequence), PartKind.PRODUCTION, Verdict(verdict), "r1", Timings(), frame=frame)
    done = lambda error, number=sequence: error is None and os.write(1, b"done %d\\n" % number)
    while True:
        try:
            archive.put(inspection, done)
            archive.note(Event("disposed", {"disposition": "good lane"}, inspection.part))
            break
        except ArchiveFull:
            time.sleep(0.0005)
    time.sleep(0.0002 * (sequence % 7))
"""


def run_and_kill(folder: Path, after_s: float) -> tuple[int, set[int]]:
    """Runs a station's archive until SIGKILL; returns its run number and the sequences that it was told are durable."""
    with subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        first = child.stdout.readline().split()
        time.sleep(after_s)
        child.kill()
        told = [line.split() for line in child.stdout.read().splitlines()]
    return int(first[1]), {int(words[1]) for words in told if len(words) == 2 and words[0] == "done"}


@pytest.mark.parametrize("seed", range(10))
def test_after_a_kill_every_acknowledged_part_is_there_and_numbers_go_on(tmp_path: Path, seed: int, start: RunStart) -> None:
    run, acknowledged = run_and_kill(tmp_path, random.Random(seed).uniform(0.0, 0.3))
    report = verify(tmp_path, pictures=True)
    assert report.ok, (report.broken, report.changed)
    with open_reader(tmp_path) as reader:
        recorded = {row.part.sequence for row in reader.parts(run, limit=100_000)}
    assert acknowledged <= recorded
    archive = SqliteArchive(tmp_path, evidence=EvidencePolicy())
    try:
        past = archive.past_run
        assert past is not None
        assert past.run == run
        assert not past.clean_end
        assert past.newest_sequence == max(recorded, default=None)
        assert set(past.missing) == set(range(1, max(recorded, default=0))) - recorded
        assert archive.begin_run(start) == run + 1
        archive.end_run(4)
    finally:
        archive.close()
    assert verify(tmp_path, pictures=True, head=report.head if report.rows else None).ok
    assert not list((tmp_path / "evidence" / "unfinished").iterdir())
    _every_reject_has_its_picture_or_the_reason(tmp_path, run)


def test_kill_after_kill_on_one_archive(tmp_path: Path) -> None:
    runs = [run_and_kill(tmp_path, 0.05) for _ in range(2)]
    assert [run for run, _ in runs] == [1, 2]
    with open_reader(tmp_path) as reader:
        for run, acknowledged in runs:
            assert acknowledged <= {row.part.sequence for row in reader.parts(run, limit=100_000)}
    assert verify(tmp_path, pictures=True).ok


def _every_reject_has_its_picture_or_the_reason(folder: Path, run: int) -> None:
    with open_reader(folder) as reader:
        rejects = [row.part for row in reader.parts(run, limit=100_000) if row.verdict is VerdictKind.REJECT]
        for part in rejects:
            record = reader.part(part.run, part.sequence)
            assert record is not None
            told: Callable[[str], int] = [event.kind for event in record.events].count
            assert told("picture") + told("picture missing") == 1
