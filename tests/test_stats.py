"""Intervals and tests of few units, against scipy, enumeration and arithmetic done by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from poise import resampling, stats
from poise.stats import UNBOUNDED, Bounds, Interval

SHARE = Bounds(0.0, 1.0)
numbers = st.floats(-100, 100, allow_subnormal=False).map(lambda x: round(x, 3))
shares = st.floats(0, 1).map(lambda x: round(x, 3))


def ends(found: Interval) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


@given(st.lists(numbers, min_size=2, max_size=40).filter(lambda v: len(set(v)) > 1))
def test_t_interval_is_scipys(values: list[float]) -> None:
    theirs = scipy.stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=scipy.stats.sem(values))
    assert stats.t_interval([np.array(values)]) == pytest.approx(theirs)


def test_strata_by_hand() -> None:
    # Means 1 and 12; variances 2 and 8, two values each: ((2 / 2) + (8 / 2)) / 2² = 1.25.
    found = stats.spread([np.array([0.0, 2.0]), np.array([10.0, 14.0])])
    assert (found.mean, found.variance) == (6.5, 1.25)
    assert found.freedom == pytest.approx(1.25**2 / (0.25**2 + 1.0**2))


def test_strata_weigh_alike_whatever_their_size() -> None:
    assert stats.spread([np.array([0.0, 0.0]), np.full(50, 1.0)]).mean == 0.5


def test_effective_units() -> None:
    assert stats.effective_units([np.zeros(8)]) == pytest.approx(8)
    assert stats.effective_units([np.zeros(8), np.zeros(8)]) == pytest.approx(16)
    assert stats.effective_units([np.zeros(2), np.zeros(1000)]) < 8.1


@pytest.mark.parametrize("n", [8, 16, 64])
def test_a_rate_never_seen_has_clopper_pearsons_bound(n: int) -> None:
    low, high = ends(stats.mean_interval([np.zeros(n)], Bounds(0, 1, n)))
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / n))


@given(st.integers(8, 60), st.data())
def test_rates_of_single_draws_are_no_shorter_than_clopper_pearson(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    low, high = ends(stats.mean_interval([np.repeat([1.0, 0.0], [hits, n - hits])], Bounds(0, 1, n)))
    exact = scipy.stats.binomtest(hits, n).proportion_ci(0.95, "exact")
    assert low <= exact.low + 1e-9
    assert high >= exact.high - 1e-9


@given(st.lists(shares, min_size=8, max_size=40))
@settings(deadline=None)
def test_an_interval_of_shares_is_never_empty_and_holds_the_mean(values: list[float]) -> None:
    low, high = ends(stats.mean_interval([np.array(values)], SHARE))
    assert 0 <= low <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= high <= 1
    assert high - low > 1e-4


def test_shares_that_vary_little_have_about_the_t_interval() -> None:
    values = [np.random.default_rng(0).normal(0.6, 0.05, 30)]
    assert ends(stats.mean_interval(values, SHARE)) == pytest.approx(stats.t_interval(values), abs=0.002)


def test_other_units_only_scale() -> None:
    values = np.array([0.1, 0.5, 0.2, 0.0, 0.9, 0.3, 0.3, 0.4])
    low, high = ends(stats.mean_interval([values], SHARE))
    assert ends(stats.mean_interval([128 * values], Bounds(0, 128))) == pytest.approx((128 * low, 128 * high))


def test_all_equal_without_bounds_is_withheld() -> None:
    found = stats.mean_interval([np.full(8, 2.5)])
    assert (found.low, found.high) == (None, None)
    assert "8 values are equal" in found.note
    found = stats.difference_interval([np.full(9, 1.0)], [np.full(9, 2.0)])
    assert (found.low, found.high) == (None, None)
    assert "9 differences are equal" in found.note


def test_unbounded_values_get_at_least_the_t_interval() -> None:
    values = [np.random.default_rng(1).exponential(size=12)]
    low, high = ends(stats.mean_interval(values))
    t_low, t_high = stats.t_interval(values)
    assert low <= t_low
    assert high > t_high  # the long tail of an exponential is on this side
    assert ends(stats.mean_interval(values, Bounds(low=0.0)))[0] >= 0


def test_the_studentised_interval_of_many_normal_values_is_the_t_interval() -> None:
    values = [np.random.default_rng(2).normal(size=150)]
    assert stats.studentised_interval(values) == pytest.approx(stats.t_interval(values), abs=0.03)
    assert stats.studentised_interval(values) == stats.studentised_interval(values)


def test_a_bootstrap_that_cannot_tell_is_withheld() -> None:
    found = stats.mean_interval([np.array([0.0] * 7 + [1.0])])
    assert (found.low, found.high) == (None, None)
    assert "too alike" in found.note


@pytest.mark.parametrize("n", [8, 20])
def test_no_pair_that_differs_leaves_a_share_unseen(n: int) -> None:
    # If a share q of prompts differed, none of n would with probability (1 - q)^n: 5 % at q = 1 - 0.05^(1/n).
    values = [np.linspace(0, 1, n)]
    q = 1 - 0.05 ** (1 / n)
    assert ends(stats.difference_interval(values, values, SHARE)) == pytest.approx((-q, q))


@given(st.lists(st.tuples(shares, shares), min_size=8, max_size=30))
@settings(deadline=None, max_examples=60)
def test_a_difference_turned_round_changes_its_sign(pairs: list[tuple[float, float]]) -> None:
    a, b = (np.array(v) for v in zip(*pairs, strict=True))
    low, high = ends(stats.difference_interval([a], [b], SHARE))
    assert ends(stats.difference_interval([b], [a], SHARE)) == pytest.approx((-high, -low), abs=1e-9)
    assert -1 <= low <= (b - a).mean() + 1e-9
    assert (b - a).mean() - 1e-9 <= high <= 1


def test_differences_of_many_kinds_get_at_least_the_t_interval() -> None:
    rng = np.random.default_rng(3)
    prompt = rng.normal(0.5, 0.2, 16)
    a, b = prompt + rng.normal(0, 0.02, 16), prompt + rng.normal(0.05, 0.02, 16)
    low, high = ends(stats.difference_interval([a], [b], SHARE))
    t_low, t_high = stats.t_interval([b - a])
    assert low <= t_low < 0.05 < t_high <= high
    assert high - low < 0.06  # the prompts' own spread, ten times as large, has gone


def test_rare_events_use_both_arms() -> None:
    a, b = np.zeros(16), np.array([1.0, 1.0] + [0.0] * 14)
    low, high = ends(stats.difference_interval([a], [b], Bounds(0, 1, 16)))
    t_low, t_high = stats.t_interval([b - a])
    assert low < t_low
    assert high > t_high


def brute_force(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sign flips by the book: every pattern, one by one; step-down on normalised sums."""
    scaled = columns / np.sqrt((columns**2).sum(axis=0))
    moved = [np.abs(np.array(signs) @ scaled) for signs in itertools.product((1, -1), repeat=len(columns))]
    seen = np.abs(scaled.sum(axis=0))
    alone = np.array([np.mean([m[j] >= seen[j] - 1e-9 for m in moved]) for j in range(len(seen))])
    adjusted, worst, left = np.zeros(len(seen)), 0.0, sorted(range(len(seen)), key=lambda j: -seen[j])
    while left:
        worst = max(worst, float(np.mean([max(m[j] for j in left) >= seen[left[0]] - 1e-9 for m in moved])))
        adjusted[left.pop(0)] = worst
    return alone, adjusted


@given(st.integers(1, 7), st.integers(1, 4), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_sign_flips_are_an_enumeration(units: int, columns: int, random: object) -> None:
    rng = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    data = rng.integers(-3, 4, (units, columns)) + rng.choice([0.0, 0.5], (units, columns)) + 0.25
    mine, theirs = resampling.sign_flip(data), brute_force(data)
    assert mine[0] == pytest.approx(theirs[0])
    assert mine[1] == pytest.approx(theirs[1])


def test_eight_prompts_on_one_side() -> None:
    alone, adjusted = resampling.sign_flip(np.arange(1.0, 9.0)[:, None])
    assert alone[0] == adjusted[0] == 2 / 256


def test_equal_metrics_cost_nothing_and_useless_ones_little() -> None:
    data = np.arange(1.0, 9.0)[:, None]
    assert resampling.sign_flip(np.hstack([data] * 9))[1] == pytest.approx([2 / 256] * 9)
    alone, adjusted = resampling.sign_flip(np.hstack([data, np.zeros((8, 3))]))
    assert adjusted == pytest.approx([2 / 256, 1, 1, 1])
    assert alone == pytest.approx(adjusted)


def test_p_is_never_0_and_the_sample_agrees_with_arithmetic() -> None:
    assert resampling.sign_flip(np.ones((40, 1)))[0][0] == 1 / 10_000
    # 20 units, 6 of them with the other sign: at least 14 on one side has probability 0.1153.
    data = np.array([1.0] * 14 + [-1.0] * 6)[:, None]
    exact = 2 * scipy.stats.binom.sf(13, 20, 0.5)
    assert resampling.sign_flip(data)[0][0] == pytest.approx(exact, abs=0.015)  # 4.7 standard errors
    assert resampling.sign_flip(data)[0][0] == resampling.sign_flip(data)[0][0]


def test_the_family_raises_few_false_alarms() -> None:
    """400 families of 10 correlated metrics without any effect: at most 34 alarms at 5 % (false-alarm rate 0.2 %)."""
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(400):
        data = rng.standard_t(4, (9, 10)) + rng.normal(size=(9, 1))
        alarms += resampling.sign_flip(data)[1].min() <= 0.05
    assert alarms <= 34  # 400 draws at 5 %: mean 20, P(over 34) = 0.0012


@pytest.mark.parametrize("n", [8, 16, 64])
def test_the_smallest_detectable_difference_is_found_four_times_in_five(n: int) -> None:
    values = np.random.default_rng(5).normal(size=n)
    least = stats.smallest_detectable([values])
    assert least is not None
    shift = least / (values.std(ddof=1) / np.sqrt(n))
    edge = scipy.stats.t.ppf(0.975, n - 1)
    power = scipy.stats.nct.sf(edge, n - 1, shift) + scipy.stats.nct.cdf(-edge, n - 1, shift)
    assert power == pytest.approx(0.80, abs=0.02)
    assert stats.smallest_detectable([np.ones(8)]) is None


def test_variance_ratio_by_hand() -> None:
    a = np.array([1.0, 2.0, 3.0])
    assert stats.variance_ratio([a], [a + 5]) == 0  # the same noise moved both alike
    assert stats.variance_ratio([a], [-a]) == 2  # and here against each other
    assert stats.variance_ratio([a], [np.zeros(3)]) == 1
    assert stats.variance_ratio([np.array([1.0])], [np.array([2.0])]) is None
    assert stats.variance_ratio([np.ones(4)], [np.zeros(4)]) is None
    # Within prompts only: prompts far apart do not make the draws look paired.
    assert stats.variance_ratio([a, a + 100], [-a, 100 - a]) == pytest.approx(2)


def test_bounds_know_their_width() -> None:
    assert UNBOUNDED.width is None
    assert Bounds(0, None).width is None
    assert Bounds(-2, 2).width == 4


@pytest.mark.parametrize(("pairs", "effect", "said"), [(34, 0.5, 0.808), (8, 1.0, 0.681), (20, 0.3, 0.247)])
def test_power_is_that_of_the_tables(pairs: int, effect: float, said: float) -> None:
    """Effects in standard deviations; the numbers are those of the noncentral t distribution."""
    values = np.arange(pairs, dtype=float)
    matters = effect * values.std(ddof=1)
    found = stats.power([values], matters)
    assert found == pytest.approx(said, abs=0.001)
    away, reach = effect * pairs**0.5, scipy.stats.t.ppf(0.975, pairs - 1)
    law = scipy.stats.nct(pairs - 1, away)
    assert found == pytest.approx(law.sf(reach) + law.cdf(-reach), abs=1e-6)


@given(st.lists(numbers, min_size=8, max_size=60).filter(lambda v: len(set(v)) > 1), st.floats(1e-9, 1e9))
def test_power_is_a_share_that_grows_with_the_difference(values: list[float], matters: float) -> None:
    less, more = (stats.power([np.array(values)], m) for m in (matters, 2 * matters))
    assert less is not None
    assert more is not None
    assert 0.05 - 1e-6 <= less <= more + 1e-9 <= 1 + 1e-6


def test_without_spread_there_is_no_power() -> None:
    assert stats.power([np.ones(8)], 0.1) is None
