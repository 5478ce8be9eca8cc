"""The line: threads, states, and the one place where parts get their verdicts. Knows no driver, only ports."""

from inspector.station.core import Prepare, Station
from inspector.station.product import Product
from inspector.station.settings import Settings
from inspector.station.stops import StopRules

__all__ = ["Prepare", "Product", "Settings", "Station", "StopRules"]
