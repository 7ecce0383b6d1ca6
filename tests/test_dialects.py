"""Dialects as data: complete, without contradictions; and what their users cannot ask for."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise import law
from poise.dialects import DIALECTS, Rules
from poise.errors import ParameterError
from poise.param_lists import LISTS
from poise.params import FOLLOWERS, PARAMETERS, SamplingParams, check_value, grid

STEPS = {n for n, p in PARAMETERS.items() if not p.leaders} | {"logit_bias", "bad_words"}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_says_all_there_is(name: str) -> None:
    dialect = DIALECTS[name]
    assert dialect.name == name
    assert len(set(dialect.order)) == len(dialect.order)
    assert {*dialect.order} <= STEPS
    assert dialect.extensions <= {*dialect.order}
    assert dialect.rules.scopes.keys() <= law.PENALTIES.keys()
    for step, beside in dialect.alone.items():
        assert step in beside
        assert {*beside} <= {*dialect.order}
    for parameter, (low, high) in dialect.limits.items():
        assert low < high
        if parameter in PARAMETERS:
            check_value(parameter, high)
    for parameter, value in dialect.defaults.items():
        assert SamplingParams.model_validate({parameter: value, "dialect": name}).active(), "not off"
    assert dialect.source


def test_what_transformers_lacks_is_marked() -> None:
    own = {*DIALECTS["transformers"].order} - DIALECTS["transformers"].extensions
    assert own == {
        "guidance_scale", "logit_bias", "repetition_penalty", "no_repeat_ngram_size", "bad_words", "temperature",
        "top_h", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff",
    }  # fmt: skip
    assert all(not d.extensions for d in DIALECTS.values() if d.name != "transformers")


def test_the_rules_of_transformers_are_the_usual_ones() -> None:
    assert DIALECTS["transformers"].rules == Rules()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"typical_p": 0.5, "dialect": "vllm"}, "vllm has no typical_p, but got typical_p=0.5. Leave it out, or take a"),
    ({"bad_words": [[1]], "dialect": "llama.cpp"}, "llama.cpp has no bad_words, but got bad_words=((1,),)"),
    ({"penalty_last_n": 5, "dialect": "vllm"}, "penalty_last_n does nothing without repetition_penalty or"),
    ({"mirostat_tau": 3}, "mirostat_tau does nothing without mirostat, but got mirostat_tau=3 alone. Give mirostat"),
    ({"dry_breakers": ["."]}, "dry_breakers do nothing without dry_multiplier, but got them alone"),
    ({"top_p": 0, "dialect": "vllm"}, "vllm takes a top_p above 0, but got 0. Take temperature 0"),
    ({"top_p": 0, "dialect": "sglang"}, "sglang takes a top_p above 0"),
    ({"temperature": 2.5, "dialect": "vllm"}, "vllm takes temperature from 0 to 2, but got 2.5"),
    ({"repetition_penalty": 2.5, "dialect": "sglang"}, "sglang takes repetition_penalty from 0 to 2, but got 2.5"),
    ({"logit_bias": {1: 5, 2: 101}, "dialect": "vllm"}, "vllm takes logit_bias from -100 to 100, but got 101"),
    (
        {"mirostat": 2, "top_k": 40, "top_p": 0.9, "dialect": "llama.cpp"},
        "drops all but logit_bias, temperature, mirostat",
    ),
    ({"order": ["top_k"], "top_k": 5}, "transformers has one order of steps, but got another. Leave order out"),
    ({"order": ["top_q"], "dialect": "llama.cpp"}, "but got top_q. Leave it out"),
    ({"order": ["top_k"], "top_p": 0.5, "dialect": "llama.cpp"}, "An order names every step that is on: in llama.cpp"),
    ({"logit_bias": {1: 2e30}}, "A bias lies between -1e+30 and 1e+30, or is -∞, which bars the token, but got 2e+30"),
    ({"logit_bias": {1: float("nan")}}, "A bias lies between"),
    ({"logit_bias": {1: float("inf")}}, "A bias lies between"),
    (
        {"logit_bias": [(1, 2), (1, 3)]},
        "logit_bias takes token ids with numbers, each id once, but got [(1, 2), (1, 3)]",
    ),
    ({"logit_bias": {-1: 2}}, "logit_bias takes token ids with numbers"),
    ({"logit_bias": {"a": 2}}, "logit_bias takes token ids with numbers"),
    ({"logit_bias": {1: True}}, "logit_bias takes token ids with numbers"),
    ({"logit_bias": {1: "2"}}, "logit_bias takes token ids with numbers"),
    ({"logit_bias": 5}, "logit_bias takes token ids with numbers"),
    ({"bad_words": [[]]}, "bad_words takes lists of token ids, each list once"),
    ({"bad_words": [[1], [1]]}, "bad_words takes lists of token ids, each list once"),
    ({"bad_words": [[1.5]]}, "bad_words takes lists of token ids"),
    ({"bad_words": [1]}, "bad_words takes lists of token ids"),
    ({"bad_words": "the"}, "bad_words takes lists of token ids"),
    ({"dry_multiplier": 1, "dry_breakers": ["", "."]}, "dry_breakers takes strings, each once"),
    ({"dry_multiplier": 1, "dry_breakers": [5]}, "dry_breakers takes strings, each once"),
    ({"order": ["top_k", "top_k"], "dialect": "llama.cpp"}, "order takes the names of steps, each once"),
    ({"order": "top_k", "dialect": "llama.cpp"}, "order takes the names of steps, each once"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED, ids=lambda v: repr(v)[:60])
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    """The rule, the value and the next step, before anything is drawn."""
    with pytest.raises(ParameterError, match=re.escape(message)) as caught:
        SamplingParams.model_validate(settings)
    assert caught.value.next_step
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 700


def test_an_off_value_is_no_use_of_a_step() -> None:
    """Whoever writes out what is off is not refused for it, even where the dialect lacks the step."""
    assert SamplingParams(typical_p=1, dialect="vllm").active() == {}
    assert SamplingParams(mirostat=0, top_k=40, dialect="llama.cpp").active() == {"top_k": 40}
    assert SamplingParams(order=["top_p"], top_p=0.5, min_p=0, dialect="llama.cpp").steps == ("top_p",)


def test_an_order_need_not_name_what_has_a_place_of_its_own() -> None:
    """llama.cpp's `samplers` has no name for a bias, which comes first, nor for the dynamic temperature."""
    said = {"top_k": 5, "temperature": 0.5, "dynatemp_range": 0.2, "logit_bias": {3: 1}, "dialect": "llama.cpp"}
    short = SamplingParams.model_validate({**said, "order": ["temperature", "top_k"]})
    assert short.steps == ("logit_bias", "temperature", "dynatemp_range", "top_k")
    assert short == SamplingParams.model_validate({**said, "order": short.order})
    assert SamplingParams(order=["top_k"], top_k=5, dialect="llama.cpp").order == ("top_k",)
    with pytest.raises(ParameterError, match="no dynatemp_range in it"):
        SamplingParams(order=["top_k"], top_k=5, dynatemp_range=0.2, dialect="llama.cpp")


def test_zero_and_off_as_engines_take_them() -> None:
    assert SamplingParams(top_p=0, dialect="mlx").active() == {}
    assert SamplingParams(top_p=0).active() == {"top_p": 0}
    assert SamplingParams(temperature=9e-7, dialect="sglang").greedy
    assert not SamplingParams(temperature=1e-6, dialect="sglang").greedy
    assert not SamplingParams(temperature=9e-7, dialect="vllm").greedy  # raised to 0.01 instead
    assert not SamplingParams(temperature=1e-6).greedy


@given(st.sampled_from(sorted(DIALECTS)), st.sampled_from(sorted(PARAMETERS)))
def test_a_dialect_takes_what_it_has_and_nothing_else(dialect: str, name: str) -> None:
    leaders = PARAMETERS[name].leaders
    has = any(step in DIALECTS[dialect].order for step in leaders or (name,))
    said: dict[str, Any] = {name: 0.4 if PARAMETERS[name].kind == "float" else 3, "dialect": dialect}
    said[name] = 2 if name == "mirostat" else max(said[name], PARAMETERS[name].low)
    leader = next((step for step in leaders if step in DIALECTS[dialect].order), None)
    if leader:
        said[leader] = 1.5 if leader == "repetition_penalty" else 1
    if has:
        assert getattr(SamplingParams.model_validate(said), name) == said[name]
    else:
        with pytest.raises(ParameterError, match=f"{re.escape(dialect)} has no {name}"):
            SamplingParams.model_validate(said)


def test_what_shapes_a_step_counts_where_the_step_is_on() -> None:
    assert FOLLOWERS["mirostat"] == ("mirostat_tau", "mirostat_eta")
    params = SamplingParams(xtc_probability=0.5, xtc_threshold=0.2, mirostat=0, mirostat_tau=3)
    assert params.active() == {"xtc_probability": 0.5, "xtc_threshold": 0.2}
    assert params.normalised().mirostat_tau is None
    assert params.number("xtc_threshold") == 0.2
    assert params.number("dry_base") == 1.75
    assert SamplingParams(xtc_probability=0.5, xtc_threshold=0.1).label == "temperature=1,xtc_probability=0.5"


def test_lists() -> None:
    params = SamplingParams(
        logit_bias={"7": 2, 50: -1.5, 3: False}, bad_words=[[262, 50.0], [13]], dry_multiplier=1, dry_breakers=["."],
    )  # fmt: skip
    assert params.logit_bias == ((3, -float("inf")), (7, 2.0), (50, -1.5))
    assert params.bad_words == ((262, 50), (13,))
    assert params.dry_breakers == (".",)
    assert params.lists().keys() == {*LISTS} - {"order"}
    assert SamplingParams(logit_bias={}, bad_words=[]).lists() == {}
    assert SamplingParams.model_validate(params.model_dump()) == params
    assert len({params, SamplingParams.model_validate(params.model_dump())}) == 1


def test_a_grid_holds_its_lists_everywhere() -> None:
    made = grid(temperature=[0.5, 0.9], logit_bias={5: 1}, order=["logit_bias", "temperature"], dialect="llama.cpp")
    assert [p.temperature for p in made] == [0.5, 0.9]
    assert {p.logit_bias for p in made} == {((5, 1.0),)}
