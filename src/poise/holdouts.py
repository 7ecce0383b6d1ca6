"""What a choice delivers where it was not chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.families import compare_all
from poise.samples import Sample
from poise.stats import MIN_UNITS, UNBOUNDED, Bounds, difference_interval

Matrix = NDArray[np.float64]
How = Literal["chose it", "held out", "cross-fitted", "by definition", "not measured"]
FOLDS = 4


class Gain(NamedTuple):
    """A setting's value minus the baseline's; held near a target, the change of the distance from it.

    Args:
        difference: None without data.
        low, high: 95 % interval; None where there can be none.
        units: how many stand behind it.
        how: ``chose it``: on the units that chose the setting, which flatters it; ``held out``: on prompts that did
            not; ``cross-fitted``: on each part of the units for the setting that the other parts choose;
            ``by definition``: the setting is the baseline.
        note: why there is no interval or no value; empty where there is.
    """

    difference: float | None
    low: float | None
    high: float | None
    units: int
    how: How
    note: str = ""


ITSELF = Gain(0.0, 0.0, 0.0, 0, "by definition")


def gain(sample: Sample, baseline: int, setting: int, hold: bool, how: How = "held out") -> Gain:
    """What a setting gains over the baseline in a sample.

    Args:
        sample: of the primary metric.
        baseline, setting: positions.
        hold: whether the values are signed distances from a target.
        how: what the sample is to the choice.

    Returns:
        The gain, with a 95 % interval of this one comparison.
    """
    if setting == baseline:
        return ITSELF
    return _between(sample.of([baseline, setting]), sample.bounds, hold, how)


def cross_fit(sample: Sample, baseline: int, settings: Sequence[int], better: int, hold: bool) -> Gain:
    """What choosing the best mean delivers on units that did not choose.

    The units are dealt into parts. For each part, the setting with the best mean on the others is chosen, and
    its values there stand against the baseline's. Parts share most of what they choose by, so the interval,
    which takes units as independent, is approximate.

    Args:
        sample: of the primary metric.
        baseline: position.
        settings: positions to choose from, the baseline among them or not.
        better: +1 where larger is better, -1 where smaller is, or distances with `hold`.
        hold: whether the values are signed distances from a target.

    Returns:
        The gain of the choice over the baseline.

    Source: Stone 1974 (cross-validatory choice).
    """
    whole = sample.of([baseline, *settings])
    if not whole or min(len(s) for s in whole) < 2:
        return Gain(None, None, None, 0, "cross-fitted", "too few units to choose on some and check on others")
    paired = [np.full((len(s), 2), np.nan) for s in whole]
    for part in range(FOLDS):
        test = [np.arange(len(s)) % FOLDS == part for s in whole]
        train = [s[~t] for s, t in zip(whole, test, strict=True)]
        means = np.mean([s[:, 1:].mean(axis=0) for s in train if len(s)], axis=0)
        chosen = 1 + int(np.argmax(worth(means, better, hold)))
        for s, t, pair in zip(whole, test, paired, strict=True):
            pair[t] = s[t][:, [0, chosen]]
    return _between(paired, sample.bounds, hold, "cross-fitted")


def worth(means: Matrix, better: int, hold: bool) -> Matrix:
    """Means as something of which more is better."""
    return np.asarray(-np.abs(means) if hold else better * means)


def leave_one_out(sample: Sample, settings: Sequence[int], choose: Callable[[Matrix], int]) -> tuple[int, int]:
    """How often the best mean stays the best when one unit is left out.

    Args:
        sample: of the primary metric; the draws of one prompt are left out together where several prompts are fixed.
        settings: positions to choose from.
        choose: the place of the best among means.

    Returns:
        How often it stays, and how many were left out in turn.
    """
    whole = sample.of(settings)
    best = choose(np.mean([s.mean(axis=0) for s in whole], axis=0))
    if len(whole) == 1:
        total, count = whole[0].sum(axis=0), len(whole[0])
        return sum(choose((total - row) / (count - 1)) == best for row in whole[0]), count
    means = [s.mean(axis=0) for s in whole]
    without = [np.mean([m for j, m in enumerate(means) if j != i], axis=0) for i in range(len(means))]
    return sum(choose(m) == best for m in without), len(means)


def _between(strata: Sequence[Matrix], bounds: Bounds, hold: bool, how: How) -> Gain:
    """Of the second column over the first."""
    units = sum(len(s) for s in strata)
    if not units:
        return Gain(None, None, None, 0, how, "no unit has values on both sides")
    means = np.mean([s.mean(axis=0) for s in strata], axis=0)
    difference = float(abs(means[1]) - abs(means[0]) if hold else means[1] - means[0])
    if units < MIN_UNITS or min(len(s) for s in strata) < 2:
        return Gain(difference, None, None, units, how, f"an interval needs {MIN_UNITS} units: there are {units}")
    if hold:
        pairs = compare_all(strata, UNBOUNDED, hold=True)
        low, high = float(pairs.low[0, 1]), float(pairs.high[0, 1])
        if np.isnan(low + high):
            return Gain(difference, None, None, units, how, "too few units differ to tell their spread")
        return Gain(difference, low, high, units, how)
    found = difference_interval([s[:, 0] for s in strata], [s[:, 1] for s in strata], bounds)
    return Gain(difference, found.low, found.high, units, how, found.note)
