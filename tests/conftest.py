"""What holds for every test: nothing is left behind, nothing takes long unseen, nobody's data folder is touched."""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import pytest
from hypothesis import settings

SLOW_S = 5.0
GRACE_S = 2.0  # how long what is being closed may take to go: a process on a busy machine, a socket that lingers
DEEPPCB = "INSPECTOR_DEEPPCB"

# A deadline per example measures the machine, not the law; the time of the whole test is limited already.
settings.register_profile("inspector", deadline=None, print_blob=True)
settings.load_profile("inspector")

Thing = TypeVar("Thing")
_started_at: WeakKeyDictionary[threading.Thread, str] = WeakKeyDictionary()


@pytest.fixture(scope="session")
def deeppcb_dir() -> Path:
    """The DeepPCB data set (docs/datasets.md says how it is laid out); without INSPECTOR_DEEPPCB the test is skipped."""
    named = os.environ.get(DEEPPCB)
    if not named:
        pytest.skip(f"{DEEPPCB} is not set: no real boards to test on")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"{DEEPPCB} names {folder}, which is no folder")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever forgets to say where its data go writes here, and not into the data folder of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INSPECTOR_DATA", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _thread_origins() -> Iterator[None]:
    """Remember where each thread was started, so that a leaked one can be traced to its line."""
    start = threading.Thread.start

    def remembering(thread: threading.Thread) -> None:
        caller = sys._getframe(1)
        _started_at[thread] = f"{caller.f_code.co_filename}:{caller.f_lineno}"
        start(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", remembering)
        yield


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread, a child process or a socket behind.

    Autouse fixtures are set up first and torn down last: all that the test's own fixtures close is closed by now, and what a fixture
    of a wider scope holds was there before.
    """
    threads, children, sockets = _threads(), _children(), _sockets()
    yield
    left = _wait_until_empty(lambda: _threads() - threads)
    started = [f"thread {t.name!r}, started at {_started_at.get(t, 'an unknown place')}" for t in left]
    started += [f"child process {pid} ({_command_of(pid)})" for pid in _wait_until_empty(lambda: _children() - children)]
    started += [f"socket {inode}" for inode in _wait_until_empty(lambda: _sockets() - sockets)]
    if started:
        pytest.fail("left behind: " + "; ".join(started), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Fail a test that takes long without saying so."""
    report = yield
    if call.when == "call" and report.passed and call.duration > SLOW_S and item.get_closest_marker("slow") is None:
        report.outcome = "failed"
        report.longrepr = f"took {call.duration:.1f} s: over {SLOW_S:g} s a test is made faster, or is marked slow"
    return report


def _wait_until_empty(left: Callable[[], set[Thing]]) -> set[Thing]:
    """What is still left when the grace is over."""
    give_up = time.monotonic() + GRACE_S
    while remaining := left():
        if time.monotonic() > give_up:
            return remaining
        gc.collect()  # rubbish may hold a socket; only on suspicion, because it takes time
        time.sleep(0.01)
    return set()


def _threads() -> set[threading.Thread]:
    # pytest-timeout's watchdog belongs to the test run.
    return {t for t in threading.enumerate() if not t.name.startswith("pytest_timeout ")}


def _children() -> set[int]:
    """Child processes of this one, by process id; empty where /proc does not tell (anything but Linux)."""
    pids = {int(pid) for task in _entries("/proc/self/task") for pid in _read(f"/proc/self/task/{task}/children").split()}
    # multiprocessing keeps these two for the life of the process, by design.
    keepers = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
    return {pid for pid in pids if not any(keeper in _command_of(pid) for keeper in keepers)}


def _command_of(pid: int) -> str:
    return _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip() or "ended, and never waited for"


def _sockets() -> set[str]:
    """Open sockets of this process, by inode; empty where /proc does not tell."""
    found = set()
    for descriptor in _entries("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue  # closed between the two calls
        if target.startswith("socket:"):
            found.add(target)
    return found


def _entries(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
