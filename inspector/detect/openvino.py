"""The detector on OpenVINO: one compiled network, one request that is used again and again, one picture at a time.

No asynchronous queue: those have no timeout, and a part's verdict has one.
"""

import math
import time
from collections.abc import Sequence
from enum import Enum, auto
from pathlib import Path

import numpy as np
import openvino as ov

from inspector.bundle import Bundle, InputKind, Letterbox
from inspector.detect.decode import Decoder
from inspector.detect.graph import prepared
from inspector.errors import BundleError, DetectorError
from inspector.ports import DetectorInfo
from inspector.types import Detection, Pixels

_CANCEL_MS = 100
"""How long `cancel` waits for the device to let go (0.7 ms on a CPU); after that the request counts as stuck until it answers."""
_KINDS = ("CPU", "GPU", "NPU")
"""Devices that are one thing. AUTO, MULTI, HETERO and BATCH choose behind the station's back, and a choice is a release."""


class _State(Enum):
    IDLE = auto()
    RUNNING = auto()
    DONE = auto()
    GIVEN_UP = auto()
    CLOSED = auto()


class OpenVinoDetector:
    """Port `Detector` for a bundle, frames of one size, and one device.

    height, width (px) and channels (1 mono, 3 B, G, R) are those of the frames; channels have to be what the bundle looks at.
    device is "CPU", "GPU", "GPU.1", "NPU"; precision one of the bundle's, by default the card's. cache_dir keeps compiled models:
    the second start is quicker. threads limits the CPU threads of one inference; by default OpenVINO chooses.

    Raises BundleError when bundle and frames do not fit, DetectorError when the device is not there or does not run the model.
    `info.precision` names the bundle's precision and the one in which the device runs what is not quantised: "int8/f32".
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        height: int,
        width: int,
        channels: int,
        device: str = "CPU",
        precision: str | None = None,
        cache_dir: Path | None = None,
        threads: int | None = None,
    ) -> None:
        _check_channels(bundle, channels)
        letterbox = Letterbox(height, width, bundle.card.height, bundle.card.width)
        self._shape = (height, width) if channels == 1 else (height, width, channels)
        self._tensor_shape = (1, height, width, channels)
        self._needs_reference = bundle.input is InputKind.MONO_REFERENCE
        self._decode = Decoder(bundle.card.layout, bundle.classes, bundle.card.nms_iou, letterbox)
        xml, weights = bundle.model(precision)
        core = ov.Core()
        _check_device(core, device)
        try:
            model = core.read_model(xml, weights)
        except RuntimeError as e:
            raise BundleError(f"{bundle.folder}: OpenVINO {ov.__version__} cannot read the model ({_one_line(e)})") from e
        graph = prepared(model, bundle, letterbox)
        try:
            compiled = core.compile_model(graph, device, _config(device, cache_dir, threads))
            self._request = compiled.create_infer_request()
        except RuntimeError as e:
            raise DetectorError(f"{device} cannot compile {bundle.name} ({_one_line(e)}); choose another device or precision") from e
        self.info = DetectorInfo(
            device=", ".join(compiled.get_property("EXECUTION_DEVICES")),
            precision=f"{precision or bundle.card.default_precision}/{compiled.get_property('INFERENCE_PRECISION_HINT').to_string()}",
            classes=bundle.classes,
            runtime=f"OpenVINO {ov.__version__}",
        )
        self._state = _State.IDLE
        self._held: tuple[Pixels, ...] = ()
        self._warm_up()

    def start(self, pixels: Pixels, reference: Pixels | None = None) -> None:
        """See port. pixels: uint8, (height, width) or (height, width, 3); reference: the same shape, for mono+reference bundles only."""
        self._ready_to_start()
        if self._needs_reference != (reference is not None):
            needs = "needs a reference beside each frame" if self._needs_reference else "does not look at a reference"
            raise DetectorError(f"{self._name()} {needs}: activate a release whose recipe and bundle fit")
        # held, because the device reads these very bytes until it is done
        self._held = tuple(self.as_tensor(plane) for plane in ((pixels,) if reference is None else (pixels, reference)))
        try:
            for i, plane in enumerate(self._held):
                self._request.set_input_tensor(i, ov.Tensor(plane, shared_memory=True))
            self._request.start_async()
        except RuntimeError as e:
            self._held = ()
            raise DetectorError(f"{self._name()} did not start ({_one_line(e)})") from e
        self._state = _State.RUNNING

    def wait(self, timeout_s: float) -> bool:
        """See port."""
        if self._state is _State.DONE:
            return True
        if self._state is not _State.RUNNING:
            raise DetectorError(f"{self._name()} has nothing to wait for: start it first")
        whole_ms = max(0, math.floor(timeout_s * 1000))
        done = self._waited(whole_ms)
        if not done and (rest_s := timeout_s - whole_ms / 1000) > 0:
            # the runtime counts in whole ms: without this, a caller with less than one left would spin
            time.sleep(rest_s)
            done = self._waited(0)
        if done:
            self._state = _State.DONE
        return done

    def result(self) -> Sequence[Detection]:
        """See port."""
        if self._state is not _State.DONE:
            raise DetectorError(f"{self._name()} has no result: wait for it first")
        self._free()
        return self._decode(self._request.get_output_tensor(0).data)

    def cancel(self) -> None:
        """See port. A device that does not let go within a moment makes the next start fail, until it does."""
        if self._state is _State.RUNNING:
            self._request.cancel()
            self._state = _State.GIVEN_UP
            self._let_go(_CANCEL_MS)
        elif self._state is _State.DONE:
            self._free()

    def close(self) -> None:
        """See port."""
        if self._state is _State.CLOSED:
            return
        self.cancel()
        self._state = _State.CLOSED

    def _name(self) -> str:
        return f"detector on {self.info.device}"

    def _free(self) -> None:
        self._held = ()
        self._state = _State.IDLE

    def _ready_to_start(self) -> None:
        if self._state is _State.GIVEN_UP:
            self._let_go(0)
        if self._state is not _State.IDLE:
            why = {
                _State.CLOSED: "is closed",
                _State.GIVEN_UP: "is stuck in a frame that was given up: start the station again if this stays",
            }.get(self._state, "still works on the frame before: take its result or cancel it")
            raise DetectorError(f"{self._name()} {why}")

    def _let_go(self, timeout_ms: int) -> None:
        """Wait until a cancelled request has ended, whatever way it ended."""
        try:
            ended = self._request.wait_for(timeout_ms)
        except RuntimeError:
            ended = True
        if ended:
            self._free()

    def _waited(self, timeout_ms: int) -> bool:
        try:
            return bool(self._request.wait_for(timeout_ms))
        except RuntimeError as e:
            self._free()
            raise DetectorError(f"{self._name()} failed ({_one_line(e)})") from e

    @property
    def request(self) -> ov.InferRequest:
        """The one reused request, for measuring it bare."""
        return self._request

    def as_tensor(self, plane: Pixels) -> Pixels:
        """The plane as the request takes it. Raises DetectorError for another shape or type.

        Shared, not copied, unless it is read-only: OpenVINO shares only what it could write to (it never does).
        """
        if plane.shape != self._shape or plane.dtype != np.uint8 or not plane.flags.c_contiguous:
            what = f"{plane.dtype} {plane.shape}{'' if plane.flags.c_contiguous else ' not contiguous'}"
            raise DetectorError(f"{self._name()} was built for frames of uint8 {self._shape} and got {what}")
        return (plane if plane.flags.writeable else plane.copy()).reshape(self._tensor_shape)

    def _warm_up(self) -> None:
        """One picture through everything: what the device cannot do shows here, and the first part is as fast as the next."""
        black = np.zeros(self._shape, np.uint8)
        self.start(black, black if self._needs_reference else None)
        if not self.wait(60):
            self.cancel()
            raise DetectorError(f"{self._name()} did not answer its first picture within 60 s; choose another device")
        self.result()


def _check_channels(bundle: Bundle, channels: int) -> None:
    needed = 3 if bundle.input is InputKind.BGR else 1
    if channels != needed:
        names = {1: "mono", 3: "colour"}
        raise BundleError(
            f"{bundle.name} looks at {names[needed]} frames ({bundle.input}), the camera delivers {names.get(channels, str(channels))}: "
            "set the camera's pixel format, or choose another bundle"
        )


def _check_device(core: ov.Core, device: str) -> None:
    available = core.available_devices
    known = device in available or (device in _KINDS and any(a.startswith(f"{device}.") for a in available))
    if not known or device.split(".")[0] not in _KINDS:
        raise DetectorError(f"device {device} is not there or not one device: choose one of {', '.join(available)}")


def _config(device: str, cache_dir: Path | None, threads: int | None) -> dict[str, str]:
    config = {"PERFORMANCE_HINT": "LATENCY"}
    if cache_dir is not None:
        config["CACHE_DIR"] = str(cache_dir)
    if threads is not None and device == "CPU":
        config["INFERENCE_NUM_THREADS"] = str(threads)
    return config


def _one_line(error: Exception) -> str:
    """OpenVINO's errors run over several lines, source positions first: the last ones say what happened."""
    return " ".join(str(error).split())[-300:]
