"""A server's model as an engine: what it is asked, what comes of the answers, how it ends."""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest

import poise
from poise.engines.remote import RemoteEngine, make_ollama, make_server
from poise.engines.remote_calls import check_answer, completion_of, pseudo_ids, seed_of
from poise.engines.remote_options import ServerOptions
from poise.errors import ModelError, ParameterError, PoiseError, PromptError, ServerError, UsageError
from poise.fakeserver import FakeWire
from poise.params import SamplingParams
from poise.records import Completion, Message, Prompt, Request
from poise.servers.calls import About, Answer, Call, Choice, Fault, Likely, Position
from poise.servers.honours import Finding, Probe
from poise.servers.patience import Patience
from poise.sessions import Engine, LogitsEngine, Tally
from poise.study import Study

SHIP = Prompt(" the ship")
CHAT = Prompt(messages=(Message("user", "the ship"),))


class Wire(FakeWire):
    """A fake server that notes every call, and can be made to answer anything.

    Args:
        style, lies: see `FakeWire`.
        twist: from the number of the exchange, the call and the honest answer to what comes instead.
    """

    def __init__(self, style: str = "vllm", lies: Sequence[str] = (), twist: Callable[..., Any] | None = None) -> None:
        super().__init__(style, lies)
        self.calls: list[Call] = []
        self.closed = 0
        self.said: dict[str, Any] = {}
        self._twist = twist

    async def about(self) -> About:
        return (await super().about())._replace(**self.said)

    async def ask(self, call: Call) -> Answer:
        number = len(self.calls)
        self.calls.append(call)
        answer = await super().ask(call)
        came = self._twist(number, call, answer) if self._twist else answer
        if isinstance(came, Exception):
            raise came
        assert isinstance(came, Answer)
        return came

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
def engines() -> Iterator[Callable[..., RemoteEngine]]:
    made: list[RemoteEngine] = []

    def make(wire: Any, probe: Probe | None = None, **options: Any) -> RemoteEngine:
        made.append(RemoteEngine(wire, probe, ServerOptions(**options)))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def probed(*findings: Finding, **more: Any) -> Probe:
    said = {
        "url": "u", "model": "m", "kind": "vllm", "version": "1", "identity": "i", "dialect": "server",
        "logprobs": "none", "top_logprobs": 0, "takes_ids": True, "requests": 1, "tokens": 1, "seconds": 1.0,
        "made_at": 1_700_000_000.0,
    }  # fmt: skip
    return Probe(**{**said, "findings": findings, **more})


def requests(
    engine: Engine, draws: int = 4, prompt: Prompt = SHIP, max_tokens: int = 8, **params: Any
) -> list[Request]:
    law = SamplingParams(**{"dialect": "server", **params})
    return [Request(prompt, engine.encode(prompt), law, 0, d, max_tokens) for d in range(draws)]


def drawn(engine: RemoteEngine, asked: list[Request], tally: Tally | None = None) -> list[Completion]:
    with closing(engine.generate(asked, tally)) as found:  # type: ignore[type-var]
        return list(found)


def until_it_fails(found: Iterator[Completion]) -> tuple[list[Completion], PoiseError]:
    came = []
    try:
        for completion in found:
            came.append(completion)
    except PoiseError as error:
        return came, error
    raise AssertionError("nothing failed")


# -- what it says of itself


def test_it_is_an_engine_that_draws_by_itself(engines: Any) -> None:
    engine = engines(Wire())
    assert isinstance(engine, Engine)
    assert not isinstance(engine, LogitsEngine)
    assert (engine.draws_by, engine.name, engine.dialect, engine.context_length) == (
        "engine",
        "fake-64",
        "server",
        None,
    )
    assert engine.has_template
    assert engine.fingerprint.served


def test_the_fingerprint_is_of_kind_model_weights_and_thinking(engines: Any) -> None:
    def key(**more: Any) -> dict[str, str]:
        wire = Wire(more.pop("style", "vllm"))
        wire.said = more.pop("said", {})
        deciding: dict[str, str] = engines(wire, **more).fingerprint.deciding()
        return deciding

    assert key() == key(said={"version": "99"}) == key(concurrency=3, rate=5.0, anyway=True)
    for other in (key(style="llama.cpp"), key(said={"identity": "other"}),
                  key(said={"model": "m2"}), key(thinking=True), key(thinking=False)):  # fmt: skip
        assert other != key()
    found = engines(Wire(), probed()).fingerprint
    assert (found.dtype, found.path) == ("server", "server/vllm")
    assert found.provenance == {"server": "vllm", "version": "0.33.0", "probed": "2023-11-14"}


def test_prompt_ids_identify_how_it_is_asked(engines: Any) -> None:
    assert bytes(pseudo_ids(CHAT, True)).decode() == '{"messages":[["user","the ship"]],"thinking":true}'
    seen = {pseudo_ids(p, t) for p in (SHIP, CHAT, Prompt("the ship")) for t in (None, True, False)}
    assert len(seen) == 9
    engine = engines(Wire(), thinking=False)
    assert engine.encode(CHAT) == pseudo_ids(CHAT, False)
    assert max(pseudo_ids(Prompt("Grüße 🚀"), None)) < 256


# -- what it sends


def test_every_parameter_that_a_setting_leaves_out_is_switched_off(engines: Any) -> None:
    sent = {
        "vllm": {"temperature": 1.0, "top_k": -1, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0,
                 "frequency_penalty": 0.0, "presence_penalty": 0.0},
        "llama.cpp": {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0,
                      "repeat_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0, "top_n_sigma": -1,
                      "xtc_probability": 0, "dry_multiplier": 0, "mirostat": 0, "dynatemp_range": 0,
                      "adaptive_target": -1},
        "ollama": {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "repeat_penalty": 1.0,
                   "frequency_penalty": 0.0, "presence_penalty": 0.0},
        "openai": {"temperature": 1.0, "top_p": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0},
    }  # fmt: skip
    for style, fields in sent.items():
        wire = Wire(style)
        engine = engines(wire)
        drawn(engine, requests(engine, 1, CHAT))
        assert dict(wire.calls[0].fields) == fields, style
        drawn(engine, requests(engine, 1, CHAT, temperature=0.7, top_p=0.9))
        assert dict(wire.calls[1].fields) == {**fields, "temperature": 0.7, "top_p": 0.9}


def test_limits_seeds_and_stops_are_sent_one_text_a_request(engines: Any) -> None:
    wire = Wire()
    engine = engines(wire, thinking=True, concurrency=1)
    [first, *_] = asked = requests(engine, 3, CHAT, max_tokens=5)
    drawn(engine, [Request(r.prompt, r.prompt_ids, r.params, r.seed, r.draw, 5, 2, (".",)) for r in asked])
    call = wire.calls[0]
    assert (call.messages, call.text, call.max_tokens, call.n, call.stop) == (CHAT.messages, None, 5, 1, (".",))
    assert (call.thinking, call.logprobs, call.fields["min_tokens"]) == (True, None, 2)
    assert [c.seed for c in wire.calls] == [seed_of(r) for r in asked]
    assert seed_of(first) == seed_of(first)


def test_seeds_differ_between_draws_and_not_between_settings() -> None:
    def seed(seed: int, draw: int, ids: tuple[int, ...] = (1,), temperature: float = 1.0) -> int:
        return seed_of(Request(SHIP, ids, SamplingParams(temperature=temperature), seed, draw, 8))

    seen = {seed(s, d, ids) for s in range(20) for d in range(20) for ids in ((1,), (2,))}
    assert len(seen) == 800
    assert all(1 <= s < 2**31 for s in seen)
    assert seed(0, 3, temperature=0.2) == seed(0, 3, temperature=0.9)


def test_the_same_request_repeats_and_draws_differ(engines: Any) -> None:
    engine, again = engines(Wire()), engines(Wire())
    asked = requests(engine, 6, temperature=1.2)
    first = {c.request: c.text for c in drawn(engine, asked)}
    assert {c.request: c.text for c in drawn(again, asked[::-1])} == first
    assert len(set(first.values())) > 3


def test_a_neutral_value_that_is_rejected_is_left_out_from_then_on(engines: Any) -> None:
    """A reasoning model rejects penalties and seeds outright: off is all that they can be there."""

    def strict(number: int, call: Call, answer: Answer) -> Answer | Fault:
        for field in ("presence_penalty", "top_k"):
            if field in call.fields:
                return Fault("rejected", f"no {field}={call.fields[field]}", 400, field=field)
        return Fault("rejected", "no seeds", 400, field="seed") if call.seed else answer

    wire = Wire(twist=strict)
    engine = engines(wire, concurrency=1)
    assert len(drawn(engine, requests(engine, 5))) == 5
    assert [c.fields.get("top_k") for c in wire.calls] == [-1, -1, 0, *[None] * 6]
    assert {c.seed for c in wire.calls[-5:]} == {None}
    with pytest.raises(ParameterError, match="fake-64 rejects top_k \\(400: no top_k=5\\)"):
        drawn(engine, requests(engine, 1, top_k=5))


# -- what comes of answers


def completion(choice: Choice, new_tokens: int | None = None, logprobs: bool = True) -> Completion:
    request = Request(SHIP, (1,), SamplingParams(dialect="server"), 0, 0, 3)
    return completion_of(request, Answer((choice,), new_tokens=new_tokens), logprobs)


def at(*logprobs: float) -> tuple[Position, ...]:
    return tuple(Position(Likely("t", None, p)) for p in logprobs)


def test_why_a_text_ended() -> None:
    for said, meant in {"eos": "eos", "stop": "stop", "length": "length", "content_filter": "eos", "tool_calls": "eos",
                        "unknown": "eos"}.items():  # fmt: skip
        assert completion(Choice("x", finish=said)).finish_reason == meant
    assert completion(Choice("x", finish="unknown"), 3).finish_reason == "length"


def test_thinking_stays_apart_and_refusals_are_texts() -> None:
    thought = completion(Choice("four", thinking="2 + 2"))
    assert (thought.text, thought.thinking) == ("four", "2 + 2")
    refused = completion(Choice("", refusal="I would rather not.", finish="content_filter", token_ids=(1, 2)), 2)
    assert (refused.text, refused.finish_reason, refused.token_ids) == ("I would rather not.", "eos", ())
    assert completion(Choice("")).text == "", "an empty answer is kept as it is"


def test_token_ids_are_kept_where_they_are_all_of_them() -> None:
    assert completion(Choice("x", token_ids=(5, 6, 0)), 3).token_ids == (5, 6, 0)
    assert completion(Choice("x", token_ids=(5, 6, 0))).token_ids == (5, 6, 0)
    assert completion(Choice("x", token_ids=(5, 6)), 3).token_ids == (), "the closing one is missing: no wrong lengths"


def test_logprobs_are_kept_where_they_are_raw_and_whole() -> None:
    ids = (5, 6, 0)
    assert completion(Choice("x", token_ids=ids, positions=at(-1, -2, -3)), 3).logprobs == (-1, -2, -3)
    assert completion(Choice("x", token_ids=ids, positions=at(-1, -2, -3)), 3, logprobs=False).logprobs == ()
    assert completion(Choice("x", token_ids=ids, positions=at(-1, -2)), 3).logprobs == ()
    assert completion(Choice("x", positions=at(-1, -2)), 3).logprobs == (-1, -2), "the end of text may lack one"
    assert completion(Choice("x", positions=at(-1, -2), finish="length"), 3).logprobs == ()
    assert completion(Choice("x", positions=at(-1))).logprobs == (-1,)


def test_what_is_no_answer() -> None:
    check_answer(Call(), Answer((Choice("x"),)))
    for answer in (Answer(()), Answer((Choice("x"), Choice("y"))), Answer((Choice("", finish="load"),))):
        with pytest.raises(Fault, match="malformed"):
            check_answer(Call(), answer)


def test_raw_logprobs_are_asked_for_only_where_a_probe_found_them_raw(engines: Any) -> None:
    for found, asked in (("raw", 0), ("processed", None), ("unknown", None)):
        wire = Wire()
        engine = engines(wire, probed(logprobs=found))
        [one] = drawn(engine, requests(engine, 1))
        assert wire.calls[0].logprobs == asked
        assert bool(one.logprobs) == (found == "raw")


def test_cost_is_tallied(engines: Any) -> None:
    def shaky(number: int, call: Call, answer: Answer) -> Answer | Fault:
        return Fault("broken") if number % 4 == 0 else answer

    engine, tally = engines(Wire(twist=shaky), concurrency=2), Tally()
    texts = drawn(engine, requests(engine, 9), tally)
    assert tally.completions == len(texts) == 9
    assert tally.tokens == sum(len(c.token_ids) for c in texts)
    assert tally.prompt_tokens == 9 * 2
    assert (tally.requests, tally.retries) == (12, 3)
    assert ServerOptions(price_in=2.0, price_out=10.0).price(1_000_000, 100_000) == 3.0
    assert ServerOptions(price_in=2.0).price(1, 1) is None


# -- what a probe found


def test_parameters_without_effect_are_refused_with_what_the_probe_saw(engines: Any) -> None:
    found = probed(
        Finding("top_k", "ignored", "texts are drawn as without it", "40 of 60 first tokens lay outside the kept set"),
        Finding("temperature", "rejected", "", "400: only the default"),
        Finding("top_p", "honoured otherwise", "before the temperature"),
    )
    engine = engines(Wire(), found)
    assert engine.supports == {"top_p", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty"}
    assert str(engine.refusal(["top_k"])) == (
        "fake-64 ignores top_k. Seen by the probe: texts are drawn as without it. 40 of 60 first tokens lay outside "
        "the kept set. Leave top_k out; --anyway sends it all the same."
    )
    assert str(engine.refusal(["temperature"])).startswith(
        "fake-64 rejects temperature: it draws by settings of its own. Seen by the probe: 400: only the default."
    )
    assert str(engine.refusal(["typical_p"])) == (
        "fake-64 takes top_p, min_p, repetition_penalty, frequency_penalty, presence_penalty, but got typical_p. "
        "Leave it out."
    )
    with pytest.raises(ParameterError, match="ignores top_k"):
        drawn(engine, requests(engine, 1, top_k=5))
    with pytest.raises(ParameterError, match="rejects temperature: it draws by settings of its own"):
        poise.sweep(engine, "x", poise.grid(temperature=0.5), study="never.db")
    assert "greedy" not in engine.baselines, "it cannot be asked for"


def test_what_is_rejected_is_not_sent_even_switched_off_and_anyway_sends_everything(engines: Any) -> None:
    found = probed(Finding("top_k", "ignored"), Finding("min_p", "rejected"), Finding("seed", "rejected"))
    wire = Wire()
    engine = engines(wire, found)
    drawn(engine, requests(engine, 1))
    assert "min_p" not in wire.calls[0].fields
    assert wire.calls[0].seed is None
    wire = Wire()
    engine = engines(wire, found, anyway=True)
    assert {"top_k", "min_p"} <= engine.supports
    drawn(engine, requests(engine, 1, top_k=3, min_p=0.1))
    assert (wire.calls[0].fields["top_k"], wire.calls[0].fields["min_p"]) == (3, 0.1)


def test_baselines(engines: Any) -> None:
    engine = engines(Wire())
    assert set(engine.baselines) == {"greedy"}
    [note] = engine.notes
    assert note == "engine-default is left out: what an empty request gets there is not known; `poise probe` finds it."
    known = probed(
        Finding("temperature", "honoured", value=0.6), Finding("top_k", "honoured", value=20.0),
        Finding("top_p", "honoured", value=1.0), Finding("min_p", "honoured"), Finding("defaults", "honoured"),
        dialect="temperature-last",
    )  # fmt: skip
    engine.learn(known)
    assert engine.notes == ()
    assert dict(engine.baselines) == {
        "greedy": SamplingParams(temperature=0, dialect="temperature-last"),
        "engine-default": SamplingParams(temperature=0.6, top_k=20, dialect="temperature-last"),
    }
    engine.learn(probed(*known.findings[:-1], Finding("defaults", "cannot tell")))
    assert "engine-default" not in engine.baselines
    engine.learn(probed(Finding("top_k", "ignored", value=20.0), Finding("defaults", "honoured")))
    assert engine.notes == ("engine-default is left out: top_k cannot be asked for there.",)
    engine.learn(probed(Finding("top_p", "honoured", value=7.0), Finding("defaults", "honoured", evidence="seen")))
    assert engine.notes == (
        "engine-default is left out: poise has no setting for what an empty request gets there (seen).",
    )


# -- what cannot be asked


def test_a_prompt_that_fills_the_context_is_refused_before_anything_is_sent(engines: Any) -> None:
    wire = Wire()
    wire.said = {"context_length": 1000}
    engine = engines(wire)
    long = Prompt(" the" * 990)
    with pytest.raises(
        PromptError, match=r"context of 1,000 tokens, but got 990 \+ 11 tokens .* max_tokens=10 or less"
    ):
        drawn(engine, requests(engine, 1, long, max_tokens=11))
    assert wire.calls == []
    with pytest.raises(PromptError, match=r"1,010 \+ 1 tokens for .* Shorten the prompt"):
        engine.encode(Prompt(" the" * 1010))
    assert len(drawn(engine, requests(engine, 1, long, max_tokens=10))) == 1


def test_prompts_that_the_server_finds_too_long_leave_the_others_alone(engines: Any) -> None:
    def small(number: int, call: Call, answer: Answer) -> Answer | Fault:
        return Fault("context", "at most 4 tokens", 400) if call.text == "long" else answer

    engine = engines(Wire(twist=small))
    asked = [*requests(engine, 2, Prompt("long")), *requests(engine, 3)]
    came, error = until_it_fails(engine.generate(asked))
    assert len(came) == 3
    assert isinstance(error, PromptError)
    assert str(error) == (
        "Prompt and new tokens fit into the model's context, but got 'long': at most 4 tokens. Shorten it, or take "
        "a lower max_tokens; all other texts are drawn, and what was finished is kept, and the same command draws the "
        "rest."
    )


def test_what_a_server_cannot_be_asked_is_said_first(engines: Any) -> None:
    engine = engines(Wire("openai"))
    with pytest.raises(PromptError, match="fake-64 continues no text, but got ' the ship'"):
        engine.encode(SHIP)
    with pytest.raises(PromptError, match="at least one character"):
        engine.encode(Prompt(""))
    short = [Request(CHAT, engine.encode(CHAT), SamplingParams(), 0, 0, 5, min_tokens=2)]
    with pytest.raises(UsageError, match="fake-64 takes no min_tokens"):
        drawn(engine, short)
    wire = Wire()
    wire.said = {"has_chat": False}
    with pytest.raises(PromptError, match="answers no chat"):
        engines(wire).encode(CHAT)


def test_a_server_that_ignores_max_tokens_is_refused(engines: Any) -> None:
    found = probed(Finding("max_tokens", "ignored", evidence="40 tokens where 4 were asked for."))
    engine = engines(Wire(), found)
    with pytest.raises(ServerError, match="ends a text after max_tokens, but got a server that ignores it: 40 tokens"):
        drawn(engine, requests(engine, 1))
    assert drawn(engines(Wire(), found, anyway=True), requests(engine, 1))
    engine = engines(Wire(lies=["max_tokens=ignored"]), concurrency=2)
    came, error = until_it_fails(engine.generate(requests(engine, 40, max_tokens=3)))
    assert str(error).startswith("fake-64 ends a text after max_tokens=3, but got ")
    assert all(len(c.token_ids) <= 4 for c in came)


def test_odd_options_are_refused() -> None:
    for given, said in (
        ({"timeout": 0}, "A timeout is seconds, above 0, but got 0"),
        ({"timeout": float("inf")}, "A timeout is seconds"),
        ({"thinking": "on"}, "thinking is on, off, or left to the server"),
        ({"price_in": -1.0}, "A price is money per million tokens"),
        ({"price_out": True}, "A price is money per million tokens"),
        ({"concurrency": 0}, "A concurrency is a whole number"),
        ({"rate": -1}, "A rate is requests a second"),
    ):
        with pytest.raises(UsageError, match=said):
            ServerOptions(**given)  # type: ignore[arg-type]
    for make in (make_server, make_ollama):
        for given in ({"dtype": "float16", "device": "auto"}, {"dtype": "auto", "device": "cuda"}):
            with pytest.raises(ModelError, match=r"A server chose its (dtype|device) when it was started"):
                make("http://localhost:1/v1", trust_remote_code=False, **given)  # type: ignore[arg-type]


# -- how it ends


def test_a_server_that_changes_its_model_under_way_is_left(engines: Any) -> None:
    for lie in ("model=swapped:9", "model=replaced:9"):
        engine = engines(Wire(lies=[lie]), concurrency=1)
        came, error = until_it_fails(engine.generate(requests(engine, 20)))
        assert isinstance(error, ServerError)
        assert str(error).startswith("A study is drawn from one model, which stays as it is, but got ")
        if "swapped" in lie:
            assert "'fake-64-2' where 'fake-64' answered before" in str(error)
            assert len(came) == 9, "what another model said is not taken"
        else:
            assert "identity" in str(error), "about() differs at the end"


def test_another_system_under_way_is_another_server_but_for_hosted_ones(engines: Any) -> None:
    def moves(number: int, call: Call, answer: Answer) -> Answer:
        return answer._replace(system=f"fp{number // 5}")

    engine = engines(Wire(twist=moves), concurrency=1)
    came, error = until_it_fails(engine.generate(requests(engine, 20)))
    assert len(came) == 5
    assert "system 'fp1' where 'fp0' answered before" in str(error)
    hosted = engines(Wire("openai", twist=moves), concurrency=1)
    assert len(drawn(hosted, requests(hosted, 20, CHAT))) == 20
    assert hosted.systems == {"fp0", "fp1", "fp2", "fp3"}


def test_what_no_try_cures_stops_everything_and_what_came_is_yielded(engines: Any) -> None:
    def locks(number: int, call: Call, answer: Answer) -> Answer | Fault:
        return Fault("denied", "expired", 401) if number >= 10 else answer

    wire = Wire(twist=locks)
    engine = engines(wire, concurrency=2)
    came, error = until_it_fails(engine.generate(requests(engine, 500)))
    assert len(came) == 10
    assert isinstance(error, ServerError)
    assert str(error).startswith("A server lets us in, but got 401 from fake://vllm with no key: expired.")
    assert "what was finished is kept, and the same command draws the rest" in str(error)
    assert len(wire.calls) < 20, "nothing more was sent"


def test_calls_that_never_succeed_are_told_at_the_end(engines: Any) -> None:
    def poisonous(number: int, call: Call, answer: Answer) -> Answer | Fault:
        return Fault("broken", "crash", 500) if call.text == "poison" else answer

    engine = engines(Wire(twist=poisonous), concurrency=8)
    engine._pool.patience = Patience(attempts=3, first=0.001)
    asked = [*requests(engine, 2, Prompt("poison")), *requests(engine, 50)]
    came, error = until_it_fails(engine.generate(asked))
    assert len(came) == 50
    assert "500 from fake://vllm: crash; after 3 attempts each, 2 of 52 requests failed" in str(error)


def test_a_server_that_goes_down_is_left_politely(engines: Any) -> None:
    def dies(number: int, call: Call, answer: Answer) -> Answer | Fault:
        return Fault("unreachable", "connection refused") if number >= 30 else answer

    engine = engines(Wire(twist=dies))
    engine._pool.patience = Patience(faults=4, seconds=0.2, first=0.01)
    start = time.monotonic()
    came, error = until_it_fails(engine.generate(requests(engine, 500)))
    assert time.monotonic() - start < 10
    assert len(came) == 30
    assert isinstance(error, ServerError)
    assert str(error) == (
        "A server answers at its address, but got fake://vllm: connection refused. Start it, or name another; what was "
        "finished is kept, and the same command draws the rest."
    )


def test_leaving_early_hangs_up(engines: Any) -> None:
    engine = engines(wire := Wire(), concurrency=4)
    found = engine.generate(requests(engine, 5000))
    next(found)
    found.close()
    sent = len(wire.calls)
    time.sleep(0.1)
    assert len(wire.calls) == sent < 5000
    assert len(drawn(engine, requests(engine, 3))) == 3, "and can be used again"


def test_an_engine_ends_its_thread_when_it_goes() -> None:
    def servers() -> int:
        return sum(t.name == "poise-server" for t in threading.enumerate())

    before, wire = servers(), Wire()
    engine = RemoteEngine(wire)
    assert servers() == before + 1
    del engine
    gc.collect()
    for _ in range(100):
        if servers() == before:
            break
        time.sleep(0.01)
    assert servers() == before
    assert wire.closed == 1
    broken = Wire()
    broken.about = lambda: _fails()  # type: ignore[method-assign]
    with pytest.raises(ServerError, match="A server answers at its address"):
        RemoteEngine(broken)
    assert servers() == before


async def _fails() -> About:
    raise Fault("unreachable", "nobody")


# -- studies


def test_a_sweep_is_kept_resumed_and_measured(engines: Any, tmp_path: Any) -> None:
    known = probed(logprobs="raw")
    engine = engines(Wire(), known)
    settings = poise.grid(temperature=[0.3, 0.9])
    with poise.sweep(engine, " the ship", settings, draws=4, max_tokens=24, study=tmp_path / "s.db") as study:
        first = Counter(c.text for c in study.completions())
        assert study.last_sweep is not None
        assert study.last_sweep.drawn == 12
    again = engines(wire := Wire(), known)
    with poise.sweep(again, " the ship", settings, draws=5, max_tokens=24, study=tmp_path / "s.db") as study:
        assert study.last_sweep.drawn == 3
        assert len(wire.calls) == 3
        assert first < Counter(c.text for c in study.completions())
        nll = [m for m in poise.measure(study, metrics=["nll", "length"]) if m.metric == "nll"]
        assert all(m.mean is not None and m.n == 5 for m in nll)


@pytest.mark.parametrize("style", ["openai", "ollama", "llama-cpp-python"])
def test_texts_without_token_ids_give_no_number_where_ids_are_needed(engines: Any, tmp_path: Any, style: str) -> None:
    engine = engines(Wire(style), probed())
    prompts = [Prompt(messages=(Message("user", f"the ship {i}"),)) for i in range(9)]
    with poise.sweep(engine, prompts, poise.grid(temperature=[0.5, 1.0]), draws=3, max_tokens=40,
                     study=tmp_path / "s.db", baselines=False) as study:  # fmt: skip
        found = {m.metric: m for m in poise.measure(study)}
        texts = list(study.completions())
        [compared] = poise.compare(study, *(t.label for t in study.trials()), metrics=["length"])
    assert all(c.text and not c.token_ids and not c.logprobs for c in texts)
    for name in ("seq_rep_4", "loop_rate", "loop_onset", "loop_period", "distinct_2", "length"):
        assert (found[name].mean, found[name].n, found[name].note) == (None, 0, "the texts have no token ids"), name
    assert (compared.difference, compared.note) == (
        None,
        "no pair has values on both sides: the texts have no token ids",
    )
    assert (found["nll"].mean, found["nll"].note) == (None, "the texts have no log-probabilities")
    for name in ("compression_ratio", "distinct_texts", "empty_output", "finish_eos", "word_vector_distance"):
        assert found[name].mean is not None, name


def test_a_study_reads_back_what_a_server_left_out(engines: Any, tmp_path: Any) -> None:
    """Ids without log-probabilities, log-probabilities without ids, neither."""
    engine = engines(Wire())
    asked = requests(engine, 3)
    made = [
        Completion(asked[0], "a", (1, 2), (), "length"), Completion(asked[1], "b", (), (-1.0, -2.0), "eos"),
        Completion(asked[2], "", (), (), "eos", "thought"),
    ]  # fmt: skip
    with Study.open(tmp_path / "s.db") as study:
        study.bind(engine.fingerprint, latest=False)
        for one in made:
            study.add(one)
        assert list(study.completions()) == made
