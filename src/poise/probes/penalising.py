"""Penalties, on prompts made of the model's own words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from poise.probes.desk import Desk, said
from poise.probes.draws import Draws, Scope, is_special
from poise.probes.fits import Rival
from poise.probes.plan import VALUES, laws_of, rivals_of
from poise.probes.shaping import Findings, Prompts
from poise.probes.trying import Question, settle
from poise.servers.calls import Choice, Likely

OWN = 24  # tokens of a prompt made of the model's own words
TOKENS = 40  # with such a prompt, within llama.cpp's window of 64
COLD = (0.3, 0.6)  # where a repetition penalty shows most; and somewhat less, where texts end at once
_WINDOWS = (4, 8, 16, 32)
WANTED, _LEAST = 6, 8  # such prompts, and tokens of one at least


async def own_words(desk: Desk) -> tuple[Prompts, Draws]:
    """Some texts of the model, with their tokens: as prompts they hold tokens that are known.

    Args:
        desk: the server; everything is switched off.

    Returns:
        Up to `WANTED`, none where texts end at once; and everything that was drawn.

    Raises:
        Fault: the server is not there.
        Spent: no more requests may be made.
    """
    found: list[tuple[str, Sequence[Likely]]] = []
    ended: list[tuple[str, Sequence[Likely]]] = []  # after which the model has nothing more to say
    choices: list[Choice] = []
    while len(found) < WANTED and len(choices) < 2 * WANTED:
        calls = [desk.call(desk.opening(), desk.fields({}), OWN, logprobs=desk.likeliest) for _ in range(2)]
        for choice in (a.choices[0] for a in await desk.ask_all(calls)):
            choices.append(choice)
            tokens = [p.drawn for p in choice.positions if not is_special(p.drawn.token)]
            if len(tokens) >= _LEAST and said(choice).strip():
                (found if choice.finish == "length" else ended).append((said(choice), tokens))
    return tuple(found if len(found) > 1 else found + ended), desk.reader.read(choices)


async def try_penalty(desk: Desk, known: Findings, name: str) -> None:
    """Values of a penalty: whether it acts, how strongly where that can be told, and on which tokens."""
    for value in VALUES[name]:
        cold = name == "repetition_penalty" and known.holds("temperature", COLD[0])
        for temperature in (*COLD, None) if cold else (None,):
            outcome = await settle(desk, question(known, name, value, temperature))
            if outcome.verdict != "unclear":
                break
        known.outcomes.append(outcome)


def question(known: Findings, name: str, value: float, temperature: float | None) -> Question:
    """A penalty with what a server might make of it: other values, other scopes."""
    cold = {} if temperature is None else {"temperature": temperature}
    base = {**known.base, **cold}
    ignored, *rivals = rivals_of(name, value, base, *known.orders)
    if name == "repetition_penalty":  # how strong it is depends on what no server tells
        rivals = [r for r in rivals if not r.said.startswith(name)]
    honest = laws_of({**base, name: value}, *known.orders)
    scopes = _scoped(known, name, value, base)
    return Question(
        name, value, cold, honest, (ignored, next(scopes), *rivals, *scopes), tokens=TOKENS, prompts=known.own,
        stubborn=temperature == COLD[0],
    )  # fmt: skip


def _scoped(known: Findings, name: str, value: float, base: dict[str, float]) -> Iterator[Rival]:
    """The same value on other tokens."""
    mine: Scope = "prompt and output" if name == "repetition_penalty" else "output"
    other: Scope = "output" if mine == "prompt and output" else "prompt and output"
    habit = "counts drawn tokens only" if other == "output" else "also counts the prompt's tokens"
    params = {**base, name: value}
    laws = laws_of(params, *known.orders, scopes={name: other})
    yield Rival(f"one that {habit}", laws, value=value, close=value > 0, habit=f"it {habit}")
    for window in _WINDOWS:
        habit = f"counts about the last {window} tokens only"
        for scope in (mine, other):
            laws = laws_of(params, *known.orders, scopes={name: scope}, window=window)
            yield Rival(f"one that {habit}", laws, value=value, habit=f"it {habit}")
