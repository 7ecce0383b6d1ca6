"""What an empty request gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from poise.params import PARAMETERS
from poise.probes.desk import Desk, Spent
from poise.probes.draws import Draws, joined
from poise.probes.fits import AGAINST, ALPHA, BETA, FOR, RIVALRY, Book, log_mean
from poise.probes.fitting import Params, established, fit, laws, variants
from poise.probes.guesses import Guess, guesses
from poise.probes.odds import Odds
from poise.probes.plainly import drawn
from poise.probes.plan import PENALTIES, laws_of, rivals_of
from poise.probes.shaping import Findings
from poise.probes.trying import Question, settle
from poise.probes.words import finding
from poise.servers.honours import Finding
from poise.servers.usual import published

PLACES, MORE, MOST = 240, 3, 6  # drawn tokens of one look; looks at most, and where several readings are left
ROUNDS = 4  # of texts, for one parameter alone


class Defaults(NamedTuple):
    """What was found: the finding, the values that could be established, and all of them where they are known."""

    finding: Finding
    values: dict[str, float]
    exact: Params | None = None


class _Look(NamedTuple):
    """What the draws so far say.

    Args:
        holds: whether they are as likely as they should be under what is published, or else under nothing.
        exact: the settings that explain them, where no other known ones do as well.
        whose: who publishes these; empty where nobody does for this model.
        torn: whether what the model's makers publish explains them as well as nothing does.
        nats: evidence against what is published, or else nothing.
    """

    holds: bool
    exact: Params | None
    whose: str = ""
    torn: bool = False
    nats: float = 0.0


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
    before, expected, known_ones = desk.cost, published(desk.about), guesses(desk.about)
    parts: list[Draws] = []
    while True:
        parts.append(await drawn(desk, known, PLACES, tuple(desk.wire.names)))
        book = Book(joined(parts), desk.copies)
        look = _seen(book, expected, known, known_ones)
        values = established(book, expected, known.orders, expected) if look.holds else {}
        if len(values) >= len(desk.wire.names) and not look.torn:
            break
        if len(parts) >= (MORE if look.exact is not None else MOST):
            break
    found = look.exact or (expected if look.holds else _fitted(book, expected, known))
    if not look.holds:
        values = established(book, found, known.orders, look.exact or {})
    else:
        values |= await _told_alone(desk, known, {n: v for n, v in expected.items() if n not in values})
    told = _told(book, look, found, expected, known)
    cost = desk.cost.since(before)
    return Defaults(told._replace(requests=cost.requests, tokens=cost.tokens), values, look.exact)


def _seen(book: Book, expected: Params, known: Findings, known_ones: Sequence[Guess]) -> _Look:
    own = [g for g in known_ones if g.whose and g.params != expected]
    odds = Odds(book.draws)
    nats = departure(book, expected, known, own)
    if nats < AGAINST:
        plain = laws(expected, known.orders)
        rival = [g for g in own if not expected and odds.lead(plain, laws(g.params, known.orders)) < FOR]
        return _Look(True, None if rival else dict(expected), torn=bool(rival))
    nothing = _Look(False, None, nats=nats)
    if book.copies:  # texts that share their luck say too little
        return nothing
    weak = [_without(g.params, "repetition_penalty") for g in own]  # which may hide whether it is one
    for several in (own, [g for g in known_ones if g.params not in weak]):
        for guess in several:
            others = [g.params for g in several if g != guess]
            if _explains(book, odds, guess.params, others, [g.params for g in known_ones], known):
                return nothing._replace(exact=dict(guess.params), whose=guess.whose)
    return nothing


def _without(params: Mapping[str, float], name: str) -> Params | None:
    return {n: v for n, v in params.items() if n != name} if name in params else None


def _explains(
    book: Book, odds: Odds, params: Mapping[str, float], rivals: Sequence[Mapping[str, float]],
    others: Sequence[Mapping[str, float]], known: Findings,
) -> bool:  # fmt: skip
    """Whether settings explain the draws: far better than their rivals, and no worse than any others."""
    mine = laws(params, known.orders)
    if any(odds.lead(mine, laws(r, known.orders)) < FOR for r in rivals):
        return False
    near = [p for name, p in variants(params) if name != "repetition_penalty" or name not in params]
    close = [laws(p, known.orders) for p in (*others, *near)]
    if any(odds.lead(c, mine) > RIVALRY or book.matched(c, mine) >= FOR for c in close):
        return False
    both = (q for _, p in variants(params, ("temperature",)) for _, q in variants(p, ("top_p",)))
    return not any(odds.lead(laws(p, known.orders), mine) > 2 * RIVALRY for p in both)  # as these are many


def _fitted(book: Book, expected: Params, known: Findings) -> Params:
    return fit(book, fit(book, expected, known.orders), known.orders)


def _told(book: Book, look: _Look, found: Params, expected: Params, known: Findings) -> Finding:
    """The finding, but for what it cost."""
    places, shown, wanted = f"{book.draws.places} tokens of empty requests", said(found), said(expected)
    if look.torn:
        seen = f"{places} are about as likely under {shown} as under what the model's makers publish"
        return finding("defaults", "cannot tell", evidence=seen)
    if look.holds:
        seen = f"{places} are as likely under {shown} as they should be"
        return finding("defaults", "honoured", evidence=seen, false_alarm=ALPHA, power=1 - BETA)
    nats = max(look.nats, book.matched(laws(found, known.orders), laws(expected, known.orders)))
    seen = f"{places} are e^{nats:.0f} times as likely under {shown} as under {wanted}, so it is not that"
    how = f"an empty request is drawn near {shown}; other settings explain it as well"
    if look.exact is not None:
        how = f"an empty request is drawn with {shown}" + (f", as {look.whose} publish it" if look.whose else "")
    return finding("defaults", "honoured otherwise", how=how, evidence=seen, false_alarm=ALPHA, power=1 - BETA)


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


def departure(book: Book, expected: Params, known: Findings, own: Sequence[Guess] = ()) -> float:
    """Nats by which other settings together explain the draws better; what the makers publish counts for half."""
    mine = laws(expected, known.orders)
    others = [laws(p, known.orders) for _, p in variants(expected)]
    if expected:
        others.append(laws({}, known.orders))
    found = [log_mean([book.matched(other, mine) for other in others])]
    if own:
        found.append(log_mean([book.matched(laws(g.params, known.orders), mine) for g in own]))
    return log_mean(found)


def said(params: Params) -> str:
    """Settings in words.

    >>> said({"temperature": 0.7, "top_p": 0.8})
    'temperature 0.7 and top_p 0.8'
    """
    shown = [f"{n} {params[n]:g}" for n in PARAMETERS if n in params]
    if not shown:
        return "temperature 1 and nothing else"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
