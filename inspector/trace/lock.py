"""One station an archive: a lock file that the kernel releases when the process ends, however it ends.

The file also remembers the highest run number, so that numbers go on when a damaged database had to be moved away.
"""

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path

from inspector.errors import ArchiveError

LOCK = "inspector.lock"


class FolderLock:
    """Holds `folder`/inspector.lock from construction to `release`. `last_run` is the highest run number that it remembers.

    Raises ArchiveError when another process holds it (its pid is named), or the folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        try:
            make_folder(folder)
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
            # The owner alone may change the mode; another user of the group finds it changed already.
            with suppress(PermissionError):
                os.fchmod(self._handle, 0o660)
        except OSError as error:
            raise ArchiveError(
                f"{folder} cannot hold the archive ({error.strerror}): name a folder on a local disk that this user can write to"
            ) from error
        try:
            pid, self.last_run = self._read()
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._handle)
            raise ArchiveError(f"{folder} is in use by another station (process {pid}): stop that one, or name another folder") from error
        self._closed = False
        with suppress(OSError):  # a full disk shows at the first row; the lock holds without its text
            self.remember(self.last_run)

    def remember(self, run: int) -> None:
        """Keep the highest run number. Raises OSError."""
        self.last_run = max(run, self.last_run)
        # Padded to one length and written in place: no moment at which the file is empty.
        content = json.dumps({"pid": os.getpid(), "run": self.last_run}).ljust(63) + "\n"
        os.pwrite(self._handle, content.encode(), 0)

    def release(self) -> None:
        """Let the folder go. Safe to call twice."""
        if not self._closed:
            self._closed = True
            os.close(self._handle)

    def _read(self) -> tuple[int | None, int]:
        try:
            content = json.loads(os.pread(self._handle, 256, 0))
            return int(content["pid"]), int(content["run"])
        except (OSError, ValueError, TypeError, KeyError):
            return None, 0  # new, or torn by a power cut: the kernel's lock and the database are what counts


def make_folder(folder: Path) -> None:
    """Make the folder and its parents; a new one gets 2770, so that readers of the same group can open the database. Raises OSError."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir()
            folder.chmod(0o2770)
        if not folder.is_dir():
            raise NotADirectoryError(20, "a file is in its place", str(folder))


def fsync_folder(folder: Path) -> None:
    """Make a rename in the folder durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
