"""The engines, one line each, and `load`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from poise.errors import ModelError
from poise.sessions import Engine


class EngineEntry(NamedTuple):
    """Where an engine is made, how its models are written, and what it is for."""

    maker: str  # module:function taking (name, **options)
    spec: str
    meaning: str


ENGINES: Mapping[str, EngineEntry] = {
    "smollm2": EngineEntry("poise.engines.native:make_embedded", "smollm2", "embedded: SmolLM2-135M-Instruct"),
    "hf": EngineEntry("poise.engines.hf:make_hf", "hf:NAME_OR_DIR", "any decoder-only transformers model"),
    "gguf": EngineEntry("poise.engines.native:make_gguf", "gguf:FILE", "a GGUF file, converted once"),
    "fake": EngineEntry(
        "poise.engines.fake:make_fake",
        "fake[:VARIANT]",
        "a tiny model with known probabilities; VARIANT: hostile (writes markup), slow (20 ms a step), nan (fails)",
    ),
}


# What the extra `local` brings; the core does without.
LOCAL = frozenset({"torch", "transformers", "tokenizers", "safetensors", "gguf", "filelock"})


def load(spec: str, *, dtype: str = "auto", device: str = "auto", trust_remote_code: bool = False) -> Engine:
    """Load a model, ready to draw.

    Args:
        spec: ``smollm2``, ``hf:NAME_OR_DIR``, ``gguf:FILE`` or ``fake``.
        dtype: ``auto`` (bfloat16 where the device computes in it natively, else float32),
            ``float32``, ``bfloat16`` or ``float16``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        trust_remote_code: run Python code that ships with the model. Only for code you have read.

    Returns:
        The engine.

    Raises:
        ModelError: an unknown model, pickle weights, remote code not asked for.
        FetchError: the model could not be fetched.
        EngineError: it does not fit or its logits are no numbers.

    >>> load("fake").name
    'fake'
    """
    if not isinstance(spec, str):
        raise ModelError("A model is named by text", repr(spec), 'For example poise.load("smollm2")')
    kind, _, name = spec.partition(":")
    if kind not in ENGINES:
        known = ", ".join(entry.spec for entry in ENGINES.values())
        raise ModelError(f"A model is written as one of {known}", repr(spec), f"A hub name needs its engine: hf:{spec}")
    # How often a waiting thread looks before it sleeps, read once by GNU OpenMP as torch loads. By default
    # it looks for so long that a step takes 30 times as long while the machine does anything else.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    module, _, function = ENGINES[kind].maker.partition(":")
    try:
        maker: Any = getattr(importlib.import_module(module), function)
        made: Engine = maker(name, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    except ModuleNotFoundError as error:
        raise _lacking(spec, error) from error
    return made


def _lacking(spec: str, error: ModuleNotFoundError) -> ModelError:
    library = (error.name or str(error)).partition(".")[0]
    if library not in LOCAL:
        raise error
    return ModelError(f"{spec} needs the libraries of the extra `local`", f"no {library}", "pip install 'poise[local]'")
