"""How each kind of server is spoken to: names, limits, paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from poise.servers.calls import Call, Kind

_PLAIN = {n: n for n in ("temperature", "top_p", "frequency_penalty", "presence_penalty")}
_WIDE = {**_PLAIN, "top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repetition_penalty"}
_LLAMA = {**_PLAIN, "top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repeat_penalty"}
_ANY_NUMBER = 1_000_000  # llama.cpp and SGLang give as many as there are tokens


class Way(NamedTuple):
    """An endpoint that turns text into token ids, or back.

    Args:
        path: below the server's root.
        given: the field that carries the text or the ids.
        answer: the field of the answer.
        special: the field that says whether a start token is wanted; empty where the server always adds its own.
        named: whether the model is named.
        more: what is sent besides.
    """

    path: str
    given: str
    answer: str
    special: str = ""
    named: bool = False
    more: Mapping[str, Any] = {}

    def body(self, model: str, given: str | list[Any], special: bool = False) -> dict[str, Any]:
        """What is sent."""
        return {
            self.given: given,
            **({self.special: special} if self.special else {}),
            **({"model": model} if self.named and model else {}),
            **self.more,
        }


class Manner(NamedTuple):
    """How one kind of server is spoken to.

    Args:
        names: of poise's parameters on the wire.
        most_logprobs: likeliest tokens that may be asked for.
        ids: whether prompts may be token ids; None where one request of one token has to find out.
        least_logprobs: below this many likeliest tokens there are no log-probabilities at all.
        token_ids: whether ids of the drawn tokens can be asked for.
        ids_as_tokens: whether ids can be asked for in place of tokens, where log-probabilities are returned.
        native: whether text is continued through llama-server's own endpoint.
        thinking: how thinking is switched.
        max_tokens: its name in chat.
        tokenize, detokenize: the endpoints, None where there are none.
        render: the one that shows messages as the template writes them, as text or as token ids.
    """

    names: Mapping[str, str]
    most_logprobs: int
    ids: bool | None
    least_logprobs: int = 0
    token_ids: bool = False
    ids_as_tokens: bool = False
    native: bool = False
    thinking: Literal["template", "effort"] = "template"
    max_tokens: str = "max_tokens"
    tokenize: Way | None = None
    detokenize: Way | None = None
    render: Way | None = None

    def body(self, call: Call) -> dict[str, Any]:
        """The fields of a call that the protocol has, but for model and prompt.

        Args:
            call: what is asked.

        Returns:
            What is sent; what the call leaves open is not in it.
        """
        chat = bool(call.messages)
        open_fields: dict[str, Any] = {
            self.max_tokens if chat else "max_tokens": call.max_tokens,
            "n": call.n if call.n > 1 else None,
            "seed": call.seed,
            "stop": list(call.stop) or None,
            **(self._logprobs(call.logprobs, chat) if call.logprobs is not None else {}),
            **(self._thought(call.thinking) if call.thinking is not None and chat else {}),
            "return_token_ids": True if self.token_ids else None,
        }
        return {**{k: v for k, v in open_fields.items() if v is not None}, **call.fields}

    def _logprobs(self, count: int, chat: bool) -> dict[str, Any]:
        count = max(count, self.least_logprobs)
        if chat:
            return {"logprobs": True, "top_logprobs": count}
        return {"logprobs": count, "return_tokens_as_token_ids": True if self.ids_as_tokens else None}

    def _thought(self, wanted: bool) -> dict[str, Any]:
        if self.thinking == "effort":
            return {"reasoning_effort": "medium" if wanted else "none"}
        return {"chat_template_kwargs": {"enable_thinking": wanted}}


MANNERS: Mapping[Kind, Manner] = {
    "vllm": Manner(
        _WIDE, 20, True, token_ids=True, ids_as_tokens=True,
        tokenize=Way("/tokenize", "prompt", "tokens", "add_special_tokens", named=True),
        detokenize=Way("/detokenize", "tokens", "prompt", named=True),
        render=Way("/tokenize", "messages", "tokens", named=True),
    ),
    "llama.cpp": Manner(
        {**_LLAMA, "typical_p": "typical_p"}, _ANY_NUMBER, True, least_logprobs=1, native=True,
        tokenize=Way("/tokenize", "content", "tokens", "add_special"),
        detokenize=Way("/detokenize", "tokens", "content"),
        render=Way("/apply-template", "messages", "prompt"),
    ),
    "llama-cpp-python": Manner(
        _LLAMA, _ANY_NUMBER, None,
        tokenize=Way("/extras/tokenize", "input", "tokens", named=True),
        detokenize=Way("/extras/detokenize", "tokens", "text", named=True),
    ),
    "sglang": Manner(
        _WIDE, _ANY_NUMBER, True, token_ids=True,
        tokenize=Way("/tokenize", "prompt", "tokens", "add_special_tokens", named=True),
        detokenize=Way("/detokenize", "tokens", "text", named=True, more={"skip_special_tokens": False}),
    ),
    "ollama": Manner(_PLAIN, 20, False),
    "openai": Manner(_PLAIN, 20, True, thinking="effort", max_tokens="max_completion_tokens"),
    "lm-studio": Manner({k: v for k, v in _LLAMA.items() if k != "min_p"}, 20, None),
    "unknown": Manner({**_WIDE, "typical_p": "typical_p"}, 20, None),
}  # fmt: skip
