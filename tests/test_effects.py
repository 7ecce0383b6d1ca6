"""Effects, fronts and what is held out, at the edges."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from poise.effects import explain
from poise.fronts import front
from poise.holdouts import ITSELF, cross_fit, gain, worth
from poise.samples import Sample, hold_out
from poise.stats import UNBOUNDED, Bounds

Matrix = NDArray[np.float64]
GRID = list(itertools.product([0.3, 0.7, 1.1], [0.5, 0.9, None]))
SAID = {"temperature": [t for t, _ in GRID], "top_p": [p for _, p in GRID]}


def noise(units: int, count: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(size=(units, count))


def sample(values: Matrix, bounds: Bounds = UNBOUNDED) -> Sample:
    return Sample((values,), "use_case", tuple(range(len(values))), bounds, "")


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_on_a_full_grid_without_noise_the_shares_make_up_the_whole(seed: int) -> None:
    found = explain(np.repeat(noise(1, 9, seed), 12, axis=0), SAID)
    assert sum(e.share for e in found) == pytest.approx(1.0)
    assert {e.parameter for e in found} == {"temperature", "top_p", "together"}
    assert found == sorted(found, key=lambda e: -e.share)


@given(st.integers(0, 1000), st.sampled_from([1e-6, 7.0, 1e6]), st.permutations(range(9)))
@settings(max_examples=20)
def test_neither_unit_nor_order_changes_a_share(seed: int, scale: float, order: list[int]) -> None:
    values = noise(12, 9, seed) * 0.3 + np.arange(9)
    shares = {e.parameter: e.share for e in explain(values, SAID)}
    moved = explain(scale * values[:, order], {name: [said[i] for i in order] for name, said in SAID.items()})
    assert {e.parameter: e.share for e in moved} == pytest.approx(shares)


def test_equal_values_have_no_effects() -> None:
    assert explain(np.full((12, 9), 0.1), SAID) == []


def test_below_eight_prompts_effects_have_no_interval() -> None:
    values = noise(7, 9) * 0.1 + np.arange(9)
    assert all(e.low is None and e.high is None for e in explain(values, SAID))
    assert all(e.low is not None for e in explain(np.vstack([values, values[:1]]), SAID))


def test_parameters_that_move_together_explain_nothing_alone() -> None:
    """Two settings differ in both parameters: which one it was cannot be told."""
    values = noise(12, 2) * 0.1 + np.array([0.0, 1.0])
    found = {e.parameter: e.share for e in explain(values, {"temperature": [0.3, 0.9], "top_p": [0.5, 0.9]})}
    assert found == pytest.approx({"temperature": 0.0, "top_p": 0.0, "together": 0.0})


@given(st.integers(0, 100), st.permutations(range(5)))
@settings(max_examples=15)
def test_the_order_of_the_settings_does_not_move_the_front(seed: int, order: list[int]) -> None:
    first, second = noise(12, 5, seed), noise(12, 5, seed + 1)
    found, moved = front(first, second, (+1, -1)), front(first[:, order], second[:, order], (+1, -1))
    assert [found[i].on_front for i in order] == [m.on_front for m in moved]
    assert [found[i].probability for i in order] == pytest.approx([m.probability for m in moved])
    assert any(m.on_front for m in found)


def test_settings_that_are_equal_are_all_on_the_front() -> None:
    values = np.repeat(noise(13, 1), 50, axis=1)
    assert all(m.on_front and m.probability == 1.0 for m in front(values, values, (+1, 0)))


def test_a_gain_over_itself_is_nothing_by_definition() -> None:
    assert gain(sample(noise(8, 2)), 1, 1, False) is ITSELF


def test_a_gain_by_hand() -> None:
    """Differences 1, 2, ..., 8."""
    values = np.zeros((8, 2))
    values[:, 1] = np.arange(1, 9)
    found = gain(sample(values), 0, 1, False)
    assert (found.difference, found.units, found.how) == (4.5, 8, "held out")
    assert found.low is not None
    assert found.low <= 4.5 - 2.3646 * 2.4495 / 8**0.5 + 1e-3  # t, standard deviation and root by table
    few = gain(sample(values[:7]), 0, 1, False)
    assert (few.low, few.note) == (None, "an interval needs 8 units: there are 7")
    values[:, 1] = np.nan
    assert gain(sample(values), 0, 1, False).note == "no unit has values on both sides"


def test_cross_fitting_by_hand() -> None:
    """Units 0, 4 choose for no one but themselves: there the second is best by far, elsewhere the third.

    Part 0 (units 0 and 4) is judged by what the others choose, the third: 0 there. Parts 1 to 3 see units 0 and 4
    and choose the second, whose mean over the rest is (2 * 100 + 4 * 0) / 6 > 1: 0 in each of them.
    """
    values = np.zeros((8, 3))
    values[:, 2] = 1.0
    values[[0, 4], 1], values[[0, 4], 2] = 100.0, 0.0
    found = cross_fit(sample(values), 0, [0, 1, 2], +1, False)
    assert (found.difference, found.units, found.how) == (0.0, 8, "cross-fitted")
    assert gain(sample(values), 0, 1, False, "chose it").difference == 25.0


def test_cross_fitting_needs_two_units() -> None:
    assert cross_fit(sample(noise(1, 3)), 0, [1, 2], +1, False).difference is None


def test_worth_is_more_where_it_is_better() -> None:
    means = np.array([-2.0, 0.5, 1.0])
    assert [int(np.argmax(worth(means, b, h))) for b, h in ((+1, False), (-1, False), (-1, True))] == [2, 0, 1]


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=60, unique=True))
def test_every_prompt_is_on_one_side(inputs: list[tuple[int, ...]]) -> None:
    choosing, checking = hold_out(inputs)
    assert sorted([*choosing, *checking]) == list(range(len(inputs)))
    assert not checking or (len(checking) >= 8 and len(choosing) >= len(checking))


def test_a_prompt_that_joins_moves_no_other_by_its_number() -> None:
    """Which prompts check depends on the prompts and not on their order; most stay where they were."""
    inputs = [(i, 3) for i in range(48)]
    before = {inputs[i] for i in hold_out(inputs)[1]}
    after = {[*inputs, (99,)][i] for i in hold_out([*inputs, (99,)])[1]}
    assert len(before & after) >= len(before) - 1
