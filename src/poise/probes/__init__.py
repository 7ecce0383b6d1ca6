"""Probes: what a server really does with each parameter."""

from poise.probes.probing import BUDGET, probe, probe_wire

__all__ = ["BUDGET", "probe", "probe_wire"]
