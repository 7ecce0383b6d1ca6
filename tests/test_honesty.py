"""Honesty, measured: how often verdicts claim what is not so, and what stopping early costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import betaincinv

from poise.engines.fake import WORDS, make
from poise.families import compare_all
from poise.params import SamplingParams
from poise.races import Race, Rules, race
from poise.stats import Bounds
from poise.study import Study
from poise.sweeps import sweep
from poise.usecases import UseCase
from poise.verdicts import decide
from poise.verdicts.case import sizes_of

Matrix = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Matrix]
pytestmark = pytest.mark.slow


def least_rate(hits: int, of: int) -> float:
    """One-sided 99 % lower bound of a rate (Clopper and Pearson 1934)."""
    return 0.0 if hits == 0 else float(betaincinv(hits, of - hits + 1, 0.01))


def normal(rng: np.random.Generator, prompts: int, settings: int) -> Matrix:
    return rng.normal(size=(prompts, settings)) * 0.5 + rng.normal(size=(prompts, 1))


def skewed(rng: np.random.Generator, prompts: int, settings: int) -> Matrix:
    return rng.exponential(size=(prompts, settings)) * rng.exponential(size=(prompts, 1))


def rates(rng: np.random.Generator, prompts: int, settings: int) -> Matrix:
    return np.asarray(rng.binomial(4, rng.beta(2, 2, (prompts, 1)), (prompts, settings)) / 4)


def rare(rng: np.random.Generator, prompts: int, settings: int) -> Matrix:
    return np.asarray(rng.binomial(4, rng.beta(0.3, 5, (prompts, 1)), (prompts, settings)) / 4)


@pytest.mark.parametrize("aim", ["seq_rep_4", "nll", "finish_eos", "distinct_texts"])
def test_settings_that_are_the_same_are_not_told_apart(tmp_path: Path, aim: str) -> None:
    """A against A, 250 studies for each of four metrics, 1,000 in all: whole studies on the fake engine.

    top_k above the vocabulary's size is the same law; each setting has a seed of its own, so that nothing but
    luck differs. Every metric fails where the 99 % lower bound of its rate of claims is above 5 %: a rule that
    claims in 5 % of studies fails a test in at most 1 of 100.
    """
    engine = make()
    prompts = ["the" + a + b for a in WORDS[1:9] for b in WORDS[2:5]][:24]
    case = UseCase(name="same", prompts=tuple(prompts), goal={"raise": aim, "baseline": "temperature=1,top_k=20"})
    settings = [SamplingParams(temperature=1.0, top_k=k) for k in (20, 30, 40, 50)]
    claims, studies = 0, 250
    for number in range(studies):
        path = tmp_path / f"{number}.db"
        for k, params in enumerate(settings):
            sweep(
                engine, case, params, study=path, baselines=False, draws=2, max_tokens=24, seed=10 * number + k
            ).close()
        with Study.open(path, read_only=True) as study:
            (found,) = decide(study)
        path.unlink()
        claims += any(c.detected or not c.in_set for c in found.contenders)
    print(f"A against A, {aim}: {claims} claims in {studies} studies")
    assert least_rate(claims, studies) <= 0.05


@pytest.mark.parametrize("draw", [normal, skewed, rates, rare])
@pytest.mark.parametrize(("prompts", "settings"), [(8, 3), (16, 5), (24, 16), (64, 16)])
def test_no_claim_among_equals_in_one_look_or_many(draw: Draw, prompts: int, settings: int) -> None:
    """1,000 tables each; fails where the 99 % lower bound of the rate of claims is above 5 %."""
    bounds = Bounds(0.0, 1.0, 4.0 * prompts) if draw in (rates, rare) else Bounds()
    one = many = 0
    for seed in range(studies := 1000 if settings < 16 else 300):
        values = draw(np.random.default_rng(seed), prompts, settings)
        one += bool(compare_all([values], bounds).detected.any())
        rules = Rules(sizes_of(prompts), tuple(range(settings)), +1, bounds=bounds)
        many += bool(race([values], rules).fallen)
    print(f"{draw.__name__}, {prompts} prompts, {settings} settings: {one} and {many} claims in {studies}")
    assert least_rate(one, studies) <= 0.05
    assert least_rate(many, studies) <= 0.05


@pytest.mark.parametrize("draw", [normal, skewed, rates])
@pytest.mark.parametrize("settings", [4, 16])
def test_the_best_set_holds_the_best(draw: Draw, settings: int) -> None:
    """300 races of settings whose means rise: fails where the 99 % upper bound of holding it is below 95 %."""
    lost, studies = 0, 300
    for seed in range(studies):
        values = draw(np.random.default_rng(seed), 64, settings) + 0.05 * np.arange(settings)
        lost += settings - 1 not in race([values], Rules(sizes_of(64), tuple(range(settings)), +1)).alive
    print(f"{draw.__name__}, {settings} settings: the best was lost {lost} times in {studies}")
    assert least_rate(lost, studies) <= 0.05


# The published scenario: 96 prompts, of which 64 choose and 32 check; 16 settings, 4 of them within delta of the
# best, 12 of them 2 to 6 delta worse. The spread of a prompt's difference is delta / 0.65: one test of the fixed
# plan's family finds a difference of delta in 92 of 100 studies.
DELTA = 0.65
MEANS = np.array([0, -0.3, -0.6, -0.9, *np.linspace(-2, -6, 12)]) * DELTA
CHOOSE, CHECK = 64, 32


def cost(found: Race, settings: int) -> float:
    """Texts per draw: every round's prompts under those still in, then the held-out ones under three at most."""
    asked = sum(found.fallen[k].units if k in found.fallen else found.seen[-1] for k in range(settings))
    return asked + CHECK * min(3, settings)


def scenario(seed: int, means: Matrix) -> Race:
    values = np.random.default_rng(seed).normal(size=(CHOOSE, len(means))) / 2**0.5 + means
    return race([values], Rules(sizes_of(CHOOSE), tuple(range(len(means))), +1, matters=DELTA))


def test_stopping_early_takes_two_fifths_and_keeps_the_best() -> None:
    """200 races; the mean's standard error is below 0.005, the false-alarm rate below 1e-6."""
    races = [scenario(seed, MEANS) for seed in range(200)]
    shares = [cost(r, 16) / (16 * (CHOOSE + CHECK)) for r in races]
    kept = sum(0 in r.alive for r in races)
    print(f"16 settings, 12 of them 2 to 6 delta worse: {np.mean(shares):.3f} of the texts, the best kept {kept}/200")
    assert np.mean(shares) <= 0.40
    assert least_rate(200 - kept, 200) <= 0.05


@pytest.mark.parametrize(("name", "means"), [("two settings", [0, -3 * DELTA]), ("none different", [0.0] * 16)])
def test_stopping_early_never_costs_more_than_all(name: str, means: list[float]) -> None:
    shares = [cost(scenario(s, np.array(means)), len(means)) / (len(means) * (CHOOSE + CHECK)) for s in range(50)]
    print(f"{name}: {np.mean(shares):.3f} of the texts, {max(shares):.3f} at most")
    assert max(shares) <= 1.0
