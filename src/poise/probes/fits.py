"""Which of several laws drew these tokens, and how sure that is.

If law B drew the tokens, the product over places of p_A / p_B has an expectation of at most 1 whenever one looks, so it
exceeds 1/α with a probability of at most α (Ville 1939). That holds for bounds as well: any A that sums to at most 1,
over any B that is at least as large as the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from poise.probes.draws import Column, Draws
from poise.probes.shapes import Flags, Prediction, Shape, predict

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
        habit: what the server does at every value, if this is what it does; empty for none.
    """

    said: str
    laws: tuple[Shape, ...]
    ignored: bool = False
    value: float | None = None
    close: bool = False
    habit: str = ""


class Told(NamedTuple):
    """What a law says of the drawn tokens: ln p among those listed, bounds of not being listed, where it is sure."""

    logp: Column
    low: Column
    high: Column
    sure: Flags


class Book:
    """Draws with what each law says of them, computed once.

    Args:
        draws: the tokens.
        copies: whether the texts may be drawn with the same luck, so that they count as one.
    """

    def __init__(self, draws: Draws, copies: bool = False) -> None:
        self.draws, self.copies = draws, copies
        self.inside = (draws.drawn >= 0) & (draws.drawn < draws.width)
        self._at = np.where(self.inside, draws.drawn, 0)[:, None]
        self._said: dict[Shape, Told] = {}

    def said(self, shape: Shape) -> Told:
        """What a law says; of lists, how far off it is in place of ln p."""
        if shape not in self._said:
            found = predict(self.draws, shape)
            logp = self._drawn(found) if self.draws.seen is None else self._off(found)
            self._said[shape] = Told(logp, found.low, found.high, found.sure)
        return self._said[shape]

    def _drawn(self, found: Prediction) -> Column:
        """ln p of each drawn token among those listed, (P,)."""
        return np.asarray(np.take_along_axis(found.logp, self._at, axis=1)[:, 0])

    def _off(self, found: Prediction) -> Column:
        """Total variation between what a law predicts and what was listed, (P,)."""
        assert self.draws.seen is not None
        seen = np.where(self.draws.special, 0.0, self.draws.seen)
        seen = seen / np.maximum(seen.sum(axis=1, keepdims=True), 1e-300)
        return np.asarray(np.maximum(np.abs(np.exp(found.logp) - seen).sum(axis=1) / 2, _SAME))

    def nats(self, ahead: Sequence[Shape], behind: Sequence[Shape]) -> float:
        """ln of the evidence for the one reading over the other.

        Args:
            ahead: laws of which one is meant, each as likely as the others beforehand.
            behind: laws of which any may hold, at each place another.

        Returns:
            Nats; above ln(1/α) with a probability of at most α if `behind` is the truth.
        """
        found = [np.min([self.factors(a, b) for b in behind], axis=0) for a in ahead]
        if len(found) > 1:  # or at each place any of them
            top = np.max(found, axis=0)
            found.append(top + np.log(np.mean(np.exp(np.array(found) - top), axis=0)))
        return log_mean([self._sum(one) for one in found])

    def matched(self, ahead: Sequence[Shape], behind: Sequence[Shape]) -> float:
        """As `nats`, for two readings that share what is not known: the first law of the one goes with the first of
        the other. What is left unknown is taken as it favours `ahead` least."""
        if len(ahead) != len(behind) or len(ahead) == 1:
            return self.nats(ahead, behind)
        return min(self._sum(self.factors(a, b)) for a, b in zip(ahead, behind, strict=True))

    def factors(self, ahead: Shape, behind: Shape) -> Column:
        """ln of p_A / p_B of each drawn token, never more than that, (P,); 0 where it cannot be told.

        Args:
            ahead: the law whose probability is above, or any that sums to at most 1.
            behind: the law below: where only bounds are known, the upper one is taken.

        Returns:
            Nats, between -CLIP and CLIP.
        """
        a, b = self.said(ahead), self.said(behind)
        if self.draws.seen is not None:
            return np.where(a.sure & b.sure, np.clip((b.logp - a.logp) * _WORTH, -CLIP, CLIP), 0.0)
        with np.errstate(invalid="ignore"):
            among = np.where(np.isneginf(a.logp) & np.isneginf(b.logp), 0.0, a.logp - b.logp)
        shift, other = _shifts(a, b)
        found = np.clip(np.where(self.inside, among + shift, other), -CLIP, CLIP)
        return np.where(a.sure & b.sure & self.draws.telling, found, 0.0)

    def _sum(self, found: Column) -> float:
        """Over all texts; of texts that share their luck, the mean of the evidence instead of the product."""
        if not self.copies or not len(self.draws.histories):
            return float(found.sum())
        per_text = np.bincount(self.draws.text, found, len(self.draws.histories))
        return log_mean(per_text.tolist())


def expected(a: Prediction, b: Prediction) -> Column:
    """Nats that a token drawn by A gives for A over B, (P,); 0 where it cannot be told."""
    shift, other = _shifts(a, b)
    with np.errstate(invalid="ignore"):
        listed = np.clip(np.nan_to_num(a.logp - b.logp, nan=0.0) + shift[:, None], -CLIP, CLIP)
    rest = rest_of(a, b)
    mass = np.exp(a.logp) * (1 - rest)[:, None]
    found = (mass * listed).sum(axis=1) + rest * np.clip(other, -CLIP, CLIP)
    return np.where(a.sure & b.sure, found, 0.0)


def rest_of(a: Told | Prediction, b: Told | Prediction) -> Column:
    """A's probability that the token is not listed, as near to B's as the bounds allow, (P,)."""
    return np.clip((b.low + b.high) / 2, a.low, a.high)


def _shifts(a: Told | Prediction, b: Told | Prediction) -> tuple[Column, Column]:
    """What is added to the ratio of a listed token for what is not listed, and ln of the ratio of that, (P,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        cut, apart = a.high < 1e-9, (a.low > b.high) | (a.high < b.low) | (a.high - a.low < _FIXED)
        fixed = (b.high - b.low < _FIXED) & apart
        rest = np.clip(rest_of(a, b), 1e-3, 0.999)
        most = -np.log1p(-np.minimum(b.low, 0.999))
        shift = np.where(cut, most, np.where(fixed, np.log1p(-rest) + most, 0.0))
        other = np.where(fixed, np.log(rest) - np.log(np.maximum(b.high, 1e-30)), 0.0)
    return shift, np.where(cut, -np.inf, other)


def log_mean(values: Sequence[float]) -> float:
    """ln of the mean of e to these powers.

    >>> round(log_mean([0.0, 0.0]), 3)
    0.0
    """
    top = max(values)
    return float(top + np.log(np.mean(np.exp(np.asarray(values) - top))))
