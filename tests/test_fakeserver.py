"""The fake server: its law is poise's, its lies are told, its chance is planned."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from poise import law
from poise.errors import UsageError
from poise.fakeserver import LIES, STYLES, FakeWire, make_language
from poise.fakeserver.__main__ import OPTIONS
from poise.fakeserver.asking import PENALTIES
from poise.fakeserver.latency import Latency
from poise.fakeserver.laws import STEPS, Step, reshape
from poise.fakeserver.styles import find_style
from poise.fakeserver.troubles import FAULTS, Faults, read_shares
from poise.params import PARAMETERS
from poise.records import Message
from poise.servers.calls import Answer, Call, Fault

NEUTRAL = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "repeat_penalty": 1.0,
           "repetition_penalty": 1.0}  # fmt: skip
HELLO = (Message("user", "hello the star"),)


def ask(wire: FakeWire, call: Call | None = None, **given: Any) -> Answer:
    """One exchange: a text to continue, or what else is given; a chat where the software has nothing else."""
    usual = Call(text=" the ship", max_tokens=16, seed=1)
    call = call or (usual if wire.style.has_text else usual._replace(text=None, messages=HELLO))
    return asyncio.run(wire.ask(call._replace(**given)))


def texts(wire: FakeWire, seeds: int = 8, **given: Any) -> list[str]:
    return [ask(wire, seed=seed, **given).choices[0].text for seed in range(seeds)]


def firsts(wire: FakeWire, count: int, **given: Any) -> Counter[int]:
    """How often each token was drawn first."""
    call = Call(text=" the ship", max_tokens=1, **given)
    words = {word: i for i, word in enumerate(wire.server.language.words)}

    async def drawn() -> Counter[int]:
        return Counter([words[(await wire.ask(call._replace(seed=s))).choices[0].text] for s in range(count)])

    return asyncio.run(drawn())


def rows(seed: int) -> np.ndarray:
    """Rows with ties, tokens that are cut, nearly flat and nearly certain."""
    rng = np.random.default_rng(seed)
    made = rng.normal(0, np.exp(rng.uniform(-1, 2, (40, 1))), (40, 12))
    made[::4] = np.round(made[::4])
    made[1::4, 3] = -np.inf
    return made


VALUES = {"temperature": (0, 0.3, 2.0), "top_k": (1, 4, 99), "top_p": (0, 0.3, 0.95), "min_p": (0.05, 1),
          "typical_p": (0.2, 0.9, 1)}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in VALUES.items() for v in values])
def test_each_step_is_the_definition_on_every_row(name: str, value: float) -> None:
    for seed in range(5):
        given = rows(seed)
        expected = np.array([getattr(law, name)(row, value) for row in given])
        assert np.array_equal(reshape(given, [Step(name, value)]), expected)


@pytest.mark.parametrize("style", ["vllm", "llama.cpp"])
def test_any_order_is_the_definitions_one_after_the_other(style: str) -> None:
    order = [n for n in STYLES[style].order if n in law.RESHAPINGS]
    for values in itertools.product(*(VALUES[n] for n in order)):
        given = rows(3)
        expected = given
        for name, value in zip(order, values, strict=True):
            expected = np.array([getattr(law, name)(row, value) for row in expected])
        assert np.array_equal(reshape(given, list(map(Step, order, values))), expected)


def test_exact_k_keeps_lower_ids_of_a_tie() -> None:
    kept = reshape(np.array([[1.0, 3.0, 3.0, 3.0]]), [Step("exact_k", 2)])
    assert np.isneginf(kept).tolist() == [[True, False, False, True]]
    assert set(STEPS) == {*VALUES, "exact_k"} <= {*law.RESHAPINGS, "exact_k"}


@pytest.mark.parametrize("style", ["vllm", "llama.cpp", "llama-cpp-python", "ollama"])
def test_first_tokens_follow_the_law(style: str) -> None:
    wire = FakeWire(style, seed=5)
    fields = {**{w: NEUTRAL.get(w, 0) for w in wire.names.values()}, "temperature": 1.3, "top_k": 9, "top_p": 0.8}
    counts = firsts(wire, 4000, fields=fields)
    last = wire.server.language.spelt(" the ship")[-1]
    order = [n for n in wire.style.order if n in ("temperature", "top_k", "top_p")]
    row = wire.server.language.logits[last]
    for name in order:
        row = getattr(law, name)(row, fields[name])
    expected = law.probabilities(row) * 4000
    kept = np.flatnonzero(expected)
    assert set(counts) <= set(kept)
    assert chisquare([counts[i] for i in kept], expected[kept]).pvalue > 1e-4


@pytest.mark.parametrize("style", ["vllm", "llama.cpp", "openai"])
def test_penalties_are_the_definition_at_every_place(style: str) -> None:
    wire = FakeWire(style, ["logprobs=processed"], seed=2)
    values = {"repetition_penalty": 1.3, "frequency_penalty": 0.4, "presence_penalty": 0.6, "temperature": 0.8}
    fields = {wire.names[n]: v for n, v in values.items() if n in wire.names}
    fields |= {w: NEUTRAL[w] for n, w in wire.names.items() if w in NEUTRAL and n not in values}
    endless = "ignore_eos" in wire.style.extras
    fields |= {"ignore_eos": True} if endless else {}
    call = Call(messages=HELLO, max_tokens=90, fields=fields)
    answer = ask(wire, call, seed=4, logprobs=3)
    language = wire.server.language
    prompt, ids = list(language.chat(HELLO)), [language.words.index(p.drawn.token) for p in answer.choices[0].positions]
    assert len(ids) == 90 if endless else len(ids) > 10
    for place, (token, position) in enumerate(zip(ids, answer.choices[0].positions, strict=True)):
        row = language.logits[[*prompt, *ids][len(prompt) + place - 1]].copy()
        row[0] = -np.inf if endless else row[0]
        output: tuple[list[int], list[int]] = (prompt, ids[:place])
        if style == "llama.cpp":  # the last 64 of prompt and output, for all three
            output = ([], [*prompt, *ids[:place]][-64:])
        both, drawn = [*output[0], *output[1]], output[1]
        if "repetition_penalty" in wire.names:
            row = law.repetition_penalty(row, 1.3, both)
        row = law.presence_penalty(law.frequency_penalty(row, 0.4, drawn), 0.6, drawn) / 0.8
        assert position.drawn.logprob == pytest.approx(np.log(law.probabilities(row)[token]), abs=1e-9)


@pytest.mark.parametrize("style", sorted(set(STYLES) - {"reasoning"}))
def test_the_same_seed_draws_the_same_text(style: str) -> None:
    one, same, other = FakeWire(style, seed=1), FakeWire(style, seed=1), FakeWire(style, seed=2)
    call = Call(messages=HELLO, max_tokens=24, logprobs=2)
    assert ask(one, call, seed=3).choices == ask(one, call, seed=3).choices == ask(same, call, seed=3).choices
    assert ask(one, call, seed=3).choices != ask(one, call, seed=4).choices
    assert ask(one, call, seed=3).choices != ask(other, call, seed=3).choices
    unseeded = [ask(one, call, seed=None).choices[0].text for _ in range(2)]
    assert unseeded[0] != unseeded[1]
    assert unseeded == [ask(same, call, seed=None).choices[0].text for _ in range(2)]


def test_texts_of_one_request_have_seeds_one_after_the_other() -> None:
    wire = FakeWire()
    many = ask(wire, n=3, seed=7)
    assert [c.text for c in many.choices] == [ask(wire, seed=7 + i).choices[0].text for i in range(3)]


def test_greedy_takes_the_likeliest_word_after_word() -> None:
    wire, last = FakeWire(seed=3), 0
    ids = ask(wire, fields={"temperature": 0}).choices[0].token_ids
    for token, last in zip(ids, [wire.server.language.spelt(" ship")[0], *ids], strict=False):
        assert token == int(np.argmax(wire.server.language.logits[last]))
    with pytest.raises(Fault, match="n must be 1 when using greedy"):
        ask(wire, fields={"temperature": 0}, n=2)


def test_defaults_of_an_empty_request_are_the_software_s() -> None:
    for style in ("llama.cpp", "llama-cpp-python", "ollama", "ollama-v1", "vllm"):
        wire = FakeWire(style, seed=1)
        written = {wire.names[n]: v for n, v in wire.style.defaults.items() if n in wire.names}
        assert texts(wire) == texts(wire, fields=written)
    empty = texts(FakeWire(config={"temperature": 0.2}), fields={})
    assert empty == texts(FakeWire(), fields={"temperature": 0.2}) != texts(FakeWire())


def test_steps_of_llama_cpp_can_be_put_in_another_order() -> None:
    wire = FakeWire("llama.cpp", seed=4)
    fields = {**{w: NEUTRAL.get(w, 0) for w in wire.names.values()}, "temperature": 0.4, "top_p": 0.5}
    first = FakeWire("llama.cpp", ["order=temperature first"], seed=4)
    assert texts(wire, fields={**fields, "samplers": ["temperature", "top_p"]}) == texts(first, fields=fields)
    assert texts(wire, fields=fields) != texts(first, fields=fields)
    assert texts(wire, fields={**fields, "samplers": ["top_p"]}) == texts(wire, fields={**fields, "temperature": 1})


def test_an_unknown_style_is_explained() -> None:
    with pytest.raises(UsageError, match="A style is one of vllm"):
        find_style("vlm")


REFUSED = [
    ("vllm", {"fields": {"temperature": 3}}, "temperature", r"temperature must be in \[0, 2\], got 3.0"),
    ("vllm", {"fields": {"top_p": 0}}, "top_p", r"top_p must be in \(0, 1\]"),
    ("vllm", {"fields": {"top_k": -2}}, "top_k", "top_k must be 0"),
    ("vllm", {"fields": {"temperature": True}}, "temperature", "valid number"),
    ("vllm", {"fields": {"logit_bias": {"99": 1}}}, "logit_bias", "out-of-vocab"),
    ("vllm", {"fields": {"min_tokens": 1.5}}, "min_tokens", "valid integer"),
    ("vllm", {"n": 0}, "n", "at least 1"),
    ("vllm", {"max_tokens": 0}, "max_tokens", "at least 1"),
    ("vllm", {"logprobs": 21}, "logprobs", "max allowed: 20"),
    ("vllm", {"text": ""}, "prompt", "cannot be empty"),
    ("vllm", {"text": None, "ids": (3, 640)}, "prompt", "out of vocabulary"),
    ("llama.cpp", {"fields": {"temperature": "hot"}}, "temperature", "type must be number, but is string"),
    ("llama-cpp-python", {"fields": {"top_p": 2}}, "top_p", "top_p must be in"),
    ("openai", {"fields": {"top_k": 5}}, "top_k", "Unrecognized request argument supplied: top_k"),
    ("openai", {"fields": {"temperature": -1}}, "temperature", "below minimum"),
    ("reasoning", {"fields": {"temperature": 0.5}}, "temperature", r"Only the default \(1\) value"),
    ("reasoning", {"logprobs": 1}, "logprobs", "not allowed to request logprobs"),
    ("reasoning", {"fields": {"logit_bias": {"3": 1}}}, "logit_bias", "not supported"),
    ("ollama", {"n": 2}, "n", "no more than one text"),
    ("ollama", {"fields": {"temperature": [1]}}, "temperature", "must be of type float32"),
]


@pytest.mark.parametrize(("style", "given", "field", "told"), REFUSED)
def test_what_a_software_rejects(style: str, given: dict[str, Any], field: str, told: str) -> None:
    with pytest.raises(Fault, match=told) as caught:
        ask(FakeWire(style), **given)
    assert (caught.value.kind, caught.value.field) == ("rejected", field)


@pytest.mark.parametrize("style", ["vllm", "llama.cpp", "llama-cpp-python", "openai", "ollama"])
def test_a_context_that_overflows(style: str) -> None:
    with pytest.raises(Fault, match="context") as caught:
        ask(FakeWire(style, context=64), Call(messages=(Message("user", "star " * 99),), max_tokens=4))
    assert caught.value.kind == "context"


def test_what_is_outside_of_a_range_is_clamped_by_llama_cpp() -> None:
    wire = FakeWire("llama.cpp")
    assert texts(wire, fields={"temperature": -3}) == texts(wire, fields={"temperature": 0})
    assert texts(wire, fields={"top_k": -1}) == texts(wire, fields={"top_k": 0})
    assert texts(FakeWire(), fields={"temperature": 0.001}) == texts(FakeWire(), fields={"temperature": 0.01})


def test_thinking_stands_apart() -> None:
    wire = FakeWire("vllm-thinking", seed=1)
    call = Call(messages=HELLO, max_tokens=900, seed=2, fields={"top_p": 1.0, "top_k": 0})
    thought, plain = ask(wire, call).choices[0], ask(wire, call, thinking=False).choices[0]
    assert thought.thinking
    assert "</think>" not in thought.thinking + thought.text
    assert not plain.thinking
    hidden = ask(FakeWire("reasoning", seed=1), call, fields={})
    assert not hidden.choices[0].thinking
    assert hidden.new_tokens > len(hidden.choices[0].text.split())


def test_about_and_tokens() -> None:
    about = asyncio.run(FakeWire("llama.cpp").about())
    assert (about.kind, about.takes_ids, about.defaults["min_p"]) == ("llama.cpp", True, 0.05)
    assert asyncio.run(FakeWire("ollama", config={"top_k": 7}).about()).defaults == {"top_k": 7}
    wire = FakeWire()
    ids = asyncio.run(wire.tokenize(" the ship sailed"))
    assert ids is not None
    assert asyncio.run(wire.detokenize(ids)) == " the ship sailed"
    assert asyncio.run(FakeWire("openai").tokenize(" the ship")) is None
    assert (
        ask(wire, Call(ids=ids, max_tokens=9, seed=1)).choices
        == ask(wire, text=" the ship sailed", max_tokens=9).choices
    )


def test_the_same_model_in_process() -> None:
    language = make_language(16, seed=3)
    engine = language.engine()
    assert engine.vocab_size == 16
    assert np.array_equal(engine.bigram(5), language.logits[5])
    with_own = FakeWire(language=language)
    assert ask(with_own, Call(ids=(5,), max_tokens=1, fields={"temperature": 0})).choices[0].token_ids == (
        int(np.argmax(language.logits[5])),
    )


def test_contexts_are_peaked_and_flat() -> None:
    p = np.array([law.probabilities(row) for row in make_language().logits])
    entropy = -(p * np.log(p)).sum(axis=1)
    assert entropy.min() < 1 < 3 < entropy.max()


def test_faults_are_planned_and_repeat() -> None:
    faults = Faults(read_shares(["0.12", "429=0.05"]), seed=4)
    met = Counter(faults.of(i) for i in range(5000))
    assert met == Counter(Faults(faults.shares, seed=4).of(i) for i in range(5000))
    assert set(met) == {"", *FAULTS}
    assert 0.15 < 1 - met[""] / 5000 < 0.19
    wire = FakeWire(faults=Faults({"429": 0.5, "reset": 0.5}, wait=2.5))
    kinds = []
    for _ in range(40):
        with pytest.raises(Fault) as caught:
            ask(wire)
        kinds.append((caught.value.kind, caught.value.wait))
    assert set(kinds) == {("busy", 2.5), ("reset", None)}


@pytest.mark.parametrize(
    ("spec", "told"), [("2", "between 0 and 1"), ("x", "between 0 and 1"), ("rest=0.1", "Did you mean reset"),
                       ("429=-1", "between 0 and 1"), ("=0.1", "A fault is one of")]
)  # fmt: skip
def test_shares_that_are_none_are_explained(spec: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_shares([spec])
    with pytest.raises(UsageError, match="at most 1 together"):
        read_shares(["429=0.7", "500=0.7"])


def test_a_full_server_makes_others_wait() -> None:
    async def together(capacity: int) -> float:
        wire = FakeWire(latency=Latency(request=0.05, capacity=capacity))
        began = time.perf_counter()
        await asyncio.gather(*(wire.ask(Call(text=" the", max_tokens=1)) for _ in range(4)))
        return time.perf_counter() - began

    assert asyncio.run(together(2)) > 0.09
    assert asyncio.run(together(0)) < 0.09 + asyncio.run(together(1)) / 4


def test_300_calls_take_well_under_a_second() -> None:
    async def probe() -> float:
        wire, began = FakeWire(seed=9), time.process_time()
        for i in range(300):
            fields = {"temperature": 0.5 + 0.05 * (i % 30), "top_k": 1 + i % 30}
            await wire.ask(Call(text=" the ship", fields=fields, max_tokens=48, seed=i, logprobs=20 if i % 3 else None))
        return time.process_time() - began

    assert min(asyncio.run(probe()) for _ in range(3)) < 0.5


def test_every_step_has_a_name_that_some_style_knows() -> None:
    steps = {*STEPS, *PENALTIES} - {"exact_k"}
    assert {name for style in STYLES.values() for name in style.names} == steps <= PARAMETERS.keys()
    for style in STYLES.values():
        assert set(style.names) <= set(style.order)
        assert set(style.defaults) <= set(style.order)


def test_the_page_tells_every_lie_fault_and_style() -> None:
    page = (Path(__file__).parent.parent / "docs" / "fakeserver.md").read_text(encoding="utf-8")
    for name, told in [*LIES.items(), *FAULTS.items()]:
        assert f"| `{name}` | {told} |" in page
    for name, style in STYLES.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert ", ".join(f"{n} {v:g}" for n, v in style.defaults.items()) in row
        assert row.endswith(f"| {style.most_logprobs or 'none'} | {'yes' if style.takes_ids else 'no'} |")
    for option in [*OPTIONS, "lie", "faults", "config", "list"]:
        assert f"`--{option}" in page
