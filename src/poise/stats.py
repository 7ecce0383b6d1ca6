"""Intervals and smallest detectable differences for few units.

Everything here works on *strata*. When prompts are the units there is one stratum, with one value per
prompt. When the prompts are fixed and only the noise varies, every prompt is a stratum and its draws are
the units. The mean is the mean of the strata's means in both cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.resampling import studentised_maximum, studentised_quantiles

Vector = NDArray[np.float64]
Strata = Sequence[Vector]

LEVEL = 0.95
MIN_UNITS = 8
POWER = 0.80
VARIED, VARIED_SHARE = 4, 0.05  # units that must differ before their spread is taken at its word
LARGE = 500  # above this many units the t interval alone is right: no resampling
_MAX_CORRELATION = 0.99
_ROUNDING = 1e-12  # of the values: what the last bits may differ by
_TAIL = (1 - LEVEL) / 2


class Bounds(NamedTuple):
    """The values a metric can take.

    Args:
        low, high: the smallest and largest possible value, None where there is no limit.
        trials: for means of zeros and ones, how many of them stand behind the values; else None.
    """

    low: float | None = None
    high: float | None = None
    trials: float | None = None

    @property
    def width(self) -> float | None:
        """The largest possible distance of two values, None where there is no limit."""
        return None if self.low is None or self.high is None else self.high - self.low


UNBOUNDED = Bounds()


class Interval(NamedTuple):
    """A 95 % interval, or why there is none.

    Args:
        low, high: its ends; None where no interval can be had.
        note: why there is none; empty where there is one.
    """

    low: float | None
    high: float | None
    note: str = ""


class Spread(NamedTuple):
    """Mean, variance of that mean, and its degrees of freedom (Welch and Satterthwaite over strata)."""

    mean: float
    variance: float
    freedom: float


def spread(strata: Strata) -> Spread:
    """The mean of the strata's means, and how far it varies.

    Args:
        strata: values, one array per stratum, at least two in each.

    Returns:
        The spread; degrees of freedom are n - 1 for one stratum.
    """
    count = len(strata)
    parts = np.array([s.var(ddof=1) / len(s) for s in strata]) / count**2
    free = np.array([len(s) - 1 for s in strata])
    total = float(parts.sum())
    freedom = float(total**2 / np.sum(parts**2 / free)) if total > 0 else float(free.sum())
    return Spread(float(np.mean([s.mean() for s in strata])), total, freedom)


def t_quantile(probability: float, freedom: float) -> float:
    """Quantile of Student's t distribution.

    Args:
        probability: in (0, 1).
        freedom: degrees of freedom, above 0.

    Returns:
        The quantile.
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def t_interval(strata: Strata, level: float = LEVEL) -> tuple[float, float]:
    """The t interval of the mean. Right for roughly symmetric values.

    Args:
        strata: values, one array per stratum, at least two in each.
        level: in how many of 100 studies it is to hold the truth, as a share.

    Returns:
        Its ends.

    >>> [round(end, 3) for end in t_interval([np.array([1.0, 2.0, 3.0, 4.0])])]
    [0.446, 4.554]
    """
    mean, variance, freedom = spread(strata)
    reach = t_quantile((1 + level) / 2, freedom) * variance**0.5
    return mean - reach, mean + reach


def studentised_interval(strata: Strata, level: float = LEVEL, even: bool = False) -> tuple[float, float]:
    """The bootstrap-t interval: as the t interval, with the sample's own quantiles of t.

    Args:
        strata: values, one array per stratum, at least two in each, not all equal.
        level: in how many of 100 studies it is to hold the truth, as a share.
        even: reach as far on both sides, for values without a long tail on one.

    Returns:
        Its ends; infinite where the values are too few and too alike to say.

    Source: Efron and Tibshirani 1993, chapter 12.
    """
    mean, variance, _ = spread(strata)
    if even:
        last, _ = studentised_maximum([s[:, None] for s in strata], 1 - level, 1.0)
        first = -last
    else:
        first, last = studentised_quantiles(strata, (1 - level) / 2)
    return mean - last * variance**0.5, mean - first * variance**0.5


def mean_interval(strata: Strata, bounds: Bounds = UNBOUNDED, level: float = LEVEL) -> Interval:
    """An interval of the mean that does not come out too short where the t interval does.

    Values with two bounds get a beta interval of matched variance: a Clopper-Pearson interval with the
    effective number of trials, which stays honest at 0, at 1 and for rare events. Other values get the t
    interval, widened to the studentised bootstrap's ends, because a t interval misses on skewed values.
    How often they hold the truth is in docs/honesty.md.

    Args:
        strata: values, one array per stratum, at least two in each.
        bounds: the values' range.
        level: see `difference_interval`.

    Returns:
        The interval; none where unbounded values are all equal, for nothing is then known of their spread.

    Source: Korn and Graubard 1998 (effective trials); Clopper and Pearson 1934.
    """
    if bounds.width is not None:
        return Interval(*_bounded(strata, bounds, level))
    if _still(strata):
        return Interval(None, None, f"all {_units(strata)} values are equal: their spread is unknown")
    return _robust(strata, bounds, level)


def difference_interval(a: Strata, b: Strata, bounds: Bounds = UNBOUNDED, level: float = LEVEL) -> Interval:
    """An interval of the mean of b - a, paired.

    Where at least 4 units, and 5 % of them, differ from the commonest difference, it is the t interval of the
    differences, widened to the studentised bootstrap's ends; as far on both sides for bounded values most of which
    differ. With fewer, or where that bootstrap cannot tell, bounded values get the two arms' intervals put together;
    and when no unit differs from the others, a bound on the share of those that could have gone unseen.

    Args:
        a, b: values of the two arms, pair by pair, same strata.
        bounds: the range of one arm's values.
        level: in how many of 100 studies it is to hold the truth, as a share.

    Returns:
        The interval; none where unbounded differences are all equal.

    Source: Newcombe 1998 and Zou 2008 (intervals of differences from those of the arms).
    """
    apart = [y - x for x, y in zip(a, b, strict=True)]
    width = bounds.width
    grain = _grain([*a, *b])
    if spread(apart).variance <= grain**2:
        return _unseen(apart, width, level)
    varied = _varied(apart, grain)
    if width is None or varied >= max(VARIED, VARIED_SHARE * _units(apart)):
        even = width is not None and 2 * varied >= _units(apart)
        found = _clipped(_robust(apart, UNBOUNDED, level, even), width)
        if width is None or found.low is not None:
            return found
    (low_a, high_a), (low_b, high_b) = _bounded(a, bounds, level), _bounded(b, bounds, level)
    mean_a, mean_b, shared = spread(a).mean, spread(b).mean, _correlation(a, b)
    down = _joined(mean_b - low_b, high_a - mean_a, shared)
    up = _joined(high_b - mean_b, mean_a - low_a, shared)
    return _clipped(Interval(mean_b - mean_a - down, mean_b - mean_a + up), width)


def smallest_detectable(differences: Strata, found: Interval | None = None) -> float | None:
    """The true difference that one test at 5 %, two-sided, would find 4 times in 5, at the spread seen.

    Args:
        differences: paired differences, one array per stratum, at least two in each.
        found: the interval that has to exclude 0; where it reaches further than the t interval, so must a difference.

    Returns:
        It, in the values' unit; None where nothing varied.
    """
    _, variance, freedom = spread(differences)
    if _still(differences):
        return None
    return float((_reach(differences, found) + t_quantile(POWER, freedom)) * variance**0.5)


def power(differences: Strata, matters: float, found: Interval | None = None) -> float | None:
    """How often one test at 5 %, two-sided, would find a true difference of this size, at the spread seen.

    Args:
        differences: paired differences, one array per stratum, at least two in each.
        matters: the difference, in the values' unit, above 0.
        found: see `smallest_detectable`.

    Returns:
        A share, from the noncentral t distribution; None where nothing varied.

    >>> half = np.array([-1.0, 1.0] * 17) * (33 / 34) ** 0.5         # 34 pairs of standard deviation 1
    >>> round(power([half], 0.5), 3)
    0.808
    """
    from scipy.special import nctdtr

    _, variance, freedom = spread(differences)
    if _still(differences):
        return None
    away = min(matters / variance**0.5, 30.0)  # beyond, nctdtr has no digits
    reach = _reach(differences, found)
    return float(1 - nctdtr(freedom, away, reach) + 1 - nctdtr(freedom, -away, reach))  # both sides


def _reach(differences: Strata, found: Interval | None) -> float:
    """How many standard errors an interval reaches: a quantile of t, or further to its longer side."""
    mean, variance, freedom = spread(differences)
    reach = t_quantile(1 - _TAIL, freedom)
    if found is None or found.low is None or found.high is None:
        return reach
    return float(max(reach, max(mean - found.low, found.high - mean) / variance**0.5))


def variance_ratio(a: Strata, b: Strata) -> float | None:
    """What sharing the noise did to the variance of a difference, within prompts: below 1 it helped.

    Args:
        a, b: values of the two arms, draw by draw, one array per prompt.

    Returns:
        Variance of b - a over the sum of both variances (what unrelated noise would give); None where no
        prompt has two draws or nothing varied.
    """
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if len(x) > 1]
    coupled = sum(float((y - x).var(ddof=1)) for x, y in pairs)
    independent = sum(float(x.var(ddof=1) + y.var(ddof=1)) for x, y in pairs)
    return coupled / independent if independent > 0 else None


def effective_units(strata: Strata) -> float:
    """How many equal units weigh as much as these: n for one stratum or strata of equal size."""
    return float(len(strata) ** 2 / sum(1 / len(s) for s in strata))


def _bounded(strata: Strata, bounds: Bounds, level: float = LEVEL) -> tuple[float, float]:
    """The beta interval in the values' own unit."""
    low, width = bounds.low or 0.0, bounds.width or 1.0
    first, last = _beta_interval([(s - low) / width for s in strata], bounds.trials, (1 - level) / 2)
    return low + width * first, low + width * last


def _beta_interval(strata: Strata, trials: float | None, tail: float) -> tuple[float, float]:
    """Clopper-Pearson for a mean in [0, 1] with as many trials as its variance amounts to."""
    from scipy.special import betaincinv

    mean, variance, freedom = spread(strata)
    mean = min(max(mean, 0.0), 1.0)
    if variance > 1e-18 and 0 < mean < 1:
        free = max(trials - 1, 1.0) if trials else np.inf
        correction = (t_quantile(1 - tail, free) / t_quantile(1 - tail, freedom)) ** 2
        count = mean * (1 - mean) / variance * correction
        count = min(count, trials) if trials else count
    else:
        count = effective_units(strata)
    if count > 1e6:  # the beta quantiles lose their digits here, and are normal long before
        low, high = t_interval(strata, 1 - 2 * tail)
        return max(low, 0.0), min(high, 1.0)
    hits = mean * count
    low = float(betaincinv(hits, count - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, count - hits, 1 - tail)) if hits < count else 1.0
    return low, high


def _robust(strata: Strata, bounds: Bounds, level: float = LEVEL, even: bool = False) -> Interval:
    """The t interval, widened to the studentised bootstrap's ends while the units are few."""
    low, high = t_interval(strata, level)
    if _units(strata) <= LARGE:
        first, last = studentised_interval(strata, level, even)
        low, high = min(low, first), max(high, last)
    if not np.isfinite(low + high):
        return Interval(None, None, f"the {_units(strata)} values are too alike to tell how far they spread")
    low = low if bounds.low is None else max(low, bounds.low)
    return Interval(low, high if bounds.high is None else min(high, bounds.high))


def _unseen(apart: Strata, width: float | None, level: float) -> Interval:
    """What equal differences still leave open: a share of pairs, unseen so far, anywhere in the range."""
    if width is None:
        return Interval(None, None, f"all {_units(apart)} differences are equal: their spread is unknown")
    share = 1 - (1 - level) ** (1 / effective_units(apart))
    means = np.array([s.mean() for s in apart])
    low = means.mean() - share * (means + width).max()
    high = means.mean() + share * (width - means).max()
    return Interval(float(low), float(high))


def _grain(strata: Strata) -> float:
    """Values that differ by less are equal but for their last bits."""
    return _ROUNDING * max(float(np.abs(s).max()) for s in strata)


def _still(strata: Strata) -> bool:
    """Whether nothing varies."""
    return spread(strata).variance <= _grain(strata) ** 2


def _varied(apart: Strata, grain: float) -> int:
    """How many units differ from the commonest difference by more than rounding does."""
    values = np.sort(np.concatenate(apart))
    return len(values) - max(map(len, np.split(values, np.flatnonzero(np.diff(values) > grain) + 1)))


def _clipped(found: Interval, width: float | None) -> Interval:
    """A difference's interval, no larger than a difference can be."""
    if width is None or found.low is None or found.high is None:
        return found
    return Interval(max(found.low, -width), min(found.high, width))


def _correlation(a: Strata, b: Strata) -> float:
    """Of the arms within strata; 0 where it cannot be had or is negative."""
    x, y = (np.concatenate([s - s.mean() for s in arm]) for arm in (a, b))
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return min(max(float(x @ y) / norm, 0.0), _MAX_CORRELATION) if norm > 0 else 0.0


def _joined(first: float, second: float, correlation: float) -> float:
    """How far a difference reaches when its arms reach this far and move together."""
    return float(np.sqrt(max(first**2 + second**2 - 2 * correlation * first * second, 0.0)))


def _units(strata: Strata) -> int:
    return sum(len(s) for s in strata)
