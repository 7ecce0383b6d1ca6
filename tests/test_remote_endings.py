"""A server's model as an engine: what cannot be asked, how it ends, what is kept."""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.twisted import CHAT, LOOKED_AT, SHIP, Wire, drawn, probed, requests, until_it_fails

import poise
from poise.engines.remote import RemoteEngine, make_ollama, make_server
from poise.engines.remote_options import ServerOptions
from poise.errors import ModelError, PromptError, ServerError, UsageError
from poise.params import SamplingParams
from poise.records import Completion, Message, Prompt, Request
from poise.servers.calls import About, Answer, Call, Fault
from poise.servers.honours import Finding
from poise.servers.patience import Patience
from poise.study import Study

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


def test_a_server_that_ignores_stop_strings_is_refused_or_its_texts_are_cut(engines: Any) -> None:
    found = probed(Finding("stop", "ignored", "texts go on after it"))

    def stopped(engine: RemoteEngine) -> list[Request]:
        return [
            Request(r.prompt, r.prompt_ids, r.params, r.seed, r.draw, 24, stop=(" the", " and"))
            for r in requests(engine, 8)
        ]

    engine = engines(Wire(lies=["stop=ignored"]), found)
    with pytest.raises(
        ServerError, match=r"ends a text at a stop string, but got a server that ignores it: texts go on"
    ):
        drawn(engine, stopped(engine))
    assert len(drawn(engine, requests(engine, 2))) == 2, "without stop strings it does not matter"
    for lies, options in ((["stop=ignored"], {"anyway": True}), (["stop=included"], {})):
        engine = engines(Wire(lies=lies), found if options else None, **options)
        texts = drawn(engine, stopped(engine))
        assert any(c.finish_reason == "stop" for c in texts)
        assert not [c.text for c in texts if " the" in c.text or " and" in c.text]


def test_a_value_that_is_rejected_is_named_and_no_parameter(engines: Any) -> None:
    engine = engines(Wire(lies=["temperature=rejected:0.9"]), concurrency=1)
    asked = [*requests(engine, 2, temperature=0.3), *requests(engine, 2, temperature=0.9)]
    came, error = until_it_fails(engine.generate(asked))
    assert len(came) == 2
    assert str(error).startswith("fake-64 rejects temperature=0.9 (400: ")
    engine = engines(Wire(lies=["temperature=rejected:0.9"]), probed(Finding("temperature", "honoured")))
    _, error = until_it_fails(engine.generate(requests(engine, 2, temperature=0.9)))
    assert "settings of its own" not in str(error), "a probe saw another value honoured"


def test_a_model_that_goes_away_is_not_listed_as_there(engines: Any) -> None:
    def gone(number: int, call: Call, answer: Answer) -> Answer | Fault:
        return Fault("absent", "The model fake-64 does not exist.", 404) if number > 2 else answer

    _, error = until_it_fails((engine := engines(Wire(twist=gone), concurrency=1)).generate(requests(engine, 9)))
    assert "404 from fake://vllm: The model fake-64 does not exist. fake-64 was there before: serve it again" in str(
        error
    )
    assert "models there" not in str(error)


def test_an_ollama_that_is_not_there_is_looked_for_where_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    with pytest.raises(ServerError, match=r"http://127\.0\.0\.1:1: .*say where it is: OLLAMA_HOST"):
        make_ollama("qwen3:8b", dtype="auto", device="auto", trust_remote_code=False)


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
            assert len(came) == 8, "what another model said is not taken; the first answer was to a test text"
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
    """Its own thread: an engine of another test may end at any time."""

    def servers() -> set[threading.Thread]:
        return {t for t in threading.enumerate() if t.name == "poise-server"}

    before, wire = servers(), Wire()
    engine = RemoteEngine(wire)
    [thread] = servers() - before
    del engine
    gc.collect()
    thread.join(1)
    assert not thread.is_alive()
    assert wire.closed == 1
    broken, before = Wire(), servers()
    broken.about = lambda: _fails()  # type: ignore[method-assign]
    with pytest.raises(ServerError, match="A server answers at its address"):
        RemoteEngine(broken)
    assert not servers() - before


async def _fails() -> About:
    raise Fault("unreachable", "nobody")


# -- studies


def test_a_sweep_is_kept_resumed_and_measured(engines: Any, tmp_path: Any) -> None:
    known = probed(*LOOKED_AT, logprobs="raw")
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
    engine = engines(Wire(style), probed(*LOOKED_AT))
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


def test_a_page_shows_texts_without_token_ids_as_they_are(engines: Any, tmp_path: Path) -> None:
    engine = engines(Wire("openai"), probed(*LOOKED_AT))
    with poise.sweep(
        engine, CHAT, poise.grid(temperature=[0.5, 1.5]), draws=2, max_tokens=12, study=tmp_path / "s.db"
    ) as study:
        texts = {c.text for c in study.completions()}
        poise.report(study, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text("utf-8")
    assert len(texts) > 2
    assert "The same text as at" not in page.replace("The same text as at temperature=0,", "")
    assert "0 tokens," not in page
