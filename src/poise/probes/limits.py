"""Where texts end: max_tokens and stop strings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poise.probes.desk import REFUSALS, Desk, said
from poise.probes.words import finding, refused
from poise.servers.calls import Answer, Fault
from poise.servers.honours import Finding, Honour

LIMITS = (1, 7, 40)
_TRIES = 10  # texts of which one should be long enough to stop
_TEXTS = 4  # texts that a letter should end
_RUNS = 16  # texts of which one should run into the limit: many end by themselves before
_LONG = 24  # tokens of the text that is stopped
_PIECE = 6  # characters of a stop string
_LETTER = "e"  # in most languages written with it, no text of this length lacks it


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
    before, seen, wrong, unseen = desk.cost, [], [], []
    try:
        for limit in LIMITS:
            count = await _counted(desk, limit)
            if count is None:
                unseen.append(f"no text ran into {limit}")
                continue
            seen.append(f"{count} of {limit}")
            wrong += [(count, limit)] if count != limit else []
    except Fault as fault:
        if fault.kind not in REFUSALS:
            raise
        return refused("max_tokens", fault, desk.cost.since(before))
    cost = desk.cost.since(before)
    evidence = f"tokens that came, of the limit: {', '.join([*seen, *unseen])}"
    if not wrong:
        return finding("max_tokens", "cannot tell" if unseen else "honoured", cost, evidence=evidence)
    ignored = len(wrong) > 1 and all(count > limit for count, limit in wrong)
    honour: Honour = "ignored" if ignored else "honoured otherwise"
    how = "; ".join(f"{count} tokens come where {limit} are asked for" for count, limit in wrong)
    return finding("max_tokens", honour, cost, how=how, evidence=evidence)


async def _counted(desk: Desk, limit: int) -> int | None:
    """How many tokens a text has that was cut; None where none was, or the server does not count them."""
    for _ in range(_RUNS):
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


async def try_stop(desk: Desk, repeats: Mapping[str, Any] | None) -> Finding:
    """A text ends before the stop string, also where that begins and ends inside tokens, and the first one counts.

    Args:
        desk: the server; everything is switched off.
        repeats: what makes a request give the same text again: fields and a seed; None for nothing.

    Returns:
        The finding.

    Raises:
        Fault: the server is not there.
        Spent: no more requests may be made.
    """
    before = desk.cost
    try:
        found = await _exactly(desk, repeats) if repeats is not None else None
        return (found or await _letters(desk))._replace(**desk.cost.since(before)._asdict())
    except Fault as fault:
        if fault.kind not in REFUSALS:
            raise
        return refused("stop", fault, desk.cost.since(before))


async def _exactly(desk: Desk, repeats: Mapping[str, Any]) -> Finding | None:
    """The same text with and without stop strings; None where no text is long enough."""
    for _ in range(_TRIES):
        text = desk.opening()

        async def ask(stop: tuple[str, ...], text: str = text) -> str:
            more = {"fields": desk.fields({}), **repeats}
            return said((await desk.ask(desk.call(text, more.pop("fields"), _LONG, stop=stop, **more))).choices[0])

        whole = await ask(())
        early, late = pieces(whole)
        if early:
            return judge_stop(whole, (early, late), await ask((early,)), await ask((late, early)))
    return None


async def _letters(desk: Desk) -> Finding:
    """A letter that every text has ends it."""
    kept = went_on = stopped = 0
    for _ in range(_TEXTS):
        choice = (await desk.ask(desk.call(desk.opening(), desk.fields({}), _LONG, stop=(_LETTER,)))).choices[0]
        if choice.text.endswith(_LETTER) and choice.text.count(_LETTER) == 1 and choice.finish != "length":
            kept += 1
        elif _LETTER in choice.text:
            went_on += 1
        elif choice.text and choice.finish in ("stop", "eos"):
            stopped += 1
    seen = f"stop {_LETTER!r}: {stopped} texts ended before it, {kept} with it, {went_on} went on"
    if went_on > 1:  # a text that ends by itself may lack the letter, and looks as if it was stopped
        return finding("stop", "ignored", how="texts go on after it", evidence=seen)
    if kept > 1:
        return finding("stop", "honoured otherwise", how="the stop string stays in the text", evidence=seen)
    if stopped > 1 and not kept + went_on:
        return finding("stop", "honoured", evidence=seen)
    return finding("stop", "cannot tell", evidence=seen)


def judge_stop(whole: str, stops: tuple[str, str], one: str, both: str) -> Finding:
    """What two stopped texts say.

    Args:
        whole: the text without a stop string.
        stops: the one that comes first in it, and a later one.
        one: the text when the first alone was sent.
        both: the text when the later one was sent first, then the other.

    Returns:
        The finding.
    """
    early, late = stops
    until = whole[: whole.index(early)]
    evidence = f"stop {early!r}: {len(one)} characters of {len(whole)} came, {len(until)} stand before it"
    how = ""
    if one == until and both == until:
        return finding("stop", "honoured", evidence=evidence)
    if one == until and both == whole[: whole.index(late)]:
        how = "of several stop strings the one that is named first ends the text, not the one that comes first"
    elif one == until + early:
        how = "the stop string stays in the text"
    elif one == whole or (early in one and len(one) >= len(whole)):
        return finding("stop", "ignored", how="texts go on after it", evidence=evidence)
    elif early in one:
        how = "the text ends some time after the stop string"
    elif not whole.startswith(one):
        return finding("stop", "cannot tell", evidence="the text did not come again")
    else:
        how = "the text ends elsewhere"
    return finding("stop", "honoured otherwise", how=how, evidence=evidence)


def pieces(whole: str) -> tuple[str, str]:
    """Two parts of a text that occur in it once: one from its first half, one from its second; empty for none.

    >>> pieces("the old ship sailed far out to the cold sea")
    ('ship s', 'to the')
    """
    half = len(whole) // 2
    found = []
    for start, end in ((len(whole) // 5, half), (half + _PIECE, len(whole))):
        texts = (whole[i : i + _PIECE] for i in range(start, end - _PIECE))
        found.append(next((t for t in texts if t.strip() == t and whole.count(t) == 1), ""))
    return (found[0], found[1]) if all(found) else ("", "")
