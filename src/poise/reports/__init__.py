"""A study, or a dial, on one self-contained page."""

from __future__ import annotations

from poise.reports.page import report

__all__ = ["report"]
