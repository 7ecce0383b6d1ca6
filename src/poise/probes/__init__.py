"""Probes: what a server really does with each parameter."""
