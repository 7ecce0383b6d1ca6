"""How often 95 % intervals hold the truth: simulated, for the values that metrics have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from poise import stats
from poise.stats import UNBOUNDED, Bounds

Arms = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
QUICK, FULL = 150, 3000


def rates(low: float, high: float, draws: int, alike: float, shared: float = 0.0) -> Arms:
    """Rates of prompts over `draws` texts, prompts differing by an intraclass correlation of `alike`."""

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        chances = []
        state = rng.bit_generator.state
        for mean in (low, high):
            if shared:
                rng.bit_generator.state = state  # both arms find the same prompts hard
            scale = (1 - alike) / alike if alike else None
            chances.append(rng.beta(mean * scale, (1 - mean) * scale, n) if scale else np.full(n, mean))
        a, b = (rng.binomial(draws, p) / draws for p in chances)
        return a, b

    return draw


def zero_inflated(low: float, high: float) -> Arms:
    """Shares that are mostly 0: repetition of texts of which few repeat."""

    def arm(rng: np.random.Generator, n: int, chance: float) -> np.ndarray:
        return (rng.random(n) < chance) * rng.beta(2, 2, n)

    return lambda rng, n: (arm(rng, n, low), arm(rng, n, high))


def lengths(low: float, high: float) -> Arms:
    """Lengths with a constant chance of ending, cut at 128 tokens."""
    return lambda rng, n: tuple(np.minimum(rng.geometric(1 / g, n), 128.0) for g in (low, high))  # type: ignore[return-value]


def spread(kind: str) -> Arms:
    """Unbounded values with an effect of the prompt."""

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        prompt = rng.normal(size=n)
        noise: Callable[[], np.ndarray] = {
            "normal": lambda: rng.normal(size=n),
            "exponential": lambda: rng.exponential(size=n),
            "lognormal 0.5": lambda: rng.lognormal(0, 0.5, n),
            "t 4": lambda: rng.standard_t(4, n),
        }[kind]
        return prompt + noise(), prompt + noise()

    return draw


def length_mean(g: float) -> float:
    return (1 - (1 - 1 / g) ** 128) * g


TRIALS = -1.0  # stands for n · draws in the table
MEANS: dict[str, tuple[Arms, float, Bounds, int]] = {
    "rate 0.02": (rates(0.02, 0.02, 8, 0.3), 0.02, Bounds(0, 1, TRIALS), 8),
    "rate 0.1": (rates(0.1, 0.1, 8, 0.3), 0.1, Bounds(0, 1, TRIALS), 8),
    "rate 0.1, one draw": (rates(0.1, 0.1, 1, 0), 0.1, Bounds(0, 1, TRIALS), 1),
    "rate 0.5": (rates(0.5, 0.5, 4, 0.3), 0.5, Bounds(0, 1, TRIALS), 4),
    "mostly zero": (zero_inflated(0.2, 0.2), 0.1, Bounds(0, 1), 1),
    "rarely over zero": (zero_inflated(0.05, 0.05), 0.025, Bounds(0, 1), 1),
    "lengths": (lengths(100, 100), length_mean(100), Bounds(0, 128), 1),
    "lengths mostly cut": (lengths(600, 600), length_mean(600), Bounds(0, 128), 1),
    "normal": (spread("normal"), 0.0, UNBOUNDED, 1),
    "lognormal 0.5": (lambda rng, n: (v := rng.lognormal(0, 0.5, n), v), float(np.exp(0.125)), UNBOUNDED, 1),
    "exponential": (lambda rng, n: (v := rng.exponential(size=n), v), 1.0, UNBOUNDED, 1),
}
DIFFERENCES: dict[str, tuple[Arms, float, Bounds, int]] = {
    "rates 0.02, 0.02": (rates(0.02, 0.02, 8, 0.3), 0.0, Bounds(0, 1, TRIALS), 8),
    "rates 0.02, 0.1": (rates(0.02, 0.1, 8, 0.3), 0.08, Bounds(0, 1, TRIALS), 8),
    "rates 0.02, 0.3": (rates(0.02, 0.3, 8, 0.3), 0.28, Bounds(0, 1, TRIALS), 8),
    "rates 0.1, 0.3, one draw": (rates(0.1, 0.3, 1, 0), 0.2, Bounds(0, 1, TRIALS), 1),
    "rates 0.3, 0.6, same prompts hard": (rates(0.3, 0.6, 8, 0.3, 1), 0.3, Bounds(0, 1, TRIALS), 8),
    "rates 0.05, 0.9": (rates(0.05, 0.9, 8, 0.3), 0.85, Bounds(0, 1, TRIALS), 8),
    "mostly zero": (zero_inflated(0.05, 0.3), 0.125, Bounds(0, 1), 1),
    "zero and not": (zero_inflated(0.01, 0.9), 0.445, Bounds(0, 1), 1),
    "lengths": (lengths(100, 600), length_mean(600) - length_mean(100), Bounds(0, 128), 1),
    "lengths mostly cut": (lengths(600, 600), 0.0, Bounds(0, 128), 1),
    "normal": (spread("normal"), 0.0, UNBOUNDED, 1),
    "exponential": (spread("exponential"), 0.0, UNBOUNDED, 1),
    "heavy tails": (spread("t 4"), 0.0, UNBOUNDED, 1),
}


def coverage(case: tuple[Arms, float, Bounds, int], n: int, times: int, *, paired: bool) -> float:
    arms, truth, bounds, draws = case
    rng = np.random.default_rng(n)
    if bounds.trials == TRIALS:
        bounds = bounds._replace(trials=n * draws)
    held = given = 0
    for _ in range(times):
        a, b = arms(rng, n)
        found = stats.difference_interval([a], [b], bounds) if paired else stats.mean_interval([a], bounds)
        if found.low is None or found.high is None:
            continue
        given += 1
        held += found.low - 1e-9 <= truth <= found.high + 1e-9
    assert given > times / 2, "an interval that is mostly withheld says nothing about coverage"
    return held / given


def least(times: int, claimed: float = 0.93) -> float:
    """The smallest coverage that a true coverage of `claimed` gives, but for one test in 100,000."""
    return float(binom.ppf(1e-5, times, claimed)) / times


@pytest.mark.parametrize("name", MEANS)
def test_means_hold_the_truth(name: str) -> None:
    """Claimed: at least 93 % at 16 prompts; 150 simulations, false alarm 1 in 100,000 per case."""
    assert coverage(MEANS[name], 16, QUICK, paired=False) >= least(QUICK)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_differences_hold_the_truth(name: str) -> None:
    """Claimed: at least 93 % at 8 prompts; 150 simulations, false alarm 1 in 100,000 per case."""
    assert coverage(DIFFERENCES[name], 8, QUICK, paired=True) >= least(QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("n", [8, 16, 32])
@pytest.mark.parametrize("name", MEANS)
def test_means_hold_the_truth_at_length(name: str, n: int) -> None:
    """Claimed: at least 93 %; 3,000 simulations, false alarm 1 in 100,000 per case. `-s` prints the coverage."""
    found = coverage(MEANS[name], n, FULL, paired=False)
    print(f"mean, {n} prompts, {name}: {found:.3f}")
    assert found >= least(FULL)


@pytest.mark.slow
@pytest.mark.parametrize("n", [8, 16, 32])
@pytest.mark.parametrize("name", DIFFERENCES)
def test_differences_hold_the_truth_at_length(name: str, n: int) -> None:
    """Claimed: at least 93 %; 3,000 simulations, false alarm 1 in 100,000 per case. `-s` prints the coverage."""
    found = coverage(DIFFERENCES[name], n, FULL, paired=True)
    print(f"difference, {n} prompts, {name}: {found:.3f}")
    assert found >= least(FULL)


@pytest.mark.slow
@pytest.mark.parametrize("n", [8, 16, 32])
def test_very_skewed_means_fall_short_as_documented(n: int) -> None:
    """Lognormal values with sigma 1: 88 % or more, as `mean_interval` says; 3,000 simulations, 1 in 100,000."""
    case: tuple[Arms, float, Bounds, int] = (
        lambda rng, k: (v := rng.lognormal(0, 1, k), v), float(np.exp(0.5)), UNBOUNDED, 1,
    )  # fmt: skip
    found = coverage(case, n, FULL, paired=False)
    print(f"mean, {n} prompts, lognormal 1: {found:.3f}")
    assert least(FULL, 0.88) <= found < 0.95


@pytest.mark.slow
@pytest.mark.parametrize("prompts", [1, 4])
def test_draws_of_fixed_prompts_hold_the_truth(prompts: int) -> None:
    """Strata: 8 draws of each prompt, rates 0.05 to 0.9; claimed 93 %, false alarm 1 in 100,000."""
    rng = np.random.default_rng(prompts)
    chances = np.linspace(0.05, 0.9, prompts)
    held = 0
    for _ in range(FULL):
        strata = [(rng.random(8) < p).astype(float) for p in chances]
        found = stats.mean_interval(strata, Bounds(0, 1, stats.effective_units(strata)))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= chances.mean() <= found.high
    print(f"mean of draws, {prompts} prompts: {held / FULL:.3f}")
    assert held / FULL >= least(FULL)
