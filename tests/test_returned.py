"""The law on returned tokens alone, held against the law on whole rows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise.engines.fake import FakeLaw
from poise.engines.returned import ReturnedLaw, Row, Rows, Spot, why_not
from poise.errors import ParameterError, ServerError
from poise.law import History
from poise.params import SamplingParams

V = 60


def whole_row(seed: int, spread: float, ties: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, V)
    if ties:
        logits = np.round(logits * 2) / 2
    return logits - np.log(np.exp(logits).sum())


def returned(row: np.ndarray, top: int, forced: bool = False) -> Rows:
    ids = np.sort(np.argsort(-row, kind="stable")[:top])
    return Rows((Row(ids, row[ids], Spot(3, 2), forced),), V)


def both(row: np.ndarray, top: int, params: SamplingParams, history: History, barred: frozenset[int]):
    """What is left of the whole row, and of what is returned of it; None where that cannot be told."""
    asked = ([0], [params], [history], [barred])
    whole = FakeLaw().reshape(row[None, :], *asked)
    try:
        part = ReturnedLaw(top).reshape(returned(row, top), *asked)
    except ServerError:
        return whole, None
    assert np.array_equal(whole.scale, part.scale)
    return whole, part


settings = st.builds(
    lambda t, k, p, m, y, dialect: SamplingParams(
        temperature=t, top_k=k, top_p=p, min_p=m, typical_p=y, dialect=dialect
    ),
    st.sampled_from([None, 0.3, 0.7, 1.0, 1.6]),
    st.sampled_from([None, 1, 5, 12, 13, 40]),
    st.sampled_from([None, 0.0, 0.3, 0.8, 0.95]),
    st.sampled_from([None, 0.02, 0.1, 0.5, 1.0]),
    st.sampled_from([None, None, None, 0.5, 0.9]),
    st.sampled_from(["transformers", "temperature-last"]),
)
penalties = st.sampled_from([{}, {}, {"presence_penalty": 1.5}, {"frequency_penalty": 0.4, "presence_penalty": -1.0}])


def check(row: np.ndarray, top: int, params: SamplingParams, output: tuple[int, ...], barred: frozenset[int]) -> bool:
    """Whether it could be told; what was told must hold."""
    whole, part = both(row, top, params, History((1, 2), output), barred)
    if part is None:
        return False
    true, got = whole.values[0], part.values[0]
    known = returned(row, top).rows[0].ids
    others = np.setdiff1d(np.arange(V), known)
    if params.greedy:
        best = int(np.argmax(got))
        if best in known:
            assert best == int(np.argmax(true))
        return best in known
    assert np.array_equal(np.isfinite(true[known]), np.isfinite(got[known]))
    live = known[np.isfinite(got[known])]
    assert np.allclose(true[live], got[live], rtol=0, atol=1e-9)
    assert np.all(true[others] <= got[others] + 1e-9)
    return bool(np.all(np.isneginf(got[others])))


@given(st.integers(0, 10_000), st.sampled_from([0.5, 1.5, 4.0]), st.sampled_from([2, 12, 40, V]), settings)
def test_what_is_kept_of_the_returned_tokens_is_what_the_whole_row_keeps(
    seed: int, spread: float, top: int, params: SamplingParams
) -> None:
    told = check(whole_row(seed, spread), top, params, (), frozenset())
    if params.top_k is not None and params.top_k <= top:
        assert told


@given(
    st.integers(0, 10_000), st.sampled_from([1.5, 4.0]), settings, penalties,
    st.lists(st.integers(0, V - 1), max_size=9), st.frozensets(st.integers(0, V - 1), max_size=2),
)  # fmt: skip
def test_penalties_and_barred_tokens(
    seed: int, spread: float, params: SamplingParams, extra: dict, output: list[int], barred: frozenset[int]
) -> None:
    check(whole_row(seed, spread), 12, params.model_copy(update=extra), tuple(output), barred)


@given(st.integers(0, 10_000), st.sampled_from([1, 5, 11]), penalties, st.lists(st.integers(0, V - 1), max_size=9))
def test_greedy(seed: int, top: int, extra: dict, output: list[int]) -> None:
    told = check(whole_row(seed, 1.5), top + 1, SamplingParams(temperature=0, **extra), tuple(output), frozenset())
    assert told or extra


@given(st.integers(0, 10_000), st.integers(1, 11))
def test_ties_inside_the_returned_tokens_stay(seed: int, k: int) -> None:
    row = whole_row(seed, 1.5, ties=True)
    kept = np.flatnonzero(row >= np.sort(row)[-k])
    if kept.size < 12:  # else a token tied with the last one may not be returned, which nobody can know
        assert check(row, 12, SamplingParams(top_k=k), (), frozenset())


def test_most_settings_with_few_candidates_can_be_told() -> None:
    counts: Counter[str] = Counter()
    laws = {
        "min_p": SamplingParams(temperature=0.9, min_p=0.1),
        "top_p": SamplingParams(top_p=0.8),
        "top_k": SamplingParams(temperature=0.9, top_k=8, presence_penalty=0.5),
        "alone": SamplingParams(temperature=0.9),
    }
    for name, params in laws.items():
        counts[name] = sum(check(whole_row(s, 3.0), 20, params, (3, 4), frozenset()) for s in range(200))
    assert counts["min_p"] == counts["top_p"] == 200
    assert counts["top_k"] > 190
    assert counts["alone"] == 0


def test_a_token_that_was_not_returned_cannot_be_drawn() -> None:
    rows = returned(whole_row(1, 1.0), 5)
    other = int(np.setdiff1d(np.arange(V), rows.rows[0].ids)[0])
    with pytest.raises(ServerError, match=r"after 3 prompt and 2 new tokens, and one of the others may be drawn"):
        ReturnedLaw(5).take(rows, [0], [other])
    forced = returned(whole_row(1, 1.0), 5, forced=True)
    assert ReturnedLaw(5).take(forced, [0], [other]) == forced.rows[0].bar
    first = rows.rows[0]
    assert list(ReturnedLaw(5).take(rows, [0, 0], first.ids[:2].tolist())) == list(first.values[:2])
    assert list(ReturnedLaw(5).normaliser(rows)) == [0.0]


def test_what_cannot_be_told_is_an_error_that_says_where() -> None:
    row = whole_row(3, 1.0)
    top = np.argsort(-row)[:6]
    with pytest.raises(
        ServerError, match=r"of the probability outside them after 3 prompt and 2 new tokens.*penalties"
    ):
        ReturnedLaw(6).reshape(
            returned(row, 6), [0], [SamplingParams(top_k=6, presence_penalty=2.0)],
            [History((), (int(top[2]),))], [frozenset()],
        )  # fmt: skip


def test_a_repetition_penalty_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"A repetition penalty divides logits.*Take a frequency or presence"):
        ReturnedLaw(5).reshape(
            returned(whole_row(1, 1.0), 5), [0], [SamplingParams(repetition_penalty=1.1)], [History()], [frozenset()]
        )


@pytest.mark.parametrize(
    ("params", "drawn"),
    [
        ({"temperature": 0}, True),
        ({"temperature": 0, "presence_penalty": 1.0}, True),
        ({"top_k": 20, "typical_p": 0.9}, True),
        ({"top_k": 20, "top_p": 0.8, "frequency_penalty": 0.4}, True),
        ({"min_p": 0.1}, True),
        ({"top_p": 0.9}, True),
        ({"top_k": 21, "min_p": 0.1}, True),
        ({}, False),
        ({"temperature": 0.7}, False),
        ({"top_k": 21}, False),
        ({"typical_p": 0.9}, False),
        ({"top_p": 0.9, "presence_penalty": 0.4}, False),
        ({"top_k": 20, "repetition_penalty": 1.1}, False),
    ],
)
def test_which_laws_can_be_drawn_from_twenty_tokens(params: dict, drawn: bool) -> None:
    found = why_not(SamplingParams(**params), 20)
    assert (found is None) == drawn
    if found is not None:
        assert str(ParameterError(*found)).endswith(".")
