"""Chat templates: programs of the model's maker, run in a sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

import jinja2
import jinja2.sandbox

from poise.errors import PromptError
from poise.records import Message

THINK = ("<think>", "</think>")
SWITCH = "enable_thinking"  # as Qwen3 named it, and others since
# What an operation inside a template raises when a message is not what it was written for.
_SLIPS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def render(
    template: str, messages: Sequence[Message], tokens: Mapping[str, str], thinking: bool | None = None
) -> str:  # fmt: skip
    """Messages through a chat template, up to where the model answers.

    Args:
        template: a Jinja program; it runs in Jinja's immutable sandbox.
        messages: the turns.
        tokens: what the template may name: ``bos_token``, ``eos_token``, …
        thinking: sets the template's switch; None leaves it to the template.

    Returns:
        The text that the model is fed.

    Raises:
        PromptError: the template does not take these messages, or is no template.
    """
    box = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    box.globals["raise_exception"] = _refuse
    turns = [{"role": m.role, "content": m.content} for m in messages]
    more = {} if thinking is None else {"enable_thinking": thinking}
    try:
        return box.from_string(template).render(messages=turns, add_generation_prompt=True, **tokens, **more)
    except (jinja2.TemplateError, *_SLIPS) as error:
        raise PromptError(
            "The model's chat template must accept the messages", str(error), "Check the roles, or ask with --text"
        ) from error


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
