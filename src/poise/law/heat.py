"""What bends the logits: temperature, dynamic temperature, smoothing."""

from __future__ import annotations

import math

import numpy as np

from poise.law.rows import Row, entropy, only, probabilities
from poise.params import SMALLEST, SamplingParams

FAR = 1e250  # where a cubic is stopped, short of infinity


def temperature(logits: Row, value: float) -> Row:
    """l / T; at 0 only the largest logit stays, the lowest id among ties."""
    if value == 0:
        return only(logits, np.array([int(np.argmax(logits))]))
    return logits / value


def heat(params: SamplingParams) -> float:
    """The temperature as the dialect takes it: 1 where off, 0 where it counts as greedy, lifted to the floor."""
    value, rules = params.temperature, params.how.rules
    if value is None:
        return 1.0
    return 0.0 if value == 0 or value < rules.greedy_below else max(value, rules.temperature_floor)


def dynamic(logits: Row, centre: float, reach: float, exponent: float, listed: int = 0) -> float:
    """The dynamic temperature of a row.

    With low = max(0, T - δ) and high = T + δ: low + (high - low) (H / ln n)^κ, over the n tokens that are left, or
    listed.

    Args:
        logits: (V,).
        centre: T.
        reach: δ.
        exponent: κ.
        listed: tokens on the engine's list where that has barred ones too.

    Returns:
        The temperature; 0 is greedy; 1 where one token is left.

    Source:
        llama.cpp, src/llama-sampler.cpp::llama_sampler_temp_ext_apply.
    """
    left = logits[logits > -np.inf]
    if left.size == 1:
        return 1.0
    low, high = max(0.0, centre - reach), centre + reach
    share = min(entropy(probabilities(left)) / math.log(max(left.size, listed)), 1.0)
    found = low + (high - low) * share**exponent
    return found if found >= SMALLEST else 0.0


def smoothing(logits: Row, factor: float, curve: float) -> Row:
    """l_max - (3 - c)/2 s d² + (c - 1)/2 s d³, d = l - l_max.

    Source:
        text-generation-webui, modules/sampler_hijack.py::QuadraticSampling.
    """
    top = np.max(logits)
    with np.errstate(over="ignore", invalid="ignore"):
        d = logits - top
        bent = np.clip(top + factor * d * d * ((curve - 1) / 2 * d - (3 - curve) / 2), -FAR, FAR)
    return np.where(logits > -np.inf, bent, -np.inf)
