"""Servers that draw by themselves: what is asked of them, and how."""
