"""docs/method.md: every closed form in it against a small simulation, in plain NumPy.

Nothing here uses the dial's own code. Simulated means may lie 5 standard errors from the formula: with fresh seeds a
true formula would fail a comparison once in 1.7 million times, one of all 33 comparisons here once in 50,000; of
the two tests by chi-squared, p < 1e-6 fails. Seeds are fixed, so that what passes once passes always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from poise import law
from poise.params import SamplingParams

Floats = NDArray[np.float64]
ROW = np.array([4.0, 3.4, 3.1, 2.0, 1.7, 1.1, 0.2, -0.4, -1.3, -2.5])  # a step's logits, likeliest first
LOW, HIGH = 0.05, 1.5


def gumbels(seed: int, *shape: int) -> Floats:
    """Standard Gumbel noise."""
    return np.random.default_rng(seed).gumbel(size=shape)


def softmax(z: Floats) -> Floats:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def gap(p: Floats, r: Floats) -> float:
    """½ Σ p_i p_j |r_i - r_j|, written out."""
    return float(0.5 * np.sum(np.outer(p, p) * np.abs(r[:, None] - r)))


def agrees(simulated: Floats, formula: float, relative_error: float) -> None:
    """The mean lies within 5 standard errors of the formula, and these are small enough to mean something."""
    error = float(simulated.std(ddof=1) / np.sqrt(simulated.size))
    assert error <= relative_error * formula
    assert abs(simulated.mean() - formula) <= 5 * error, (simulated.mean(), formula, error)


def reigns(logits: Floats, g: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """From where to where each token wins, as l_i + T g_i >= l_j + T g_j for all j solved for T: (n, V) twice."""
    rise, lead = g[:, :, None] - g[:, None, :], logits[:, :, None] - logits[:, None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        cross = -lead / rise
    first = np.where(rise > 0, cross, -np.inf).max(axis=2)
    last = np.where(rise < 0, cross, np.inf).min(axis=2)
    return np.maximum(first, low[:, None]), np.minimum(last, high[:, None])


def winners(scores: Callable[[float], Floats], g: Floats, values: Floats) -> NDArray[np.intp]:
    """Who wins at each value, for each row of noise: argmax of scores(value) + g, (values, n)."""
    return np.stack([np.argmax(scores(float(v)) + g, axis=1) for v in values])


def changes(won: NDArray[np.intp]) -> Floats:
    """How often the winner changes from value to value, (n,)."""
    return np.sum(won[1:] != won[:-1], axis=0).astype(np.float64)


def returns(won: NDArray[np.intp]) -> int:
    """In how many columns somebody wins, loses and wins again."""
    distinct = np.array([np.unique(column).size for column in won.T])
    return int(np.sum(changes(won) != distinct - 1))


def reshaped(logits: Floats, **params: float | int | str) -> Floats:
    return law.reshape(logits, SamplingParams.model_validate(params))


def test_the_largest_of_logit_plus_noise_is_a_draw_from_the_softmax() -> None:
    won = np.argmax(ROW / 0.8 + gumbels(1, 50_000, ROW.size), axis=1)
    seen = np.bincount(won, minlength=ROW.size)
    assert stats.chisquare(seen, 50_000 * softmax(ROW / 0.8)).pvalue > 1e-6


def test_along_the_temperature_nobody_wins_twice() -> None:
    won = winners(lambda t: ROW / t, gumbels(2, 3000, ROW.size), np.linspace(LOW, HIGH, 300))
    assert changes(won).mean() > 0.7
    assert returns(won) == 0


def flips(logits: Floats, temperature: float) -> float:
    """φ(T) = E|l_i - l_j| / 2T²."""
    return gap(softmax(logits / temperature), logits) / temperature**2


def flips_between(logits: Floats, low: float, high: float) -> float:
    values = np.linspace(low, high, 2001)
    return float(np.trapezoid([flips(logits, float(t)) for t in values], values))


def test_how_often_the_winner_changes_with_the_temperature() -> None:
    n = 20_000
    first, last = reigns(np.tile(ROW, (n, 1)), gumbels(3, n, ROW.size), np.full(n, LOW), np.full(n, HIGH))
    agrees(np.sum(first < last, axis=1) - 1.0, flips_between(ROW, LOW, HIGH), 0.01)


def test_the_rate_of_changes_is_a_mean_difference_and_quick_to_compute() -> None:
    """½ E|l_i - l_j| = ∫ F (1 - F) dl."""
    for logits in np.random.default_rng(4).normal(0, 3, (20, 50)):
        p, order = softmax(logits), np.argsort(logits)
        below = np.cumsum(p[order])[:-1]
        assert gap(p, logits) == pytest.approx(np.sum(below * (1 - below) * np.diff(logits[order])))


def test_the_winner_changes_at_most_twice_as_often_as_any_coupling_must() -> None:
    """The best possible rate in 1/T is ½ E|l - E l|, the total variation moved."""
    for logits in np.random.default_rng(5).normal(0, 3, (200, 30)):
        p = softmax(logits)
        moved = float(np.abs(softmax(logits * (1 + 1e-6)) - p).sum() / 2e-6)
        best = float(0.5 * p @ np.abs(logits - p @ logits))
        assert moved == pytest.approx(best, rel=1e-4)
        assert best <= gap(p, logits) <= 2 * best


def test_how_often_the_winner_changes_with_a_penalty() -> None:
    """Frequency: r_i = -count_i / T; repetition: r_i = -l_i / (T θ²) where l_i > 0, l_i / T where not, if seen."""
    heat, count, g = 0.9, np.array([3, 0, 1, 2, 0, 0, 1, 1, 0, 0]), gumbels(6, 20_000, ROW.size)
    values = np.linspace(-2, 2, 401)
    rates = [gap(softmax((ROW - a * count) / heat), -count / heat) for a in values]
    won = winners(lambda a: (ROW - a * count) / heat, g, values)
    agrees(changes(won), float(np.trapezoid(rates, values)), 0.01)
    seen, values = count > 0, np.linspace(0.5, 2, 401)

    def divided(r: float) -> Floats:
        return np.where(seen, np.where(ROW > 0, ROW / r, ROW * r), ROW) / heat

    slopes = [np.where(seen, np.where(ROW > 0, -ROW / r**2, ROW), 0.0) / heat for r in values]
    rates = [gap(softmax(divided(float(r))), s) for r, s in zip(values, slopes, strict=True)]
    agrees(changes(winners(divided, g, values)), float(np.trapezoid(rates, values)), 0.015)


def entry(m: float) -> Floats:
    """The temperature from which min-p keeps each token, gap_i / ln(1/m)."""
    return (ROW.max() - ROW) / np.log(1 / m)


def test_min_p_lets_each_token_in_at_its_own_temperature() -> None:
    """m = 0.1 and a gap of 0.6: 0.6 / ln 10 = 0.261."""
    enters = entry(0.1)
    assert enters[1] == pytest.approx(0.2606, abs=1e-4)
    for i in range(1, ROW.size):
        for nudge, inside in ((1 - 1e-9, False), (1 + 1e-9, True)):
            assert np.isfinite(reshaped(ROW, temperature=float(enters[i] * nudge), min_p=0.1)[i]) == inside


def test_the_nucleus_grows_with_the_temperature() -> None:
    """The mass of the k likeliest falls: its derivative in 1/T is P_k (E[l | first k] - E[l]) >= 0."""
    values = np.linspace(0.05, 3, 60)
    for logits in np.sort(np.random.default_rng(7).normal(0, 3, (20, 40)))[:, ::-1]:
        p = np.stack([softmax(logits / t) for t in values])
        assert np.all(np.diff(np.cumsum(p, axis=1), axis=0) <= 1e-14)
        kept = np.stack([np.isfinite(law.top_p(logits / t, 0.9)) for t in values])
        assert np.all(kept[:-1] <= kept[1:])
        assert np.all(kept[:, :-1] >= kept[:, 1:])  # a prefix
        now, mass = softmax(logits), np.cumsum(softmax(logits))
        slope = np.cumsum(now * logits) - mass * (now @ logits)
        moved = (np.cumsum(softmax(logits * (1 + 1e-6))) - mass) / 1e-6
        np.testing.assert_allclose(moved, slope, atol=1e-4)


BESIDE: tuple[dict[str, float | int], ...] = (
    {"top_p": 0.9}, {"min_p": 0.1}, {"top_k": 4}, {"top_k": 7, "top_p": 0.8, "min_p": 0.05},
)  # fmt: skip


@pytest.mark.parametrize("beside", BESIDE, ids=str)
def test_over_growing_prefixes_nobody_wins_twice_either(beside: dict[str, float | int]) -> None:
    values = np.linspace(LOW, HIGH, 300)
    won = winners(lambda t: reshaped(ROW, temperature=t, **beside), gumbels(8, 2000, ROW.size), values)
    assert changes(won).mean() > 0.4
    assert returns(won) == 0


def test_who_enters_adds_the_chance_it_enters_with() -> None:
    """Along T ahead of min-p: ∫ φ over the kept set, plus p_i at T_i for each token i that enters."""
    enters, values = entry(0.1), np.linspace(LOW, HIGH, 1001)
    kept = [ROW[enters <= t] for t in values]
    inside = np.trapezoid([flips(k, float(t)) for k, t in zip(kept, values, strict=True)], values)
    new = [i for i in range(1, ROW.size) if LOW < enters[i] <= HIGH]
    entered = sum(float(softmax(ROW[: i + 1] / enters[i])[i]) for i in new)
    assert (len(new), round(entered, 3), round(float(inside), 3)) == (5, 0.303, 0.488)  # not a small correction
    won = winners(lambda t: np.where(enters <= t, ROW / t, -np.inf), gumbels(9, 8000, ROW.size), values)
    agrees(changes(won), float(inside) + entered, 0.012)


ORDERS: dict[str, list[int]] = {"likeliest first": list(range(ROW.size)), "typical": [2, 1, 3, 0, 4, 5, 6, 7, 8, 9]}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_over_nested_sets_the_winner_is_a_record(order: Sequence[int]) -> None:
    """Σ p_k / P_k distinct winners over all cuts, at most 1 + ln(1/p) with p of the token that is always there."""
    p = softmax(ROW)[list(order)]
    chances = p / np.cumsum(p)
    scores = (np.log(softmax(ROW)) + gumbels(10, 20_000, ROW.size))[:, list(order)]
    best = np.maximum.accumulate(scores, axis=1)
    records = np.concatenate([np.ones((20_000, 1)), best[:, 1:] > best[:, :-1]], axis=1)
    agrees(records.sum(axis=1), float(chances.sum()), 0.01)
    assert chances.sum() <= 1 + np.log(1 / p[0])
    spread = np.sqrt(chances * (1 - chances) / 20_000)
    assert np.all(np.abs(records.mean(axis=0) - chances) <= 5 * spread)


@pytest.mark.parametrize("keep", [1, 2, 4, 7])
def test_a_truncation_changes_the_token_with_the_chance_that_it_removes(keep: int) -> None:
    """Which is the total variation distance: no coupling changes it less often."""
    p, cut = softmax(ROW), np.where(np.arange(ROW.size) < keep, ROW, -np.inf)
    removed = float(p[keep:].sum())
    assert 0.5 * np.abs(softmax(cut) - p).sum() == pytest.approx(removed)
    g = gumbels(11, 60_000, ROW.size)
    differs = np.argmax(ROW + g, axis=1) != np.argmax(cut + g, axis=1)
    assert abs(differs.mean() - removed) <= 5 * np.sqrt(removed * (1 - removed) / 60_000)


def test_how_often_two_settings_agree_on_a_token() -> None:
    """Σ_i 1 / Σ_j max(p_j/p_i, q_j/q_i), between (1 - TV) / (1 + TV) and 1 - TV."""
    p, q = softmax(ROW / 0.6), softmax(ROW / 1.2)
    agree = float(np.sum(1 / np.maximum(p[:, None] / p, q[:, None] / q).sum(axis=0)))
    apart = float(0.5 * np.abs(p - q).sum())
    assert (1 - apart) / (1 + apart) <= agree <= 1 - apart
    g = gumbels(12, 60_000, ROW.size)
    same = np.argmax(ROW / 0.6 + g, axis=1) == np.argmax(ROW / 1.2 + g, axis=1)
    assert abs(same.mean() - agree) <= 5 * np.sqrt(agree * (1 - agree) / 60_000)


class Wood(NamedTuple):
    """Trees of all texts over a temperature range: of each leaf its tree, tokens and stretch; leaves per depth."""

    tree: NDArray[np.intp]
    tokens: NDArray[np.intp]
    low: Floats
    high: Floats
    counts: NDArray[np.intp]


def grown(trees: int, length: int, seed: int) -> tuple[Wood, NDArray[np.intp]]:
    """Texts of a toy model: after each context the same logits, shuffled; all branches of a tree share its noise."""
    rng = np.random.default_rng(seed)
    shuffles = np.argsort(rng.random((997, 6)), axis=1)
    tree, context = np.arange(trees), np.zeros(trees, np.intp)
    tokens = np.zeros((trees, 0), np.intp)
    low, high = np.full(trees, LOW), np.full(trees, HIGH)
    counts = [np.ones(trees, np.intp)]
    for _ in range(length):
        g = rng.gumbel(size=(trees, 6))
        first, last = reigns(ROW[:6][shuffles[context]], g[tree], low, high)
        leaf, token = np.nonzero(first < last)
        low, high, tree = first[leaf, token], last[leaf, token], tree[leaf]
        tokens = np.column_stack([tokens[leaf], token])
        context = (context[leaf] * 31 + token + 1) % 997
        counts.append(np.bincount(tree, minlength=trees))
    return Wood(tree, tokens, low, high, np.stack(counts)), shuffles


def test_leaves_grow_linearly_and_rows_with_the_square() -> None:
    """1 + cL pieces; one row for each text alive before each token: L + cL(L - 1)/2, about L + cL²/2."""
    length, c = 30, flips_between(ROW[:6], LOW, HIGH)
    wood, _ = grown(300, length, 13)
    for depth in (1, 10, 30):
        agrees(wood.counts[depth].astype(np.float64), 1 + c * depth, 0.05)
    rows = wood.counts[:length].sum(axis=0).astype(np.float64)
    agrees(rows, length + c * length * (length - 1) / 2, 0.05)
    widths = np.bincount(wood.tree, weights=wood.high - wood.low)
    np.testing.assert_allclose(widths, HIGH - LOW)  # without gap or overlap


def test_the_leaf_at_a_fixed_temperature_is_an_ordinary_draw() -> None:
    wood, shuffles = grown(20_000, 2, 14)
    here = (wood.low <= 0.8) & (wood.high > 0.8)
    seen = np.bincount(wood.tokens[here] @ [6, 1], minlength=36)
    first = softmax(ROW[:6][shuffles[0]] / 0.8)
    then = np.stack([softmax(ROW[:6][shuffles[t + 1]] / 0.8) for t in range(6)])
    expected = 20_000 * (first[:, None] * then).ravel()
    assert seen.sum() == 20_000
    assert stats.chisquare(seen, expected).pvalue > 1e-6


def test_a_winner_at_both_ends_of_a_repetition_penalty_can_lose_in_one_way_alone() -> None:
    """Seen and positive against seen and negative; -2 sqrt(l_w |l_j|) + c_j - c_w > 0 where the top lies inside."""
    rng = np.random.default_rng(15)
    low, high, values = 0.5, 3.0, np.linspace(0.5, 3.0, 251)
    lost = found = 0
    for _ in range(3000):
        logits, noise, seen = rng.normal(0, 1.5, 8), rng.gumbel(size=8), rng.random(8) < 0.7
        scores = (
            np.where(seen, np.where(logits > 0, logits / values[:, None], logits * values[:, None]), logits) + noise
        )
        won = np.argmax(scores, axis=1)
        w = int(won[0])
        if won[-1] != w:
            continue
        others = set(map(int, won)) - {w}
        lost += bool(others)
        assert not others or (seen[w] and logits[w] > 0)
        assert all(seen[j] and logits[j] < 0 for j in others)
        checked = set()
        for j in np.flatnonzero(seen & (logits < 0)) if seen[w] and logits[w] > 0 else ():
            top = np.sqrt(logits[w] / -logits[j])
            if low < top < high and -2 * np.sqrt(logits[w] * -logits[j]) + noise[j] - noise[w] > 0:
                checked.add(int(j))
        found += bool(checked)
        assert others <= checked  # the check misses nobody; who is found beats the winner, if not always all others
    assert (lost, found) == (lost, lost)
    assert lost >= 10


def test_what_is_not_monotone_comes_back() -> None:
    """T ahead of typical_p, a penalty ahead of top_p: a token at both ends of a range, another one in between."""
    logits, values = np.array([1, 0.9, 0.5, -0.6, -1.5]), np.linspace(LOW, 3, 300)
    kept = [bool(np.isfinite(reshaped(logits, temperature=t, typical_p=0.5)[0])) for t in (0.5, 1, 2)]
    assert kept == [True, False, True]
    won = winners(lambda t: reshaped(logits, temperature=t, typical_p=0.5), gumbels(16, 500, 5), values)
    assert returns(won) > 0
    count, penalties = np.array([3, 0, 1, 2, 0, 0, 1, 1, 0, 0]), np.linspace(-2, 2, 200)
    won = winners(lambda a: law.top_p(ROW - a * count, 0.6), gumbels(17, 500, ROW.size), penalties)
    assert returns(won) > 0


def test_towards_zero_the_noise_breaks_ties_and_zero_itself_takes_the_lowest_id() -> None:
    logits, noise = np.array([1.0, 2.0, 2.0, 0.5, 2.0]), np.array([3.0, -0.5, 0.1, 2.0, 0.9])
    assert np.argmax(law.temperature(logits, 0)) == 1
    limit = 4  # of the tokens 1, 2 and 4, all at 2.0, the one with the largest noise
    until = min((2.0 - logits[j]) / (noise[j] - noise[limit]) for j in (0, 3))
    assert until == pytest.approx(1 / 2.1)  # where token 0 takes over
    for t in (1e-9, 1e-3, 0.4, until * (1 - 1e-9)):
        assert np.argmax(law.temperature(logits, t) + noise) == limit
    assert np.argmax(law.temperature(logits, until * (1 + 1e-9)) + noise) == 0
