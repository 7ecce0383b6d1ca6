"""Which software a server is, and what it says of itself."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from poise.errors import ModelError
from poise.servers.answers import count_of, is_number, mapping_of
from poise.servers.calls import About, Fault, Kind
from poise.servers.kinds import MANNERS
from poise.servers.lines import Line

_OWNERS: Mapping[str, Kind] = {
    "vllm": "vllm", "llamacpp": "llama.cpp", "sglang": "sglang", "me": "llama-cpp-python", "library": "ollama",
    "organization_owner": "lm-studio",
}  # fmt: skip
_BESIDE = 10.0  # seconds for a question beside the protocol
_SHOWN = 20  # models that a message lists
# A server's name of a default, and poise's.
_DEFAULTS = {
    "temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p", "typical_p": "typical_p",
    "typ_p": "typical_p", "repeat_penalty": "repetition_penalty", "repetition_penalty": "repetition_penalty",
    "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty",
}  # fmt: skip


class _Told(NamedTuple):
    """What the endpoints of one kind of software say beside the list of models."""

    kind: Kind
    version: str = ""
    context: int | None = None
    defaults: Mapping[str, float] = {}
    identity: str = ""
    beside: bool = True


class Survey(NamedTuple):
    """What a server is, and whether it answers above ``/v1`` too, where gateways let nothing through."""

    about: About
    beside: bool


async def survey(line: Line, url: str, root: str, model: str) -> Survey:
    """Ask a server what it is.

    Args:
        line: to it.
        url: up to ``/v1``.
        root: above the version.
        model: that the user named; empty for the only one.

    Returns:
        What it says; an unknown kind is asked for one token, to see whether prompts may be token ids.

    Raises:
        Fault: it does not answer, or not as such a server does.
        ModelError: the model is not there, or none was named and there are several.
    """
    listed, headers = await _models(line, url, bool(model))
    names = tuple(str(m["id"]) for m in listed)
    chosen = choose_model(model, names, url)
    entry = next((m for m in listed if m["id"] == chosen), {})
    told = await _identified(line, url, root, entry, headers)
    takes_ids, has_text = MANNERS[told.kind].ids, True
    if takes_ids is None or told.kind == "openai":
        takes_ids, has_text = await _tries(line, url, chosen)
    meta = mapping_of(entry.get("meta"))
    context = told.context or count_of(entry.get("max_model_len")) or count_of(meta.get("n_ctx_train"))
    about = About(
        told.kind, told.version, chosen, names, context or count_of(entry.get("context_length")),
        takes_ids, True, has_text, told.defaults, told.identity or _root_of(entry),
    )  # fmt: skip
    return Survey(about, told.beside)


async def _models(line: Line, url: str, named: bool) -> tuple[list[dict[str, Any]], Mapping[str, str]]:
    """The models that are listed; none where there is no list but the rest of the protocol is there."""
    try:
        reply = await line.get(f"{url}/models")
    except Fault as fault:
        if fault.kind != "absent" or not named or not await _is_there(line, f"{url}/chat/completions", {}):
            raise
        return [], {}
    data = reply.data
    found = next((data[k] for k in ("data", "models") if k in data), None) if isinstance(data, dict) else data
    if not isinstance(found, list):
        raise Fault("malformed", "a list of models that is none", 200)
    return [m for m in found if isinstance(m, dict) and isinstance(m.get("id"), str)], reply.headers


async def _is_there(line: Line, url: str, body: Mapping[str, Any]) -> bool:
    """Whether something answers at a path, if only to refuse what was sent."""
    try:
        await line.post(url, body)
    except Fault as fault:
        return fault.kind in ("rejected", "context")
    return True


async def _tries(line: Line, url: str, model: str) -> tuple[bool, bool]:
    """Whether token ids may be continued, and whether text may: one token is asked for."""
    ask = {"model": model, "prompt": [1], "max_tokens": 1}
    try:
        await line.post(f"{url}/completions", ask)
    except Fault as fault:
        if fault.kind == "busy":
            raise
        return False, fault.kind == "rejected"
    return True, True


async def _identified(line: Line, url: str, root: str, entry: Mapping[str, Any], headers: Mapping[str, str]) -> _Told:
    if urlsplit(url).hostname == "api.openai.com":
        return _Told("openai", identity=f"created {entry['created']}" if "created" in entry else "")
    owner = entry.get("owned_by")
    kind = _OWNERS.get(owner) if isinstance(owner, str) else None
    if headers.get("server", "").lower().startswith("llama.cpp"):
        kind = "llama.cpp"
    order: list[Kind] = ["llama.cpp", "ollama", "vllm", "lm-studio", "sglang", "llama-cpp-python"]
    for one in [kind] if kind else order:
        told = await _ASKED[one](line, root, entry)
        if told:
            return told
    return _Told(kind or "unknown", beside=False)


async def _beside(line: Line, url: str) -> dict[str, Any]:
    """What an endpoint beside the protocol says; empty where it is not there."""
    try:
        data = (await line.get(url, _BESIDE)).data
    except Fault:
        return {}
    return data if isinstance(data, dict) else {}


async def _vllm(line: Line, root: str, entry: Mapping[str, Any]) -> _Told | None:
    version = (await _beside(line, f"{root}/version")).get("version")
    return _Told("vllm", version) if isinstance(version, str) else None


async def _llama_server(line: Line, root: str, entry: Mapping[str, Any]) -> _Told | None:
    props = await _beside(line, f"{root}/props")
    settings = props.get("default_generation_settings")
    if not isinstance(settings, dict):
        return None
    params = settings.get("params") if isinstance(settings.get("params"), dict) else settings
    meta = mapping_of(entry.get("meta"))
    sizes = (f"{k} {meta[k]}" for k in ("n_params", "size", "n_vocab") if is_number(meta.get(k)))
    path = props.get("model_path")
    identity = ", ".join([*([f"path {path}"] if isinstance(path, str) else []), *sizes])
    version = props.get("build_info")
    return _Told(
        "llama.cpp", version if isinstance(version, str) else "", count_of(settings.get("n_ctx")),
        defaults_of(params), identity,
    )  # fmt: skip


async def _llama_cpp_python(line: Line, root: str, entry: Mapping[str, Any]) -> _Told | None:
    info = (await _beside(line, f"{root}/openapi.json")).get("info")
    if not isinstance(info, dict) or "llama.cpp Python" not in str(info.get("title")):
        return None
    return _Told("llama-cpp-python", str(info.get("version", "")))


async def _sglang(line: Line, root: str, entry: Mapping[str, Any]) -> _Told | None:
    for path in ("/model_info", "/get_model_info"):
        found = await _beside(line, root + path)
        if isinstance(found.get("model_path"), str):
            break
    else:
        return None
    server = await _beside(line, f"{root}/server_info") or await _beside(line, f"{root}/get_server_info")
    version, weights = server.get("version"), found.get("weight_version")
    identity = f"path {found['model_path']}" + (f", weights {weights}" if isinstance(weights, str) else "")
    return _Told(
        "sglang", version if isinstance(version, str) else "", count_of(server.get("context_length")),
        defaults_of(found.get("preferred_sampling_params")), identity,
    )  # fmt: skip


async def _lm_studio(line: Line, root: str, entry: Mapping[str, Any]) -> _Told | None:
    listed = (await _beside(line, f"{root}/api/v0/models")).get("data")
    if not isinstance(listed, list):
        return None
    mine = next((m for m in listed if isinstance(m, dict) and m.get("id") == entry.get("id")), {})
    parts = (f"{k} {mine[k]}" for k in ("publisher", "arch", "quantization") if isinstance(mine.get(k), str))
    context = count_of(mine.get("loaded_context_length")) or count_of(mine.get("max_context_length"))
    return _Told("lm-studio", "", context, identity=", ".join(parts))


async def _ollama(line: Line, root: str, entry: Mapping[str, Any]) -> _Told | None:
    version = (await _beside(line, f"{root}/api/version")).get("version")
    return _Told("ollama", version) if isinstance(version, str) else None


_ASKED = {
    "vllm": _vllm, "llama.cpp": _llama_server, "llama-cpp-python": _llama_cpp_python, "sglang": _sglang,
    "lm-studio": _lm_studio, "ollama": _ollama,
}  # fmt: skip


def defaults_of(found: object) -> dict[str, float]:
    """Decoding parameters by poise's names, out of a server's own.

    >>> defaults_of({"temperature": 0.800000011920929, "repeat_penalty": 1.0, "seed": 7})
    {'temperature': 0.8, 'repetition_penalty': 1.0}
    """
    if not isinstance(found, dict):
        return {}
    # Servers keep single precision and print it in double.
    numbers = {ours: found[name] for name, ours in _DEFAULTS.items() if is_number(found.get(name))}
    return {name: float(f"{value:.7g}") for name, value in numbers.items() if math.isfinite(value)}


def _root_of(entry: Mapping[str, Any]) -> str:
    root = entry.get("root")
    return f"root {root}" if isinstance(root, str) else ""


def choose_model(wanted: str, served: tuple[str, ...], url: str) -> str:
    """The model to ask.

    Args:
        wanted: that the user named; empty for the only one.
        served: that the server lists; empty where it lists none.
        url: of the server, for messages.

    Returns:
        Its name.

    Raises:
        ModelError: it is not there, or none was named and there are several or none.
    """
    if wanted and (wanted in served or not served):
        return wanted
    if not wanted and len(served) == 1:
        return served[0]
    shown = shown_models(served)
    if not served:
        raise ModelError("A server serves a model", f"none at {url}", f"Name one: {url}#MODEL")
    if not wanted:
        raise ModelError(
            "One model of a server is asked", f"{len(served)} at {url}: {shown}", f"Name one: {url}#{served[0]}"
        )
    close = difflib.get_close_matches(wanted, served, 1) or served[:1]
    raise ModelError(f"The server has the model: {shown}", f"{wanted!r} at {url}", f"For example {url}#{close[0]}")


def shown_models(served: tuple[str, ...]) -> str:
    """Names for a message, not too many.

    >>> shown_models(("a", "b"))
    'a, b'
    """
    return ", ".join(served[:_SHOWN]) + (f" and {len(served) - _SHOWN} more" if len(served) > _SHOWN else "")
