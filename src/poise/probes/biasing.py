"""logit_bias: a token forced, a token barred."""

from __future__ import annotations

from collections.abc import Sequence

from poise.probes.desk import REFUSALS, Cost, Desk
from poise.probes.draws import is_special
from poise.probes.words import finding, refused
from poise.servers.calls import Fault, Likely, Position
from poise.servers.honours import Finding

FORCED = 3  # tokens drawn with one forced
_RANK = 3  # of the forced token: not what comes anyway


async def try_bias(desk: Desk) -> Finding:
    """A bias of 100 forces a token that hardly ever comes, a bias of -100 bars the likeliest.

    Args:
        desk: the server; everything is switched off.

    Returns:
        The finding.

    Raises:
        Fault: the server is not there.
        Spent: no more requests may be made.
    """
    before, text = desk.cost, desk.opening()
    place = await _place(desk, text)
    usual = [t for t in place.likeliest if not is_special(t.token)] if place else []
    if place is None or len(usual) < 2:
        return finding("logit_bias", "cannot tell", desk.cost.since(before), evidence="no likely tokens are known")
    rare, top = usual[min(_RANK, len(usual) - 1)], usual[0]
    ids = [await _id(desk, t) for t in (rare, top)]
    if ids[0] is None or ids[1] is None:
        return finding("logit_bias", "cannot tell", desk.cost.since(before), evidence="no token's id is known")
    try:
        forced = await _biased(desk, text, ids[0], 100.0, FORCED)
        barred = await _biased(desk, text, ids[1], -100.0, 1)
    except Fault as fault:
        if fault.kind not in REFUSALS:
            raise
        return refused("logit_bias", fault, desk.cost.since(before))
    return _judged(forced, barred, (rare, top), desk.cost.since(before))


def _judged(
    forced: Sequence[Position], barred: Sequence[Position], tokens: tuple[Likely, Likely], cost: Cost
) -> Finding:
    """What came where the one token was forced, and where the other was barred."""
    rare, top = tokens
    hits, came = sum(_same(p.drawn, rare) for p in forced), any(_same(p.drawn, top) for p in barred)
    evidence = (
        f"bias 100 on a token of ln p {rare.logprob:.1f}: it came {hits} times in {len(forced)}; "
        f"bias -100 on the likeliest: it {'came' if came else 'did not come'} at temperature 0"
    )
    if not forced or not barred:
        return finding("logit_bias", "cannot tell", cost, evidence="no token came back")
    if hits == len(forced) and not came:
        return finding("logit_bias", "honoured", cost, evidence=evidence)
    if hits < len(forced) and came:
        return finding("logit_bias", "ignored", cost, how="it changes nothing", evidence=evidence)
    how = "it does not force a token" if not came else "it does not bar a token"
    return finding("logit_bias", "honoured otherwise", cost, how=how, evidence=evidence)


async def _place(desk: Desk, text: str) -> Position | None:
    """The first place after a text."""
    answer = await desk.ask(desk.call(text, desk.fields({}), 1, logprobs=desk.likeliest))
    positions = answer.choices[0].positions
    return positions[0] if positions else None


async def _id(desk: Desk, token: Likely) -> int | None:
    """A token's id: said by the server, or found by spelling it."""
    if token.id is not None:
        return token.id
    try:
        ids = await desk.wire.tokenize(token.token)
    except Fault:
        return None
    return ids[0] if ids is not None and len(ids) == 1 else None


async def _biased(desk: Desk, text: str, token: int, bias: float, count: int) -> tuple[Position, ...]:
    params = {"temperature": 0.0} if bias < 0 and desk.can("temperature") else {}
    fields = {**desk.fields(params), "logit_bias": {str(token): bias}}
    answer = await desk.ask(desk.call(text, fields, count, logprobs=desk.likeliest))
    return answer.choices[0].positions


def _same(one: Likely, other: Likely) -> bool:
    return one.id == other.id if one.id is not None and other.id is not None else one.token == other.token
