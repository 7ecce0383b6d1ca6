"""The engines, one line each, and `load`."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from poise.errors import ModelError, UsageError
from poise.sessions import Engine

if TYPE_CHECKING:
    from poise.engines.remote_options import ServerOptions


class EngineEntry(NamedTuple):
    """Where an engine is made, how its models are written, and what it is for."""

    maker: str  # module:function taking (name, **options)
    spec: str
    meaning: str


ENGINES: Mapping[str, EngineEntry] = {
    "smollm2": EngineEntry("poise.engines.native:make_embedded", "smollm2", "embedded: SmolLM2-135M-Instruct"),
    "hf": EngineEntry("poise.engines.hf:make_hf", "hf:NAME_OR_DIR", "any decoder-only transformers model"),
    "gguf": EngineEntry("poise.engines.native:make_gguf", "gguf:FILE", "a GGUF file, converted once"),
    "llamacpp": EngineEntry(
        "poise.engines.llamacpp:make_llamacpp", "llamacpp:FILE", "a GGUF file as it is, computed by llama.cpp"
    ),
    "http": EngineEntry(
        "poise.engines.remote:make_server",
        "http(s)://HOST[:PORT]/v1[#MODEL]",
        "a server that speaks OpenAI's protocol: vLLM, llama-server, …",
    ),
    "ollama": EngineEntry("poise.engines.remote:make_ollama", "ollama:NAME", "a model of Ollama, by its own protocol"),
    "fake": EngineEntry(
        "poise.engines.fake:make_fake",
        "fake[:VARIANT]",
        "a tiny model with known probabilities; VARIANT: hostile (writes markup), slow (20 ms a step), nan (fails)",
    ),
}


# What draws by itself: its makers take `server` too. Drawn by poise, it is another engine.
SERVERS: Mapping[str, str] = {
    "http": "poise.engines.remote:make_server",
    "https": "poise.engines.remote:make_server",
    "ollama": "poise.engines.remote:make_ollama",
}
DRAWN_HERE = "poise.engines.remote_logits:make_remote_logits"

# The extra that brings a library; the core does without.
EXTRAS: Mapping[str, str] = {
    **dict.fromkeys(("torch", "transformers", "tokenizers", "safetensors", "gguf", "filelock"), "local"),
    "llama_cpp": "llamacpp",
}


def load(
    spec: str, *, dtype: str = "auto", device: str = "auto", trust_remote_code: bool = False,
    thinking: bool | None = None, draws_by: Literal["poise", "server"] | None = None,
    server: ServerOptions | None = None,
) -> Engine:  # fmt: skip
    """Load a model, or make ready to ask a server, and be ready to draw.

    Args:
        spec: ``smollm2``, ``hf:NAME_OR_DIR``, ``http(s)://HOST[:PORT]/v1[#MODEL]``, …; see `ENGINES`.
        dtype: ``auto`` (bfloat16 where the device computes in it natively, else float32),
            ``float32``, ``bfloat16`` or ``float16``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        trust_remote_code: run Python code that ships with the model. Only for code you have read.
        thinking: whether a model that can think before it answers is asked to; None leaves it to the model.
        draws_by: of a server: ``server`` lets it draw; ``poise`` draws here from the log-probabilities that it returns,
            one token a request, so that noise is shared and dials work. None is ``server``.
        server: how a server is asked; None for defaults.

    Returns:
        The engine.

    Raises:
        ModelError: an unknown model, pickle weights, remote code not asked for.
        UsageError: options that mean nothing to this model.
        FetchError: the model could not be fetched.
        EngineError: it does not fit or its logits are no numbers.
        ServerError: the server cannot be reached, or refuses.

    >>> load("fake").name
    'fake'
    """
    kind, name = _read(spec)
    if draws_by not in (None, "poise", "server"):
        raise UsageError("A server's tokens are drawn by poise or server", repr(draws_by), "Leave it out")
    if kind in SERVERS:
        return _load_server(kind, spec, {"dtype": dtype, "device": device}, thinking, draws_by, server)
    for option, said in (("draws_by", draws_by), ("server", server)):
        if said is not None:
            raise UsageError(f"{option} is for servers", f"it for {spec}", "Leave it out")
    return _load_here(kind, name, {"dtype": dtype, "device": device, "trust_remote_code": trust_remote_code}, thinking)


def _read(spec: object) -> tuple[str, str]:
    """Which engine a model is written for, and its name there."""
    if not isinstance(spec, str):
        raise ModelError("A model is named by text", repr(spec), 'For example poise.load("smollm2")')
    kind, _, name = spec.partition(":")
    if kind not in {**ENGINES, **SERVERS}:
        if (step := _address(spec)) is not None:
            raise ModelError("A server's address begins with http:// or https://, in small letters", repr(spec), step)
        known = ", ".join(entry.spec for entry in ENGINES.values())
        raise ModelError(f"A model is written as one of {known}", repr(spec), f"A hub name needs its engine: hf:{spec}")
    return kind, name


def _address(spec: str) -> str | None:
    """How the address of a server is written that lacks its scheme, or has it in capitals; None for anything else."""
    scheme, apart, rest = spec.partition("://")
    if apart and scheme.lower() in ("http", "https") and scheme != scheme.lower():
        return f"Write {scheme.lower()}://{rest}"
    return f"Write http://{spec}" if re.match(r"[\w.-]+:\d+(/|$)|\[[\da-fA-F:]+\]", spec) else None


def _load_here(kind: str, name: str, options: Mapping[str, Any], thinking: bool | None) -> Engine:
    # How often a waiting thread looks before it sleeps, read once by GNU OpenMP as torch loads. By default
    # it looks for so long that a step takes 30 times as long while the machine does anything else.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    spec = f"{kind}:{name}" if name else kind
    try:
        made: Engine = _maker(ENGINES[kind].maker)(name, **options)
    except ModuleNotFoundError as error:
        raise _lacking(spec, error) from error
    if thinking is not None:
        think: Any = getattr(made, "think", None)
        if think is None:
            raise ModelError(
                "Thinking is switched by a model's chat template", f"{spec}, which has none", "Leave it out"
            )
        think(thinking)
    return made


def _load_server(
    kind: str, spec: str, local: Mapping[str, str], thinking: bool | None, draws_by: str | None,
    server: ServerOptions | None,
) -> Engine:  # fmt: skip
    options: Any = _maker("poise.engines.remote_options:ServerOptions")() if server is None else server
    if thinking is not None:
        options = dataclasses.replace(options, thinking=thinking)
    maker = DRAWN_HERE if draws_by == "poise" else SERVERS[kind]
    name = spec.partition(":")[2] if kind == "ollama" else spec
    made: Any = _maker(maker)(name, **local, trust_remote_code=False, server=options)
    learn: Any = getattr(made, "remember" if draws_by == "poise" else "learn")
    learn(_maker("poise.probes.kept:kept")(made.wire.url, made.about))
    engine: Engine = made
    return engine


def _maker(where: str) -> Any:
    """What `module:name` stands for, loaded when it is needed."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def _lacking(spec: str, error: ModuleNotFoundError) -> ModelError:
    library = (error.name or str(error)).partition(".")[0]
    extra = EXTRAS.get(library)
    if extra is None:
        raise error
    return ModelError(
        f"{spec} needs the libraries of the extra `{extra}`", f"no {library}", f"pip install 'poise[{extra}]'"
    )
