"""The law on a list of likeliest tokens; bounds for the rest.

A server returns the N likeliest tokens and their log-probabilities. What the law does to those can be said exactly, and
of everything else only this: it has the mass that is left, and none of it is likelier than the last one listed. So it
lies between two worlds: as few tokens as can be, or very many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.law import ROUNDING
from poise.probes.draws import Column, Draws, Rows, Scope

MOST_TOKENS = 2.0**18  # no vocabulary is larger
_NEAR = 2e-3  # nats, or a share of the mass: closer to a boundary than this is on no side of it
_TIED = 3e-4  # nats between two tokens that may be tied
_HALF = float(np.log(0.5))  # of the last listed one: an unlisted token, where it is guessed
Flags = NDArray[np.bool_]


class Move(NamedTuple):
    """A step of a law on a server.

    Args:
        name: of a parameter of poise.
        value: of it.
        scope: of a penalty: which tokens count.
        window: of a penalty: only so many of the last tokens; 0 for all.
        offset: of the repetition penalty: the logit of a token of probability 1, which no server tells.
    """

    name: str
    value: float
    scope: Scope = "output"
    window: int = 0
    offset: float = 0.0


Shape = tuple[Move, ...]  # first step first


class Prediction(NamedTuple):
    """What a law says of each place.

    Args:
        logp: ln p of each listed token among those listed and no special ones, (P, N).
        low, high: bounds of the probability that the token is not listed, (P,).
        sure: places where the law can be computed, (P,).
    """

    logp: Rows
    low: Column
    high: Column
    sure: Flags


@dataclass
class _State:
    """Rows on their way through the steps.

    Args:
        draws: as returned.
        v: ln of the weight of each listed token, (P, N).
        power: of the weights of the rest: they are p to this power.
        low, high: bounds of the weight of the rest, (P,).
        whole: whether nothing of the rest was cut yet, (P,).
        sure: see `Prediction`.
        guess: whether both bounds are one guess.
    """

    draws: Draws
    v: Rows
    power: float
    low: Column
    high: Column
    whole: Flags
    sure: Flags
    guess: bool = False

    @property
    def least(self) -> Column:
        """ln of the largest weight that an unlisted token may have, (P,)."""
        return self.draws.least * self.power

    def keep(self, kept: Flags, rest: Flags, partly: Flags) -> None:
        """Cut listed tokens, and the rest but where `rest`; `partly` says where only some of it is left."""
        self.v = np.where(kept, self.v, -np.inf)
        self.low = np.where(rest & ~partly, self.low, 0.0)
        self.high = np.where(rest, self.high, 0.0)
        self.low = self.high if self.guess else self.low
        self.whole = self.whole & rest & ~partly

    def sorted(self) -> tuple[NDArray[np.intp], Rows]:
        """Columns by weight, and the weights in that order."""
        order = np.argsort(-self.v, axis=1, kind="stable")
        return order, np.exp(np.take_along_axis(self.v, order, axis=1))


def predict(draws: Draws, shape: Shape, guess: bool = False) -> Prediction:
    """What a law makes of the lists.

    Args:
        draws: with the model's own log-probabilities.
        shape: the law's steps.
        guess: take every unlisted token as half as likely as the last one listed, so that there are no bounds.

    Returns:
        The prediction.
    """
    tail = draws.tail
    everywhere = np.ones(len(tail), bool)
    state = _State(draws, draws.logprobs.copy(), 1.0, tail, tail, everywhere, everywhere.copy(), guess)
    for move in shape:
        if move.name in _PENALTIES:
            state.v = state.v + _PENALTIES[move.name](state, move)
            lowers = move.value > (1 if move.name == "repetition_penalty" else 0)  # else the rest may gain anything
            if not guess:
                state.low, state.high = np.zeros_like(tail), state.high if lowers else np.where(tail > 0, np.inf, 0.0)
        else:
            _CUTS[move.name](state, move.value)
    v = np.where(draws.special, -np.inf, state.v)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        top = v.max(axis=1, initial=-np.inf)
        sure = state.sure & np.isfinite(top)
        total = np.exp(v - np.where(sure, top, 0.0)[:, None]).sum(axis=1)
        logp = v - (top + np.log(total))[:, None]
        mass = np.exp(np.where(sure, top, 0.0)) * total
        low, high = (
            state.low / (state.low + mass),
            np.where(np.isinf(state.high), 1.0, state.high / (state.high + mass)),
        )
    return Prediction(np.where(sure[:, None], logp, -np.inf), np.nan_to_num(low), np.nan_to_num(high), sure)


def _temperature(state: _State, value: float) -> None:
    if value == 0:
        order, weights = state.sorted()
        kept = np.zeros(state.v.shape, bool)
        np.put_along_axis(kept, order[:, :1], True, axis=1)
        state.sure &= weights[:, 1:2].max(axis=1, initial=0.0) < weights[:, 0] * (1 - _NEAR)
        nothing = np.zeros(len(kept), bool)
        state.keep(kept, nothing, nothing)
        return
    state.v = state.v / value
    state.power /= value
    if state.guess:
        shift = (state.draws.least + _HALF) * (state.power - state.power * value)
        state.low = state.high = np.where(state.high > 0, state.high * np.exp(np.minimum(shift, 50.0)), 0.0)
        return
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        mass = state.draws.tail
        lump = np.nan_to_num(mass * np.exp(state.draws.least * (state.power - 1)), posinf=np.inf)
        thin = MOST_TOKENS ** (1 - state.power) * mass**state.power if state.power < 1 else np.zeros_like(mass)
    low, high = np.minimum(lump, thin), np.maximum(lump, thin)
    some = (state.high > 0) & (mass > 0)
    penalised = np.isinf(state.high)
    state.low = np.where(some & state.whole & ~penalised, low, 0.0)
    state.high = np.where(some, np.where(penalised, np.inf, high), 0.0)


def _top_k(state: _State, value: float) -> None:
    k, width = int(value), state.v.shape[1]
    order, weights = state.sorted()
    listed = (weights > 0).sum(axis=1)
    inside = listed >= k  # else everything that is listed stays, and perhaps some of the rest
    kept = np.zeros(state.v.shape, bool)
    np.put_along_axis(kept, order, np.broadcast_to(np.arange(width) < k, order.shape), axis=1)
    if k < width:
        tied = (weights[:, k] > 0) & (np.log(weights[:, k - 1] + 1e-300) - np.log(weights[:, k] + 1e-300) < _TIED)
        state.sure &= ~tied
    state.sure &= ~(inside & (listed == k) & (state.high > 0) & ~_above(state, weights[:, min(k, width) - 1]))
    few = (k + (not state.guess) - listed) * np.exp(state.least)  # else may stay; one more, as the last may be tied
    bounded = ~inside & np.isfinite(state.high) & _above(state, np.exp(_smallest(state.v)))
    state.high = np.where(bounded, np.minimum(state.high, few), state.high)
    state.keep(kept & np.isfinite(state.v), ~inside, ~inside)


def _smallest(v: Rows) -> Column:
    """The smallest value of each row that was not cut, (P,)."""
    return np.asarray(np.where(np.isfinite(v), v, np.inf).min(axis=1))


def _above(state: _State, weight: Column) -> Flags:
    """Whether a listed weight is surely larger than every unlisted one; ties at the end of the list are cut there."""
    return np.asarray(np.log(weight + 1e-300) >= state.least - 1e-9)


def _top_p(state: _State, value: float) -> None:
    if value >= 1:
        return
    order, weights = state.sorted()
    mass = np.cumsum(weights, axis=1)
    listed = mass[:, -1]
    counts = []
    for total in (listed + state.low, listed + state.high):
        goal = np.where(np.isfinite(total), value * total, np.inf)[:, None]
        counts.append((mass < goal - ROUNDING * listed[:, None]).sum(axis=1))
        state.sure &= ~(np.abs(mass - goal) < _NEAR * listed[:, None]).any(axis=1)
    last = (weights > 0).sum(axis=1)
    beyond = [c >= last for c in counts]
    state.sure &= (counts[0] == counts[1]) | (beyond[0] & beyond[1])
    kept = np.zeros(state.v.shape, bool)
    np.put_along_axis(kept, order, np.arange(state.v.shape[1])[None, :] <= counts[0][:, None], axis=1)
    at = np.minimum(counts[0], last - 1)[:, None]
    after = np.take_along_axis(weights, np.minimum(at + 1, weights.shape[1] - 1), axis=1)
    crossing = np.take_along_axis(weights, at, axis=1)
    tied = (after > 0) & (at + 1 < last[:, None]) & (after > crossing * (1 - _TIED))
    state.sure &= ~tied[:, 0]
    if state.guess:
        state.high = np.where(beyond[0], np.clip(value * (listed + state.high) - listed, 0.0, state.high), state.high)
    state.keep(kept & np.isfinite(state.v), beyond[0], beyond[0])


def _min_p(state: _State, value: float) -> None:
    if value == 0:
        return
    threshold = state.v.max(axis=1) + np.log(value)
    state.sure &= ~(np.abs(state.v - threshold[:, None]) < _NEAR).any(axis=1) | (value >= 1)
    if value >= 1:  # ties with the likeliest token
        second = np.sort(state.v, axis=1)[:, -2] if state.v.shape[1] > 1 else np.full(len(threshold), -np.inf)
        state.sure &= second < threshold - _NEAR
    rest = (state.least > threshold) & (state.high > 0)
    state.keep(state.v >= threshold[:, None] - 1e-12, rest, rest)


def _typical_p(state: _State, value: float) -> None:
    """Both worlds of the rest have to keep the same tokens, and none of the rest."""
    if value == 1:
        return
    mass = np.exp(state.v).sum(axis=1)
    rest = np.where(np.isfinite(state.high), state.high, 0.0)
    total = mass + rest
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = np.where(np.isfinite(state.v), np.log(total)[:, None] - state.v, np.inf)
        p = np.exp(-surprise)
        listed = np.where(p > 0, p * surprise, 0.0).sum(axis=1)
        share = rest / total
        lump = np.nan_to_num(share * (np.log(total) - state.least))
        thin = np.nan_to_num(share * np.log(MOST_TOKENS / np.maximum(share, 1e-300)))
    kept = []
    for entropy in (listed + lump, listed + thin):
        shift = np.abs(surprise - entropy[:, None])
        order = np.argsort(shift, axis=1, kind="stable")
        reached = np.cumsum(np.take_along_axis(p, order, axis=1), axis=1)
        count = np.minimum((reached < value - ROUNDING).sum(axis=1), p.shape[1] - 1)
        widest = np.take_along_axis(shift, np.take_along_axis(order, count[:, None], axis=1), axis=1)
        kept.append(shift <= widest)
        state.sure &= ~(np.abs(reached - value) < _NEAR).any(axis=1)
        with np.errstate(invalid="ignore"):
            edge = np.nan_to_num(np.abs(shift - widest), nan=np.inf)
        state.sure &= ~((edge > 1e-12) & (edge < _NEAR)).any(axis=1)
        outside = np.log(total) - state.least - entropy  # how far the likeliest unlisted token is, at least
        state.sure &= (state.high == 0) | ((outside > widest[:, 0] + _NEAR) & np.isfinite(state.high))
    state.sure &= (kept[0] == kept[1]).all(axis=1) & ((state.high - state.low < 1e-9) | ~np.isfinite(state.high))
    nothing = np.zeros(len(total), bool)
    state.keep(kept[0], nothing, nothing)


def _repetition(state: _State, move: Move) -> Rows:
    seen = state.draws.counts(move.scope, move.window) > 0
    logit = state.v + move.offset
    logit = np.where(np.isfinite(logit), logit, 0.0)
    after = np.where(logit < 0, logit * move.value, logit / move.value)
    return np.where(seen, after - logit, 0.0)


def _frequency(state: _State, move: Move) -> Rows:
    return np.asarray(-move.value * state.draws.counts(move.scope, move.window))


def _presence(state: _State, move: Move) -> Rows:
    return np.asarray(-move.value * (state.draws.counts(move.scope, move.window) > 0))


_CUTS: Mapping[str, Callable[[_State, float], None]] = {
    "temperature": _temperature,
    "top_k": _top_k,
    "top_p": _top_p,
    "min_p": _min_p,
    "typical_p": _typical_p,
}
_PENALTIES: Mapping[str, Callable[[_State, Move], Rows]] = {
    "repetition_penalty": _repetition,
    "frequency_penalty": _frequency,
    "presence_penalty": _presence,
}
