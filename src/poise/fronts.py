"""Pareto sets of two metrics, with the probability of being in one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
RESAMPLES = 2_000
_STEP = 100  # resamples judged at once: bounds memory


class Member(NamedTuple):
    """A setting's place in the trade-off of two metrics.

    Args:
        place: its position.
        on_front: whether no other setting has better means in both.
        probability: that this holds for prompts like these.
    """

    place: int
    on_front: bool
    probability: float


def front(first: Matrix, second: Matrix, senses: tuple[int, int]) -> list[Member]:
    """Who is on the front, and how surely.

    Prompts are reweighted at random (the Bayesian bootstrap): no text is counted twice as if drawn twice, and
    each prompt keeps its part of both metrics.

    Args:
        first, second: (P, K): per prompt and setting; signed distances where the mean is held near a target.
        senses: +1 where larger is better, -1 where smaller is, 0 where the mean is held near 0.

    Returns:
        One member per setting, in order.

    Source: Rubin 1981 (Bayesian bootstrap).
    """
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(len(first)), RESAMPLES)
    inside = np.zeros(first.shape[1])
    for start in range(0, RESAMPLES, _STEP):
        w = weights[start : start + _STEP]
        inside += _undominated(_worth(w @ first, senses[0]), _worth(w @ second, senses[1])).sum(axis=0)
    whole = np.full((1, len(first)), 1 / len(first))
    seen = _undominated(_worth(whole @ first, senses[0]), _worth(whole @ second, senses[1]))[0]
    return [Member(i, bool(seen[i]), float(inside[i] / RESAMPLES)) for i in range(len(seen))]


def _worth(means: Matrix, sense: int) -> Matrix:
    """Larger is better."""
    return np.asarray(sense * means if sense else -np.abs(means))


def _undominated(a: Matrix, b: Matrix) -> NDArray[np.bool_]:
    """(R, K) each: whether no other setting is as good in both and better in one."""
    as_good = (a[:, None, :] >= a[:, :, None]) & (b[:, None, :] >= b[:, :, None])
    better = (a[:, None, :] > a[:, :, None]) | (b[:, None, :] > b[:, :, None])
    return np.asarray(~(as_good & better).any(axis=2))
