"""Requests with the sampling fields inside: Ollama's API, SGLang's /generate."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from poise.errors import ParameterError, UsageError
from poise.exports.catalogue import TARGETS
from poise.exports.target import Form, Target
from poise.exports.writing import PROVENANCE


@dataclass(frozen=True, slots=True)
class _Wrapper:
    """Around the sampling fields.

    Args:
        inside: the field that holds them.
        form: the sheet that has their names.
        beside: fields beside it that shape no law.
        neutral: fields beside it that shape the law, off where they are null.
        bare: whether the fields may stand by themselves, without it.
    """

    inside: str
    form: Form
    beside: frozenset[str]
    neutral: frozenset[str] = frozenset()
    bare: bool = False


_WRAPPERS: Mapping[str, _Wrapper] = {
    # Ollama, api/types.go: GenerateRequest and ChatRequest.
    "ollama": _Wrapper(
        "options",
        "modelfile",
        frozenset({
            "model", "prompt", "messages", "suffix", "system", "template", "context", "stream", "raw", "format",
            "keep_alive", "images", "tools", "think", "logprobs", "top_logprobs", "truncate", "shift",
        }),
        bare=True,
    ),
    # SGLang, srt/managers/io_struct.py: GenerateReqInput.
    "sglang": _Wrapper(
        "sampling_params",
        "json",
        frozenset({
            "model", "text", "input_ids", "input_embeds", "image_data", "video_data", "audio_data", "rid",
            "return_logprob", "logprob_start_len", "top_logprobs_num", "token_ids_logprob", "return_text_in_logprobs",
            "stream", "log_metrics", "modalities", "lora_path", "session_params", "return_hidden_states", "background",
            "conversation_id", "priority", "extra_key",
        }),
        neutral=frozenset({"custom_logit_processor"}),
    ),
}  # fmt: skip


class Unwrapped(NamedTuple):
    """The sampling fields of a request.

    Args:
        target: whose request it is.
        form: the sheet that has their names.
        fields: their values.
        beside: the names of the other fields.
    """

    target: Target
    form: Form
    fields: Mapping[str, Any]
    beside: tuple[str, ...]


def unwrapped(fields: Mapping[str, Any], target: Target | None) -> Unwrapped | None:
    """The sampling fields of a request that has them in a field of their own.

    Args:
        fields: of the request.
        target: whose it is; None where the request says it.

    Returns:
        Them; None for a request of another kind.

    Raises:
        UsageError: that field holds no fields.
        ParameterError: a field beside it that may shape the law.

    >>> unwrapped({"model": "m", "options": {"temperature": 0.7}}, None).target.name
    'ollama'
    """
    for name, wrapper in _WRAPPERS.items():
        named = target is not None and target.name == name
        says = wrapper.inside in fields and PROVENANCE not in fields
        if (named and (says or wrapper.bare)) or (target is None and says):
            return _taken(fields, TARGETS[name], wrapper)
    return None


def _taken(fields: Mapping[str, Any], target: Target, wrapper: _Wrapper) -> Unwrapped:
    beside = tuple(name for name in fields if name in wrapper.beside)
    if wrapper.inside not in fields and not beside:
        return Unwrapped(target, wrapper.form, fields, ())
    inside = fields.get(wrapper.inside)
    if inside is not None and not isinstance(inside, dict):
        got = reprlib.repr(inside)
        raise UsageError(f"{wrapper.inside} holds sampling fields", got, 'For example {"temperature": 0.7}')
    for name, value in fields.items():
        off = name in wrapper.neutral and value is None
        if name not in beside and name != wrapper.inside and not off:
            raise ParameterError(
                f"{target.name} reads sampling fields in {wrapper.inside}, and poise has to know each field beside it",
                repr(name), f"Move it into {wrapper.inside}, or take it out",
            )  # fmt: skip
    return Unwrapped(target, wrapper.form, inside or {}, beside)
