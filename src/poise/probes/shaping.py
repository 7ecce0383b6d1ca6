"""Temperature and what truncates, value by value, on drawn tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from poise.probes.desk import Desk
from poise.probes.draws import Draws, joined
from poise.probes.fits import FOR, RIVALRY, Book, Rival, expected
from poise.probes.fitting import KNOWN, laws
from poise.probes.plan import EITHER, FIRST, HOT, VALUES, laws_of, rivals_of, shape_of
from poise.probes.shapes import predict
from poise.probes.trying import Outcome, Question, settle
from poise.servers.calls import Likely

TRUNCATIONS = ("top_k", "top_p", "min_p", "typical_p")
MILD: Mapping[str, tuple[float, ...]] = {  # from what does little to what does more
    "top_k": (15, 12, 10, 8, 6, 5),
    "top_p": (0.85, 0.8, 0.7, 0.6, 0.5),
    "min_p": (0.04, 0.06, 0.1, 0.15, 0.2),
    "typical_p": (0.85, 0.75, 0.65),
}
Prompts = tuple[tuple[str, Sequence[Likely]], ...]  # texts, with their tokens as far as they are known
_ENOUGH = 0.06  # nats a drawn token has to give, so that a few requests suffice


@dataclass
class Findings:
    """What is known of a server's law so far.

    Args:
        base: what is in force when everything is switched off, by poise's names.
        order: of the steps; None while it is not known.
        plain: tokens drawn with everything switched off.
        own: texts of the model itself, to be continued.
        outcomes: of every value tried, but for a temperature of 0.
        greedy: the outcome of that.
        repeats: whether it gives the same text again.
    """

    base: dict[str, float] = field(default_factory=dict)
    order: tuple[str, ...] | None = None
    plain: Draws | None = None
    own: Prompts = ()
    outcomes: list[Outcome] = field(default_factory=list)
    greedy: Outcome | None = None
    repeats: bool = False

    @property
    def orders(self) -> tuple[tuple[str, ...], ...]:
        """Orders of the steps that have to be reckoned with."""
        return EITHER if self.order is None else (self.order,)

    def of(self, name: str) -> list[Outcome]:
        """The outcomes of one parameter."""
        return [o for o in self.outcomes if o.question.name == name]

    def works(self, name: str) -> bool:
        """Whether a parameter was honoured at some value, and at none otherwise."""
        verdicts = {o.verdict for o in self.of(name)}
        return "as asked" in verdicts and not verdicts & {"otherwise", "ignored"}

    def holds(self, name: str, value: float) -> bool:
        """Whether a value was found to be honoured."""
        return any(o.verdict == "as asked" and o.question.value == value for o in self.of(name))


async def try_greedy(desk: Desk, known: Findings) -> None:
    """A temperature of 0: nothing but the likeliest token."""
    known.greedy = await settle(desk, question(known, "temperature", 0.0, {}))


async def try_temperature(desk: Desk, known: Findings) -> None:
    """A low and a high temperature."""
    outcomes = [await settle(desk, question(known, "temperature", value, {})) for value in VALUES["temperature"]]
    known.outcomes += _steady(desk, known, outcomes) or outcomes


def _steady(desk: Desk, known: Findings, outcomes: list[Outcome]) -> list[Outcome]:
    """Where no temperature holds, the one that explains all draws, if there is one; it belongs to the base then."""
    draws = [o.draws for o in outcomes if o.draws is not None and o.verdict in ("ignored", "otherwise")]
    if len(draws) < len(outcomes) or known.plain is None or not draws:
        return []
    book = Book(joined([*draws, known.plain]), desk.copies)
    now = laws(known.base, known.orders)
    tried = [{**known.base, "temperature": t} for t in KNOWN["temperature"]]
    gain, best = max(((book.nats(laws(p, known.orders), now), p) for p in tried), key=lambda g: g[0])
    stays = laws(best, known.orders)
    rivals = [o.rival.laws if o.rival is not None else now for o in outcomes]
    fits = (Book(d, desk.copies).nats(stays, r) > -RIVALRY for d, r in zip(draws, rivals, strict=True))
    if gain < FOR or not all(fits):
        return []
    known.base = best
    rival = Rival("nothing", stays, ignored=True, value=best["temperature"])
    return [o._replace(verdict="ignored", rival=rival) for o in outcomes]


async def try_truncation(desk: Desk, known: Findings, name: str) -> None:
    """Values of a truncation, one that does much and one that does little; top-k at a high temperature."""
    warm = known.holds("temperature", HOT) and ("temperature" in desk.moved) == (name in desk.moved)
    hot = {"temperature": HOT} if name == "top_k" and warm else {}
    strong = [v for v in VALUES[name] if v not in MILD[name]]
    for value in [*strong, *mildest(desk, known, name, hot)]:
        sent = hot if value != 3 else {}
        known.outcomes.append(await settle(desk, question(known, name, value, sent)))


def mildest(desk: Desk, known: Findings, name: str, sent: Mapping[str, float]) -> list[float]:
    """The value that does least and still shows in a few requests; empty for none."""
    if known.plain is None:
        return []
    for value in MILD[name]:
        if name == "top_k" and value >= desk.reader.width:
            continue
        nothing = {**known.base, **sent}
        shapes = (shape_of(p, known.order or FIRST) for p in ({**nothing, name: value}, nothing))
        honest, idle = (predict(known.plain, shape) for shape in shapes)
        if float(np.mean(expected(honest, idle))) >= _ENOUGH:
            return [value]
    return []


def question(known: Findings, name: str, value: float, sent: Mapping[str, float]) -> Question:
    """A value with what a server might make of it."""
    base, orders = {**known.base, **sent}, known.orders
    honest = laws_of({**base, name: value}, *orders)
    return Question(name, value, sent, honest, rivals_of(name, value, base, *orders))


def names_of(desk: Desk, names: Sequence[str]) -> list[str]:
    """Those that can be sent."""
    return [n for n in names if desk.can(n)]
