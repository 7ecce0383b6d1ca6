"""What each software tells of itself beside its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from poise.fakeserver.reading import Body
from poise.fakeserver.refusals import no_model, wrong_type
from poise.fakeserver.server import FakeServer

Json = dict[str, Any]
_OWNERS = {"vllm": "vllm", "llama.cpp": "llamacpp", "llama-cpp-python": "me", "ollama": "library", "openai": "system"}


class Surroundings:
    """The endpoints of a server that draw nothing.

    Args:
        server: what they speak of.
    """

    def __init__(self, server: FakeServer) -> None:
        self._server, self._style = server, server.style

    def told(self) -> Mapping[str, Callable[[], Any]]:
        """What is told to whoever asks, by path; nothing is an empty answer."""
        kind, version = self._style.kind, self._style.version
        if kind == "vllm":
            return {"/version": lambda: {"version": version}, "/health": lambda: None}
        if kind == "llama.cpp":
            status = {"status": "ok"}
            return {"/props": self._props, "/health": lambda: status, "/v1/health": lambda: status}
        if kind == "llama-cpp-python":
            info = {"title": "🦙 llama.cpp Python API", "version": version}
            return {"/openapi.json": lambda: {"openapi": "3.1.0", "info": info}}
        if self._style.name == "ollama":
            return {"/api/version": lambda: {"version": version}, "/api/tags": self._tags, "/api/ps": self._running}
        return {}

    def asked(self) -> Mapping[str, Callable[[Any], Any]]:
        """What answers a question, by path."""
        kind = self._style.kind
        if kind == "vllm":
            return {"/tokenize": self._vllm_ids, "/detokenize": self._texted("tokens", "prompt")}
        if kind == "llama.cpp":
            return {"/tokenize": self._ids("content"), "/detokenize": self._texted("tokens", "content")}
        if kind == "llama-cpp-python":
            return {"/extras/tokenize": self._ids("input"), "/extras/detokenize": self._texted("tokens", "text")}
        return {"/api/show": self._show} if self._style.name == "ollama" else {}

    def models(self) -> Json:
        """``GET /v1/models``."""
        server, kind = self._server, self._style.kind
        entry: Json = {"id": server.model, "object": "model", "owned_by": _OWNERS[kind]}
        if kind != "llama-cpp-python":
            entry["created"] = server.made_at
        if kind == "vllm":
            entry |= {"root": server.model, "parent": None, "max_model_len": server.context}
        elif kind == "llama.cpp":
            size = server.language.size
            entry["meta"] = {"vocab_type": 2, "n_vocab": size, "n_ctx_train": server.context, "n_embd": size,
                             "n_params": size * size, "size": size * size * 8}  # fmt: skip
        else:
            entry |= {"permissions": []} if kind == "llama-cpp-python" else {}
        listed = {"models": [{"name": server.model, "model": server.model}]} if kind == "llama.cpp" else {}
        return {**listed, "object": "list", "data": [entry]}

    def _props(self) -> Json:
        style, server = self._style, self._server
        off = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "temperature": 1.0, "repetition_penalty": 1.0}
        params: Json = {w: style.defaults.get(n, off.get(n, 0.0)) for n, w in style.names.items()}
        order = [{"typical_p": "typ_p"}.get(n, n) for n in style.order if not n.endswith("_penalty")]
        params |= {"seed": 4294967295, "repeat_last_n": style.window}
        return {
            "default_generation_settings": {
                "params": {**params, "samplers": ["penalties", *order]}, "n_ctx": server.context,
            },
            "total_slots": 4, "model_alias": server.model, "model_path": f"models/{server.language.digest[:12]}.gguf",
            "chat_template": "{{ messages[-1].content }}", "build_info": server.system, "is_sleeping": False,
        }  # fmt: skip

    def _ids(self, given: str) -> Callable[[Any], Json]:
        return lambda data: {"tokens": list(self._server.language.spelt(Body(data, self._style).text(given)))}

    def _vllm_ids(self, data: Any) -> Json:
        body, language = Body(data, self._style), self._server.language
        ids = language.chat(body.messages()) if "messages" in body.data else language.spelt(body.text("prompt"))
        return {"count": len(ids), "max_model_len": self._server.context, "tokens": list(ids), "token_strs": None}

    def _texted(self, given: str, answer: str) -> Callable[[Any], Json]:
        def made(data: Any) -> Json:
            ids, size = Body(data, self._style).data.get(given), self._server.language.size
            if not isinstance(ids, list) or not all(isinstance(i, int) and 0 <= i < size for i in ids):
                raise wrong_type(self._style, given, "array", ids)
            return {answer: self._server.language.text(ids)}

        return made

    def _entry(self) -> Json:
        server = self._server
        return {
            "name": f"{server.model}:latest", "model": f"{server.model}:latest", "digest": server.language.digest,
            "size": server.language.logits.nbytes, "modified_at": "2026-01-01T00:00:00Z", "details": self._details(),
        }  # fmt: skip

    def _details(self) -> Json:
        return {"parent_model": "", "format": "gguf", "family": "fake", "families": ["fake"], "parameter_size": "4K",
                "quantization_level": "F64"}  # fmt: skip

    def _tags(self) -> Json:
        return {"models": [self._entry()]}

    def _running(self) -> Json:
        return {"models": [{**self._entry(), "context_length": self._server.context, "size_vram": 0}]}

    def _show(self, data: Any) -> Json:
        server = self._server
        body = Body(data, self._style)
        name = body.data.get("model") or body.data.get("name")
        if name not in (server.model, f"{server.model}:latest"):
            raise no_model(self._style, str(name or ""))
        names = {**self._style.names}
        lines = [f"{names.get(n, n):<30} {v:g}" for n, v in server.config.items()]
        thinks = ["thinking"] if self._style.thinks != "never" else []
        return {
            "license": "", "modelfile": "FROM fake\n" + "".join(f"PARAMETER {' '.join(x.split())}\n" for x in lines),
            "parameters": "\n".join(lines), "template": "{{ .Prompt }}", "details": self._details(),
            "model_info": {"general.architecture": "fake", "fake.context_length": server.context},
            "capabilities": ["completion", *thinks], "modified_at": "2026-01-01T00:00:00Z",
        }  # fmt: skip
