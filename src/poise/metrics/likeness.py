"""Likeness: words in common with the reference text."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter

from poise.metrics.context import Context
from poise.records import Completion

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def reference_f1(completion: Completion, context: Context) -> float | None:
    """Harmonic mean of the shares of words that text and reference have in common; None without a reference."""
    reference = completion.request.prompt.reference
    wanted = _words(reference) if reference else None
    if not wanted:
        return None
    found = _words(completion.text)
    common = sum((wanted & found).values())
    return 2 * common / (sum(wanted.values()) + sum(found.values()))


def _words(text: str) -> Counter[str]:
    """Words without case, punctuation and English articles, each as often as it occurs."""
    lower = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(c for c in lower if c not in string.punctuation and not unicodedata.category(c).startswith("P"))
    return Counter(_ARTICLES.sub(" ", kept).split())
