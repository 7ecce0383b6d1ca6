"""A model that a server serves, and draws from by itself."""

from __future__ import annotations

import hashlib
import time
import weakref
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Literal, TypeVar

from poise import codec
from poise.engines.remote_baselines import default_of, find_baselines
from poise.engines.remote_calls import Manners, check_answer, gathered, pseudo_ids
from poise.engines.remote_drawing import Batch, Voice, changed_error
from poise.engines.remote_options import ServerOptions
from poise.engines.remote_thinking import check_prompt, has_switch, no_switch
from poise.errors import ModelError, ParameterError, PoiseError, PromptError, ServerError, UsageError
from poise.params import PARAMETERS, SamplingParams
from poise.records import Completion, Fingerprint, Prompt, Request
from poise.servers.address import find_address
from poise.servers.calls import About, Fault, Kind, Wire
from poise.servers.honours import Probe
from poise.servers.likeness import Likeness, look_at
from poise.servers.loops import LoopThread
from poise.servers.neutral import Neutral
from poise.servers.ollama_wire import KEY_ENV as OLLAMA_KEY
from poise.servers.ollama_wire import OllamaWire
from poise.servers.openai_wire import OpenAIWire
from poise.servers.pool import Pool
from poise.servers.words import Place, error_of
from poise.sessions import Tally

T = TypeVar("T")
LOOKED = 200  # texts after which the model is looked at again
_MIN_TOKENS: Mapping[Kind, str] = {"vllm": "min_tokens", "sglang": "min_tokens", "llama-cpp-python": "min_tokens"}
_TEMPLATE = 512  # tokens that a chat template may add, generously


class RemoteEngine:
    """A server's model as an engine that draws by itself: its noise is not poise's, its law is what a probe found.

    Nothing is left to the server's defaults: what a setting leaves out is switched off in so many words. Every text is
    a request of its own with a seed of its own, so that the same request repeats where seeds are honoured.

    Args:
        wire: to the server.
        probe: what it was found to honour; None where nobody looked.
        options: how it is asked.
        place: how messages speak of it; None for what the wire knows.

    Raises:
        ServerError: it does not answer.
        ModelError: the model is not there.
    """

    draws_by: Literal["poise", "engine"] = "engine"
    context_length: int | None = None  # prompt ids are none of the model's, so that nobody can count them; see `encode`

    def __init__(
        self, wire: Wire, probe: Probe | None = None, options: ServerOptions | None = None, place: Place | None = None
    ) -> None:
        self.wire, self.options = wire, options or ServerOptions()
        self._place = place or Place(wire.url, wire.model)
        self._thread = LoopThread(wire.close)
        self._finalizer = weakref.finalize(self, self._thread.stop)
        self._sizes: dict[Prompt, int] = {}
        self._likeness = Likeness()
        try:
            self.about: About = self.run(wire.about())
            self.name = f"ollama:{self.about.model}" if isinstance(wire, OllamaWire) else self.about.model
            if self.options.thinking is not None and self.run(has_switch(wire)) is False:
                raise no_switch(self.name)
        except BaseException:
            self.close()
            raise
        self._place = self._place._replace(model=self.name, models=self.about.models, names=wire.names, started=True)
        self._voice = Voice(shifts=self.about.kind == "openai")
        self.learn(probe)

    def learn(self, probe: Probe | None) -> None:
        """Take over what a probe found.

        Args:
            probe: of this server; None for none.
        """
        self.probe, found = probe, {} if probe is None else {f.name: f for f in probe.findings}
        self._bad = {n: f for n, f in found.items() if n in PARAMETERS and f.honour in ("ignored", "rejected")}
        on_wire = frozenset(PARAMETERS) & frozenset(self.wire.names)
        self.supports = on_wire if self.options.anyway else on_wire - frozenset(self._bad)
        unsent = [n for n, f in self._bad.items() if f.honour == "rejected"]
        seeds = "seed" not in found or found["seed"].honour != "rejected"
        sent = [] if self.options.anyway else unsent
        self._neutral = Neutral(self.wire, self.about, sent, seeds)
        self._pool = Pool(self._neutral, self.options.concurrency, self.options.rate, check=check_answer)
        raw = probe is not None and probe.logprobs == "raw"
        self._manners = Manners(self.wire.names, _MIN_TOKENS.get(self.about.kind, ""), raw, self.options.thinking)
        default = default_of(self.about, probe, self.dialect)
        self._baselines, self.notes = find_baselines(
            self.about, default, self.dialect, self.options.thinking, self._why_not
        )
        self._voice.took.update(() if probe is None else probe.honoured)

    @property
    def dialect(self) -> str:
        """Whose order of steps it is, as far as a probe could tell."""
        return "server" if self.probe is None else self.probe.dialect

    @property
    def fingerprint(self) -> Fingerprint:
        """What is known of a server: kind, model and what identifies its weights."""
        about = self.about
        made = time.strftime("%Y-%m-%d", time.gmtime(self.probe.made_at)) if self.probe else ""
        known = {"server": f"{about.kind} {about.version}".strip(), "url": self.wire.url, "probed": made}
        return Fingerprint(
            model=self.name,
            weights=_hash("weights", about.kind, about.model, about.identity),
            tokenizer=_hash("tokenizer", about.kind, about.model, about.identity),
            template=_hash("template", about.has_chat, self.options.thinking),
            dtype="server",
            path=f"server/{about.kind}",
            provenance={name: value for name, value in known.items() if value},
        )

    @property
    def baselines(self) -> Mapping[str, SamplingParams]:
        """greedy, and where a probe found what an empty request gets, engine-default."""
        return self._baselines

    @property
    def has_template(self) -> bool:
        """Whether messages can be asked."""
        return self.about.has_chat

    @property
    def systems(self) -> frozenset[str]:
        """System fingerprints that its answers bore so far."""
        return frozenset(self._voice.systems)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something with the wire, in its event loop; its faults become errors."""
        try:
            return self._thread.run(work)
        except Fault as fault:
            raise error_of(fault, self._place) from None

    def close(self) -> None:
        """Hang up."""
        self._finalizer.detach()
        self._thread.close()

    def refusal(self, names: Sequence[str]) -> PoiseError | None:
        """Why parameters cannot be asked for.

        Args:
            names: parameters, none of which the engine supports.

        Returns:
            The error that says so: what the probe saw, or that the server has no such parameter.
        """
        for name in names:
            if (finding := self._bad.get(name)) is not None and not self.options.anyway:
                said = ": it draws by settings of its own" if finding.honour == "rejected" else ""
                seen = ". ".join(s.rstrip(".") for s in (finding.how, finding.evidence) if s)
                rule = f"{self.name} {_VERBS[finding.honour]} {name}{said}"
                rule += f". Seen by the probe: {seen}" if seen else ""
                return ParameterError(rule, "", f"Leave {name} out; --anyway sends it all the same")
        missing = [n for n in names if n not in self.wire.names]
        known = ", ".join(n for n in PARAMETERS if n in self.supports) or "no parameter"
        return ParameterError(f"{self.name} takes {known}", ", ".join(missing), "Leave it out") if missing else None

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """Numbers that identify what is asked; the server keeps token ids to itself.

        Args:
            prompt: text or messages.

        Returns:
            See `pseudo_ids`.

        Raises:
            PromptError: it is empty, cannot be asked so, or fills the context by itself.
        """
        if not prompt.shown:
            raise PromptError(
                "A prompt has at least one character", repr(prompt.shown), "Write what is to be continued"
            )
        if not (self.about.has_chat if prompt.chat else self.about.has_text):
            what, step = ("answers no chat", "--text") if prompt.chat else ("continues no text", "--chat")
            raise PromptError(f"{self.name} {what}", repr(prompt.shown[:60]), f"Ask with {step}")
        check_prompt(prompt, self.options.thinking)
        self._check_room(prompt, 1)
        return pseudo_ids(prompt, self.options.thinking)

    def generate(self, requests: Iterable[Request], tally: Tally | None = None) -> Iterator[Completion]:
        """Have the server draw; completions come as they finish.

        Args:
            requests: what to draw.
            tally: filled with the cost as it grows.

        Yields:
            Completions. Closing the generator hangs up on what is under way.

        Raises:
            ParameterError: a setting that the server does not honour, before anything is drawn.
            PromptError: prompts too long for its context; everything else was drawn.
            ServerError: it is down, refuses, or is not what it was; what came was yielded.
        """
        waiting = list(requests)
        if not waiting:
            return
        self._check(waiting)
        batch = Batch(self._thread, self._pool, self._manners, self._place, self._voice, anyway=self.options.anyway)
        self._check_likeness()
        groups, told = self.sent(waiting), Tally() if tally is None else tally
        try:
            with closing(batch.draw(list(groups), told)) as texts:
                for number, text in enumerate(texts, 1):
                    told.completions += len(groups[text.request]) - 1
                    yield from (replace(text, request=request) for request in groups[text.request])
                    if number % LOOKED == 0:
                        self._check_likeness()
        finally:
            batch.notices.tell()
        self._check_unchanged()

    def sent(self, requests: Sequence[Request]) -> dict[Request, list[Request]]:
        """The requests that are sent, each with all that its text answers: greedy texts that repeat are drawn once."""
        return gathered(requests, self.probe is not None and self.probe.repeats)

    def _check(self, requests: Sequence[Request]) -> None:
        """Everything that can be wrong is found here, before any work."""
        for params in dict.fromkeys(r.params for r in requests):
            if refused := [n for n in (*params.active(), *params.lists()) if n not in self.supports]:
                raise self.refusal(refused) or ParameterError(f"{self.name} cannot be asked so", ", ".join(refused))
        if not self._manners.min_tokens and any(r.min_tokens for r in requests):
            raise UsageError(f"{self.name} takes no min_tokens", "some", "Leave min_tokens out")
        self._check_end("max_tokens", "after max_tokens", "--anyway takes texts as they come")
        if any(r.stop for r in requests):
            self._check_end(
                "stop", "at a stop string", "Leave --stop out; --anyway draws texts whole, and cuts them there"
            )
        for prompt, most in {r.prompt: r.max_tokens for r in sorted(requests, key=lambda r: r.max_tokens)}.items():
            self._check_room(prompt, most)

    def _check_end(self, name: str, where: str, step: str) -> None:
        """What ends a text is refused where the server does not heed it."""
        found = None if self.probe is None else self.probe.of(name)
        if found is not None and found.honour in ("ignored", "rejected") and not self.options.anyway:
            got = f"a server that {_VERBS[found.honour]} it: {found.evidence or found.how}"
            raise ServerError(f"{self.name} ends a text {where}", got.rstrip("."), step)

    def _check_room(self, prompt: Prompt, max_tokens: int) -> None:
        """Whether prompt and new tokens fit, where the server says how many tokens there may be and are."""
        room = self.about.context_length
        said = "\n".join([prompt.text or "", *(m.content for m in prompt.messages)])
        # A token is a byte or more: most prompts need no closer look.
        if room is None or len(said.encode("utf-8", "replace")) + max_tokens + _TEMPLATE <= room:
            return
        if prompt not in self._sizes:
            try:
                ids = self._thread.run(self.wire.tokenize(said))
            except Fault:
                return  # the server will say it itself
            self._sizes[prompt] = 0 if ids is None else len(ids)
        if (size := self._sizes[prompt]) + max_tokens > room:
            raise PromptError(
                f"Prompt and new tokens fit into the model's context of {room:,} tokens",
                f"{size:,} + {max_tokens:,} tokens for {prompt.shown[:60]!r}",
                f"Take max_tokens={room - size} or less" if size < room else "Shorten the prompt",
            )

    @property
    def likeness(self) -> Likeness:
        """What the model is known by, where the server gives a name alone."""
        if not self._likeness.record():
            self._likeness = self._look()
        return self._likeness

    def _look(self) -> Likeness:
        repeats = self.probe is not None and self.probe.repeats
        return self._thread.run(look_at(self._neutral, not self.about.has_text, repeats))

    def _check_likeness(self) -> None:
        """Whether the model still says to test texts what it said; a doubt is looked at twice."""
        if not self._likeness.record():
            self._likeness = self._look()
        elif self._likeness.differs(self._look()) and (why := self._likeness.differs(self._look())):
            raise changed_error(self._place, f"{why}: some of the texts drawn since may be another model's")

    def _check_unchanged(self) -> None:
        """Whether the server is still what it was when the engine was made."""
        try:
            now = self._thread.run(self.wire.about())
        except Fault:
            return  # all texts came; whether it is down now is another matter
        except ModelError as error:
            raise changed_error(self._place, error.got) from None
        for name in ("kind", "version", "model", "identity"):
            before, after = getattr(self.about, name), getattr(now, name)
            if before != after:
                raise changed_error(self._place, f"{name} {after!r} where it was {before!r}")
        self._check_likeness()

    def _why_not(self, params: SamplingParams) -> str:
        """Why a baseline cannot be drawn."""
        missing = [n for n in params.active() if n not in self.supports]
        return f"{', '.join(missing)} cannot be asked for there" if missing else ""


_VERBS = {"ignored": "ignores", "rejected": "rejects"}


def _hash(*known: object) -> str:
    return hashlib.sha256(codec.canonical(list(known)).encode()).hexdigest()


def make_server(
    name: str, *, dtype: str, device: str, trust_remote_code: bool, server: ServerOptions | None = None
) -> RemoteEngine:
    """`load("http(s)://HOST[:PORT]/v1[#MODEL]")`.

    Args:
        name: the address.
        dtype, device: the server's business; anything but auto is an error.
        trust_remote_code: means nothing here.
        server: how it is asked.

    Returns:
        The engine.

    Raises:
        ModelError: no such address or model, or a dtype or device.
        UsageError: a key that is not there.
        ServerError: the server does not answer.
    """
    _check_auto(dtype, device)
    options = server or ServerOptions()
    address = find_address(name, options.key_env)
    place = Place(address.url, address.model, key_env=address.key_env, has_key=address.key is not None)
    return RemoteEngine(OpenAIWire(address, options.timeout), options=options, place=place)


def make_ollama(
    name: str, *, dtype: str, device: str, trust_remote_code: bool, server: ServerOptions | None = None
) -> RemoteEngine:
    """`load("ollama:NAME")`; see `make_server`."""
    _check_auto(dtype, device)
    options = server or ServerOptions()
    wire = OllamaWire(name, timeout=options.timeout)
    place = Place(wire.url, f"ollama:{wire.model}", key_env=OLLAMA_KEY)
    return RemoteEngine(wire, options=options, place=place)


def _check_auto(dtype: str, device: str) -> None:
    for what, value in (("dtype", dtype), ("device", device)):
        if value != "auto":
            raise ModelError(f"A server chose its {what} when it was started", repr(value), f"Leave --{what} out")
