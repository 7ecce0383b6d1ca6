"""Frozen records: Prompt, Request, Completion, Trial, Fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from poise.checks import Check
from poise.params import SamplingParams

FinishReason = Literal["eos", "stop", "length"]
ParamsRecord = dict[str, float | int | str | list[str] | list[list[float | int | bool]]]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat: who speaks (system, user, assistant) and what."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One input, and where there is one, the right answer or a reference text.

    Args:
        text: text the model continues as it is; None when `messages` are given.
        messages: chat turns, asked through the model's template.
        answers: accepted right answers; empty where there is none.
        reference: a human text to compare with, None where there is none.
        use_case: name of the use case it belongs to; "prompt" for a lone one.
        checks: what its texts have to be; empty where nothing is checked.
    """

    text: str | None = None
    messages: tuple[Message, ...] = ()
    answers: tuple[str, ...] = ()
    reference: str | None = None
    use_case: str = "prompt"
    checks: tuple[Check, ...] = ()

    @property
    def chat(self) -> bool:
        """Whether it is asked through the model's template."""
        return bool(self.messages)

    @property
    def shown(self) -> str:
        """What a reader recognises the prompt by: its text, or the last user turn."""
        if self.text is not None:
            return self.text
        turns = [m.content for m in self.messages if m.role == "user"]
        return turns[-1] if turns else ""


@dataclass(frozen=True, slots=True)
class Request:
    """What decides one draw, together with the engine's fingerprint.

    Args:
        prompt: the input as the user gave it.
        prompt_ids: the input as fed to the model.
        params: the law.
        seed: integer, any.
        draw: number of the draw, from 0.
        max_tokens: new tokens at most, at least 1.
        min_tokens: the end-of-text token is barred before this many new tokens.
        stop: strings that end the text; they are not part of it.
    """

    prompt: Prompt
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    seed: int
    draw: int
    max_tokens: int
    min_tokens: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """One draw: text, token ids, log-probabilities, finish reason, and the request it answers.

    Args:
        request: what was asked.
        text: decoded, without special tokens, stop string and thinking.
        token_ids: every token drawn, a closing end-of-text token included.
        logprobs: ln p of each drawn token under the model itself (T = 1, no step), nats.
        finish_reason: ``eos``, ``stop`` (a stop string) or ``length`` (max_tokens).
        thinking: what a reasoning model thought before its text; empty otherwise.
    """

    request: Request
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    thinking: str = ""

    @property
    def content_ids(self) -> tuple[int, ...]:
        """The token ids without the closing end-of-text token."""
        return self.token_ids[:-1] if self.finish_reason == "eos" else self.token_ids


@dataclass(frozen=True, slots=True)
class Trial:
    """A Study's completions under one SamplingParams.

    Args:
        params: the settings, normalised.
        names: what else the settings are called: greedy, engine-default, vendor.
    """

    params: SamplingParams
    names: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The settings as users write them."""
        return self.params.label


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What decides a text besides the request; and, as provenance, what may change its last bits.

    Args:
        model: the model's name as the user wrote it (provenance).
        weights, tokenizer, template: SHA-256, hexadecimal.
        dtype: resolved, for example ``bfloat16``.
        path: the decode path, for example ``llama-inplace`` or ``stock``.
        provenance: device, threads, library versions; a change warns and is shown.
    """

    model: str
    weights: str
    tokenizer: str
    template: str
    dtype: str
    path: str
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def served(self) -> bool:
        """Whether a server drew by itself: its noise is not ours: what two settings share is not known."""
        return self.path.startswith("server/")

    @property
    def replay_note(self) -> str:
        """What a text may depend on besides its request; empty where that was verified to be nothing."""
        if self.provenance.get("replay") != "unverified":
            return ""
        if self.path.endswith("-logprobs"):
            return "replay: unverified. A server's last bits may depend on what else it is asked at the time."
        return "replay: unverified. On this device a text's last bits may depend on the batch it is drawn in."

    def deciding(self) -> dict[str, str]:
        """The fields that belong to a study's key."""
        kept = ("weights", "tokenizer", "template", "dtype", "path")
        return {name: getattr(self, name) for name in kept}


def request_key(fingerprint: Fingerprint, request: Request) -> str:
    """The content address of a draw: equal keys, equal texts.

    Args:
        fingerprint: of the engine.
        request: what is asked.

    Returns:
        A SHA-256, hexadecimal.
    """
    said = {
        "engine": fingerprint.deciding(),
        "prompt_ids": list(request.prompt_ids),
        "params": params_record(request.params),
        "seed": request.seed,
        "draw": request.draw,
        "max_tokens": request.max_tokens,
        "min_tokens": request.min_tokens,
        "stop": list(request.stop),
    }
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def params_record(params: SamplingParams) -> ParamsRecord:
    """Normalised settings as plain data: only what is on, and the dialect; a bias that bars a token is false."""
    lists = {name: _listed(value) for name, value in params.lists().items()}
    return {**params.active(), **lists, "dialect": params.dialect}


def _listed(value: Any) -> Any:
    """Tuples as lists of JSON, which has no infinity."""
    if isinstance(value, tuple):
        return [_listed(item) for item in value]
    return False if value == -math.inf else value


def prompt_record(prompt: Prompt) -> dict[str, object]:
    """A prompt as plain data, for the store and for JSON; without checks, as it was before there were any."""
    record = dataclasses.asdict(prompt)
    checks = [check.record() for check in prompt.checks]
    return {**record, "checks": checks} if checks else {n: v for n, v in record.items() if n != "checks"}
