"""How the error is spent over several looks at growing data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
_NODES = 201  # Gauss-Legendre nodes of the density between two bounds: exact to 1e-9 of a level


def nominal_levels(sizes: Sequence[int], level: float) -> list[float]:
    """The level of each look's own test, so that all looks together err as rarely as `level`.

    The error spent up to a look is in proportion to the data seen. Looks at the same growing data agree with
    each other, so this is cheaper than sharing the level out: what is spent is the chance to cross now, having
    not crossed before, of a sum of independent steps.

    Args:
        sizes: how many units have been seen at each look, rising.
        level: two-sided error of one comparison over all looks, in (0, 1).

    Returns:
        Two-sided nominal levels, one per look.

    Source: Lan and DeMets 1983 (spending); Armitage, McPherson and Rowe 1969 (the recursion).

    >>> [round(x, 4) for x in nominal_levels([10, 20], 0.05)]
    [0.025, 0.0336]
    """
    from scipy.special import ndtr

    assert list(sizes) == sorted(set(sizes)), "looks see ever more"
    nodes, weights = _quadrature()
    found: list[float] = []
    places: Vector = np.zeros(1)  # where the sum may be, having crossed no bound
    masses: Vector = np.ones(1)
    seen = spent = 0.0
    for size in sizes:
        share = level * size / sizes[-1] - spent
        step = np.sqrt(size - seen)
        bound = _bound(places, masses, float(step), share)
        found.append(float(2 * ndtr(-bound / size**0.5)))
        at = nodes * bound
        density = np.exp(-0.5 * ((at[:, None] - places) / step) ** 2) / (step * np.sqrt(2 * np.pi))
        places, masses = at, weights * bound * (density @ masses)
        seen, spent = size, spent + share
    return found


@cache
def _quadrature() -> tuple[Vector, Vector]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes, weights


def _bound(places: Vector, masses: Vector, step: float, share: float) -> float:
    """The bound that the next sum crosses with this probability; the chance falls as the bound rises."""
    from scipy.special import ndtr

    low, high = 0.0, float(np.abs(places).max()) + 12.0 * step
    for _ in range(80):
        middle = (low + high) / 2
        crossed = masses @ (ndtr((places - middle) / step) + ndtr((-places - middle) / step))
        low, high = (middle, high) if crossed > share else (low, middle)
    return high


def planned_sizes(total: int, first: int, most: int) -> list[int]:
    """When to look: blocks that grow by half, from the first to all.

    Args:
        total: units there are.
        first: units of the first look.
        most: looks at most, at least 1.

    Returns:
        Units seen at each look, rising, the last one all.

    >>> planned_sizes(64, 8, 8), planned_sizes(10, 8, 8)
    ([8, 12, 18, 27, 40, 64], [10])
    """
    sizes: list[int] = []
    size = float(first)
    while size * 1.25 < total and len(sizes) < most - 1:
        sizes.append(int(size))
        size *= 1.5
    return [*sizes, total]
