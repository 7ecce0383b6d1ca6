"""Rows of logits, and what a law remembers of a text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.params import SamplingParams

Row = NDArray[np.float64]  # (V,), -inf where a token is cut
Ids = NDArray[np.intp]  # token ids, or places in a row
ROUNDING = 1e-12  # a mass this close below p has reached it: 0.5 + 0.3 reaches 0.8 whatever exp and ln rounded


class History(NamedTuple):
    """What a law may remember.

    Args:
        prompt: token ids.
        output: token ids so far.
        breakers: sequences of token ids that end a repeated sequence for DRY.
    """

    prompt: Sequence[int] = ()
    output: Sequence[int] = ()
    breakers: frozenset[tuple[int, ...]] = frozenset()


NOTHING_SAID = History()


class State(NamedTuple):
    """What a step depends on besides the texts so far.

    Args:
        struck: whether the coin that XTC throws at each step fell on its side.
        mu: mirostat's cut in bits; None at the start of a text, where it is 2 tau.
    """

    struck: bool = True
    mu: float | None = None


FRESH = State()


class Reshaped(NamedTuple):
    """Rows ready for the noise: token i's score in row j is `values[j][i] + scale[j] * g[i]`.

    Args:
        values: J rows (V,), penalised, not divided by the temperature; -inf where a token is cut.
        scale: (J,) the temperatures; 1 where off, 0 is greedy, lowest id among ties.
    """

    values: Sequence[NDArray[np.floating[Any]]]
    scale: NDArray[np.float64]


class Facts(NamedTuple):
    """What a step looks at besides the row.

    Args:
        params: the law.
        history: what was said before.
        state: XTC's coin and mirostat's cut.
        unconditional: logits of the same text without its prompt, (V,), for guidance.
        whole: the row before top-k, (V,), for a joint top-p; None where there was no top-k.
        listed: how many tokens are on the engine's list, barred ones that no step took off it included; 0 for all.
    """

    params: SamplingParams
    history: History = NOTHING_SAID
    state: State = FRESH
    unconditional: Row | None = None
    whole: Row | None = None
    listed: int = 0

    def number(self, name: str) -> float:
        """A number of the law: what was said, else what it is when it is left out."""
        value = self.params.number(name)
        assert value is not None
        return float(value)


def probabilities(logits: Row) -> Row:
    """softmax in float64, (V,)."""
    weights = np.exp(logits - np.max(logits))
    return np.asarray(weights / weights.sum())


def log_probabilities(logits: Row) -> Row:
    """ln softmax in float64, (V,)."""
    shifted = logits - np.max(logits)
    return np.asarray(shifted - math.log(float(np.exp(shifted).sum())))


def entropy(p: Row) -> float:
    """-Σ p ln p, nats; 0 ln 0 is 0."""
    positive = p[p > 0]
    return float(-np.sum(positive * np.log(positive)))


def descending(logits: Row) -> Ids:
    """Token ids, likeliest first, lower id first among ties, (V,)."""
    return np.argsort(-logits, kind="stable")


def only(logits: Row, kept: Ids) -> Row:
    """The row with all other tokens cut, (V,)."""
    out = np.full_like(logits, -np.inf)
    out[kept] = logits[kept]
    return out


def surprise(logits: Row, token: int) -> float:
    """-log2 of a token's probability, bits.

    Args:
        logits: after all steps, (V,).
        token: the one that was drawn.

    Returns:
        Its surprise, as mirostat measures it.

    >>> surprise(np.log(np.array([0.25, 0.75])), 0)
    2.0
    """
    return -float(log_probabilities(logits)[token]) / math.log(2)


def next_mu(mu: float, tau: float, eta: float, surprise: float) -> float:
    """Mirostat's cut after a token.

    Args:
        mu: the cut before it, bits.
        tau: the surprise aimed at, bits.
        eta: how fast the cut follows.
        surprise: of the drawn token, bits.

    Returns:
        mu - eta (surprise - tau).
    """
    return mu - eta * (surprise - tau)
