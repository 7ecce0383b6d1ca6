"""Which of several laws drew these tokens: ratios of likelihoods, and the errors they promise.

If law B drew the tokens, the product over places of p_A / p_B has an expectation of at most 1 whenever one looks, so it
exceeds 1/α with a probability of at most α (Ville 1939). That holds for bounds as well: any A that sums to at most 1,
over any B that is at least as large as the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from poise.probes.draws import Column, Draws, Rows
from poise.probes.shapes import Prediction, Shape, predict

ALPHA = 1e-4  # how often a value that is honoured is judged not to be, at most
BETA = 1e-3  # how often a value that is ignored is judged to be honoured, at most
AGAINST, FOR = float(-np.log(ALPHA)), float(-np.log(BETA))  # nats
CLIP = float(np.log(1000))  # nats that one token may count: no lone oddity decides
RIVALRY = float(np.log(10))  # nats that another reading may be ahead of the one that is accepted
_SAME, _WORTH = 0.03, 40.0  # distance of two lists of one law at most; nats for a distance of 1 between laws
_FIXED = 0.02  # bounds of a probability closer than this fix it


class Rival(NamedTuple):
    """A reading of a value.

    Args:
        said: what the server would do, as in "acts as …".
        laws: any of these; which is not known.
        ignored: whether the value would change nothing.
        value: of the parameter, as it would act; None where it is none of its values.
        close: whether it is easily taken for the value itself, or for nothing.
    """

    said: str
    laws: tuple[Shape, ...]
    ignored: bool = False
    value: float | None = None
    close: bool = False


class Book:
    """Draws with what each law says of them, computed once.

    Args:
        draws: the tokens.
        copies: whether the texts may be drawn with the same luck, so that they count as one.
    """

    def __init__(self, draws: Draws, copies: bool = False) -> None:
        self.draws, self.copies = draws, copies
        self._said: dict[Shape, Prediction] = {}

    def said(self, shape: Shape) -> Prediction:
        """What a law predicts."""
        if shape not in self._said:
            self._said[shape] = predict(self.draws, shape)
        return self._said[shape]

    def nats(self, ahead: Sequence[Shape], behind: Sequence[Shape]) -> float:
        """ln of the evidence for the one reading over the other.

        Args:
            ahead: laws of which one is meant, each as likely as the others beforehand.
            behind: laws of which any may hold, at each place another.

        Returns:
            Nats; above ln(1/α) with a probability of at most α if `behind` is the truth.
        """
        each = [
            self._sum(np.min([factors(self.draws, self.said(a), self.said(b)) for b in behind], axis=0)) for a in ahead
        ]
        return log_mean(each)

    def _sum(self, found: Column) -> float:
        """Over all texts; of texts that share their luck, the mean of the evidence instead of the product."""
        if not self.copies or not len(self.draws.histories):
            return float(found.sum())
        per_text = np.bincount(self.draws.text, found, len(self.draws.histories))
        return log_mean(per_text.tolist())


def factors(draws: Draws, a: Prediction, b: Prediction) -> Column:
    """ln of p_A / p_B of each drawn token, never more than that, (P,); 0 where it cannot be told.

    Args:
        draws: the tokens.
        a: the law whose probability is above, or any that sums to at most 1.
        b: the law below: where only bounds are known, the upper one is taken.

    Returns:
        Nats, between -CLIP and CLIP.
    """
    if draws.seen is not None:
        return _nearer(draws, a, b)
    inside = (draws.drawn >= 0) & (draws.drawn < draws.width)
    listed, other = _ratios(a, b)
    at = np.where(inside, draws.drawn, 0)[:, None]
    found = np.where(inside, np.take_along_axis(listed, at, axis=1)[:, 0], other)
    return np.where(a.sure & b.sure & draws.telling, found, 0.0)


def _nearer(draws: Draws, a: Prediction, b: Prediction) -> Column:
    """How much nearer A's probabilities are to those listed than B's, in the same coin as `factors`, (P,)."""
    assert draws.seen is not None
    seen = np.where(draws.special, 0.0, draws.seen)
    seen = seen / np.maximum(seen.sum(axis=1, keepdims=True), 1e-300)
    off = [np.maximum(np.abs(np.exp(p.logp) - seen).sum(axis=1) / 2, _SAME) for p in (a, b)]
    return np.where(a.sure & b.sure, np.clip((off[1] - off[0]) * _WORTH, -CLIP, CLIP), 0.0)


def expected(a: Prediction, b: Prediction) -> Column:
    """Nats that a token drawn by A gives for A over B, (P,); 0 where it cannot be told."""
    listed, other = _ratios(a, b)
    rest = np.clip(a.rest(b), 0.0, 1.0)
    mass = np.exp(a.logp) * (1 - rest)[:, None]
    found = np.where(mass > 0, mass * listed, 0.0).sum(axis=1) + rest * other
    return np.where(a.sure & b.sure, found, 0.0)


def _ratios(a: Prediction, b: Prediction) -> tuple[Rows, Column]:
    """ln of p_A / p_B of each listed token, (P, N), and of every other, (P,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        among = a.logp - b.logp
        among = np.where(np.isnan(among), 0.0, among)
        cut, apart = a.high < 1e-9, (a.low > b.high) | (a.high < b.low) | (a.high - a.low < _FIXED)
        fixed = (b.high - b.low < _FIXED) & apart
        rest = np.clip(a.rest(b), 1e-3, 0.999)
        shift = np.where(fixed, np.log1p(-rest) - np.log1p(-np.minimum(b.low, 0.999)), 0.0)
        shift = np.where(cut, -np.log1p(-np.minimum(b.low, 0.999)), shift)
        other = np.where(fixed, np.log(rest) - np.log(np.maximum(b.high, 1e-30)), 0.0)
        other = np.where(cut, -np.inf, other)
    return np.clip(among + shift[:, None], -CLIP, CLIP), np.clip(other, -CLIP, CLIP)


def log_mean(values: Sequence[float]) -> float:
    """ln of the mean of e to these powers.

    >>> round(log_mean([0.0, 0.0]), 3)
    0.0
    """
    top = max(values)
    return float(top + np.log(np.mean(np.exp(np.asarray(values) - top))))
