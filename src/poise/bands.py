"""Bands that hold a whole curve, from few curves."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

REPEATS = 1000  # resamples of whole curves
LEAST = 2.5  # standard errors at least: where all curves agree nothing tells how many looks there are
POOLED = 2.0  # curves' worth of the pooled variance that is added where there are no bounds


class Band(NamedTuple):
    """A simultaneous band, (m,) each."""

    low: Floats
    high: Floats


def simultaneous(
    strata: list[Floats], bounds: tuple[float | None, float | None], confidence: float = 0.95, seed: int = 0
) -> Band:
    """A band that holds the mean curve everywhere at once, in at least `confidence` of studies like this one.

    Whole curves are resampled with random signs and sizes (a Gaussian multiplier bootstrap), which tells how many
    independent looks the range amounts to; the quantile is then that of Student's t, as the variance is estimated.
    With two bounds, q²/2 imagined curves at either bound join, as in Agresti and Coull's interval: where all
    curves agree the band keeps a width. Without bounds, the variance averaged over the range lends two curves'
    worth to every place.

    Args:
        strata: curves on common stretches, one array (n, m) per stratum, n at least 2, no NaN.
        bounds: of the values, None for none.
        confidence: of the band.
        seed: of the resampling.

    Returns:
        The band of the mean of the strata's means.

    Source: Chernozhukov, Chetverikov and Kato 2013 (multiplier bootstrap); Agresti and Coull 1998;
        tests/test_curves_coverage.py shows how often it holds.
    """
    sizes = [len(s) for s in strata]
    mean = np.mean([s.mean(axis=0) for s in strata], axis=0)
    parts = [(s - s.mean(axis=0)) / (len(s) * len(strata)) for s in strata]
    small = [math.sqrt(n / (n - 1)) for n in sizes]
    spread = np.concatenate([p * k for p, k in zip(parts, small, strict=True)])  # (N, m); se² is its squares' sum
    variance = (spread**2).sum(axis=0)
    count, freedom = float(sum(sizes)), min(sizes) - 1
    q = max(LEAST, _quantile(spread, variance + 1e-4 * max(float(variance.mean()), 1e-300), confidence, freedom, seed))
    if bounds[0] is not None and bounds[1] is not None:
        return _bounded(mean, variance, count, (bounds[0], bounds[1]), q)
    pooled = POOLED / count * float(variance.mean())
    error = np.sqrt(variance + pooled)
    down, up = _skewed(strata, pooled, confidence, seed)
    low, high = (-np.inf if bounds[0] is None else bounds[0]), (np.inf if bounds[1] is None else bounds[1])
    return Band(np.maximum(mean - max(q, down) * error, low), np.minimum(mean + max(q, up) * error, high))


def _bounded(mean: Floats, variance: Floats, count: float, bounds: tuple[float, float], q: float) -> Band:
    """The band between two bounds, with q²/2 imagined curves at either."""
    low, high = bounds
    extra = q * q / 2
    center = (count * mean + extra * (low + high)) / (count + 2 * extra)
    squares = variance * count * count + count * (mean - center) ** 2
    squares = squares + extra * ((low - center) ** 2 + (high - center) ** 2)
    error = np.sqrt(squares) / (count + 2 * extra)
    return Band(np.clip(center - q * error, low, high), np.clip(center + q * error, low, high))


def _skewed(strata: list[Floats], pooled: float, confidence: float, seed: int) -> tuple[float, float]:
    """How many standard errors the truth may lie below and above, by resampling with replacement, studentised."""
    rng = np.random.default_rng(seed)
    shift: Floats = np.zeros((REPEATS, strata[0].shape[1]))
    square = np.zeros_like(shift)
    for curves in strata:
        n = len(curves)
        taken = rng.multinomial(n, np.full(n, 1 / n), REPEATS) / n  # (B, n)
        apart = curves - curves.mean(axis=0)
        mean = taken @ apart
        shift += mean / len(strata)
        square += np.maximum(taken @ apart**2 - mean**2, 0.0) / (n - 1) / len(strata) ** 2
    ratio = shift / np.sqrt(square + pooled + 1e-300)
    side = (1 - confidence) / 2
    return float(np.quantile(ratio.max(axis=1), 1 - side)), float(-np.quantile(ratio.min(axis=1), side))


def _quantile(spread: Floats, variance: Floats, confidence: float, freedom: int, seed: int) -> float:
    """How many standard errors the largest deviation along the range may take."""
    draws = np.random.default_rng(seed).standard_normal((REPEATS, len(spread)))
    scaled = spread / np.sqrt(variance)
    largest = np.abs(draws @ scaled).max(axis=1)
    q = float(np.quantile(largest, confidence))
    tail = max(float(special.ndtr(-q)), 1e-12)
    return float(-special.stdtrit(freedom, tail))
