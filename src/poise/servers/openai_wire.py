"""Servers that speak OpenAI's protocol, through the official client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from poise.records import Message
from poise.servers.address import Address
from poise.servers.answers import Reader, ids_of
from poise.servers.calls import About, Answer, Call, Fault, Kind
from poise.servers.kinds import MANNERS, Manner
from poise.servers.lines import Line, Reply
from poise.servers.llama_native import native_answer, native_body
from poise.servers.surveys import survey

if TYPE_CHECKING:
    import openai


class OpenAIWire:
    """One server and one of its models.

    Until `about` was asked, the server counts as one of unknown kind.

    Args:
        address: where it is.
        timeout: seconds that an exchange may take in all.
        transport: in place of the network, for tests.

    Raises:
        UsageError: the library of the extra `server` is not there.
    """

    def __init__(self, address: Address, timeout: float = 120.0, transport: Any = None) -> None:
        self.url, self.model = address.url, address.model
        self._speak_as("unknown")
        self._root = root_of(address.url)
        official = address.url.startswith("https://api.openai.com/")
        self._line = Line(address.url, address.key, timeout, transport, bare=not official)
        self._client: openai.AsyncOpenAI | None = None

    async def about(self) -> About:
        """What it is.

        Raises:
            Fault: it does not answer.
            ModelError: the model is not there, or none was named and there are several.
        """
        found = await survey(self._line, self.url, self._root, self.model)
        self.model = found.about.model
        self._speak_as(found.about.kind, found.beside)
        return found.about

    def _speak_as(self, kind: Kind, beside: bool = False) -> None:
        manner = MANNERS[kind]
        self._manner: Manner = (
            manner if beside else manner._replace(native=False, tokenize=None, detokenize=None, render=None)
        )
        self.names: Mapping[str, str] = self._manner.names
        self.most_logprobs: int = self._manner.most_logprobs

    async def ask(self, call: Call) -> Answer:
        """One exchange. Raises Fault."""
        native = self._manner.native and not call.messages and call.n == 1
        if native:
            body = native_body(call)
            reply = await self._line.post(f"{self._root}/completion", body, tuple(body))
        else:
            reply = await self._send(call)
        reader = Reader(self._line.hide, bool(call.messages), reply.seconds, call.logprobs or 0)
        return native_answer(reply.data, reader) if native else reader.answer(reply.data)

    async def _send(self, call: Call) -> Reply:
        import httpx2

        body: dict[str, Any] = self._manner.body(call)
        sent = tuple(body)
        if self.model:
            body["model"] = self.model
        if call.messages:
            path = "/chat/completions"
            body["messages"] = [{"role": m.role, "content": m.content} for m in call.messages]
        else:
            path = "/completions"
            body["prompt"] = list(call.ids) if call.ids is not None else call.text or ""
            sent += () if call.ids is None else ("prompt",)  # which may have to be text
        # Through the client's way for bodies of one's own: its typed one takes twice as long to say the same.
        client = self._official()
        return await self._line.exchange(lambda: client.post(path, cast_to=httpx2.Response, body=body), sent)

    def _official(self) -> openai.AsyncOpenAI:
        http = self._line.http
        if self._client is None or self._client._client is not http:
            import openai

            self._client = openai.AsyncOpenAI(
                api_key="-", admin_api_key="-", base_url=self.url, max_retries=0, http_client=http,
                timeout=self._line.timeout,
            )  # fmt: skip
        return self._client

    async def tokenize(self, text: str, special: bool = False) -> tuple[int, ...] | None:
        """Token ids of a text; None where the server has no way to tell."""
        how = self._manner.tokenize
        if how is None:
            return None
        found = await self._told(how.path, how.body(self.model, text, special), how.answer)
        if found is None:
            return None
        ids = ids_of(found)
        if not how.special and not special:  # it puts its own start token in front
            start = ids_of(await self._told(how.path, how.body(self.model, "", True), how.answer))
            ids = ids[len(start) :] if ids[: len(start)] == start else ids
        return ids

    async def render(self, messages: Sequence[Message], thinking: bool | None = None) -> tuple[int, ...] | None:
        """Token ids of messages as the template writes them; None where there is no template, or no way to tell."""
        how = self._manner.render
        if how is None:
            return None
        turns = [{"role": m.role, "content": m.content} for m in messages]
        asked = {"chat_template_kwargs": {"enable_thinking": thinking}} if thinking is not None else {}
        try:
            found = await self._told(how.path, {**how.body(self.model, turns), **asked}, how.answer)
        except Fault as fault:
            if fault.kind == "rejected":
                return None
            raise
        if isinstance(found, str):
            return await self.tokenize(found, special=True)
        return None if found is None else ids_of(found)

    async def detokenize(self, ids: tuple[int, ...]) -> str | None:
        """Text of token ids; None where the server has no way to tell."""
        how = self._manner.detokenize
        if how is None:
            return None
        found = await self._told(how.path, how.body(self.model, list(ids)), how.answer)
        return self._line.hide(found) if isinstance(found, str) else None

    async def _told(self, path: str, body: Mapping[str, Any], name: str) -> object:
        """One field of an answer to a question beside the protocol; None where the server does not know it."""
        try:
            data = (await self._line.post(self._root + path, body)).data
        except Fault as fault:
            if fault.kind == "absent":
                return None
            raise
        return data.get(name) if isinstance(data, dict) else None

    async def close(self) -> None:
        """Hang up."""
        await self._line.close()


def root_of(url: str) -> str:
    """The URL above the version, where servers keep what is not OpenAI's.

    >>> root_of("http://localhost:8000/v1"), root_of("http://localhost:8000/api")
    ('http://localhost:8000', 'http://localhost:8000/api')
    """
    head, _, last = url.rpartition("/")
    return head if last[:1] == "v" and last[1:].isdigit() else url
