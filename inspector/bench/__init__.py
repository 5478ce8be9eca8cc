"""Figures of this machine: each a ratio to the bare thing, measured in turns in one run, because machines are noisy."""
