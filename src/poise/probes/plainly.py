"""What is in force when everything is switched off."""

from __future__ import annotations

from poise.probes.desk import Desk
from poise.probes.draws import MOST_LOST, Draws, joined
from poise.probes.fits import AGAINST, RIVALRY, Book, Rival, log_mean
from poise.probes.fitting import Params, fit, laws, neutral, variants
from poise.probes.penalising import OWN, own_words
from poise.probes.plan import EITHER
from poise.probes.shaping import Findings, Prompts
from poise.probes.trying import TEXTS, Outcome, Question, draw

PLACES, MOST = 240, 20  # drawn tokens that suffice, and texts at most


async def find_plain(desk: Desk, known: Findings) -> None:
    """Switch everything off, by sending what is neutral, or else by sending nothing; see what is in force then.

    Args:
        desk: the server.
        known: `base`, `plain`, `own` and outcomes of neutral values are filled in; `desk.plain` becomes what is best
            sent.

    Raises:
        Fault: the server is not there.
        Spent: no more requests may be made.
    """
    known.own, first = await own_words(desk)
    book = Book(joined([first, await drawn(desk, known, PLACES - first.places // 2)]), desk.copies)
    known.plain = book.draws
    if book.draws.lost > MOST_LOST or not departs(book):
        return
    found, sent = fit(book, {}, known.orders), desk.plain
    for less in ({}, *({n: v for n, v in sent.items() if n != name} for name in found if name in sent)):
        desk.plain = dict(less)
        other = Book(await drawn(desk, known, PLACES), desk.copies)
        if not departs(other) and other.nats(laws(found, EITHER), laws({}, EITHER)) < -RIVALRY:
            known.plain = other.draws
            return
    desk.plain, known.base = sent, found
    known.outcomes += [_stuck(name, value, found, book) for name, value in found.items() if name in sent]


def departs(book: Book) -> bool:
    """Whether some setting explains the draws far better than none."""
    nothing = laws({}, EITHER)
    return log_mean([book.nats(laws(p, EITHER), nothing) for _, p in variants({})]) >= AGAINST


def _stuck(name: str, value: float, found: Params, book: Book) -> Outcome:
    """A parameter that cannot be switched off."""
    without = {n: v for n, v in found.items() if n != name}
    nats = book.nats(laws(found, EITHER), laws(without, EITHER))
    rival = Rival(f"{name} {value:g}", laws(found, EITHER), ignored=True, value=value)
    ask = Question(name, neutral(name), {}, laws(without, EITHER), (rival,))
    return Outcome(ask, "ignored", rival, nats, int(book.draws.telling.sum()))


async def drawn(desk: Desk, known: Findings, places: int, leave_out: tuple[str, ...] = ()) -> Draws:
    """Texts with everything switched off: half of them after openings, half after the model's own words.

    Args:
        desk: the server.
        known: has the model's own words.
        places: drawn tokens wanted, as long as that takes no more than `MOST` texts.
        leave_out: parameters that are not sent at all.

    Returns:
        The draws.
    """
    kinds: list[tuple[Prompts, int]] = [((), OWN), *([(known.own, 2 * OWN - 8)] if known.own else [])]
    parts: list[Draws] = []
    while sum(p.places for p in parts) < places and len(parts) * TEXTS < MOST:
        prompts, tokens = kinds[len(parts) % len(kinds)]
        ask = Question("", 0.0, {}, (), (), tokens=tokens, prompts=prompts, leave_out=leave_out)
        parts.append(await draw(desk, ask))
    return joined(parts)
