"""How far apart two laws of the next token are."""

from __future__ import annotations

from poise.law import Row

EQUAL = 1e-9  # probabilities closer than this are the same


def total_variation(p: Row, q: Row) -> float:
    """Half the sum of |p - q|: the share of draws in which two laws must differ, however they are paired.

    Args:
        p: probabilities, (V,).
        q: the same tokens' probabilities under another law, (V,).

    Returns:
        From 0, the same law, to 1, no token in common.

    >>> import numpy as np
    >>> total_variation(np.array([0.5, 0.5]), np.array([1.0, 0.0]))
    0.5
    """
    return float(abs(p - q).sum() / 2)
