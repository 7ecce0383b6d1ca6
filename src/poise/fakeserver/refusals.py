"""What rejections say, in each software's words."""

from __future__ import annotations

import math
from typing import Any

from poise.fakeserver.styles import Range, Style
from poise.servers.calls import FaultKind


class Refused(Exception):
    """A request that the server rejects.

    Args:
        status: of HTTP.
        told: the message.
        field: by its name on the wire; empty where it is about none.
        code: as the software names the mistake.
        kind: what a client makes of it.
    """

    def __init__(self, status: int, told: str, field: str = "", code: str = "", kind: FaultKind = "rejected") -> None:
        super().__init__(status, told, field, code, kind)
        self.status, self.told, self.field, self.code, self.kind = status, told, field, code, kind

    def body(self, style: Style, native: bool = False) -> dict[str, Any]:
        """The error as the software writes it.

        Args:
            style: the software.
            native: whether the request was of Ollama's own protocol.

        Returns:
            Plain data.
        """
        denied = self.kind == "denied" and not self.told.startswith("Incorrect")
        if style.kind == "ollama" and native:
            return {"error": self.told}
        if denied and style.kind == "vllm":
            return {"error": self.told}
        if denied and style.kind == "llama-cpp-python":
            return {"detail": self.told}
        if style.kind == "vllm":
            name = {400: "BadRequestError", 404: "NotFoundError", 429: "TooManyRequestsError"}.get(self.status)
            return {"error": {"message": self.told, "type": name or "InternalServerError", "param": self.field or None,
                              "code": self.status}}  # fmt: skip
        if style.kind == "llama.cpp":
            kind = self.code if self.kind in ("context", "denied") else _type_of(self.status)
            return {"error": {"code": self.status, "message": self.told, "type": kind}}
        param = None if style.kind == "ollama" else self.field or None
        code = None if style.kind == "ollama" else self.code or None
        return {"error": {"message": self.told, "type": _type_of(self.status), "param": param, "code": code}}


def unsupported(field: str) -> Refused:
    """A parameter that the model does not have, as OpenAI says it."""
    told = f"Unsupported parameter: '{field}' is not supported with this model."
    return Refused(400, told, field, "unsupported_parameter")


def unsupported_value(field: str, value: float, only: float) -> Refused:
    """A value that a reasoning model does not take, as OpenAI says it."""
    told = f"Unsupported value: '{field}' does not support {value:g} with this model."
    return Refused(400, f"{told} Only the default ({only:g}) value is supported.", field, "unsupported_value")


def unknown_field(field: str) -> Refused:
    """A field that the API does not have, as OpenAI says it."""
    return Refused(400, f"Unrecognized request argument supplied: {field}", field, "unknown_parameter")


def wrong_type(style: Style, field: str, wanted: str, got: object) -> Refused:
    """A value of another type.

    Args:
        style: the software.
        field: by its name on the wire.
        wanted: ``number``, ``integer``, ``string``, …
        got: the value.

    Returns:
        The refusal; llama-cpp-python answers with 500, as it does.
    """
    if style.kind == "llama.cpp":
        return Refused(400, f"Field '{field}': type must be {wanted}, but is {_json_type(got)}", field)
    if style.kind == "ollama":
        return Refused(400, f'option "{field}" must be of type {"float32" if wanted == "number" else wanted}', field)
    if style.kind == "openai":
        article = "an" if wanted[0] in "aeiou" else "a"
        told = f"Invalid type for '{field}': expected {article} {wanted}, but got {_json_type(got)} instead."
        return Refused(400, told, field, "invalid_type")
    message = f"1 validation error:\n  {{'loc': ('body', '{field}'), 'msg': 'Input should be a valid {wanted}', "
    message += f"'input': {got!r}}}"
    return Refused(500 if style.kind == "llama-cpp-python" else 400, message, field)


def out_of_range(style: Style, field: str, value: float, limits: Range) -> Refused:
    """A value outside of what the software takes."""
    if style.kind == "openai":
        below = value < limits.low
        told = f"Invalid '{field}': decimal {'below minimum' if below else 'above maximum'} value. Expected a value "
        told += f"{f'>= {limits.low:g}' if below else f'<= {limits.high:g}'}, but got {value:g} instead."
        return Refused(400, told, field, f"decimal_{'below_min' if below else 'above_max'}_value")
    if field == "top_k":
        told = f"top_k must be 0 (disable), or at least 1, got {value:g}."
    elif field == "temperature" and value < 0:
        told = f"temperature must be non-negative, got {value}."
    elif math.isinf(limits.high):
        told = f"{field} must be {'greater than' if limits.low_open else 'at least'} {limits.low:g}, got {value}."
    else:
        told = f"{field} must be in {'(' if limits.low_open else '['}{limits.low:g}, {limits.high:g}], got {value}."
    return Refused(500 if style.kind == "llama-cpp-python" else 400, told, field)


def too_long(style: Style, prompt: int, asked: int, context: int) -> Refused:
    """Prompt and text do not fit into the context.

    Args:
        style: the software.
        prompt: its tokens.
        asked: new tokens wanted.
        context: tokens that fit.

    Returns:
        The refusal.
    """
    code, total = "context_length_exceeded", prompt + asked
    if style.kind == "llama.cpp":
        told = f"request ({prompt} tokens) exceeds the available context size ({context} tokens), try increasing it"
        return Refused(400, told, "", "exceed_context_size_error", "context")
    if style.name == "ollama":
        return Refused(400, "the input length exceeds the context length", "", code, "context")
    told = f"This model's maximum context length is {context} tokens. However, you requested "
    if style.kind == "llama-cpp-python":
        told += f"{total} tokens ({prompt} in the messages, {asked} in the completion). "
        return Refused(
            400, told + "Please reduce the length of the messages or completion.", "messages", code, "context"
        )
    if style.kind == "openai":
        told = f"This model's maximum context length is {context} tokens. However, your messages resulted in "
        return Refused(400, f"{told}{prompt} tokens. Please reduce the length of the messages.", "messages", code,
                       "context")  # fmt: skip
    told += f"{asked} output tokens and your prompt contains at least {prompt} input tokens, for a total of at least "
    told += f"{total} tokens. Please reduce the length of the input prompt or the number of requested output tokens. "
    return Refused(400, f"{told}(parameter=input_tokens, value={prompt})", "input_tokens", code, "context")


def no_model(style: Style, name: str) -> Refused:
    """A model that is not there."""
    told = {
        "ollama": f"model '{name}' not found",
        "openai": f"The model `{name}` does not exist or you do not have access to it.",
    }.get(style.kind, f"The model `{name}` does not exist.")
    return Refused(404, told, "" if style.kind == "openai" else "model", "model_not_found", "absent")


def chat_only() -> Refused:
    """A text to continue, where the model answers chats alone."""
    told = "This is a chat model and not supported in the v1/completions endpoint. "
    return Refused(404, told + "Did you mean to use v1/chat/completions?", "model", "", "absent")


def wrong_key(style: Style, key: str, echoed: bool) -> Refused:
    """A key that is missing or another one.

    Args:
        style: the software.
        key: as it was sent; empty for none.
        echoed: whether the message repeats it.

    Returns:
        The refusal.
    """
    shown = key if echoed else f"{key[:3]}***{key[-4:]}" if len(key) > 11 else "***"
    if style.kind == "openai" or echoed:
        told = f"Incorrect API key provided: {shown}. You can find your API key in your account."
        return Refused(
            401, told if key or echoed else "You didn't provide an API key.", "", "invalid_api_key", "denied"
        )
    told = {"llama.cpp": "Invalid API Key", "llama-cpp-python": "Invalid API key"}.get(style.kind, "Unauthorized")
    return Refused(401, told, "", "authentication_error", "denied")


def _type_of(status: int) -> str:
    known = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 503: "unavailable_error"}
    return known.get(status, "invalid_request_error" if status < 500 else "server_error")


def _json_type(value: object) -> str:
    named = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return "null" if value is None else named.get(type(value), type(value).__name__)
