"""Baselines where poise draws on a server: which there are, and why one is not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.twisted import probed

from poise.costs import expected_cost
from poise.engines.remote_logits import Hints, RemoteLogitsEngine
from poise.engines.remote_options import ServerOptions
from poise.fakeserver import FakeWire, Language, make_language
from poise.params import SamplingParams
from poise.records import Message, Prompt, Request
from poise.servers.honours import Finding


class Wire(FakeWire):
    """A fake server that shows how it reads messages, as vLLM does."""

    async def render(self, messages: Sequence[Message], thinking: bool | None = None) -> tuple[int, ...] | None:
        return (*self.server.language.chat(messages), *([1] if thinking is False else []))


@pytest.fixture(scope="module")
def language() -> Language:
    return make_language(64, 3)


def test_baselines_are_those_that_can_be_drawn(language: Language) -> None:
    engine = RemoteLogitsEngine(Wire("vllm", language=language))
    assert dict(engine.baselines) == {"greedy": SamplingParams(temperature=0)}
    [note] = engine.notes
    assert note.startswith("engine-default is left out: what an empty request gets there is not known; `poise probe`")
    llama = RemoteLogitsEngine(Wire("llama.cpp", language=language))
    assert llama.baselines["engine-default"].dialect == "temperature-last"
    assert llama.baselines["engine-default"].top_k == 40
    few = RemoteLogitsEngine(Wire("llama.cpp", language=language), hints=Hints(top=8))
    assert set(few.baselines) == {"greedy", "engine-default"}  # its min_p cuts the rest, as each step will tell
    llama.close()
    few.close()
    wire = Wire("vllm", language=language)
    wire.server.model = wire.model = "Qwen/Qwen3-8B"
    qwen = RemoteLogitsEngine(wire, ServerOptions(thinking=False))
    assert qwen.baselines["vendor"] == SamplingParams(temperature=0.7, top_k=20, top_p=0.8)
    assert qwen.notes[1].startswith("vendor: Qwen3, read ")
    [case] = [n for n in expected_cost(qwen, [Request(Prompt("a"), (1,), SamplingParams(), 0, 0, 4)]) if "vendor" in n]
    assert case == qwen.notes[1], "a plan says it"
    qwen.close()


def test_a_baseline_that_is_left_out_says_why(language: Language) -> None:
    wire = Wire("vllm", language=language)
    wire.server.model = wire.model = "openai/gpt-oss-20b"
    few = RemoteLogitsEngine(wire, hints=Hints(top=8))
    assert set(few.baselines) == {"greedy"}
    assert "vendor is left out: The server returns 8 tokens at each step, and poise draws among these" in few.notes[1]
    assert few.notes[1].endswith("but it is temperature=1.")
    coder = Wire("vllm", language=language)
    coder.server.model = coder.model = "Qwen/Qwen3-Coder-30B-A3B-Instruct"
    penal = RemoteLogitsEngine(coder)
    assert "vendor is left out: A repetition penalty divides logits" in penal.notes[1]
    few.remember(probed(Finding("defaults", "honoured"), dialect="transformers"))
    assert few.notes[0] == (
        "engine-default is left out: The server returns 8 tokens at each step, and poise draws among these, but it is "
        "temperature=1."
    )
    few.close()
    penal.close()


def test_what_an_empty_request_gets_is_a_baseline_where_a_probe_found_it(language: Language) -> None:
    engine = RemoteLogitsEngine(Wire("llama.cpp", language=language))
    engine.remember(probed(Finding("defaults", "honoured otherwise", "an empty request is drawn with temperature 0.5")))
    assert "engine-default" not in engine.baselines, "what it publishes does not hold"
    assert "drawn with temperature 0.5, so that it is not known exactly" in engine.notes[0]
    engine.remember(probed(Finding("defaults", "honoured"), dialect="temperature-last"))
    assert engine.baselines["engine-default"].top_k == 40
    engine.close()
