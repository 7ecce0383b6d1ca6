"""Which steps of a law may change places, and at what price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

# l + a: sums may be taken in any order. A bias of -∞ is a bar.
_SUMS = frozenset({"frequency_penalty", "presence_penalty", "dry_multiplier", "logit_bias"})
# A token at -∞ stays there, and what is added to others, or what they are multiplied by, does not depend on it.
_BARS = frozenset({"bad_words", "no_repeat_ngram_size"})
# min-p looks at the largest logit alone, which top-k keeps; each keeps the likeliest tokens: the fewer of the two stay.
_NESTED = frozenset({"top_k", "min_p"})
# What they do does not change where all logits are divided by one number: ranks, distances over their deviation, signs.
_FREE_OF_SCALE = frozenset({"top_k", "top_n_sigma", "repetition_penalty"})
# They keep the likeliest token, with the lowest id among ties, whatever else they cut.
KEEPS_TOP = frozenset({
    "top_k", "top_p", "min_p", "top_n_sigma", "epsilon_cutoff", "eta_cutoff", "top_h", "tfs", "top_a", "mirostat",
})  # fmt: skip


def commute(a: str, b: str, *, greedy: bool = False, bars: bool = False) -> bool:
    """Whether two steps may change places: every row then has the same tokens left, with the same probabilities.

    Args:
        a, b: the steps.
        greedy: whether the temperature is 0: it keeps the likeliest token.
        bars: whether all biases are -∞.

    Returns:
        True where it is proved; `tests/test_exports.py` tries every pair on random rows.

    >>> commute("temperature", "top_k"), commute("temperature", "top_p")
    (True, False)
    """
    pair = {a, b}
    if greedy and "temperature" in pair:
        return pair <= KEEPS_TOP | {"temperature"}
    if pair <= _NESTED or pair <= _SUMS or pair <= _BARS:
        return True
    barring = _BARS | ({"logit_bias"} if bars else set())
    if pair & barring and pair <= barring | _SUMS | {"repetition_penalty", "temperature"}:
        return True
    return "temperature" in pair and pair <= _FREE_OF_SCALE | {"temperature"}


def swapped(there: Sequence[str], here: Mapping[str, int]) -> list[tuple[str, str]]:
    """The pairs of steps that change places.

    Args:
        there: the steps in their new order.
        here: each one's place in the old order.

    Returns:
        Pairs, the one that came first in the old order first.

    >>> swapped(["top_k", "temperature"], {"temperature": 0, "top_k": 1})
    [('temperature', 'top_k')]
    """
    return [(b, a) for a, b in combinations(there, 2) if here[b] < here[a]]
