"""Where the station listens: one station per data folder, whoever died there before."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from inspector.errors import LinkError
from inspector.link.address import LONGEST_PATH_BYTES, claim, require_station, socket_path
from inspector.link.client import LinkClient
from inspector.link.server import LinkServer
from inspector.ports import Controls
from inspector.types import Balances, Frame, Latency, StationState, Status


class Quiet:
    """Controls of a station that does nothing."""

    def status(self) -> Status:
        none = Latency()
        return Status(
            5, "s", "0", 1, StationState.STOPPED, "t", None, None, Balances(), {}, "", "", "", "", "", "", None, None, (), none, none
        )

    def preview(self) -> Frame | None:
        return None

    def command(self, name: str, arguments: dict[str, str], who: str) -> str:
        return f"{name} {arguments} {who}"


DYING = """
import os, signal, sys
from pathlib import Path
from typing import cast
from inspector.link.server import LinkServer
LinkServer(None, Path(sys.argv[1])).start()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_socket_lies_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert socket_path(tmp_path) == tmp_path.resolve() / "run" / "station.sock"
    monkeypatch.chdir(tmp_path)
    assert socket_path(Path("x/../data")) == socket_path(tmp_path / "data")


def test_long_data_folder_gets_a_short_path_that_both_sides_compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = tmp_path.parent.parent
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    one, other = tmp_path / ("ä" * 60) / "one", tmp_path / ("ä" * 60) / "other"
    assert socket_path(one) == socket_path(one)
    assert socket_path(one) != socket_path(other)
    assert socket_path(one).is_relative_to(short)
    assert len(os.fsencode(socket_path(one))) <= LONGEST_PATH_BYTES


def test_no_place_short_enough_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 100)))
    with pytest.raises(LinkError, match="choose a shorter data folder"):
        socket_path(tmp_path / ("x" * 100))


def test_station_with_a_long_data_folder_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = socket_path(tmp_path / ("x" * 120))
    server = LinkServer(Quiet(), path)
    server.start()
    try:
        with LinkClient(path, 2.0) as client:
            assert client.status().seq == 5
    finally:
        server.close()


def test_only_user_and_group_may_come_in(tmp_path: Path) -> None:
    path = tmp_path / "run" / "station.sock"
    controls: Controls = Quiet()
    server = LinkServer(controls, path)
    server.start()
    try:
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    finally:
        server.close()


def test_second_station_on_the_same_data_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run" / "station.sock"
    first, second = LinkServer(Quiet(), path), LinkServer(Quiet(), path)
    first.start()
    try:
        with pytest.raises(LinkError, match="another station runs at"):
            second.start()
        second.close()
        with LinkClient(path, 2.0) as client:
            assert client.status().seq == 5
    finally:
        first.close()


def test_socket_of_a_killed_station_is_refused_by_clients_and_replaced_by_the_next_station(tmp_path: Path) -> None:
    path = tmp_path / "run" / "station.sock"
    assert subprocess.run([sys.executable, "-c", DYING, str(path)], check=False, timeout=20).returncode == -9
    assert path.exists()
    with LinkClient(path, 2.0) as client, pytest.raises(LinkError, match="no station answers"):
        client.status()
    server = LinkServer(Quiet(), path)
    server.start()
    try:
        with LinkClient(path, 2.0) as client:
            assert client.status().seq == 5
    finally:
        server.close()


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(LinkError, match="cannot hold the station's socket"):
        claim(tmp_path / "run" / "station.sock")
    with pytest.raises(LinkError, match="no station answers"):
        require_station(tmp_path / "run" / "station.sock")


def test_lock_that_is_a_link_to_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "station.sock.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LinkError, match="cannot hold the station's socket"):
        claim(tmp_path / "station.sock")
    assert not (tmp_path / "elsewhere").exists()


def test_socket_that_cannot_be_bound_gives_the_lock_back(tmp_path: Path) -> None:
    path = tmp_path / "station.sock"
    path.mkdir()
    with pytest.raises(LinkError, match="cannot listen there"):
        LinkServer(Quiet(), path).start()
    os.close(claim(path))


def test_a_path_that_is_too_long_for_a_socket_is_an_error_not_a_crash(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="no station answers"):
        require_station(tmp_path / ("x" * 120))


def test_a_listening_stranger_that_never_answers_ends_in_time(tmp_path: Path) -> None:
    path = tmp_path / "mute.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mute:
        mute.bind(str(path))
        mute.listen(4)
        with LinkClient(path, 0.3) as client, pytest.raises(LinkError, match=r"did not answer next within 0\.3 s"):
            client.status()
