"""Lengths: tokens drawn, and what ended the text."""

from __future__ import annotations

from poise.metrics.context import Context
from poise.records import Completion


def length(completion: Completion, context: Context) -> float | None:
    """Tokens, without the closing end-of-text token."""
    return float(len(completion.content_ids)) if completion.token_ids else None


def finish_eos(completion: Completion, context: Context) -> float | None:
    """1 where the model ended the text, else 0."""
    return float(completion.finish_reason == "eos")


def finish_stop(completion: Completion, context: Context) -> float | None:
    """1 where a stop string ended the text, else 0."""
    return float(completion.finish_reason == "stop")


def finish_length(completion: Completion, context: Context) -> float | None:
    """1 where max_tokens cut the text off, else 0."""
    return float(completion.finish_reason == "length")
