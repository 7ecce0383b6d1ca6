"""Gumbel-max on one row: which token wins, exactly, at several scales."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise import noise

NEAR = 5.0  # logits below the top within which noise is always looked at; any value is exact
LOUD = 1024  # tokens with the loudest noise looked at first, on average; any value is exact

Values = NDArray[np.floating[Any]]


class NoiseRow(NamedTuple):
    """One step's noise, made once for all rows that share prompt, draw and position.

    Args:
        words: raw words, (V,).
        loud: the tokens with the largest words, ids ascending.
        din: Gumbel noise of those tokens.
        quiet: Gumbel noise that no token outside `loud` exceeds.
        peak: the largest Gumbel noise of all.
        source: the noise key and the position that it was made from.
    """

    words: noise.Words
    loud: NDArray[np.intp]
    din: noise.Floats
    quiet: float
    peak: float
    source: tuple[int, int]

    @property
    def coin(self) -> float:
        """The number that XTC tosses, in (0, 1)."""
        return noise.coin(*self.source)


def noise_row(noise_key: int, position: int, size: int) -> NoiseRow:
    """Make the noise of one step.

    Args:
        noise_key: from `noise.key`.
        position: index of the new token, from 0.
        size: the vocabulary's size V.

    Returns:
        The words and what `winners` needs to skip most of them.
    """
    words, source = noise.words(noise_key, position, size), (noise_key, position)
    if size <= LOUD:
        din = noise.gumbel(words)
        return NoiseRow(words, np.arange(size), din, -np.inf, float(din.max()), source)
    bar = np.uint64((1 - LOUD / size) * 2.0**64)  # words are uniform: about LOUD of them lie above
    loud = np.flatnonzero(words >= bar)
    edges = noise.gumbel(np.array([bar, words.max()]))
    return NoiseRow(words, loud, noise.gumbel(words[loud]), float(edges[0]), float(edges[1]), source)


def winners(values: Values, scales: NDArray[np.float64], row: NoiseRow) -> NDArray[np.intp]:
    """argmax_i (values[i] + scale * g[i]) in float64 for each scale, lowest id among ties.

    Only tokens that can win are looked at. Let b be the best score among the tokens near the top.
    A token outside both that set and `loud` has value < top - NEAR and noise <= quiet, so it loses
    when top - NEAR + scale * quiet < b; otherwise all tokens with noise or value enough are tried.

    Args:
        values: (V,), -inf where a token is cut; at least one is finite.
        scales: (k,), each > 0.
        row: the step's noise.

    Returns:
        Token ids, (k,).
    """
    top = float(values.max())
    near = np.flatnonzero(values >= values.dtype.type(top - NEAR))
    best, tokens = _best(values, scales, near, noise.gumbel(row.words[near]))
    if row.loud.size:
        score, token = _best(values, scales, row.loud, row.din)
        better = (score > best) | ((score == best) & (token < tokens))
        best, tokens = np.where(better, score, best), np.where(better, token, tokens)
    unsure = np.flatnonzero(top - NEAR + scales * row.quiet >= best)
    for i in unsure:
        tokens[i] = _full(values, float(scales[i]), row, float(best[i]))
    return tokens


def greedy(values: Values) -> int:
    """The largest value, lowest id among ties."""
    return int(np.argmax(values))


def _best(
    values: Values, scales: NDArray[np.float64], ids: NDArray[np.intp], gumbel: noise.Floats
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Best score and its lowest id among `ids`, ascending, per scale."""
    scores = values[ids].astype(np.float64) + scales[:, None] * gumbel  # (k, n)
    at = scores.argmax(axis=1)
    return scores[np.arange(scales.size), at], ids[at]


def _full(values: Values, scale: float, row: NoiseRow, floor: float) -> int:
    """The winner among all tokens that the loudest noise could lift to `floor`."""
    bar = np.nextafter(values.dtype.type(floor - scale * row.peak), values.dtype.type(-np.inf))
    ids = np.flatnonzero(values >= bar)
    _, token = _best(values, np.array([scale]), ids, noise.gumbel(row.words[ids]))
    return int(token[0])
