"""What is asked of a server and what it answers: plain records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

from poise.records import Message

FaultKind = Literal[
    "unreachable", "tls", "timeout", "reset", "busy", "broken", "malformed", "denied", "absent", "rejected", "context"
]
PASSING: frozenset[FaultKind] = frozenset({"unreachable", "timeout", "reset", "busy", "broken", "malformed"})


class Fault(Exception):
    """One exchange that failed; never shown as it is: the caller tries again, or says it in the user's words.

    Args:
        kind: ``unreachable`` nobody listens; ``tls`` no secure connection; ``timeout`` no answer in time; ``reset`` the
            connection broke; ``busy`` 429 or 503 with a time to wait; ``broken`` another 5xx; ``malformed`` what came
            is no answer: cut off, no JSON, another content type; ``denied`` 401 or 403; ``absent`` 404: wrong path or
            no such model; ``context`` prompt and text are too long; ``rejected`` any other 4xx.
        told: what the server said, one line, without any key.
        status: of HTTP; None where there was no answer.
        wait: seconds that the server asks to wait; None where it does not say.
        field: the parameter that was rejected, by its name on the wire; empty where that cannot be told.
    """

    def __init__(
        self, kind: FaultKind, told: str = "", status: int | None = None, wait: float | None = None, field: str = ""
    ) -> None:
        super().__init__(kind, told, status, wait, field)
        self.kind, self.told, self.status, self.wait, self.field = kind, told, status, wait, field

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed later."""
        return self.kind in PASSING


class Call(NamedTuple):
    """One request. Exactly one of `messages`, `text` and `ids` is given.

    Args:
        messages: chat turns; the server applies its template.
        text: continued as it is, where the server can.
        ids: token ids continued as they are, where the server can.
        fields: decoding parameters by their names on the wire, sent exactly so; what is not here is not sent.
        max_tokens: new tokens at most; None leaves it to the server.
        n: texts wanted of this one request.
        seed: None sends none.
        stop: strings that end a text.
        logprobs: how many of the likeliest tokens to return at each position, 0 for the drawn one alone; None for no
            log-probabilities.
        thinking: whether a reasoning model is asked to think; None leaves it to the server.
    """

    messages: tuple[Message, ...] = ()
    text: str | None = None
    ids: tuple[int, ...] | None = None
    fields: Mapping[str, Any] = {}
    max_tokens: int | None = None
    n: int = 1
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    thinking: bool | None = None


class Likely(NamedTuple):
    """A token that could have come: its text as the server writes it, its id where it says so, ln p in nats."""

    token: str
    id: int | None
    logprob: float


class Position(NamedTuple):
    """One drawn token, and the likeliest ones at its place, likeliest first; the drawn one need not be among them."""

    drawn: Likely
    likeliest: tuple[Likely, ...] = ()


class Choice(NamedTuple):
    """One text of an answer.

    Args:
        text: without thinking.
        thinking: what the server gave apart as reasoning, or what stood in think tags.
        finish: ``eos``, ``stop`` (a stop string), ``length``, or what else the server said, as it wrote it. Servers
            that write ``stop`` for both: ``stop`` where they name the string that was met, else ``eos``.
        positions: with log-probabilities; empty where none came.
        token_ids: of everything drawn; empty where the server does not say.
        refusal: what a server said instead of answering; empty where it answered.
    """

    text: str
    thinking: str = ""
    finish: str = "eos"
    positions: tuple[Position, ...] = ()
    token_ids: tuple[int, ...] = ()
    refusal: str = ""


class Answer(NamedTuple):
    """What came back for one call.

    Args:
        choices: in order.
        model: the model's name as the server repeats it; empty where it does not.
        system: OpenAI's system_fingerprint, or what stands for it; empty where there is none.
        prompt_tokens, new_tokens: as the server counted; None where it does not.
        seconds: from sending to the whole answer.
    """

    choices: tuple[Choice, ...]
    model: str = ""
    system: str = ""
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    seconds: float = 0.0


Kind = Literal["vllm", "llama.cpp", "llama-cpp-python", "sglang", "ollama", "openai", "lm-studio", "unknown"]


class About(NamedTuple):
    """What a server says of itself before anything is drawn.

    Args:
        kind: which software it is, from its own endpoints and headers; ``unknown`` where that cannot be told.
        version: of it; empty where unknown.
        model: the model that will be asked.
        models: all that it serves.
        context_length: tokens of prompt and text; None where it does not say.
        takes_ids: whether prompts may be token ids.
        has_chat, has_text: whether messages can be asked, and text continued.
        defaults: decoding parameters that an empty request gets, where the server publishes them, by poise's names.
        identity: what identifies the weights: root path, digest, creation time; decides a study's key.
    """

    kind: Kind
    version: str
    model: str
    models: tuple[str, ...]
    context_length: int | None
    takes_ids: bool
    has_chat: bool
    has_text: bool
    defaults: Mapping[str, float]
    identity: str


class Wire(Protocol):
    """One server and one of its models; every call is a single exchange, without a second attempt.

    `names` says how each parameter of poise is written there; a parameter without an entry cannot be sent.
    `most_logprobs` is how many likeliest tokens may be asked for, as far as the software is known to allow.
    """

    url: str
    model: str
    names: Mapping[str, str]
    most_logprobs: int

    async def about(self) -> About:
        """Ask what it is. Raises Fault."""
        ...

    async def ask(self, call: Call) -> Answer:
        """One exchange. Raises Fault."""
        ...

    async def tokenize(self, text: str, special: bool = False) -> tuple[int, ...] | None:
        """Token ids of a text; None where the server has no way to tell."""
        ...

    async def detokenize(self, ids: tuple[int, ...]) -> str | None:
        """Text of token ids; None where the server has no way to tell."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...
