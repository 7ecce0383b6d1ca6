"""llama-server's own endpoint, which says more than OpenAI's."""

from __future__ import annotations

from typing import Any

from poise.servers.answers import Reader, count_of, ids_of
from poise.servers.calls import Answer, Call, Choice, Fault

_FINISH = {"eos": "eos", "word": "stop", "limit": "length"}


def native_body(call: Call) -> dict[str, Any]:
    """What ``/completion`` is sent for a text or token ids.

    Args:
        call: with one text wanted.

    Returns:
        Plain data.
    """
    open_fields: dict[str, Any] = {
        "prompt": list(call.ids) if call.ids is not None else call.text,
        "n_predict": call.max_tokens,
        "seed": call.seed,
        "stop": list(call.stop) or None,
        "n_probs": max(1, call.logprobs) if call.logprobs is not None else None,
        "return_tokens": True,
    }
    return {**{k: v for k, v in open_fields.items() if v is not None}, **call.fields}


def native_answer(data: object, reader: Reader) -> Answer:
    """What came back.

    Args:
        data: plain data, from anybody.
        reader: of its parts.

    Returns:
        The answer.

    Raises:
        Fault: ``malformed``, where it is none.
    """
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    if not isinstance(data, dict) or not isinstance(data.get("content"), str):
        raise Fault("malformed", "an answer without content")
    found = data.get("completion_probabilities")
    listed = found if isinstance(found, list) else []
    finish = data.get("stop_type")
    choice = Choice(
        reader.text(data["content"]),
        finish=_FINISH.get(finish, finish) if isinstance(finish, str) else "unknown",
        positions=tuple(reader.position(one) for one in listed if isinstance(one, dict)),
        token_ids=ids_of(data.get("tokens")),
    )
    return Answer(
        (choice,), reader.text(data.get("model")), "", count_of(data.get("tokens_evaluated")),
        count_of(data.get("tokens_predicted")), reader.seconds,
    )  # fmt: skip
