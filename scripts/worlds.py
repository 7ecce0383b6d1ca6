"""Simulated values of settings whose true means are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.stats import UNBOUNDED, Bounds

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
ALIKE = 0.3  # intraclass correlation of the draws of a prompt
CUT = 128  # tokens at most


class World(NamedTuple):
    """Values that a metric could have.

    Args:
        said: what they are like.
        draw: makes (prompts, settings) of them.
        means: their true means, per setting.
        share: how many zeros and ones stand behind a prompt's value; 0 where it is no share.
        longest: the largest possible value; None where there is no limit.
    """

    said: str
    draw: Callable[[np.random.Generator, int, int], Matrix]
    means: Callable[[int], Vector]
    share: int = 0
    longest: float | None = None

    def bounds(self, prompts: int) -> Bounds:
        """The range of the values, as a metric states it."""
        if self.share:
            return Bounds(0.0, 1.0, float(prompts * self.share))
        return UNBOUNDED if self.longest is None else Bounds(0.0, self.longest)


def shifted(law: Callable[[np.random.Generator, tuple[int, int]], Matrix]) -> World:
    """Prompts and settings add up: settings differ by 0 to 1, in steps."""

    def draw(rng: np.random.Generator, n: int, k: int) -> Matrix:
        return np.asarray(rng.normal(size=(n, 1)) + law(rng, (n, k)) + np.linspace(0, 1, k))

    return World("", draw, lambda k: np.linspace(0, 1, k))


def scaled(law: Callable[[np.random.Generator, tuple[int, int]], Matrix], mean: float, constant: bool) -> World:
    """Means rise from 1 to 2, and the tail with them; or the first setting is constant and all means are equal."""

    def means(k: int) -> Vector:
        return np.ones(k) if constant else np.linspace(1, 2, k)

    def draw(rng: np.random.Generator, n: int, k: int) -> Matrix:
        values = law(rng, (n, k)) / mean * means(k)
        if constant:
            values[:, 0] = 1.0
        return np.asarray(values)

    return World("", draw, means)


def rates(low: float, high: float, draws: int, none: bool = False) -> World:
    """Shares of `draws` texts, from one mean to another; or the first setting never does it."""

    def means(k: int) -> Vector:
        found = np.linspace(low, high, k)
        return np.where(np.arange(k) == 0, 0.0, found) if none else found

    def draw(rng: np.random.Generator, n: int, k: int) -> Matrix:
        scale, chance = (1 - ALIKE) / ALIKE, np.maximum(means(k), 1e-12)
        values = rng.binomial(draws, rng.beta(chance * scale, (1 - chance) * scale, (n, k))) / draws
        return np.asarray(values * (means(k) > 0))

    return World("", draw, means, share=draws)


def lengths(low: float, high: float) -> World:
    """Lengths with a constant chance of ending, cut."""

    def means(k: int) -> Vector:
        end = 1 / np.linspace(low, high, k)
        return np.asarray((1 - (1 - end) ** CUT) / end)

    def draw(rng: np.random.Generator, n: int, k: int) -> Matrix:
        return np.minimum(rng.geometric(1 / np.linspace(low, high, k), (n, k)), float(CUT))

    return World("", draw, means, longest=float(CUT))


def _exponential(rng: np.random.Generator, size: tuple[int, int]) -> Matrix:
    return rng.exponential(size=size)


def _lognormal(sigma: float) -> Callable[[np.random.Generator, tuple[int, int]], Matrix]:
    return lambda rng, size: rng.lognormal(0, sigma, size)


WORLDS: Mapping[str, World] = {
    name: world._replace(said=said)
    for name, said, world in (
        ("normal", "prompts differ, settings shift them", shifted(lambda rng, size: rng.normal(size=size))),
        ("heavy tails", "Student's t with 4 degrees of freedom", shifted(lambda rng, size: rng.standard_t(4, size))),
        ("exponential", "skewed, and the more the larger the mean", scaled(_exponential, 1.0, False)),
        ("exponential, one constant", "the first setting is always at their mean", scaled(_exponential, 1.0, True)),
        ("lognormal", "σ = ½", scaled(_lognormal(0.5), np.exp(0.125), False)),
        ("very skewed", "lognormal, σ = 1", scaled(_lognormal(1.0), np.exp(0.5), False)),
        ("very skewed, one constant", "the same; the first is always at their mean",
         scaled(_lognormal(1.0), np.exp(0.5), True)),
        ("rates", "30 % to 60 %, 8 draws of a prompt, beta-binomial", rates(0.3, 0.6, 8)),
        ("rates of one draw", "30 % to 60 %, 1 draw", rates(0.3, 0.6, 1)),
        ("rare rates", "1 % to 5 %, 8 draws", rates(0.01, 0.05, 8)),
        ("rare rates, one never", "5 %, 8 draws; the first setting never", rates(0.05, 0.05, 8, none=True)),
        ("lengths", "tokens, a constant chance of ending, cut at 128", lengths(60, 200)),
    )
}  # fmt: skip
