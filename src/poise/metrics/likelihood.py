"""Likelihood: how surprising the model finds its own text."""

from __future__ import annotations

import math

from poise.metrics.context import Context
from poise.records import Completion


def nll(completion: Completion, context: Context) -> float | None:
    """Mean of -ln p per drawn token, a closing end-of-text token included, under the model at T = 1."""
    if not completion.logprobs:
        return None
    mean = -math.fsum(completion.logprobs) / len(completion.logprobs)
    return mean + 0.0 if math.isfinite(mean) else None  # + 0.0: certainty is 0, not -0
