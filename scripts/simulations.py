"""What intervals and verdicts do where the truth is known."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, ndtri
from scripts.studies import Supply, answered, deal
from scripts.worlds import Matrix, Vector, World

from poise.families import compare_all, family_size
from poise.params import SamplingParams
from poise.races import Rules, race
from poise.samples import hold_out
from poise.stats import difference_interval
from poise.verdicts import Verdict, decide
from poise.verdicts.case import sizes_of

_MANY = 100_000  # prompts that stand for all


class Covered(NamedTuple):
    """How often intervals held the truth.

    Args:
        held: share of the studies with intervals in which they did; of all pairs, in which every one did.
        withheld: share of the intervals that were withheld.
        width: median width over that of the normal interval with the true spread, which is not known in practice.
    """

    held: float
    withheld: float
    width: float


def cover_one(world: World, prompts: int, studies: int) -> Covered:
    """The 95 % interval of the second setting against the first, `stats.difference_interval`."""
    truth, known = float(np.diff(world.means(2))[0]), 2 * 1.96 * _true_spread(world, 2)[0, 1] / prompts**0.5
    held, widths = 0, []
    for study in range(studies):
        values = world.draw(np.random.default_rng((prompts, study)), prompts, 2)
        found = difference_interval([values[:, 0]], [values[:, 1]], world.bounds(prompts))
        if found.low is not None and found.high is not None:
            held += found.low - 1e-9 <= truth <= found.high + 1e-9
            widths.append((found.high - found.low) / known)
    return Covered(held / max(len(widths), 1), 1 - len(widths) / studies, float(np.median(widths)))


def cover_all(world: World, prompts: int, settings: int, studies: int) -> Covered:
    """The simultaneous intervals of every pair, `families.compare_all`."""
    means = world.means(settings)
    truth = means[None, :] - means[:, None]
    reach = -2 * float(ndtri(0.025 / family_size(settings))) * _true_spread(world, settings) / prompts**0.5
    pairs = np.triu_indices(settings, 1)
    held, withheld, widths = 0, 0.0, []
    for study in range(studies):
        values = world.draw(np.random.default_rng((prompts, study)), prompts, settings)
        found = compare_all([values], world.bounds(prompts))
        outside = (found.low > truth + 1e-9) | (found.high < truth - 1e-9)  # false where withheld
        held += not outside.any()
        withheld += float(np.isnan(found.low[pairs]).mean())
        widths.append(np.nanmedian((found.high - found.low)[pairs] / reach[pairs]))
    return Covered(held / studies, withheld / studies, float(np.median(widths)))


def _true_spread(world: World, settings: int) -> Matrix:
    """Standard deviations of one prompt's difference, (K, K)."""
    cov = np.cov(world.draw(np.random.default_rng(0), _MANY, settings), rowvar=False)
    return np.asarray(np.sqrt(np.diag(cov)[:, None] + np.diag(cov)[None, :] - 2 * cov))


def least_rate(hits: int, of: int) -> float:
    """One-sided 99 % lower bound of a rate (Clopper and Pearson 1934)."""
    return 0.0 if hits == 0 else float(betaincinv(hits, of - hits + 1, 0.01))


# A against A: whole studies in which nothing but luck tells the settings apart.


class Same(NamedTuple):
    """A kind of study of settings that are the same: primary metric, settings, prompts, draws."""

    metric: str
    settings: int
    prompts: int
    draws: int


SAME = tuple(
    Same(metric, *shape)
    for metric in ("length", "nll", "finish_eos", "empty_output", "distinct_2")
    for shape in ((2, 8, 4), (4, 12, 4), (4, 24, 4), (16, 48, 4))
)
FEW_PROMPTS = tuple(Same(metric, 4, 2, 12) for metric in ("length", "nll", "finish_eos"))


def claims_of(kind: Same, supply: Supply, studies: int, once: bool = False) -> int:
    """In how many studies of a kind anything is claimed: a setting out of the set, or a difference.

    Args:
        kind: of study.
        supply: texts of one law.
        studies: how many.
        once: whether every text is dealt once only, over all studies.

    Returns:
        The number.
    """
    goal = {"raise": kind.metric, "baseline": supply.settings[0].label}
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(studies):
            path = Path(folder) / f"{'-'.join(map(str, kind))}-{number}.db"
            with deal(path, supply, *kind[1:], turn=number if once else None) as study:
                (verdict,) = decide(study, goal=goal)
            path.unlink()
            if verdict.status != "not enough":  # then nothing is claimed
                found += any(c.detected or not c.in_set for c in verdict.contenders)
    return found


def claims_in_rounds(world: World, prompts: int, settings: int, studies: int) -> tuple[int, int]:
    """Studies with a claim among settings that all are as the world's first: with one look, and in rounds."""
    once = often = 0
    everyone = tuple(range(settings))
    for study in range(studies):
        rng = np.random.default_rng((prompts, settings, study))
        values = np.hstack([world.draw(rng, prompts, 1) for _ in everyone])
        bounds = world.bounds(prompts)
        once += bool(compare_all([values], bounds).detected.any())
        often += bool(race([values], Rules(sizes_of(prompts), everyone, +1, bounds=bounds)).fallen)
    return once, often


def best_kept(world: World, prompts: int, settings: int, studies: int) -> tuple[int, float]:
    """In how many studies the best setting is in the best set, and how many settings are, on average."""
    kept, sizes = 0, 0
    best = int(np.argmax(world.means(settings)))
    for study in range(studies):
        values = world.draw(np.random.default_rng((prompts, settings, study)), prompts, settings)
        alive = race([values], Rules((prompts,), tuple(range(settings)), +1, bounds=world.bounds(prompts))).alive
        kept += best in alive
        sizes += len(alive)
    return kept, sizes / studies


# Stopping early: 96 prompts, and settings whose means differ by multiples of the difference that matters.

CHOOSE, CHECK, CHECKED = 64, 32, 3
DELTA = 0.6  # in spreads of a prompt's difference
SCENARIOS: Mapping[str, Sequence[float]] = {  # means, in DELTA
    "16, of which 12 are 2δ to 6δ worse and 3 within δ": [0.0, -0.2, -0.4, -0.6, *np.linspace(-2, -6, 12)],
    "16, none different": [0.0] * 16,
    "2, the one 3δ worse": [0.0, -3.0],
    "2, the one δ worse": [0.0, -1.0],
    "2, no different": [0.0, 0.0],
}


class Early(NamedTuple):
    """What rounds cost, as shares of the texts of the fixed plan, and in how many races they kept the best."""

    mean: float
    most: float
    kept: int


def rounds(means: Sequence[float], studies: int) -> Early:
    """Race settings over rounds of prompts; the held-out ones are asked under three settings at most."""
    settings, costs, kept = len(means), [], 0
    rules = Rules(sizes_of(CHOOSE), tuple(range(settings)), +1, matters=DELTA)
    for study in range(studies):
        found = race([_raced(means, study)], rules)
        asked = sum(found.fallen[k].units if k in found.fallen else found.seen[-1] for k in range(settings))
        costs.append((asked + CHECK * min(CHECKED, settings)) / (settings * (CHOOSE + CHECK)))
        kept += 0 in found.alive
    return Early(float(np.mean(costs)), max(costs), kept)


def fixed_power(studies: int) -> float:
    """How often the fixed plan finds one difference of DELTA among 16 settings."""
    means = [1.0] + [0.0] * 15
    return float(np.mean([compare_all([_raced(means, study)]).detected[0, 1] for study in range(studies)]))


def _raced(means: Sequence[float], study: int) -> Matrix:
    noise = np.random.default_rng((len(means), study)).normal(size=(CHOOSE, len(means))) / 2**0.5
    return np.asarray(noise + DELTA * np.array(means))


# Tuning: a study of questions under 11 settings, one of which is taken home.

TUNED, QUESTIONS, ANSWERS = 11, 48, 4
TEMPERATURES = [SamplingParams(temperature=round(0.1 + 0.1 * k, 1)).normalised() for k in range(TUNED)]
DEFAULT = 9  # position of the baseline, temperature 1
TRUTHS: Mapping[str, Vector] = {  # what each setting gains over the default, as a share of right answers
    "no setting differs": np.zeros(TUNED),
    "1 point from setting to setting, 5 above the default": np.array([0, 1, 2, 3, 4, 5, 4, 3, 2, 0, -2]) / 100,
    "one is 25 points better": np.where(np.arange(TUNED) == 4, 0.25, 0.0),
}


class Tuned(NamedTuple):
    """A verdict on a study, the true gains of what it names, and every setting's gain on both sides of the prompts."""

    verdict: Verdict
    naive: float
    recommended: float
    chose: Vector
    checked: Vector


def tuned(gains: Vector, seed: int, questions: int = QUESTIONS) -> Tuned:
    """Tune on questions whose difficulty differs a lot, and decide.

    Args:
        gains: true gain of each setting over the default.
        seed: of everything that is drawn.
        questions: how many; a third of them checks.

    Returns:
        The verdict, with the truth.
    """
    rng = np.random.default_rng(seed)
    chance = 0.05 + 0.65 * rng.beta(1.2, 1.2, (1, questions, 1)) + gains[:, None, None]
    right = rng.random((TUNED, questions, ANSWERS)) < chance
    with tempfile.TemporaryDirectory() as folder, answered(Path(folder) / "quiz.db", right, TEMPERATURES) as study:
        (verdict,) = decide(study, goal={"raise": "exact_match", "baseline": TEMPERATURES[DEFAULT].label})
    sides = [right[:, side].mean(axis=(1, 2)) for side in hold_out([(1 + p,) for p in range(questions)])]
    places = {t: float(gains[k]) for k, t in enumerate(TEMPERATURES)}
    assert verdict.naive is not None
    assert verdict.recommended is not None
    truths = places[verdict.naive.trial.params], places[verdict.recommended.params]
    return Tuned(verdict, *truths, *(side - side[DEFAULT] for side in sides))
