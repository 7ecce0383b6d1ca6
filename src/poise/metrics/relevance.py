"""Relevance: closeness to the own prompt, above other prompts."""

from __future__ import annotations

from poise.metrics.context import Context
from poise.records import Completion


def relevance(completion: Completion, context: Context) -> float | None:
    """Cosine of text and prompt, minus its mean over the use case's other prompts.

    The baseline takes away what any text and any prompt share. Copying the prompt maximises the rest:
    read it together with the repetition metrics.
    """
    prompts, own = context.prompt_vectors(), completion.request.prompt.shown
    if own not in prompts.shown or len(prompts.shown) < 2:
        return None
    text, mine = context.vectors.of(completion.text), context.vectors.of(own)
    if text is None or mine is None:
        return None
    others = (prompts.total - mine) / (len(prompts.shown) - 1)
    return float(text @ mine - text @ others)
