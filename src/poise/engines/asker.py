"""One server, asked from code that has no event loop."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from poise.engines.remote_options import ServerOptions
from poise.errors import ModelError, ServerError
from poise.records import Message
from poise.servers.calls import About, Answer, Call, Fault, Wire
from poise.servers.loops import LoopThread
from poise.servers.neutral import Neutral
from poise.servers.pool import Pool
from poise.servers.words import Place, error_of

T = TypeVar("T")
Ids = tuple[int, ...]
LOUD = 100.0  # a logit bias that leaves no other token a chance
SLACK = 1e-3  # probabilities may sum to this much above 1: some servers compute them in half precision


class Asker:
    """A server whose every parameter is off unless asked for.

    Args:
        wire: to it.
        options: how it is asked.
        place: how messages speak of it.

    Raises:
        PoiseError: it does not answer, or lacks the model.
    """

    def __init__(self, wire: Wire, options: ServerOptions, place: Place) -> None:
        self.wire, self._place, self._loop = wire, place, LoopThread(wire.close)
        self._finalizer = weakref.finalize(self, self._loop.stop)
        self.read = 0  # tokens of prompts sent; the server's prefix cache spares it most of the work, not of the price
        self._names: tuple[str, str] | None = None  # the model and the system, as first answered
        try:
            self.about: About = self._run(wire.about())
        except BaseException:
            self.close()
            raise
        self._place = place._replace(model=self.about.model, models=self.about.models, names=wire.names)
        neutral = Neutral(wire, self.about)
        self.pool = Pool(neutral, options.concurrency, options.rate, check=_check)
        self._trying = Pool(neutral, 1, options.rate)

    def ask(self, calls: Sequence[Call]) -> list[Answer]:
        """Ask several things at once.

        Args:
            calls: what is asked.

        Returns:
            The answers, in order.

        Raises:
            PoiseError: what is wrong, in the user's words.
        """
        found = self._run(_all(self.pool, calls))
        self.read += sum(len(call.ids or ()) for call in calls)
        for answer in found:
            self._watch(answer)
        self._place = self._place._replace(started=True)
        return found

    def try_one(self, call: Call) -> Answer | Fault:
        """Ask something that the server may refuse, or half answer. Raises PoiseError where it does not answer."""
        try:
            return self._run(_all(self._trying, [call]), refused=True)[0]
        except Fault as fault:
            return fault

    def words(self, lists: Sequence[Ids]) -> list[str]:
        """The texts of lists of token ids. Raises PoiseError."""
        found = self._run(_gather([self.wire.detokenize(ids) for ids in lists]))
        known = [text for text in found if text is not None]
        if len(known) < len(found):
            raise self._cannot("turns token ids into text")
        return known

    def ids(self, texts: Sequence[str], special: bool = False) -> list[Ids]:
        """The token ids of texts; `special` adds what the tokenizer puts around one. Raises PoiseError."""
        found = self._run(_gather([self.wire.tokenize(text, special) for text in texts]))
        known = [ids for ids in found if ids is not None]
        if len(known) < len(found):
            raise self._cannot("turns text into token ids")
        return known

    def chat(self, messages: Sequence[Message], thinking: bool | None = None) -> Ids | None:
        """The token ids of messages through the server's template; None where it has no way to tell."""
        render: Any = getattr(self.wire, "render", None)
        if render is None:
            return None
        found: Ids | None = self._run(render(tuple(messages), thinking))
        return found

    def close(self) -> None:
        """Hang up."""
        self._finalizer.detach()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T], refused: bool = False) -> T:
        try:
            return self._loop.run(work)
        except Fault as fault:
            if refused and not fault.passing:
                raise
            raise error_of(fault, self._place) from None

    def _watch(self, answer: Answer) -> None:
        names = answer.model, answer.system
        self._names = self._names or names
        if names != self._names:
            was, now = (" ".join(filter(None, n)) for n in (self._names, names))
            raise ServerError("A server keeps its model under way", f"{now!r} after {was!r}", "Draw into a new study")

    def _cannot(self, what: str) -> ModelError:
        got, step = f"{self._place.url}, which has no way to", "Let it draw by itself (--draws-by server)"
        return ModelError(f"A server on which poise draws {what}", got, step)


async def _all(pool: Pool, calls: Sequence[Call]) -> list[Answer]:
    found: dict[int, Answer] = {}
    async for number, came in pool.answers(enumerate(calls)):
        if isinstance(came, Fault):
            raise came
        found[number] = came
    return [found[number] for number in range(len(calls))]


async def _gather(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    room = asyncio.Semaphore(16)

    async def one(each: Coroutine[Any, Any, T]) -> T:
        async with room:
            return await each

    return list(await asyncio.gather(*map(one, work)))


def _check(call: Call, answer: Answer) -> None:
    """Whether an answer rates the next token; log-probabilities that are none are asked for again."""
    if call.logprobs is None:
        return
    positions = [p for choice in answer.choices for p in choice.positions]
    if not positions or len(positions[-1].likeliest) < min(call.logprobs, 1):
        raise Fault("malformed", "an answer without log-probabilities")
    for likely in positions[-1].likeliest:
        if likely.id is None or not likely.logprob < SLACK:
            raise Fault("malformed", f"{likely.token!r} has no id, or ln p = {likely.logprob:g}")
