"""Requests as a server is asked them, and its answers as completions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from poise import codec
from poise.records import Completion, FinishReason, Prompt, Request
from poise.servers.calls import Answer, Call, Choice, Fault

_SEEDS = 2**31 - 1  # from 1: a seed of 0 is none to some servers, and 31 bits fit all
_ENDS: Mapping[str, FinishReason] = {"stop": "stop", "length": "length"}  # anything else is an end of the model's own
_NO_TEXT = ("load", "unload")  # what Ollama says when it only loaded the model


class Manners(NamedTuple):
    """What is the same in every call to one server.

    Args:
        names: of poise's parameters on the wire.
        min_tokens: its name on the wire; empty where the server has none.
        logprobs: whether log-probabilities are asked for: only raw ones are of use.
        thinking: see `ServerOptions`.
    """

    names: Mapping[str, str]
    min_tokens: str = ""
    logprobs: bool = False
    thinking: bool | None = None


def pseudo_ids(prompt: Prompt, thinking: bool | None) -> tuple[int, ...]:
    """Numbers that identify what is asked, in place of token ids, which a server keeps to itself.

    Args:
        prompt: text or messages.
        thinking: see `ServerOptions`.

    Returns:
        The bytes of canonical JSON, 0 to 255.

    >>> bytes(pseudo_ids(Prompt("hi"), None)).decode()
    '{"text":"hi"}'
    """
    said: dict[str, object] = (
        {"messages": [[m.role, m.content] for m in prompt.messages]} if prompt.chat else {"text": prompt.text}
    )
    return tuple(codec.canonical(said if thinking is None else {**said, "thinking": thinking}).encode())


def seed_of(request: Request) -> int:
    """The seed of one draw: another for every draw, the same whenever it is drawn again.

    Args:
        request: seed, prompt and draw decide, settings do not. What a server makes of one seed under two settings is
            its own business: some give the same text at two temperatures.

    Returns:
        1 to 2³¹ - 1.
    """
    said = codec.canonical([request.seed, request.prompt_ids, request.draw])
    return 1 + int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "little") % _SEEDS


def gathered(requests: Sequence[Request], repeats: bool) -> dict[Request, list[Request]]:
    """Requests that need an exchange of their own, and those that the same text answers.

    Args:
        requests: what is asked.
        repeats: whether the server gives the same text every time at temperature 0.

    Returns:
        By the request that is sent: all that it answers, itself first.
    """
    found: dict[tuple[bool, Request], list[Request]] = {}
    for request in requests:
        alike = repeats and request.params.greedy
        key = replace(request, seed=0, draw=0) if alike else request
        found.setdefault((alike, key), []).append(request)
    return {group[0]: group for group in found.values()}


def call_of(request: Request, manners: Manners) -> Call:
    """A request as it is sent: one text each; what is off is left to `servers.neutral`.

    Args:
        request: what is asked.
        manners: of the server.

    Returns:
        The call.
    """
    fields = {manners.names[n]: v for n, v in request.params.active().items()}
    if request.min_tokens:
        fields[manners.min_tokens] = request.min_tokens
    return Call(
        messages=request.prompt.messages, text=None if request.prompt.chat else request.prompt.text, fields=fields,
        max_tokens=request.max_tokens, seed=seed_of(request), stop=request.stop,
        logprobs=0 if manners.logprobs else None, thinking=manners.thinking,
    )  # fmt: skip


def check_answer(call: Call, answer: Answer) -> None:
    """See that an answer is one.

    Args:
        call: that was asked.
        answer: that came.

    Raises:
        Fault: ``malformed``: another number of texts, or none was drawn.
    """
    if len(answer.choices) != call.n:
        raise Fault("malformed", f"{len(answer.choices)} texts where {call.n} was asked for")
    if any(choice.finish in _NO_TEXT for choice in answer.choices):
        raise Fault("malformed", "the model was loaded, and nothing drawn")


def completion_of(request: Request, answer: Answer, logprobs: bool) -> Completion:
    """A completion as metrics read it.

    A refusal is a text like any other, ended by the model. Token ids and log-probabilities are kept where they are
    whole: where there are as many as the server counted. A text ends before the first stop string in it, whatever the
    server did with that.

    Args:
        request: what was asked.
        answer: with one choice.
        logprobs: whether its log-probabilities are the model's own.

    Returns:
        The completion.
    """
    [choice] = answer.choices
    if choice.refusal:
        return Completion(request, choice.refusal, (), (), "eos", choice.thinking)
    text, rest = parted(choice.text, request.stop)
    if rest and rest not in request.stop:  # it went on: which of its tokens are those of the text is not known
        return Completion(request, text, (), (), "stop", choice.thinking)
    ids = choice.token_ids if answer.new_tokens in (None, len(choice.token_ids)) else ()
    found = tuple(p.drawn.logprob for p in choice.positions) if logprobs else ()
    finish = "stop" if rest else _finish(choice, answer, request)
    return Completion(request, text, ids, found if _whole(found, ids, answer, finish) else (), finish, choice.thinking)


def parted(text: str, stops: Sequence[str]) -> tuple[str, str]:
    """A text up to the first stop string in it, and the rest from there on.

    >>> parted("the ship sailed", ["sailed", "ship"])
    ('the ', 'ship sailed')
    """
    at = min((i for stop in stops if (i := text.find(stop)) >= 0), default=len(text))
    return text[:at], text[at:]


def _finish(choice: Choice, answer: Answer, request: Request) -> FinishReason:
    if choice.finish == "unknown" and (answer.new_tokens or 0) >= request.max_tokens:
        return "length"
    return _ENDS.get(choice.finish, "eos")


def _whole(found: tuple[float, ...], ids: tuple[int, ...], answer: Answer, finish: FinishReason) -> bool:
    """Whether every token has its log-probability; the closing one may lack it, where no ids say which it is."""
    if ids:
        return len(found) == len(ids)
    return answer.new_tokens is None or answer.new_tokens - len(found) in ((0, 1) if finish == "eos" else (0,))
