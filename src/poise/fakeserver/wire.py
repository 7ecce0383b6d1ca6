"""A fake server without HTTP: a Wire in process, for statistics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping

from poise.fakeserver.language import Language
from poise.fakeserver.lies import Lies, read_lies
from poise.fakeserver.refusals import Refused
from poise.fakeserver.server import CONTEXT, FakeServer, Told
from poise.fakeserver.styles import Style, find_style
from poise.servers.calls import About, Answer, Call, Choice, Fault


class FakeWire:
    """A Wire whose server is an object: no sockets, the same answers.

    Args:
        style: the software that it imitates, or its name.
        lies: what it does otherwise, as `lies.read_lies` reads them.
        seed: of the model's table and of all chance.
        language: the model; None for one made from `seed`.
        delay: seconds that each exchange takes.

    >>> wire = FakeWire("vllm", ["top_k=ignored"], seed=3)
    >>> call = Call(text=" the ship", fields={"temperature": 0.7}, max_tokens=8, seed=1)
    >>> asyncio.run(wire.ask(call)) == asyncio.run(wire.ask(call))._replace(seconds=0.0)
    True
    """

    def __init__(
        self, style: str | Style = "vllm", lies: Iterable[str] | Lies = (), seed: int = 0, *,
        language: Language | None = None, delay: float = 0.0, context: int = CONTEXT,
    ) -> None:  # fmt: skip
        self.style = find_style(style) if isinstance(style, str) else style
        told = lies if isinstance(lies, Lies) else read_lies(lies)
        self.server = FakeServer(self.style, told, seed, language=language, context=context)
        self.url, self.model = f"fake://{self.style.name}", self.server.model
        self.names: Mapping[str, str] = self.style.names
        self.most_logprobs = self.style.most_logprobs
        self._delay = delay

    async def about(self) -> About:
        """See `calls.Wire.about`."""
        style, server = self.style, self.server
        return About(
            kind=style.kind, version=style.version, model=self.model, models=(self.model,),
            context_length=None if style.kind == "openai" else server.context,
            takes_ids=style.takes_ids, has_chat=True, has_text=style.has_text,
            defaults=style.defaults if style.kind in ("llama.cpp", "ollama") else {},
            identity=server.language.digest,
        )  # fmt: skip

    async def ask(self, call: Call) -> Answer:
        """See `calls.Wire.ask`."""
        began = time.perf_counter() if self._delay else 0.0
        if self._delay:
            await asyncio.sleep(self._delay)
        try:
            told = self.server.answer(call)
        except Refused as refused:
            raise Fault(refused.kind, refused.told, refused.status, None, refused.field) from None
        return self._as_answer(told, time.perf_counter() - began if self._delay else 0.0)

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
            ended = drawn.finish == "eos" and not style.shows_end
            finish = "eos" if drawn.finish == "stop" and not style.names_stop else drawn.finish
            positions = told.positions[i] if told.positions else ()
            choices.append(
                Choice(
                    text=drawn.text,
                    thinking="" if style.effort else drawn.thought,
                    finish=finish,
                    positions=positions[:-1] if ended else positions,
                    token_ids=(drawn.ids[:-1] if ended else drawn.ids) if style.returns_ids else (),
                )
            )
        return Answer(tuple(choices), told.model, told.system, len(told.prompt), told.new_tokens, seconds)
