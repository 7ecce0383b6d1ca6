"""Every setting against every other, with one error for all claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.stats import POWER, UNBOUNDED, VARIED, VARIED_SHARE, Bounds, difference_interval, sign_flip

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
LEVEL = 0.05


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

        Args:
            a, b: positions of the settings.
            nominal: error of one test of the family.

        Returns:
            It, in the values' unit; None where nothing varied.
        """
        error, freedom = self.error[a, b], self.freedom[a, b]
        if not error > 0:
            return None
        reach: float = _t_quantile(1 - nominal / 2, freedom) + _t_quantile(POWER, freedom)
        return float(reach * error)


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

    Intervals are t intervals at a level shared out among all comparisons (Bonferroni), which holds whatever the
    settings have in common. A claim also needs a sign-flip test of all comparisons together, which assumes no
    shape, so that a few odd values alone cannot carry it. Where hardly any unit differs, intervals follow
    `stats.difference_interval`.

    To hold a mean near a target, `strata` are distances from it with their sign, v. Then |v_b| - |v_a| is
    sgn(s) sgn(m) min(|s|, |m|) for m = v_b - v_a and s = v_b + v_a, whose intervals bound it at the corners.

    Args:
        strata: (n, K) each; a row is a unit, its entries the settings' values. Means are means of strata.
        bounds: the range of the values.
        hold: whether the values are signed distances from a target that the mean is to be held near.
        family: comparisons that share the error; None for those here. Looks at growing data keep the first number.
        level: error of the whole family at this look.

    Returns:
        The pairs.

    Source: Dunn 1961; Westfall and Young 1993 (step-down maximum).
    """
    size = family or family_size(strata[0].shape[1], hold)
    nominal = level / size
    first = _contrast(strata, -1, bounds, nominal)
    if not hold:
        p = _adjusted(strata, first)
        clear = (first.low > 0) | (first.high < 0)
        return _pairs(first, first.difference, first.low, first.high, p, clear & (p <= level))
    total = _contrast(strata, +1, UNBOUNDED, nominal)
    p = np.maximum(*_adjusted_both(strata, first, total))
    corners = np.array([_nearer(s, m) for s in (total.low, total.high) for m in (first.low, first.high)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    np.fill_diagonal(low, 0.0)
    np.fill_diagonal(high, 0.0)
    clear = (low > 0) | (high < 0)
    return _pairs(first, _nearer(total.difference, first.difference), low, high, p, clear & (p <= level))


class _Contrast(NamedTuple):
    difference: Matrix
    low: Matrix
    high: Matrix
    error: Matrix
    freedom: Matrix
    units: int


def _contrast(strata: Sequence[Matrix], sign: int, bounds: Bounds, nominal: float) -> _Contrast:
    """Of b - a (sign -1) or b + a (sign +1)."""
    count = len(strata)
    mean = np.mean([s.mean(axis=0) for s in strata], axis=0)
    parts, free = [], []
    for s in strata:
        cov = np.cov(s, rowvar=False, ddof=1).reshape(s.shape[1], s.shape[1])
        spread = np.diag(cov)[:, None] + np.diag(cov)[None, :] + 2 * sign * cov
        parts.append(np.maximum(spread, 0) / len(s) / count**2)
        free.append(len(s) - 1)
    variance = np.sum(parts, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = variance**2 / np.sum([p**2 / f for p, f in zip(parts, free, strict=True)], axis=0)
    freedom = np.where(np.isfinite(freedom), freedom, sum(free))
    difference = mean[None, :] + sign * mean[:, None]
    error = np.sqrt(variance)
    reach = _t_quantile(1 - nominal / 2, freedom) * error
    low, high = difference - reach, difference + reach
    for a, b in np.argwhere(_steady(strata, sign)):
        low[a, b], high[a, b] = np.nan, np.nan
        if sign < 0 and a != b:
            first, second = ([s[:, i] for s in strata] for i in (a, b))
            found = difference_interval(first, second, bounds, 1 - nominal)
            low[a, b], high[a, b] = (np.nan if x is None else x for x in (found.low, found.high))
    if sign < 0:
        np.fill_diagonal(low, 0.0)
        np.fill_diagonal(high, 0.0)
    return _Contrast(difference, low, high, error, freedom, sum(len(s) for s in strata))


def _steady(strata: Sequence[Matrix], sign: int) -> Mask:
    """Where too few units differ from the commonest value to take their spread at its word."""
    values = np.concatenate(strata)
    units, settings = values.shape
    a, b = np.triu_indices(settings)
    ordered = np.sort(np.round(values[:, b] + sign * values[:, a], 12), axis=0)
    run = longest = np.ones(len(a))
    for i in range(1, units):
        run = np.where(ordered[i] == ordered[i - 1], run + 1, 1)
        longest = np.maximum(longest, run)
    few: Mask = np.zeros((settings, settings), dtype=np.bool_)
    few[a, b] = few[b, a] = units - longest < max(VARIED, VARIED_SHARE * units)
    return few


def _weights(strata: Sequence[Matrix]) -> Matrix:
    """Each unit's part in the settings' means, (units, K)."""
    return np.concatenate([s / len(s) / len(strata) for s in strata])


def _adjusted(strata: Sequence[Matrix], found: _Contrast) -> Matrix:
    return _flipped(strata, [(-1, found)])[0]


def _adjusted_both(strata: Sequence[Matrix], first: _Contrast, total: _Contrast) -> tuple[Matrix, Matrix]:
    apart, together = _flipped(strata, [(-1, first), (+1, total)])
    return apart, together


def _flipped(strata: Sequence[Matrix], contrasts: Sequence[tuple[int, _Contrast]]) -> list[Matrix]:
    """Sign-flip p-values of every pair, adjusted for all of them."""
    parts = _weights(strata)
    settings = parts.shape[1]
    a, b = np.triu_indices(settings, 1)
    adjusted = np.split(sign_flip(np.hstack([parts[:, b] + s * parts[:, a] for s, _ in contrasts]))[1], len(contrasts))
    found = []
    for p in adjusted:
        whole = np.ones((settings, settings))
        whole[a, b] = whole[b, a] = p
        found.append(whole)
    return found


def _nearer(s: Matrix, m: Matrix) -> Matrix:
    """|b| - |a| from s = b + a and m = b - a."""
    return np.sign(s) * np.sign(m) * np.minimum(np.abs(s), np.abs(m))


def _pairs(base: _Contrast, difference: Matrix, low: Matrix, high: Matrix, p: Matrix, detected: Mask) -> Pairs:
    return Pairs(difference, low, high, p, detected, base.error, base.freedom, base.units)


def _t_quantile(probability: float, freedom):  # type: ignore[no-untyped-def]
    from scipy.special import stdtrit

    return stdtrit(freedom, probability)
