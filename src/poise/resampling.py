"""How far the studentised means of resampled units reach."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
RESAMPLES, MOST_RESAMPLES, JOINT_RESAMPLES = 999, 9_999, 1_999
_BEYOND = 5  # resamples that lie beyond a quantile, so that it does not hang on one of them
_STEP = 2**19  # numbers held at once, per array
_NOTHING = 1e-12  # of the spread seen: a resample with less has none, but for rounding


def studentised_quantiles(strata: Sequence[Vector], tail: float) -> tuple[float, float]:
    """Lower and upper quantiles of the bootstrap's t.

    Units are drawn with replacement within their stratum. Where a mean has a long tail on one side, samples that
    miss the tail look steadier than they are: t is then skewed, and these quantiles with it.

    Args:
        strata: values, at least 2 in each.
        tail: probability beyond each quantile. Below 1 in 10,000 the most extreme resample stands for it.

    Returns:
        Both quantiles; infinite where resamples that do not vary are that frequent.

    Source: Efron and Tibshirani 1993, chapter 12.
    """
    wanted = int(min(max(_BEYOND / tail, RESAMPLES), MOST_RESAMPLES))
    rng = np.random.default_rng(0)
    t = np.sort(_resampled([s[:, None] for s in strata], [_picked(rng, len(s), wanted) for s in strata])[:, 0])
    place = round(tail * (wanted - 1))
    return float(t[place]), float(t[-1 - place])


def studentised_maximum(strata: Sequence[Matrix], level: float, most_still: float) -> tuple[float, NDArray[np.bool_]]:
    """How far the largest of all columns' bootstrap t reaches, on either side of 0.

    One reach for all: what a short sample of one column does not show of a long tail, others do.

    Args:
        strata: (n, C) each, n at least 2; a row is a unit.
        level: probability that some column reaches further.
        most_still: how often resamples of a column may not vary; columns that exceed it are left out.

    Returns:
        The reach, 0 where no column is left; and which columns were left out, (C,).

    Source: Beran 1988 (balanced simultaneous sets); Romano and Wolf 2005 (studentised maximum).
    """
    rng = np.random.default_rng(0)
    picked = [_picked(rng, len(s), JOINT_RESAMPLES) for s in strata]
    columns = strata[0].shape[1]
    largest, out = np.zeros(JOINT_RESAMPLES), np.zeros(columns, dtype=np.bool_)
    step = max(1, _STEP // JOINT_RESAMPLES)
    for start in range(0, columns, step):
        t = np.abs(_resampled([s[:, start : start + step] for s in strata], picked))
        out[start : start + step] = still = np.isinf(t).mean(axis=0) > most_still
        np.maximum(largest, t[:, ~still].max(axis=1, initial=0.0), out=largest)
    return float(np.sort(largest)[int(np.ceil((1 - level) * (JOINT_RESAMPLES - 1)))]), out


def _picked(rng: np.random.Generator, units: int, times: int) -> Matrix:
    """How often each resample holds each unit, as shares of it, (times, units)."""
    drawn = rng.integers(0, units, (times, units)) + units * np.arange(times)[:, None]
    return np.bincount(drawn.ravel(), minlength=times * units).reshape(times, units) / units


def _resampled(strata: Sequence[Matrix], picked: Sequence[Matrix]) -> Matrix:
    """t of every resample, (times, C): its mean less the mean seen, over its own error."""
    away = np.zeros((len(picked[0]), strata[0].shape[1]))
    error, least = np.zeros_like(away), np.zeros(away.shape[1])
    for s, shares in zip(strata, picked, strict=True):
        centred = s - s.mean(axis=0)
        mean, squares = shares @ centred, shares @ centred**2
        away += mean
        squares -= np.square(mean, out=mean)
        squares *= 1 / (len(s) - 1)
        error += squares
        least += _NOTHING * (centred**2).mean(axis=0) / (len(s) - 1)
    still = error <= least
    if still.any():
        error[still] = 0.0
        away[still & (away**2 <= least)] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        t: Matrix = np.divide(away, np.sqrt(error, out=error), out=away)
    t[np.isnan(t)] = 0.0
    return t
