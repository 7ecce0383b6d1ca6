"""`score`: given text under a model whose every probability is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from poise.engines import load
from poise.engines.fake import FakeEngine
from poise.errors import ModelError, PromptError
from poise.params import SamplingParams
from poise.records import Prompt, Request
from poise.scores import score


def test_even_odds() -> None:
    words = ("", " a", " b", " c")
    engine = FakeEngine(words=words, bigram=lambda last: np.zeros(4))
    found = score(engine, " a", " b c b")
    assert found.token_ids == (2, 3, 2)
    assert found.logprobs == pytest.approx([-math.log(4)] * 3)
    assert found.nll == pytest.approx(math.log(4))
    assert found.perplexity == pytest.approx(4)


def test_a_drawn_text_scores_what_drawing_it_recorded() -> None:
    engine = load("fake")
    prompt = Prompt("the ship")
    [drawn] = engine.generate([Request(prompt, engine.encode(prompt), SamplingParams(temperature=0.5), 0, 0, 12)])
    found = score(engine, prompt, drawn.text)
    content = drawn.logprobs[: len(drawn.content_ids)]
    assert found.token_ids == drawn.content_ids
    assert found.logprobs == pytest.approx(content)


def test_words_that_the_fake_model_lacks_are_each_one_of_its_own() -> None:
    """As in its prompts: so any reference text can be scored by it."""
    engine = load("fake")
    [sank] = engine.encode(Prompt("sank"))
    found = score(engine, "the ship", " the ship sank on,\n  sank")
    comma = engine.encode(Prompt(","))[0]
    assert [engine.words[i] for i in found.token_ids[:2]] == [" the", " ship"]
    assert found.token_ids[2:] == (sank, engine.words.index(" on"), comma, sank)
    assert len(score(engine, "the ship", "sank ").token_ids) == 1


def test_bad_input() -> None:
    class Server:
        name = "a server"

    with pytest.raises(PromptError, match="at least one token"):
        score(load("fake"), "the ship", "")
    with pytest.raises(ModelError, match="gives logits, but got 'a server'"):
        score(Server(), "the ship", " sailed")  # type: ignore[arg-type]
