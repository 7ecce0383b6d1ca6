"""Where texts end: max_tokens and stop strings."""

from __future__ import annotations

from poise.probes.desk import REFUSALS, Cost, Desk, said
from poise.probes.words import finding, refused
from poise.servers.calls import Answer, Fault
from poise.servers.honours import Finding, Honour

LIMITS = (1, 7, 40)
_TRIES = 3  # texts of which one should run into the limit
_LONG = 24  # tokens of the text that is stopped
_PIECE = 6  # characters of a stop string, about


async def try_max_tokens(desk: Desk) -> Finding:
    """Texts that run into the limit have exactly so many tokens.

    Args:
        desk: the server; everything is switched off.

    Returns:
        The finding.

    Raises:
        Fault: the server is not there.
        Spent: no more requests may be made.
    """
    before, seen, wrong = desk.cost, [], []
    try:
        for limit in LIMITS:
            count = await _counted(desk, limit)
            if count is not None:
                seen.append(f"{count} of {limit}")
                wrong += [(count, limit)] if count != limit else []
    except Fault as fault:
        if fault.kind not in REFUSALS:
            raise
        return refused("max_tokens", fault, desk.cost.since(before))
    cost = desk.cost.since(before)
    evidence = f"tokens that came, of the limit: {', '.join(seen)}" if seen else "no text said how many tokens it has"
    if not wrong:
        return finding("max_tokens", "honoured" if seen else "cannot tell", cost, evidence=evidence)
    honour: Honour = "ignored" if all(count > limit for count, limit in wrong) and len(wrong) > 1 else "honoured otherwise"
    how = "; ".join(f"{count} tokens come where {limit} are asked for" for count, limit in wrong)
    return finding("max_tokens", honour, cost, how=how, evidence=evidence)


async def _counted(desk: Desk, limit: int) -> int | None:
    """How many tokens a text has that was cut; None where none was, or nobody counts."""
    for _ in range(_TRIES):
        answer = await desk.ask(desk.call(desk.opening(), desk.fields({}), limit, logprobs=desk.likeliest))
        count = _tokens(answer)
        if count is None:
            return None
        if answer.choices[0].finish == "length" or count > limit:
            return count
    return None


def _tokens(answer: Answer) -> int | None:
    choice = answer.choices[0]
    found = [n for n in (answer.new_tokens, len(choice.positions) or None, len(choice.token_ids) or None) if n]
    return max(found) if found else None


async def try_stop(desk: Desk, greedy: bool) -> Finding:
    """A text ends before the stop string, also where that begins and ends inside tokens, and the first one counts.

    Args:
        desk: the server; everything is switched off.
        greedy: whether temperature 0 repeats itself, so that the same text comes again.

    Returns:
        The finding.

    Raises:
        Fault: the server is not there.
        Spent: no more requests may be made.
    """
    before, text = desk.cost, desk.opening()
    fields = desk.fields({"temperature": 0.0} if greedy else {})

    async def ask(stop: tuple[str, ...]) -> str:
        more = {} if greedy else {"seed": 11}
        return said((await desk.ask(desk.call(text, fields, _LONG, stop=stop, **more))).choices[0])

    whole = await ask(())
    early, late = pieces(whole)
    if not early:
        return finding("stop", "cannot tell", desk.cost.since(before), evidence="no text came to be stopped")
    try:
        one, both = await ask((early,)), await ask((late, early))
    except Fault as fault:
        if fault.kind not in REFUSALS:
            raise
        return refused("stop", fault, desk.cost.since(before))
    return judge_stop(whole, (early, late), one, both, desk.cost.since(before))


def judge_stop(whole: str, stops: tuple[str, str], one: str, both: str, cost: Cost) -> Finding:
    """What two stopped texts say.

    Args:
        whole: the text without a stop string.
        stops: the one that comes first in it, and a later one.
        one: the text when the first alone was sent.
        both: the text when the later one was sent first, then the other.
        cost: of it all.

    Returns:
        The finding.
    """
    early, late = stops
    until = whole[: whole.index(early)]
    evidence = f"stop {early!r}: {len(one)} characters of {len(whole)} came, {len(until)} stand before it"
    how = ""
    if one == until and both == until:
        return finding("stop", "honoured", cost, evidence=evidence)
    if one == until and both == whole[: whole.index(late)]:
        how = "of several stop strings the one that is named first ends the text, not the one that comes first"
    elif one == until + early:
        how = "the stop string stays in the text"
    elif one == whole or (early in one and len(one) >= len(whole)):
        return finding("stop", "ignored", cost, how="texts go on after it", evidence=evidence)
    elif early in one:
        how = "the text ends some time after the stop string"
    elif not whole.startswith(one):
        return finding("stop", "cannot tell", cost, evidence="the text did not come again")
    else:
        how = "the text ends elsewhere"
    return finding("stop", "honoured otherwise", cost, how=how, evidence=evidence)


def pieces(whole: str) -> tuple[str, str]:
    """Two parts of a text that occur in it once: one from its first half, one from its second; empty for none.

    >>> pieces("the old ship sailed far out to the cold sea")
    ('ship s', 'out to')
    """
    half = len(whole) // 2
    found = []
    for start, end in ((len(whole) // 5, half), (half + _PIECE, len(whole))):
        texts = (whole[i : i + _PIECE] for i in range(start, end - _PIECE))
        found.append(next((t for t in texts if t.strip() == t and whole.count(t) == 1), ""))
    return (found[0], found[1]) if all(found) else ("", "")
