"""Where a station listens, and how it claims that place. Unix only: the link is a Unix socket.

The folder is 0750 and the socket 0660, so the station's user and group may speak to it, and nobody else.
"""

import hashlib
import os
import socket
import sys
import tempfile
from pathlib import Path

from inspector.errors import LinkError

LONGEST_PATH_BYTES = 103
"""What fits into `sockaddr_un` everywhere (Linux takes 107 bytes, macOS 103)."""


def socket_path(data: Path) -> Path:
    """The socket of the station whose data folder is `data`: `<data>/run/station.sock`.

    Where that is too long for a Unix socket it is a short path under XDG_RUNTIME_DIR, or the temp folder, named after a hash of the data
    folder. Station and screen then have to see the same of these two; a shorter data folder makes them independent of it.
    """
    folder = data.expanduser().resolve()
    path = folder / "run" / "station.sock"
    if len(os.fsencode(path)) <= LONGEST_PATH_BYTES:
        return path
    short = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"inspector-{_digest(folder)}" / "station.sock"
    if len(os.fsencode(short)) > LONGEST_PATH_BYTES:
        raise LinkError(f"{short}: too long for a Unix socket ({LONGEST_PATH_BYTES} bytes): choose a shorter data folder, or set TMPDIR")
    return short


def _digest(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]


def require_station(path: Path) -> None:
    """Return if some process listens at `path`. Raises LinkError that says what to do."""
    start = "start it with `inspector run STATION.toml`"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except PermissionError as e:
            raise LinkError(f"{path}: you may not speak to this station: join the group that owns its folder") from e
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as e:
            raise LinkError(f"no station answers at {path}: {start}") from e
        except OSError as e:
            raise LinkError(f"no station answers at {path} ({e.strerror or e}): {start}") from e


def claim(path: Path) -> int:
    """Make the folder of `path`, and lock it for this process; returns the lock's descriptor, to be closed when the socket is.

    The kernel gives the lock back when its process dies, however it dies; so a socket file without a lock is a dead station's, and may be
    replaced. Raises LinkError when another station holds it, or the folder cannot be used.
    """
    if sys.platform == "win32":
        raise LinkError(f"{path}: the link needs Unix sockets, which this platform does not offer: run the station on Linux")
    import fcntl

    folder = path.parent
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():
            raise LinkError(f"{folder}: belongs to another user: run the station as that user, or choose another data folder")
        folder.chmod(0o750)
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as e:
        raise LinkError(f"{folder}: cannot hold the station's socket ({e.strerror or e}): make it writable, or choose another one") from e
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(lock)
        raise LinkError(f"another station runs at {path}: end it with `inspector ctl shutdown`, or give this one a data folder") from e
    return lock
