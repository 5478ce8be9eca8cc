"""The grab thread: camera → Frame → inspect. It owns the camera: opens, arms, drains, reopens."""

import threading
from typing import Protocol

from inspector.clock import now_ns
from inspector.errors import CameraError, FrameError
from inspector.ports import Camera, CameraInfo
from inspector.station.messages import CameraArmed, FrameArrived, Supplier, SupplierChanged
from inspector.station.work import Post, Worker
from inspector.types import FaultCode, Frame, Reason

_GRAB_S = 0.1
"""One wait for a frame; short, so that the thread ticks, arms and ends in time."""


class Inspecting(Protocol):
    """Where frames go: room is reserved before a frame is put."""

    def reserve(self) -> bool:
        """Keep room for one frame; False when there is none."""

    def put(self, arming: int, frame: Frame) -> None:
        """Take the frame that room was reserved for."""


class Grab(Worker):
    """Takes every frame that the camera delivers, in every state, so that none waits in the camera for a later part."""

    def __init__(self, camera: Camera, post: Post, inspect: Inspecting, reconnect_s: float) -> None:
        super().__init__("grab")
        self._camera = camera
        self._post = post
        self._inspect = inspect
        self._reconnect_s = reconnect_s
        self._info: CameraInfo | None = None
        self._arming = 0
        self._lock = threading.Lock()
        self._asked_arming = 0
        self.inspecting = False
        """Set by dispatch: frames are handed to inspect while READY is high, and until the parts met there are decided."""
        self.latest: Frame | None = None

    def ask_to_arm(self) -> int:
        """The camera shall count from 1 again; returns the number of that arming. CameraArmed follows. Called by dispatch."""
        with self._lock:
            self._asked_arming += 1
            return self._asked_arming

    def step(self) -> None:
        try:
            if self._info is None:
                self._open()
                return
            self._arm_if_asked(self._info)
            self._take(self._camera.grab(_GRAB_S))
        except FrameError as error:
            reason = Reason(FaultCode.BAD_FRAME.value, str(error))
            self._tell(error.frame_id, error.exposed_ns, now_ns(), error.source, reason)
        except CameraError as error:
            self._lose(str(error))
        except Exception as error:  # noqa: BLE001 - top of the thread: whatever a driver raises becomes a fault of the station
            self._lose(f"camera driver failed: {error!r}")

    def finish(self) -> None:
        self._camera.close()

    def _open(self) -> None:
        info = self._camera.open()
        self._info = info
        self._arming = 0
        self._post(SupplierChanged(Supplier.CAMERA, True, f"{info.name}, {info.width}x{info.height}, {info.driver}"))

    def _arm_if_asked(self, info: CameraInfo) -> None:
        with self._lock:
            asked = self._asked_arming
        if asked != self._arming:
            self._camera.arm()
            self._arming = asked
            self._post(CameraArmed(asked, info))

    def _take(self, frame: Frame | None) -> None:
        if frame is None:
            return
        self.latest = frame
        wanted = self.inspecting
        room = wanted and self._inspect.reserve()
        fault = None
        if not wanted:
            fault = Reason(FaultCode.NOT_READY.value, "exposed while the station was not ready")
        elif not room:
            fault = Reason(FaultCode.OVERRUN.value, "frames come faster than they are inspected")
        # The arrival is told first, so that dispatch always hears of a frame before it hears of its verdict.
        self._tell(frame.frame_id, frame.exposed_ns, frame.arrived_ns, frame.source, fault)
        if room:
            self._inspect.put(self._arming, frame)

    def _tell(self, frame_id: int, exposed_ns: int, arrived_ns: int, source: str, fault: Reason | None = None) -> None:
        self._post(FrameArrived(self._arming, frame_id, exposed_ns, arrived_ns, source, fault))

    def _lose(self, text: str) -> None:
        self._info = None
        self._post(SupplierChanged(Supplier.CAMERA, False, text))
        self._camera.close()
        self.rest(self._reconnect_s)
