"""Looks and races at the edges, and what always holds of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import multivariate_normal

from poise.families import compare_all
from poise.looks import nominal_levels, planned_sizes
from poise.races import Rules, Standing, race

Matrix = NDArray[np.float64]


def noise(units: int, count: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(size=(units, count))


@pytest.mark.parametrize("sizes", [(10, 20), (10, 15), (40, 64), (63, 64)])
def test_two_looks_by_the_bivariate_normal(sizes: tuple[int, int]) -> None:
    """The first spends its share; the correlation of the two sums is the root of the sizes' ratio."""
    first, second = nominal_levels(sizes, 0.05)
    assert first == pytest.approx(0.05 * sizes[0] / sizes[1])
    a, b = -ndtri(first / 2), -ndtri(second / 2)
    shared = (sizes[0] / sizes[1]) ** 0.5
    inside = multivariate_normal(cov=[[1, shared], [shared, 1]]).cdf([a, b], lower_limit=[-a, -b])
    assert inside == pytest.approx(0.95, abs=1e-5)


@given(st.lists(st.integers(2, 40), min_size=1, max_size=6), st.sampled_from([0.05, 1e-4]))
@settings(max_examples=25)
def test_another_unit_of_size_changes_no_level(steps: list[int], level: float) -> None:
    sizes = np.cumsum(steps).tolist()
    assert nominal_levels(sizes, level) == pytest.approx(nominal_levels([10 * s for s in sizes], level), rel=1e-6)


@pytest.mark.parametrize(
    ("total", "sizes"), [(8, [8]), (10, [10]), (12, [12]), (13, [10, 13]), (64, [10, 15, 22, 33, 50, 64])]
)
def test_looks_by_eye(total: int, sizes: list[int]) -> None:
    assert planned_sizes(total, 10, 8) == sizes
    assert planned_sizes(total, 10, 1) == [total]


@given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from([-1, 1]), st.booleans())
@settings(max_examples=40)
def test_somebody_always_stays(seed: int, count: int, better: int, hold: bool) -> None:
    """Whoever has the best mean is beaten by no one: the race never empties itself."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(24, count)) * rng.choice([0.1, 1.0]) + rng.normal(size=count)
    found = race([values], Rules((10, 15, 24), tuple(range(count)), -1 if hold else better, hold=hold))
    assert found.alive
    assert sorted([*found.alive, *found.fallen]) == list(range(count))
    means = values[: found.seen[-1]].mean(axis=0)
    worth = -np.abs(means) if hold else better * means
    assert set(found.entrants) >= set(found.alive)
    assert int(np.argmax(worth)) in found.alive or found.fallen[int(np.argmax(worth))].units < found.seen[-1]


@given(st.integers(0, 1000), st.permutations(range(4)))
@settings(max_examples=20)
def test_the_order_of_the_settings_does_not_matter(seed: int, order: list[int]) -> None:
    values = noise(30, 4, seed) * 0.4 + np.array([0.0, 0.5, 1.0, 1.0])
    rules = Rules((10, 15, 30), (0, 1, 2, 3), +1, matters=0.2)
    found, moved = race([values], rules), race([values[:, order]], rules)
    assert {order[k] for k in moved.alive} == set(found.alive)
    assert {order[k]: f.units for k, f in moved.fallen.items()} == {k: f.units for k, f in found.fallen.items()}


def test_one_look_is_the_comparison_of_all_pairs() -> None:
    values = noise(24, 5) + np.array([0, 0, 0, 2.0, 2.0])
    found = race([values], Rules((24,), tuple(range(5)), +1))
    pairs = compare_all([values])
    assert found.pairs is not None
    assert np.allclose(found.pairs.low, pairs.low)
    assert found.alive == (3, 4)
    assert found.nominal == pytest.approx(0.05 / 10)
    fall = found.fallen[0]
    assert fall.by in (3, 4)
    assert fall.low < fall.difference < fall.high < 0


def test_rows_without_a_value_are_left_out_for_all() -> None:
    values = noise(24, 3) * 0.2 + np.array([0.0, 0.0, 2.0])
    values[:4, 1] = np.nan
    found = race([values], Rules((24,), (0, 1, 2), +1))
    assert found.pairs is not None
    assert found.pairs.units == 20
    assert found.alive == (2,)


def test_a_column_without_any_value_leaves_nothing_to_compare() -> None:
    values = noise(24, 3)
    values[:, 1] = np.nan
    found = race([values], Rules((10, 24), (0, 1, 2), +1))
    assert (found.pairs, found.alive, found.fallen) == (None, (0, 1, 2), {})
    assert found.stopped == ""


def test_fewer_than_eight_units_claim_nothing() -> None:
    values = noise(7, 2) + np.array([0.0, 100.0])
    assert race([values], Rules((7,), (0, 1), +1)).pairs is None


def test_equal_settings_are_within_what_matters_once_their_bounds_are() -> None:
    """Equal values of an unbounded metric have no interval, and so are never said to be alike."""
    assert race([np.zeros((24, 3))], Rules((24,), (0, 1, 2), +1, matters=1.0)).stopped == ""
    close = noise(24, 3) * 0.01
    assert race([close], Rules((24,), (0, 1, 2), +1, matters=1.0)).stopped == "within what matters"


def test_fifty_settings_race() -> None:
    values = noise(40, 50) * 0.3 + np.repeat([0.0, 3.0], 25)
    found = race([values], Rules((10, 15, 22, 40), tuple(range(50)), +1, matters=0.05))
    assert set(found.alive) == set(range(25, 50))
    assert {f.units for f in found.fallen.values()} <= {10, 15, 22}


def test_whoever_surely_breaks_a_constraint_is_out_whatever_its_mean() -> None:
    values = noise(24, 3) + np.array([0.0, 0.0, 9.0])
    said = Standing(frozenset({0, 1}), frozenset({2}))
    found = race([values], Rules((24,), (0, 1, 2), +1), standing=lambda size, error: said)
    assert found.alive == (0, 1)
    assert found.fallen[2] == (24, None, 0.0, 0.0, 0.0)


def test_constraints_are_asked_at_the_error_that_a_look_has() -> None:
    """Of one look: 5 % over the three settings."""
    asked: list[tuple[int, float]] = []

    def standing(size: int, error: float) -> Standing:
        asked.append((size, error))
        return Standing(frozenset({0, 1, 2}), frozenset())

    race([noise(24, 3)], Rules((24,), (0, 1, 2), +1), standing=standing)
    assert asked == [(24, pytest.approx(0.05 / 3))]
