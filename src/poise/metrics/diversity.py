"""Diversity: how much the draws of one prompt differ."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from poise.metrics.context import Context
from poise.metrics.repetition import n_grams
from poise.records import Completion

_ROUNDING = 1e-12  # equal texts are at distance 0


def distinct_2(group: Sequence[Completion], context: Context) -> float | None:
    """Distinct over all pairs of neighbouring tokens, in equally many texts of equally many tokens.

    Of more texts than that, the mean over all choices: no text is thrown away, none counts twice.
    """
    size, texts = context.sizes.tokens, context.sizes.long_texts
    if size is None or texts is None:
        return None
    long = [c.content_ids[:size] for c in group if len(c.content_ids) >= size]
    if len(long) < texts:
        return None
    holders = Counter(itertools.chain.from_iterable(set(n_grams(ids, 2)) for ids in long))
    return expected_distinct(holders.values(), len(long), texts) / (texts * (size - 1))


def distinct_texts(group: Sequence[Completion], context: Context) -> float | None:
    """Distinct over all texts, among equally many; of more, the mean over all choices."""
    texts = context.sizes.texts
    if texts is None or len(group) < texts:
        return None
    holders = Counter(c.text for c in group)
    return expected_distinct(holders.values(), len(group), texts) / texts


def long_enough(completion: Completion, context: Context) -> bool:
    """Whether distinct_2 looks at a text."""
    return len(completion.content_ids) >= (context.sizes.tokens or 0)


def has_words(completion: Completion, context: Context) -> bool:
    """Whether word_vector_distance looks at a text."""
    return context.vectors.of(completion.text) is not None


def expected_distinct(holders: Iterable[int], n: int, chosen: int) -> float:
    """How many distinct things are expected among texts chosen without replacement.

    Args:
        holders: for each thing, how many of the n texts hold it.
        n: texts there are.
        chosen: texts chosen, at most n.

    Returns:
        The mean over all choices, exactly.

    Source: Hurlbert 1971 (rarefaction).

    >>> round(expected_distinct([2, 1], 3, 2), 3)     # a, a, b: the pairs aa, ab, ab
    1.667
    """
    sizes = Counter(holders)
    ways = math.comb(n, chosen)
    return sum(count * (ways - math.comb(n - held, chosen)) / ways for held, count in sorted(sizes.items()))


def word_vector_distance(group: Sequence[Completion], context: Context) -> float | None:
    """1 - mean cosine over all pairs of texts: a U-statistic, unbiased for any number of texts."""
    vectors = [v for c in group if (v := context.vectors.of(c.text)) is not None]
    n = len(vectors)
    if n < 2:
        return None
    total = np.sum(vectors, axis=0)
    pairs = (float(total @ total) - n) / (n * (n - 1))  # |sum|² is n squares of length 1 and every pair twice
    return 0.0 if abs(1 - pairs) < _ROUNDING else min(max(1 - pairs, 0.0), 2.0)
