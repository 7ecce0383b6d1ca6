"""All pairs at once at the edges: few units, equal values, long tails, last bits, many settings."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import betaincinv

from poise.families import compare_all, family_size
from poise.resampling import studentised_maximum, studentised_quantiles
from poise.stats import UNBOUNDED, Bounds, difference_interval

Matrix = NDArray[np.float64]
SHARE = Bounds(0.0, 1.0, 24.0)


def noise(units: int, count: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(size=(units, count))


@given(st.integers(0, 50), st.sampled_from([1e-9, 0.5, 3.0, 1e9]), st.booleans())
@settings(max_examples=30)
def test_the_unit_does_not_matter(seed: int, scale: float, hold: bool) -> None:
    values = noise(12, 3, seed) + np.array([0.0, 1.0, -2.0])
    found, scaled = compare_all([values], hold=hold), compare_all([scale * values], hold=hold)
    assert np.allclose(scale * found.low, scaled.low, rtol=1e-9)
    assert np.allclose(found.p, scaled.p)
    assert (found.detected == scaled.detected).all()


@pytest.mark.parametrize("shift", [0.0, 1 / 3, 0.1 + 0.2])
@pytest.mark.parametrize("count", [2, 5])
def test_settings_that_differ_by_last_bits_are_equal(shift: float, count: int) -> None:
    """0.1 + 0.2 is not 0.3, and a mean over draws has such bits: no spread is read off them."""
    base = noise(9, 1)
    values = np.hstack([(base + k * shift) * (1 + k * 2.2e-16) for k in range(count)])
    found = compare_all([values])
    assert not found.detected.any()
    assert np.isnan(found.low[np.triu_indices(count, 1)]).all()
    assert found.smallest_detectable(0, 1, 0.05) is None
    assert difference_interval([values[:, 0]], [values[:, 1]]).low is None


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("value", [0.0, 0.1, 7.0])
def test_values_that_are_all_equal_claim_nothing(value: float, hold: bool) -> None:
    found = compare_all([np.full((8, 4), value)], hold=hold)
    assert not found.detected.any()
    assert (found.difference == 0).all()
    assert (found.p == 1).all()


def test_of_shares_that_are_all_equal_some_could_have_gone_unseen() -> None:
    """None of 24 prompts differs: with 97.5 % confidence at most 1 - 0.025^(1/24) of all do, each by 1 at most."""
    found = compare_all([np.zeros((24, 2))], SHARE)
    assert found.high[0, 1] == pytest.approx(1 - 0.025 ** (1 / 24))
    assert found.low[0, 1] == pytest.approx(-found.high[0, 1])


def test_few_units_that_differ_bound_how_many_there_can_be() -> None:
    """Three of 24 prompts are better, none is worse."""
    values = np.zeros((24, 2))
    values[:3, 1] = [0.25, 0.5, 1.0]
    found = compare_all([values], SHARE)
    assert found.high[0, 1] == pytest.approx(betaincinv(4, 21, 0.975))  # Clopper and Pearson, 3 of 24
    assert found.low[0, 1] == pytest.approx(-(1 - 0.025 ** (1 / 24)))
    assert found.difference[0, 1] == pytest.approx(1.75 / 24)


def test_a_difference_is_never_larger_than_it_can_be() -> None:
    values = np.where(noise(8, 4) > 0, 1.0, 0.0)
    found = compare_all([values], SHARE)
    assert found.low.min() >= -1.0
    assert found.high.max() <= 1.0


def test_many_prompts_of_normal_values_have_t_intervals() -> None:
    values = noise(100, 4)
    found = compare_all([values])
    apart = values[:, 1] - values[:, 0]
    reach = scipy.stats.t.ppf(1 - 0.025 / 6, 99) * scipy.stats.sem(apart)
    assert found.high[0, 1] - found.difference[0, 1] == pytest.approx(reach, rel=0.03)
    assert found.high[0, 1] - found.difference[0, 1] >= reach - 1e-12
    more = scipy.stats.t.ppf(0.8, 99) * scipy.stats.sem(apart)
    assert found.smallest_detectable(0, 1, 0.05 / 6) == pytest.approx(reach + more, rel=0.03)


@pytest.mark.parametrize(("prompts", "settings"), [(8, 5), (16, 2), (16, 16), (32, 5)])
def test_the_smallest_detectable_difference_is_found_about_4_times_in_5(prompts: int, settings: int) -> None:
    """Normal values, 60 studies: 36 to 57 finds where the rate is 80 %, but for 1 in 1,000 a case."""
    claimed = np.median(
        [compare_all([noise(prompts, settings, s)]).smallest_detectable(0, 1, 0.05 / family_size(settings))
         for s in range(20)]
    )  # fmt: skip
    finds = 0
    for study in range(100, 160):
        values = noise(prompts, settings, study)
        values[:, 1] += claimed
        finds += bool(compare_all([values]).detected[0, 1])
    assert 36 <= finds <= 57


def test_beside_a_constant_a_long_tail_reaches_further_than_t() -> None:
    """One setting is always the same; the other's values have a long tail on one side."""
    values = np.random.default_rng(3).exponential(size=(16, 4))
    values[:, 0] = 1.0
    found = compare_all([values])
    reach = scipy.stats.t.ppf(1 - 0.025 / 6, 15) * scipy.stats.sem(values[:, 1])
    assert found.high[0, 1] - found.difference[0, 1] > 1.1 * reach


def test_a_long_tail_that_one_pair_misses_others_tell() -> None:
    """All intervals are as wide, in their own errors: one reach for all."""
    values = np.random.default_rng(3).lognormal(0, 1, (12, 5))
    found = compare_all([values])
    pairs = np.triu_indices(5, 1)
    reach = (found.high - found.difference)[pairs] / found.error[pairs]
    assert reach == pytest.approx(np.full(10, reach[0]))


def test_fifty_settings() -> None:
    values = noise(24, 50) + np.arange(50)
    found = compare_all([values])
    assert family_size(50) == 1225
    assert found.low.shape == (50, 50)
    assert found.detected[0, 49]
    assert not np.diag(found.detected).any()


def test_claims_that_were_given_up_keep_their_share() -> None:
    values = noise(24, 3) + np.array([0.0, 0.0, 1.0])
    alone, among = compare_all([values]), compare_all([values], family=120)
    assert (among.high - among.low)[0, 2] > 1.3 * (alone.high - alone.low)[0, 2]


def test_no_interval_of_eight_units_detects_what_few_patterns_could_show() -> None:
    """Of 8 prompts all differ one way: p = 2/256, but 16 settings have 120 pairs and intervals of their own."""
    values = noise(8, 16) * 0.5
    values[:, 15] += 1.0
    assert not compare_all([values]).detected.any()


# Resampling


def test_a_symmetric_sample_reaches_as_far_on_both_sides() -> None:
    values = np.array([-4.0, -3, -2, -1, 1, 2, 3, 4])
    first, last = studentised_quantiles([values], 0.025)
    assert -first == pytest.approx(last, rel=0.25)
    assert last > 2.3


def test_a_long_tail_turns_t_to_the_other_side() -> None:
    values = np.random.default_rng(0).lognormal(0, 1, 40)
    first, last = studentised_quantiles([values], 0.025)
    assert -first > 1.3 * last


@given(st.integers(0, 30), st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
@settings(max_examples=20)
def test_t_has_no_unit(seed: int, scale: float, shift: float) -> None:
    values = noise(12, 1, seed)[:, 0]
    moved = scale * (values + shift)
    assert studentised_quantiles([values], 0.025) == pytest.approx(studentised_quantiles([moved], 0.025), rel=1e-5)


def test_the_largest_of_several_reaches_further() -> None:
    values = noise(16, 20)
    one, _ = studentised_maximum([values[:, :1]], 0.05, 1.0)
    all_of_them, _ = studentised_maximum([values], 0.05, 1.0)
    same, _ = studentised_maximum([np.repeat(values[:, :1], 20, axis=1)], 0.05, 1.0)
    assert 1.9 < one < 3.5
    assert all_of_them > one + 0.5
    assert same == pytest.approx(one)


def test_columns_that_hardly_vary_are_left_out() -> None:
    """One of 8 units differs: every third resample has none of it, (7/8)^8 = 34 %, and does not vary."""
    values = noise(8, 3)
    values[:, 1] = 0.0
    values[0, 1] = 1.0
    reach, out = studentised_maximum([values], 0.05, 0.025)
    assert out.tolist() == [False, True, False]
    assert np.isfinite(reach)
    assert studentised_maximum([values[:, [1]]], 0.05, 0.025) == (0.0, np.array([True]))


def test_strata_are_resampled_apart() -> None:
    """Two prompts far apart: what they differ by is no noise, and t is that of each one's draws."""
    near, far = noise(10, 1), noise(10, 1, 1) + 1000
    reach, _ = studentised_maximum([near, far], 0.05, 1.0)
    assert reach == pytest.approx(studentised_maximum([near, far - 1000], 0.05, 1.0)[0], rel=1e-6)
    assert 1.8 < reach < 3.0


def test_one_setting_and_unbounded_values_are_no_family() -> None:
    assert family_size(1) == 1
    assert compare_all([noise(8, 2)], UNBOUNDED).units == 8
