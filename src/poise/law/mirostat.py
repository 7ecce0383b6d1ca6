"""Mirostat: a cut that follows the surprise of the text."""

from __future__ import annotations

import math

import numpy as np

from poise.law.rows import ROUNDING, Row, descending, only, probabilities

FITTED = 100  # tokens whose probabilities the first version fits a power law to


def mirostat(logits: Row, version: int, mu: float) -> Row:
    """Keep what the cut leaves.

    Args:
        logits: (V,).
        version: 1 keeps the k likeliest, k from a power law; 2 keeps the tokens of surprise up to mu.
        mu: the cut, bits.

    Returns:
        (V,), -inf where cut; one token stays at least.

    Source:
        Basu et al. 2021; llama.cpp, src/llama-sampler.cpp.
    """
    order = descending(logits)
    if version == 1:
        return only(logits, order[: power_law_k(logits[order[:FITTED]], logits.size, mu)])
    likely = int(np.sum(probabilities(logits) >= np.exp2(-mu) * (1 - ROUNDING)))
    return only(logits, order[: max(likely, 1)])


def power_law_k(ranked: Row, size: int, mu: float) -> int:
    """How many tokens mirostat 1 keeps.

    With p_i ~ i^-s, the s that fits best, and ε = s - 1: k = (ε 2^μ / (1 - V^-ε))^(1/s).

    Args:
        ranked: logits of the likeliest tokens, descending, at most 100; those that are cut do not count.
        size: V.
        mu: the cut, bits.

    Returns:
        k, 1 to V.
    """
    ranked = ranked[ranked > -np.inf]
    if ranked.size < 2:
        return 1
    t = np.log(np.arange(2, ranked.size + 1) / np.arange(1, ranked.size))
    s = float(np.sum(t * -np.diff(ranked)) / np.sum(t * t))
    excess, ln_v = s - 1, math.log(size)
    # ln of ε / (1 - V^-ε), which goes to 1 / ln V where ε goes to 0.
    factor = -math.log(ln_v) if abs(excess) * ln_v < ROUNDING else _log_ratio(excess, ln_v)
    power = factor + mu * math.log(2)
    if power <= 0:
        return 1
    return size if power >= s * ln_v else max(1, int(math.exp(power / s)))


def _log_ratio(excess: float, ln_v: float) -> float:
    """ln of ε / (1 - V^-ε); for ε < 0 both are negative, and V^-ε may be beyond any float."""
    if excess > 0:
        return math.log(excess) - math.log(-math.expm1(-excess * ln_v))
    return math.log(-excess) - (-excess * ln_v) - math.log(-math.expm1(excess * ln_v))
