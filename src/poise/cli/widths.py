"""How wide printed tables may be."""

from __future__ import annotations

import shutil

MOST, LEAST = 120, 40


def room() -> int:
    """Columns of the terminal, within what reads well; 80 where there is none.

    >>> LEAST <= room() <= MOST
    True
    """
    return min(MOST, max(LEAST, shutil.get_terminal_size().columns))
