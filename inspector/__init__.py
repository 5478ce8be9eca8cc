"""Inspector: an inspection station that can prove what happened to every part."""

import sys

__version__ = "0.1.0"

# The station speaks to nobody but its line: OpenVINO reports each import to its maker unless its reporter cannot be found.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
