"""The noise: a pure function of seed, prompt, draw, position and token."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]

GUMBEL, COIN = 0, 1  # streams
BELOW_ONE = 1 - 2.0**-53  # the largest float64 below 1


def key(seed: int, prompt_ids: Sequence[int], draw: int) -> int:
    """The 128-bit key of one draw of one prompt.

    Args:
        seed: the user's seed, an integer.
        prompt_ids: token ids as fed to the model.
        draw: number of the draw, from 0.

    Returns:
        The first 16 bytes, read little-endian, of a SHA-256.

    >>> hex(key(0, [1, 2], 0))
    '0x3e70736118e13190ab6e0d1122f94e6d'
    """
    said = [operator.index(seed), list(map(operator.index, prompt_ids)), operator.index(draw)]
    text = json.dumps(said, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def words(noise_key: int, position: int, count: int, stream: int = GUMBEL) -> Words:
    """Raw random words of one step, word `i` for token `i`.

    Args:
        noise_key: from `key`.
        position: index of the new token, from 0.
        count: how many words, the vocabulary's size V.
        stream: `GUMBEL`, or `COIN` for a step that tosses one.

    Returns:
        Words of 64 bits, shape (V,).
    """
    generator = np.random.Philox(key=noise_key, counter=[0, position, stream, 0])
    return generator.random_raw(count)


def uniform(raw: Words) -> Floats:
    """Numbers in (0, 1), exact to the bit: ((w >> 11) + 1/2) / 2^53 in float64, ties to even.

    From 2^52 on the half does not fit and rounds; the one number that would become 1 stays below it.
    """
    u: Floats = (raw >> np.uint64(11)).astype(np.float64)
    u += 0.5
    u *= 2.0**-53
    return np.minimum(u, BELOW_ONE, out=u)


def gumbel(raw: Words) -> Floats:
    """Standard Gumbel noise, -ln(-ln u), to 1e-12 across libraries."""
    g = uniform(raw)
    for _ in range(2):
        np.negative(np.log(g, out=g), out=g)
    return g


def coin(noise_key: int, position: int) -> float:
    """The one number that a step tosses for XTC; it strikes where this is below its probability.

    Args:
        noise_key: from `key`.
        position: index of the new token, from 0.

    Returns:
        A number in (0, 1), independent of the tokens' noise: word 0 of the stream `COIN`.

    >>> coin(key(0, [1, 2], 0), 0)
    0.22968023888307926
    """
    return float(uniform(words(noise_key, position, 1, COIN))[0])
