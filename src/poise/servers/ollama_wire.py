"""Ollama through its own protocol; its /v1 drops and overrides parameters."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from poise.errors import ModelError, UsageError
from poise.servers.answers import Reader, count_of, mapping_of
from poise.servers.calls import About, Answer, Call, Choice, Fault
from poise.servers.lines import Line
from poise.servers.surveys import defaults_of, shown_models

HOST_ENV, KEY_ENV = "OLLAMA_HOST", "OLLAMA_API_KEY"
_PORT = "11434"
_NAMES = {
    "temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p", "typical_p": "typical_p",
    "repetition_penalty": "repeat_penalty", "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}  # fmt: skip
_MOST_LOGPROBS = 20  # more is refused


class OllamaWire:
    """One model of an Ollama.

    Args:
        name: of the model, as ``ollama list`` shows it; ``:latest`` may be left out.
        host: where it is; None for what OLLAMA_HOST says, else this machine.
        timeout: seconds that an exchange may take in all; the first one loads the model.
        transport: in place of the network, for tests.

    Raises:
        ModelError: no name.
        UsageError: OLLAMA_HOST holds no address, or the extra `server` is not there.
    """

    def __init__(self, name: str, host: str | None = None, timeout: float = 120.0, transport: Any = None) -> None:
        if not name.strip():
            raise ModelError("A model of Ollama is written ollama:NAME", "no name", "`ollama list` shows the names")
        self.model = name.strip()
        self.url = find_host(os.environ.get(HOST_ENV, "") if host is None else host)
        self.names: Mapping[str, str] = _NAMES
        self.most_logprobs = _MOST_LOGPROBS
        key = os.environ.get(KEY_ENV, "").strip() if self.url.startswith("https://") else ""
        self._line = Line(self.url, key or None, timeout, transport)

    async def about(self) -> About:
        """What it is.

        Raises:
            Fault: it does not answer.
            ModelError: the model is not there.
        """
        version = mapping_of((await self._line.get(f"{self.url}/api/version")).data).get("version")
        listed = mapping_of((await self._line.get(f"{self.url}/api/tags")).data).get("models")
        known = [m for m in listed if isinstance(m, dict)] if isinstance(listed, list) else []
        names = tuple(str(m.get("name") or m.get("model") or "") for m in known)
        shown = await self._shown(names)
        parameters = parameters_of(shown.get("parameters"))
        mine = next((m for m, n in zip(known, names, strict=True) if n in (self.model, f"{self.model}:latest")), {})
        digest = mine.get("digest")
        context = parameters.get("num_ctx")
        return About(
            "ollama", version if isinstance(version, str) else "", self.model, names,
            int(context) if context else await self._loaded_context(), False, True, True, defaults_of(parameters),
            f"digest {digest}" if isinstance(digest, str) else "",
        )  # fmt: skip

    async def _shown(self, names: tuple[str, ...]) -> Mapping[str, Any]:
        try:
            return mapping_of((await self._line.post(f"{self.url}/api/show", {"model": self.model})).data)
        except Fault as fault:
            if fault.kind != "absent":
                raise
        raise ModelError(
            f"Ollama has the model: {shown_models(names) or 'none so far'}", f"{self.model!r} at {self.url}",
            f"ollama pull {self.model}, or name one that is there",
        )  # fmt: skip

    async def _loaded_context(self) -> int | None:
        """The context of the model if it is loaded; what it was trained for says nothing of it."""
        try:
            running = mapping_of((await self._line.get(f"{self.url}/api/ps")).data).get("models")
        except Fault:
            return None
        found = [m for m in running if isinstance(m, dict)] if isinstance(running, list) else []
        mine = (m for m in found if m.get("name") in (self.model, f"{self.model}:latest"))
        return count_of(next(mine, {}).get("context_length"))

    async def ask(self, call: Call) -> Answer:
        """One exchange. Raises Fault."""
        if call.ids is not None or call.n > 1:
            what = "token ids" if call.ids is not None else "more than one text per request"
            raise Fault("rejected", f"Ollama takes no {what}", field="n" if call.ids is None else "prompt")
        body = self.body(call)
        path = "/api/chat" if call.messages else "/api/generate"
        reply = await self._line.post(self.url + path, body, (*body["options"], "think", "logprobs", "top_logprobs"))
        return read_answer(reply.data, Reader(self._line.hide, bool(call.messages), reply.seconds, call.logprobs or 0))

    def body(self, call: Call) -> dict[str, Any]:
        """What is sent.

        Args:
            call: what is asked; its fields are options.

        Returns:
            Plain data. A prompt that is too long is to be refused: without ``truncate`` and ``shift`` Ollama leaves out
            parts of it and says nothing.
        """
        options: dict[str, Any] = {
            "num_predict": call.max_tokens, "seed": call.seed, "stop": list(call.stop) or None, **call.fields,
        }  # fmt: skip
        said: dict[str, Any] = (
            {"messages": [{"role": m.role, "content": m.content} for m in call.messages], "think": call.thinking}
            if call.messages
            else {"prompt": call.text or "", "raw": True}
        )
        more = {} if call.logprobs is None else {"logprobs": True, "top_logprobs": call.logprobs}
        body = {"model": self.model, **said, **more, "stream": False, "truncate": False, "shift": False}
        kept = {k: v for k, v in body.items() if v is not None}
        return {**kept, "options": {k: v for k, v in options.items() if v is not None}}

    async def tokenize(self, text: str, special: bool = False) -> tuple[int, ...] | None:
        """None: Ollama has no way to tell."""
        return None

    async def detokenize(self, ids: tuple[int, ...]) -> str | None:
        """None: Ollama has no way to tell."""
        return None

    async def close(self) -> None:
        """Hang up."""
        await self._line.close()


def read_answer(data: object, reader: Reader) -> Answer:
    """What came back of a chat or a text.

    Args:
        data: plain data, from anybody.
        reader: of its parts.

    Returns:
        The answer.

    Raises:
        Fault: ``malformed``, where it is none, or no whole one.
    """
    body = mapping_of(data)
    said = mapping_of(body.get("message")) if reader.chat else {"content": body.get("response"), **body}
    if not isinstance(said.get("content"), str) or body.get("done") is not True:
        raise Fault("malformed", "an answer without content, or not done", 200)
    text, thinking = reader.parted({"content": said["content"], "reasoning": said.get("thinking")})
    found = body.get("logprobs")
    positions = tuple(reader.position(one) for one in found if isinstance(one, dict)) if isinstance(found, list) else ()
    reason = body.get("done_reason")
    finish = reason if isinstance(reason, str) and reason else "unknown"
    choice = Choice(text, thinking, "eos" if finish == "stop" else finish, positions)
    return Answer(
        (choice,), reader.text(body.get("model")), "", count_of(body.get("prompt_eval_count")),
        count_of(body.get("eval_count")), reader.seconds,
    )  # fmt: skip


def parameters_of(found: object) -> dict[str, float]:
    """Numbers among the PARAMETER lines of a Modelfile, as ``/api/show`` gives them.

    >>> parameters_of('temperature    0.7\\nstop    "<|im_end|>"\\ntop_k   20')
    {'temperature': 0.7, 'top_k': 20.0}
    """
    numbers: dict[str, float] = {}
    for line in found.splitlines() if isinstance(found, str) else ():
        name, _, value = line.strip().partition(" ")
        try:
            numbers[name] = float(shlex.split(value)[0])
        except (ValueError, IndexError):
            continue
    return numbers


def find_host(written: str) -> str:
    """The URL of an Ollama, read as Ollama's own client reads it.

    Args:
        written: ``[http(s)://]HOST[:PORT]``; empty for this machine.

    Returns:
        A URL without a closing slash.

    Raises:
        UsageError: it is none.

    >>> find_host(""), find_host("0.0.0.0"), find_host("https://ollama.example")
    ('http://127.0.0.1:11434', 'http://127.0.0.1:11434', 'https://ollama.example:443')
    """
    text = written.strip().strip("\"'").strip()
    scheme, apart, rest = text.partition("://")
    if not apart:
        scheme, rest = "http", text
    try:
        parts = urlsplit(f"{scheme}://{rest.rstrip('/') or '127.0.0.1'}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
        got = repr(written) if "@" not in text else "one with a user"  # which may be a key
        raise UsageError(f"{HOST_ENV} holds an address, [http(s)://]HOST[:PORT]", got, "For example 127.0.0.1:11434")
    default = {"http": "80", "https": "443"}[scheme] if apart else _PORT
    host = "127.0.0.1" if parts.hostname in ("0.0.0.0", "::") else parts.hostname  # noqa: S104  an address to bind
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port if port is not None else default}{parts.path}"
