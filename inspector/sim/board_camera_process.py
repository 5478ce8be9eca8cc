"""Starts and stops the simulated camera as a process of its own."""

import os
import select
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from inspector.errors import CameraError
from inspector.sim.board_camera import CameraOptions

_START_S = 15.0
_STOP_S = 3.0


class BoardCameraProcess:
    """Context manager around `python -m inspector.sim.board_camera`; its endpoints are known before it starts.

    Without endpoints it takes ipc sockets in a folder of its own, which goes with it. The process also ends when its parent dies.
    """

    def __init__(
        self,
        options: CameraOptions | None = None,
        *,
        wire: str | None = None,
        frames: str | None = None,
        control: str | None = None,
        quiet: bool = True,
    ) -> None:
        """`quiet` keeps the camera's remarks (lost frames, unknown commands) off stderr."""
        self.options = options or CameraOptions()
        self._folder = tempfile.TemporaryDirectory(prefix="camera-")
        self.wire = wire or self._endpoint("wire")
        self.frames = frames or self._endpoint("frames")
        self.control = control or self._endpoint("control")
        self._quiet = quiet
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start and wait until the sockets are bound. Raises CameraError when it ends, or is not ready after 15 s."""
        errors = subprocess.DEVNULL if self._quiet else None
        self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        assert self._process.stdout is not None
        said = b""
        until = time.monotonic() + _START_S
        while b"\n" not in said and time.monotonic() < until:
            if select.select([self._process.stdout], [], [], 0.1)[0]:
                new = os.read(self._process.stdout.fileno(), 100)
                if not new:
                    break
                said += new
        if said != b"ready\n":
            self.stop()
            raise CameraError(f"simulated camera at {self.wire}: did not start; run it by hand: {' '.join(self._command()[1:3])} --help")

    def kill(self) -> None:
        """SIGKILL, as if the camera were unplugged."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_S)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            with ExitStack() as guard:
                if process.stdout is not None:
                    guard.callback(process.stdout.close)
                process.terminate()
                try:
                    process.wait(_STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(_STOP_S)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        self._folder.cleanup()

    def _endpoint(self, name: str) -> str:
        return f"ipc://{Path(self._folder.name) / name}"

    def _command(self) -> list[str]:
        options = self.options
        command = [sys.executable, "-m", "inspector.sim.board_camera", "--parent", str(os.getpid())]
        command += ["--wire", self.wire, "--frames", self.frames, "--control", self.control]
        command += ["--seed", str(options.seed), "--product", str(options.product)]
        command += ["--defect-rate", str(options.defect_rate), "--odd-rate", str(options.odd_rate), "--delay-ms", str(options.delay_ms)]
        for name, pulses in (("--drop", options.drop), ("--miss", options.miss), ("--torn", options.torn)):
            for pulse in sorted(pulses):
                command += [name, str(pulse)]
        return command
