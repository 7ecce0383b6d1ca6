"""The law: every reshaping of the logits, defined on one row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.params import Number, SamplingParams

Row = NDArray[np.float64]  # (V,), -inf where a token is cut
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


def temperature(logits: Row, value: float) -> Row:
    """l / T; at 0 only the largest logit stays, the lowest id among ties."""
    if value == 0:
        return _only(logits, np.array([int(np.argmax(logits))]))
    return logits / value


def top_k(logits: Row, value: int) -> Row:
    """Keep every token whose logit is at least the k-th largest: ties stay."""
    k = min(value, logits.size)
    return np.where(logits >= np.sort(logits)[-k], logits, -np.inf)


def top_p(logits: Row, value: float) -> Row:
    """Keep the smallest prefix, likeliest first and lower id first, with mass >= p."""
    order = np.argsort(-logits, kind="stable")
    mass = np.cumsum(probabilities(logits)[order])
    return _only(logits, order[: 1 + int(np.sum(mass[:-1] < value - ROUNDING))])


def min_p(logits: Row, value: float) -> Row:
    """Keep p_i >= m p_max, that is l_i >= l_max + ln m."""
    if value == 0:
        return logits
    return np.where(logits >= np.max(logits) + np.log(value), logits, -np.inf)


def typical_p(logits: Row, value: float) -> Row:
    """Keep the tokens with the smallest |-ln p_i - H| until mass >= p; ties stay."""
    if value == 1:
        return logits
    p = probabilities(logits)
    surprise = np.full_like(p, np.inf)
    surprise[p > 0] = -np.log(p[p > 0])
    entropy = float(np.sum(p[p > 0] * surprise[p > 0]))
    shift = np.abs(surprise - entropy)
    order = np.argsort(shift, kind="stable")
    last = min(int(np.sum(np.cumsum(p[order]) < value - ROUNDING)), p.size - 1)
    return np.where(shift <= shift[order[last]], logits, -np.inf)


def repetition_penalty(logits: Row, value: float, history: History) -> Row:
    """l / r if l > 0 else l * r, once for each token of prompt and output."""
    seen = np.array(sorted({*history.prompt, *history.output}), dtype=np.intp)
    out = logits.copy()
    out[seen] = np.where(out[seen] < 0, out[seen] * value, out[seen] / value)
    return out


def frequency_penalty(logits: Row, value: float, history: History) -> Row:
    """l - a * count, over the output."""
    out = logits.copy()
    for token, count in Counter(history.output).items():
        out[token] -= value * count
    return out


def presence_penalty(logits: Row, value: float, history: History) -> Row:
    """l - a, once for each token of the output."""
    out = logits.copy()
    out[sorted(set(history.output))] -= value
    return out


RESHAPINGS: Mapping[str, Callable[[Row, float], Row]] = {
    "temperature": temperature,
    "top_k": lambda row, value: top_k(row, int(value)),
    "top_p": top_p,
    "min_p": min_p,
    "typical_p": typical_p,
}
PENALTIES: Mapping[str, Callable[[Row, float, History], Row]] = {
    "repetition_penalty": repetition_penalty,
    "frequency_penalty": frequency_penalty,
    "presence_penalty": presence_penalty,
}


class Step(NamedTuple):
    """One reshaping as applied: its name, its value, and the row after it, (V,)."""

    name: str
    value: Number
    logits: Row


def steps(logits: Row, params: SamplingParams, history: History = NOTHING_SAID) -> list[Step]:
    """Apply a law to one row and keep every intermediate row.

    Greedy takes the largest logit after the penalties: no truncation comes before it.

    Args:
        logits: the model's, shape (V,).
        params: the law.
        history: what was said before.

    Returns:
        The active steps in the dialect's order.

    >>> [s.name for s in steps(np.array([3.0, 2.0, 1.0]), SamplingParams(temperature=0.5, top_p=0.8))]
    ['temperature', 'top_p']
    """
    row = np.asarray(logits, dtype=np.float64)
    done: list[Step] = []
    for name, value in params.active().items():
        if name in PENALTIES:
            row = PENALTIES[name](row, value, history)
        elif params.greedy and name != "temperature":
            continue
        else:
            row = RESHAPINGS[name](row, value)
        done.append(Step(name, value, row))
    return done


def reshape(logits: Row, params: SamplingParams, history: History = NOTHING_SAID) -> Row:
    """The reshaped logits of one row, (V,), -inf where a token is cut.

    >>> reshape(np.array([3.0, 2.0, 1.0]), SamplingParams(temperature=0.5, top_p=0.8))
    array([  6., -inf, -inf])
    """
    done = steps(logits, params, history)
    return done[-1].logits if done else np.asarray(logits, dtype=np.float64)


def probabilities(logits: Row) -> Row:
    """softmax in float64, (V,)."""
    weights = np.exp(logits - np.max(logits))
    return np.asarray(weights / weights.sum())


def _only(logits: Row, kept: NDArray[np.intp]) -> Row:
    out = np.full_like(logits, -np.inf)
    out[kept] = logits[kept]
    return out

