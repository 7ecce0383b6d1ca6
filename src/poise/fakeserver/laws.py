"""The law on many rows at once, in any engine's order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.law import ROUNDING

Rows = NDArray[np.float64]  # (R, V), -inf where a token is cut


class Step(NamedTuple):
    """A step of the law: a parameter of poise, or ``exact_k`` (ties at the k-th cut, lower ids stay)."""

    name: str
    value: float


def reshape(logits: Rows, steps: Sequence[Step]) -> Rows:
    """Apply steps in their order; each is the one of `poise.law`, on every row.

    Args:
        logits: (R, V).
        steps: first to last.

    Returns:
        (R, V), -inf where a token is cut.
    """
    for step in steps:
        logits = STEPS[step.name](logits, step.value)
    return logits


def probabilities(logits: Rows) -> Rows:
    """softmax of each row, (R, V)."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def log_probabilities(logits: Rows) -> Rows:
    """ln softmax of each row, (R, V)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def heights(logits: Rows) -> Rows:
    """Cumulated probabilities, (R, V): a uniform number u draws the first token whose height exceeds it."""
    summed = np.cumsum(probabilities(logits), axis=1)
    return np.asarray(summed / summed[:, -1:])  # so that no u below 1 passes the last token that is kept


def _temperature(logits: Rows, value: float) -> Rows:
    if value == 0:
        return np.where(np.arange(logits.shape[1]) == logits.argmax(axis=1)[:, None], logits, -np.inf)
    return np.asarray(logits / value)


def _top_k(logits: Rows, value: float) -> Rows:
    cut = logits.shape[1] - min(int(value), logits.shape[1])
    return np.where(logits >= np.partition(logits, cut, axis=1)[:, cut, None], logits, -np.inf)


def _exact_k(logits: Rows, value: float) -> Rows:
    order = np.argsort(-logits, axis=1, kind="stable")
    return _first(logits, order, np.full(len(logits), int(value)))


def _top_p(logits: Rows, value: float) -> Rows:
    order = np.argsort(-logits, axis=1, kind="stable")
    mass = np.cumsum(np.take_along_axis(probabilities(logits), order, axis=1), axis=1)
    return _first(logits, order, 1 + (mass[:, :-1] < value - ROUNDING).sum(axis=1))


def _min_p(logits: Rows, value: float) -> Rows:
    return np.where(logits >= logits.max(axis=1, keepdims=True) + np.log(value), logits, -np.inf) if value else logits


def _typical_p(logits: Rows, value: float) -> Rows:
    if value == 1:
        return logits
    p = probabilities(logits)
    surprise = np.full_like(p, np.inf)
    np.log(p, out=surprise, where=p > 0)
    surprise = np.where(p > 0, -surprise, np.inf)
    entropy = (p * np.where(p > 0, surprise, 0)).sum(axis=1, keepdims=True)
    shift = np.abs(surprise - entropy)
    order = np.argsort(shift, axis=1, kind="stable")
    mass = np.cumsum(np.take_along_axis(p, order, axis=1), axis=1)
    last = np.minimum((mass < value - ROUNDING).sum(axis=1), p.shape[1] - 1)
    widest = np.take_along_axis(shift, np.take_along_axis(order, last[:, None], axis=1), axis=1)
    return np.where(shift <= widest, logits, -np.inf)


def _first(logits: Rows, order: NDArray[np.intp], count: NDArray[np.intp]) -> Rows:
    """Of each row, the first `count` tokens of its order."""
    kept = np.zeros(logits.shape, dtype=bool)
    np.put_along_axis(kept, order, np.arange(logits.shape[1]) < count[:, None], axis=1)
    return np.where(kept, logits, -np.inf)


STEPS: Mapping[str, Callable[[Rows, float], Rows]] = {
    "temperature": _temperature,
    "top_k": _top_k,
    "exact_k": _exact_k,
    "top_p": _top_p,
    "min_p": _min_p,
    "typical_p": _typical_p,
}
