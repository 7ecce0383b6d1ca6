"""Answers as each software writes them."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

from poise.fakeserver.drawing import Drawn
from poise.fakeserver.reading import Asked
from poise.fakeserver.server import Told
from poise.fakeserver.styles import Style
from poise.servers.calls import Likely, Position

Json = dict[str, Any]
LOWEST = -3.4028234663852886e38  # what llama.cpp writes for the logarithm of nothing


def chat_answer(style: Style, asked: Asked, told: Told, number: int) -> Json:
    """An answer of ``/v1/chat/completions``.

    Args:
        style: the software.
        asked: the request.
        told: the texts.
        number: of the answer, for its name.

    Returns:
        Plain data.
    """
    choices = [_chat_choice(style, asked, told, i) for i in range(len(told.drawn))]
    return {"id": f"chatcmpl-{number}", "object": "chat.completion", **_shared(style, [told]), "choices": choices}


def text_answer(style: Style, asked: Sequence[Asked], told: Sequence[Told], number: int) -> Json:
    """An answer of ``/v1/completions``, of one or several prompts; see `chat_answer`."""
    choices: list[Json] = []
    for one, answer in zip(asked, told, strict=True):
        for i, drawn in enumerate(answer.drawn):
            positions = _positions(style, answer, i)
            choice: Json = {
                "index": len(choices),
                "text": drawn.text,
                "finish_reason": _finish(drawn),
                "logprobs": None,
            }
            if positions is not None and style.kind == "llama.cpp":
                choice["logprobs"] = {"content": [_entry(style, one, p) for p in positions]}
            elif positions is not None:
                choice["logprobs"] = _legacy(style, one, positions)
            choices.append({**choice, **_extras(style, one, answer, drawn)})
    return {"id": f"cmpl-{number}", "object": "text_completion", **_shared(style, told), "choices": choices}


def native_answer(style: Style, asked: Asked, told: Told) -> Json:
    """An answer of llama-server's ``/completion``; see `chat_answer`."""
    drawn = told.drawn[0]
    answer: Json = {
        "index": 0, "content": drawn.text, "tokens": list(drawn.ids) if asked.ids else [], "id_slot": 0, "stop": True,
        "model": told.model, "tokens_predicted": len(drawn.ids), "tokens_evaluated": len(told.prompt),
        "has_new_line": False, "truncated": False,
        "stop_type": {"eos": "eos", "stop": "word", "length": "limit"}[drawn.finish],
        "stopping_word": drawn.met or "", "tokens_cached": len(told.prompt) + len(drawn.ids) - 1,
    }  # fmt: skip
    positions = _positions(style, told, 0)
    if positions is not None:
        answer["completion_probabilities"] = [_entry(style, asked, p) for p in positions]
    return answer


def ollama_answer(style: Style, told: Told, chat: bool) -> Json:
    """An answer of Ollama's ``/api/chat`` or ``/api/generate``.

    Args:
        style: the software.
        told: the text.
        chat: whether it was asked as a chat.

    Returns:
        Plain data.
    """
    drawn, thought = told.drawn[0], {"thinking": told.drawn[0].thought} if told.drawn[0].thought else {}
    said: Json = {"response": drawn.text, **thought}
    if chat:
        said = {"message": {"role": "assistant", "content": drawn.text, **thought}}
    positions = _positions(style, told, 0)
    more = {} if positions is None else {"logprobs": [_plain(p) for p in positions]}
    return {
        "model": told.model, "created_at": time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime()), **said,
        "done": True, "done_reason": "length" if drawn.finish == "length" else "stop", **more,
        "total_duration": 1_000_000, "load_duration": 1_000, "prompt_eval_count": len(told.prompt),
        "prompt_eval_duration": 1_000, "eval_count": len(drawn.ids), "eval_duration": 1_000_000,
    }  # fmt: skip


def _shared(style: Style, told: Sequence[Told]) -> Json:
    prompt, new = sum(len(t.prompt) for t in told), sum(t.new_tokens for t in told)
    usage: Json = {"prompt_tokens": prompt, "total_tokens": prompt + new, "completion_tokens": new}
    if style.kind == "openai":
        thought = sum(_thought_tokens(d) for t in told for d in t.drawn) if style.effort else 0
        usage["completion_tokens_details"] = {"reasoning_tokens": thought}
    shared: Json = {"created": int(time.time()), "model": told[0].model, "usage": usage}
    return {**shared, "system_fingerprint": told[0].system or None} if style.kind != "llama-cpp-python" else shared


def _chat_choice(style: Style, asked: Asked, told: Told, i: int) -> Json:
    drawn, positions = told.drawn[i], _positions(style, told, i)
    message: Json = {"role": "assistant", "content": drawn.text}
    if style.kind == "vllm":
        message |= {"refusal": None, "reasoning": drawn.thought or None}
        message["content"] = drawn.text if drawn.text or not drawn.thought else None
    elif style.kind == "openai":
        message |= {"refusal": None, "annotations": []}
    elif drawn.thought:
        message["reasoning" if style.kind == "ollama" else "reasoning_content"] = drawn.thought
    entries = None if positions is None else {"content": [_entry(style, asked, p) for p in positions]}
    choice: Json = {"index": i, "message": message, "finish_reason": _finish(drawn), "logprobs": entries}
    return {**choice, **_extras(style, asked, told, drawn)}


def _extras(style: Style, asked: Asked, told: Told, drawn: Drawn) -> Json:
    """What vLLM says of a choice beyond the protocol."""
    if style.kind != "vllm":
        return {}
    ids = {"token_ids": list(drawn.ids), "prompt_token_ids": list(told.prompt)} if asked.ids else {}
    return {"stop_reason": drawn.met, "token_ids": None, **ids}


def _finish(drawn: Drawn) -> str:
    return "length" if drawn.finish == "length" else "stop"


def _positions(style: Style, told: Told, i: int) -> tuple[Position, ...] | None:
    return told.positions[i][: len(told.drawn[i].shown(style))] if told.positions else None


def _entry(style: Style, asked: Asked, position: Position) -> Json:
    """A drawn token with the likeliest ones, as chat writes it."""
    name = "top_probs" if asked.after else "top_logprobs"
    kept = [one for one in position.likeliest if not asked.after or one.logprob > -9999]
    return {**_one(style, asked, position.drawn), name: [_one(style, asked, one) for one in kept]}


def _one(style: Style, asked: Asked, likely: Likely) -> Json:
    token = _token(asked, likely)
    raw = None if style.kind == "llama-cpp-python" else list(likely.token.encode())
    if style.kind != "llama.cpp":
        return {"token": token, "logprob": likely.logprob, "bytes": raw}
    value = {"prob": math.exp(likely.logprob)} if asked.after else {"logprob": max(likely.logprob, LOWEST)}
    return {"id": likely.id, "token": token, "bytes": raw, **value}


def _legacy(style: Style, asked: Asked, positions: tuple[Position, ...]) -> Json:
    """Parallel lists, as completions write them; the drawn token is always among the likeliest."""
    tokens = [_token(asked, p.drawn) for p in positions]
    starts = [0, *itertools.accumulate(map(len, tokens[:-1]))] if tokens else []
    return {
        "tokens": tokens, "token_logprobs": [p.drawn.logprob for p in positions], "text_offset": starts,
        "top_logprobs": [
            {_token(asked, one): one.logprob for one in (*p.likeliest, p.drawn)} for p in positions
        ],
    }  # fmt: skip


def _plain(position: Position) -> Json:
    entries = [
        {"token": one.token, "logprob": one.logprob, "bytes": list(one.token.encode())}
        for one in (position.drawn, *position.likeliest)
    ]
    return {**entries[0], "top_logprobs": entries[1:]} if position.likeliest else entries[0]


def _token(asked: Asked, likely: Likely) -> str:
    return f"token_id:{likely.id}" if asked.named_by_id and likely.id is not None else likely.token


def _thought_tokens(drawn: Drawn) -> int:
    return len(drawn.thought.split())
