"""How many rows are computed for a wanted number."""

from __future__ import annotations

from typing import NamedTuple


class Padding(NamedTuple):
    """How many rows to compute for a wanted number, so that a row's bits never change.

    Args:
        least: rows at least.
        multiple: and a multiple of this.
        most: rows at most; more are computed in several batches.
        verified: whether the self-test found every size alike.
    """

    least: int
    multiple: int
    most: int
    verified: bool

    def rows(self, wanted: int) -> int:
        """Rows to compute."""
        return max(self.least, -(-wanted // self.multiple) * self.multiple)
