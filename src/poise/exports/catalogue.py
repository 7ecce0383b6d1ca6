"""Every target that settings can be exported to."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from poise.errors import UsageError
from poise.exports.library_like import MLX, TRANSFORMERS
from poise.exports.llama_like import GGUF, LLAMA_CPP, LLAMA_SERVER, OLLAMA
from poise.exports.openai_like import OPENAI, SGLANG, VLLM, VLLM_SERVER
from poise.exports.target import Form, Target

TARGETS: Mapping[str, Target] = {
    t.name: t for t in (TRANSFORMERS, VLLM, VLLM_SERVER, SGLANG, LLAMA_CPP, LLAMA_SERVER, OLLAMA, MLX, OPENAI, GGUF)
}


def find_target(name: object, what: str = "A target") -> Target:
    """A target by name.

    Args:
        name: as `--to` takes it.
        what: it is called in an error.

    Returns:
        The target.

    Raises:
        UsageError: no such target; the nearest is suggested.
    """
    if isinstance(name, str) and name in TARGETS:
        return TARGETS[name]
    near = difflib.get_close_matches(str(name), TARGETS, n=1)
    hint = f"Did you mean {near[0]}?" if near else "For example vllm"
    raise UsageError(f"{what} is one of {', '.join(TARGETS)}", repr(name), hint)


def find_form(target: Target, form: str | None) -> Form:
    """A way of writing settings for a target.

    Args:
        target: for whom.
        form: a key of its sheets; None for the usual one.

    Returns:
        The key.

    Raises:
        UsageError: it is not written so.
    """
    for known in target.sheets:
        if form in (None, known):
            return known
    rule = f"Settings for {target.name} are written as {' or '.join(target.sheets)}"
    raise UsageError(rule, repr(form), "Leave --form out for the first")
