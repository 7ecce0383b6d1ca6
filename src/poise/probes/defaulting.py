"""What an empty request gets."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from poise.probes.desk import Desk, Spent
from poise.probes.draws import Draws, joined
from poise.probes.fits import AGAINST, ALPHA, BETA, Book, log_mean
from poise.probes.fitting import Params, established, fit, laws, variants
from poise.probes.plainly import drawn
from poise.probes.plan import PENALTIES, laws_of, rivals_of
from poise.probes.shaping import Findings
from poise.probes.trying import Question, settle
from poise.probes.words import finding
from poise.servers.honours import Finding
from poise.servers.usual import published

PLACES, MORE = 240, 3  # drawn tokens of one look, and looks at most
ROUNDS = 4  # of texts, for one parameter alone


class Defaults(NamedTuple):
    """What was found: the finding, and the values that could be established."""

    finding: Finding
    values: dict[str, float]


async def try_defaults(desk: Desk, known: Findings) -> Defaults:
    """Send nothing, and see what that is drawn with.

    Args:
        desk: the server.
        known: the order of its steps, and its own words.

    Returns:
        What was found.

    Raises:
        Fault: the server is not there.
        Spent: no more requests may be made.
    """
    before, expected = desk.cost, published(desk.about)
    parts: list[Draws] = []
    found, values, holds = expected, dict[str, float](), True
    for _ in range(MORE):
        parts.append(await drawn(desk, known, PLACES, tuple(desk.wire.names)))
        book = Book(joined(parts), desk.copies)
        holds = not departs(book, expected, known)
        found = expected if holds else fit(book, fit(book, expected, known.orders), known.orders)
        values = established(book, found, known.orders, expected if holds else {})
        if len(values) >= len(desk.wire.names):
            break
    if holds:
        values |= await _told_alone(desk, known, {n: v for n, v in expected.items() if n not in values})
    cost, places = desk.cost.since(before), sum(p.places for p in parts)
    shown, wanted = said(found), said(expected)
    if holds:
        evidence = f"{places} tokens of empty requests are as likely under {shown} as they should be"
        told = finding("defaults", "honoured", cost, evidence=evidence, false_alarm=ALPHA, power=1 - BETA)
        return Defaults(told, values)
    nats = book.nats(laws(found, known.orders), laws(expected, known.orders))
    evidence = f"{places} tokens of empty requests are e^{nats:.0f} times as likely under {shown} as under {wanted}"
    how = f"an empty request is drawn with {shown}"
    told = finding(
        "defaults", "honoured otherwise", cost, how=how, evidence=evidence, false_alarm=ALPHA, power=1 - BETA
    )
    return Defaults(told, values)


async def _told_alone(desk: Desk, known: Findings, expected: Params) -> Params:
    """The values that hold where one parameter alone is not sent, as far as the budget goes."""
    values: Params = {}
    with suppress(Spent):
        for name, value in expected.items():
            if desk.can(name) and await _alone(desk, known, name, value):
                values[name] = value
    return values


async def _alone(desk: Desk, known: Findings, name: str, value: float) -> bool:
    """Whether a parameter that alone is not sent has the value that is expected: beside others it may hardly show."""
    without = {n: v for n, v in known.base.items() if n != name}
    honest = laws_of({**without, name: value}, *known.orders)
    rivals = rivals_of(name, value, without, *known.orders)
    own = known.own if name in PENALTIES else ()
    ask = Question("", value, {}, honest, rivals, rounds=ROUNDS, prompts=own, leave_out=(name,))
    return (await settle(desk, ask)).verdict == "as asked"


def departs(book: Book, expected: Params, known: Findings) -> bool:
    """Whether some other setting explains the draws far better."""
    mine = laws(expected, known.orders)
    others = [laws(p, known.orders) for _, p in variants(expected)]
    if expected:
        others.append(laws({}, known.orders))
    return log_mean([book.matched(other, mine) for other in others]) >= AGAINST


def said(params: Params) -> str:
    """Settings in words.

    >>> said({"temperature": 0.7, "top_p": 0.8})
    'temperature 0.7 and top_p 0.8'
    """
    shown = [f"{n} {v:g}" for n, v in params.items()]
    if not shown:
        return "temperature 1 and nothing else"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
