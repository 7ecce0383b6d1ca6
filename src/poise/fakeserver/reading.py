"""From the JSON of a request to a call, per protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from poise.fakeserver.refusals import Refused, chat_only, unsupported, wrong_type
from poise.fakeserver.styles import Style
from poise.records import Message
from poise.servers.calls import Call

# What the protocols themselves define; everything else is a field of the call.
PROTOCOL = frozenset({
    "model", "messages", "prompt", "max_tokens", "max_completion_tokens", "n_predict", "n", "n_cmpl", "seed", "stop",
    "logprobs", "top_logprobs", "n_probs", "stream", "stream_options", "chat_template_kwargs", "reasoning_effort",
    "return_token_ids", "return_tokens_as_token_ids", "return_tokens", "user", "cache_prompt", "echo",
    "logit_bias_type", "include_reasoning",
})  # fmt: skip
NOT_OPENAI = frozenset({
    "n_predict", "n_cmpl", "n_probs", "return_token_ids", "return_tokens_as_token_ids", "return_tokens", "cache_prompt",
    "chat_template_kwargs", "logit_bias_type", "include_reasoning",
})  # fmt: skip


class Asked(NamedTuple):
    """A call, and how its answer is to be written.

    Args:
        call: what is asked.
        ids: whether token ids come with the answer.
        named_by_id: whether log-probabilities name tokens ``token_id:N``.
        after: whether log-probabilities are probabilities after all steps, as llama-server's are on demand.
    """

    call: Call
    ids: bool = False
    named_by_id: bool = False
    after: bool = False


class Body:
    """The JSON of a request, read without trust.

    Args:
        data: anything.
        style: whose words a mistake is answered in.
    """

    def __init__(self, data: object, style: Style) -> None:
        if not isinstance(data, dict):
            raise Refused(400, "The body of a request must be a JSON object", "", "invalid_json")
        self.data: Mapping[str, Any] = data
        self.style = style

    def whole(self, *names: str) -> int | None:
        """The first of these fields that is sent: a whole number. Raises Refused."""
        for name in names:
            value = self.data.get(name)
            if value is not None:
                if isinstance(value, bool) or not isinstance(value, int):
                    raise wrong_type(self.style, name, "integer", value)
                return value
        return None

    def flag(self, name: str) -> bool:
        """A field that is true or false."""
        return self.data.get(name) is True

    def text(self, name: str) -> str:
        """A field that is a text. Raises Refused."""
        value = self.data.get(name)
        if not isinstance(value, str):
            raise wrong_type(self.style, name, "string", value)
        return value

    def stop(self) -> tuple[str, ...]:
        """Stop strings. Raises Refused."""
        value = self.data.get("stop")
        found = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(found, list) or not all(isinstance(s, str) for s in found):
            raise wrong_type(self.style, "stop", "string", value)
        if self.style.kind == "openai" and len(found) > 4:
            raise Refused(400, "Invalid 'stop': array too long. Expected an array with maximum length 4.", "stop",
                          "array_above_max_length")  # fmt: skip
        return tuple(s for s in found if s)

    def messages(self) -> tuple[Message, ...]:
        """Chat turns. Raises Refused."""
        found = self.data.get("messages")
        if not isinstance(found, list) or not found:
            raise wrong_type(self.style, "messages", "array", found)
        return tuple(self._message(one) for one in found)

    def _message(self, found: object) -> Message:
        content = found.get("content") if isinstance(found, dict) else None
        role = found.get("role") if isinstance(found, dict) else None
        if isinstance(content, list):
            content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        if not isinstance(role, str) or not isinstance(content, str):
            raise wrong_type(self.style, "messages", "object", found)
        return Message(role, content)

    def prompts(self) -> list[str | tuple[int, ...]]:
        """Texts, or token ids, to continue. Raises Refused."""
        found = self.data.get("prompt")
        many = found if isinstance(found, list) and found and not isinstance(found[0], int) else [found]
        return [self._prompt(one) for one in many]

    def _prompt(self, found: object) -> str | tuple[int, ...]:
        if isinstance(found, str):
            return found
        if isinstance(found, list) and all(isinstance(i, int) and not isinstance(i, bool) for i in found):
            return tuple(found)
        raise wrong_type(self.style, "prompt", "string", found)

    def fields(self) -> dict[str, Any]:
        """What is no part of the protocol."""
        known = PROTOCOL - NOT_OPENAI if self.style.strict else PROTOCOL
        return {name: value for name, value in self.data.items() if name not in known and value is not None}

    def thinking(self) -> bool | None:
        """Whether the model is asked to think; None where nothing is said."""
        kwargs = self.data.get("chat_template_kwargs")
        wanted = kwargs.get("enable_thinking") if isinstance(kwargs, dict) else None
        effort = self.data.get("reasoning_effort")
        return wanted if isinstance(wanted, bool) else None if effort is None else effort != "none"

    def most_tokens(self) -> int | None:
        """New tokens at most; None for no limit. Raises Refused."""
        if self.style.effort and self.data.get("max_tokens") is not None:
            refused = unsupported("max_tokens")
            refused.told += " Use 'max_completion_tokens' instead."
            raise refused
        native = ("n_predict",) if self.style.kind == "llama.cpp" else ()
        most = self.whole(*native, "max_completion_tokens", "max_tokens")
        unlimited = self.style.kind.startswith("llama") and most is not None and most <= 0
        return None if unlimited else most


def read_chat(data: object, style: Style) -> Asked:
    """A request of ``/v1/chat/completions``. Raises Refused."""
    body = Body(data, style)
    count = body.whole("top_logprobs")
    if body.flag("logprobs"):
        count = (20 if style.kind == "llama.cpp" else 0) if count is None else count
    elif count is not None and style.kind != "llama-cpp-python":
        raise Refused(400, "top_logprobs requires logprobs to be set to true", "top_logprobs", "invalid_value")
    else:
        count = None
    call = Call(messages=body.messages(), thinking=body.thinking(), **_shared(body, count))
    return _asked(body, call)


def read_text(data: object, style: Style) -> list[Asked]:
    """A request of ``/v1/completions``, one call for each prompt. Raises Refused."""
    body = Body(data, style)
    if not style.has_text:
        raise chat_only()
    count = body.whole("n_probs", "logprobs") if style.kind == "llama.cpp" else body.whole("logprobs")
    shared = _shared(body, None if style.kind == "llama.cpp" and count == 0 else count)
    made = [Call(text=p, **shared) if isinstance(p, str) else Call(ids=p, **shared) for p in body.prompts()]
    return [_asked(body, call) for call in made]


def read_ollama(data: object, style: Style, chat: bool) -> Asked:
    """A request of Ollama's ``/api/chat`` or ``/api/generate``. Raises Refused."""
    body = Body(data, style)
    given = body.data.get("options")
    options = Body({} if given is None else given, style)
    most, think = options.whole("num_predict"), body.data.get("think")
    fields = {n: v for n, v in options.data.items() if n in style.names.values() or n in style.extras}
    said: dict[str, Any] = {"messages": body.messages()} if chat else {}
    if not chat:
        text = body.text("prompt")
        said = {"text": text} if body.flag("raw") else {"messages": (Message("user", text),)}
    count = body.whole("top_logprobs") or 0
    if count > style.most_logprobs:
        raise Refused(400, "top_logprobs must be between 0 and 20", "top_logprobs")
    call = Call(
        **said, fields=fields, max_tokens=None if most is None or most < 1 else most, seed=options.whole("seed"),
        stop=options.stop(), logprobs=count if body.flag("logprobs") else None,
        thinking=think if isinstance(think, bool) else None,
    )  # fmt: skip
    return Asked(call)


def _shared(body: Body, logprobs: int | None) -> dict[str, Any]:
    if logprobs is not None and logprobs < 0:
        raise Refused(400, f"logprobs must be non-negative, got {logprobs}.", "logprobs", "invalid_value")
    if body.flag("stream"):
        raise Refused(400, "This fake server does not stream", "stream", "unsupported_parameter")
    many = body.whole("n", "n_cmpl")
    return {
        "fields": body.fields(), "max_tokens": body.most_tokens(), "n": 1 if many is None else many,
        "seed": body.whole("seed"), "stop": body.stop(), "logprobs": logprobs,
    }  # fmt: skip


def _asked(body: Body, call: Call) -> Asked:
    named, native = body.flag("return_tokens_as_token_ids"), body.flag("return_tokens")
    after = body.style.kind == "llama.cpp" and body.flag("post_sampling_probs")
    ids = native or (body.style.kind == "vllm" and body.flag("return_token_ids"))
    return Asked(call, ids, named, after)
