"""Truncations: which tokens each of them keeps, on one row."""

from __future__ import annotations

from typing import Literal

import numpy as np

from poise.law.rows import ROUNDING, Row, descending, entropy, only, probabilities

TOP_H = 100  # tokens that top-h looks at
XTC_OFF = 0.5  # two tokens cannot both have more: above it XTC never acts

Ties = Literal["keep", "exact"]


def top_k(logits: Row, value: int, ties: Ties = "keep") -> Row:
    """Keep the tokens whose logit is at least the k-th largest: all of them, or k with the lowest ids."""
    k = min(value, logits.size)
    if ties == "exact":
        return only(logits, descending(logits)[:k])
    return np.where(logits >= np.sort(logits)[-k], logits, -np.inf)


def top_p(logits: Row, value: float, passes: bool = False, whole: Row | None = None, ties: Ties = "exact") -> Row:
    """Keep the smallest prefix, likeliest first and lower id first, with mass >= p, or > p where it `passes`.

    With `whole`, the row before top-k, the masses are of that row: what both keep is left.
    Where ties stay, so do all tokens with the logit of the last one.
    """
    weighed = logits if whole is None else whole
    order = descending(weighed)
    mass = np.cumsum(probabilities(weighed)[order])[:-1]
    short = mass <= value + ROUNDING if passes else mass < value - ROUNDING
    last = int(np.sum(short))
    if ties == "keep":
        return np.where(weighed >= weighed[order[last]], logits, -np.inf)
    return only(logits, order[: last + 1])


def min_p(logits: Row, value: float) -> Row:
    """Keep p_i >= m p_max, that is l_i >= l_max + ln m."""
    if value == 0:
        return logits
    return np.where(logits >= np.max(logits) + np.log(value), logits, -np.inf)


def typical_p(logits: Row, value: float, ties: Ties = "keep", passes: bool = False) -> Row:
    """Keep the tokens with the smallest |-ln p_i - H| until mass >= p, or > p where it `passes`."""
    if value == 1:
        return logits
    p = probabilities(logits)
    surprise = np.full_like(p, np.inf)
    surprise[p > 0] = -np.log(p[p > 0])
    shift = np.abs(surprise - float(np.sum(p[p > 0] * surprise[p > 0])))
    order = np.argsort(shift, kind="stable")
    mass = np.cumsum(p[order])
    short = mass <= value + ROUNDING if passes else mass < value - ROUNDING
    last = min(int(np.sum(short)), p.size - 1)
    if ties == "exact":
        return only(logits, order[: last + 1])
    return np.where(shift <= shift[order[last]], logits, -np.inf)


def top_n_sigma(logits: Row, value: float) -> Row:
    """Keep l_i >= l_max - n σ, σ the population's standard deviation over the tokens that are left."""
    sigma = float(np.std(logits[logits > -np.inf]))
    return np.where(logits >= np.max(logits) - value * sigma * (1 + ROUNDING), logits, -np.inf)


def epsilon_cutoff(logits: Row, value: float) -> Row:
    """Keep p_i >= ε, and always the likeliest."""
    return _above(logits, probabilities(logits), value)


def eta_cutoff(logits: Row, value: float) -> Row:
    """Keep p_i >= min(ε, √ε exp(-H)), and always the likeliest."""
    p = probabilities(logits)
    return _above(logits, p, min(value, np.sqrt(value) * np.exp(-entropy(p))))


def top_a(logits: Row, value: float) -> Row:
    """Keep p_i >= a p_max², and always the likeliest."""
    p = probabilities(logits)
    return _above(logits, p, value * np.max(p) ** 2)


def top_h(logits: Row, value: float) -> Row:
    """Of the 100 likeliest keep the prefix whose terms -p ln p add up to at most h of all 100; always the first.

    A token whose probability is 0 is cut, as transformers' term is then no number.
    """
    order = descending(logits)[:TOP_H]
    return only(logits, order[: top_h_count(logits[order], value)])


def top_h_count(ranked: Row, value: float) -> int:
    """How many of the likeliest top-h keeps; `ranked` are their logits, descending, (100,)."""
    p = probabilities(ranked)
    terms = np.zeros_like(p)
    terms[p > 0] = -p[p > 0] * np.log(p[p > 0])
    low = np.cumsum(terms) <= value * np.sum(terms) * (1 + ROUNDING)
    return 1 + int(np.sum((low & (p > 0))[1:]))


def tfs(logits: Row, value: float) -> Row:
    """Cut where the share of the curvature of the sorted probabilities exceeds z, one token later.

    Of tokens ranked 0, 1, …, V - 1 the first stays, the last goes, and rank i between them stays while
    Σ_{j<i} |p_j - 2 p_{j+1} + p_{j+2}| <= z of the sum over all j. Where nothing bends, only the last goes.
    """
    order = descending(logits)
    bends = np.abs(np.diff(probabilities(logits)[order], n=2))
    total = np.sum(bends)
    count = bends.size if total < ROUNDING else int(np.sum(np.cumsum(bends) <= (value + ROUNDING) * total))
    return only(logits, order[: 1 + count])


def xtc(logits: Row, threshold: float, strict: bool = False) -> Row:
    """Cut the tokens of p >= t but the last of them; where it is `strict`, those likelier than the least of p > t."""
    if threshold > XTC_OFF:
        return logits
    p = probabilities(logits)
    if strict:
        members = p[p > threshold * (1 + ROUNDING)]
        return np.where(p > np.min(members), -np.inf, logits) if members.size else logits
    order = descending(logits)
    count = int(np.sum((p >= threshold * (1 - ROUNDING)) & (logits > -np.inf)))
    return only(logits, order[max(count - 1, 0) :])


def _above(logits: Row, p: Row, bar: float) -> Row:
    return np.where((p >= bar * (1 - ROUNDING)) | (logits == np.max(logits)), logits, -np.inf)
