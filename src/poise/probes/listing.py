"""Which log-probabilities come back: how many, and of what."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from poise.probes.desk import REFUSALS, Cost, Desk
from poise.probes.draws import Reader, is_special
from poise.probes.words import finding
from poise.servers.calls import Fault, Position
from poise.servers.honours import Finding, Honour

Sort = Literal["raw", "processed", "none", "unknown"]
ASKED = 1000  # likeliest tokens asked for at most, once
USED = 48  # and used at each place
_LADDER = (20, 10, 5, 1)
_MOVERS = (("temperature", 0.4), ("top_k", 2.0), ("top_p", 0.3), ("min_p", 0.5), ("typical_p", 0.3))
_MOVED = 0.05  # distance of two lists above which they are of two laws
_FEW = 2  # tokens of a text that shows how many are listed
_TRIES = 4  # openings among which a flat one is looked for

Listed = dict[str, float]  # a token's text or id -> p


class Listing(NamedTuple):
    """What a server lists.

    Args:
        sort: whether it is of the model itself, or of what the steps left.
        most: likeliest tokens it returns at most.
        asked: how many of them were asked for.
        moved: parameters that change what is listed.
        told: its words where it refuses.
        noise: distance between two lists of the same request.
    """

    sort: Sort
    most: int = 0
    asked: int = 0
    moved: tuple[str, ...] = ()
    told: str = ""
    noise: float = 0.0


async def look(desk: Desk) -> Listing:
    """Find out which log-probabilities come back, and set the desk to ask for them.

    Args:
        desk: the server; everything else is switched off.

    Returns:
        What it lists.

    Raises:
        Fault: the server is not there.
        Spent: no more requests may be made.
    """
    found = await _most(desk)
    if found.most == 0 and not desk.chat and desk.about.has_chat:
        desk.chat = True
        there = await _most(desk)
        desk.chat = there.most > 0
        found = there if there.most else found
    if found.most == 0:
        return found
    if found.most < 2:
        return found._replace(sort="unknown", told="one token at a place tells nothing")
    desk.likeliest = min(found.most, USED)
    desk.reader = Reader(desk.likeliest - 1)  # in the last one's place vLLM's chat puts the drawn token
    return await _sorted(desk, found)


async def _most(desk: Desk) -> Listing:
    """How many come."""
    first = min(desk.wire.most_logprobs or _LADDER[-2], ASKED)
    told = ""
    for asked in (first, *(c for c in _LADDER if c < first)):
        try:
            came = await _came(desk, asked)
        except Fault as fault:
            if fault.kind not in REFUSALS:
                raise
            told = fault.told
            continue
        return Listing("raw" if came else "none", min(came, asked), asked)
    return Listing("none", 0, first, told=told)


async def _came(desk: Desk, asked: int) -> int:
    """How many likeliest tokens come at a place; a text that ends at once has no place, and another is asked for."""
    for _ in range(_TRIES):
        answer = await desk.ask(desk.call(desk.opening(), desk.fields({}), _FEW, logprobs=asked))
        choice = answer.choices[0]
        if choice.positions or choice.finish == "length":
            return max((len(p.likeliest) for p in choice.positions), default=0)
    return 0


async def _sorted(desk: Desk, found: Listing) -> Listing:
    """Raw lists stay as they are whatever the steps do."""
    texts = [desk.opening() for _ in range(_TRIES)]
    plain = [await first_list(desk, text, {}) for text in texts]
    if any(sum(one.values()) > 1.02 for one in plain):
        return found._replace(sort="unknown", told="what it lists does not sum to 1 or less")
    best = int(np.argmax([_entropy(one) for one in plain]))
    again = await first_list(desk, texts[best], {})
    noise = distance(plain[best], again)
    moved = []
    for name, value in _MOVERS:
        if not desk.can(name):
            continue
        try:
            now = await first_list(desk, texts[best], {name: value})
        except Fault as fault:
            if fault.kind not in REFUSALS:
                raise
            continue
        if distance(plain[best], now) > max(_MOVED, 3 * noise):
            moved.append(name)
    return found._replace(sort="processed" if moved else "raw", moved=tuple(moved), noise=noise)


def finding_of(found: Listing, cost: Cost, most: int) -> Finding:
    """What was listed, as a finding.

    Args:
        found: what the server lists.
        cost: of finding out.
        most: how many its software is known to list.

    Returns:
        The finding.
    """
    seen = f"{found.most} of {found.asked} came"
    if found.most == 0:
        if found.told:
            return finding("logprobs", "rejected", cost, how=f"the server answers: {found.told}", evidence=seen)
        return finding("logprobs", "ignored", cost, how="none come back", evidence=seen)
    moved = ", ".join(found.moved)
    hows = [f"they change with {moved}: they are not the model's own"] if moved else []
    hows += [found.told] if found.sort == "unknown" else []
    hows += [f"at most {found.most} come back"] if found.most < min(most, found.asked, _LADDER[0]) else []
    seen += f"; {moved or 'nothing that was tried'} changes what is listed"
    honour: Honour = "honoured otherwise" if hows else "honoured"
    return finding("logprobs", honour, cost, how="; ".join(hows), evidence=seen)


async def first_list(desk: Desk, text: str, params: dict[str, float], **more: object) -> Listed:
    """What is listed at the first place after a text."""
    fields = {**desk.fields(params), **more}
    answer = await desk.ask(desk.call(text, fields, 1, logprobs=desk.likeliest))
    positions = answer.choices[0].positions
    return listed(positions[0], desk.reader.width) if positions else {}


def listed(position: Position, width: int) -> Listed:
    """Probabilities of the likeliest tokens."""
    best = [t for t in position.likeliest if t.logprob > -100][:width]
    return {t.token if t.id is None else f"#{t.id}": float(np.exp(t.logprob)) for t in best}


def distance(one: Listed, other: Listed) -> float:
    """Total variation between two lists, what is not listed taken as one token; of the tokens in both, at least.

    >>> distance({"a": 0.5, "b": 0.5}, {"a": 1.0})
    0.5
    """
    keys = {*one, *other}
    rest = abs(max(0.0, 1 - sum(one.values())) - max(0.0, 1 - sum(other.values())))
    both = sum(abs(one.get(k, 0.0) - other.get(k, 0.0)) for k in keys)
    return float((both + rest) / 2)


def _entropy(one: Listed) -> float:
    p = np.array([v for k, v in one.items() if not is_special(k)])
    return float(-(p * np.log(np.maximum(p, 1e-12))).sum()) if len(p) else 0.0
