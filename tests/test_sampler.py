"""The draw loop: equal to drawing by definition, alone or in any batch."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy import stats

from poise import law, noise, sampler
from poise.breakers import breakers_of
from poise.engines.fake import FakeEngine, make
from poise.errors import EngineError
from poise.params import SamplingParams, grid
from poise.records import Completion, Prompt, Request
from poise.sessions import Tally

SETTINGS = [
    *grid(temperature=[0, 0.3, 0.7, 1, 1.5]),
    *grid(temperature=0.8, top_p=[0.5, 0.9]),
    *grid(temperature=0.8, top_k=3, min_p=0.1),
    *grid(temperature=0.5, repetition_penalty=1.3),
    *grid(temperature=0, repetition_penalty=1.3),
    *grid(frequency_penalty=0.5, presence_penalty=-0.5),
    *grid(typical_p=0.5),
    *grid(temperature=0.9, xtc_probability=[0.3, 1], xtc_threshold=0.05),
    *grid(temperature=0.8, dynatemp_range=0.7, dynatemp_exponent=1.5),
    *grid(smoothing_factor=0.3, smoothing_curve=2, top_n_sigma=1.5),
    *grid(mirostat=[1, 2], mirostat_tau=[1, 3], mirostat_eta=0.4),
    *grid(dry_multiplier=0.8, dry_allowed_length=1, no_repeat_ngram_size=4, temperature=0),
    *grid(logit_bias={3: 2.0, 4: False}, bad_words=[[5], [1, 2]], epsilon_cutoff=0.01, top_a=0.1),
    *grid(temperature=[0, 5e-6, 0.005, 0.8], min_p=0.05, frequency_penalty=0.3, dialect="vllm"),
    *grid(temperature=[0, 0.7], top_k=5, xtc_probability=0.5, presence_penalty=0.4, dialect="llama.cpp"),
    *grid(temperature=[0, 0.7], dynatemp_range=0.3, typical_p=0.7, dry_multiplier=0.5, dialect="llama.cpp"),
    *grid(temperature=[0, 0.7], top_p=0.8, order=["temperature", "xtc_probability", "top_p"], xtc_probability=0.5,
          dialect="llama.cpp"),
    *grid(temperature=[0.7], mirostat=2, mirostat_tau=2, dialect="llama.cpp"),
    *grid(temperature=[1e-7, 0.7], top_k=4, top_p=0.7, repetition_penalty=1.2, dialect="sglang"),
    *grid(temperature=[0, 0.7], top_p=[0, 0.7], xtc_probability=0.5, frequency_penalty=0.5, dialect="mlx"),
]  # fmt: skip
PROMPTS = [Prompt("hello there world"), Prompt("a"), Prompt("one two three four five")]


def requests(engine: FakeEngine, draws: int, **more: object) -> list[Request]:
    settings = {"max_tokens": 20, "min_tokens": 3, **more}
    return [
        Request(p, engine.encode(p), s, 1, d, **settings)  # type: ignore[arg-type]
        for p in PROMPTS
        for s in SETTINGS
        for d in range(draws)
    ]


def by_definition(engine: FakeEngine, r: Request) -> tuple[int, ...]:
    """One text by law.py and noise.py alone, a step at a time."""
    key, out = noise.key(r.seed, r.prompt_ids, r.draw), []
    mu: float | None = None
    breakers = breakers_of(engine, r.params)
    while True:
        logits = engine.bigram((*r.prompt_ids, *out)[-1]).astype(float)
        if len(out) < r.min_tokens:
            logits[0] = -np.inf
        state = law.State(noise.coin(key, len(out)) < (r.params.xtc_probability or 0), mu)
        row = law.reshape(logits, r.params, law.History(r.prompt_ids, out, breakers), state)
        gumbel = noise.gumbel(noise.words(key, len(out), engine.vocab_size))
        out.append(int(np.argmax(row if r.params.greedy else row + gumbel)))
        if r.params.mirostat:
            tau, eta = r.params.number("mirostat_tau"), r.params.number("mirostat_eta")
            mu = law.next_mu(2 * tau if mu is None else mu, tau, eta, law.surprise(row, out[-1]))
        if out[-1] == 0 or len(out) == r.max_tokens:
            return tuple(out)


def test_every_text_equals_its_definition() -> None:
    engine = FakeEngine()
    asked = requests(engine, 4)
    drawn = {c.request: c for c in engine.generate(asked)}
    assert len(drawn) == len(asked)
    for request in asked:
        assert drawn[request].token_ids == by_definition(engine, request), request.params.label


@pytest.mark.parametrize("rows", [1, 2, 5, 64])
def test_a_text_does_not_depend_on_its_batch(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    asked = requests(engine, 3)
    whole = {c.request: c for c in engine.generate(asked)}
    monkeypatch.setattr(sampler, "ROWS", rows)  # FakeSession asserts that no more rows live than it has
    shuffled = random.Random(0).sample(asked, len(asked))
    assert {c.request: c for c in engine.generate(shuffled)} == whole


def test_shared_rows_are_counted_once() -> None:
    """Greedy draws are all one text: 8 draws of 20 tokens cost 19 rows, the prompt giving the first token."""
    engine = FakeEngine()
    asked = [Request(PROMPTS[0], engine.encode(PROMPTS[0]), SamplingParams(temperature=0), 1, d, 20) for d in range(8)]
    tally = Tally()
    texts = {c.token_ids for c in engine.generate(asked, tally)}
    assert len(texts) == 1
    assert len(next(iter(texts))) == 20
    assert (tally.rows, tally.tokens, tally.completions) == (19, 160, 8)


def test_logprobs_are_those_of_the_model_itself() -> None:
    engine = FakeEngine()
    params = SamplingParams(temperature=0.3, top_k=2, frequency_penalty=1)
    request = Request(PROMPTS[0], engine.encode(PROMPTS[0]), params, 1, 0, 12)
    done = next(engine.generate([request]))
    before = [request.prompt_ids[-1], *done.token_ids[:-1]]
    for last, token, logprob in zip(before, done.token_ids, done.logprobs, strict=True):
        assert logprob == pytest.approx(np.log(law.probabilities(engine.bigram(last))[token]), abs=1e-12)


def finished(stop: tuple[str, ...] = (), **more: int) -> list[Completion]:
    engine = FakeEngine()
    p = PROMPTS[0]
    options = {"max_tokens": 40, **more}
    asked = [Request(p, engine.encode(p), SamplingParams(), 3, d, stop=stop, **options) for d in range(60)]
    return list(engine.generate(asked))


def test_finish_reasons() -> None:
    done = finished(stop=(" star and",))
    reasons = {c.finish_reason for c in done}
    assert reasons == {"eos", "stop", "length"}
    for c in done:
        whole = FakeEngine().decode(c.content_ids)
        assert " star and" not in c.text
        if c.finish_reason == "stop":
            assert whole.endswith(" star and")
            assert c.text + " star and" == whole
        elif c.finish_reason == "eos":
            assert c.token_ids[-1] == 0
            assert c.text == whole
        else:
            assert len(c.token_ids) == 40


def test_min_tokens_bars_the_end_of_text() -> None:
    assert any(len(c.content_ids) < 10 for c in finished())
    assert all(len(c.content_ids) >= 10 for c in finished(min_tokens=10))


def test_a_stop_string_ends_a_text_before_min_tokens() -> None:
    stopped = [c for c in finished(min_tokens=10, stop=(" ship",)) if c.finish_reason == "stop"]
    assert any(len(c.content_ids) < 10 for c in stopped)


def test_no_requests_no_work() -> None:
    assert list(FakeEngine().generate([])) == []


def test_logits_that_are_no_numbers_are_an_error() -> None:
    engine = make("nan")
    asked = Request(PROMPTS[0], engine.encode(PROMPTS[0]), SamplingParams(), 0, 0, 5)
    with pytest.raises(EngineError, match="logits must be numbers"):
        list(engine.generate([asked]))


def test_drawn_tokens_follow_the_law() -> None:
    """χ² of 3,000 first tokens against the exact law, 24 settings; false-alarm rate 24 x 4e-5 < 0.1 %."""
    engine = FakeEngine()
    prompt = PROMPTS[1]
    ids = engine.encode(prompt)
    settings = [
        *grid(temperature=[0.3, 0.7, 1, 1.5]),
        *grid(temperature=[0.5, 1, 1.5], top_k=[2, 5]),
        *grid(temperature=[0.5, 1, 1.5], top_p=[0.6, 0.9]),
        *grid(temperature=[0.7, 1.5], min_p=[0.05, 0.3]),
        *grid(temperature=[0.7, 1], typical_p=0.7),
        *grid(repetition_penalty=[0.7, 1.5]),
    ]
    assert len(settings) >= 24
    asked = [Request(prompt, ids, s, 11, d, 1) for s in settings for d in range(3000)]
    counts = {s: np.zeros(engine.vocab_size) for s in settings}
    for c in engine.generate(asked):
        counts[c.request.params][c.token_ids[0]] += 1
    for s in settings:
        exact = law.probabilities(law.reshape(engine.bigram(ids[-1]), s, law.History(ids, ())))
        assert counts[s][exact == 0].sum() == 0, s.label
        assert chi_square(counts[s], exact) > 4e-5, s.label


def chi_square(counts: np.ndarray, exact: np.ndarray) -> float:
    """p-value; tokens expected fewer than five times are pooled."""
    expected = exact * counts.sum()
    rare = expected < 5
    seen = [*counts[~rare], *([counts[rare].sum()] if expected[rare].sum() > 0 else [])]
    wanted = [*expected[~rare], *([expected[rare].sum()] if expected[rare].sum() > 0 else [])]
    return 1.0 if len(seen) < 2 else float(stats.chisquare(seen, wanted).pvalue)


def test_thinking_is_kept_apart_from_the_text() -> None:
    """A model that thinks: stored apart, never part of the text; and so when the prompt opens the thought."""

    class Thinker(FakeEngine):
        thinking_tags = ("<think>", "</think>")
        opened = False

        def opens_thinking(self, prompt_ids: object) -> bool:
            return self.opened

    words = ("", "<think>", " hm", "</think>", " four")
    follows = {1: 2, 2: 3, 3: 4, 4: 0}
    engine = Thinker(words, lambda last: np.eye(5)[follows.get(last, 0)] * 50)
    params = SamplingParams(temperature=0)
    after_open = next(iter(engine.generate([Request(Prompt("x"), (2,), params, 0, 0, 9)])))
    assert (after_open.thinking, after_open.text) == ("", "</think> four"), "nothing opened a thought"
    engine.opened = True
    done = next(iter(engine.generate([Request(Prompt("x"), (1,), params, 0, 0, 9)])))
    assert (done.thinking, done.text, done.finish_reason) == ("hm", "four", "eos")
