"""llama.cpp in this process: a GGUF file's own weights and kernels."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from poise import sampler
from poise.engines import certificates, hardware, llamacpp_library, llamacpp_session, templates
from poise.engines.certificates import Certificate
from poise.engines.fake import FakeLaw
from poise.engines.llamacpp_library import Model
from poise.engines.llamacpp_session import LlamaCppSession
from poise.engines.padding import Padding
from poise.errors import EngineError, ModelError, ParameterError, PromptError
from poise.models import cache, embedded
from poise.models.vendors import vendor
from poise.params import SamplingParams, check_value
from poise.records import Completion, Fingerprint, Message, Prompt, Request
from poise.sessions import DRAWN, Law, Logits, Tally, refuse_guidance

PATH = "llama.cpp"
DIALECT = "temperature-last"
# What llama.cpp does with an empty request: common/common.h, common_params_sampling.
DEFAULTS: Mapping[str, float] = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
# What a file may recommend under `general.sampling.`, by its name here.
RECOMMENDED: Mapping[str, str] = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}
OFF: Mapping[str, float] = {"xtc_probability": 0.0, "mirostat": 0.0}  # what poise lacks, and where it changes nothing
_NO_DECODER = "Take a decoder-only transformer; others continue no text, or cannot share and cut back what they read"


class LlamaCppEngine:
    """A GGUF model; see `sessions.LogitsEngine`.

    Args:
        name: as the user wrote it.
        model: loaded.
        weights: SHA-256 of its file.
        padding: found by the self-test.
        threads: to compute with.
    """

    draws_by: Literal["poise", "engine"] = "poise"
    supports = DRAWN

    def __init__(self, name: str, model: Model, weights: str, padding: Padding, threads: int) -> None:
        self.name, self.model, self.padding = name, model, padding
        self._weights, self._threads = weights, threads
        self.law, self._shape, self._computes = _law()
        self.vocab_size, self.eos_ids = model.size, model.eos_ids
        self.context_length: int | None = model.context_length
        self._template = model.template or ""
        self.has_template = bool(self._template)
        self.thinking_tags = templates.THINK if templates.THINK[0] in self._template else None
        self.thinking: bool | None = None

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Hashes of file, tokenizer and template; type of the weights and decode path; the machine as provenance."""
        said = {n: v for n, v in self.model.metadata.items() if n.startswith("tokenizer.ggml.")}
        p = self.padding
        return Fingerprint(
            self.name,
            self._weights,
            _digest([self.model.vocabulary(), said]),
            _digest(self._template),
            self.model.file_type,
            f"{PATH}/{p.least},{p.multiple},{p.most}",
            {
                **machine(self.model, self._threads),
                **self._computes,
                "replay": "verified" if p.verified else "unverified",
            },
        )

    @property
    def baselines(self) -> Mapping[str, SamplingParams]:
        """greedy; what llama.cpp does with an empty request; what the file recommends, or the vendor elsewhere."""
        return baselines(self.name, self.model.metadata, self.thinking)

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """See `sessions.Engine.encode`."""
        if prompt.chat and not self.has_template:
            raise PromptError("Messages need a model with a chat template", self.name, "Ask with --text instead")
        if prompt.chat:
            ids = self.model.tokenize(self._render(prompt.messages), special=False)
        else:
            ids = self.model.tokenize(prompt.text or "", special=True)
        if not prompt.shown.strip() or all(map(self.model.is_control, ids)):
            raise PromptError("A prompt needs at least one word", repr(prompt.shown), "Write what to continue")
        return tuple(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """See `sessions.LogitsEngine.decode`."""
        return b"".join(self.model.piece(i, special=False) for i in ids).decode("utf-8", "replace")

    def tokenize(self, text: str) -> tuple[int, ...]:
        """See `sessions.LogitsEngine.tokenize`."""
        return tuple(self.model.tokenize(text, special=False))

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
        if templates.SWITCH not in self._template:
            raise ModelError(
                f"Thinking is switched by a chat template that has {templates.SWITCH}",
                f"{self.name}, whose template has none",
                "Leave --thinking out",
            )
        self.thinking = on

    def opens_thinking(self, prompt_ids: Sequence[int]) -> bool:
        """See `sessions.LogitsEngine.opens_thinking`."""
        if self.thinking_tags is None:
            return False
        said = b"".join(self.model.piece(i, special=True) for i in prompt_ids[-8:]).decode("utf-8", "replace")
        return said.rstrip().endswith(self.thinking_tags[0])

    def session(self, max_length: int, rows: int) -> LlamaCppSession:
        """See `sessions.LogitsEngine.session`."""
        return LlamaCppSession(self.model, self.padding, self._threads, max_length, rows, self._shape)

    def generate(self, requests: Iterable[Request], tally: Tally | None = None) -> Iterator[Completion]:
        """See `sampler.generate`; running out of memory becomes an `EngineError`."""
        try:
            yield from sampler.generate(self, requests, tally)
        except MemoryError as error:
            raise EngineError(
                "The texts under way must fit into memory", str(error) or "none left", "Take fewer --max-tokens"
            ) from error

    def score(self, prompt: Prompt, text: str) -> tuple[tuple[int, ...], NDArray[np.float64]]:
        """See `sessions.LogitsEngine.score`."""
        prompt_ids, ids = self.encode(prompt), tuple(self.model.tokenize(text, special=False))
        if not ids:
            raise PromptError("A text to score needs at least one token", repr(text), "Give some text")
        size = len(prompt_ids) + len(ids)
        if self.context_length is not None and size > self.context_length:
            raise PromptError(
                f"Prompt and text must fit into {self.context_length:,} tokens", f"{size:,}", "Shorten them"
            )
        logits = self.session(size, 2).score(prompt_ids, ids)
        return ids, self.law.take(logits, range(len(ids)), ids) - self.law.normaliser(logits)

    def _render(self, messages: Sequence[Message]) -> str:
        said = self.model.metadata
        named = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
        ids = {n: said.get(f"tokenizer.ggml.{key}_token_id") for n, key in named.items()}
        tokens = {f"{n}_token": self.model.text_of(int(i)) for n, i in ids.items() if i is not None}
        return templates.render(self._template, messages, tokens, self.thinking)


def make_llamacpp(name: str, *, dtype: str, device: str, trust_remote_code: bool) -> LlamaCppEngine:
    """`load("llamacpp:FILE")`: the file says its dtype, and brings no code."""
    if dtype != "auto":
        raise ModelError("llama.cpp computes with the weights as the file has them", repr(dtype), "Leave --dtype out")
    if trust_remote_code:
        raise ModelError("A GGUF file brings no code to trust", "trust_remote_code", "Leave it out")
    if device not in ("auto", "cpu"):
        raise ModelError(
            "llama.cpp computes where it was built for (auto), or on the CPU (cpu)", repr(device), "Leave --device out"
        )
    path = _file(name)
    model = Model(str(path), cpu=device == "cpu")
    if model.kind != "decoder":
        raise ModelError("A model's rows must be shared and cut back by poise", f"{model.kind}: {name}", _NO_DECODER)
    weights = _weights(path)
    threads = find_threads()
    tried = (llamacpp_session.SCENES, llamacpp_session.SIZES, llamacpp_session.PADDINGS)
    key = certificates.key(weights, PATH, machine(model, threads), tried)
    found = certificates.read(key)
    if found is None:
        cache.say(f"finding out once how llama.cpp computes {path.name} without a bit that depends on neighbours")
        found = Certificate(PATH, *llamacpp_session.self_test(model, threads))
        certificates.write(key, found)
    return LlamaCppEngine(f"llamacpp:{name}", model, weights, Padding(*found.padding), threads)


def find_threads() -> int:
    """Threads to compute with: OMP_NUM_THREADS where it is set, else as many as this process has processors."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdigit() and int(said) > 0:
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(model: Model, threads: int) -> dict[str, str]:
    """Device, instruction set, threads, versions: what may change the last bits of a logit."""
    on_gpu = llamacpp_library.has_gpu() and not model.cpu
    return {
        "device": "gpu" if on_gpu else "cpu",
        "cpu": platform.machine() + hardware.processor(),
        "threads": str(threads),
        **llamacpp_library.versions(),
    }


def baselines(name: str, metadata: Mapping[str, str], thinking: bool | None = None) -> dict[str, SamplingParams]:
    """The settings that join every sweep.

    Args:
        name: of the model.
        metadata: what its file says; `general.sampling.` holds its maker's recommendation.
        thinking: the mode that a published recommendation is for.

    Returns:
        greedy; engine-default, llama.cpp's own settings with the file's in their place; vendor, the file's, or what
        the vendor published elsewhere. Where a file recommends a step that poise lacks, neither of the last two.

    Raises:
        ModelError: the file recommends a value out of range.

    Source: llama.cpp, common/common.h and gguf-py's general.sampling keys.
    """
    found = {"greedy": SamplingParams(temperature=0)}
    said = {n.removeprefix("general.sampling."): v for n, v in metadata.items() if n.startswith("general.sampling.")}
    if any(float(said.get(key, off)) != off for key, off in OFF.items()) or "sequence" in said:
        return found
    stated = {ours: float(said[theirs]) for theirs, ours in RECOMMENDED.items() if theirs in said}
    published = {n: _checked(n, v) for n, v in stated.items() if not (n == "top_k" and v <= 0)}
    default = {n: v for n, v in DEFAULTS.items() if n not in stated} | published
    found["engine-default"] = _params(default)
    told = vendor(name, thinking)
    if published:
        found["vendor"] = _params(published)
    elif told is not None:
        found["vendor"] = told.params.normalised()
    return found


def _params(values: Mapping[str, float]) -> SamplingParams:
    return SamplingParams.model_validate({**values, "dialect": DIALECT}).normalised()


def _checked(name: str, value: float) -> float:
    """A file's own value; below 0 a temperature means greedy there."""
    kept = int(value) if name == "top_k" else max(value, 0.0) if name == "temperature" else value
    try:
        check_value(name, kept)
    except ParameterError as error:
        raise ModelError(
            f"A GGUF file must recommend settings in range: {error.rule}", error.got,
            "Correct its general.sampling, or leave the baselines out with --no-baselines",
        ) from error  # fmt: skip
    return kept


def _law() -> tuple[Law, Callable[[Any], Logits], dict[str, str]]:
    """The fast law where torch is there, else its definition; how it is given logits; what computes it."""
    try:
        torch: Any = importlib.import_module("torch")
    except ModuleNotFoundError:
        return FakeLaw(), lambda values: values.astype(np.float64), {"law": "numpy", "numpy": np.__version__}
    law: Law = importlib.import_module("poise.steps").TorchLaw()
    return law, torch.from_numpy, {"law": "torch", "torch": torch.__version__, "numpy": np.__version__}


def _file(name: str) -> Path:
    """The GGUF file that is meant; `smollm2` is the embedded model's."""
    path = Path(name).expanduser()
    if name == embedded.NAME and not path.exists():
        return embedded.gguf_file()
    if not path.is_file():
        raise ModelError(
            "llamacpp: takes a GGUF file", repr(name), "Check the path; a hub name or a folder of safetensors is hf:"
        )
    with path.open("rb") as file:
        start = file.read(4)
    if start != b"GGUF":
        raise ModelError("A GGUF file starts with the letters GGUF", f"{start!r} in {name}", "Download it again")
    return path


def _weights(path: Path) -> str:
    """SHA-256 of a file, or of all parts where it is the first of several."""
    split = re.fullmatch(r"(.*-)00001-of-(\d{5})\.gguf", path.name)
    if split is None:
        return cache.sha256_of(path)
    names = [f"{split[1]}{i:05}-of-{split[2]}.gguf" for i in range(1, int(split[2]) + 1)]
    return _digest([cache.sha256_of(path.with_name(name)) for name in names])


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
