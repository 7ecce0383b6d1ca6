"""Servers without log-probabilities: what can be told from texts alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from poise.probes.desk import REFUSALS, Cost, Desk, said
from poise.probes.words import finding, refused
from poise.servers.calls import Fault
from poise.servers.honours import Finding

TOKENS = 24
TEXTS = 3
HOT = 1.5
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
    found, cost = Silence(cold, plain), desk.cost.since(before)
    seen = f"{len(set(cold.said))} different texts of {TEXTS} at temperature 0, {len(set(plain.said))} at 1"
    if cold.empty or plain.alike:
        return finding("temperature", "cannot tell", cost, evidence=f"{seen}: texts that say nothing"), found
    if cold.alike or cold.common > 2 * plain.common + TOKENS:
        seen += "; without log-probabilities its strength cannot be checked"
        return finding("temperature", "honoured", cost, evidence=seen), found
    return finding("temperature", "ignored", cost, how="temperature 0 does not repeat itself", evidence=seen), found


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
    seen = f"{len(set(texts.said))} different texts of {TEXTS} at temperature {HOT:g} and {name} {value:g}"
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
