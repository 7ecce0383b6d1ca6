"""Every lie of the fake server, told and found true to its description."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from poise.errors import UsageError
from poise.fakeserver import LIES, STYLES, FakeWire, read_lies
from poise.fakeserver.lies import read_lie
from poise.servers.calls import Call, Fault
from test_fakeserver import HELLO, ask, texts

# For each lie an example, and the truth that it comes to: fields, or what else of the call, told to an honest server.
TRUTHS: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "PARAM=ignored": ("top_k=ignored", {"fields": {"top_k": 2}}, {}),
    "PARAM=swapped:PARAM": ("top_p=swapped:min_p", {"fields": {"top_p": 0.4, "min_p": 0.1}},
                            {"fields": {"top_p": 0.1, "min_p": 0.4}}),
    "PARAM=clamped:X:X": ("temperature=clamped:0.5:0.8", {"fields": {"temperature": 2}},
                          {"fields": {"temperature": 0.8}}),
    "PARAM=floor:X": ("temperature=floor:0.6", {"fields": {"temperature": 0}}, {"fields": {"temperature": 0.6}}),
    "PARAM=fixed:X": ("top_k=fixed:3", {"fields": {"top_k": 9}}, {"fields": {"top_k": 3}}),
    "PARAM=default:X": ("top_k=default:2", {}, {"fields": {"top_k": 2}}),
    "PARAM=scaled:X": ("temperature=scaled:0.5", {"fields": {"temperature": 0.8}}, {"fields": {"temperature": 0.4}}),
    "PARAM=mapped:X": ("frequency_penalty=mapped:1", {"fields": {"frequency_penalty": 1.5}},
                       {"fields": {"repetition_penalty": 2.5}}),
    "greedy=off": ("greedy=off", {"fields": {"temperature": 0}}, {}),
    "logit_bias=ignored": ("logit_bias=ignored", {"fields": {"logit_bias": {"3": 90}}}, {}),
    "stop=ignored": ("stop=ignored", {"stop": (" t", " s", " w")}, {}),
    "max_tokens=clamped:N": ("max_tokens=clamped:3", {"max_tokens": 9}, {"max_tokens": 3}),
    "seed=one": ("seed=one", {"seed": 5}, {"seed": 0}),
}  # fmt: skip


@pytest.mark.parametrize("name", TRUTHS)
def test_what_a_lie_comes_to(name: str) -> None:
    spec, said, truth = TRUTHS[name]
    assert read_lie(spec).name == name
    assert read_lie(spec).spec == spec
    liar, honest = FakeWire(lies=[spec], seed=8), FakeWire(seed=8)
    seeds = [said.pop("seed")] if "seed" in said else list(range(6))
    for seed in seeds:
        told = ask(liar, **{"seed": seed, **said}).choices
        assert told == ask(honest, **{"seed": seed, **truth}).choices
    assert any(ask(honest, **{"seed": s, **said}).choices != ask(liar, **{"seed": s, **said}).choices for s in seeds)


def test_lies_about_order_are_laws_of_other_software() -> None:
    fields = {"temperature": 0.4, "top_p": 0.6}
    last = FakeWire(lies=["order=temperature last"], seed=6)
    order = (*(n for n in STYLES["vllm"].order if n != "temperature"), "temperature")
    honest = FakeWire(replace(STYLES["vllm"], order=order), seed=6)
    assert texts(last, 20, fields=fields) == texts(honest, 20, fields=fields)
    assert texts(last, 20, fields=fields) != texts(FakeWire(seed=6), 20, fields=fields)
    assert texts(FakeWire(lies=["order=temperature first"], seed=6), fields=fields) == texts(
        FakeWire(seed=6), fields=fields
    )


def test_lies_about_penalties_are_scopes_of_other_software() -> None:
    fields = {"repetition_penalty": 1.5, "frequency_penalty": 1.0}
    vllm = STYLES["vllm"]
    others = {
        "penalties=prompt": replace(vllm, additive_scope="prompt and output"),
        "penalties=output": replace(vllm, repetition_scope="output"),
        "penalties=window:2": replace(vllm, window=2),
    }
    call = Call(text=" the ship the ship the star found the river the ship", max_tokens=24, fields=fields)
    for lie, style in others.items():
        told = [ask(FakeWire(lies=[lie], seed=6), call, seed=s).choices for s in range(8)]
        assert told == [ask(FakeWire(style, seed=6), call, seed=s).choices for s in range(8)]
        assert told != [ask(FakeWire(seed=6), call, seed=s).choices for s in range(8)]


def test_lies_about_the_rest() -> None:
    fixed = Call(text=" the ship", max_tokens=40, seed=1)
    ignored = FakeWire(lies=["seed=ignored"])
    assert ask(ignored, fixed).choices != ask(ignored, fixed).choices
    assert len(ask(FakeWire(lies=["n=ignored"]), fixed, n=4).choices) == 1
    assert len({c.text for c in ask(FakeWire(lies=["n=clones"]), fixed, n=4).choices}) == 1
    stop = ask(FakeWire(), fixed).choices[0].text.split()[2]
    assert ask(FakeWire(), fixed, stop=(stop,)).choices[0].finish == "stop"
    assert ask(FakeWire(lies=["stop=included"]), fixed, stop=(stop,)).choices[0].text.endswith(stop)
    assert len(ask(FakeWire(lies=["max_tokens=ignored"]), fixed, max_tokens=2).choices[0].token_ids) > 2
    assert ask(FakeWire(lies=["logprobs=none"]), fixed, logprobs=3).choices[0].positions == ()
    few = ask(FakeWire(lies=["logprobs=at most:2"]), fixed, logprobs=5).choices[0].positions
    assert {len(p.likeliest) for p in few} == {2}
    law_of = {"fields": {"top_k": 2, "temperature": 0.5}, "logprobs": 3}
    raw, processed = (ask(FakeWire(lies=[f"logprobs={k}"]), fixed, **law_of) for k in ("raw", "processed"))
    assert raw.choices[0].text == processed.choices[0].text
    assert all(p.likeliest[2].logprob > -99 for p in raw.choices[0].positions)
    assert all(p.likeliest[2].logprob == -9999 for p in processed.choices[0].positions)
    with pytest.raises(Fault, match="valid string"):
        ask(FakeWire(lies=["ids=refused"]), Call(ids=(3, 4), max_tokens=2))
    thinker = FakeWire("vllm-thinking", ["thinking=ignored"])
    assert ask(thinker, Call(messages=HELLO, max_tokens=300, thinking=False)).choices[0].thinking
    cached = FakeWire(lies=["cache=exact"])
    assert ask(cached, fixed, seed=None).choices == ask(cached, fixed, seed=None).choices


@pytest.mark.parametrize(("spec", "field"), [("top_k=rejected", "top_k"), ("top_p=rejected:1", "top_p")])
def test_a_rejected_parameter_is_named(spec: str, field: str) -> None:
    with pytest.raises(Fault) as caught:
        ask(FakeWire(lies=[spec]), fields={field: 1})
    assert (caught.value.kind, caught.value.field, caught.value.status) == ("rejected", field, 400)
    if ":" in spec:
        ask(FakeWire(lies=[spec]), fields={field: 0.9})


def test_another_model_takes_over() -> None:
    swapped, replaced, honest = (FakeWire("openai", lies) for lies in (["model=swapped:2"], ["model=replaced:2"], []))
    call = Call(messages=HELLO, max_tokens=20, seed=1)
    honestly = ask(honest, call)
    for wire in (swapped, replaced):
        assert [ask(wire, call).choices == honestly.choices for _ in range(4)] == [True, True, False, False]
    assert ask(swapped, call).model == f"{honestly.model}-2"
    assert ask(swapped, call).system != honestly.system
    assert (ask(replaced, call).model, ask(replaced, call).system) == (honestly.model, honestly.system)


def test_every_lie_is_told_in_these_tests() -> None:
    here = Path(__file__)
    pages = "".join(here.with_name(f"{name}.py").read_text("utf-8") for name in (here.stem, "test_fakeserver_http"))
    told = {read_lie(spec).name for spec in re.findall(r'"([a-z_]+=[a-z]+[a-z_0-9:. ]*)"', pages) if known(spec)}
    assert len(LIES) >= 16
    assert set(LIES) - told - {"logprobs=processed", "logprobs=raw"} == set()  # those two in a loop


def known(spec: str) -> bool:
    try:
        return bool(read_lie(spec))
    except UsageError:
        return False


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("topk=ignored", "Did you mean top_k=ignored"), ("top_k", "Of top_k there is"), ("top_k=igno", "top_k=ignored"),
        ("nonsense=yes", "For example seed=ignored"), ("top_p=clamped:a:b", "needs a number"),
        ("top_p=clamped:0.9:0.1", "smaller number first"), ("top_p=swapped:topk", "needs two parameters"),
        ("max_tokens=clamped:0", "a whole one from 1"), ("max_tokens=clamped:1.5", "a whole one from 1"),
        ("temperature=fixed:nan", "needs a number"),
    ],
)  # fmt: skip
def test_a_lie_that_is_none_is_explained(spec: str, told: str) -> None:
    with pytest.raises(UsageError, match=told.replace("(", r"\(")):
        read_lies([spec])
