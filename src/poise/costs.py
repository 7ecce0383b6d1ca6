"""What a server is asked for: requests, tokens, money."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from poise.ledger import SweepSummary
from poise.numerals import count
from poise.records import Request
from poise.sessions import Engine

_BYTES = 4  # of a token, in prose of European languages


def expected_cost(engine: Engine, waiting: Sequence[Request]) -> list[str]:
    """What drawing will take of a server, as notes of a plan; nothing for an engine on this machine.

    Args:
        engine: that will draw.
        waiting: requests that it will be asked.

    Returns:
        Notes. Tokens of prompts are an estimate of a quarter of their bytes, those of texts a ceiling.
    """
    options: Any = getattr(engine, "options", None)
    if options is None or not waiting:
        return []
    if engine.draws_by == "poise":
        steps = count(sum(r.max_tokens for r in waiting), "request")
        return [f"poise draws on the server: at most {steps} of one token, fewer where texts begin alike"]
    read = sum(len(r.prompt_ids) for r in waiting) // _BYTES
    most = sum(r.max_tokens for r in waiting)
    money = options.price(read, most)
    said = "" if money is None else f"; about {money:,.2f} at most, by the prices given"
    notes = [
        f"the server is asked {count(len(waiting), 'time')}: about {count(read, 'token')} of prompts, at most "
        f"{count(most, 'token')} of texts{said}"
    ]
    if getattr(engine, "probe", None) is None:
        notes.append("before the first sweep a probe of at most 300 requests finds out what the server honours")
    return [*notes, *getattr(engine, "notes", ())]


def actual_cost(summary: SweepSummary, engine: Engine) -> str:
    """What a server was asked for in one sweep; empty where there was none.

    Args:
        summary: of the sweep.
        engine: that drew; its prices are used where they were given.

    Returns:
        One sentence.

    >>> from poise.engines import load
    >>> actual_cost(SweepSummary(2, 0, 0, 40, 1.0, requests=3, retries=1, prompt_tokens=20), load("fake"))
    'the server was asked 3 times, 1 of them again: 20 tokens of prompts, 40 tokens of texts'
    """
    if not summary.requests:
        return ""
    options: Any = getattr(engine, "options", None)
    money = None if options is None else options.price(summary.prompt_tokens, summary.tokens)
    again = f", {summary.retries:,} of them again" if summary.retries else ""
    said = "" if money is None else f"; {money:,.2f} by the prices given"
    tokens = f"{count(summary.prompt_tokens, 'token')} of prompts, {count(summary.tokens, 'token')} of texts"
    return f"the server was asked {count(summary.requests, 'time')}{again}: {tokens}{said}"
