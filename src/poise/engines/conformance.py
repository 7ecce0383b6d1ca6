"""What every logits engine must hold; outside engines inherit these tests."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from poise.errors import PoiseError
from poise.law import History
from poise.params import SamplingParams, grid
from poise.records import Completion, Prompt, Request
from poise.sessions import LogitsEngine

WORDS = [
    "once",
    "upon",
    "a",
    "time",
    "there",
    "was",
    "a",
    "small",
    "ship",
    "that",
    "sailed",
    "between",
    "the",
    "stars",
    "and",
    "never",
    "came",
    "home",
]


class EngineConformance:
    """Inherit in a test file, define a fixture `engine`, and run pytest.

    For example::

        class TestMyEngine(EngineConformance):
            @pytest.fixture(scope="class")
            def engine(self):
                return MyEngine()
    """

    settings: Sequence[SamplingParams] = (
        *grid(temperature=[0, 0.4, 0.9, 1.3]),
        *grid(temperature=0.9, top_k=5, top_p=0.9),
        *grid(min_p=0.1, repetition_penalty=1.2),
        *grid(typical_p=0.8, frequency_penalty=0.4, presence_penalty=0.2),
    )
    replays = 24  # completions drawn again, alone and in small batches
    max_tokens = 12
    score_tolerance = 0.1  # nats per token, mean; half precision differs by a few hundredths

    def prompts(self) -> list[Prompt]:
        """Prompts of several lengths."""
        return [Prompt(" ".join(WORDS[:n])) for n in (1, 3, 8, len(WORDS))]

    def requests(self, engine: LogitsEngine) -> list[Request]:
        """Every prompt under every setting, two draws each."""
        return [
            Request(p, engine.encode(p), s, 5, d, self.max_tokens)
            for p in self.prompts()
            for s in self.settings
            for d in range(2)
        ]

    def test_a_text_depends_on_its_request_alone(self, engine: LogitsEngine) -> None:
        """Alone, in small batches, shuffled: token ids and log-probabilities to the bit."""
        asked, rng = self.requests(engine), random.Random(1)  # noqa: S311 - a shuffle, no secret
        whole = {c.request: c for c in engine.generate(asked)}
        assert len(whole) == len(asked)
        again = rng.sample(asked, min(self.replays, len(asked)))
        while again:
            size = rng.choice([1, 1, 2, 3, 7])
            batch, again = again[:size], again[size:]
            for completion in engine.generate(batch):
                assert same(completion, whole[completion.request]), completion.request.params.label

    def test_greedy_takes_the_largest_logit(self, engine: LogitsEngine) -> None:
        """Zero temperature is the top of the prompt's logits, lowest id among ties, in every draw."""
        for p in self.prompts():
            ids = engine.encode(p)
            session = engine.session(len(ids) + 1, 2)
            _, logits = session.prefill([ids])
            top = engine.law.reshape(logits, [0], [SamplingParams()], [_nothing(ids)], [frozenset()]).values[0]
            asked = [Request(p, ids, SamplingParams(temperature=0), 0, d, 1) for d in range(3)]
            drawn = {c.token_ids[0] for c in engine.generate(asked)}
            assert drawn == {int(np.argmax(top))}

    def test_a_row_may_wait_and_have_many_children(self, engine: LogitsEngine) -> None:
        """A parent advanced late, after its first child went on, gives the same logits as at once."""
        ids = engine.encode(self.prompts()[1])
        token = next(i for i in range(engine.vocab_size) if i not in engine.eos_ids)
        session = engine.session(len(ids) + 4, 6)
        rows, _ = session.prefill([ids])
        (first,), at_once = session.advance(rows, [token])
        (second,), _ = session.advance([first], [token])
        (late,), waited = session.advance(rows, [token])
        assert logits_of(engine, at_once) == logits_of(engine, waited)
        session.drop([first, second, *rows])
        (last,), _ = session.advance([late], [token])
        session.drop([late, last])

    def test_scoring_agrees_with_drawing(self, engine: LogitsEngine) -> None:
        """One forced pass gives nearly the log-probabilities of drawing; bits may differ."""
        asked = self.requests(engine)[0]
        drawn = next(iter(engine.generate([asked])))
        logits = engine.session(len(asked.prompt_ids) + self.max_tokens, 2).score(asked.prompt_ids, drawn.token_ids)
        rows = range(len(drawn.token_ids))
        forced = engine.law.take(logits, rows, drawn.token_ids) - engine.law.normaliser(logits)
        assert np.abs(forced - np.array(drawn.logprobs)).mean() < self.score_tolerance

    def test_min_tokens_bars_the_end_of_text(self, engine: LogitsEngine) -> None:
        """No text ends by itself before min_tokens."""
        p = self.prompts()[0]
        asked = [Request(p, engine.encode(p), SamplingParams(temperature=1.5), 0, d, 6, 6) for d in range(6)]
        assert all(len(c.token_ids) == 6 and not set(c.token_ids[:-1]) & engine.eos_ids for c in engine.generate(asked))

    def test_an_empty_prompt_is_refused(self, engine: LogitsEngine) -> None:
        """Nothing to continue is the user's mistake, told before any work."""
        refused = None
        try:
            engine.encode(Prompt(" "))
        except PoiseError as error:
            refused = error
        assert refused is not None, "an empty prompt was taken"
        assert refused.exit_code == 2

    def test_the_fingerprint_is_stable(self, engine: LogitsEngine) -> None:
        """Two looks at one engine agree, and every deciding field says something."""
        assert engine.fingerprint == engine.fingerprint
        assert all(engine.fingerprint.deciding().values())


def same(a: Completion, b: Completion) -> bool:
    """Equal to the bit in what a draw decides."""
    return (a.token_ids, a.logprobs, a.text, a.finish_reason) == (b.token_ids, b.logprobs, b.text, b.finish_reason)


def logits_of(engine: LogitsEngine, logits: object) -> list[float]:
    """The first row as plain numbers."""
    row = engine.law.reshape(logits, [0], [SamplingParams()], [_nothing(())], [frozenset()]).values[0]
    return [float(v) for v in row]


def _nothing(ids: Sequence[int]) -> History:
    return History(ids, ())
