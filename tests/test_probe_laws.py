"""What probes compute: laws on lists of likeliest tokens, evidence and its errors, reading, texts alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from poise import law
from poise.params import SamplingParams
from poise.probes.draws import Draws, Reader, is_special, joined
from poise.probes.fits import Book, log_mean
from poise.probes.limits import judge_stop, pieces
from poise.probes.plan import FIRST, LAST, laws_of, rivals_of, shape_of
from poise.probes.shapes import predict
from poise.probes.silent import permuted
from poise.servers.calls import Choice, Likely, Position

TAIL = 400  # tokens of a vocabulary whose likeliest are listed


def rows(count: int, size: int, seed: int, flat: float = 1.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, flat, (count, size))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def draws_of(logp: np.ndarray, drawn: Sequence[int], width: int) -> Draws:
    """Places of one text each, listed as a server would."""
    reader, texts = Reader(width), []
    for row, token in zip(logp, drawn, strict=True):
        order = np.argsort(-row, kind="stable")[:width]
        listed = tuple(Likely(f" t{i}", int(i), float(row[i])) for i in order)
        texts.append(Choice("", positions=(Position(Likely(f" t{token}", int(token), float(row[token])), listed),)))
    return reader.read(texts)


LAWS = [
    {"temperature": 0.5}, {"temperature": 1.7}, {"top_k": 3}, {"top_p": 0.7}, {"min_p": 0.1}, {"typical_p": 0.6},
    {"temperature": 0.6, "top_p": 0.8}, {"temperature": 1.6, "min_p": 0.2},
    {"temperature": 0.7, "top_k": 5, "top_p": 0.9}, {"top_k": 6, "top_p": 0.6, "min_p": 0.1, "temperature": 1.3},
]  # fmt: skip


@pytest.mark.parametrize("params", LAWS, ids=str)
@pytest.mark.parametrize("order", ["transformers", "temperature-last"])
def test_on_a_whole_list_the_law_is_the_definition(params: dict[str, float], order: str) -> None:
    logp = rows(60, 12, 1)
    draws = draws_of(logp, logp.argmax(axis=1), 12)
    found = predict(draws, shape_of(params, FIRST if order == "transformers" else LAST))
    settings = SamplingParams.model_validate({**params, "dialect": order})
    assert found.sure.mean() > 0.9
    for row, said, sure in zip(logp, found.logp, found.sure, strict=True):
        truth = law.probabilities(law.reshape(row, settings))
        listed = np.argsort(-row, kind="stable")
        if sure:
            np.testing.assert_allclose(np.exp(said), truth[listed], atol=1e-9)


@pytest.mark.parametrize("params", LAWS, ids=str)
@pytest.mark.parametrize("order", [FIRST, LAST], ids=["first", "last"])
def test_on_a_part_of_the_list_the_truth_lies_within_the_bounds(params: dict[str, float], order: Any) -> None:
    logp, width = rows(80, TAIL, 2, 2.0), 20
    found = predict(draws_of(logp, logp.argmax(axis=1), width), shape_of(params, order))
    settings = SamplingParams.model_validate(
        {**params, "dialect": "transformers" if order == FIRST else "temperature-last"}
    )
    for row, said, low, high, sure in zip(logp, found.logp, found.low, found.high, found.sure, strict=True):
        if not sure:
            continue
        truth = law.probabilities(law.reshape(row, settings))
        listed = np.argsort(-row, kind="stable")[:width]
        inside = truth[listed].sum()
        assert low - 1e-9 <= 1 - inside <= high + 1e-9
        np.testing.assert_allclose(np.exp(said), truth[listed] / inside, atol=1e-9)


def test_most_places_of_a_part_of_the_list_can_be_told() -> None:
    logp = rows(200, TAIL, 3, 2.5)
    draws = draws_of(logp, logp.argmax(axis=1), 20)
    for params in (
        {"temperature": 0.5},
        {"top_k": 5},
        {"top_p": 0.5},
        {"min_p": 0.2},
        {"temperature": 1.5, "min_p": 0.2},
    ):
        assert predict(draws, shape_of(params)).sure.mean() > 0.9, params


@pytest.mark.parametrize("wrong", [{}, {"top_p": 0.6}, {"temperature": 1.4}, {"top_k": 4}], ids=str)
def test_evidence_against_the_truth_is_as_rare_as_promised(wrong: dict[str, float]) -> None:
    """E[p_A / p_B] <= 1 under B, so that it exceeds 20 in at most 5 % of texts."""
    truth, width, texts, places = {"temperature": 0.8}, 20, 400, 12
    rng, hits, total = np.random.default_rng(4), 0, []
    settings = SamplingParams.model_validate(truth)
    logp = rows(texts * places, 100, 5)
    drawn = [int(rng.choice(100, p=law.probabilities(law.reshape(row, settings)))) for row in logp]
    draws = draws_of(logp, drawn, width)
    found = Book(draws).factors(shape_of(wrong), shape_of(truth)).reshape(texts, places)
    evidence = np.exp(np.cumsum(found, axis=1))
    hits = int((evidence.max(axis=1) >= 20).sum())
    total = evidence[:, -1]
    assert hits <= 0.05 * texts + 4 * np.sqrt(0.05 * 0.95 * texts)
    assert np.mean(np.minimum(total, 50)) < 1.5


def test_the_right_law_wins() -> None:
    rng, truth = np.random.default_rng(6), {"temperature": 0.5, "top_p": 0.8}
    logp = rows(300, 100, 7, 2.5)
    settings = SamplingParams.model_validate({**truth, "dialect": "temperature-last"})
    drawn = [int(rng.choice(100, p=law.probabilities(law.reshape(row, settings)))) for row in logp]
    book = Book(draws_of(logp, drawn, 20))
    assert book.nats(laws_of(truth, LAST), laws_of(truth, FIRST)) > 20
    for rival in rivals_of("top_p", 0.8, {"temperature": 0.5}, LAST):
        unsure = rival.said.startswith("typical")  # needs an entropy, which a part of the list does not give
        assert unsure or book.nats(laws_of(truth, LAST), rival.laws) > 0, rival.said


def test_texts_of_one_luck_count_as_one() -> None:
    logp = rows(10, 12, 8)
    draws = draws_of(np.repeat(logp[:1], 10, axis=0), [3] * 10, 12)
    own = Book(draws).nats((shape_of({"temperature": 0.5}),), (shape_of({}),))
    shared = Book(draws, copies=True).nats((shape_of({"temperature": 0.5}),), (shape_of({}),))
    assert shared == pytest.approx(own / 10)
    assert log_mean([1.0, 1.0]) == pytest.approx(1.0)


def place(drawn: str, *listed: tuple[str, float]) -> Position:
    tokens = tuple(Likely(t, None, float(np.log(p))) for t, p in listed)
    mine = next((t for t in tokens if t.token == drawn), Likely(drawn, None, -9.0))
    return Position(mine, tokens)


def test_reading_lists() -> None:
    text = Choice("", positions=(
        place(" a", (" a", 0.6), (" b", 0.3)),
        place(" z", (" a", 0.6), (" b", 0.3)),  # not listed
        place("<|im_end|>", ("<|im_end|>", 0.6), (" b", 0.3)),
        place(" a"),  # nothing listed
        place(" a", (" a", 0.9), (" b", 0.8)),  # no probabilities
    ))  # fmt: skip
    draws = Reader(2).read([text])
    assert draws.drawn.tolist() == [0, 2, 0, -1, 0]
    assert draws.telling.tolist() == [True, True, False, False, False]
    assert draws.counts()[4].tolist() == [2, 0]
    assert draws.counts("output", 1)[4].tolist() == [1, 0]
    both = joined([draws, draws])
    assert both.places == 10
    assert both.counts()[9].tolist() == [2, 0]
    assert is_special("</s>")
    assert not is_special(" <")


def test_a_prompt_counts_where_its_tokens_are_known() -> None:
    text = Choice("", positions=(place(" a", (" a", 0.6), (" b", 0.3)),))
    draws = Reader(2).read([text], [[Likely(" b", None, 0.0)] * 3])
    assert draws.counts("prompt and output").tolist() == [[0, 3]]
    assert draws.counts("output").tolist() == [[0, 0]]
    assert draws.counts("prompt and output", 2).tolist() == [[0, 2]]


def test_alike_texts() -> None:
    cold, hot = [f"the ship sailed {i}" for i in range(6)], [f"{i} words" for i in range(6)]
    assert permuted([*cold, *hot]) == pytest.approx(1 / 924)
    assert permuted([*hot, *cold]) == 1.0
    rng = np.random.default_rng(0)
    odds = [permuted(["".join(rng.choice(list("ab"), 5)) for _ in range(10)]) for _ in range(300)]
    assert 0.02 < np.mean(np.array(odds) <= 0.1) <= 0.14


def test_stop_strings() -> None:
    whole = "the old ship sailed far out to the cold sea"
    early, late = pieces(whole)
    until = whole[: whole.index(early)]
    cases = {
        (until, until): "honoured", (until + early, until): "honoured otherwise", (whole, whole): "ignored",
        (until, whole[: whole.index(late)]): "honoured otherwise", ("another text", until): "cannot tell",
        (until + early + " s", until): "honoured otherwise",
    }  # fmt: skip
    for (one, both), honour in cases.items():
        found = judge_stop(whole, (early, late), one, both)
        assert found.honour == honour, (one, both)
        assert bool(found.how) == (honour in ("honoured otherwise", "ignored"))
    assert pieces("no") == ("", "")
