"""Penalties, biases and bars against what can be checked by eye."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from poise import law
from poise.errors import ParameterError
from poise.law import History
from poise.params import SamplingParams
from test_law import OFF, SAID, kept, logs, row


def test_penalties_look_at_what_was_said() -> None:
    assert_allclose(law.repetition_penalty(row(0, 2, -2, 4), 2, [3, 1, 1, 2]), [0, 1, -4, 2])
    assert_allclose(law.frequency_penalty(row(0, 2, -2, 4), 0.5, [1, 1, 2]), [0, 1, -2.5, 4])
    assert_allclose(law.presence_penalty(row(0, 2, -2, 4), 0.5, [1, 1, 2]), [0, 1.5, -2.5, 4])


@pytest.mark.parametrize(
    ("dialect", "name", "changes"),
    [
        ("transformers", "presence_penalty", [0, 0, 1, 1]),
        ("transformers", "frequency_penalty", [0, 0, 2, 1]),
        ("llama.cpp", "presence_penalty", [1, 1, 1, 1]),
        ("llama.cpp", "frequency_penalty", [1, 1, 2, 1]),
        ("sglang", "frequency_penalty", [0, 0, 2, 1]),
        ("mlx", "frequency_penalty", [1, 1, 2, 1]),
    ],
)
def test_scopes(dialect: str, name: str, changes: list[int]) -> None:
    params = SamplingParams.model_validate({name: 1, "dialect": dialect})
    assert_array_equal(law.reshape(row(0, 0, 0, 0), params, SAID), -np.array(changes, float))


@pytest.mark.parametrize(("dialect", "seen"), [("transformers", 4), ("vllm", 4), ("llama.cpp", 4), ("sglang", 2)])
def test_scopes_of_the_repetition_penalty(dialect: str, seen: int) -> None:
    params = SamplingParams(repetition_penalty=2, dialect=dialect)
    assert np.sum(law.reshape(row(1, 1, 1, 1), params, SAID) == 0.5) == seen


def test_windows() -> None:
    """The last two of 0 1 2 2 3, the last 64 where llama.cpp's user says nothing, none for 0."""

    def counts(history: History, **more: Any) -> list[float]:
        params = SamplingParams(frequency_penalty=1, dialect="llama.cpp", **more)
        return [float(-x) for x in law.reshape(np.zeros(4), params, history)]

    assert counts(SAID, penalty_last_n=2) == [0, 0, 1, 1]
    assert counts(SAID, penalty_last_n=4) == [0, 1, 2, 1]
    assert counts(SAID, penalty_last_n=0) == [0, 0, 0, 0]
    assert counts(History([0] * 10, [1] * 60)) == [4, 60, 0, 0]


def dry(said: list[int], *, breakers: Mapping[int, tuple[int, ...]] | None = None, **more: Any) -> list[float]:
    """What DRY with m = 1, b = 2, a = 2 takes from six tokens after a text."""
    settings = {"dry_multiplier": 1, "dry_base": 2, **more}
    history = History((), said, frozenset((breakers or {}).values()))
    return [float(-x) for x in law.reshape(np.zeros(6), SamplingParams.model_validate(settings), history)]


def test_dry_punishes_what_would_lengthen_a_repetition() -> None:
    """0 1 2 3 … 0 1 2: a 3 would make four in a row of three; 2^(3-2)."""
    assert dry([0, 1, 2, 3, 5, 0, 1, 2]) == [0, 0, 0, 2, 0, 0]
    assert dry([0, 1, 2, 3, 5, 4, 1, 2]) == [0, 0, 0, 1, 0, 0]
    assert dry([0, 1, 2, 3, 5, 4, 4, 2]) == [0, 0, 0, 0, 0, 0]  # one token is shorter than a = 2
    assert dry([0, 1, 2, 3, 5, 4, 4, 2], dry_allowed_length=1) == [0, 0, 0, 1, 0, 0]
    assert dry([0, 1, 2, 3, 0, 1, 2], dry_multiplier=0.5, dry_base=3) == [0, 0, 0, 1.5, 0, 0]
    # Two tokens in a row twice, once before 3, once before 4; three of them before 4.
    assert dry([1, 2, 3, 0, 1, 2, 4, 0, 1, 2]) == [0, 0, 0, 1, 2, 0]


def test_dry_looks_at_a_window() -> None:
    said = [0, 1, 2, 3, 5, 0, 1, 2]
    assert dry(said, dry_last_n=7) == [0, 0, 0, 1, 0, 0]  # the first 0 is out of sight
    assert dry(said, dry_last_n=4) == [0] * 6
    assert dry(said, dry_last_n=0) == [0] * 6


def test_dry_stops_at_breakers() -> None:
    said = [0, 1, 2, 3, 5, 0, 1, 2]
    assert dry(said, breakers={0: (0,)}) == [0, 0, 0, 1, 0, 0]  # 1 2 is behind it
    assert dry(said, breakers={0: (1,)}) == [0] * 6  # 2 alone is
    assert dry(said, breakers={0: (3,)}) == [0] * 6  # a breaker itself costs nothing, and nothing is behind it here
    assert dry(said, breakers={0: (0, 1)}) == [0] * 6
    assert dry(said, breakers={0: (0, 4)}) == [0, 0, 0, 2, 0, 0]  # not in the text


def test_dry_stops_growing() -> None:
    """2^127 is the last power of 2 below the largest float32."""
    loop = [0] * 300
    assert dry(loop)[0] == 2.0**127
    assert dry(loop, dry_base=1)[0] == 1


def test_no_repeat_ngram() -> None:
    params, said = SamplingParams(no_repeat_ngram_size=2), History([1, 2], [1, 3, 1])
    assert kept(law.reshape(np.zeros(5), params, said)) == [0, 1, 4]  # 1 2 and 1 3 were there
    assert kept(law.reshape(np.zeros(5), SamplingParams(no_repeat_ngram_size=1), said)) == [0, 4]
    assert kept(law.reshape(np.zeros(5), SamplingParams(no_repeat_ngram_size=3), said)) == [0, 1, 2, 3, 4]
    assert kept(law.reshape(np.zeros(5), SamplingParams(no_repeat_ngram_size=3), History([1, 2, 4, 1], [2]))) == [
        0, 1, 2, 3,
    ]  # fmt: skip
    assert kept(law.reshape(np.zeros(5), SamplingParams(no_repeat_ngram_size=9), said)) == [0, 1, 2, 3, 4]


def test_logit_bias() -> None:
    params = SamplingParams(logit_bias={1: 2.5, 0: -np.inf})
    assert_array_equal(law.reshape(row(1, 1, 1), params), [OFF, 3.5, 1])
    both = {"logit_bias": {1: 2.5}, "repetition_penalty": 2}
    before, after = (
        law.reshape(row(1, 1), SamplingParams(**both, dialect=d), History((), [1])) for d in ("vllm", "sglang")
    )
    assert_array_equal(before, [1, 1.75])  # the bias is divided too
    assert_array_equal(after, [1, 3])


def test_bad_words() -> None:
    params = SamplingParams(bad_words=[[0], [1, 2], [3, 1, 4]])
    assert kept(law.reshape(np.zeros(5), params, History([9, 1]))) == [1, 3, 4]
    assert kept(law.reshape(np.zeros(5), params, History([3], [1]))) == [1, 3]
    assert kept(law.reshape(np.zeros(5), params)) == [1, 2, 3, 4]
    outputs = SamplingParams(bad_words=[[1, 2]], dialect="vllm")
    assert kept(law.reshape(np.zeros(5), outputs, History([1]))) == [0, 1, 2, 3, 4]  # the prompt does not count
    assert kept(law.reshape(np.zeros(5), outputs, History((), [1]))) == [0, 1, 3, 4]


def test_guidance() -> None:
    """With the prompt 0.8, 0.2; without 0.5, 0.5; γ = 2: ln u + 2 (ln c - ln u) is 0.64 / 0.5 against 0.04 / 0.5."""
    after = law.reshape(logs(0.8, 0.2), SamplingParams(guidance_scale=2), unconditional=logs(0.5, 0.5))
    assert_allclose(np.exp(after), [1.28, 0.08])
    cut = law.guidance_scale(row(OFF, 1, 1, 2), 3, row(1, 1, 1, OFF))  # cut with the prompt, or without it
    assert kept(cut) == [1, 2]


def test_a_penalty_leaves_its_input_alone_and_a_cut_token_cut() -> None:
    logits = row(1, OFF, 2)
    params = SamplingParams(
        repetition_penalty=1.5, frequency_penalty=1.5, presence_penalty=1.5, dry_multiplier=1, dry_allowed_length=0,
        no_repeat_ngram_size=3, logit_bias={1: 5}, bad_words=[[2, 2]], guidance_scale=1.5,
    )  # fmt: skip
    done = law.steps(logits, params, History([0, 1], [1, 2, 0, 1]), unconditional=row(0, 0, 0))
    assert {s.name for s in done} == law.PENALTIES.keys()
    assert all(s.logits[1] == OFF for s in done)
    assert_array_equal(logits, [1, OFF, 2])


@pytest.mark.parametrize(
    ("settings", "said", "rule"),
    [
        ({"logit_bias": {3: 1}}, [], "logit_bias takes ids of the model's 3 tokens, 0 to 2, but got 3"),
        ({"bad_words": [[0, 7]]}, [], "bad_words takes ids of the model's 3 tokens, 0 to 2, but got 7"),
        (
            {"logit_bias": dict.fromkeys(range(3), OFF)},
            [],
            "possible at each step, but got logit_bias with all 3 barred",
        ),
        ({"bad_words": [[0], [1], [2]]}, [], "possible at each step, but got bad_words with all 3 barred"),
        ({"no_repeat_ngram_size": 1}, [0, 1, 2], "but got no_repeat_ngram_size with all 3 barred"),
        ({"guidance_scale": 2}, [], "guidance_scale needs the logits of the same text without its prompt"),
    ],
)
def test_what_cannot_be_done_to_a_row(settings: dict[str, Any], said: list[int], rule: str) -> None:
    with pytest.raises(ParameterError, match=rule) as caught:
        law.reshape(row(1, 1, 1), SamplingParams.model_validate(settings), History((), said))
    assert caught.value.next_step


@given(st.lists(st.integers(0, 3), max_size=25), st.integers(0, 4), st.integers(0, 26))
def test_dry_counts_what_a_search_of_the_text_finds(said: list[int], allowed: int, window: int) -> None:
    """Each token's penalty is that of the longest end of the text that stood in front of it."""
    params = SamplingParams(dry_multiplier=1, dry_base=2, dry_allowed_length=allowed, dry_last_n=window)
    seen = said[max(len(said) - window, 0) :]
    expected = np.zeros(4)
    for token in range(4):
        n = len(seen)
        found = [
            k for k in range(n) for i in range(n - k)
            if n > allowed and seen[i : i + k] == seen[n - k :] and seen[i + k] == token and i + k > 0
        ]  # fmt: skip
        if found and max(found) >= allowed:
            expected[token] = 2.0 ** (max(found) - allowed)
    assert_array_equal(-law.reshape(np.zeros(4), params, History((), said)), expected)
