"""Asks one server, counts what it costs, and stops at the budget."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from poise.params import PARAMETERS
from poise.probes.draws import Reader
from poise.probes.prompts import CHAT, OPENINGS
from poise.records import Message
from poise.servers.calls import About, Answer, Call, Choice, Fault, FaultKind, Wire
from poise.servers.neutral import ANY_TOP_K, BESIDE, NO_TOP_K, refuses_limit, renamed_limit
from poise.servers.patience import Patience, Watch

AT_ONCE = 4  # requests under way
SEEDED = 1_000  # the first seed, where requests are given one
PATIENCE = Patience()
TRIES = 4  # of one request that breaks the server: what it asks for may be why
# A refusal: this request is not answered, others may be. Anything else is about the server as a whole.
REFUSALS: frozenset[FaultKind] = frozenset({"rejected", "context", "broken", "malformed"})

Progress = Callable[[int, str], None]  # requests made, what is looked at


class Spent(Exception):
    """The budget of requests is used up."""


class Cost(NamedTuple):
    """Requests and tokens."""

    requests: int = 0
    tokens: int = 0

    def since(self, before: Cost) -> Cost:
        """What was added."""
        return Cost(self.requests - before.requests, self.tokens - before.tokens)


class Desk:
    """One server under examination: how it is asked, and what was spent.

    Args:
        wire: to it.
        about: what it says of itself.
        budget: requests that may be made.
        seed: of the order of the openings.
        progress: told what is looked at.
    """

    def __init__(self, wire: Wire, about: About, budget: int, seed: int, progress: Progress | None) -> None:
        self.wire, self.about, self.budget = wire, about, budget
        self.requests = self.tokens = 0
        self.chat = not about.has_text
        self.likeliest: int | None = None  # asked for at each place; None for no log-probabilities
        self.reader = Reader(0)
        self.plain: dict[str, float] = {}  # what switches every parameter off there, by poise's names
        self.beside: dict[str, float] = dict(BESIDE.get(about.kind, {}))  # and what poise has no name for
        self.refused: dict[str, str] = {}  # parameters that are refused even so, with the server's words
        self.seeds = False  # whether requests are given seeds, as they share their luck without
        self.copies = False  # whether texts without a seed are drawn with the same luck
        self.moved: frozenset[str] = frozenset()  # parameters that change what is listed
        self.lists: dict[str, Choice] = {}  # what is listed after some texts with everything off
        self._progress, self._asked = progress, 0
        self._renames = False  # whether the limit of new tokens goes by another name in chats
        self._watch, self._chance = Watch(PATIENCE), random.Random(seed)  # noqa: S311  jitter is no secret
        self._openings = random.Random(seed).sample(OPENINGS, len(OPENINGS))  # noqa: S311  no secret

    @property
    def cost(self) -> Cost:
        """Spent so far."""
        return Cost(self.requests, self.tokens)

    def say(self, what: str) -> None:
        """Tell what is looked at now."""
        if self._progress is not None:
            self._progress(self.requests, what)

    def can(self, name: str) -> bool:
        """Whether a parameter can be sent at all."""
        return name in self.wire.names

    def fields(self, params: Mapping[str, float], leave_out: Sequence[str] = ()) -> dict[str, Any]:
        """Every parameter switched off but these, by their names on the wire; all of them left out, nothing is sent."""
        sent = {n: v for n, v in {**self.plain, **params}.items() if n not in leave_out and self.can(n)}
        beside = {} if {*self.wire.names} <= {*leave_out} else self.beside
        return {**beside, **{self.wire.names[n]: int(v) if PARAMETERS[n].kind == "int" else v for n, v in sent.items()}}

    @property
    def turn(self) -> int:
        """A number that goes up with every use: whatever is chosen by it takes turns."""
        self._asked += 1
        return self._asked

    def opening(self) -> str:
        """An opening that was not used for a while."""
        return self._openings[self.turn % len(self._openings)]

    def flat(self) -> str:
        """One of the openings after which much may follow, as far as lists are known."""
        known = list(self.lists)
        return known[self.turn % len(known)] if known else self.opening()

    def call(self, text: str, fields: Mapping[str, Any], tokens: int, **more: Any) -> Call:
        """A request that continues a text."""
        if self.seeds:
            more.setdefault("seed", SEEDED + self.turn)
        if self.chat:
            said = (Message("user", CHAT.format(text)),)
            return Call(messages=said, fields=fields, max_tokens=tokens, **more)
        return Call(text=text, fields=fields, max_tokens=tokens, **more)

    async def ask(self, call: Call) -> Answer:
        """One answer; a request that fails in passing is tried again, and one that finds no room does not count.

        Args:
            call: the request.

        Returns:
            The answer.

        Raises:
            Fault: it was refused, or the server is not there.
            Spent: no more requests may be made.
        """
        failed = refused = 0
        while True:
            if self.requests >= self.budget:
                raise Spent
            self.requests += 1
            try:
                answer = await self.wire.ask(renamed_limit(call) if self._renames else call)
            except Fault as fault:
                if not self._renames and refuses_limit(fault.field, call):
                    self._renames = True
                    continue
                busy = fault.kind == "busy"
                failed, refused, self.requests = failed + (not busy), refused + busy, self.requests - busy
                if self._gives_up(fault, failed):
                    raise
                await asyncio.sleep(PATIENCE.delay(failed + refused, fault, self._chance))
            else:
                self._watch.answered()
                self.tokens += _tokens(answer)
                return answer

    def _gives_up(self, fault: Fault, failed: int) -> bool:
        """Whether no further try may help, by the rules of every other request."""
        if not fault.passing:
            self._watch.answered()  # it said no, so it is there
            return True
        tries = TRIES if fault.kind in REFUSALS else PATIENCE.attempts
        return self._watch.failed(fault, time.monotonic()) or failed >= tries

    async def ask_all(self, calls: Sequence[Call]) -> list[Answer]:
        """Several answers, in order; a few requests are under way at once."""
        found: list[Answer] = []
        for start in range(0, len(calls), AT_ONCE):
            batch = calls[start : start + AT_ONCE]
            came = await asyncio.gather(*map(self.ask, batch), return_exceptions=True)
            for one in came:
                if isinstance(one, BaseException):
                    raise one
                found.append(one)
        return found

    async def settle(self) -> None:
        """Find what switches everything off there, and is not refused."""
        self.plain = {n: p.neutral for n, p in PARAMETERS.items() if p.neutral is not None and self.can(n)}
        off = list(NO_TOP_K.get(self.about.kind, ANY_TOP_K)) if self.can("top_k") else []
        if off:
            self.plain["top_k"] = off.pop(0)
        while True:
            try:
                await self.ask(self.call(self.opening(), self.fields({}), 1))
                return
            except Fault as fault:
                if fault.kind not in REFUSALS:
                    raise
                if self.beside.pop(fault.field, None) is not None:
                    continue
                name = self._named(fault) or await self._culprit(fault)
                if name == "top_k" and off:
                    self.plain["top_k"] = off.pop(0)
                    continue
                if not name or name not in self.plain:
                    raise
                self.refused[name] = fault.told
                del self.plain[name]

    def _named(self, fault: Fault) -> str:
        return next((n for n, w in self.wire.names.items() if fault.field and w == fault.field), "")

    async def _culprit(self, fault: Fault) -> str:
        """The parameter that is refused when it comes alone; empty where none is, or nothing is answered."""
        text = self.opening()
        await self.ask(self.call(text, {}, 1))
        for name in self.plain:
            try:
                await self.ask(self.call(text, {self.wire.names[name]: self.fields({})[self.wire.names[name]]}, 1))
            except Fault as again:
                if again.kind not in REFUSALS:
                    raise
                return name
        return ""


def said(choice: Choice) -> str:
    """Everything that a choice says, thinking included."""
    return choice.thinking + choice.text


def _tokens(answer: Answer) -> int:
    if answer.new_tokens is not None:
        return answer.new_tokens
    return sum(max(len(c.positions), len(c.token_ids), len(said(c)) // 4) for c in answer.choices)
