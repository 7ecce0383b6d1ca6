"""One value of one parameter, tried until it is clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from poise.probes.desk import REFUSALS, Desk
from poise.probes.draws import Draws, joined
from poise.probes.fits import AGAINST, FOR, RIVALRY, Book, Rival, log_mean
from poise.probes.shapes import Shape
from poise.servers.calls import Fault, Likely

TOKENS = 48  # of one text: with the opening, within the shortest window of penalties in use
TEXTS = 2  # of one round
PLACES = 240  # drawn tokens after which no more rounds are added
MOST_ROUNDS, FEW_ROUNDS = 10, 2  # where texts end early; where they share their luck, and more of them add little
_PATIENCE = 4  # rounds of texts that end at once
Verdict = Literal["as asked", "otherwise", "ignored", "rejected", "unclear"]


class Question(NamedTuple):
    """A value to be tried.

    Args:
        name: of the parameter.
        value: of it.
        sent: other parameters sent with it, by poise's names.
        honest: the laws that it may mean.
        rivals: what a server might do instead; the first is nothing.
        rounds: of `TEXTS` texts at most, unless texts end early.
        tokens: of a text.
        prompts: what is continued, with what is known of its tokens; empty for the usual openings.
        leave_out: parameters that are not sent at all.
        stubborn: whether to go on, for twice the rounds, where texts end at once: some of their tokens tell much.
    """

    name: str
    value: float
    sent: Mapping[str, float]
    honest: tuple[Shape, ...]
    rivals: tuple[Rival, ...]
    rounds: int = 6
    tokens: int = TOKENS
    prompts: Sequence[tuple[str, Sequence[Likely]]] = ()
    leave_out: tuple[str, ...] = ()
    stubborn: bool = False


class Outcome(NamedTuple):
    """What came of it.

    Args:
        question: that was asked.
        verdict: on the value.
        rival: what the server does instead, where it does something else.
        nats: evidence for the verdict.
        places: drawn tokens that the verdict rests on.
        told: the server's words where it was refused.
        settled: whether more draws would add nothing.
        draws: that it rests on.
    """

    question: Question
    verdict: Verdict
    rival: Rival | None = None
    nats: float = 0.0
    places: int = 0
    told: str = ""
    settled: bool = True
    draws: Draws | None = None

    @property
    def said(self) -> str:
        """One clause for the evidence."""
        value = "off" if self.question.value == np.inf else f"{self.question.value:g}"
        if self.verdict == "rejected":
            return f"{value} is refused ({self.told})"
        odds = f"{self.places} drawn tokens, e^{self.nats:.0f} times as likely"
        if self.verdict == "as asked":
            return f"{value} holds ({odds} as if it did nothing)"
        if self.verdict == "unclear":
            return f"{value} could not be told ({self.places} drawn tokens)"
        like = "nothing known" if self.rival is None else self.rival.said
        done = "does nothing" if self.verdict == "ignored" else f"acts like {like}"
        return f"{value} {done} ({odds} as if it held)"


async def draw(desk: Desk, question: Question) -> Draws:
    """One round of texts; of lists, where the parameters in question change what is listed."""
    params = {**question.sent, question.name: question.value} if question.name else question.sent
    fields = desk.fields(params, question.leave_out)
    if desk.moved & {*params, *question.leave_out}:
        return await _compare(desk, question, fields)
    calls, known = [], []
    for _ in range(TEXTS):
        own = question.prompts
        text, tokens = own[desk.turn % len(own)] if own else (desk.opening(), ())
        tokens_wanted = question.tokens * (2 if desk.copies else 1)
        calls.append(desk.call(text, fields, tokens_wanted, logprobs=desk.likeliest))
        known.append(tokens)
    answers = await desk.ask_all(calls)
    return desk.reader.read([a.choices[0] for a in answers], known)


async def _compare(desk: Desk, question: Question, fields: Mapping[str, Any]) -> Draws:
    """What is listed first after some texts: with everything off, and under the settings in question."""
    own = question.prompts
    pairs = [own[desk.turn % len(own)] if own else (desk.flat(), ()) for _ in range(TEXTS)]
    for text, _ in pairs:
        if text not in desk.lists:
            answer = await desk.ask(desk.call(text, desk.fields({}), 1, logprobs=desk.likeliest))
            desk.lists[text] = answer.choices[0]
    answers = await desk.ask_all([desk.call(text, fields, 1, logprobs=desk.likeliest) for text, _ in pairs])
    plain = desk.reader.read([desk.lists[text] for text, _ in pairs], [tokens for _, tokens in pairs])
    now = desk.reader.read([a.choices[0] for a in answers])
    if plain.places != now.places:  # a text that ended at once
        return desk.reader.read(()).beside(np.zeros((0, desk.reader.width)))
    same = plain.keys[:, :, None] == now.keys[:, None, :]
    return plain.beside((same * np.exp(now.logprobs)[:, None, :]).sum(axis=2))


async def settle(desk: Desk, question: Question) -> Outcome:
    """Draw until the value is clear.

    Args:
        desk: the server.
        question: what is asked.

    Returns:
        The outcome.

    Raises:
        Fault: the server is not there.
        Spent: no more requests may be made.
    """
    parts: list[Draws] = []
    outcome = Outcome(question, "unclear")
    most = 2 * MOST_ROUNDS if question.stubborn else MOST_ROUNDS
    for number in range(1, most + 1):
        try:
            parts.append(await draw(desk, question))
        except Fault as fault:
            if fault.kind not in REFUSALS:
                raise
            return Outcome(question, "rejected", told=fault.told)
        enough = number >= question.rounds and sum(p.places for p in parts) >= PLACES
        last = number == (FEW_ROUNDS if desk.copies else most)
        last = last or (enough and not any(r.close for r in question.rivals))
        last = last or (_barren(parts) and not (question.stubborn and any(p.telling.any() for p in parts)))
        drawn = joined(parts)
        outcome = judge(question, Book(drawn, desk.copies), last)._replace(draws=drawn)
        if last or (outcome.verdict != "unclear" and outcome.settled):
            break
    return outcome


def _barren(parts: Sequence[Draws]) -> bool:
    """Whether texts end at once, so that more of them add nothing."""
    places = sum(int(p.telling.sum()) for p in parts)
    return len(parts) >= _PATIENCE and places < len(parts) * TEXTS and parts[0].seen is None


def judge(question: Question, book: Book, last: bool = False) -> Outcome:
    """What the draws so far say.

    A value is not honoured where the rivals together are 1/α times as likely; it is honoured where it is 1/β times as
    likely as nothing at all, and no rival is far ahead of it.

    Args:
        question: what was asked.
        book: the draws.
        last: whether there will be no more.

    Returns:
        The outcome; ``unclear``, or not settled, where more draws are needed.
    """
    places = int(book.draws.telling.sum())
    ahead = [book.nats(r.laws, question.honest) for r in question.rivals]
    if log_mean(ahead) >= AGAINST:
        return _instead(question, book, ahead, places)
    nats = book.nats(question.honest, question.rivals[0].laws)
    leads = [book.nats(question.honest, r.laws) for r in question.rivals if r.close]
    told_apart = all(lead >= (RIVALRY if last else FOR) for lead in leads)
    clear = nats >= FOR and told_apart and (log_mean(ahead) if last else max(ahead)) < RIVALRY
    return Outcome(question, "as asked" if clear else "unclear", None, nats, places)


def _instead(question: Question, book: Book, ahead: Sequence[float], places: int) -> Outcome:
    """What the server does, once it is clear that the value does not hold."""
    ignored, *others = question.rivals
    near = max(ahead) - RIVALRY  # of those that are about as likely, the most plausible
    if ahead[0] < max(ahead):
        best = next(r for r, a in zip(others, ahead[1:], strict=True) if a >= near)
        lead = book.nats(best.laws, ignored.laws)
        if lead >= RIVALRY:
            return Outcome(question, "otherwise", best, max(ahead), places, settled=lead >= FOR)
        return Outcome(question, "ignored", ignored, max(ahead), places, settled=False)
    doubts = [r for r in question.rivals if r.close and book.nats(ignored.laws, r.laws) < FOR]
    if doubts:
        return Outcome(question, "otherwise", None, max(ahead), places, settled=False)
    return Outcome(question, "ignored", ignored, max(ahead), places)
