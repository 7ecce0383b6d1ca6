"""The noise: a pure function of seed, prompt, draw, position and token."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]

GUMBEL, COIN = 0, 1  # streams


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
    text = json.dumps([seed, list(map(int, prompt_ids)), draw], separators=(",", ":"))
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
    """Numbers in (0, 1), exact to the bit: ((w >> 11) + 1/2) / 2^53."""
    return ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def gumbel(raw: Words) -> Floats:
    """Standard Gumbel noise, -ln(-ln u), to 1e-12 across libraries."""
    return np.asarray(-np.log(-np.log(uniform(raw))))
