"""A server's model, whose tokens poise draws from returned log-probabilities."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise import sampler
from poise.engines.asker import Asker, Ids
from poise.engines.remote_baselines import UNKNOWN, default_of, find_baselines
from poise.engines.remote_codec import RemoteCodec
from poise.engines.remote_options import ServerOptions
from poise.engines.remote_session import Rating, RemoteSession, next_token, row_of
from poise.engines.remote_thinking import TURN, check_prompt, no_switch
from poise.engines.returned import NO_OFFSET, ReturnedLaw, Row, Spot, why_not
from poise.errors import ModelError, ParameterError, PoiseError, PromptError, ServerError
from poise.params import DEFAULT_DIALECT, SamplingParams
from poise.records import Completion, Fingerprint, Prompt, Request
from poise.servers.address import find_address
from poise.servers.calls import About, Answer, Call, Fault, Wire
from poise.servers.honours import Probe
from poise.servers.likeness import Likeness, likeness_of
from poise.servers.openai_wire import OpenAIWire
from poise.servers.usual import published
from poise.servers.words import Place
from poise.sessions import Law, Tally

TOPS = (100, 50, 20, 10, 5)  # numbers of likeliest tokens that are tried, most first
VOCABULARY = 266_240  # where the server does not say: the largest in use have some 262,000
LARGEST = 1 << 21  # token ids are looked for below this
CHANGED = 0.5  # nats by which a log-probability moves when another model answers; rounding moves it far less
TESTED = 8  # positions of the test text at which the share outside is measured
OWN = "Let it draw by itself (--draws-by server), or load the weights"
# What log-probabilities of some tokens are enough for; a repetition penalty needs the logits' offset.
OFFSET_FREE = ("temperature", "top_k", "top_p", "min_p", "typical_p", "frequency_penalty", "presence_penalty")
_DIALECTS = {"llama.cpp": "temperature-last", "vllm": "transformers", "sglang": "transformers"}


class Hints(NamedTuple):
    """What poise is told instead of finding it out.

    Args:
        top: likeliest tokens to ask for at each step; None for as many as the server returns, up to 100.
        eos_ids: tokens that end a text; None to try those that models have.
        vocab_size: V, above every token id; None to find it.
    """

    top: int | None = None
    eos_ids: frozenset[int] | None = None
    vocab_size: int | None = None


class RemoteLogitsEngine:
    """A model on a server that returns raw log-probabilities with token ids, and continues token ids.

    Each step of a text is a request of one token: poise draws, by its law and its noise, among the tokens that come
    back. So laws are drawn that keep nothing else; see `check_law`.

    Args:
        wire: to the server.
        options: how it is asked.
        hints: what is not to be found out; None for nothing.
        place: how messages speak of it; None for what the wire knows.

    Raises:
        ModelError: the server has no way to do this.
        PoiseError: it does not answer.
    """

    draws_by: Literal["poise", "engine"] = "poise"
    supports = frozenset(OFFSET_FREE)

    def __init__(
        self,
        wire: Wire,
        options: ServerOptions | None = None,
        hints: Hints | None = None,
        place: Place | None = None,
    ) -> None:
        self.wire, self.options = wire, options or ServerOptions()
        known = hints or Hints()
        self._asker = Asker(wire, self.options, place or Place(wire.url, wire.model))
        try:
            self.about: About = self._asker.about
            self.name = self.about.model
            _check_ways(self.about)
            self._codec = RemoteCodec(self._asker, known.eos_ids)
            self._check_switch()
            self.vocab_size = known.vocab_size or _find_size(self._asker)
            self.top, self.outside = self._measure(known.top)
        except BaseException:
            self.close()
            raise
        self.law: Law = ReturnedLaw(self.top)
        self._reach = self.top if self.partial else math.inf
        self.eos_ids, self.thinking_tags = self._codec.eos_ids, self._codec.thinking_tags
        self.has_template = self._codec.has_template
        self.context_length = self.about.context_length
        self._print: Fingerprint | None = None
        self.remember(None)

    @property
    def partial(self) -> bool:
        """Whether the server returns only some of the tokens at each step."""
        return self.top < self.vocab_size

    @property
    def fingerprint(self) -> Fingerprint:
        """What the server says of its weights, and what its tokenizer and template do; the rest as provenance."""
        if self._print is None:
            about, codec = self.about, self._codec
            self._print = Fingerprint(
                self.name,
                _hash([about.model, about.identity]),
                _hash([codec.test_ids, sorted(self.eos_ids)]),
                _hash([codec.template_ids, self.options.thinking]),
                "as served",
                f"{about.kind}-logprobs",
                {
                    "server": f"{about.kind} {about.version}".strip(), "url": self.wire.url,
                    "returned tokens": str(self.top), "replay": "unverified",
                },
            )  # fmt: skip
        return self._print

    def remember(self, probe: Probe | None) -> None:
        """Take over what a probe found an empty request to get: it becomes a baseline where it can be drawn.

        Args:
            probe: of this server; None for none.
        """
        known = probe.dialect if probe is not None and probe.dialect != "server" else _DIALECTS.get(self.about.kind)
        default = default_of(self.about, probe, known or DEFAULT_DIALECT)
        if default == UNKNOWN and (said := published(self.about)):  # what the server itself says is believed
            default = SamplingParams.model_validate({**said, "dialect": known or DEFAULT_DIALECT})
        if known is None and not isinstance(default, str):
            default = "the order of the server's steps is not known"
        self._baselines, self.notes = find_baselines(
            self.about, default, DEFAULT_DIALECT, self.options.thinking, self._why_not
        )

    @property
    def baselines(self) -> Mapping[str, SamplingParams]:
        """greedy, engine-default and vendor, each where it is known and can be drawn; `notes` say why one is not."""
        return self._baselines

    def _why_not(self, params: SamplingParams) -> str:
        wrong = why_not(params, self._reach)
        return "" if wrong is None else f"{wrong[0]}, but it is {params.label}"

    @property
    def spent(self) -> tuple[int, int, int]:
        """Requests so far, second and later tries among them, and tokens of prompts."""
        return self._asker.pool.sent, self._asker.pool.again, self._asker.read

    @property
    def likeness(self) -> Likeness:
        """What the model is known by, where the server gives a name alone."""
        return self._likeness

    def check_law(self, params: SamplingParams) -> None:
        """Refuse a law that keeps tokens which the server does not return.

        Args:
            params: the law.

        Raises:
            ParameterError: it cannot be drawn here, and why.
        """
        wrong = why_not(params, self._reach)
        if wrong is None:
            return
        rule, got, step = wrong
        if params.active().get("repetition_penalty") is None:
            got += f": {self.outside:.1%} of the probability lay outside them in a test text"
        raise ParameterError(rule, got, step)

    def refusal(self, names: Sequence[str]) -> PoiseError | None:
        """Why parameters are not honoured; None for reasons that everybody knows."""
        return ParameterError(*NO_OFFSET) if "repetition_penalty" in names else None

    def encode(self, prompt: Prompt) -> Ids:
        """See `sessions.Engine.encode`."""
        if not prompt.shown.strip():
            raise PromptError("A prompt needs at least one word", repr(prompt.shown), "Write what to continue")
        check_prompt(prompt, self.options.thinking)
        if not prompt.chat:
            return self._codec.encode(prompt.text or "", special=True)
        ids = self._codec.chat(prompt.messages, self.options.thinking)
        if ids is None:
            raise PromptError(
                "Messages need a server that shows how its template reads them", self.name, "Ask with --text instead"
            )
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """See `sessions.LogitsEngine.decode`."""
        return self._codec.decode(ids)

    def tokenize(self, text: str) -> Ids:
        """See `sessions.LogitsEngine.tokenize`."""
        return self._codec.encode(text, special=False)

    def opens_thinking(self, prompt_ids: Sequence[int]) -> bool:
        """See `sessions.LogitsEngine.opens_thinking`."""
        if self.thinking_tags is None:
            return False
        return self._codec.decode(prompt_ids[-8:], special=True).rstrip().endswith(self.thinking_tags[0])

    def session(self, max_length: int, rows: int) -> RemoteSession:
        """See `sessions.LogitsEngine.session`. Raises ServerError where another model answers."""
        self._check_unchanged()
        return RemoteSession(self._asker, self._rating, self.vocab_size, rows)

    def generate(self, requests: Iterable[Request], tally: Tally | None = None) -> Iterator[Completion]:
        """See `sampler.generate`.

        Raises:
            ParameterError: a law that cannot be drawn here.
            ServerError: the server failed, or a token outside the returned ones might have been drawn.
        """
        asked = list(requests)
        for params in {request.params for request in asked}:
            self.check_law(params)
        if asked:
            told = Tally() if tally is None else tally
            pool, read = self._asker.pool, self._asker.read
            sent, again = pool.sent - told.requests, pool.again - told.retries
            for completion in sampler.generate(self, asked, told):
                told.requests, told.retries = pool.sent - sent, pool.again - again
                yield completion
            told.prompt_tokens = self._asker.read - read
            self._check_unchanged()

    def score(self, prompt: Prompt, text: str) -> tuple[Ids, NDArray[np.float64]]:
        """See `sessions.LogitsEngine.score`."""
        prompt_ids, ids = self.encode(prompt), self._codec.encode(text)
        if not ids:
            raise PromptError("A text to score needs at least one token", repr(text), "Give some text")
        if self.about.kind == "vllm":
            return ids, self._echoed(prompt_ids, ids)
        session = self.session(0, 1)
        rows = session.score(prompt_ids, ids).rows
        found = [dict(zip(row.ids.tolist(), row.values.tolist(), strict=True)) for row in rows]
        missing = [i for i, (row, token) in enumerate(zip(found, ids, strict=True)) if token not in row]
        if missing:
            raise ServerError(
                "Text is scored from log-probabilities of its own tokens",
                f"token {missing[0] + 1:,} of {len(ids):,}, which is not among the {self.top} that the server returns",
                "Load the weights (hf:, gguf:), or let it return more",
            )
        return ids, np.array([row[token] for row, token in zip(found, ids, strict=True)])

    def close(self) -> None:
        """Hang up."""
        self._asker.close()

    def _check_unchanged(self) -> None:
        """Whether the model rates the test text as it did, but for what rounding does."""
        [row] = self._rated([self._codec.test_ids], self._rating)
        common, here, there = np.intersect1d(self._first.ids, row.ids, return_indices=True)
        apart = np.abs(self._first.values[here] - row.values[there])
        if 2 * common.size < row.ids.size or np.any(apart > CHANGED):
            raise ServerError(
                "A server keeps its model under way",
                f"other log-probabilities of the same text than before: {self.name}",
                "Draw into a new study",
            )

    def _check_switch(self) -> None:
        """Refuse a switch that the template lacks."""
        if self.options.thinking is None or not self._codec.has_template:
            return
        if self._codec.chat(TURN, True) == self._codec.chat(TURN, False):
            raise no_switch(self.name)

    def _rated(self, texts: Sequence[Ids], rating: Rating) -> list[Row]:
        answers = self._asker.ask([rating.call(ids) for ids in texts])
        return [
            row_of(next_token(a), Spot(len(ids), 0), self.vocab_size) for a, ids in zip(answers, texts, strict=True)
        ]

    def _echoed(self, prompt_ids: Ids, ids: Ids) -> NDArray[np.float64]:
        """ln p of each of `ids` in one request that repeats its prompt."""
        call = Call(ids=(*prompt_ids, *ids), max_tokens=1, logprobs=0, fields={"echo": True})
        positions = self._asker.ask([call])[0].choices[0].positions
        said = tuple(p.drawn.id for p in positions)
        if said[:-1] != (*prompt_ids, *ids):
            raise ServerError("A server that repeats a prompt rates each of its tokens", f"{len(said):,} of them", "")
        return np.array([p.drawn.logprob for p in positions[len(prompt_ids) : -1]])

    def _measure(self, wanted: int | None) -> tuple[int, float]:
        """How many likeliest tokens come back, and the mean probability of all others in a test text."""
        ids = self._codec.test_ids
        for top in (wanted,) if wanted is not None else TOPS:
            rating = Rating(top, ids[-1] if self.about.kind == "llama.cpp" else None)
            answer = self._asker.try_one(rating.call(ids))
            if isinstance(answer, Fault) or not _rates(answer):
                continue
            ends = range(max(1, len(ids) - TESTED), len(ids) + 1)
            rows = self._rated([ids[:end] for end in ends], rating)
            self._rating, self._first = rating, rows[-1]
            self._likeness = likeness_of(next_token(answer))
            return min(row.ids.size for row in rows), float(np.mean([row.outside for row in rows]))
        raise ModelError(
            "poise draws on a server that returns log-probabilities with token ids",
            f"{self.name}, which returns none for {wanted or TOPS[-1]} tokens", OWN,
        )  # fmt: skip


def make_remote_logits(
    name: str, *, dtype: str = "auto", device: str = "auto", trust_remote_code: bool = False,
    server: ServerOptions | None = None, hints: Hints | None = None,
) -> RemoteLogitsEngine:  # fmt: skip
    """`load("http(s)://HOST[:PORT]/v1[#MODEL]", draws_by="poise")`.

    Args:
        name: the address.
        dtype, device: the server's business; anything but auto is an error.
        trust_remote_code: means nothing here.
        server: how it is asked.
        hints: what is not to be found out; None for nothing.

    Returns:
        The engine.

    Raises:
        ModelError: no such address or model, a dtype or device, or a server on which poise cannot draw.
        UsageError: a key that is not there.
        ServerError: the server does not answer.
    """
    for what, value in (("dtype", dtype), ("device", device)):
        if value != "auto":
            raise ModelError(f"A server chose its {what} when it was started", repr(value), f"Leave --{what} out")
    if "://" not in name:
        raise _takes_text(f"ollama:{name}")
    options = server or ServerOptions()
    address = find_address(name, options.key_env)
    place = Place(address.url, address.model, key_env=address.key_env, has_key=address.key is not None)
    return RemoteLogitsEngine(OpenAIWire(address, options.timeout), options, hints, place)


def _check_ways(about: About) -> None:
    if not (about.takes_ids and about.has_text):
        raise _takes_text(about.model)


def _takes_text(model: str) -> ModelError:
    return ModelError("poise draws on a server that continues token ids", f"{model}, which takes text alone", OWN)


def _rates(answer: Answer) -> bool:
    """Whether log-probabilities came back, with the ids of their tokens."""
    positions = answer.choices[0].positions
    return (
        bool(positions) and len(positions[-1].likeliest) > 1 and all(t.id is not None for t in positions[-1].likeliest)
    )


def _find_size(asker: Asker) -> int:
    """V: as the server says; by trying where it refuses ids that it lacks; else enough for all models in use."""
    said = re.search(r"\bn_vocab (\d+)", asker.about.identity)
    if said:
        return int(said[1])
    if asker.about.kind != "vllm":  # others may not look before they compute
        return VOCABULARY
    low, high = 1, LARGEST
    while high - low > 1:
        middle = (low + high) // 2
        known = not isinstance(asker.try_one(Call(ids=(middle,), max_tokens=1)), Fault)
        low, high = (middle, high) if known else (low, middle)
    return low + 1


def _hash(said: object) -> str:
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
