"""What a draw remembers: XTC's coin, mirostat's cut, DRY's breakers; and what is refused before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import poise
from poise import law, noise
from poise.breakers import breakers_of
from poise.draws import noise_row
from poise.engines.fake import FakeEngine
from poise.errors import ParameterError
from poise.law import History
from poise.params import SamplingParams, grid
from poise.records import Completion, Prompt, Request

KEY = noise.key(5, [1, 2, 3], 0)
FLAT = np.full(12, -4.0)
FLAT[[0, 1, 2, 3]] = [-60, 1.5, 1.0, 0.5]  # three likely tokens: XTC leaves the last of them and the tail


def requests(params: SamplingParams, draws: int, length: int) -> list[Request]:
    return [Request(Prompt("a"), (1,), params, 4, d, length) for d in range(draws)]


def test_the_coin_is_a_pure_function_apart_from_the_tokens_noise() -> None:
    """10,000 coins: uniform, and uncorrelated with the first token's noise; one false alarm in 10,000 each."""
    coins = np.array([noise.coin(KEY, i) for i in range(10_000)])
    assert coins[7] == noise.coin(KEY, 7) == noise_row(KEY, 7, 12).coin
    assert noise.coin(KEY, 7) != noise.coin(KEY + 1, 7)
    assert stats.kstest(coins, "uniform").pvalue > 1e-4
    first = np.array([noise.uniform(noise.words(KEY, i, 1))[0] for i in range(10_000)])
    assert stats.pearsonr(coins, first).pvalue > 1e-4


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_xtc_strikes_as_often_as_it_says(probability: float) -> None:
    """200 texts of 20 steps: where it strikes, tokens 1 and 2 cannot come. One false alarm in 10,000.

    Every coin below the probability strikes, and no other: the share is that of 4,000 Bernoulli steps.
    """
    engine = FakeEngine(bigram=lambda token: FLAT)
    params = SamplingParams(xtc_probability=probability, xtc_threshold=0.1)
    struck = 0
    for c in engine.generate(requests(params, 200, 20)):
        key = noise.key(4, (1,), c.request.draw)
        hits = [noise.coin(key, i) < probability for i in range(len(c.token_ids))]
        assert not [t for t, hit in zip(c.token_ids, hits, strict=True) if hit and t in (1, 2)]
        struck += sum(hits)
    total = 200 * 20
    assert stats.binomtest(struck, total, probability).pvalue > 1e-4


def test_xtc_draws_from_the_mixture() -> None:
    """6,000 first tokens against p · struck + (1 - p) · not struck, by χ²; one false alarm in 10,000."""
    engine = FakeEngine(bigram=lambda token: FLAT)
    params = SamplingParams(xtc_probability=0.3, xtc_threshold=0.1, temperature=1.2)
    counts = np.bincount([c.token_ids[0] for c in engine.generate(requests(params, 6000, 1))], minlength=12)
    shares = [law.probabilities(law.reshape(FLAT, params, state=law.State(hit))) for hit in (True, False)]
    exact = 0.3 * shares[0] + 0.7 * shares[1]
    assert stats.chisquare(counts, exact * 6000).pvalue > 1e-4


def test_settings_of_one_draw_toss_the_same_coin() -> None:
    """A step that strikes at 0.3 strikes at 0.6 as well, in the same draw."""
    engine = FakeEngine(bigram=lambda token: FLAT)
    texts = {}
    for p in (0.3, 0.6, 1.0):
        params = SamplingParams(xtc_probability=p, temperature=0)
        [done] = engine.generate(
            [Request(Prompt("a"), (1,), params.model_copy(update={"dialect": "llama.cpp"}), 4, 0, 60)]
        )
        texts[p] = [t != 1 for t in done.token_ids]
    assert all(b for a, b in zip(texts[0.3], texts[0.6], strict=True) if a)
    assert sum(texts[0.3]) < sum(texts[0.6]) < sum(texts[1.0]) == 60


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("target", [1.0, 2.0, 3.0])
def test_mirostat_reaches_its_target(version: int, target: float) -> None:
    """Mean surprise of 40 texts of 150 tokens, the first 50 left out: within a quarter of a bit of the target."""
    rng = np.random.default_rng(3)
    table = rng.normal(0, 1.5, (200, 200))
    table[:, 0] = -50
    engine = FakeEngine([f" w{i}" for i in range(200)], lambda token: table[token])
    params = SamplingParams(mirostat=version, mirostat_tau=target, mirostat_eta=0.1)
    seen = [s for c in engine.generate(requests(params, 40, 150)) for s in _surprises(table, c)[50:]]
    plain = [s for c in engine.generate(requests(SamplingParams(), 40, 150)) for s in _surprises(table, c)[50:]]
    assert abs(float(np.mean(seen)) - target) < 0.25
    assert np.mean(plain) > 5


def _surprises(table: np.ndarray, done: Completion) -> list[float]:
    """Bits of each token under the law that drew it."""
    params, mu, found = done.request.params, None, []
    for last, token in zip([1, *done.token_ids], done.token_ids, strict=False):
        row = law.reshape(table[last], params, state=law.State(mu=mu))
        found.append(law.surprise(row, token))
        if params.mirostat:
            tau, eta = params.number("mirostat_tau"), params.number("mirostat_eta")
            assert tau is not None
            assert eta is not None
            mu = law.next_mu(2 * tau if mu is None else mu, tau, eta, found[-1])
    return found


def test_mirostat_replays_alone_in_a_batch_and_in_a_sweep(tmp_path: Path) -> None:
    engine = FakeEngine()
    settings = grid(mirostat=[1, 2], mirostat_tau=[1, 3], temperature=[0.8, 1])
    asked = [r for params in settings for r in requests(params, 3, 20)]
    batch = {c.request: c for c in engine.generate(asked)}
    assert all(next(iter(engine.generate([r]))) == batch[r] for r in asked)
    study = poise.sweep(engine, "a", settings, draws=3, seed=4, max_tokens=20, study=tmp_path / "s.db")
    for params in settings:
        swept = {c.request.draw: c.token_ids for c in study.completions(params=params)}
        alone = poise.generate(engine, "a", params, draws=3, seed=4, max_tokens=20)
        assert swept == {c.request.draw: c.token_ids for c in alone}


def _circle(token: int) -> np.ndarray:
    """Each word is followed by the next one, nearly for sure: 1 2 3 4 1 2 3 4 …"""
    logits = np.zeros(12)
    logits[0] = -50
    logits[1 + token % 4] = 6.0
    return logits


def test_dry_breaks_a_loop() -> None:
    """Greedy goes round in a circle of four words; DRY leaves it as soon as a repeat is long enough."""
    engine = FakeEngine(bigram=_circle)
    [loop] = engine.generate(requests(SamplingParams(temperature=0), 1, 24))
    assert loop.token_ids == (2, 3, 4, 1) * 6
    params = SamplingParams(temperature=0, dry_multiplier=1, dry_base=2, dry_allowed_length=2)
    [free] = engine.generate(requests(params, 1, 24))
    # After the prompt 1 a repeat of n tokens costs 2^(n - 2): 1, 2, 4, 8, and 8 is more than the lead of 6.
    assert free.token_ids[:8] == (2, 3, 4, 1) * 2
    assert free.token_ids[8] != 2
    longest = max(n for n in range(24) if any(_repeats(free.token_ids, n, i) for i in range(24 - n)))
    assert longest < 8


def _repeats(ids: tuple[int, ...], n: int, start: int) -> bool:
    piece = ids[start : start + n]
    return any(ids[i : i + n] == piece for i in range(start + 1, len(ids) - n + 1))


def test_a_breaker_ends_what_dry_calls_a_repeat() -> None:
    """With the word of token 3 as a breaker no repeat grows past it, and the circle goes on."""
    engine = FakeEngine(bigram=_circle)
    word = engine.words[3].strip()
    params = SamplingParams(temperature=0, dry_multiplier=1, dry_base=2, dry_breakers=[word])
    [done] = engine.generate(requests(params, 1, 24))
    assert done.token_ids == (2, 3, 4, 1) * 6


def test_breakers_as_token_sequences() -> None:
    """A token that holds the string; one that ends with its beginning, with the rest behind it."""
    words = ["", "a", "b", "ab", "xa", "c", "aXb", "Xab!"]
    engine = FakeEngine(words, lambda token: np.zeros(8))
    found = breakers_of(engine, SamplingParams(dry_multiplier=1, dry_breakers=["ab"]))
    assert found == {(3,), (7,), (1, 2), (4, 2)}  # "ab", "Xab!", "a"+"b", "xa"+"b"
    assert breakers_of(engine, SamplingParams(dry_multiplier=1, dry_breakers=["ab"])) is found
    assert breakers_of(engine, SamplingParams()) == frozenset()
    assert breakers_of(FakeEngine(), SamplingParams(dry_multiplier=1)) == {(11,)}  # the line's end alone is a word


def test_the_draw_loop_hands_breakers_over() -> None:
    """The law is asked with the text so far and the sequences of its own strings."""
    engine = FakeEngine()
    seen: list[History] = []
    plain = engine.law.reshape

    class Watched:
        normaliser, take = engine.law.normaliser, engine.law.take

        def reshape(self, logits: Any, rows: Any, settings: Any, histories: Any, barred: Any, *more: Any) -> Any:
            seen.extend(histories)
            return plain(logits, rows, settings, histories, barred, *more)

    engine.law = Watched()
    list(engine.generate(requests(SamplingParams(dry_multiplier=1, dry_breakers=["."]), 1, 3)))
    assert {h.breakers for h in seen} == {frozenset({(10,)})}
    assert [len(h.output) for h in seen] == [0, 1, 2]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"logit_bias": {12: 1.0}}, "logit_bias takes ids of the model's 12 tokens"),
    ({"bad_words": [[1, 40]]}, "bad_words takes ids of the model's 12 tokens"),
    ({"guidance_scale": 1.5}, "second pass without the prompt"),
]
VERBS: list[Callable[[FakeEngine, SamplingParams], object]] = [
    lambda engine, params: poise.generate(engine, "a", params, max_tokens=2),
    lambda engine, params: poise.sweep(engine, "a", params, max_tokens=2, study="never.db"),
    lambda engine, params: poise.dial(engine, "a", "temperature", 0, 1, params=params, study="never.db"),
    lambda engine, params: poise.why(engine, "a", params, max_tokens=2),
]


@pytest.mark.parametrize("verb", VERBS, ids=["generate", "sweep", "dial", "why"])
@pytest.mark.parametrize(("said", "rule"), REFUSED, ids=str)
def test_what_a_model_lacks_is_refused_before_any_work(
    said: dict[str, Any], rule: str, verb: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = FakeEngine(bigram=lambda token: np.zeros(12))
    engine.session = None  # type: ignore[assignment, method-assign]
    with pytest.raises(ParameterError, match=rule):
        verb(engine, SamplingParams(**said))
    assert not list(tmp_path.iterdir())
