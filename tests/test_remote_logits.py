"""poise draws on a server: the fake one, against the same model in process."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import poise
from poise.engines.conformance import EngineConformance
from poise.engines.fake import FakeEngine
from poise.engines.remote_logits import Hints, RemoteLogitsEngine, make_remote_logits
from poise.engines.remote_options import ServerOptions
from poise.errors import ModelError, ParameterError, PromptError, ServerError, UsageError
from poise.fakeserver import STYLES, FakeWire, Language, make_language
from poise.fakeserver.troubles import Faults
from poise.params import SamplingParams, grid
from poise.records import Message, Prompt, Request
from poise.servers.calls import Call

PROMPT = " the ship sailed on and"
WIDE = replace(STYLES["vllm"], most_logprobs=64)


class Wire(FakeWire):
    """A fake server that shows how it reads messages, as vLLM does."""

    async def render(self, messages: Sequence[Message], thinking: bool | None = None) -> tuple[int, ...] | None:
        return (*self.server.language.chat(messages), *([1] if thinking is False else []))


class Twin(FakeEngine):
    """The same model in process, with the server's tokenizer."""

    def __init__(self, language: Language) -> None:
        super().__init__(language.words, lambda token: np.asarray(language.logits[token]))
        self.language = language

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        return self.language.spelt(prompt.text) if prompt.text is not None else self.language.chat(prompt.messages)


@pytest.fixture(scope="module")
def language() -> Language:
    return make_language(64, 3)


@pytest.fixture(scope="module")
def engine(language: Language) -> Iterator[RemoteLogitsEngine]:
    made = RemoteLogitsEngine(Wire("vllm", language=language))
    yield made
    made.close()


@pytest.fixture(scope="module")
def twin(language: Language) -> Twin:
    return Twin(language)


class TestConformance(EngineConformance):
    """With all tokens returned, everything that a logits engine must hold."""

    settings = (
        *grid(temperature=[0, 0.4, 0.9, 1.3]),
        *grid(temperature=0.9, top_k=5, top_p=0.9),
        *grid(min_p=0.1, presence_penalty=0.2),
        *grid(typical_p=0.8, frequency_penalty=0.4, presence_penalty=0.2),
    )

    @pytest.fixture(scope="class")
    def engine(self, language: Language) -> Iterator[RemoteLogitsEngine]:
        made = RemoteLogitsEngine(Wire(WIDE, language=language), hints=Hints(top=64))
        assert made.top == made.vocab_size == 64
        yield made
        made.close()


def test_what_it_finds_out_by_itself(engine: RemoteLogitsEngine) -> None:
    assert (engine.top, engine.vocab_size, engine.eos_ids) == (20, 64, {0})
    assert 0 < engine.outside < 0.5
    assert engine.draws_by == "poise"
    assert engine.has_template
    assert engine.context_length == 4096
    assert engine.fingerprint.deciding() == engine.fingerprint.deciding()
    assert engine.fingerprint.provenance["replay"] == "unverified"
    assert isinstance(engine, poise.sessions.LogitsEngine)


DRAWABLE = [
    SamplingParams(temperature=0),
    SamplingParams(temperature=0.7, top_k=20, top_p=0.8),
    SamplingParams(temperature=1.2, top_k=7, typical_p=0.9),
    SamplingParams(temperature=0.8, top_k=12, presence_penalty=0.5),
    SamplingParams(temperature=0.6, top_k=15, min_p=0.05, dialect="temperature-last"),
]


def test_texts_are_those_of_the_same_model_in_process(engine: RemoteLogitsEngine, twin: Twin) -> None:
    for params in DRAWABLE:
        asked = {"draws": 6, "max_tokens": 24, "seed": 4, "stop": [" sea"]}
        here, there = poise.generate(twin, PROMPT, params, **asked), poise.generate(engine, PROMPT, params, **asked)
        assert [c.token_ids for c in here] == [c.token_ids for c in there], params.label
        assert [(c.text, c.finish_reason) for c in here] == [(c.text, c.finish_reason) for c in there]
        assert np.allclose(np.concatenate([c.logprobs for c in here]), np.concatenate([c.logprobs for c in there]))


@pytest.mark.parametrize(
    ("parameter", "low", "high", "fixed"),
    [
        ("temperature", 0, 1.5, {"top_k": 20, "top_p": 0.8}),
        ("temperature", 0, 1.2, {"top_k": 20}),
        ("temperature", 0.1, 0.6, {"min_p": 0.5}),
        ("top_k", 1, 20, {"temperature": 0.9}),
        ("top_p", 0.1, 0.9, {"temperature": 0.9, "top_k": 20}),
        ("min_p", 0.1, 1.0, {"temperature": 1.1, "top_k": 18}),
        ("presence_penalty", 0.0, 0.5, {"temperature": 0}),
    ],
)
def test_dials_are_those_of_the_same_model_in_process(
    engine: RemoteLogitsEngine, twin: Twin, tmp_path: Path, parameter: str, low: float, high: float, fixed: dict
) -> None:
    params = SamplingParams(**fixed)
    asked = {"params": params, "seed": 1, "max_tokens": 16, "forks": True}
    here = poise.dial(twin, PROMPT, parameter, low, high, study=tmp_path / "here.db", **asked)
    there = poise.dial(engine, PROMPT, parameter, low, high, study=tmp_path / "there.db", **asked)
    assert len(here.pieces) > 1
    assert [p.completion and p.completion.token_ids for p in here.pieces] == [
        p.completion and p.completion.token_ids for p in there.pieces
    ]
    assert np.allclose([p.low for p in here.pieces], [p.low for p in there.pieces], atol=1e-9)


def test_why_needs_all_logits(engine: RemoteLogitsEngine, language: Language) -> None:
    with pytest.raises(UsageError, match=r"logits of all tokens, but got fake-64, a server that returns a few"):
        poise.why(engine, PROMPT, SamplingParams(top_k=20))
    whole = RemoteLogitsEngine(Wire(WIDE, language=language), hints=Hints(top=64))
    [found] = poise.why(whole, PROMPT, SamplingParams(top_k=20), max_tokens=6)
    assert found.completion.token_ids
    whole.close()


def test_a_plan_of_a_dial_reads_the_prompt_and_nothing_else(engine: RemoteLogitsEngine, twin: Twin) -> None:
    plans = [poise.plan_dial(e, PROMPT, "temperature", 0, 1.5, params=SamplingParams(top_k=20)) for e in (engine, twin)]
    assert plans[0].expected is not None
    assert plans[1].expected is not None
    assert plans[0].expected.changes == pytest.approx(plans[1].expected.changes, rel=0.1)


def test_a_sweep_is_resumed(language: Language, tmp_path: Path) -> None:
    """A server that fails under way loses nothing that was finished, and the same call draws the rest."""
    settings = grid(temperature=[0.5, 0.9], top_k=20)
    asked = {"study": tmp_path / "s.db", "draws": 3, "max_tokens": 12, "baselines": False}
    prompts = [f" the ship{word}" for word in (" sailed", " star", " found", " sea")]
    whole = RemoteLogitsEngine(Wire("vllm", language=language))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = {c.request: c.token_ids for c in poise.generate(whole, prompts, settings[0], draws=3, max_tokens=12)}
        failing = _Failing("vllm", language=language)
        engine = RemoteLogitsEngine(failing)
        failing.left = 60
        with pytest.raises(ServerError, match="what was finished is kept"):
            poise.sweep(engine, prompts, settings, **asked)
        failing.left = 10**9
        with poise.sweep(engine, prompts, settings, **asked) as study:
            assert study.last_sweep.drawn + study.last_sweep.reused == 24
            found = {c.request: c.token_ids for c in study.completions() if c.request.params == settings[0]}
    assert found == want
    whole.close()
    engine.close()


def test_a_dial_is_resumed(engine: RemoteLogitsEngine, twin: Twin, tmp_path: Path) -> None:
    asked = {"params": SamplingParams(top_k=20), "max_tokens": 16}
    part = poise.dial(engine, PROMPT, "temperature", 0, 1.5, study=tmp_path / "d.db", max_rows=40, **asked)
    whole = poise.dial(engine, PROMPT, "temperature", 0, 1.5, study=tmp_path / "d.db", **asked)
    there = poise.dial(twin, PROMPT, "temperature", 0, 1.5, study=tmp_path / "t.db", **asked)
    assert part.cost.rows == 40
    assert 0 < whole.cost.rows < there.cost.rows
    assert [p.text for p in whole.pieces] == [p.text for p in there.pieces]


class _Failing(Wire):
    """Rejects everything once its answers are used up."""

    left = 10**9

    async def ask(self, call: Call) -> poise.servers.calls.Answer:
        self.left -= 1
        if self.left < 0:
            raise poise.servers.calls.Fault("rejected", "tired", 400)
        return await super().ask(call)


def test_faults_in_passing_are_cured(language: Language, twin: Twin) -> None:
    faults = Faults({"500": 0.03, "reset": 0.03, "malformed": 0.03, "hollow": 0.01}, seed=2)
    engine = RemoteLogitsEngine(Wire("vllm", language=language, faults=faults))
    params = DRAWABLE[1]
    here, there = (poise.generate(e, PROMPT, params, draws=2, max_tokens=8) for e in (twin, engine))
    assert [c.token_ids for c in here] == [c.token_ids for c in there]
    engine.close()


def test_server_side_settings_do_not_matter(language: Language, twin: Twin) -> None:
    """Log-probabilities after the server's own steps are the model's own, as every step is switched off."""
    engine = RemoteLogitsEngine(Wire("vllm", ["logprobs=processed"], language=language, config={"top_k": 3}))
    here, there = (poise.generate(e, PROMPT, DRAWABLE[1], draws=4, max_tokens=8) for e in (twin, engine))
    assert [c.token_ids for c in here] == [c.token_ids for c in there]
    engine.close()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"temperature": 0.7}, r"returns 20 tokens.*temperature=0\.7, which keeps others too: \d+\.\d% of the prob"),
        ({"top_k": 21}, r"top_k=21, which keeps others too.*Add top_k=20 or less"),
        ({"typical_p": 0.9}, r"typical_p with no top_k, which looks at all tokens"),
        ({"top_p": 0.9, "presence_penalty": 1.0}, r"presence_penalty beside top_p with no top_k"),
        ({"top_k": 5, "repetition_penalty": 1.1}, r"repetition"),
    ],
)
def test_laws_that_keep_other_tokens_are_refused_before_the_first_token(
    engine: RemoteLogitsEngine, params: dict, said: str
) -> None:
    with pytest.raises(ParameterError, match=said):
        engine.check_law(SamplingParams(**params))
    with pytest.raises(ParameterError, match=said):
        list(engine.generate([Request(Prompt(PROMPT), (1, 2), SamplingParams(**params), 0, 0, 4)]))


def test_a_text_that_leaves_the_returned_tokens_says_where(engine: RemoteLogitsEngine) -> None:
    """top_p alone is drawn as long as the returned tokens reach it."""
    with pytest.raises(ServerError, match=r"outside them after \d+ prompt and \d+ new tokens.*smaller top_k, 20"):
        poise.generate(engine, PROMPT, SamplingParams(top_p=0.9999), draws=20, max_tokens=20)


@pytest.mark.parametrize(
    ("parameter", "low", "high", "fixed", "said"),
    [
        ("temperature", 0.0, 1.5, {}, r"keeps others too: \d+\.\d% of the probability"),
        ("top_k", 1, 30, {}, r"top_k=30, which keeps others too"),
        ("top_k", 1, float("inf"), {}, r"top_k=64, which keeps others too"),
        ("top_p", 0.5, 1.0, {}, r"temperature=1, which keeps others too"),
        ("min_p", 0.0, 0.5, {"temperature": 0.7}, r"temperature=0\.7, which keeps others too"),
        ("typical_p", 0.2, 0.9, {}, r"typical_p with no top_k"),
        ("repetition_penalty", 1.0, 1.5, {"top_k": 5}, r"A repetition penalty divides logits"),
    ],
)
def test_dials_over_laws_that_keep_other_tokens_are_refused(
    engine: RemoteLogitsEngine, tmp_path: Path, parameter: str, low: float, high: float, fixed: dict, said: str
) -> None:
    with pytest.raises(ParameterError, match=said):
        poise.dial(
            engine, PROMPT, parameter, low, high, params=SamplingParams(**fixed), study=tmp_path / "d.db",
            resolution=0.01 if parameter == "typical_p" else None,
        )  # fmt: skip


def test_sweeps_of_laws_that_keep_other_tokens_are_refused(engine: RemoteLogitsEngine, tmp_path: Path) -> None:
    for settings, said in ((grid(temperature=0.7), "keeps others too"), (grid(repetition_penalty=1.2), "lack their")):
        for verb in (poise.plan, poise.sweep):
            with pytest.raises(ParameterError, match=said):
                verb(engine, PROMPT, settings, study=tmp_path / "s.db")
        with pytest.raises(ParameterError, match=said):
            poise.generate(engine, PROMPT, settings[0])
    assert not (tmp_path / "s.db").exists()


def test_given_text_is_scored(engine: RemoteLogitsEngine, twin: Twin, language: Language) -> None:
    llama = RemoteLogitsEngine(Wire("llama.cpp", language=language), hints=Hints(top=64))
    ids, want = twin.score(Prompt(PROMPT), " sea day old")
    got_ids, got = llama.score(Prompt(PROMPT), " sea day old")
    assert got_ids == ids
    assert np.allclose(got, want)
    few = RemoteLogitsEngine(Wire("llama.cpp", language=language), hints=Hints(top=3))
    with pytest.raises(ServerError, match=r"token \d of 8, which is not among the 3 that the server returns"):
        few.score(Prompt(PROMPT), " sea day old new long small bright cold")
    with pytest.raises(PromptError, match="at least one token"):
        few.score(Prompt(PROMPT), "")
    llama.close()
    few.close()


@pytest.mark.parametrize(
    ("style", "lies", "hints", "said"),
    [
        ("ollama", [], {}, r"continues token ids.*fake-64, which takes text alone.*--draws-by server"),
        ("vllm", ["logprobs=none"], {}, r"log-probabilities with token ids.*returns none for 5"),
        ("vllm", [], {"top": 40}, r"returns log-probabilities with token ids.*fake-64, which returns none for 40"),
    ],
)
def test_servers_on_which_poise_cannot_draw(style: str, lies: list[str], hints: dict, said: str) -> None:
    with pytest.raises((ModelError, ServerError), match=said):
        RemoteLogitsEngine(Wire(style, lies), hints=Hints(**hints))


def test_a_server_that_sends_more_than_the_one_token_asked_for() -> None:
    with pytest.raises(ServerError, match=r"ends a text after max_tokens: .* but got \d+ tokens where 1 was asked for"):
        RemoteLogitsEngine(Wire("vllm", ["max_tokens=ignored"]))


def test_a_model_that_shows_no_end(language: Language) -> None:
    logits = language.logits.copy()
    logits[:, 0] = -60
    endless = replace(language, logits=logits)
    with pytest.raises(ModelError, match=r"which tokens end a text.*Give eos_ids"):
        RemoteLogitsEngine(Wire("vllm", ["logit_bias=ignored"], language=endless))


def test_what_is_told_is_not_found_out() -> None:
    made = RemoteLogitsEngine(
        Wire("vllm", ["logit_bias=ignored"]), hints=Hints(top=7, eos_ids=frozenset({0, 5}), vocab_size=70)
    )
    assert (made.top, made.eos_ids, made.vocab_size) == (7, {0, 5}, 70)
    made.close()
    with pytest.raises(ServerError, match=r"Token ids lie below 9 here.*Give vocab_size"):
        RemoteLogitsEngine(Wire("vllm"), hints=Hints(vocab_size=9))


def test_fewer_tokens_than_asked_for_are_noticed() -> None:
    made = RemoteLogitsEngine(Wire("vllm", ["logprobs=at most:6"]))
    assert made.top == 6
    with pytest.raises(ParameterError, match="returns 6 tokens"):
        made.check_law(SamplingParams(top_k=7))
    made.close()


@pytest.mark.parametrize("lie", ["model=swapped:60", "model=replaced:60"])
def test_another_model_under_way_is_noticed(lie: str) -> None:
    made = RemoteLogitsEngine(Wire("vllm", [lie], seed=1))
    with pytest.raises(ServerError, match=r"A server keeps its model under way.*Draw into a new study"):
        poise.generate(made, PROMPT, SamplingParams(top_k=20), draws=8, max_tokens=40)
    made.close()


def test_messages_need_a_server_that_shows_its_template(engine: RemoteLogitsEngine, language: Language) -> None:
    said = (Message("user", "hi"),)
    assert engine.encode(Prompt(messages=said)) == language.chat(said)
    plain = RemoteLogitsEngine(FakeWire("vllm", language=language))
    assert not plain.has_template
    with pytest.raises(PromptError, match="Ask with --text instead"):
        plain.encode(Prompt(messages=said))
    plain.close()


def test_bad_addresses_and_options() -> None:
    with pytest.raises(ModelError, match=r"chose its dtype when it was started.*--dtype"):
        make_remote_logits("http://127.0.0.1:9/v1", dtype="float32")
    with pytest.raises(ModelError, match=r"continues token ids, but got ollama:llama3"):
        make_remote_logits("llama3")
    with pytest.raises(ModelError, match=r"A server is written http"):
        make_remote_logits("http:///nowhere://")
    with pytest.raises(ServerError, match=r"A server answers at its address.*127\.0\.0\.1:9"):
        make_remote_logits("http://127.0.0.1:9/v1", server=ServerOptions(timeout=5))
