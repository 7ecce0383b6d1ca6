"""Gumbel-max on one row: the shortcut equals the plain argmax."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poise import draws, noise

SIZES = (2, 7, draws.LOUD, draws.LOUD + 1, 3000)


def plain(values: np.ndarray, scale: float, words: np.ndarray) -> int:
    """The definition: argmax of values + scale * g, lowest id among ties."""
    return int(np.argmax(values.astype(np.float64) + scale * noise.gumbel(words)))


@given(
    seed=st.integers(0, 2**32),
    size=st.sampled_from(SIZES),
    spread=st.sampled_from([0.0, 0.01, 1.0, 5.0, 40.0]),
    cut=st.sampled_from([0.0, 0.5, 0.99]),
    half=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_winners_equal_the_plain_argmax(seed: int, size: int, spread: float, cut: float, half: bool) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, spread, size).astype(np.float32)
    if half:  # ties, as bfloat16 makes them
        values = np.round(values * 4) / 4
    gone = rng.random(size) < cut
    gone[rng.integers(size)] = False
    values[gone] = -np.inf
    scales = np.array([1e-30, 1e-9, 0.05, 0.3, 0.7, 1.0, 1.5, 4.0, 100.0])
    row = draws.noise_row(noise.key(seed, [1], 0), seed % 50, size)
    expected = [plain(values, s, row.words) for s in scales]
    assert draws.winners(values, scales, row).tolist() == expected


def test_a_flat_row_is_decided_by_the_noise_alone() -> None:
    row = draws.noise_row(noise.key(1, [1], 0), 0, 5000)
    won = draws.winners(np.zeros(5000, dtype=np.float32), np.array([1.0]), row)
    assert won.tolist() == [int(np.argmax(row.words))]


def test_a_far_token_wins_when_its_noise_is_loudest() -> None:
    """Scale 1000 makes every logit negligible: the loudest noise wins from 30 nats below the top."""
    values = np.zeros(5000, dtype=np.float32)
    row = draws.noise_row(noise.key(2, [1], 0), 0, 5000)
    loudest = int(np.argmax(row.words))
    values[loudest] = -30
    assert draws.winners(values, np.array([1000.0]), row).tolist() == [loudest]
    assert draws.winners(values, np.array([0.5]), row).tolist() == [plain(values, 0.5, row.words)]


def test_a_token_neither_near_nor_loud_can_win() -> None:
    """The top has the worst noise, loud tokens are 50 nats down: one in between, that no shortcut looks at, wins."""
    row = draws.noise_row(noise.key(3, [1], 0), 0, 5000)
    values = np.full(5000, -draws.NEAR - 1, dtype=np.float32)
    values[row.loud] = -50
    values[int(np.argmin(row.words))] = 0
    (won,) = draws.winners(values, np.array([4.0]), row)
    assert won == plain(values, 4.0, row.words)
    assert values[won] == -draws.NEAR - 1
    assert won not in row.loud


def test_noise_too_small_to_matter_leaves_ties_to_the_lowest_id() -> None:
    """At the smallest temperature the noise vanishes beside the logits: the lowest of the tied, loud or not."""
    row = draws.noise_row(noise.key(4, [1], 0), 0, 5000)
    values = np.full(5000, 8.0, dtype=np.float32)
    assert row.loud[0] > 0
    assert draws.winners(values, np.array([1e-30]), row).tolist() == [0]


def test_greedy_takes_the_lowest_id_among_ties() -> None:
    assert draws.greedy(np.array([1.0, 3.0, 3.0, 2.0])) == 1


@pytest.mark.parametrize("position", [0, 1, 63])
def test_noise_row_keeps_the_words(position: int) -> None:
    row = draws.noise_row(5, position, 5000)
    assert np.array_equal(row.words, noise.words(5, position, 5000))
    assert row.peak == noise.gumbel(row.words).max()
    others = np.setdiff1d(np.arange(5000), row.loud)
    assert noise.gumbel(row.words[others]).max() <= row.quiet
