"""Replay on the embedded model: a text depends on its request alone, to the bit."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import poise
from poise.engines.conformance import same
from poise.engines.local import LocalEngine
from poise.params import SamplingParams, grid
from poise.records import Completion, Prompt, Request

pytestmark = pytest.mark.model

WORDS = [
    "Once",
    "upon",
    "a",
    "time,",
    "in",
    "a",
    "distant",
    "galaxy,",
    "there",
    "was",
    "a",
    "spaceship",
    "called",
    "Voyager.",
    "It",
    "had",
    "a",
    "crew",
    "of",
    "seven",
    "who",
    "were",
    "looking",
    "for",
    "a",
    "planet",
    "with",
    "water",
    "and",
    "air",
    "and",
    "light",
    "and",
    "they",
    "had",
    "searched",
    "for",
    "years",
    "without",
    "finding",
    "one",
]
SETTINGS = [
    *grid(temperature=[0, 0.3, 0.7, 1, 1.3]),
    *grid(temperature=0.8, top_p=0.9),
    *grid(temperature=1.2, top_k=20),
    *grid(min_p=0.05),
    *grid(temperature=0.5, repetition_penalty=1.2),
    *grid(frequency_penalty=0.4, presence_penalty=0.2),
    *grid(typical_p=0.9),
]
BATCHES = [1, 1, 2, 3, 4, 5, 8, 16, 31, 64, 128]


@pytest.fixture(scope="module", params=["bfloat16", "float32"])
def engine(request: pytest.FixtureRequest) -> LocalEngine:
    made = poise.load("smollm2", dtype=request.param)
    assert isinstance(made, LocalEngine)
    assert made.fingerprint.provenance["replay"] == "verified"
    return made


def requests(engine: LocalEngine, count: int, rng: random.Random, lengths: tuple[int, ...]) -> list[Request]:
    """A seeded sample over prompts of 1 to 36 words, settings, draws and lengths."""
    prompts = [Prompt(" ".join(WORDS[:n])) for n in (1, 2, 3, 5, 8, 12, 17, 23, 30, 36)]
    every = [
        Request(p, engine.encode(p), s, 7, d, length)
        for p in prompts
        for s in SETTINGS
        for d in range(10)
        for length in lengths
    ]
    return rng.sample(every, count)


def differing(engine: LocalEngine, asked: list[Request], rng: random.Random) -> tuple[int, int]:
    """Draw in one go, and again shuffled in batches of many sizes; count texts and bits that differ."""
    whole = {c.request: c for c in engine.generate(asked)}
    again = rng.sample(asked, len(asked))
    tokens = bits = 0
    while again:
        size = rng.choice(BATCHES)
        batch, again = again[:size], again[size:]
        for c in engine.generate(batch):
            tokens += c.token_ids != whole[c.request].token_ids
            bits += not same(c, whole[c.request])
    return tokens, bits


def test_a_sample_replays(engine: LocalEngine) -> None:
    """64 completions in bfloat16, 64 in float32."""
    rng = random.Random(20)
    assert differing(engine, requests(engine, 64, rng, (4, 12)), rng) == (0, 0)


@pytest.mark.slow
def test_two_thousand_replay(engine: LocalEngine) -> None:
    """2,000 completions a dtype: 0 differing tokens, 0 differing log-probabilities."""
    rng = random.Random(21)
    assert differing(engine, requests(engine, 2000, rng, (4, 12, 40)), rng) == (0, 0)


class Stop(Exception):
    """Raised from the progress, as Ctrl-C would be."""


def resumed(path: Path, engine: LocalEngine, prompts: list[str], settings: list[SamplingParams], draws: int) -> int:
    """Sweep whole, and again in parts, in new batches each time; count the texts that agree to the bit.

    Each part stops after a third of what was left; the last runs to the end.
    """
    asked = {"draws": draws, "max_tokens": 16, "baselines": False}

    def stop(done: int, total: int, tally: object) -> None:
        if done >= total // 3:
            raise Stop

    def drawn(study: poise.Study) -> dict[tuple[object, ...], Completion]:
        with study:
            return {(c.request.prompt_ids, c.request.params, c.request.draw): c for c in study.completions()}

    whole = drawn(poise.sweep(engine, prompts, settings, study=path / "whole.db", **asked))
    for _ in range(3):
        with pytest.raises(Stop):
            poise.sweep(engine, prompts, settings, study=path / "parts.db", progress=stop, **asked)
    parts = drawn(poise.sweep(engine, prompts, settings, study=path / "parts.db", **asked))
    assert whole.keys() == parts.keys()
    return sum(same(whole[k], parts[k]) for k in whole)


def test_a_resumed_study_equals_an_uninterrupted_one(engine: LocalEngine, tmp_path: Path) -> None:
    """Stopped three times and resumed: the same texts, the same bits."""
    prompts = ["Once upon a time", "The capital of France is", "In 1969"]
    assert resumed(tmp_path, engine, prompts, grid(temperature=[0.3, 0.9]), 3) == 18


@pytest.mark.slow
def test_two_thousand_resumed(engine: LocalEngine, tmp_path: Path) -> None:
    """2,090 completions of ten prompts of other lengths under eleven settings: 0 differ after three stops."""
    prompts = [" ".join(WORDS[:n]) for n in (1, 2, 3, 5, 8, 12, 17, 23, 30, 36)]
    assert resumed(tmp_path, engine, prompts, SETTINGS, 19) == 2090


def test_drawn_first_tokens_follow_the_law(engine: LocalEngine) -> None:
    """χ² of 400 first tokens on the model's own logits, 22 settings; false-alarm rate 22 x 4e-5 < 0.1 %."""
    import numpy as np

    from poise import law
    from test_sampler import chi_square

    prompt = Prompt("The weather today is")
    ids = engine.encode(prompt)
    settings = [
        *grid(temperature=[0.3, 0.7, 1]),
        *grid(temperature=[0.5, 0.7, 1, 1.5], top_k=[5, 20]),
        *grid(temperature=[0.7, 1, 1.5], top_p=[0.5, 0.9]),
        *grid(temperature=[0.7, 1.2], min_p=0.05),
        *grid(typical_p=0.7),
        *grid(temperature=[0.7, 1], repetition_penalty=1.5),
    ]
    assert len(settings) >= 22
    _, logits = engine.session(len(ids) + 1, 2).prefill([ids])
    row = np.asarray(logits[0].double())
    asked = [Request(prompt, ids, s, 3, d, 1) for s in settings for d in range(400)]
    counts: dict[SamplingParams, np.ndarray] = {s: np.zeros(engine.vocab_size) for s in settings}
    for c in engine.generate(asked):
        counts[c.request.params][c.token_ids[0]] += 1
    for s in settings:
        exact = law.probabilities(law.reshape(row, s, law.History(ids, ())))
        assert counts[s][exact == 0].sum() == 0, s.label
        assert chi_square(counts[s], exact) > 4e-5, s.label
