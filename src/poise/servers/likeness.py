"""What a model says to test texts, to be known by it."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from poise.records import Message
from poise.servers.calls import Answer, Call, Fault, Likely
from poise.servers.patience import Patience

TEXTS = (
    "Once upon a time, in a distant galaxy, there was",
    "The three most important inventions of the last century are",
    "Dear neighbours, I would like to",
)
LISTED = 20  # likeliest tokens that are compared
_FEW = 5  # where so many are refused
MOVED = 0.3  # nats by which the log-probabilities of another model differ in the middle; rounding moves them far less
LEAST = 2  # texts that have to differ: at one of them two tokens may nearly tie
_TOKENS = 6
_TRIES, _LONGEST = 4, 5.0  # of one request, and seconds that a server may ask to wait: a check is worth no more


class Asked(Protocol):
    """As much of a wire as a look needs; what a call leaves out is switched off."""

    names: Mapping[str, str]

    async def ask(self, call: Call) -> Answer: ...


class Likeness(NamedTuple):
    """A model, as far as it can be told from another one under the same name.

    Args:
        listed: ln p of the likeliest tokens after the first test text, by token; empty where none come back.
        texts: how it goes on at temperature 0, where none come back and that repeats; else empty.
    """

    listed: Mapping[str, float] = {}
    texts: tuple[str, ...] = ()

    def differs(self, other: Likeness) -> str:
        """Why it is another model; empty where it may be the same one, or nothing can be told.

        >>> Likeness({" a": -0.5, " b": -1.0}).differs(Likeness({" a": -0.52, " b": -0.98}))
        ''
        """
        if self.listed and other.listed:
            common = self.listed.keys() & other.listed.keys()
            if 2 * len(common) < min(len(self.listed), len(other.listed)):
                return "other likely tokens after the same text than before"
            moved = statistics.median(abs(self.listed[t] - other.listed[t]) for t in common)
            return f"log-probabilities of the same text that moved by {moved:.2f}" if moved > MOVED else ""
        apart = sum(a != b for a, b in zip(self.texts, other.texts, strict=False))
        return "other texts at temperature 0 than before" if apart >= LEAST else ""

    def record(self) -> dict[str, Any]:
        """As plain data; empty where nothing is known."""
        said = {"listed": dict(self.listed), "texts": list(self.texts)}
        return {name: value for name, value in said.items() if value}

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Likeness:
        """From what `record` gave."""
        return cls(record.get("listed", {}), tuple(record.get("texts", ())))


def likeness_of(likeliest: Sequence[Likely]) -> Likeness:
    """A likeness from what was listed after the first test text; empty where that says too little."""
    best = [t for t in likeliest if t.logprob > -100][:LISTED]
    return Likeness({t.token if t.id is None else f"#{t.id}": t.logprob for t in best} if len(best) > 1 else {})


async def look_at(wire: Asked, chat: bool, repeats: bool) -> Likeness:
    """See what a model says to the test texts.

    Args:
        wire: to the server.
        chat: whether it has to be asked by messages.
        repeats: whether it is known to repeat itself at temperature 0.

    Returns:
        Its likeness; an empty one where it says nothing that could be compared, or cannot be reached.
    """
    for most in (LISTED, _FEW):
        try:
            answer = await _asked(wire, asked_of(chat, 0)._replace(max_tokens=1, logprobs=most))
        except Fault as fault:
            if fault.kind != "rejected":
                return Likeness()
            continue
        positions = answer.choices[0].positions if answer.choices else ()
        found = likeness_of(positions[0].likeliest if positions else ())
        if found.listed:
            return found
        break
    if not repeats or "temperature" not in wire.names:
        return Likeness()
    fields = {wire.names["temperature"]: 0}
    calls = [asked_of(chat, i)._replace(fields=fields, max_tokens=_TOKENS) for i in range(len(TEXTS))]
    try:
        texts = tuple([_said(await _asked(wire, call)) for call in calls])
    except Fault:
        return Likeness()
    return Likeness(texts=texts) if sum(map(bool, texts)) >= LEAST else Likeness()


def asked_of(chat: bool, number: int) -> Call:
    """The request of a test text; nothing of it is kept as a draw."""
    text = TEXTS[number]
    return Call(messages=(Message("user", text),)) if chat else Call(text=text)


async def _asked(wire: Asked, call: Call) -> Answer:
    """One answer; a fault in passing is waited out a few times."""
    tries = 0
    while True:
        tries += 1
        try:
            return await wire.ask(call)
        except Fault as fault:
            if not fault.passing or tries == _TRIES or (fault.wait or 0.0) > _LONGEST:
                raise
            await asyncio.sleep(Patience().delay(tries, fault, random.Random()))  # noqa: S311  jitter is no secret


def _said(answer: Answer) -> str:
    return "".join(choice.thinking + choice.text for choice in answer.choices)
