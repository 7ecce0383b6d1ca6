"""Units resampled, signs flipped: how far chance alone reaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
RESAMPLES, MOST_RESAMPLES, JOINT_RESAMPLES = 999, 9_999, 1_999
EXACT_UNITS = 16  # sign flips are enumerated up to here: 2^15 patterns and their mirror images
MONTE_CARLO = 9_999
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


def sign_flip(weighted: NDArray[np.float64]) -> tuple[Vector, Vector]:
    """Two-sided sign-flip p-values, alone and adjusted for how many columns are tested together.

    Under no difference, the two arms of a pair could be exchanged: every pattern of signs is as likely as
    the one seen. All columns are flipped together, which keeps their dependence: the adjusted p-value asks
    how often the *largest* of the columns would be as extreme (step-down).

    Args:
        weighted: (units, columns), each unit's weighted difference; 0 where a unit has none.

    Returns:
        p per column and adjusted p per column, (columns,) each; never 0.

    Source: Fisher 1935; Westfall and Young 1993, algorithm 4.1.

    >>> alone, adjusted = sign_flip(np.ones((3, 1)))
    >>> float(alone[0])                     # 2 of 8 patterns: +++ and ---
    0.25
    """
    scale = np.sqrt((weighted**2).sum(axis=0))
    scaled = weighted / np.where(scale > 0, scale, 1.0)
    seen = np.abs(scaled.sum(axis=0))
    order = np.argsort(-seen, kind="stable")
    alone, joint, patterns = np.zeros(len(seen)), np.zeros(len(seen)), 0
    for signs in _patterns(*weighted.shape):
        moved = np.abs(signs @ scaled)
        alone += (moved >= seen - 1e-9).sum(axis=0)
        largest = np.maximum.accumulate(moved[:, order[::-1]], axis=1)[:, ::-1]
        joint[order] += (largest >= seen[order] - 1e-9).sum(axis=0)
        patterns += len(signs)
    adjusted = np.empty(len(seen))
    adjusted[order] = np.maximum.accumulate(joint[order] / patterns)
    return alone / patterns, adjusted


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


def _patterns(units: int, columns: int) -> Iterator[NDArray[np.float64]]:
    """Rows of signs, (P, units): every pattern up to a mirror image, or a seeded sample with the one seen."""
    step = max(1, 2_000_000 // max(units, columns))
    if units <= EXACT_UNITS:
        codes = np.arange(2 ** max(units - 1, 0))
        for start in range(0, len(codes), step):
            bits = (codes[start : start + step, None] >> np.arange(units)) & 1
            yield np.asarray(1.0 - 2.0 * bits, dtype=np.float64)
        return
    yield np.ones((1, units))
    rng = np.random.default_rng(0)
    for start in range(0, MONTE_CARLO, step):
        drawn = rng.integers(0, 2, (min(step, MONTE_CARLO - start), units))
        yield np.asarray(1.0 - 2.0 * drawn, dtype=np.float64)
