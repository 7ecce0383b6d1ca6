"""Looks, pairs, races, effects, fronts, cross-fitting: numbers by eye, and what must always hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from poise.effects import explain
from poise.families import compare_all, family_size
from poise.fronts import front
from poise.holdouts import cross_fit, gain, leave_one_out
from poise.looks import nominal_levels, planned_sizes
from poise.races import Rules, Standing, race
from poise.samples import Sample, hold_out, usable
from poise.stats import UNBOUNDED, Bounds

Matrix = NDArray[np.float64]
TABLES = arrays.arrays(
    np.float64, st.tuples(st.integers(8, 24), st.integers(2, 5)), elements=st.integers(-50, 50).map(float)
)


def noise(units: int, settings: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(size=(units, settings))


def sample(values: Matrix) -> Sample:
    return Sample((values,), "use_case", tuple(range(len(values))), UNBOUNDED, "")


# Looks


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.sampled_from([0.05, 0.01, 0.05 / 120]))
@settings(max_examples=40)
def test_looks_spend_the_error_and_no_more(steps: list[int], level: float) -> None:
    sizes = np.cumsum(steps).tolist()
    found = nominal_levels(sizes, level)
    assert sum(found) >= level * (1 - 1e-6)  # sharing it out would be dearer
    assert all(0 < f <= level * (1 + 1e-6) for f in found)
    assert found[0] == pytest.approx(level * sizes[0] / sizes[-1], rel=1e-6)


def test_one_look_has_the_whole_error() -> None:
    assert nominal_levels([64], 0.05) == pytest.approx([0.05])


def test_looks_err_together_as_often_as_planned() -> None:
    """100,000 walks: 5 % cross some bound; the false-alarm rate of this test is below 1e-6 (7 standard errors)."""
    from scipy.special import ndtri

    sizes = [8, 12, 18, 27, 40, 64]
    walks = np.random.default_rng(0).standard_normal((100_000, 64)).cumsum(axis=1)
    z = np.abs(walks[:, [s - 1 for s in sizes]]) / np.sqrt(sizes)
    crossed = (z > -ndtri(np.array(nominal_levels(sizes, 0.05)) / 2)).any(axis=1).mean()
    assert abs(crossed - 0.05) < 7 * (0.05 * 0.95 / 100_000) ** 0.5


@given(st.integers(8, 500))
def test_planned_looks_rise_to_all(total: int) -> None:
    sizes = planned_sizes(total, 8, 8)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == total
    assert len(sizes) <= 8


# All pairs


@given(TABLES)
@settings(max_examples=60)
def test_pairs_are_the_same_whichever_way_they_are_read(values: Matrix) -> None:
    found = compare_all([values])
    assert np.allclose(found.difference, -found.difference.T)
    assert np.allclose(found.low, -found.high.T, equal_nan=True)
    assert (found.detected == found.detected.T).all()
    known = np.isfinite(found.low)
    assert (found.low[known] <= found.difference[known] + 1e-9).all()
    assert not found.detected[~known].any()


@given(TABLES, st.permutations(range(5)))
@settings(max_examples=40)
def test_the_order_of_the_settings_does_not_matter(values: Matrix, order: list[int]) -> None:
    order = [i for i in order if i < values.shape[1]]
    found, moved = compare_all([values]), compare_all([values[:, order]])
    assert np.allclose(found.low[np.ix_(order, order)], moved.low, equal_nan=True)
    assert np.allclose(found.p[np.ix_(order, order)], moved.p)


def test_two_settings_have_the_plain_t_interval() -> None:
    """Differences 1 to 9 without 5, mean 5: one comparison, and no sign pattern is as extreme but two of 256."""
    values = np.zeros((8, 2))
    values[:, 1] = [1, 2, 3, 4, 6, 7, 8, 9]
    found = compare_all([values])
    assert found.difference[0, 1] == 5
    assert found.high[0, 1] - 5 >= 2.3646 * np.std(values[:, 1], ddof=1) / 8**0.5 - 1e-3
    assert found.p[0, 1] == pytest.approx(2 / 256)
    assert found.detected[0, 1]


def test_more_settings_widen_every_interval() -> None:
    values = noise(24, 16)
    few, many = compare_all([values[:, :2]]), compare_all([values])
    assert many.high[0, 1] - many.low[0, 1] > few.high[0, 1] - few.low[0, 1]
    assert (family_size(2), family_size(16)) == (1, 120)


def test_what_hardly_varies_claims_nothing() -> None:
    """Three prompts of 24 differ: the spread of so few is not taken at its word."""
    values = np.zeros((24, 2))
    values[:3, 1] = 1.0
    assert np.isnan(compare_all([values]).low[0, 1])
    shares = compare_all([values], Bounds(0.0, 1.0, 24.0))
    assert not shares.detected.any()
    assert shares.low[0, 1] < 0 < shares.high[0, 1]


@given(TABLES)
@settings(max_examples=60)
def test_distances_to_a_target_hold_what_was_seen(values: Matrix) -> None:
    found = compare_all([values], hold=True)
    distance = np.abs(values.mean(axis=0))
    assert np.allclose(found.difference, distance[None, :] - distance[:, None])
    known = np.isfinite(found.low)
    assert (found.low[known] <= found.difference[known] + 1e-9).all()
    assert (found.difference[known] <= found.high[known] + 1e-9).all()


def test_on_either_side_of_the_target_the_nearer_one_is_better() -> None:
    values = noise(64, 3) * 0.2 + np.array([-2.0, 0.5, 1.5])
    found = compare_all([values], hold=True)
    assert found.detected[0, 1]
    assert found.detected[2, 1]
    assert found.difference[0, 1] == pytest.approx(-1.5, abs=0.1)


def test_draws_of_fixed_prompts_are_strata() -> None:
    """Two prompts, each with its own level: what prompts differ by is no noise."""
    one, two = noise(10, 2) * 0.1, noise(10, 2, 1) * 0.1 + 100
    one[:, 1] += 1
    two[:, 1] += 3
    found = compare_all([one, two])
    assert found.difference[0, 1] == pytest.approx(2, abs=0.1)
    assert found.detected[0, 1]
    assert found.high[0, 1] - found.low[0, 1] < 0.5


# Races


def test_a_race_drops_the_worse_and_stops_when_the_rest_is_alike() -> None:
    values = noise(64, 4) * 0.1 + np.array([0.0, 0.0, -1.0, -2.0])
    found = race([values], Rules((8, 12, 18, 27, 40, 64), (0, 1, 2, 3), +1, matters=0.3))
    assert found.alive == (0, 1)
    assert found.stopped == "within what matters"
    assert found.seen[-1] < 64
    assert {k: f.by in (0, 1) for k, f in found.fallen.items()} == {2: True, 3: True}


def test_a_race_reads_no_row_that_was_not_drawn() -> None:
    values = noise(64, 3) * 0.5 + np.array([0.0, 0.1, -3.0])
    rules = Rules((10, 16, 64), (0, 1, 2), +1)
    first = race([values], rules, seen=10)
    values[10:, 2] = np.nan
    values[16:] = np.nan
    assert race([values], rules, seen=16).fallen == first.fallen != {}
    assert race([values], rules, seen=16).seen == (10, 16)


def test_what_breaks_a_constraint_puts_nothing_out() -> None:
    values = noise(32, 2) * 0.1 + np.array([0.0, 5.0])
    rules = Rules((32,), (0, 1), +1)
    assert race([values], rules).alive == (1,)
    held = race([values], rules, standing=lambda size, error: Standing(frozenset({0}), frozenset({1})))
    assert held.alive == (0,)
    assert held.fallen[1].by is None


# Effects and fronts


def test_without_noise_the_shares_are_those_of_the_sums_of_squares() -> None:
    """Means t + 2 p on a full grid of -1 and 1: sums of squares 4 and 16, shares 20 % and 80 %."""
    t, p = [-1, -1, 1, 1], [-1, 1, -1, 1]
    values = np.array([[a + 2 * b for a, b in zip(t, p, strict=True)]] * 12, dtype=float)
    found = {e.parameter: (e.share, e.low, e.high) for e in explain(values, {"t": t, "p": p})}
    assert found["p"] == pytest.approx((0.8, 0.8, 0.8))
    assert found["t"] == pytest.approx((0.2, 0.2, 0.2))
    assert found["together"][0] == pytest.approx(0.0, abs=1e-9)


def test_what_two_parameters_do_together_is_told_apart() -> None:
    values = np.array([[1.0, -1.0, -1.0, 1.0]] * 12)
    found = {e.parameter: e.share for e in explain(values, {"t": [0, 0, 1, 1], "p": [0, 1, 0, 1]})}
    assert found == pytest.approx({"together": 1.0, "t": 0.0, "p": 0.0}, abs=1e-9)


def test_noise_is_not_explained_on_average() -> None:
    """Pure noise: the unbiased total is negative about half of the time, and then nothing is said."""
    said = sum(
        bool(explain(noise(24, 9, s), {"t": [0, 1, 2] * 3, "p": [0] * 3 + [1] * 3 + [2] * 3})) for s in range(60)
    )
    assert 15 < said < 45


def test_the_front() -> None:
    """Better in both is on it for sure; worse in both never; a trade-off is on it on both sides."""
    first = np.array([[3.0, 2.0, 1.0, 2.5]] * 10) + noise(10, 1) * 0.1
    second = np.array([[1.0, 2.0, 0.5, 1.5]] * 10) + noise(10, 1, 1) * 0.1
    found = front(first, second, (+1, +1))
    assert [m.on_front for m in found] == [True, True, False, True]
    assert [m.probability for m in found] == [1.0, 1.0, 0.0, 1.0]
    assert [m.on_front for m in front(first, second, (-1, -1))] == [False, False, True, False]
    assert front(first, first - 2.5, (+1, 0))[3].on_front


# What is held out


def test_prompts_are_held_out_by_their_hash_alone() -> None:
    inputs = [(i, 7) for i in range(30)]
    choosing, checking = hold_out(inputs)
    assert (len(choosing), len(checking)) == (20, 10)
    assert sorted(choosing + checking) == list(range(30))
    again, _ = hold_out(inputs[::-1])
    assert [inputs[i] for i in choosing] == [inputs[::-1][i] for i in again]
    assert [len(side) for side in hold_out(inputs[:16])] == [8, 8]
    assert [len(side) for side in hold_out(inputs[:15])] == [15, 0]


def test_cross_fitting_takes_luck_back() -> None:
    """200 studies of 10 settings without any difference: the best mean promises, cross-fitting delivers nothing.

    Its mean over studies has a standard error near 0.02: the false-alarm rate at 0.1 is below 1e-5.
    """
    promised, delivered = [], []
    for seed in range(200):
        values = noise(16, 10, seed)
        best = int(np.argmax(values.mean(axis=0)))
        promised.append(gain(sample(values), 0, best, False, "chose it").difference or 0.0)
        delivered.append(cross_fit(sample(values), 0, range(10), +1, False).difference or 0.0)
    assert np.mean(promised) > 0.3
    assert abs(np.mean(delivered)) < 0.1


def test_a_winner_by_far_is_stable_and_keeps_its_gain() -> None:
    values = noise(12, 3) * 0.1 + np.array([0.0, 5.0, 1.0])
    found = cross_fit(sample(values), 0, [0, 1, 2], +1, False)
    assert found.difference == pytest.approx(float((values[:, 1] - values[:, 0]).mean()))
    assert leave_one_out(sample(values), [0, 1, 2], lambda means: int(np.argmax(means))) == (12, 12)


def test_a_setting_without_values_is_not_usable() -> None:
    values = noise(20, 3)
    values[:11, 1] = np.nan
    values[:10, 2] = np.nan
    assert usable(sample(values), [0, 1, 2]) == [0, 2]
    assert [len(s) for s in sample(values).of([0, 2])] == [10]
