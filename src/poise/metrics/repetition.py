"""Repetition: repeated n-grams, loops, compression."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import NamedTuple

from poise.metrics.context import Context, utf8
from poise.records import Completion

MIN_REPEATS = 3
MIN_LOOP = 16  # tokens: "......" and "ha ha ha" are no loops yet
ZLIB_LEVEL = 9


class Loop(NamedTuple):
    """Where a text starts to repeat itself up to its end.

    Args:
        onset: position of the loop's first token, from 0.
        period: tokens after which it repeats.
        repeats: how often it goes round, at least 3.
    """

    onset: int
    period: int
    repeats: float


def seq_rep_4(completion: Completion, context: Context) -> float | None:
    """1 - distinct / all sequences of four tokens, in the first `context.sizes.tokens` tokens."""
    size, ids = context.sizes.tokens, completion.content_ids
    if size is None or size < 4 or len(ids) < size:
        return None
    return 1 - len(set(n_grams(ids[:size], 4))) / (size - 3)


def n_grams(ids: Sequence[int], n: int) -> list[tuple[int, ...]]:
    """All runs of n tokens, in order.

    >>> n_grams([1, 2, 3], 2)
    [(1, 2), (2, 3)]
    """
    return list(zip(*(ids[i:] for i in range(n)), strict=False))


def find_loop(items: Sequence[Hashable], least: int = MIN_LOOP) -> Loop | None:
    """The longest end of a text that repeats with its smallest period at least three times over.

    Args:
        items: token ids, or characters.
        least: how many items a loop has at least, whatever its period.

    Returns:
        The loop; None where the text does not end in one.

    Source: Knuth, Morris and Pratt 1977: the failure function of the reversed text gives the smallest
        period of every end of it, in linear time.

    >>> find_loop("once upon a time " + "on and " * 4)
    Loop(onset=16, period=7, repeats=4.142857142857143)
    """
    if not items or items.count(items[-1]) < MIN_REPEATS:
        return None  # the last item of a loop is in each of its rounds: most texts need no closer look
    reverse = items[::-1]
    failure, k = [0] * (len(reverse) + 1), 0
    longest, its_period = 0, 0
    for i in range(1, len(reverse)):
        while k and reverse[i] != reverse[k]:
            k = failure[k]
        if reverse[i] == reverse[k]:
            k += 1
        failure[i + 1] = k
        length, period = i + 1, i + 1 - k
        if length >= MIN_REPEATS * period and length >= least:
            longest, its_period = length, period
    return Loop(len(items) - longest, its_period, longest / its_period) if longest else None


def loop_rate(completion: Completion, context: Context) -> float | None:
    """1 where the text ends in a loop, else 0."""
    return None if not completion.token_ids else float(_loop(completion.content_ids) is not None)


def loop_onset(completion: Completion, context: Context) -> float | None:
    """Tokens before the loop; None where there is none."""
    loop = _loop(completion.content_ids)
    return None if loop is None else float(loop.onset)


def loop_period(completion: Completion, context: Context) -> float | None:
    """Tokens after which the loop repeats; None where there is none."""
    loop = _loop(completion.content_ids)
    return None if loop is None else float(loop.period)


def compression_ratio(completion: Completion, context: Context) -> float | None:
    """Raw over compressed size of the first `context.sizes.bytes` bytes."""
    size, raw = context.sizes.bytes, utf8(completion.text)
    if size is None or len(raw) < size:
        return None
    return size / len(zlib.compress(raw[:size], ZLIB_LEVEL))


@lru_cache(maxsize=1024)
def _loop(ids: tuple[int, ...]) -> Loop | None:
    """Three metrics ask for the same loop, one after the other."""
    return find_loop(ids)
