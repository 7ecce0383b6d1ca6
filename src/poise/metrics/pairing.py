"""Pair the values of two trials by prompt and draw."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from poise.metrics.metric import CompletionMetric, Metric
from poise.metrics.readings import Codes, Readings, Values
from poise.metrics.units import Units
from poise.records import Trial
from poise.stats import Vector


class Pairs(NamedTuple):
    """Values of two trials, pair by pair.

    Args:
        a, b: the values, (N,).
        prompt, draw: what each pair has in common, (N,); `draw` is 0 for values of a whole prompt.
    """

    a: Vector
    b: Vector
    prompt: Codes
    draw: Codes


def pair(readings: Readings, metric: Metric, a: Trial, b: Trial) -> Pairs:
    """Values of the same prompt, seed and draw; of the same prompt where there is one value per prompt.

    Args:
        readings: with values of the metric.
        metric: any.
        a, b: two of the readings' trials.

    Returns:
        The pairs; a greedy trial has its one text, and the value of it, in every draw.
    """
    first, second = (next(i for i, t in enumerate(readings.trials) if t.params == x.params) for x in (a, b))
    if not isinstance(metric, CompletionMetric):
        values = readings.groups[metric.name]
        prompt = np.flatnonzero(~np.isnan(values[first] + values[second]))
        return Pairs(values[first][prompt], values[second][prompt], prompt, np.zeros_like(prompt))
    of_a, of_b = (_by_key(readings, readings.columns[metric.name], i) for i in (first, second))
    for trial, mine, others in ((a, of_a, of_b), (b, of_b, of_a)):
        if trial.params.greedy and not metric.relative:  # its text is the same in every draw, also in those not asked
            texts = {prompt: value for (prompt, _), value in mine.items()}
            mine.update({key: texts[key[0]] for key in others if key[0] in texts})
    keys = np.array([k for k in of_a if k in of_b], dtype=np.int64).reshape(-1, 2)
    both = [(of_a[k], of_b[k]) for k in of_a if k in of_b]
    values = np.array(both, dtype=np.float64).reshape(-1, 2)
    return Pairs(values[:, 0], values[:, 1], keys[:, 0], keys[:, 1])


def _by_key(readings: Readings, values: Values, trial: int) -> dict[tuple[int, int], float]:
    rows = np.flatnonzero((readings.trial == trial) & ~np.isnan(values))
    keys = zip(readings.prompt[rows].tolist(), readings.draw[rows].tolist(), strict=True)
    return dict(zip(keys, values[rows].tolist(), strict=True))


def weighted(pairs: Pairs, units: Units) -> dict[tuple[int, int], float]:
    """Each unit's part in the mean difference.

    Args:
        pairs: of two trials.
        units: what counts as one.

    Returns:
        By (prompt, draw); by (prompt, -1) where the prompt is the unit. They add up to the difference.
    """
    apart = pairs.b - pairs.a
    share = 1 / len(units.members)
    if units.scope == "use_case":
        return {(int(pairs.prompt[m[0]]), -1): share * float(apart[m].mean()) for m in units.members}
    return {
        (int(pairs.prompt[i]), int(pairs.draw[i])): share * float(apart[i]) / len(m) for m in units.members for i in m
    }
