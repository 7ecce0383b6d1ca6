"""What a server is asked for: requests, tokens, money."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from poise.ledger import SweepSummary
from poise.numerals import count
from poise.records import Request
from poise.served import otherwise
from poise.servers.honours import Probe
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
        drawn = f"poise draws on the server: at most {steps} of one token, fewer where texts begin alike"
        return [drawn, *getattr(engine, "notes", ())]
    sent: Any = getattr(engine, "sent", None)
    asked = len(waiting)
    waiting = waiting if sent is None else list(sent(waiting))
    once = "" if len(waiting) == asked else "; at temperature 0 its texts repeat, and one request serves all draws"
    read = sum(len(r.prompt_ids) for r in waiting) // _BYTES
    most = sum(r.max_tokens for r in waiting)
    money = options.price(read, most)
    said = "" if money is None else f"; about {sum_of(money)} at most, by the prices given"
    notes = [
        f"the server is asked {count(len(waiting), 'time')}: about {count(read, 'token')} of prompts, at most "
        f"{count(most, 'token')} of texts{said}{once}"
    ]
    probe: Probe | None = getattr(engine, "probe", None)
    if probe is None:
        notes.append("before the first sweep a probe of at most 300 requests finds out what the server honours")
    return [*notes, *getattr(engine, "notes", ()), *otherwise(probe, {r.params for r in waiting})]


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
    money = price_of(summary, engine)
    again = f", {summary.retries:,} of them again" if summary.retries else ""
    said = "" if money is None else f"; {sum_of(money)} by the prices given"
    tokens = f"{count(summary.prompt_tokens, 'token')} of prompts, {count(summary.tokens, 'token')} of texts"
    return f"the server was asked {count(summary.requests, 'time')}{again}: {tokens}{said}"


def whole_cost(engine: Engine) -> str:
    """What a server on which poise draws was asked for since it was loaded; empty for other engines.

    Args:
        engine: any.

    Returns:
        One sentence.
    """
    spent: tuple[int, int, int] | None = getattr(engine, "spent", None)
    if spent is None:
        return ""
    sent, again, read = spent
    asked = SweepSummary(0, 0, 0, sent - again, 0.0, requests=sent, retries=again, prompt_tokens=read)
    return actual_cost(asked, engine)


def price_of(summary: SweepSummary, engine: Engine) -> float | None:
    """Money that a sweep cost.

    Args:
        summary: of the sweep.
        engine: that drew.

    Returns:
        Money in the unit of the prices; None where no prices were given, or no server was asked.
    """
    options: Any = getattr(engine, "options", None)
    return None if options is None else options.price(summary.prompt_tokens, summary.tokens)


def sum_of(money: float) -> str:
    """A sum of money, small ones to two digits that count.

    >>> sum_of(1234.5), sum_of(0.000426), sum_of(0)
    ('1,234.50', '0.00043', '0.00')
    """
    if money >= 1 or money <= 0:
        return f"{money:,.2f}"
    return f"{float(f'{money:.2g}'):.{max(2, 1 - math.floor(math.log10(money)))}f}"
