"""Every error that Inspector raises on purpose.

InspectorError            one clear line: what, where, what to do
├── ConfigError           station.toml, recipe, bundle or release that cannot be used: refused at the start
│   ├── RecipeError
│   └── BundleError
├── CameraError           the camera cannot deliver at all; the part waits no longer, the station faults
│   └── FrameError        one frame is broken; that part faults, the camera goes on
├── DetectorError         no trustworthy detections for this frame; that part faults
├── LineError             the PLC cannot be reached, or answers what it must not
├── ArchiveError          the record cannot be written or read
│   └── ArchiveFull       no room: no record, no pass
├── LinkError             station and screen do not understand or reach each other
└── CommandRefused        a command that the present state or its arguments do not allow
"""


class InspectorError(Exception):
    """Base of all errors raised on purpose; its text is one line for people."""


class ConfigError(InspectorError):
    """A file that describes the station cannot be used; names the file, the key, and what would be right."""


class RecipeError(ConfigError):
    """A recipe that cannot be used."""


class BundleError(ConfigError):
    """A model bundle that cannot be used: missing, changed since it was made, or not fit for the recipe."""


class CameraError(InspectorError):
    """The camera is absent, lost or refuses its settings."""


class FrameError(CameraError):
    """One frame arrived broken (torn, unreadable, of a wrong size or depth).

    `frame_id` and `exposed_ns` tell which trigger it belongs to, as they do for a whole frame.
    """

    def __init__(self, message: str, *, frame_id: int, exposed_ns: int, source: str = "") -> None:
        super().__init__(message)
        self.frame_id = frame_id
        self.exposed_ns = exposed_ns
        self.source = source


class DetectorError(InspectorError):
    """The detector raised, answered nonsense (NaN, scores outside 0..1), or was cancelled."""


class LineError(InspectorError):
    """The PLC or remote I/O cannot be reached in time, or its answer breaks the handshake."""


class ArchiveError(InspectorError):
    """The archive cannot be opened, written or read."""


class ArchiveFull(ArchiveError):
    """The archive has no room left for another record."""


class LinkError(InspectorError):
    """The link between station and screen failed: nobody answers, another version, a malformed message."""


class CommandRefused(InspectorError):
    """A command that the station refuses; the text says why and what would make it possible."""
