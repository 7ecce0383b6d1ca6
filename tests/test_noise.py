"""The noise to the bit: an independent Philox4x64-10, shipped vectors, and its distribution."""

from __future__ import annotations

import hashlib
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from poise import noise

VECTORS = json.loads((Path(__file__).parent / "data" / "noise.json").read_text())["cases"]
MASK = 2**64 - 1


def philox_block(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 (Salmon et al. 2011, table 2): four words of counter, two of key, ten rounds."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * c[0], 2**64)
        high1, low1 = divmod(0xCA5A826395121157 * c[2], 2**64)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B97F4A7C15) & MASK, (k[1] + 0xBB67AE8584CAA73B) & MASK]
    return c


def written_key(seed: int, prompt_ids: list[int], draw: int) -> int:
    """The first 16 bytes, little-endian, of the SHA-256 of "[seed,[ids],draw]"."""
    text = f"[{seed},[{','.join(map(str, prompt_ids))}],{draw}]"
    return int.from_bytes(hashlib.sha256(text.encode("ascii")).digest()[:16], "little")


def written_words(key: int, position: int, stream: int, count: int) -> list[int]:
    """NumPy counts up before each block, so block b of counter (0, position, stream, 0) has b + 1 in front."""
    out: list[int] = []
    for block in range(-(-count // 4)):
        out += philox_block([block + 1, position, stream, 0], [key & MASK, key >> 64])
    return out[:count]


def written_u(word: int) -> float:
    """((w >> 11) + 1/2) / 2^53 as an exact fraction, rounded once to float64, and below 1."""
    return min(float(Fraction(2 * (word >> 11) + 1, 2**54)), math.nextafter(1, 0))


def test_the_independent_philox_is_philox() -> None:
    """The known answers published with the Random123 library for philox4x64, 10 rounds."""
    assert philox_block([0] * 4, [0] * 2) == [
        0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B,
    ]  # fmt: skip
    assert philox_block([MASK] * 4, [MASK] * 2) == [
        0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0,
    ]  # fmt: skip
    pi = [0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89]
    assert philox_block(pi, [0x452821E638D01377, 0xBE5466CF34E90C6C]) == [
        0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6,
    ]  # fmt: skip


@pytest.mark.parametrize("case", VECTORS, ids=lambda c: f"{c['seed']}-{c['draw']}-{c['position']}-{c['stream']}")
def test_shipped_vectors(case: dict[str, Any]) -> None:
    """The file follows from the written definition, and noise.py from the file: words and u to the bit."""
    place = case["position"], case["stream"], case["count"]
    assert written_key(case["seed"], case["prompt_ids"], case["draw"]) == int(case["key"], 16)
    words = written_words(int(case["key"], 16), *place)
    assert [f"{words[i]:016x}" for i in case["tokens"]] == case["words"]
    assert [written_u(words[i]).hex() for i in case["tokens"]] == case["u"]

    key = noise.key(case["seed"], case["prompt_ids"], case["draw"])
    assert f"{key:032x}" == case["key"]
    raw = noise.words(key, case["position"], case["count"], case["stream"])
    assert raw.tolist() == words
    u = noise.uniform(raw)
    assert [float(u[i]).hex() for i in case["tokens"]] == case["u"]
    if case["stream"] == noise.GUMBEL:
        assert_allclose(noise.gumbel(raw)[case["tokens"]], case["g"], rtol=1e-12, atol=1e-12)


def test_the_vectors_say_enough() -> None:
    assert {c["stream"] for c in VECTORS} == {noise.GUMBEL, noise.COIN}
    assert any(c["seed"] < 0 for c in VECTORS)
    assert any(c["seed"] >= 2**64 for c in VECTORS)
    assert any(c["position"] > 1000 for c in VECTORS)
    assert any(not c["prompt_ids"] for c in VECTORS)
    assert any(c["count"] % 4 for c in VECTORS)


@given(st.integers(0, 2**128 - 1), st.integers(0, 2**20), st.integers(1, 9), st.sampled_from([0, 1]))
def test_any_words(key: int, position: int, count: int, stream: int) -> None:
    assert noise.words(key, position, count, stream).tolist() == written_words(key, position, stream, count)


@given(st.integers(0, MASK))
def test_any_uniform(word: int) -> None:
    assert float(noise.uniform(np.array([word], dtype=np.uint64))[0]) == written_u(word)


def test_the_ends_of_the_noise() -> None:
    """No word gives u = 0 or u = 1, so g is always finite: from -ln(54 ln 2) to 53 ln 2."""
    ends = np.array([0, MASK], dtype=np.uint64)
    assert_array_equal(noise.uniform(ends), [2.0**-54, 1 - 2.0**-53])
    assert_allclose(noise.gumbel(ends), [-math.log(54 * math.log(2)), 53 * math.log(2)], rtol=1e-12)
    assert_array_equal(ends, [0, MASK])  # the words are left as they were


def test_a_longer_vocabulary_begins_with_the_shorter_one() -> None:
    assert_array_equal(noise.words(7, 3, 1000)[:10], noise.words(7, 3, 10))


def test_what_the_noise_hangs_on() -> None:
    """Seed, prompt, draw, position and stream, each alone, change every word; nothing else is asked for."""
    base = noise.words(noise.key(1, [5, 6], 0), 2, 50)
    others = [
        noise.words(noise.key(2, [5, 6], 0), 2, 50),
        noise.words(noise.key(1, [5, 7], 0), 2, 50),
        noise.words(noise.key(1, [56], 0), 2, 50),
        noise.words(noise.key(1, [5, 6], 1), 2, 50),
        noise.words(noise.key(1, [5, 6], 0), 3, 50),
        noise.words(noise.key(1, [5, 6], 0), 2, 50, noise.COIN),
    ]
    assert all(not np.any(base == other) for other in others)
    assert_array_equal(base, noise.words(noise.key(1, (np.int64(5), 6), 0), 2, 50))


@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3), True + 2])
def test_any_integer_is_a_seed(seed: Any) -> None:
    assert noise.key(seed, [1], 0) == noise.key(3, [1], 0)


def test_a_seed_that_is_no_integer_is_not_rounded() -> None:
    with pytest.raises(TypeError):
        noise.key(3.7, [1], 0)  # type: ignore[arg-type]


def test_gumbel_distribution() -> None:
    """Kolmogorov-Smirnov on 20 rows of 49,152: false alarm 20 x 1e-6; fixed keys, so it never flickers."""
    for draw in range(20):
        g = noise.gumbel(noise.words(noise.key(0, [1, 2, 3], draw), draw, 49_152))
        assert stats.kstest(g, stats.gumbel_r.cdf).pvalue > 1e-6


def test_rows_are_independent() -> None:
    """Correlation of neighbouring draws, positions and tokens: |z| < 5.5 in 30 tests, false alarm 1e-6."""
    key = [noise.key(9, [4], draw) for draw in range(11)]
    rows = np.array([noise.uniform(noise.words(key[d], p, 20_000)) for d, p in [*((d, 0) for d in range(11))]])
    steps = np.array([noise.uniform(noise.words(key[0], p, 20_000)) for p in range(11)])
    for a in (rows, steps):
        for i in range(10):
            assert abs(np.corrcoef(a[i], a[i + 1])[0, 1]) * math.sqrt(20_000) < 5.5
    for i in range(10):
        assert abs(np.corrcoef(rows[i][:-1], rows[i][1:])[0, 1]) * math.sqrt(19_999) < 5.5


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_gumbel_max_draws_from_the_softmax(temperature: float) -> None:
    """argmax(l + T g) of 20,000 positions against softmax(l / T), chi-square: false alarm 3 x 1e-6."""
    logits = np.array([2.0, 1.0, 1.0, 0.0, -1.0])
    key = noise.key(11, [1], 0)
    g = np.array([noise.gumbel(noise.words(key, position, 5)) for position in range(20_000)])
    counts = np.bincount((logits + temperature * g).argmax(axis=1), minlength=5)
    p = np.exp(logits / temperature)
    assert stats.chisquare(counts, 20_000 * p / p.sum()).pvalue > 1e-6
