"""`inspector plc-sim`: the command of inspector/sim/plc.py, which also runs without the command line."""

from inspector.sim.plc import plc_sim

__all__ = ["plc_sim"]
