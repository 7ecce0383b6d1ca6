"""Whether a wish to think, or not to, can reach a model."""

from __future__ import annotations

from typing import Any

from poise.engines.templates import SWITCH
from poise.errors import ModelError, PromptError
from poise.records import Message, Prompt
from poise.servers.calls import Wire

TURN = (Message("user", "a"),)


async def has_switch(wire: Wire) -> bool | None:
    """Whether the model's template reads the same messages otherwise with thinking on than off.

    Args:
        wire: to the server.

    Returns:
        Whether it does; None where the server does not show how it reads messages.

    Raises:
        Fault: it does not answer.
    """
    render: Any = getattr(wire, "render", None)
    if render is None:
        return None
    on, off = await render(TURN, True), await render(TURN, False)
    return None if on is None or off is None else bool(on != off)


def no_switch(model: str) -> ModelError:
    """The error for a template that reads the same either way."""
    return ModelError(
        f"Thinking is switched by a chat template that has {SWITCH}",
        f"{model}, whose template reads the same either way",
        "Leave --thinking out",
    )  # fmt: skip


def check_prompt(prompt: Prompt, thinking: bool | None) -> None:
    """Refuse a switch that a prompt cannot carry.

    Args:
        prompt: text or messages.
        thinking: see `ServerOptions`.

    Raises:
        PromptError: it is continued as text, and the switch is part of a template.
    """
    if thinking is not None and not prompt.chat:
        raise PromptError(
            "Thinking is switched by a chat template, and this prompt is continued as text", repr(prompt.shown[:60]),
            "Ask with --chat, or leave --thinking out",
        )  # fmt: skip
