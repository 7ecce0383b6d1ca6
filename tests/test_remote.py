"""A server's model as an engine: what it is asked, what comes of the answers."""

from __future__ import annotations

from typing import Any

import pytest
from tests.twisted import CHAT, SHIP, Wire, drawn, probed, requests

import poise
from poise.engines.remote_calls import check_answer, completion_of, pseudo_ids, seed_of
from poise.engines.remote_options import ServerOptions
from poise.errors import ParameterError, UsageError
from poise.params import SamplingParams
from poise.records import Completion, Prompt, Request
from poise.servers.calls import Answer, Call, Choice, Fault, Likely, Position
from poise.servers.honours import Finding
from poise.sessions import Engine, LogitsEngine, Tally

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
    assert found.provenance == {"server": "vllm 0.33.0", "url": found.provenance["url"], "probed": "2023-11-14"}


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
    engine = engines(wire, thinking=False, concurrency=1)
    [first, *_] = asked = requests(engine, 3, CHAT, max_tokens=5)
    drawn(engine, [Request(r.prompt, r.prompt_ids, r.params, r.seed, r.draw, 5, 2, (".",)) for r in asked])
    call = wire.calls[0]
    assert (call.messages, call.text, call.max_tokens, call.n, call.stop) == (CHAT.messages, None, 5, 1, (".",))
    assert (call.thinking, call.logprobs, call.fields["min_tokens"]) == (False, None, 2)
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
    with pytest.raises(ParameterError, match="fake-64 rejects top_k=5 \\(400: no top_k=5\\)"):
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
    assert completion(Choice("", finish="content_filter")).text == "", "and so is one that was held back"


def test_a_text_ends_before_the_first_stop_string_whatever_the_server_did() -> None:
    request = Request(SHIP, (1,), SamplingParams(dialect="server"), 0, 0, 9, stop=(" sea", " star"))

    def ended(text: str, finish: str = "length") -> tuple[str, str, int, int]:
        choice = Choice(text, finish=finish, token_ids=(1, 2, 3), positions=at(-1, -2, -3))
        found = completion_of(request, Answer((choice,), new_tokens=3), True)
        return found.text, found.finish_reason, len(found.token_ids), len(found.logprobs)

    assert ended("a b") == ("a b", "length", 3, 3)
    assert ended("a b", "stop") == ("a b", "stop", 3, 3)
    assert ended("a star") == ("a", "stop", 3, 3), "left in the text, of which it is the end"
    assert ended("a star and sea") == ("a", "stop", 0, 0), "gone on: whose tokens are whose is not known"


def test_a_filtered_text_is_empty_and_counted(engines: Any) -> None:
    """No text is made up for it."""

    def filters(number: int, call: Call, answer: Answer) -> Answer:
        held = answer.choices[0]._replace(text="", finish="content_filter", token_ids=(), positions=())
        return answer._replace(choices=(held,), new_tokens=0) if number < 2 else answer

    engine = engines(Wire(twist=filters), concurrency=1)
    with pytest.warns(UserWarning, match="2 of 5 texts were held back by the server's own filter"):
        texts = drawn(engine, requests(engine, 5))
    assert [(c.text, c.finish_reason) for c in texts[:2]] == [("", "eos")] * 2
    assert all(c.text for c in texts[2:])


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
    assert ServerOptions().price(1, 1) is None
    with pytest.raises(UsageError, match="Prices are given for prompts and for texts"):
        ServerOptions(price_in=2.0)


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


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"xtc_probability": 0.5}, "xtc_probability"), ({"mirostat": 2}, "mirostat"), ({"top_a": 0.1}, "top_a"),
        ({"logit_bias": {3: 1}}, "logit_bias"), ({"bad_words": [[3]]}, "bad_words"),
    ],
)  # fmt: skip
def test_what_is_not_on_the_wire_is_refused_and_never_dropped(engines: Any, said: dict[str, Any], name: str) -> None:
    """A server's own dialect may not even have the step."""
    engine = engines(Wire())
    with pytest.raises(ParameterError, match=f"but got {name}. Leave it out"):
        poise.sweep(engine, "x", [SamplingParams.model_validate(said)], study="never.db")
    with pytest.raises(ParameterError, match=f"but got {name}"):
        drawn(engine, requests(engine, 1, **said))


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
    assert note.startswith("engine-default is left out: what an empty request gets there is not known; `poise probe`")
    engine.learn(probed(Finding("defaults", "cannot tell"), dialect="transformers"))
    assert dict(engine.baselines) == {"greedy": SamplingParams(temperature=0)}
    engine.learn(probed(Finding("defaults", "honoured"), dialect="transformers"))
    assert engine.baselines["engine-default"] == SamplingParams()
    assert engine.notes == ()


def test_engine_default_is_what_is_published_where_a_probe_found_that_it_holds(engines: Any) -> None:
    holds, usual = Finding("defaults", "honoured"), {"temperature": 0.8, "top_k": 40}
    for style, default in (
        ("llama.cpp", {**usual, "top_p": 0.95, "min_p": 0.05}),
        ("llama-cpp-python", {**usual, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.1}),
        ("ollama", {**usual, "top_p": 0.9}),
    ):
        engine = engines(Wire(style), probed(holds, dialect="temperature-last"))
        assert engine.baselines["engine-default"] == SamplingParams(**default, dialect="temperature-last"), style
    wire = Wire("ollama")
    wire.said = {"defaults": {"temperature": 0.6, "top_p": 1.0}}  # a Modelfile's
    engine = engines(wire, probed(holds))
    assert engine.baselines["engine-default"] == SamplingParams(temperature=0.6, top_k=40, dialect="server")
    engine.learn(probed(holds, Finding("top_k", "ignored")))
    assert engine.notes == ("engine-default is left out: top_k cannot be asked for there.",)


def test_engine_default_that_is_known_roughly_is_told_and_not_drawn(engines: Any) -> None:
    """Another setting under its name would be a baseline that nobody has."""
    how = "an empty request is drawn with temperature 0.55"
    rough = Finding("defaults", "honoured otherwise", how)
    engine = engines(Wire(), probed(rough, Finding("temperature", "honoured", value=0.55)))
    assert "engine-default" not in engine.baselines
    assert engine.notes == (f"engine-default is left out: {how}, so that it is not known exactly.",)
    engine.learn(probed(rough, Finding("temperature", "honoured", value=0.0)))
    assert engine.baselines["engine-default"] == SamplingParams(temperature=0, dialect="server"), "greedy is exact"
