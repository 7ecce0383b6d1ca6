"""A fake server without HTTP: a Wire in process, for statistics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping

from poise.fakeserver.language import Language
from poise.fakeserver.latency import Latency, Line
from poise.fakeserver.lies import Lies, read_lies
from poise.fakeserver.refusals import Refused
from poise.fakeserver.server import CONTEXT, FakeServer, Told
from poise.fakeserver.styles import Style, find_style
from poise.fakeserver.troubles import Faults, as_fault
from poise.servers.calls import About, Answer, Call, Choice, Fault


class FakeWire:
    """A Wire whose server is an object: no sockets, the same answers.

    Args:
        style: the software that it imitates, or its name.
        lies: what it does otherwise, as `lies.read_lies` reads them.
        seed: of the model's table and of all chance.
        language: the model; None for one made from `seed`.
        context: tokens of prompt and text.
        config: what the model's own file recommends, by poise's names.
        faults: what goes wrong, and how often.
        latency: how long it takes.

    >>> wire = FakeWire("vllm", ["top_k=ignored"], seed=3)
    >>> call = Call(text=" the ship", fields={"temperature": 0.7}, max_tokens=8, seed=1)
    >>> asyncio.run(wire.ask(call)).choices == asyncio.run(wire.ask(call)).choices
    True
    """

    def __init__(
        self, style: str | Style = "vllm", lies: Iterable[str] | Lies = (), seed: int = 0, *,
        language: Language | None = None, context: int = CONTEXT, config: Mapping[str, float] | None = None,
        faults: Faults | None = None, latency: Latency | None = None,
    ) -> None:  # fmt: skip
        known = find_style(style) if isinstance(style, str) else style
        told = lies if isinstance(lies, Lies) else read_lies(lies)
        self.server = FakeServer(known, told, seed, language=language, context=context, config=config)
        self.style = self.server.style
        self.url, self.model = f"fake://{known.name}", self.server.model
        self.names: Mapping[str, str] = known.names
        self.most_logprobs = known.most_logprobs
        self._faults, self._met = faults or Faults(), 0
        self._line = Line(latency) if latency else None

    async def about(self) -> About:
        """See `calls.Wire.about`."""
        style, server = self.style, self.server
        return About(
            kind=style.kind, version=style.version, model=self.model, models=(self.model,),
            context_length=None if style.kind == "openai" else server.context,
            takes_ids=style.takes_ids, has_chat=True, has_text=style.has_text,
            defaults={"llama.cpp": style.defaults, "ollama": server.config}.get(style.kind, {}),
            identity=server.language.digest,
        )  # fmt: skip

    async def ask(self, call: Call) -> Answer:
        """See `calls.Wire.ask`."""
        began = time.perf_counter()
        met = self._faults.of(self._met)
        self._met += 1
        fault = as_fault(met, self._faults.wait) if met else None
        if fault:
            raise fault
        if met == "slow":
            await asyncio.sleep(self._faults.slow)
        if self._line is None:
            told = self._told(call)
        else:
            async with self._line.place() as wait:
                told = self._told(call)
                await wait(max(len(d.ids) for d in told.drawn))
        return self._as_answer(told, time.perf_counter() - began)

    def _told(self, call: Call) -> Told:
        try:
            return self.server.answer(call)
        except Refused as refused:
            raise Fault(refused.kind, refused.told, refused.status, None, refused.field) from None

    async def tokenize(self, text: str, special: bool = False) -> tuple[int, ...] | None:
        """See `calls.Wire.tokenize`."""
        return self.server.language.spelt(text) if self.style.tokenizes else None

    async def detokenize(self, ids: tuple[int, ...]) -> str | None:
        """See `calls.Wire.detokenize`."""
        return self.server.language.text(ids) if self.style.tokenizes else None

    async def close(self) -> None:
        """See `calls.Wire.close`."""

    def _as_answer(self, told: Told, seconds: float) -> Answer:
        style, choices = self.style, []
        for i, drawn in enumerate(told.drawn):
            positions = told.positions[i] if told.positions else ()
            choices.append(
                Choice(
                    text=drawn.text,
                    thinking="" if style.effort else drawn.thought,
                    finish="eos" if drawn.finish == "stop" and not style.names_stop else drawn.finish,
                    positions=positions[: len(drawn.shown(style))],
                    token_ids=drawn.shown(style) if style.returns_ids else (),
                )
            )
        return Answer(tuple(choices), told.model, told.system, len(told.prompt), told.new_tokens, seconds)
