"""The next word's probabilities where texts part."""

from __future__ import annotations

import numpy as np

from poise.branches import Parting
from poise.contests.moment import TINY
from poise.forks import Fork
from poise.params import PARAMETERS, SamplingParams

WORDS = 6  # likeliest tokens kept, besides those that were drawn
VALUES = 17  # of the parameter; between them the page draws straight lines


def fork_of(parting: Parting) -> Fork:
    """The probabilities of the likeliest next tokens, along a parameter.

    Args:
        parting: where texts part.

    Returns:
        Probabilities under the whole law at up to 17 values of the stretch, ends included.
    """
    step, span = parting.step, parting.span
    low, high = span.low.value, span.high.value
    values = np.unique(np.linspace(low, high, VALUES))
    if PARAMETERS[step.parameter].kind == "int":  # few tokens or many: what matters lies at the low end
        values = np.unique(np.round(np.geomspace(max(low, 1.0), high, 2 * VALUES)))
    shares = [_shares(parting, float(v)) for v in values]  # (V,) each
    likely = np.argsort(np.max(shares, axis=0))[::-1][:WORDS]
    tokens = list(dict.fromkeys([*parting.tokens[:WORDS], *map(int, likely)]))
    table = tuple(tuple(float(s[t]) for t in tokens) for s in shares)
    return Fork(parting.node.output, span, tuple(map(float, values)), tuple(tokens), table)


def _shares(parting: Parting, value: float) -> np.ndarray:
    """Every token's probability at a value, (V,); XTC's coin is not thrown yet."""
    law = parting.step.at(value)
    odds = law.xtc_probability or 0.0
    plain = _probabilities(parting, law, False) if odds < 1 else 0.0
    struck = _probabilities(parting, law, True) if odds > 0 else 0.0
    return np.asarray((1 - odds) * plain + odds * struck)


def _probabilities(parting: Parting, law: SamplingParams, struck: bool) -> np.ndarray:
    made = parting.step.made([law], struck)
    left, heat = made.values[0], float(made.scale[0])
    out = np.zeros(left.size)
    if heat == 0:
        out[int(np.argmax(left))] = 1.0
        return out
    kept = np.flatnonzero(np.isfinite(left))
    weights = np.exp((left[kept] - left.max()) / left.dtype.type(max(heat, TINY)))
    out[kept] = weights / weights.sum(dtype=np.float64)
    return out
