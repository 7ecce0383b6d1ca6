"""Servers without log-probabilities: what can be told from texts alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from poise.probes.desk import REFUSALS, Cost, Desk, said
from poise.probes.fits import BETA
from poise.probes.repeats import different
from poise.probes.words import finding, refused
from poise.servers.calls import Fault
from poise.servers.honours import Finding

TOKENS = 24
TEXTS = 3
COOL, HOT = 0.2, 1.5
SHORT, GROUP, OPENINGS = 12, 8, 3  # tokens of a text, and texts, at either temperature; openings tried
SONG = "la la la la la la la la la la la la la la la la"
_LOOP = 48  # tokens of a text that should repeat itself
_REPEATED = 8  # words of one kind in it
# Values that leave the likeliest token alone, whatever the temperature.
ALONE: Mapping[str, float] = {"top_k": 1, "top_p": 0.01, "min_p": 1.0}
PRESSED: Mapping[str, float] = {"repetition_penalty": 2.0, "frequency_penalty": 2.0, "presence_penalty": 2.0}


class Texts(NamedTuple):
    """Texts of one request, made several times."""

    said: tuple[str, ...]

    @property
    def alike(self) -> bool:
        """Whether all are the same, and something at all."""
        return len(set(self.said)) == 1 and bool(self.said[0].strip())

    @property
    def common(self) -> int:
        """Characters that all begin with."""
        shortest = min(map(len, self.said))
        return next((i for i in range(shortest) if len({t[i] for t in self.said}) > 1), shortest)

    @property
    def empty(self) -> bool:
        """Whether nothing came."""
        return not any(t.strip() for t in self.said)


class Silence(NamedTuple):
    """What texts say of the temperature: at 0, and with everything off."""

    cold: Texts
    plain: Texts

    @property
    def repeats(self) -> bool:
        """Whether temperature 0 repeats itself, and temperature 1 does not."""
        return self.cold.alike and not self.plain.alike


async def several(desk: Desk, text: str, params: Mapping[str, float], leave_out: tuple[str, ...] = ()) -> Texts:
    """The same request several times. Raises Fault, also where it is refused, and Spent."""
    call = desk.call(text, desk.fields(params, leave_out), TOKENS)
    return Texts(tuple(said(a.choices[0]) for a in await desk.ask_all([call] * TEXTS)))


async def try_temperature(desk: Desk) -> tuple[Finding, Silence | None]:
    """Temperature 0 repeats itself, temperature 1 does not.

    Args:
        desk: the server; everything is switched off.

    Returns:
        The finding, and the texts; None where they were refused.

    Raises:
        Fault: the server is not there.
        Spent: no more requests may be made.
    """
    before, text = desk.cost, desk.opening()
    plain = await several(desk, text, {})
    try:
        cold = await several(desk, text, {"temperature": 0.0})
    except Fault as fault:
        if fault.kind not in REFUSALS:
            raise
        return refused("temperature", fault, desk.cost.since(before)), None
    found = Silence(cold, plain)
    seen = f"{TEXTS} requests at temperature 0: {different(cold.said)}; at 1: {different(plain.said)}"
    if cold.empty or plain.alike:
        seen += ": that says nothing"
        return finding("temperature", "cannot tell", desk.cost.since(before), evidence=seen), found
    if not cold.alike and cold.common <= 2 * plain.common + TOKENS:
        how = "temperature 0 does not repeat itself"
        return finding("temperature", "ignored", desk.cost.since(before), how=how, evidence=seen), found
    odds = await _warmth(desk, text)
    for _ in range(OPENINGS - 1):
        odds = odds if odds <= BETA / OPENINGS else min(odds, await _warmth(desk, desk.opening()))
    cost = desk.cost.since(before)
    seen += f"; texts at {COOL:g} are more alike than at {HOT:g} (p = {min(1.0, OPENINGS * odds):.2g})"
    seen += "; without log-probabilities its strength cannot be checked"
    if odds > BETA / OPENINGS:
        return finding("temperature", "cannot tell", cost, evidence=seen), found
    return finding("temperature", "honoured", cost, evidence=seen, power=1 - BETA), found


async def _warmth(desk: Desk, text: str) -> float:
    """How likely texts at two temperatures would be so much more alike at the lower one, if it changed nothing."""
    groups = []
    for value in (COOL, HOT):
        call = desk.call(text, desk.fields({"temperature": value}), SHORT)
        try:
            groups += [said(a.choices[0]) for a in await desk.ask_all([call] * GROUP)]
        except Fault as fault:
            if fault.kind not in REFUSALS:
                raise
            return 1.0
    return permuted(groups)


def permuted(texts: Sequence[str]) -> float:
    """One-sided exact permutation test: are the texts of the first half more alike than those of the second?

    Args:
        texts: an even number of them, at most 20.

    Returns:
        The share of all ways to halve them in which the first half is at least as much more alike.
    """
    count, half = len(texts), len(texts) // 2
    alike = np.array([[Texts((a, b)).common for b in texts] for a in texts], dtype=np.float64)
    np.fill_diagonal(alike, 0.0)
    halves = np.array([[i in chosen for i in range(count)] for chosen in itertools.combinations(range(count), half)])
    first, second = (np.einsum("ni,ij,nj->n", h, alike, h) for h in (halves.astype(float), (~halves).astype(float)))
    gaps = first - second  # the first of all halvings is the one that was drawn
    return float(np.mean(gaps >= gaps[0] - 1e-9))


async def try_alone(desk: Desk, name: str, found: Silence) -> Finding:
    """A truncation that leaves one token repeats itself at any temperature."""
    if name not in ALONE or not found.repeats:
        return finding(name, "cannot tell", evidence="without log-probabilities texts do not show it")
    before, text, value = desk.cost, desk.opening(), ALONE[name]
    try:
        texts = await several(desk, text, {"temperature": HOT, name: value})
    except Fault as fault:
        if fault.kind not in REFUSALS:
            raise
        return refused(name, fault, desk.cost.since(before))
    cost = desk.cost.since(before)
    seen = f"{TEXTS} requests at temperature {HOT:g} and {name} {value:g}: {different(texts.said)}"
    if texts.empty:
        return finding(name, "cannot tell", cost, evidence="no text came back")
    if texts.alike:
        seen += "; without log-probabilities other values cannot be checked"
        return finding(name, "honoured", cost, evidence=seen)
    return finding(name, "ignored", cost, how="texts differ where one token alone should be left", evidence=seen)


async def try_pressed(desk: Desk, name: str) -> Finding:
    """A penalty changes a greedy text that repeats itself.

    Args:
        desk: the server; temperature 0 repeats itself there.
        name: of the penalty.

    Returns:
        The finding.

    Raises:
        Fault: the server is not there.
        Spent: no more requests may be made.
    """
    before = desk.cost

    async def ask(params: Mapping[str, float]) -> str:
        call = desk.call(SONG, desk.fields({"temperature": 0.0, **params}), _LOOP)
        return said((await desk.ask(call)).choices[0])

    plain = await ask({})
    try:
        pressed = await ask({name: PRESSED[name]})
    except Fault as fault:
        if fault.kind not in REFUSALS:
            raise
        return refused(name, fault, desk.cost.since(before))
    return _judge_pressed(name, plain, pressed, desk.cost.since(before))


def _judge_pressed(name: str, plain: str, pressed: str, cost: Cost) -> Finding:
    words = plain.split()
    most = max((words.count(w) for w in set(words)), default=0)
    seen = (
        f"a greedy text with a word that comes {most} times is {'the same' if plain == pressed else 'another'} under it"
    )
    if plain != pressed:
        seen += "; without raw log-probabilities its strength and its scope cannot be checked"
        return finding(name, "honoured", cost, evidence=seen)
    if most >= _REPEATED and name != "presence_penalty":  # which may be too weak for a loop
        return finding(name, "ignored", cost, how="it changes nothing", evidence=seen)
    return finding(name, "cannot tell", cost, evidence=seen)


async def try_defaults(desk: Desk, found: Silence) -> tuple[Finding, float | None]:
    """Whether an empty request is greedy, and else nothing; with the temperature where it is."""
    before = desk.cost
    texts = await several(desk, desk.opening(), {}, tuple(desk.wire.names))
    cost = desk.cost.since(before)
    if texts.alike and found.repeats:
        how = "an empty request is greedy"
        return finding(
            "defaults", "honoured otherwise", cost, how=how, evidence="empty requests repeat themselves"
        ), 0.0
    return finding("defaults", "cannot tell", cost, evidence="without log-probabilities only greedy shows"), None
