"""The law against llama.cpp's own samplers, on random rows."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

pytest.importorskip("llama_cpp")

from scripts.conformance import of_llamacpp as theirs
from scripts.conformance.judge import Score

from poise import law
from poise.dialects import DIALECTS
from poise.params import SamplingParams

MINE = {*DIALECTS["llama.cpp"].order}


def sound(score: Score, rows: int) -> None:
    """No difference, boundary hits in two comparisons of a thousand at most, every step seen."""
    assert score.examples == {}
    assert score.total("different") == 0
    assert score.rows > 0.98 * rows, "mirostat 1 alone leaves rows out"
    assert score.undefined < 0.15 * rows
    assert score.total("boundary") <= 0.002 * sum(map(score.total, ("equal", "boundary", "tie")))
    assert {s for steps in score.counts for s in steps} == MINE - ({"dry_multiplier"} - {*theirs.WANTED.steps})


def test_equal_on_random_rows() -> None:
    """Single samplers and chains, in the default order and in random ones; greedy; texts under mirostat."""
    sound(theirs.compared(5000, seed=11), 5000)


@pytest.mark.slow
def test_equal_on_a_hundred_thousand_rows() -> None:
    sound(theirs.compared(100_000, seed=13), 100_000)


def applied(sampler: theirs.Sampler, logits: list[float]) -> np.ndarray:
    row = theirs.Candidates(np.array(logits, dtype=np.float32))
    theirs.lib.llama_sampler_apply(sampler, ctypes.byref(row.array))
    theirs.lib.llama_sampler_free(sampler)
    return row.row()


def test_a_barred_token_spoils_llama_cpps_typical_p() -> None:
    """0 ln 0 is NaN there: 0.5 keeps two tokens of (2, 1, 0, -1), one once a barred token is beside them."""
    make = theirs.lib.llama_sampler_init_typical
    assert int(np.sum(applied(make(0.5, 0), [2, 1, 0, -1]) > -np.inf)) == 2
    assert int(np.sum(applied(make(0.5, 0), [2, 1, 0, -1, -np.inf]) > -np.inf)) == 1
    params = SamplingParams(typical_p=0.5, dialect="llama.cpp")
    kept = [
        int(np.sum(law.reshape(np.array(row), params) > -np.inf)) for row in ([2, 1, 0, -1], [2, 1, 0, -1, -np.inf])
    ]
    assert kept == [2, 2]


def test_a_flat_head_leaves_one_token_to_mirostat_1() -> None:
    """k is beyond 32 bits there; the law keeps all."""
    sampler = theirs.lib.llama_sampler_init_mirostat(40, 1, 5.0, 0.1, 100)
    assert theirs.singular(np.zeros(40), 10.0)
    assert int(np.sum(applied(sampler, [0.0] * 40) > -np.inf)) in (1, 40)
    params = SamplingParams(mirostat=1, dialect="llama.cpp")
    assert int(np.sum(law.reshape(np.zeros(40), params) > -np.inf)) == 40


def test_barred_tokens_count_in_the_dynamic_temperature() -> None:
    """top_n_sigma leaves barred tokens on the list: the entropy is set against ln 5, not ln 2."""
    params = SamplingParams(top_n_sigma=0.5, dynatemp_range=0.5, dialect="llama.cpp")
    row = np.array([3.0, 2.9, 0.0, -1.0, -2.0])
    p = law.probabilities(np.array([3.0, 2.9]))
    heat = 0.5 + float(-np.sum(p * np.log(p))) / np.log(5)
    after = law.reshape(row, params)
    np.testing.assert_allclose(after[:2], row[:2] / heat)
    assert np.isneginf(after[2:]).all()
    cut = law.reshape(row, SamplingParams(top_k=2, dynatemp_range=0.5, dialect="llama.cpp"))
    np.testing.assert_allclose(cut[:2], row[:2] / (0.5 + float(-np.sum(p * np.log(p))) / np.log(2)))
