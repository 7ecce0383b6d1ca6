"""Texts that come again: greedy, of one seed, of one request."""

from __future__ import annotations

from collections.abc import Sequence

from poise.probes.desk import REFUSALS, Cost, Desk, said
from poise.probes.fits import BETA
from poise.probes.words import finding, refused
from poise.servers.calls import Answer, Choice, Fault
from poise.servers.honours import Finding

TOKENS = 24
SEED = 20_011
_TEXTS, _TRIES = 3, 4  # texts compared; openings tried for one that is not sure to be followed by the same


async def same_luck(desk: Desk) -> bool:
    """Whether requests without a seed share their luck: the same text comes twice, and it is not the likeliest.

    Args:
        desk: the server; everything is switched off, so that texts are drawn at temperature 1.

    Returns:
        Whether they are. Where a seed helps, the desk sends one from now on, and they are not.

    Raises:
        Fault: the server is not there.
        Spent: no more requests may be made.
    """
    one, other = await _two(desk, (None, None))
    if said(one) != said(other) or luck(one) >= BETA or _likeliest(one):
        return False
    try:
        one, other = await _two(desk, (SEED, SEED + 1))
    except Fault as fault:
        if fault.kind not in REFUSALS:
            raise
        return True
    desk.seeds = said(one) != said(other)
    return not desk.seeds


async def _two(desk: Desk, seeds: tuple[int | None, int | None]) -> tuple[Choice, Choice]:
    """The same request with two seeds; another opening where the text is too likely to come again."""
    for _ in range(_TRIES):
        text = desk.opening()
        one, other = [await _draw(desk, text, seed) for seed in seeds]
        if luck(one) < BETA or said(one) != said(other):
            break
    return one, other


async def _draw(desk: Desk, text: str, seed: int | None) -> Choice:
    call = desk.call(text, desk.fields({}), TOKENS, seed=seed, logprobs=desk.likeliest)
    return (await desk.ask(call)).choices[0]


def _likeliest(choice: Choice) -> bool:
    """Whether every token is the likeliest of its place: a greedy text."""
    places = [p for p in choice.positions if p.likeliest]
    return bool(places) and all(p.drawn.logprob >= p.likeliest[0].logprob - 1e-6 for p in places)


async def try_seed(desk: Desk) -> Finding:
    """The same seed gives the same text, another another, and none a new one each time.

    Args:
        desk: the server; everything is switched off, so that texts are drawn at temperature 1.

    Returns:
        The finding.

    Raises:
        Fault: the server is not there.
        Spent: no more requests may be made.
    """
    before = desk.cost
    try:
        for _ in range(_TRIES):
            text = desk.opening()
            same = [await _draw(desk, text, SEED) for _ in range(_TEXTS)]
            if len({said(c) for c in same}) > 1 or luck(same[0]) < BETA:
                break
        other = await _draw(desk, text, SEED + 1)
    except Fault as fault:
        if fault.kind not in REFUSALS:
            raise
        return refused("seed", fault, desk.cost.since(before))
    return _judge_seed(desk, same, other, desk.cost.since(before))


def _judge_seed(desk: Desk, same: list[Choice], other: Choice, cost: Cost) -> Finding:
    texts = [said(c) for c in same]
    repeated, moves = len(set(texts)) == 1, said(other) != texts[0]
    other_said = "another" if moves else "the same"
    seen = f"{_TEXTS} requests with one seed: {different(texts)}; with another seed {other_said}"
    if not any(texts) and not said(other):
        return finding("seed", "cannot tell", cost, evidence="no text came back")
    if repeated and luck(same[0]) >= BETA:
        return finding("seed", "cannot tell", cost, evidence=f"{seen}; it is too likely to come again by itself")
    if repeated and moves and not (desk.copies or desk.seeds):
        return finding("seed", "honoured", cost, evidence=seen, power=1 - BETA)
    if repeated and moves:
        how = "a request without a seed gets the same text each time"
        return finding("seed", "honoured otherwise", cost, how=how, evidence=seen)
    if repeated:
        how = "every request is drawn with the same luck, whatever its seed"
        return finding("seed", "ignored", cost, how=how, evidence=seen)
    alike = _common(texts)
    if alike > 2 * _common([texts[0], said(other)]) + TOKENS:
        how = f"texts of one seed are the same for {alike} characters, and then part"
        return finding("seed", "honoured otherwise", cost, how=how, evidence=seen)
    return finding("seed", "ignored", cost, how="a seed changes nothing", evidence=seen)


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
        for _ in range(_TRIES):
            call = desk.call(desk.opening(), desk.fields({}), TOKENS, n=_TEXTS, logprobs=desk.likeliest)
            answer: Answer = await desk.ask(call)
            if len({said(c) for c in answer.choices}) > 1 or len(answer.choices) == 1 or luck(answer.choices[0]) < BETA:
                break
    except Fault as fault:
        if fault.kind not in REFUSALS:
            raise
        return refused("n", fault, desk.cost.since(before))
    cost, texts = desk.cost.since(before), [said(c) for c in answer.choices]
    seen = f"{_TEXTS} texts asked for, {len(texts)} came" + (f": {different(texts)}" if len(texts) > 1 else "")
    if len(texts) == 1:
        return finding("n", "ignored", cost, how="one text comes back", evidence=seen)
    if len(texts) != _TEXTS:
        return finding("n", "honoured otherwise", cost, how=f"{len(texts)} texts come back", evidence=seen)
    if len(set(texts)) == 1:
        if luck(answer.choices[0]) >= BETA or not texts[0]:
            return finding("n", "cannot tell", cost, evidence=f"{seen}; they may be alike by chance")
        return finding("n", "honoured otherwise", cost, how="the texts of one request are copies", evidence=seen)
    return finding("n", "honoured", cost, evidence=seen)


def different(texts: Sequence[str]) -> str:
    """How many different texts there are, in words.

    >>> different(["a", "a"]), different(["a", "b"])
    ('the same text', '2 different texts')
    """
    count = len(set(texts))
    return "the same text" if count == 1 else f"{count} different texts"


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
