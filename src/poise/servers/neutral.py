"""What a call leaves out, switched off in so many words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from poise.params import PARAMETERS
from poise.servers.calls import About, Answer, Call, Fault, Wire

# What switches top-k off; where one is refused, the next is tried.
NO_TOP_K: Mapping[str, tuple[int, ...]] = {"vllm": (-1, 0), "sglang": (-1,)}
ANY_TOP_K = (0, -1)
# Steps that poise has no name for, and whoever started the server may have switched on.
BESIDE: Mapping[str, Mapping[str, float]] = {
    "llama.cpp": {
        "top_n_sigma": -1, "xtc_probability": 0, "dry_multiplier": 0, "mirostat": 0, "dynatemp_range": 0,
        "adaptive_target": -1,
    },
}  # fmt: skip
_LIMIT = "max_completion_tokens"


class Neutral:
    """A wire on which a parameter that a call leaves out is off, whatever the server's own defaults are.

    A server that refuses a neutral value gets another one that means the same, and then none: it is never sent again.
    A seed that is refused is never sent again either; a limit of new tokens that is refused in chat goes by the name
    that reasoning models know.

    Args:
        wire: to the server, after it was asked what it is.
        about: what it said.
        unsent: parameters that are never sent, by poise's names, as the server refuses them.
        seeds: whether seeds are sent.

    Source: semantics of the engines' own defaults: vLLM's and SGLang's generation_config, llama.cpp common/common.h.
    """

    def __init__(self, wire: Wire, about: About, unsent: Collection[str] = (), seeds: bool = True) -> None:
        self.wire, self.url, self.model = wire, wire.url, wire.model
        self.names: Mapping[str, str] = {n: w for n, w in wire.names.items() if n not in unsent}
        self.most_logprobs = wire.most_logprobs
        self.refused: list[str] = []  # what is not sent any more, by its name on the wire
        self._seeds, self._limit = seeds, ""
        self._off: dict[str, list[float]] = {n: [v] for n, v in BESIDE.get(about.kind, {}).items()}
        for ours, theirs in self.names.items():
            neutral = PARAMETERS[ours].neutral
            if ours == "top_k":
                self._off[theirs] = [*NO_TOP_K.get(about.kind, ANY_TOP_K)]
            elif neutral is not None:
                self._off[theirs] = [neutral]

    async def ask(self, call: Call) -> Answer:
        """One exchange; one more for each neutral value that turns out to be refused. Raises Fault."""
        while True:
            full = self.completed(call)
            try:
                return await self.wire.ask(full)
            except Fault as fault:
                if fault.kind != "rejected" or not self._gives_in(fault.field, call, full):
                    raise

    def completed(self, call: Call) -> Call:
        """A call as it is sent."""
        off: dict[str, Any] = {name: values[0] for name, values in self._off.items()}
        call = renamed_limit(call) if self._limit else call
        return call._replace(fields={**off, **call.fields}, seed=call.seed if self._seeds else None)

    def _gives_in(self, field: str, call: Call, sent: Call) -> bool:
        """Whether what was refused means nothing, so that the call can go without it."""
        if field == "seed" and sent.seed is not None:
            if self._seeds:
                self.refused.append(field)
            self._seeds = False
            return True
        if refuses_limit(field, sent):
            self._limit = _LIMIT
            return True
        if field in call.fields or field not in sent.fields or field == self._limit:
            return False
        if self._off.get(field, [])[:1] == [sent.fields[field]]:  # else another call has given in already
            del self._off[field][0]
            if not self._off[field]:
                del self._off[field]
                self.refused.append(field)
        return True

    async def about(self) -> About:
        """See `calls.Wire.about`."""
        return await self.wire.about()

    async def tokenize(self, text: str, special: bool = False) -> tuple[int, ...] | None:
        """See `calls.Wire.tokenize`."""
        return await self.wire.tokenize(text, special)

    async def detokenize(self, ids: tuple[int, ...]) -> str | None:
        """See `calls.Wire.detokenize`."""
        return await self.wire.detokenize(ids)

    async def close(self) -> None:
        """Hang up."""
        await self.wire.close()


def refuses_limit(field: str, sent: Call) -> bool:
    """Whether a chat was refused for the name of its limit of new tokens, as reasoning models do."""
    return field == "max_tokens" and bool(sent.messages) and sent.max_tokens is not None


def renamed_limit(call: Call) -> Call:
    """A chat with its limit of new tokens under the name that reasoning models know."""
    if not call.messages or call.max_tokens is None:
        return call
    return call._replace(max_tokens=None, fields={_LIMIT: call.max_tokens, **call.fields})
