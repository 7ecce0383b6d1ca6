"""One batch of texts from a server, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field

from poise.engines.remote_calls import Manners, call_of, completion_of
from poise.engines.remote_notices import Notices
from poise.errors import PoiseError, PromptError, ServerError
from poise.records import Completion, Request
from poise.servers.calls import Answer, Call, Fault
from poise.servers.loops import LoopThread
from poise.servers.pool import Pool
from poise.servers.words import KEPT, Place, error_of
from poise.sessions import Tally

_NOTED = 60  # characters of a prompt that a message shows


@dataclass(slots=True)
class Voice:
    """How a server names itself in its answers: what every later answer is held against.

    Args:
        model: as it repeats the model's name.
        system: its system fingerprint.
        systems: all that were seen.
        shifts: whether several systems are usual there: hosted services spread requests over machines.
        took: parameters that it took with some value.
    """

    model: str = ""
    system: str = ""
    systems: set[str] = field(default_factory=set)
    shifts: bool = False
    took: set[str] = field(default_factory=set)

    def changed(self, answer: Answer) -> str:
        """What is not as it was; empty where all is."""
        self.model, self.system = self.model or answer.model, self.system or answer.system
        self.systems.update(filter(None, [answer.system]))
        if answer.model and answer.model != self.model:
            return f"{answer.model!r} where {self.model!r} answered before"
        if answer.system and answer.system != self.system and not self.shifts:
            return f"system {answer.system!r} where {self.system!r} answered before"
        return ""


class Batch:
    """Draws some requests.

    Args:
        thread: where the pool lives.
        pool: to the server.
        manners: of every call.
        place: the server, for messages.
        voice: the server's, kept from batch to batch.
        anyway: whether texts longer than asked for are taken.
    """

    def __init__(
        self, thread: LoopThread, pool: Pool, manners: Manners, place: Place, voice: Voice, anyway: bool
    ) -> None:
        self.notices = Notices(place.model, manners.thinking)
        self._thread, self._pool, self._manners, self._place, self._voice = thread, pool, manners, place, voice
        self._anyway = anyway
        self._fatal: PoiseError | None = None
        self._too_long: list[Request] = []
        self._failed: list[Fault] = []
        self._sent, self._again = pool.sent, pool.again

    def draw(self, requests: Sequence[Request], tally: Tally) -> Generator[Completion, None, None]:
        """Draw.

        Args:
            requests: what to draw.
            tally: filled with the cost as it grows.

        Yields:
            Completions as they come. Closing the generator hangs up on the rest.

        Raises:
            PoiseError: something is lacking at the end; whatever came was yielded.
        """
        calls = ((request, call_of(request, self._manners)) for request in requests)
        try:
            with closing(self._thread.iterate(lambda: self._sound(calls))) as stream:
                for request, answer in stream:
                    self._count(tally)
                    tally.completions += 1
                    tally.prompt_tokens += answer.prompt_tokens or 0
                    tally.tokens += answer.new_tokens or len(answer.choices[0].token_ids)
                    self.notices.see(answer.choices[0])
                    yield completion_of(request, answer, self._manners.logprobs)
        except Fault as fault:
            self._fatal = self._fatal or error_of(fault, self._place)
        self._count(tally)
        self._end(len(requests))

    def _count(self, tally: Tally) -> None:
        sent, again = self._pool.sent, self._pool.again
        tally.requests, tally.retries = tally.requests + sent - self._sent, tally.retries + again - self._again
        self._sent, self._again = sent, again

    async def _sound(self, calls: Iterator[tuple[Request, Call]]) -> AsyncGenerator[tuple[Request, Answer], None]:
        """Answers that can be taken; in the loop's thread, so that nothing more is sent once one cannot."""
        async with aclosing(self._pool.answers(calls)) as stream:
            async for request, came in stream:
                if isinstance(came, Fault):
                    self._note(request, came)
                elif self._is_sound(request, came):
                    self._voice.took.update(request.params.active())
                    yield request, came

    def _note(self, request: Request, fault: Fault) -> None:
        """A call ended with a fault. What is wrong with one prompt is no reason to leave the others."""
        if fault.kind == "context":
            self._too_long.append(request)
            self._failed.append(fault)
        elif fault.passing:
            self._failed.append(fault)
        else:
            self._stop(error_of(fault, self._place, request.params.active(), self._voice.took))

    def _is_sound(self, request: Request, answer: Answer) -> bool:
        if changed := self._voice.changed(answer):
            self._stop(changed_error(self._place, changed))
            return False
        if not self._anyway and (answer.new_tokens or 0) > request.max_tokens + 1:  # some count the end of text
            self._stop(
                ServerError(
                    f"{self._place.model} ends a text after max_tokens={request.max_tokens:,}",
                    f"{answer.new_tokens:,} tokens from {self._place.url}",
                    "`poise probe` says what else it ignores; --anyway takes texts as they come",
                )
            )
            return False
        return True

    def _stop(self, error: PoiseError) -> None:
        """Send nothing more; what is under way may still come."""
        if self._fatal is None:
            self._fatal = error
            self._pool.stop()

    def _end(self, asked: int) -> None:
        if self._fatal is not None:
            raise self._fatal
        if not self._failed:
            return
        if self._too_long and len(self._too_long) == len(self._failed):
            prompts = list(dict.fromkeys(r.prompt for r in self._too_long))
            shown = repr(prompts[0].shown if len(prompts[0].shown) <= _NOTED else prompts[0].shown[:_NOTED] + "…")
            told = self._failed[-1].told.rstrip(".")
            more = f" and {len(prompts) - 1:,} more prompts" if len(prompts) > 1 else ""
            raise PromptError(
                "Prompt and new tokens fit into the model's context", f"{shown}{more}: {told}",
                f"Shorten it, or take a lower max_tokens; all other texts are drawn, and {KEPT}",
            )  # fmt: skip
        last = next(f for f in reversed(self._failed) if f.kind != "context")
        error = error_of(last, self._place)
        times = (
            f"after {self._pool.patience.attempts} attempts each, {len(self._failed):,} of {asked:,} requests failed"
        )
        raise type(error)(error.rule, f"{error.got}; {times}", error.next_step)


def changed_error(place: Place, changed: str) -> ServerError:
    """The error for a server that is not what it was.

    Args:
        place: the server.
        changed: what changed.

    Returns:
        The error.
    """
    return ServerError(
        "A study is drawn from one model, which stays as it is", f"{changed}, at {place.url}",
        "What was drawn before is kept. Serve the same model again and run the same command, or begin another study",
    )  # fmt: skip
