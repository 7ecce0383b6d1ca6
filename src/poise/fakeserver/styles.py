"""Which software a fake server imitates: names, defaults, order, habits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from poise.errors import UsageError
from poise.servers.calls import Kind

Scope = Literal["output", "prompt and output"]


class Range(NamedTuple):
    """What a server takes: from `low` (left out where `low_open`) to `high`; outside it rejects or clamps."""

    low: float = float("-inf")
    high: float = float("inf")
    low_open: bool = False
    clamps: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value lies in it."""
        return (value > self.low if self.low_open else value >= self.low) and value <= self.high


@dataclass(frozen=True, slots=True)
class Style:
    """A software as its users meet it.

    Args:
        name: how the command line calls it.
        kind: what it says it is.
        version: of the software whose answers were read.
        names: of each parameter on the wire, by poise's names; what is not here it does not know.
        ranges: of parameters, by poise's names.
        defaults: what an empty request gets, by poise's names; a parameter that is missing is off.
        order: names of the steps, first to last, by poise's names.
        most_logprobs: likeliest tokens that may be asked for.
        max_tokens: new tokens where nobody says, in completions; None is the rest of the context.
        exact_k: whether top-k keeps exactly k tokens where some are tied, else all that are tied.
        repetition_scope, additive_scope: which tokens the repetition penalty, and the other two, look at.
        window: how many of the last tokens penalties look at; 0 for all.
        lifts: temperatures above 0 and below this are lifted to it.
        strict: whether an unknown field is rejected, else it is ignored in silence.
        takes_ids: whether prompts may be token ids.
        says_ids: whether log-probabilities name token ids.
        returns_ids: whether the ids of everything drawn can be returned.
        shows_end: whether the token that ends a text is among the ids and the log-probabilities.
        names_stop: whether it tells a stop string from the end of the text.
        tokenizes: whether text can be turned into ids and back.
        has_text: whether text can be continued as it is.
        many: whether one request may ask for several texts.
        seeds: whether a seed is honoured.
        seed_steps: whether text i of a request has the seed + i, else a stream of its own.
        one_greedy: whether greedy requests may ask for one text only.
        biases: whether logit_bias is honoured.
        extras: other fields that it knows: ``min_tokens``, ``ignore_eos``, ``samplers``, ``repeat_last_n``, …
        end_shown: how the token that ends a text is written among log-probabilities.
        thinks: ``never``, ``always``, or ``asked``: unless a request says no.
        effort: whether it is a hosted reasoning model, which rejects decoding parameters.
        overflow: what may not exceed the context: the ``sum`` of prompt and new tokens, or the ``prompt`` alone.
        fingerprint: what it says of itself in every answer; empty for nothing.
    """

    name: str
    kind: Kind
    version: str
    names: Mapping[str, str]
    ranges: Mapping[str, Range]
    defaults: Mapping[str, float]
    order: tuple[str, ...]
    most_logprobs: int
    max_tokens: int | None = None
    exact_k: bool = False
    repetition_scope: Scope = "output"
    additive_scope: Scope = "output"
    window: int = 0
    lifts: float = 0.0
    strict: bool = False
    takes_ids: bool = True
    says_ids: bool = False
    returns_ids: bool = False
    shows_end: bool = True
    names_stop: bool = False
    tokenizes: bool = False
    has_text: bool = True
    many: bool = True
    seeds: bool = True
    seed_steps: bool = False
    one_greedy: bool = False
    biases: bool = True
    extras: frozenset[str] = frozenset()
    end_shown: str = ""
    thinks: Literal["never", "always", "asked"] = "never"
    effort: bool = False
    overflow: Literal["sum", "prompt"] = "sum"
    fingerprint: str = ""


_SAME = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty")
_OPENAI = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")
_LAST = (*_PENALTIES, "top_k", "typical_p", "top_p", "min_p", "temperature")
_LLAMA = {**{n: n for n in _SAME}, "typical_p": "typical_p", "repetition_penalty": "repeat_penalty"}
_VLLM_RANGES = {
    "temperature": Range(0, 2),
    "top_p": Range(0, 1, low_open=True),
    "top_k": Range(-1),
    "min_p": Range(0, 1),
    "repetition_penalty": Range(0, low_open=True),
    "frequency_penalty": Range(-2, 2),
    "presence_penalty": Range(-2, 2),
}
_OPENAI_RANGES = {
    "temperature": Range(0, 2),
    "top_p": Range(0, 1),
    "frequency_penalty": Range(-2, 2),
    "presence_penalty": Range(-2, 2),
}
_LLAMA_RANGES = {
    "temperature": Range(0, clamps=True),
    "top_p": Range(0, 1, clamps=True),
    "min_p": Range(0, 1, clamps=True),
    "typical_p": Range(0, 1, clamps=True),
    "top_k": Range(0, clamps=True),
    "repetition_penalty": Range(0),
}
_VLLM_EXTRAS = frozenset({"min_tokens", "ignore_eos", "include_stop_str_in_output"})
_VLLM = Style(
    name="vllm", kind="vllm", version="0.33.0",
    names={n: n for n in _SAME}, ranges=_VLLM_RANGES, defaults={},
    order=(*_PENALTIES, "temperature", "min_p", "top_k", "top_p"),
    most_logprobs=20, max_tokens=16, repetition_scope="prompt and output", lifts=0.01,
    says_ids=True, returns_ids=True, names_stop=True, tokenizes=True, seed_steps=True, one_greedy=True,
    extras=_VLLM_EXTRAS, end_shown="<|im_end|>",
)  # fmt: skip
STYLES: Mapping[str, Style] = {
    "vllm": _VLLM,
    "vllm-thinking": replace(
        _VLLM, name="vllm-thinking", thinks="asked", defaults={"temperature": 0.6, "top_k": 20, "top_p": 0.95},
    ),
    "llama.cpp": Style(
        name="llama.cpp", kind="llama.cpp", version="b10488-0c1e57098",
        names=_LLAMA, ranges=_LLAMA_RANGES,
        defaults={"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05},
        order=_LAST, most_logprobs=1000, exact_k=True,
        repetition_scope="prompt and output", additive_scope="prompt and output", window=64,
        says_ids=True, returns_ids=True, names_stop=True, tokenizes=True, seed_steps=True, overflow="prompt",
        extras=frozenset({"ignore_eos", "samplers", "repeat_last_n", "post_sampling_probs"}),
        fingerprint="b10488-0c1e57098",
    ),
    "llama-cpp-python": Style(
        name="llama-cpp-python", kind="llama-cpp-python", version="0.3.36",
        names={n: w for n, w in _LLAMA.items() if n != "typical_p"}, ranges={
            "temperature": Range(0), "top_p": Range(0, 1), "min_p": Range(0, 1), "top_k": Range(0),
            "repetition_penalty": Range(0), "frequency_penalty": Range(-2, 2), "presence_penalty": Range(-2, 2),
        },
        defaults={"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.1},
        order=_LAST, most_logprobs=1000, max_tokens=16, exact_k=True, window=64,
        takes_ids=False, shows_end=False, tokenizes=True, many=False, extras=frozenset({"min_tokens"}),
    ),
    "openai": Style(
        name="openai", kind="openai", version="",
        names={n: n for n in _OPENAI}, ranges=_OPENAI_RANGES, defaults={},
        order=("frequency_penalty", "presence_penalty", "temperature", "top_p"),
        most_logprobs=20, max_tokens=16, strict=True, takes_ids=False, shows_end=False, has_text=False,
        fingerprint="fp_7c1a0b54d2",
    ),
    "reasoning": Style(
        name="reasoning", kind="openai", version="",
        names={n: n for n in _OPENAI}, ranges=_OPENAI_RANGES, defaults={},
        order=("frequency_penalty", "presence_penalty", "temperature", "top_p"),
        most_logprobs=0, strict=True, takes_ids=False, shows_end=False, has_text=False,
        seeds=False, biases=False, thinks="always", effort=True, fingerprint="fp_7c1a0b54d2",
    ),
    "ollama": Style(
        name="ollama", kind="ollama", version="0.32.0",
        names=_LLAMA, ranges=_LLAMA_RANGES,
        defaults={"temperature": 0.8, "top_k": 40, "top_p": 0.9},
        order=_LAST, most_logprobs=20, exact_k=True,
        repetition_scope="prompt and output", additive_scope="prompt and output", window=64,
        takes_ids=False, shows_end=False, many=False, biases=False, overflow="prompt",
        extras=frozenset({"repeat_last_n"}),
    ),
    "ollama-v1": Style(
        name="ollama-v1", kind="ollama", version="0.32.0",
        names={n: n for n in _OPENAI}, ranges=_LLAMA_RANGES,
        defaults={"temperature": 1.0, "top_k": 40, "top_p": 1.0},
        order=_LAST, most_logprobs=20, exact_k=True,
        repetition_scope="prompt and output", additive_scope="prompt and output", window=64,
        takes_ids=False, shows_end=False, many=False, biases=False, overflow="prompt", fingerprint="fp_ollama",
    ),
}  # fmt: skip


def find_style(name: str) -> Style:
    """A style by its name.

    Args:
        name: a key of `STYLES`.

    Returns:
        It.

    Raises:
        UsageError: no such style.
    """
    if name not in STYLES:
        raise UsageError(f"A style is one of {', '.join(STYLES)}", repr(name), "--style vllm is the usual one")
    return STYLES[name]
