"""A model on this machine, whose tokens poise draws itself."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from poise import sampler
from poise.engines.hardware import processor
from poise.engines.local_session import LocalSession, Padding, Step
from poise.engines.templates import SWITCH, THINK
from poise.errors import EngineError, ModelError, ParameterError, PromptError
from poise.models import ModelFiles
from poise.models.vendors import vendor
from poise.params import PARAMETERS, SamplingParams, check_value
from poise.records import Completion, Fingerprint, Message, Prompt, Request
from poise.sessions import DRAWN, Law, Tally, refuse_guidance
from poise.steps import TorchLaw

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class Codec(Protocol):
    """Text to token ids and back, as the model's tokenizer and template have it."""

    template: str | None
    special_ids: frozenset[int]

    def encode(self, text: str, special: bool) -> list[int]:
        """Token ids; `special` adds what the tokenizer puts around a text, such as a first token."""
        ...

    def render(self, messages: Sequence[Message], thinking: bool | None = None) -> str:
        """Messages through the chat template, up to where the model answers; `thinking` sets its switch."""
        ...

    def decode(self, ids: Sequence[int], special: bool = False) -> str:
        """Text of token ids, special tokens left out unless asked for."""
        ...


@dataclass(frozen=True)
class Parts:
    """What a local engine is put together from.

    Args:
        files: where the model's files lie, and their hashes.
        codec: its tokenizer and template.
        step: its decoder.
        padding: found by the self-test.
        eos_ids: tokens that end a text.
        context_length: tokens of prompt and text at most, None where the model does not say.
        libraries: name and version of what computes, as provenance.
    """

    files: ModelFiles
    codec: Codec
    step: Step
    padding: Padding
    eos_ids: frozenset[int]
    context_length: int | None
    libraries: Mapping[str, str]


class LocalEngine:
    """A decoder-only model; see `sessions.LogitsEngine`.

    Args:
        parts: files, tokenizer, decoder.
    """

    draws_by: Literal["poise", "engine"] = "poise"
    supports = DRAWN

    def __init__(self, parts: Parts) -> None:
        self.parts, self.name = parts, parts.files.name
        self.law: Law = TorchLaw()
        self.vocab_size = parts.step.vocab_size
        self.eos_ids = parts.eos_ids
        self.context_length = parts.context_length
        self.has_template = bool(parts.codec.template)
        self.thinking_tags = THINK if THINK[0] in (parts.codec.template or "") else None
        self.thinking: bool | None = None
        self._anchor = _anchor(parts.codec)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Hashes of weights, tokenizer and template; dtype and decode path; the machine as provenance."""
        parts, step = self.parts, self.parts.step
        path = f"{step.name}/{parts.padding.least},{parts.padding.multiple},{parts.padding.most}"
        f = parts.files
        provenance = {
            **machine(step.device),
            **parts.libraries,
            "replay": "verified" if parts.padding.verified else "unverified",
        }
        dtype = str(step.dtype).removeprefix("torch.")
        return Fingerprint(f.name, f.weights_sha256, f.tokenizer_sha256, f.template_sha256, dtype, path, provenance)

    @property
    def baselines(self) -> Mapping[str, SamplingParams]:
        """greedy; what transformers does with an empty request; what the model's maker recommends."""
        found = baselines(self.parts.files.generation_config)
        told = None if "vendor" in found else vendor(self.name, self.thinking)
        return found if told is None else {**found, "vendor": told.params}

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """See `sessions.Engine.encode`."""
        codec = self.parts.codec
        if prompt.chat and not self.has_template:
            raise PromptError("Messages need a model with a chat template", self.name, "Ask with --text instead")
        if prompt.chat:
            ids = codec.encode(codec.render(prompt.messages, self.thinking), special=False)
        else:
            ids = codec.encode(prompt.text or "", special=True)
        if not prompt.shown.strip() or all(i in codec.special_ids for i in ids):
            raise PromptError("A prompt needs at least one word", repr(prompt.shown), "Write what to continue")
        return tuple(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """See `sessions.LogitsEngine.decode`."""
        codec = self.parts.codec
        said = codec.decode([*self._anchor, *ids])
        return said[len(codec.decode(self._anchor)) :] if self._anchor else said

    def tokenize(self, text: str) -> tuple[int, ...]:
        """See `sessions.LogitsEngine.tokenize`."""
        return tuple(self.parts.codec.encode(text, special=False))

    def refusal(self, names: Sequence[str]) -> ParameterError | None:
        """Why parameters are not honoured."""
        return refuse_guidance(self.name, names)

    def think(self, on: bool) -> None:
        """Set the switch by which the chat template turns thinking on and off.

        Args:
            on: whether the model is asked to think before it answers.

        Raises:
            ModelError: the template has no such switch.
        """
        if SWITCH not in (self.parts.codec.template or ""):
            raise ModelError(
                f"Thinking is switched by a chat template that has {SWITCH}", f"{self.name}, whose template has none",
                "Leave --thinking out",
            )  # fmt: skip
        self.thinking = on

    def opens_thinking(self, prompt_ids: Sequence[int]) -> bool:
        """See `sessions.LogitsEngine.opens_thinking`."""
        if self.thinking_tags is None:
            return False
        return self.parts.codec.decode(prompt_ids[-8:], special=True).rstrip().endswith(self.thinking_tags[0])

    def session(self, max_length: int, rows: int) -> LocalSession:
        """See `sessions.LogitsEngine.session`."""
        return LocalSession(self.parts.step, self.parts.padding, max_length, rows)

    def generate(self, requests: Iterable[Request], tally: Tally | None = None) -> Iterator[Completion]:
        """See `sampler.generate`; running out of memory becomes an `EngineError`."""
        try:
            yield from sampler.generate(self, requests, tally)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise EngineError(
                "The texts under way must fit into memory", str(error), "Take fewer --max-tokens or another device"
            ) from error

    def score(self, prompt: Prompt, text: str) -> tuple[tuple[int, ...], NDArray[np.float64]]:
        """See `sessions.LogitsEngine.score`."""
        prompt_ids, ids = self.encode(prompt), tuple(self.parts.codec.encode(text, special=False))
        if not ids:
            raise PromptError("A text to score needs at least one token", repr(text), "Give some text")
        size = len(prompt_ids) + len(ids)
        if self.context_length is not None and size > self.context_length:
            raise PromptError(
                f"Prompt and text must fit into {self.context_length:,} tokens", f"{size:,}", "Shorten them"
            )
        logits = self.session(len(prompt_ids) + len(ids), 2).score(prompt_ids, ids)
        return ids, self.law.take(logits, range(len(ids)), ids) - self.law.normaliser(logits)


def find_device(asked: str) -> torch.device:
    """A device by name, tried out.

    Args:
        asked: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Returns:
        The device; ``auto`` is the first GPU, else the CPU.

    Raises:
        ModelError: no such device here.
    """
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(
            "A device is auto, cpu, cuda, cuda:N or mps, and must be there", repr(asked), "Leave --device out"
        ) from error
    return device


def find_dtype(asked: str, device: torch.device) -> torch.dtype:
    """A dtype by name; ``auto`` is bfloat16 where the device multiplies in it by itself, else float32.

    Args:
        asked: ``auto`` or a key of `DTYPES`.
        device: where it will compute.

    Returns:
        The dtype.

    Raises:
        ModelError: no such dtype.
    """
    if asked == "auto":
        return torch.bfloat16 if _native_bfloat16(device) else torch.float32
    if asked not in DTYPES:
        raise ModelError(f"A dtype is auto, {', '.join(DTYPES)}", repr(asked), "Leave --dtype out")
    return DTYPES[asked]


def machine(device: torch.device) -> dict[str, str]:
    """Device, instruction set, threads: what may change the last bits of a logit."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}{processor()}",
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def baselines(config: Mapping[str, object] | None) -> dict[str, SamplingParams]:
    """The settings that join every sweep.

    Args:
        config: the model's generation_config.json, None where it ships none.

    Returns:
        greedy; engine-default, what transformers does with an empty request: greedy, or where the
        model says do_sample its values, with top_k 50 where it gives none; vendor, the values the
        model's maker published, if any. Where these hold guidance, neither of the last two.

    Source: transformers 5.x, generation/configuration_utils.py.
    """
    said = {n: v for n, v in (config or {}).items() if n in PARAMETERS and v is not None}
    if said.pop("guidance_scale", 1) != 1:  # a law that is not drawn here
        return {"greedy": SamplingParams(temperature=0)}
    if isinstance(said.get("top_k"), int) and said["top_k"] < 0:  # type: ignore[operator]
        said["top_k"] = 0  # some makers write -1 for off
    for name, value in said.items():
        if not (value == 0 and name == "top_k"):
            _check_published(name, value)
    off = {n for n, v in said.items() if v == 0 and n != "temperature"}
    published = {n: v for n, v in said.items() if n not in off}
    if (config or {}).get("do_sample"):
        default = {**({} if "top_k" in said else {"top_k": 50}), **published}
    else:
        default = {"temperature": 0.0, **{n: v for n, v in published.items() if PARAMETERS[n].stage == "penalty"}}
    found = {"greedy": {"temperature": 0.0}, "engine-default": default}
    if SamplingParams.model_validate(published).active():
        found["vendor"] = published
    return {name: SamplingParams.model_validate(p).normalised() for name, p in found.items()}


def _check_published(name: str, value: object) -> None:
    """Say whose value it is when a model's own recommendation cannot be used."""
    try:
        check_value(name, value)
    except ParameterError as error:
        raise ModelError(
            f"The model's generation_config.json must hold settings in range: {error.rule}",
            error.got,
            "Correct that file, or leave the baselines out with --no-baselines",
        ) from error


def _native_bfloat16(device: torch.device) -> bool:
    """Emulated bfloat16 is slower than float32, so only instructions of its own count."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    if platform.machine() in ("x86_64", "AMD64"):
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return any(line.startswith("Features") and " bf16" in line for line in lines)
    except OSError:
        return False


def _anchor(codec: Codec) -> list[int]:
    """Tokens to decode in front, for tokenizers that swallow a text's first space."""
    ids = codec.encode("a b", special=False)
    apart = codec.decode(ids[:1]) + codec.decode(ids[1:])
    return ids[:1] if len(ids) > 1 and apart != codec.decode(ids) else []
