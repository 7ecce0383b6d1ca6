"""A fake server whose answers can be twisted, and engines on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

from poise.engines.remote import RemoteEngine
from poise.errors import PoiseError
from poise.fakeserver import FakeWire
from poise.params import SamplingParams
from poise.records import Completion, Message, Prompt, Request
from poise.servers.calls import About, Answer, Call
from poise.servers.honours import Finding, Probe
from poise.servers.likeness import TEXTS
from poise.sessions import Engine, Tally

SHIP = Prompt(" the ship")
CHAT = Prompt(messages=(Message("user", "the ship"),))
LOOKED_AT = (Finding("temperature", "honoured"), Finding("order", "honoured"))  # enough for sweeps of temperatures


class Wire(FakeWire):
    """A fake server that notes every call, and can be made to answer anything.

    Args:
        style, lies: see `FakeWire`.
        twist: from the number of the exchange, the call and the honest answer to what comes instead.
    """

    def __init__(
        self, style: str = "vllm", lies: Sequence[str] = (), twist: Callable[..., Any] | None = None, seed: int = 0
    ) -> None:
        super().__init__(style, lies, seed)
        self.calls: list[Call] = []
        self.closed = 0
        self.said: dict[str, Any] = {}
        self._twist = twist

    async def about(self) -> About:
        return (await super().about())._replace(**self.said)

    async def ask(self, call: Call) -> Answer:
        if call.text in TEXTS or any(m.content in TEXTS for m in call.messages):  # a look at the model, and no draw
            return await super().ask(call)
        number = len(self.calls)
        self.calls.append(call)
        answer = await super().ask(call)
        came = self._twist(number, call, answer) if self._twist else answer
        if isinstance(came, Exception):
            raise came
        assert isinstance(came, Answer)
        return came

    async def close(self) -> None:
        self.closed += 1


def probed(*findings: Finding, **more: Any) -> Probe:
    said = {
        "url": "u", "model": "m", "kind": "vllm", "version": "1", "identity": "i", "dialect": "server",
        "logprobs": "none", "top_logprobs": 0, "takes_ids": True, "requests": 1, "tokens": 1, "seconds": 1.0,
        "made_at": 1_700_000_000.0,
    }  # fmt: skip
    return Probe(**{**said, "findings": findings, **more})


def requests(
    engine: Engine, draws: int = 4, prompt: Prompt = SHIP, max_tokens: int = 8, **params: Any
) -> list[Request]:
    law = SamplingParams(**{"dialect": "server", **params})
    return [Request(prompt, engine.encode(prompt), law, 0, d, max_tokens) for d in range(draws)]


def drawn(engine: RemoteEngine, asked: list[Request], tally: Tally | None = None) -> list[Completion]:
    with closing(engine.generate(asked, tally)) as found:  # type: ignore[type-var]
        return list(found)


def until_it_fails(found: Iterator[Completion]) -> tuple[list[Completion], PoiseError]:
    came = []
    try:
        for completion in found:
            came.append(completion)
    except PoiseError as error:
        return came, error
    raise AssertionError("nothing failed")
