"""Every setting against every other, with one error for all claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.resampling import sign_flip, studentised_maximum
from poise.stats import LARGE, POWER, UNBOUNDED, VARIED, VARIED_SHARE, Bounds, effective_units

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
LEVEL = 0.05
ROUNDING = 1e-12  # of the values: what the last bits may differ by


class Pairs(NamedTuple):
    """Settings against each other; entry [a, b] of each array, (K, K), speaks of b minus a.

    Args:
        difference: of the means; where a mean is held near a target, of the distances from it.
        low, high: simultaneous intervals; NaN where they are withheld.
        p: sign-flip p-values, adjusted for the whole family.
        detected: whether the interval excludes 0 and p is at most the level.
        error: standard errors of the differences.
        freedom: their degrees of freedom.
        units: how many units stand behind each.
    """

    difference: Matrix
    low: Matrix
    high: Matrix
    p: Matrix
    detected: Mask
    error: Matrix
    freedom: Matrix
    units: int

    def smallest_detectable(self, a: int, b: int, nominal: float) -> float | None:
        """The true difference that a test of this family would find 4 times in 5, at the spread seen.

        A claim needs an interval that excludes 0: the difference has to exceed its reach, whatever made that
        (quantiles, resampling, both sides of a target), and 4 times in 5 an estimate falls short by less than that
        quantile of its error.

        Args:
            a, b: positions of the settings.
            nominal: error of one test of the family.

        Returns:
            It, in the values' unit; None where nothing varied, or no interval could be had.
        """
        error, freedom = self.error[a, b], self.freedom[a, b]
        difference, ends = self.difference[a, b], (self.low[a, b], self.high[a, b])
        if not error > 0 or not np.isfinite(ends[0] + ends[1]):
            return None
        reach = max(difference - ends[0], ends[1] - difference, _t_quantile(1 - nominal / 2, freedom) * error)
        return float(reach + _t_quantile(POWER, freedom) * error)


def family_size(settings: int, hold: bool = False) -> int:
    """How many comparisons are made at once: every pair; of means held near a target, two for each.

    >>> family_size(2), family_size(16), family_size(3, hold=True)
    (1, 120, 6)
    """
    return max(1, settings * (settings - 1) // 2) * (2 if hold else 1)


def compare_all(
    strata: Sequence[Matrix], bounds: Bounds = UNBOUNDED, *, hold: bool = False, family: int | None = None,
    level: float = LEVEL,
) -> Pairs:  # fmt: skip
    """Compare every setting with every other; all claims together err in at most `level` of studies.

    Intervals are t intervals of the paired differences at a level shared out among all comparisons (Bonferroni),
    which holds whatever the settings have in common. Where the largest studentised difference of bootstrapped units
    reaches further, for values with a long tail, they all reach as far. Where too few units differ, bounded values
    get bounds that assume nothing, others none. A claim also needs a sign-flip test of all comparisons together,
    which assumes no shape, so that a few odd values alone cannot carry it.

    To hold a mean near a target, `strata` are distances from it with their sign, v. Then |v_b| - |v_a| is
    sgn(s) sgn(m) min(|s|, |m|) for m = v_b - v_a and s = v_b + v_a, whose intervals bound it at the corners.

    Args:
        strata: (n, K) each, n and K at least 2; a row is a unit, its entries the settings' values. Means are means
            of strata.
        bounds: the range of the values.
        hold: whether the values are signed distances from a target that the mean is to be held near.
        family: comparisons that share the error; None for those here. Looks at growing data keep the first number.
        level: error of the whole family at this look.

    Returns:
        The pairs.

    Source: Dunn 1961; Beran 1988 (studentised maximum); Westfall and Young 1993 (step-down sign flips).
    """
    settings = strata[0].shape[1]
    nominal = level / (family or family_size(settings, hold))
    share = level / 2 if hold else level
    first = _contrast(strata, -1, bounds, share, nominal)
    if not hold:
        return _pairs(settings, first, _adjusted(first.apart), level)
    total = _contrast(strata, +1, UNBOUNDED, share, nominal)
    together = [np.hstack(both) for both in zip(first.apart, total.apart, strict=True)]
    p = np.maximum(*np.split(_adjusted(together), 2))
    return _pairs(settings, _apart_from_target(first, total), p, level)


def _apart_from_target(m: _Contrast, s: _Contrast) -> _Contrast:
    """|v_b| - |v_a| with its bounds, from m = v_b - v_a and s = v_b + v_a."""
    corners = np.array([_nearer(x, y) for x in (s.low, s.high) for y in (m.low, m.high)])
    return m._replace(difference=_nearer(s.difference, m.difference), low=corners.min(axis=0), high=corners.max(axis=0))


def _pairs(settings: int, found: _Contrast, p: Vector, level: float) -> Pairs:
    detected = (((found.low > 0) | (found.high < 0)) & (p <= level)).astype(np.float64)
    return Pairs(
        difference=_square(settings, found.difference, -found.difference),
        low=_square(settings, found.low, -found.high),
        high=_square(settings, found.high, -found.low),
        p=_square(settings, p, p, 1.0),
        detected=_square(settings, detected, detected) > 0,
        error=_square(settings, found.error, found.error),
        freedom=_square(settings, found.freedom, found.freedom, np.nan),
        units=sum(map(len, found.apart)),
    )


class _Contrast(NamedTuple):
    """A contrast of every pair a < b, (pairs,) each; `apart` are its values per unit, (n, pairs) per stratum."""

    apart: list[Matrix]
    difference: Vector
    low: Vector
    high: Vector
    error: Vector
    freedom: Vector


def _contrast(strata: Sequence[Matrix], sign: int, bounds: Bounds, level: float, nominal: float) -> _Contrast:
    """Of b - a (sign -1) or b + a (sign +1), all at `level` and each at `nominal`."""
    a, b = np.triu_indices(strata[0].shape[1], 1)
    apart = [s[:, b] + sign * s[:, a] for s in strata]
    difference = np.mean([d.mean(axis=0) for d in apart], axis=0)
    parts = np.array([d.var(axis=0, ddof=1) / len(d) for d in apart]) / len(apart) ** 2
    free = np.array([[len(d) - 1] for d in apart])
    top = np.max([np.abs(s).max(axis=0) for s in strata], axis=0)
    grain = ROUNDING * np.maximum(top[a], top[b])  # smaller differences are those of the last bits
    variance = parts.sum(axis=0)
    variance[variance <= grain**2] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(variance > 0, variance**2 / np.sum(parts**2 / free, axis=0), free.sum())
    error, unsure = np.sqrt(variance), _steady(apart, grain)
    reach = _t_quantile(1 - nominal / 2, freedom)
    if sum(map(len, apart)) <= LARGE:
        least, still = studentised_maximum([d[:, ~unsure] for d in apart], level, nominal / 2)
        reach, unsure[~unsure] = np.maximum(reach, least), still
    low, high = difference - reach * error, difference + reach * error
    low[unsure], high[unsure] = np.nan, np.nan
    if sign < 0 and bounds.width is not None:
        low, high = np.maximum(low, -bounds.width), np.minimum(high, bounds.width)  # NaN stays NaN
        low[unsure], high[unsure] = _at_worst([d[:, unsure] for d in apart], grain[unsure], bounds.width, nominal)
    return _Contrast(apart, difference, low, high, error, freedom)


def _steady(apart: Sequence[Matrix], grain: Vector) -> Mask:
    """Where too few units differ from the commonest value to take their spread at its word."""
    _, above, below = _commonest(apart, grain)
    units = sum(map(len, apart))
    return np.asarray(above + below < max(VARIED, VARIED_SHARE * units))


def _at_worst(apart: Sequence[Matrix], grain: Vector, width: float, nominal: float) -> tuple[Vector, Vector]:
    """Bounds that assume nothing: from how many units differ, as if each that does differed as far as can be."""
    from scipy.special import betaincinv

    value, *counts = _commonest(apart, grain)
    units = sum(map(len, apart))
    scale = effective_units(apart) / units
    above, below = (betaincinv(k * scale + 1, (units - k) * scale, 1 - nominal / 2) for k in counts)
    return value - below * (width + value), value + above * (width - value)


def _commonest(apart: Sequence[Matrix], grain: Vector) -> tuple[Vector, Vector, Vector]:
    """The commonest value of each column, and how many lie above and below it."""
    values = np.sort(np.concatenate(apart), axis=0)
    run, longest, last = (np.ones(values.shape[1]), np.ones(values.shape[1]), np.zeros(values.shape[1], dtype=int))
    for i in range(1, len(values)):
        run = np.where(values[i] - values[i - 1] <= grain, run + 1, 1)
        last = np.where(run > longest, i, last)
        longest = np.maximum(longest, run)
    value = np.take_along_axis(values, last[None], axis=0)[0]
    return value, len(values) - 1.0 - last, last + 1.0 - longest


def _adjusted(apart: Sequence[Matrix]) -> Vector:
    """Sign-flip p-values of every column, adjusted for all of them."""
    return sign_flip(np.concatenate([d / len(d) / len(apart) for d in apart]))[1]


def _nearer(s: Vector, m: Vector) -> Vector:
    """|b| - |a| from s = b + a and m = b - a."""
    return np.asarray(np.sign(s) * np.sign(m) * np.minimum(np.abs(s), np.abs(m)))


def _square(settings: int, above: Vector, below: Vector, alone: float = 0.0) -> Matrix:
    """Values of pairs as a matrix: [a, b] where a < b, [b, a], and those of a setting with itself."""
    a, b = np.triu_indices(settings, 1)
    whole = np.full((settings, settings), alone)
    whole[a, b], whole[b, a] = above, below
    return whole


def _t_quantile(probability: float, freedom):  # type: ignore[no-untyped-def]
    from scipy.special import stdtrit

    return stdtrit(freedom, probability)
