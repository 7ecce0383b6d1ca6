"""The Engine and Session protocols: who draws the token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from poise.errors import ParameterError
from poise.law import History as History
from poise.law import Reshaped as Reshaped
from poise.law import State as State
from poise.law.penalties import inside
from poise.param_lists import LISTS
from poise.params import PARAMETERS, SamplingParams
from poise.records import Completion, Fingerprint, Prompt, Request

RowId = int
Logits = Any  # (B, V), the engine's own array: numpy or torch


# What poise's own loop draws where a text is one row: guidance would need a second one without the prompt.
DRAWN: frozenset[str] = frozenset({*PARAMETERS, *LISTS}) - {"guidance_scale"}


class Law(Protocol):
    """The law on an engine's own arrays; `poise.law` is its definition, row by row."""

    def reshape(
        self,
        logits: Logits,
        rows: Sequence[int],
        settings: Sequence[SamplingParams],
        histories: Sequence[History],
        barred: Sequence[frozenset[int]],
        states: Sequence[State] = (),
        unconditional: Sequence[int | None] = (),
    ) -> Reshaped:
        """Reshape row `rows[j]` of `logits` by `settings[j]`, with the tokens `barred[j]` cut first.

        `states[j]` says how XTC's coin fell and where mirostat's cut stands; without any, the coin struck and the cut
        is that of a text's start. `unconditional[j]` is the row of the same text without its prompt, for guidance.
        """
        ...

    def normaliser(self, logits: Logits) -> NDArray[np.float64]:
        """ln Σ exp of each row, (B,): what turns a logit into a log-probability."""
        ...

    def take(self, logits: Logits, rows: Sequence[int], tokens: Sequence[int]) -> NDArray[np.float64]:
        """The logits of the given tokens in the given rows, (len(rows),)."""
        ...


class Session(Protocol):
    """Living rows of a logits engine. A row lives until dropped; its cache is the session's business.

    `max_rows` is the number of rows that may live at once after a step's parents were dropped.
    """

    max_rows: int

    def prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[list[RowId], Logits]:
        """Read prompts. Returns a row each and the next-token logits, (B, V)."""
        ...

    def advance(self, parents: Sequence[RowId], tokens: Sequence[int]) -> tuple[list[RowId], Logits]:
        """Append one token to each parent, any living row; several children may share one.

        Parents stay alive. Returns the children's rows and their logits, (B, V).
        """
        ...

    def drop(self, rows: Sequence[RowId]) -> None:
        """Forget rows."""
        ...

    def score(self, prompt: Sequence[int], tokens: Sequence[int]) -> Logits:
        """Logits before each of `tokens` after `prompt`, (S, V), in one pass."""
        ...


@dataclass
class Tally:
    """What drawing cost so far; the one record here that changes, filled by the draw loop.

    Args:
        rows: forward passes of one row, prompts not counted.
        tokens: tokens drawn over all texts; `tokens - rows` were shared.
        prompt_tokens: tokens read from prompts.
        completions: texts finished.
        requests: exchanges with a server, second and later tries counted; 0 where there is none.
        retries: of these, second and later tries.
        seconds: time per part (forward, noise, law, ...), in seconds.
    """

    rows: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    completions: int = 0
    requests: int = 0
    retries: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


@runtime_checkable
class Engine(Protocol):
    """A model ready to draw, with what it honours.

    `supports` names the parameters it honours; anything else is an error before the first token.
    `draws_by` is ``poise`` for a logits engine, ``engine`` for one that draws by itself.
    """

    name: str
    supports: frozenset[str]
    draws_by: Literal["poise", "engine"]

    @property
    def fingerprint(self) -> Fingerprint: ...

    @property
    def baselines(self) -> Mapping[str, SamplingParams]:
        """greedy, engine-default and, where the model publishes one, vendor."""
        ...

    @property
    def context_length(self) -> int | None: ...

    @property
    def has_template(self) -> bool:
        """Whether messages can be asked through a chat template."""
        ...

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """The prompt as fed to the model. Raises PromptError when it is empty or cannot be asked."""
        ...

    def generate(self, requests: Iterable[Request], tally: Tally | None = None) -> Iterator[Completion]:
        """Draw; completions come as they finish, in any order."""
        ...


@runtime_checkable
class LogitsEngine(Engine, Protocol):
    """An engine that gives next-token logits: poise draws, by its law and its noise."""

    law: Law
    vocab_size: int
    eos_ids: frozenset[int]
    thinking_tags: tuple[str, str] | None

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
        ...

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Token ids of a text by itself, special tokens left out."""
        ...

    def opens_thinking(self, prompt_ids: Sequence[int]) -> bool:
        """Whether the prompt itself opened the model's thinking."""
        ...

    def session(self, max_length: int, rows: int) -> Session:
        """A session for texts of at most `max_length` tokens, wanting `rows` rows at once."""
        ...

    def score(self, prompt: Prompt, text: str) -> tuple[tuple[int, ...], NDArray[np.float64]]:
        """Token ids of `text` after `prompt` and ln p of each, nats, in one forced pass."""
        ...


def refuse_guidance(name: str, refused: Sequence[str]) -> ParameterError | None:
    """Why an engine whose texts are one row each does not honour a parameter.

    Args:
        name: of the engine.
        refused: parameters that it does not honour.

    Returns:
        The error; None where guidance is not among them.
    """
    if "guidance_scale" not in refused:
        return None
    return ParameterError(
        "guidance_scale needs a second pass without the prompt at each step",
        f"it for {name}, where poise makes one",
        "Leave it out; `poise law` shows what it does to given logits",
    )


def check_tokens(params: SamplingParams, size: int) -> None:
    """Refuse biases and barred words of tokens that a model lacks, before any work.

    Args:
        params: the law.
        size: of the vocabulary, V.

    Raises:
        ParameterError: a token id of V or more.
    """
    inside([i for i, _ in params.logit_bias or ()], size, "logit_bias")
    inside([i for word in params.bad_words or () for i in word], size, "bad_words")
