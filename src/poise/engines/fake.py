"""A tiny language model with every probability known, for tests and docs."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from poise import law as definition
from poise import sampler
from poise.errors import ModelError, ParameterError, PromptError
from poise.params import SamplingParams
from poise.records import Completion, Fingerprint, Prompt, Request
from poise.sessions import DRAWN, Law, Reshaped, Tally, refuse_guidance

WORDS = ("", " the", " ship", " sailed", " on", " and", " star", " found", " a", " quiet", ".", "\n")
HOSTILE = (
    "",
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "\x1b[31mred\x1b[0m",
    "\u202ereversed\u202c",
    "[bold]markup[/bold]",
    "<!--",
    "]]>",
    "\u2028",
    "=1+1",
    "\"'",
    " the",
)
Bigram = Callable[[int], NDArray[np.float64]]  # last token -> logits, (V,)


class FakeLaw:
    """`poise.law`, row by row, on NumPy arrays: the definition itself."""

    def reshape(
        self,
        logits: NDArray[np.float64],
        rows: Sequence[int],
        settings: Sequence[SamplingParams],
        histories: Sequence[definition.History],
        barred: Sequence[frozenset[int]],
        states: Sequence[definition.State] = (),
        unconditional: Sequence[int | None] = (),
    ) -> Reshaped:
        """See `sessions.Law.reshape`."""
        values, scale = [np.array(logits[b], dtype=np.float64) for b in rows], np.ones(len(rows))
        for j, (params, history) in enumerate(zip(settings, histories, strict=True)):
            values[j][list(barred[j])] = -np.inf
            state = states[j] if states else definition.FRESH
            other = unconditional[j] if unconditional else None
            facts = definition.Facts(params, history, state, None if other is None else logits[other])
            values[j], scale[j] = definition.scaled(values[j], definition.acting(params), facts)
        return Reshaped(values, scale)

    def normaliser(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `sessions.Law.normaliser`."""
        top = logits.max(axis=1)
        return np.asarray(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))

    def take(self, logits: NDArray[np.float64], rows: Sequence[int], tokens: Sequence[int]) -> NDArray[np.float64]:
        """See `sessions.Law.take`."""
        return np.asarray(logits[list(rows), list(tokens)])


class FakeSession:
    """Rows are their last tokens: this model looks at nothing else."""

    def __init__(self, bigram: Bigram, max_rows: int, delay: float) -> None:
        self.max_rows, self._bigram, self._delay = max_rows, bigram, delay
        self._last: dict[int, int] = {}
        self._next = 0

    def prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[list[int], NDArray[np.float64]]:
        """See `sessions.Session.prefill`."""
        return self._live([ids[-1] for ids in prompts])

    def advance(self, parents: Sequence[int], tokens: Sequence[int]) -> tuple[list[int], NDArray[np.float64]]:
        """See `sessions.Session.advance`."""
        missing = [p for p in parents if p not in self._last]
        assert not missing, f"rows {missing} were dropped"
        time.sleep(self._delay)
        return self._live(list(tokens))

    def drop(self, rows: Sequence[int]) -> None:
        """See `sessions.Session.drop`."""
        for row in rows:
            del self._last[row]
        assert len(self._last) <= self.max_rows, "more rows live than max_rows"

    def score(self, prompt: Sequence[int], tokens: Sequence[int]) -> NDArray[np.float64]:
        """See `sessions.Session.score`."""
        return np.array([self._bigram(t) for t in [*prompt, *tokens][len(prompt) - 1 : -1]])

    def _live(self, last: list[int]) -> tuple[list[int], NDArray[np.float64]]:
        rows = list(range(self._next, self._next + len(last)))
        self._next += len(last)
        self._last.update(zip(rows, last, strict=True))
        return rows, np.array([self._bigram(t) for t in last])


class FakeEngine:
    """A bigram model over twelve words; token 0 ends the text.

    Args:
        words: the vocabulary; word 0 is the end of text.
        bigram: logits of the next token after each token; None for a fixed table made from `seed`.
        seed: of the table.
        delay: seconds that each step takes, to have something to interrupt.
        name: shown as the model's name.
        vendor: what the model's maker would recommend, None for nothing.

    >>> engine = FakeEngine()
    >>> request = Request(Prompt("hi"), engine.encode(Prompt("hi")), SamplingParams(temperature=0), 0, 0, 3)
    >>> next(engine.generate([request])).finish_reason
    'length'
    """

    draws_by: Literal["poise", "engine"] = "poise"
    supports = DRAWN
    law: Law = FakeLaw()
    eos_ids = frozenset({0})
    thinking_tags: tuple[str, str] | None = None
    has_template = True
    context_length: int | None = 4096

    def __init__(
        self,
        words: Sequence[str] = WORDS,
        bigram: Bigram | None = None,
        *,
        seed: int = 0,
        delay: float = 0.0,
        name: str = "fake",
        vendor: SamplingParams | None = None,
    ) -> None:
        self.words, self.name, self.delay = tuple(words), name, delay
        self.vocab_size = len(self.words)
        table = np.random.default_rng(seed).normal(0, 1.5, (self.vocab_size, self.vocab_size))
        table[:, 0] -= 3.0
        self.bigram = bigram or (lambda token: np.asarray(table[token]))
        self._vendor = vendor
        known = repr([self.bigram(t).tolist() for t in range(self.vocab_size)])
        self._weights = hashlib.sha256(known.encode()).hexdigest()

    @property
    def fingerprint(self) -> Fingerprint:
        """Hashes of the table and the words."""
        tokenizer = hashlib.sha256(repr(self.words).encode()).hexdigest()
        return Fingerprint(self.name, self._weights, tokenizer, "fake", "float64", "fake", {"device": "cpu"})

    @property
    def baselines(self) -> Mapping[str, SamplingParams]:
        """greedy, engine-default (plain sampling here), and vendor where one was given."""
        given = {"greedy": SamplingParams(temperature=0), "engine-default": SamplingParams()}
        return given if self._vendor is None else {**given, "vendor": self._vendor}

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """One token per white-space separated word, chosen by its checksum; never the end of text."""
        said = prompt.text if prompt.text is not None else "\n".join(f"{m.role}: {m.content}" for m in prompt.messages)
        words = said.split()
        if not words:
            raise PromptError("A prompt needs at least one token", repr(said), "Write what the model should continue")
        return tuple(map(self._by_checksum, words))

    def decode(self, ids: Sequence[int]) -> str:
        """The words, joined."""
        return "".join(self.words[i] for i in ids)

    def tokenize(self, text: str) -> tuple[int, ...]:
        """The tokens whose words make up a text, the longest that fits first."""
        return self._spelt(text)

    def refusal(self, names: Sequence[str]) -> ParameterError | None:
        """Why parameters are not honoured."""
        return refuse_guidance(self.name, names)

    def opens_thinking(self, prompt_ids: Sequence[int]) -> bool:
        """This model does not think."""
        return False

    def session(self, max_length: int, rows: int) -> FakeSession:
        """As many rows as wanted."""
        return FakeSession(self.bigram, rows, self.delay)

    def generate(self, requests: Iterable[Request], tally: Tally | None = None) -> Iterator[Completion]:
        """See `sampler.generate`."""
        return sampler.generate(self, requests, tally)

    def score(self, prompt: Prompt, text: str) -> tuple[tuple[int, ...], NDArray[np.float64]]:
        """Token ids of `text` after `prompt` and ln p of each, nats; a word that it lacks is one of its own."""
        prompt_ids, ids = self.encode(prompt), self._spelt(text)
        if not ids:
            raise PromptError("A text to score has at least one token", repr(text), "Give the text that follows")
        logits = self.session(0, 1).score(prompt_ids, ids)
        return ids, logits[np.arange(len(ids)), list(ids)] - self.law.normaliser(logits)

    def _spelt(self, text: str) -> tuple[int, ...]:
        """The tokens whose words make up a text, the longest that fits first."""
        ids: list[int] = []
        while text:
            fits = [i for i, word in enumerate(self.words) if word and text.startswith(word)]
            if fits:
                ids.append(max(fits, key=lambda i: len(self.words[i])))
                text = text[len(self.words[ids[-1]]) :]
                continue
            word, *rest = text.split(maxsplit=1) or [""]
            ids += [self._by_checksum(word)] if word else []
            text = f" {rest[0]}" if rest else ""
        return tuple(ids)

    def _by_checksum(self, word: str) -> int:
        """The token that stands for a word that this model lacks."""
        return 1 + zlib.crc32(word.encode("utf-8", "surrogatepass")) % (self.vocab_size - 1)


def _nan(token: int) -> NDArray[np.float64]:
    return np.full(len(WORDS), np.nan)


def make(variant: str = "") -> FakeEngine:
    """A fake engine by name.

    Args:
        variant: "" (plain), "hostile" (emits markup and escapes), "slow" (20 ms a step), "nan".

    Returns:
        The engine.

    Raises:
        ModelError: no such variant.
    """
    made: Mapping[str, Callable[[], FakeEngine]] = {
        "": FakeEngine,
        "hostile": lambda: FakeEngine(HOSTILE, name="fake:hostile"),
        "slow": lambda: FakeEngine(delay=0.02, name="fake:slow"),
        "nan": lambda: FakeEngine(bigram=_nan, name="fake:nan"),
    }
    if variant not in made:
        raise ModelError("A fake model is one of fake, fake:hostile, fake:slow, fake:nan", f"fake:{variant}")
    return made[variant]()


def make_fake(variant: str, *, dtype: str, device: str, trust_remote_code: bool) -> FakeEngine:
    """`load("fake:VARIANT")`: dtype and device have no meaning here, and anything but auto is an error."""
    for name, value in (("dtype", dtype), ("device", device)):
        if value != "auto":
            raise ModelError(f"The fake model has no {name}", repr(value), f"Leave --{name} out")
    return make(variant)
