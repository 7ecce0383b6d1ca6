"""Correctness: exact match with accepted answers, and empty outputs."""

from __future__ import annotations

import re
import unicodedata

from poise.metrics.context import Context
from poise.records import Completion

# What may surround an answer without changing it. Signs and currency stay: -5 is not 5.
_AROUND = " \t\n\r.,;:!?…\"'`´‘’“”«»()[]{}*_"


def exact_match(completion: Completion, context: Context) -> float | None:
    """1 where the text is one of the prompt's answers, both normalised; None without answers."""
    answers = completion.request.prompt.answers
    if not answers:
        return None
    return float(normalise_answer(completion.text) in {normalise_answer(a) for a in answers})


def normalise_answer(text: str) -> str:
    """What two equal answers have in common.

    Unicode compatibility form, case folded, runs of white space as one space, punctuation around it off.

    Args:
        text: an answer.

    Returns:
        Its normal form; may be empty.

    >>> normalise_answer("  **Forty-two**. "), normalise_answer("-5.0")
    ('forty-two', '-5.0')
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"\s+", " ", folded).strip(_AROUND)


def empty_output(completion: Completion, context: Context) -> float | None:
    """1 where the text is empty or white space, else 0."""
    return float(not completion.text.strip())
