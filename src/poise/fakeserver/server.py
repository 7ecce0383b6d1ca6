"""The server behind every face: what it is asked, what it answers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.fakeserver.asking import InForce, read_fields, whole_number
from poise.fakeserver.drawing import Drawer, Drawn, Wanted
from poise.fakeserver.language import Language, make_language
from poise.fakeserver.lies import HONEST, Lies
from poise.fakeserver.refusals import Refused, chat_only, too_long, unknown_field, wrong_type
from poise.fakeserver.styles import STYLES, Style
from poise.servers.calls import Call, Position

MODEL, SIZE, CONTEXT = "fake-64", 64, 4096
ANOTHER = 1_000_003  # what is added to the seed of a model that takes another's place
# Fields that the software knows besides decoding parameters; a strict one rejects all others.
KNOWN = frozenset({"logit_bias", "user", "metadata", "store", "service_tier", "reasoning_effort"})
RANDOM_SEEDS = (-1, 0xFFFFFFFF)  # what vLLM, llama.cpp and Ollama read as no seed


class Told(NamedTuple):
    """What is answered to one call.

    Args:
        drawn: the texts.
        positions: log-probabilities of each; empty where none were wanted.
        prompt: token ids of the prompt.
        model, system: how the server names the model, and itself.
    """

    drawn: tuple[Drawn, ...]
    positions: tuple[tuple[Position, ...], ...]
    prompt: tuple[int, ...]
    model: str
    system: str

    @property
    def new_tokens(self) -> int:
        """Drawn in all."""
        return sum(len(d.ids) for d in self.drawn)


class FakeServer:
    """A server that answers any call by its style and its lies.

    Args:
        style: the software that it imitates.
        lies: what it does otherwise.
        seed: of the model's table and of all chance; two seeds are two servers that know nothing of each other.
        model: its name.
        size: V.
        language: the model; None for one made from `seed`.
        context: tokens of prompt and text.
        config: what the model's own file recommends, by poise's names: it holds where a request says nothing.
    """

    def __init__(
        self, style: Style = STYLES["vllm"], lies: Lies = HONEST, seed: int = 0, *, model: str = MODEL,
        size: int = SIZE, language: Language | None = None, context: int = CONTEXT,
        config: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        self.config = dict(config or {})
        heard = {n: v for n, v in self.config.items() if style.name != "ollama-v1" or n not in style.names}
        style = replace(style, defaults={**style.defaults, **heard})
        self.style, self.lies, self.seed, self.context = style, lies, seed, context
        self.model, self.system, self.requests = model, style.fingerprint, 0
        self.language = language or make_language(size, seed, style.thinks != "never")
        self.made_at = int(time.time())
        self._drawer = Drawer(self.language, style)
        self._chance = np.random.default_rng((seed, 1))
        self._kept: dict[str, Told] = {}
        self._laws: dict[str, InForce] = {}
        self._spelt: dict[object, tuple[int, ...]] = {}

    def beside(self, style: Style) -> FakeServer:
        """The same model and lies behind another protocol.

        Args:
            style: of the other protocol.

        Returns:
            A server of its own.
        """
        return FakeServer(
            style, self.lies, self.seed, model=self.model, language=self.language, context=self.context,
            config=self.config,
        )  # fmt: skip

    def answer(self, call: Call, cuts: bool = False) -> Told:
        """Draw what a call asks for.

        Args:
            call: as `poise.servers.calls` defines it.
            cuts: whether a prompt that is too long loses its beginning, else it is refused.

        Returns:
            The texts.

        Raises:
            Refused: this server rejects it.
        """
        self._swap()
        self.requests += 1
        if not self.lies.find("cache=exact"):
            return self._answer(call, cuts)
        key = repr(call)
        if key not in self._kept:
            self._kept[key] = self._answer(call, cuts)
        return self._kept[key]

    def prompt_of(self, call: Call) -> tuple[int, ...]:
        """Token ids of a call's prompt. Raises Refused."""
        if not call.messages and not self.style.has_text:
            raise chat_only()
        if call.ids is not None:
            if not self.style.takes_ids or self.lies.find("ids=refused"):
                raise wrong_type(self.style, "prompt", "string", list(call.ids))
            outside = [i for i in call.ids if not 0 <= i < self.language.size]
            if outside:
                raise Refused(400, f"Token id {max(outside)} is out of vocabulary", "prompt", "invalid_value")
            prompt = call.ids
        else:
            asked = call.messages if call.text is None else call.text
            if asked not in self._spelt:
                known = self.language
                self._spelt[asked] = known.spelt(asked) if isinstance(asked, str) else known.chat(asked)
            prompt = self._spelt[asked]
        if not prompt:
            raise Refused(400, "The decoder prompt cannot be empty", "prompt", "invalid_value")
        return prompt

    def _answer(self, call: Call, cuts: bool) -> Told:
        prompt, law = self.prompt_of(call), self._law(call.fields)
        if cuts and len(prompt) >= self.context:
            prompt = prompt[-(self.context // 2) :]
        count, greedy = self._count(call), any(s == ("temperature", 0) for s in law.steps)
        if self.style.one_greedy and greedy and call.n > 1:
            raise Refused(400, f"n must be 1 when using greedy sampling, got {call.n}.", "n", "invalid_value")
        most = self._most_logprobs(call.logprobs)
        wanted = self._wanted(call, prompt)
        drawn = tuple(self._drawer.draw(prompt, law, wanted, u) for u in self._uniform(call.seed, count, wanted.most))
        positions: tuple[tuple[Position, ...], ...] = ()
        if most is not None:
            positions = tuple(self._drawer.positions(prompt, law, d, most) for d in drawn)
        return Told(drawn, positions, prompt, self.model, self.system)

    def _law(self, fields: Mapping[str, Any]) -> InForce:
        if self.style.strict:
            for name in fields:
                if name not in KNOWN and name not in self.style.names.values():
                    raise unknown_field(name)
        key = repr(fields)
        if key not in self._laws:
            self._laws[key] = read_fields(self.style, self.lies, fields, self.language.size)
        return self._laws[key]

    def _count(self, call: Call) -> int:
        if call.n < 1:
            raise Refused(400, f"n must be at least 1, got {call.n}.", "n", "invalid_value")
        if call.n > 1 and self.style.name == "ollama":
            raise Refused(400, "Ollama takes no more than one text per request", "n")
        return call.n if self.style.many and not self.lies.find("n=ignored") else 1

    def _most_logprobs(self, asked: int | None) -> int | None:
        if asked is None or self.lies.find("logprobs=none"):
            return None
        if self.style.effort:
            raise Refused(400, "You are not allowed to request logprobs from this model", "logprobs",
                          "unsupported_parameter")  # fmt: skip
        limit = self.lies.number("logprobs=at most:N")
        if asked > self.style.most_logprobs:
            told = (
                f"Requested sample logprobs of {asked}, which is greater than max allowed: {self.style.most_logprobs}"
            )
            raise Refused(400, told, "logprobs", "invalid_value")
        return asked if limit is None else min(asked, int(limit))

    def _wanted(self, call: Call, prompt: tuple[int, ...]) -> Wanted:
        room = self.context - len(prompt)
        most = call.max_tokens
        if most is not None and most < 1:
            raise Refused(400, f"max_tokens must be at least 1, got {most}.", "max_tokens", "invalid_value")
        asked = most or 0 if self.style.overflow == "sum" else 0
        if room < 1 or asked > room:
            raise too_long(self.style, len(prompt), asked, self.context)
        if most is None and not call.messages:
            most = self.style.max_tokens
        most = room if most is None or self.lies.find("max_tokens=ignored") else min(most, max(room, 1))
        clamp = self.lies.number("max_tokens=clamped:N")
        extras = {name for name in self.style.extras if call.fields.get(name) is True}
        least = self.context if "ignore_eos" in extras else whole_number(self.style, call.fields, "min_tokens")
        return Wanted(
            most=max(1, most if clamp is None else min(most, int(clamp))),
            least=least,
            stop=() if self.lies.find("stop=ignored") else call.stop,
            stop_stays="include_stop_str_in_output" in extras or bool(self.lies.find("stop=included")),
            thinks=self._thinks(call),
        )

    def _thinks(self, call: Call) -> bool:
        if self.style.thinks == "never" or not call.messages:
            return False
        if self.style.thinks == "always" or self.lies.find("thinking=ignored"):
            return True
        return call.thinking is not False

    def _uniform(self, seed: int | None, count: int, most: int) -> list[NDArray[np.float64]]:
        """Uniform numbers for each text, (most,): of the seed, and of this server."""
        if self.lies.find("seed=one"):
            seed = 0
        elif seed in RANDOM_SEEDS or not self.style.seeds or self.lies.find("seed=ignored"):
            seed = None
        if self.lies.find("n=clones"):
            return self._uniform_of(seed, 1, most) * count
        return self._uniform_of(seed, count, most)

    def _uniform_of(self, seed: int | None, count: int, most: int) -> list[NDArray[np.float64]]:
        if seed is None:
            return list(self._chance.random((count, most)))
        own = seed & 0xFFFFFFFFFFFFFFFF
        keys = [(self.seed, 2, own + i) if self.style.seed_steps else (self.seed, 2, own, i) for i in range(count)]
        return [np.random.default_rng(key).random(most) for key in keys]

    def _swap(self) -> None:
        """Put another model behind the name, once its time has come."""
        for name in ("model=swapped:N", "model=replaced:N"):
            after = self.lies.number(name)
            if after is not None and self.requests == int(after):
                self.language = make_language(
                    self.language.size, self.seed + 1_000_003, self.language.think_end is not None
                )
                self._drawer = Drawer(self.language, self.style)
                if name == "model=swapped:N":
                    self.model, self.system = f"{self.model}-2", self.system and f"{self.system}2"
