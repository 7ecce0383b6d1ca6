"""Listed ideas: how many different ones a text has."""

from __future__ import annotations

import re
import unicodedata

from poise.metrics.context import Context
from poise.records import Completion

SHORTEST, LONGEST = 2, 30  # words of an idea: one word is a heading, more are a paragraph
_MARK = re.compile(r"(\s*)(?:(?:[-*+•‣▪–—]|\(?\d{1,3}[.):])\s+)+")  # small models write "2. 2. Use a glass"
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def distinct_ideas(completion: Completion, context: Context) -> float | None:
    """How many different ideas a text lists.

    Where a text has bullets or numbers, the items that are least indented are its ideas; elsewhere its lines, but
    for those that end in a colon. The last line of a text that was cut off is no idea.
    """
    lines = completion.text.splitlines()
    if completion.finish_reason == "length":
        lines = lines[:-1]
    ideas = (_words(idea) for idea in _listed(lines))
    return float(len({idea for idea in ideas if SHORTEST <= len(idea) <= LONGEST}))


def _listed(lines: list[str]) -> list[str]:
    marks = [(mark, line) for line in lines if (mark := _MARK.match(line))]
    if marks:
        least = min(len(mark[1].expandtabs()) for mark, _ in marks)
        return [line[mark.end() :] for mark, line in marks if len(mark[1].expandtabs()) == least]
    return [line for line in lines if not line.rstrip(" *_").endswith(":")]


def _words(idea: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", idea).casefold()))
