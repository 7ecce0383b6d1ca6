"""What comes again: greedy texts, texts of one seed, several texts of one request."""

from __future__ import annotations

from typing import NamedTuple

from poise.probes.desk import REFUSALS, Desk, said
from poise.probes.fits import BETA
from poise.probes.words import finding, refused
from poise.servers.calls import Answer, Choice, Fault
from poise.servers.honours import Finding, Honour

TOKENS = 24
SEED = 20_011
_TEXTS = 3


class Seeds(NamedTuple):
    """What seeds do, and whether texts without one are drawn with the same luck."""

    finding: Finding
    copies: bool


async def try_seed(desk: Desk) -> Seeds:
    """The same seed gives the same text, another another, and none a new one each time.

    Args:
        desk: the server; everything is switched off, so that texts are drawn at temperature 1.

    Returns:
        The finding.

    Raises:
        Fault: the server is not there.
        Spent: no more requests may be made.
    """
    before, text = desk.cost, desk.opening()

    async def draw(seed: int | None) -> Choice:
        call = desk.call(text, desk.fields({}), TOKENS, seed=seed, logprobs=desk.likeliest)
        return (await desk.ask(call)).choices[0]

    none = [await draw(None) for _ in range(2)]
    copies = said(none[0]) == said(none[1]) and luck(none[0]) < BETA
    try:
        same = [await draw(SEED) for _ in range(_TEXTS)]
        other = await draw(SEED + 1)
    except Fault as fault:
        if fault.kind not in REFUSALS:
            raise
        return Seeds(refused("seed", fault, desk.cost.since(before)), copies)
    cost = desk.cost.since(before)
    texts = [said(c) for c in same]
    repeated, moves = len(set(texts)) == 1, said(other) != texts[0]
    if not any(texts) and not said(other):
        return Seeds(finding("seed", "cannot tell", cost, evidence="no text came back"), copies)
    if repeated and moves and not copies:
        seen = f"one seed gave the same {TOKENS} tokens {_TEXTS} times, another seed another text"
        return Seeds(finding("seed", "honoured", cost, evidence=seen), False)
    if repeated and luck(same[0]) >= BETA:
        seen = "the text is too likely to come again by itself"
        return Seeds(finding("seed", "cannot tell", cost, evidence=seen), copies)
    how = _how(repeated, moves, copies, texts)
    seen = f"{len(set(texts))} different texts of one seed in {_TEXTS}, {'another' if moves else 'the same'} of another"
    honour: Honour = "ignored" if not moves or not (repeated or _common(texts) > TOKENS) else "honoured otherwise"
    return Seeds(finding("seed", honour, cost, how=how, evidence=seen), copies)


def _how(repeated: bool, moves: bool, copies: bool, texts: list[str]) -> str:
    if not repeated:
        alike = _common(texts)
        return f"texts of one seed part after {alike} characters" if alike > TOKENS else "a seed changes nothing"
    if not moves:
        return "every request is drawn with the same luck, whatever its seed"
    assert copies
    return "a request without a seed is drawn with the same luck each time"


def _common(texts: list[str]) -> int:
    """Characters that all texts begin with."""
    return next((i for i, chars in enumerate(zip(*texts, strict=False)) if len(set(chars)) > 1), min(map(len, texts)))


async def try_n(desk: Desk) -> Finding:
    """Several texts of one request are so many, and different.

    Args:
        desk: the server; everything is switched off.

    Returns:
        The finding.

    Raises:
        Fault: the server is not there.
        Spent: no more requests may be made.
    """
    before = desk.cost
    try:
        call = desk.call(desk.opening(), desk.fields({}), TOKENS, n=_TEXTS, logprobs=desk.likeliest)
        answer: Answer = await desk.ask(call)
    except Fault as fault:
        if fault.kind not in REFUSALS:
            raise
        return refused("n", fault, desk.cost.since(before))
    cost, texts = desk.cost.since(before), [said(c) for c in answer.choices]
    seen = f"{_TEXTS} texts asked for, {len(texts)} came, {len(set(texts))} of them different"
    if len(texts) == 1:
        return finding("n", "ignored", cost, how="one text comes back", evidence=seen)
    if len(texts) != _TEXTS:
        return finding("n", "honoured otherwise", cost, how=f"{len(texts)} texts come back", evidence=seen)
    if len(set(texts)) == 1:
        if luck(answer.choices[0]) >= BETA or not texts[0]:
            return finding("n", "cannot tell", cost, evidence=f"{seen}; they may be alike by chance")
        return finding("n", "honoured otherwise", cost, how="the texts of one request are copies", evidence=seen)
    return finding("n", "honoured", cost, evidence=seen)


async def greedy_texts(desk: Desk) -> list[str]:
    """The same request three times at temperature 0. Raises Fault, also where it is refused, and Spent."""
    text = desk.opening()
    call = desk.call(text, desk.fields({"temperature": 0.0}), TOKENS)
    return [said((await desk.ask(call)).choices[0]) for _ in range(_TEXTS)]


def luck(choice: Choice) -> float:
    """How likely a text is to come again by chance, at temperature 1; a guess from its length without lists."""
    if choice.positions:
        return float(min(1.0, 2.718281828 ** sum(p.drawn.logprob for p in choice.positions)))
    return float(0.5 ** len(said(choice).split()))
