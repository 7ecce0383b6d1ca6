"""Exports: what is called exact is exact, and what is written is read back."""

from __future__ import annotations

import ast
import itertools
import json
import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import export_cases as cases
import poise
from export_cases import NAMED, WAYS, find
from poise.dialects import DIALECTS, Rules
from poise.errors import PoiseError
from poise.exports.carrying import Carried, carry
from poise.exports.catalogue import TARGETS
from poise.exports.commuting import commute
from poise.exports.comparing import COMPARED
from poise.exports.origin import Origin
from poise.exports.parsing import fields_in
from poise.exports.settling import settle
from poise.exports.target import Form, Target
from poise.exports.writing import artefact, fields_of
from poise.law import History, Row, State
from poise.params import SamplingParams

NOWHERE = Origin("poise", "2026-11-28", "temperature=1")
every_way = pytest.mark.parametrize("way", WAYS, ids=NAMED)


def carried(params: SamplingParams, name: str, form: str | None = None) -> Carried:
    target, chosen = find(name, form)
    return carry(params, target, target.sheets[chosen])


def outcome(found: Carried, parameter: str) -> tuple[str, Any, str]:
    [one] = [o for o in found.outcomes if o.parameter == parameter]
    return one.kind, one.there, one.why


@given(cases.settings(), cases.ways, cases.halves, cases.histories, cases.states)
@settings(max_examples=400)
def test_what_is_exact_draws_alike(
    params: SamplingParams, way: tuple[Target, Form], row: Row, history: History, state: State
) -> None:
    """Every token has the same probability, on rows with ties too."""
    found = carry(params, way[0], way[0].sheets[way[1]])
    if all(o.kind == "exact" for o in found.outcomes):
        before = cases.probabilities(row, params, history, state)
        if before is not None:
            after = cases.probabilities(row, found.params, history, state)
            np.testing.assert_allclose(after, before, rtol=0, atol=1e-9)


@given(cases.settings(), cases.ways, cases.untied, cases.histories, cases.states)
@settings(max_examples=300)
def test_what_differs_on_ties_alone_draws_alike_where_none_are(
    params: SamplingParams, way: tuple[Target, Form], row: Row, history: History, state: State
) -> None:
    found = carry(params, way[0], way[0].sheets[way[1]])
    if all(o.kind == "exact" or o.ties for o in found.outcomes) and len(set(row)) == row.size:
        before = cases.probabilities(row, params, history, state)
        if before is not None:
            after = cases.probabilities(row, found.params, history, state)
            np.testing.assert_allclose(after, before, rtol=0, atol=1e-9)


@every_way
@given(params=cases.settings())
@settings(max_examples=40)
def test_what_is_written_is_read_back(way: tuple[Target, Form], params: SamplingParams) -> None:
    target, form = way
    found = carry(params, target, target.sheets[form])
    text = artefact(found.params, target, form, NOWHERE)
    again = settle(fields_in(text, form, target.sheets[form], "it"), target, target.sheets[form])
    assert again.params == found.params
    assert again.left_out == ()
    assert again.unsaid == {}
    assert [o.parameter for o in found.outcomes] == [*params.active(), *params.lists()]
    twice = carry(again.params, target, target.sheets[form])
    assert twice.params == found.params, "settings of a target stay as they are"
    assert {o.kind for o in twice.outcomes} <= {"exact"}


def test_the_strategies_know_every_parameter_and_the_comparison_every_rule() -> None:
    assert list(cases.VALUES) == sorted(cases.numbers(), key=list(cases.VALUES).index)
    assert {f.name for f in fields(Rules)} == COMPARED


def test_steps_that_commute_do() -> None:
    """Every pair that llama.cpp can be told in both orders."""
    rng = np.random.default_rng(5)
    order = [s for s in DIALECTS["llama.cpp"].order if s not in ("logit_bias", "mirostat")]
    values = {"dry_multiplier": 0.8, "dynatemp_range": 0.5, "repetition_penalty": 1.3, "frequency_penalty": 0.5,
              "presence_penalty": 1.5, "top_n_sigma": 1.0, "top_k": 3, "typical_p": 0.7, "top_p": 0.6, "min_p": 0.2,
              "xtc_probability": 1.0}  # fmt: skip
    parted = set()
    for a, b in itertools.combinations(order, 2):
        for heat in (0.0, 0.5):
            said = {n: values.get(n, heat) for n in (a, b)}
            laws = [SamplingParams(**said, dialect="llama.cpp", order=pair) for pair in ((a, b), (b, a))]  # type: ignore[arg-type]
            rows = rng.integers(-6, 7, (30, 12)) / 2
            history = History((1, 2, 3), (1, 2, 1, 2))
            apart = max(
                float(abs(x - y).max())
                for row in rows
                for x, y in [[cases.probabilities(row, p, history, State()) for p in laws]]
                if x is not None and y is not None
            )
            if commute(a, b, greedy=laws[0].greedy):
                assert apart < 1e-9, (a, b, heat)
            elif apart > 1e-6:
                parted.add((a, b))
    assert {("top_p", "temperature"), ("top_k", "top_p"), ("min_p", "temperature")} <= parted


def test_min_p_moves_to_the_other_side_of_the_temperature() -> None:
    there = carried(SamplingParams(temperature=0.5, min_p=0.25), "ollama")
    assert there.params.min_p == 0.5
    assert outcome(there, "min_p")[0] == "exact"
    back = carried(SamplingParams(temperature=0.5, min_p=0.5, dialect="ollama"), "vllm")
    assert back.params.min_p == 0.25
    tiny = carried(SamplingParams(temperature=0.001, min_p=0.5, dialect="ollama"), "sglang")
    assert outcome(tiny, "min_p")[0] == "approximate"


@pytest.mark.parametrize(
    ("heat", "min_p", "kind"),
    [
        (0.7, 1e-300, "approximate"),  # 1e-210
        (2, 1e-18, "exact"),  # 1e-36, a normal number of float32
        (2, 1e-20, "approximate"),  # 1e-40 is not
        (1e-9, 0.5, "approximate"),  # 0.9999999993, which float32 has as 1
    ],
)
def test_a_min_p_that_moved_is_exact_where_float32_holds_it(heat: float, min_p: float, kind: str) -> None:
    assert outcome(carried(SamplingParams(temperature=heat, min_p=min_p), "ollama"), "min_p")[0] == kind


@pytest.mark.parametrize(
    ("params", "target"),
    [
        ({"temperature": 0.7, "top_p": 0}, "ollama"),
        ({"temperature": 2, "top_p": 0, "dialect": "ollama"}, "sglang"),
        ({"temperature": 0.7, "top_k": 1, "top_p": 0.9}, "ollama"),
        ({"top_k": 40, "top_p": 0}, "sglang"),
        ({"top_k": 1, "top_p": 0.9}, "sglang"),
        ({"temperature": 0.7, "top_k": 1, "top_p": 0.9}, "mlx"),
        ({"temperature": 0.7, "min_p": 0.1, "top_p": 0}, "vllm"),
    ],
)
def test_where_one_token_is_left_no_order_is_lost(params: dict[str, Any], target: str) -> None:
    found = carried(SamplingParams(**params), target)
    assert all(o.kind == "exact" or o.ties for o in found.outcomes), found.outcomes
    if params.get("top_p") == 0 and "top_k" not in params:
        assert {o.kind for o in found.outcomes} == {"exact"}


def test_a_penalty_after_a_truncation_leaves_a_choice() -> None:
    """The likeliest token before the penalty may be another than after it."""
    order = ("top_p", "presence_penalty", "temperature")
    params = SamplingParams(temperature=0.7, top_p=0, presence_penalty=1, dialect="llama.cpp", order=order)
    found = outcome(carried(params, "ollama"), "top_p")
    assert found[0] == "approximate"


def test_llama_cpp_is_told_the_order() -> None:
    found = carried(SamplingParams(temperature=0.5, top_p=0.8), "llama-server")
    assert [o.kind for o in found.outcomes] == ["exact", "exact"]
    assert fields_of(found.params, TARGETS["llama-server"].sheets["json"])["samplers"] == [
        "penalties", "dry", "temperature", "top_n_sigma", "top_k", "top_p", "min_p", "typ_p", "xtc",
    ]  # fmt: skip
    plain = carried(SamplingParams(temperature=0.5, top_n_sigma=1.0), "llama-server")
    assert plain.params.order is None, "nothing has to be told where the steps commute"


@pytest.mark.parametrize(
    ("params", "target", "parameter", "kind", "why"),
    [
        ({"temperature": 0.5, "top_p": 0.8}, "ollama", "top_p", "approximate",
         "it acts after temperature in transformers, before it in ollama"),
        ({"top_p": 0.8, "min_p": 0.1}, "vllm", "min_p", "approximate",
         "it acts after top_p in transformers, before it in vllm"),
        ({"top_k": 40}, "llama.cpp", "top_k", "approximate",
         "transformers and llama.cpp differ on tokens tied with the last one kept"),
        ({"top_k": 40, "top_p": 0.9}, "sglang", "top_p", "approximate",
         "transformers weighs what top_k leaves, sglang all tokens"),
        ({"repetition_penalty": 1.1}, "sglang", "repetition_penalty", "approximate",
         "transformers counts prompt and text, sglang the text alone"),
        ({"repetition_penalty": 1.1, "dialect": "llama.cpp"}, "vllm", "repetition_penalty", "approximate",
         "llama.cpp looks at the last 64 tokens, vllm at all tokens"),
        ({"repetition_penalty": 3.0, "dialect": "sglang"}, "sglang", "repetition_penalty", "", ""),
        ({"temperature": 3.0}, "vllm", "temperature", "approximate", "vllm takes 0 to 2"),
        ({"epsilon_cutoff": 1}, "transformers", "epsilon_cutoff", "approximate",
         "transformers takes numbers below 1, which is off there: 0.999999999"),
        ({"temperature": 0.005}, "vllm", "temperature", "approximate", "vllm raises it to 0.01"),
        ({"temperature": 1e-7}, "sglang", "temperature", "approximate", "sglang takes 1e-07 for 0"),
        ({"frequency_penalty": 0.5}, "transformers", "frequency_penalty", "impossible", "transformers has none"),
        ({"xtc_probability": 0.5}, "vllm", "xtc_probability", "impossible", "vllm has none"),
        ({"typical_p": 0.5, "dialect": "llama.cpp"}, "gguf", "typical_p", "impossible", "gguf has none"),
        ({"min_p": 1e-4 + 1e-9}, "gguf", "min_p", "approximate", "llama.cpp reads 6 decimals of it: 0.0001"),
        ({"top_p": 0.5}, "openai", "top_p", "approximate", "what openai does is not published in full"),
        ({"typical_p": 0.5, "temperature": 0, "dialect": "llama.cpp"}, "transformers", "typical_p", "approximate",
         "at temperature 0 transformers takes the likeliest token of all, llama.cpp of those it leaves"),
        ({"mirostat": 2, "top_k": 5}, "llama-server", "top_k", "impossible",
         "where mirostat is on, llama.cpp drops it"),
    ],
)  # fmt: skip
def test_losses_are_named(params: dict[str, Any], target: str, parameter: str, kind: str, why: str) -> None:
    if not kind:
        with pytest.raises(PoiseError, match="takes repetition_penalty from 0 to 2"):
            SamplingParams(**params)
        return
    found = outcome(carried(SamplingParams(**params), target), parameter)
    assert (found[0], found[2]) == (kind, why)


@pytest.mark.parametrize(
    ("words", "target", "form", "there", "why"),
    [
        ([[1, 2]], "vllm", "python", "-",
         "1:2 is left out: vllm takes words as text, which needs the tokenizer"),
        ([[1, 2], [3]], "vllm-server", "json", "logit_bias 3:-100",
         "1:2 is left out: vllm-server takes words as text, which needs the tokenizer; vllm-server takes -100 to 100: "
         "no token can be barred"),
        ([[3]], "vllm-server", "flags", "-",
         "vllm-server has a place for words of one token in the form json alone, as biases"),
        ([[1, 2], [3]], "vllm-server", "flags", "-",
         "vllm-server has a place for words of one token in the form json alone, as biases; 1:2 is left out: "
         "vllm-server takes words as text, which needs the tokenizer"),
        ([[1, 2], [3]], "llama.cpp", "flags", "logit_bias 3:-inf",
         "1:2 is left out: llama.cpp has none of several tokens"),
        ([[3]], "ollama", "modelfile", "-", "ollama has none"),
    ],
)  # fmt: skip
def test_barred_words_say_what_is_lost_and_what_became_biases(
    words: list[list[int]], target: str, form: str, there: str, why: str
) -> None:
    found = poise.export(SamplingParams(bad_words=words), target, form=form)
    [one] = found.outcomes
    assert (one.kind, one.why) == ("impossible", why)
    assert found.table().rows[0][2] == there


def test_vllm_bars_a_token_in_python_and_not_in_a_request() -> None:
    for params in (SamplingParams(logit_bias={3: -math.inf, 4: 2}), SamplingParams(logit_bias={4: 2}, bad_words=[[3]])):
        found = poise.export(params, "vllm")
        assert {o.kind for o in found.outcomes} == {"exact"}
        assert 'logit_bias={3: float("-inf"), 4: 2.0}' in found.text
        assert poise.read(found.text) == found.params == SamplingParams(
            logit_bias={4: 2}, bad_words=[[3]], dialect="vllm"
        )  # fmt: skip
        assert poise.export(params, "vllm-server").losses
    assert poise.export(SamplingParams(logit_bias={3: -math.inf}), "vllm").table().rows[0][2] == "3:-inf"
    served = outcome(carried(SamplingParams(logit_bias={3: -math.inf}), "vllm-server"), "logit_bias")
    assert served[2] == "vllm-server takes -100 to 100: no token can be barred"


def test_a_bias_past_the_dialect_is_said_to_be_the_dialects_end_where_the_call_takes_it() -> None:
    kind, there, why = outcome(carried(SamplingParams(logit_bias={3: -200}), "vllm"), "logit_bias")
    assert (kind, there) == ("approximate", ((3, -100.0),))
    assert why.endswith("biases of -100 to 100, as requests do; the call itself takes -200, written by hand")


def test_barred_words_that_are_kept_show_where() -> None:
    for name, there in (("llama.cpp", "logit_bias 7:-inf"), ("transformers", "logit_bias 7:-inf")):
        assert poise.export(SamplingParams(bad_words=[[7]]), name).table().rows[0][2:4] == [there, "exact"]
    both = poise.export(SamplingParams(bad_words=[[7], [1, 2]]), "transformers").table()
    assert both.rows[0][2] == "1:2, logit_bias 7:-inf"


@pytest.mark.parametrize(
    ("params", "target", "row"),
    [
        ({"repetition_penalty": 1.1, "penalty_last_n": 1_234_567, "dialect": "llama.cpp"}, "ollama",
         ["penalty_last_n", "1234567", "1048576"]),
        ({"epsilon_cutoff": 1}, "transformers", ["epsilon_cutoff", "1", "0.999999999"]),
        ({"temperature": 0.7, "min_p": 0.03}, "ollama", ["min_p", "0.03", "0.0858984"]),
        ({"top_p": 0}, "vllm", ["top_p", "0", "1e-09"]),
        ({"temperature": 1 / 3}, "vllm", ["temperature", "0.333333", "0.333333"]),
        ({"temperature": 2.0}, "vllm", ["temperature", "2", "2"]),
    ],
)  # fmt: skip
def test_the_table_shows_numbers_as_they_are(params: dict[str, Any], target: str, row: list[str]) -> None:
    rows = poise.export(SamplingParams(**params), target).table().rows
    assert row in [shown[:3] for shown in rows]


@pytest.mark.parametrize(
    ("params", "target", "label"),
    [
        ({"temperature": 0, "top_p": 0.9, "frequency_penalty": 0.5}, "vllm", "temperature=0,frequency_penalty=0.5"),
        ({"temperature": 0, "top_k": 5, "min_p": 0.1, "dialect": "llama.cpp"}, "vllm", "temperature=0"),
        ({"top_p": 0}, "vllm", "temperature=1,top_p=1e-09"),
        ({"top_p": 0, "top_k": 5}, "mlx", "temperature=0"),
        ({"top_k": 2**40}, "sglang", "temperature=1"),
        ({"xtc_probability": 0.5, "xtc_threshold": 0.6}, "vllm", "temperature=1"),
        ({"repetition_penalty": 1.2, "penalty_last_n": 0, "dialect": "llama.cpp"}, "vllm", "temperature=1"),
        ({"temperature": 0.005, "dialect": "vllm"}, "sglang", "temperature=0.01"),
        ({"repetition_penalty": 1.2}, "llama.cpp", "temperature=1,repetition_penalty=1.2,penalty_last_n=1048576"),
        ({"bad_words": [[7]]}, "llama.cpp", "temperature=1,logit_bias=7:-inf"),
        ({"bad_words": [[7]]}, "sglang", "temperature=1,logit_bias=7:-1e+30"),
    ],
)
def test_the_same_law_in_other_words(params: dict[str, Any], target: str, label: str) -> None:
    found = carried(SamplingParams(**params), target)
    dialect = TARGETS[target].dialect
    assert found.params.label == f"{label},dialect={dialect}"
    assert {o.kind for o in found.outcomes} == {"exact"}


def test_a_server_keeps_what_was_drawn_on_it() -> None:
    """Nobody knows its law; the same values to the same server are the same law."""
    found = carried(SamplingParams(temperature=0.7, dialect="server"), "openai")
    assert outcome(found, "temperature")[0] == "exact"
    assert (
        outcome(carried(SamplingParams(temperature=0.7, dialect="server"), "vllm"), "temperature")[0] == "approximate"
    )


@every_way
def test_everything_that_is_off_is_written_as_off(way: tuple[Target, Form]) -> None:
    """Engines' own defaults are not neutral: llama.cpp's min_p is 0.05, transformers' top_k 50."""
    target, form = way
    sheet = target.sheets[form]
    said = fields_of(SamplingParams(dialect=target.dialect), sheet)
    expected = {n: v for name, v in sheet.off.items() for n in sheet.written(name)}
    assert {n: said[n] for n in expected} == expected
    assert settle(said, target, sheet).params == SamplingParams(dialect=target.dialect)
    greedy = fields_of(SamplingParams(temperature=0, dialect=target.dialect), sheet)
    assert settle(greedy, target, sheet).params.greedy


def test_the_neutral_request_of_each_engine() -> None:
    plain = {name: json.loads(poise.export(SamplingParams(), name, form="json").text) for name, form in
             [(t.name, f) for t, f in WAYS] if form == "json"}  # fmt: skip
    wide = {"temperature": 1, "top_p": 1, "min_p": 0, "repetition_penalty": 1, "frequency_penalty": 0,
            "presence_penalty": 0}  # fmt: skip
    for name, top_k in (("vllm-server", 0), ("sglang", -1)):
        assert {k: v for k, v in plain[name].items() if k != "_poise"} == {**wide, "top_k": top_k}
    assert plain["transformers"]["do_sample"] is True
    assert plain["transformers"]["top_k"] == 0
    assert plain["llama-server"]["min_p"] == 0
    assert plain["llama-server"]["top_n_sigma"] == -1


def test_a_table_of_nothing_says_so() -> None:
    said = "Nothing is on: every step is written as off."
    assert said in poise.export(SamplingParams(temperature=1), "vllm").table().notes
    assert said not in poise.export(SamplingParams(temperature=0.5), "vllm").table().notes


def test_a_script_is_not_asked_for_the_flag_that_it_has() -> None:
    flags, body = (poise.export(SamplingParams(top_p=0.5), "vllm-server", form=form) for form in ("flags", "json"))
    assert "--generation-config vllm" in flags.text
    assert not [note for note in flags.notes if "--generation-config" in note]
    assert [note for note in body.notes if "--generation-config" in note]


def test_snippets_are_python_and_scripts_take_more_flags() -> None:
    params = SamplingParams(temperature=0.7, logit_bias={5: -math.inf}, dialect="mlx")
    text = poise.export(params, "mlx").text
    ast.parse(text)
    assert 'logit_bias={5: float("-inf")}' in text
    script = poise.export(params, "llama.cpp").text
    assert script.startswith("#!/bin/sh\n")
    assert 'exec llama-cli "$@" \\\n  --temp 0.7' in script
    assert "--logit-bias 5-inf" in script


def test_no_setting_breaks_out_of_a_comment() -> None:
    hostile = SamplingParams(dry_multiplier=1.0, dry_breakers=["\nrm -rf /\n", "$(x)", "'; x #"], dialect="llama.cpp")
    for name in ("llama.cpp", "ollama", "vllm", "gguf"):
        text = poise.export(hostile, name).text
        outside = [line for line in text.splitlines() if not line.startswith("#")]
        assert not any(line.startswith("rm") for line in outside), name
    assert poise.read(poise.export(hostile, "llama.cpp").text) == hostile


def test_a_cut_before_a_penalty_stays_at_temperature_0() -> None:
    """Token 0 is the likeliest, and alone after the nucleus; with token 1 rewarded first, that one would be taken."""
    params = SamplingParams(
        temperature=0, top_p=0.5, presence_penalty=-2, dialect="llama.cpp",
        order=("top_p", "presence_penalty", "temperature"),
    )  # fmt: skip
    row, history = np.array([3.0, 2.0, 0.0]), History((1,))
    wanted = cases.probabilities(row, params, history, State())
    assert wanted is not None
    assert wanted.tolist() == [1, 0, 0]
    told = carried(params, "llama-server")
    assert {o.kind for o in told.outcomes} == {"exact"}
    np.testing.assert_array_equal(cases.probabilities(row, told.params, history, State()), wanted)
    assert outcome(carried(params, "vllm"), "top_p")[0] == "approximate"
