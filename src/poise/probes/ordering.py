"""The order of the steps: requests on which two orders part."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from poise.probes.desk import REFUSALS, Cost, Desk
from poise.probes.draws import Draws, joined
from poise.probes.fits import AGAINST, ALPHA, Book, expected
from poise.probes.plan import FIRST, LAST, shape_of
from poise.probes.shapes import Shape, predict
from poise.probes.shaping import TRUNCATIONS, Findings
from poise.probes.trying import MOST_ROUNDS, PLACES, Question, draw
from poise.probes.words import finding
from poise.servers.calls import Fault
from poise.servers.honours import Finding, Honour

# Pairs of steps, as poise orders them; what the second pair of values is tried with.
PAIRS: Mapping[tuple[str, str], tuple[tuple[float, ...], tuple[float, ...]]] = {
    ("temperature", "min_p"): ((1.8, 1.5, 0.4), (0.1, 0.2, 0.3, 0.05)),
    ("temperature", "top_p"): ((0.3, 0.5, 1.5, 1.8), (0.5, 0.6, 0.7, 0.85)),
    ("temperature", "typical_p"): ((0.4, 0.6), (0.4, 0.6, 0.8)),
    ("top_k", "top_p"): ((2, 3, 4, 5, 8), (0.5, 0.6, 0.7, 0.8)),
    ("top_p", "min_p"): ((0.5, 0.6, 0.7, 0.8, 0.9), (0.1, 0.2, 0.3, 0.05)),
}
ROUNDS = 6
_ENOUGH = 0.04  # nats per token below which a pair is not tried


class Pair(NamedTuple):
    """Which of two steps comes first.

    Args:
        steps: as poise orders them.
        values: they were tried with.
        kept: whether that is their order; None where it could not be told.
        nats: evidence.
        places: drawn tokens.
    """

    steps: tuple[str, str]
    values: tuple[float, float]
    kept: bool | None
    nats: float = 0.0
    places: int = 0

    @property
    def said(self) -> str:
        """One clause for the evidence."""
        (a, b), (x, y) = self.steps, self.values
        if self.kept is None:
            return f"{a} and {b}: not told"
        first, then = (a, b) if self.kept else (b, a)
        return (
            f"{first} before {then} ({self.places} tokens at {a} {x:g}, {b} {y:g}: e^{self.nats:.0f} times as likely)"
        )


class Order(NamedTuple):
    """What was found: the dialect's name, the steps in order (None where they could not be told), the finding."""

    dialect: str
    steps: tuple[str, ...] | None
    finding: Finding


async def try_order(desk: Desk, known: Findings) -> Order:
    """Find which steps come before which.

    Args:
        desk: the server.
        known: which values it honours.

    Returns:
        The order.

    Raises:
        Fault: the server is not there.
        Spent: no more requests may be made.
    """
    before, pairs = desk.cost, []
    for steps in PAIRS if not set(known.base) & set(TRUNCATIONS) else ():
        alike = len({n in desk.moved for n in steps}) == 1  # else neither lists nor tokens show both
        design = best_design(known, *steps) if alike and all(map(known.works, steps)) else None
        if design is not None:
            pairs.append(await _try_pair(desk, known, steps, design))
    return judge_order(pairs, desk, before)


def best_design(known: Findings, one: str, other: str) -> tuple[float, float] | None:
    """The values on which the two orders part most, by the lists that were returned; None where hardly at all."""
    if known.plain is None:
        return None
    best, most = None, _ENOUGH
    for values in itertools.product(*PAIRS[one, other]):
        if one == "top_k" and values[0] >= known.plain.width:
            continue
        a, b = (predict(known.plain, shape) for shape in _orders(known, (one, other), values))
        found = min(float(np.mean(expected(a, b))), float(np.mean(expected(b, a))))
        if found > most:
            best, most = (values[0], values[1]), found
    return best


def _orders(known: Findings, steps: tuple[str, str], values: tuple[float, ...]) -> Iterator[Shape]:
    params = {**known.base, **dict(zip(steps, values, strict=True))}
    rest = tuple(n for n in FIRST if n not in steps)
    for order in (steps, steps[::-1]):
        yield shape_of(params, (*rest, *order))


async def _try_pair(desk: Desk, known: Findings, steps: tuple[str, str], design: tuple[float, float]) -> Pair:
    kept, swapped = _orders(known, steps, design)
    ask = Question(steps[1], design[1], {steps[0]: design[0]}, (kept,), ())
    parts: list[Draws] = []
    pair = Pair(steps, design, None)
    for number in range(MOST_ROUNDS):
        if number >= ROUNDS and sum(p.places for p in parts) >= PLACES:
            break
        try:
            parts.append(await draw(desk, ask))
        except Fault as fault:
            if fault.kind not in REFUSALS:
                raise
            break  # this pair of values is not taken
        book = Book(joined(parts), desk.copies)
        places = int(book.draws.telling.sum())
        for first, a, b in ((True, kept, swapped), (False, swapped, kept)):
            nats = book.nats((a,), (b,))
            if nats >= AGAINST:
                return Pair(steps, design, first, nats, places)
        pair = pair._replace(places=places)
    return pair


def judge_order(pairs: list[Pair], desk: Desk, before: Cost) -> Order:
    """The dialect that fits, and what departs from it."""
    cost = desk.cost.since(before)
    told = {p.steps: p.kept for p in pairs if p.kept is not None}
    evidence = "; ".join(p.said for p in pairs) or "no two steps are honoured on which orders part"
    warm = {kept for steps, kept in told.items() if steps[0] == "temperature"}
    steps = FIRST if warm != {False} else LAST
    if told.get(("top_p", "min_p")) is False:
        steps = tuple("min_p" if n == "top_p" else "top_p" if n == "min_p" else n for n in steps)
    dialect = {frozenset({True}): "transformers", frozenset({False}): "temperature-last"}.get(frozenset(warm), "server")
    if not warm:
        return Order("server", None, finding("order", "cannot tell", cost, evidence=evidence))
    departs = [f"{b} comes before {a}" for (a, b), kept in told.items() if not kept]
    honour: Honour = "honoured otherwise" if departs else "honoured"
    seen = finding(
        "order", honour, cost, how="; ".join(departs), evidence=evidence, false_alarm=len(told) * ALPHA, power=1 - ALPHA
    )
    return Order(dialect, steps, seen)
