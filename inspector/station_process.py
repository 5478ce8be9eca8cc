"""The station as a child process: started with `python -m inspector run`, reached over the link, ended safely."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from inspector.errors import InspectorError, LinkError
from inspector.link.address import socket_path
from inspector.link.client import LinkClient

_START_S = 120.0
_END_S = 15.0


@dataclass(frozen=True, slots=True)
class StationProcess:
    """A running station: its process id, and the link to it."""

    pid: int
    link: LinkClient


@contextmanager
def station_process(station_toml: Path, data: Path) -> Iterator[StationProcess]:
    """Start the station of `station_toml` and end it with SIGTERM on leaving; what it says goes to `data`/station.log.

    Raises InspectorError with its last words when it does not start, or does not end well.
    """
    refuse_company(data)
    command = [sys.executable, "-m", "inspector", "run", str(station_toml), "--data", str(data), "--parent", str(os.getpid())]
    with (data / "station.log").open("w", encoding="utf-8") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
    try:
        with _connect(process, data) as link:
            yield StationProcess(process.pid, link)
    finally:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise InspectorError(f"the station ended with status {process.returncode}: {_last_words(data)}")


def refuse_company(data: Path) -> None:
    """Raise InspectorError when a station runs on this data folder already."""
    link = LinkClient(socket_path(data))
    try:
        pid = link.status().pid
    except LinkError:
        return
    finally:
        link.close()
    raise InspectorError(f"a station (process {pid}) runs in {data} already; stop it, or name another folder with --data")


def _connect(process: subprocess.Popen[bytes], data: Path) -> LinkClient:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        link = LinkClient(socket_path(data))
        try:
            other = link.status().pid != process.pid
        except LinkError:
            link.close()
            time.sleep(0.05)
            continue
        if not other:
            return link
        link.close()
        raise InspectorError(f"another station answers in {data}; stop it, or name another folder with --data")
    raise InspectorError(f"the station did not start: {_last_words(data)}")


def _last_words(data: Path) -> str:
    lines = (data / "station.log").read_text(encoding="utf-8").splitlines()
    return lines[-1] if lines else "it said nothing"
