"""Sampling parameters: every edge of every range, names, labels, normal forms, grids."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise.errors import ParameterError
from poise.law import PENALTIES, RESHAPINGS
from poise.params import (
    DIALECTS,
    LARGEST,
    MAX_SETTINGS,
    PARAMETERS,
    SMALLEST,
    SamplingParams,
    check_value,
    find_parameter,
    grid,
)

# name, values at the edge that are in, values just past it that are out
EDGES: list[tuple[str, list[Any], list[Any]]] = [
    ("temperature", [0, SMALLEST, LARGEST, 1.5], [-1e-9, -1, 1e-31, 1e31, math.inf]),
    ("top_k", [1, 10**6], [0, -1, 1e31]),
    ("top_p", [0, 1, 0.9], [-1e-9, 1 + 1e-9, 90]),
    ("min_p", [0, 1, 0.05], [-1e-9, 1 + 1e-9]),
    ("typical_p", [5e-324, 1], [0, -0.1, 1 + 1e-9]),
    ("repetition_penalty", [SMALLEST, 1, LARGEST], [0, -1, 1e-31, 1e31, math.inf]),
    ("frequency_penalty", [-2, 0, 2], [-2.0001, 2.0001]),
    ("presence_penalty", [-2, 0, 2], [-2.0001, 2.0001]),
    ("top_n_sigma", [SMALLEST, 1.5, LARGEST], [0, -1, 1e-31, 1e31]),
    ("epsilon_cutoff", [0, 3e-4, 1], [-1e-9, 1 + 1e-9]),
    ("eta_cutoff", [0, 3e-4, 1], [-1e-9, 1 + 1e-9]),
    ("top_h", [5e-324, 1], [0, -0.1, 1 + 1e-9]),
    ("tfs", [0, 0.95, 1], [-1e-9, 1 + 1e-9]),
    ("top_a", [0, 0.2, LARGEST], [-1e-9, 1e31]),
    ("dynatemp_range", [0, 0.5, LARGEST], [-1e-9, 1e31]),
    ("dynatemp_exponent", [SMALLEST, 1, 2, LARGEST], [0, -1, 1e31]),
    ("smoothing_factor", [0, 0.2, LARGEST], [-1e-9, 1e31]),
    ("smoothing_curve", [0, 1, 3, LARGEST], [-1e-9, 1e31]),
    ("xtc_probability", [0, 0.5, 1], [-1e-9, 1 + 1e-9]),
    ("xtc_threshold", [0, 0.1, 1], [-1e-9, 1 + 1e-9]),
    ("mirostat", [0, 1, 2], [-1, 3]),
    ("mirostat_tau", [SMALLEST, 5, LARGEST], [0, -1, 1e31]),
    ("mirostat_eta", [0, 0.1, LARGEST], [-1e-9, 1e31]),
    ("penalty_last_n", [0, 64, 10**6], [-1, 1e31]),
    ("dry_multiplier", [0, 0.8, LARGEST], [-1e-9, 1e31]),
    ("dry_base", [1, 1.75, LARGEST], [0.999, 0, 1e31]),
    ("dry_allowed_length", [0, 2, 10**6], [-1, 1e31]),
    ("dry_last_n", [0, 64, 10**6], [-1, 1e31]),
    ("no_repeat_ngram_size", [0, 3, 10**6], [-1, 1e31]),
    ("guidance_scale", [0, 1, 1.5, LARGEST], [-1e-9, 1e31]),
]
INSIDE = [(name, value) for name, good, _ in EDGES for value in good]
OUTSIDE = [(name, value) for name, _, bad in EDGES for value in bad]
VALUES = st.one_of(
    *(st.tuples(st.just(name), st.none() | st.sampled_from(good)) for name, good, _ in EDGES)
)  # a parameter with one of its values


def led(settings: dict[str, Any]) -> SamplingParams:
    """The settings, without what shapes a step that is not there."""
    said = {n for n, v in settings.items() if v is not None}
    kept = {n: v for n, v in settings.items() if not PARAMETERS[n].leaders or said.intersection(PARAMETERS[n].leaders)}
    return SamplingParams.model_validate(kept)


def test_the_table_of_edges_is_complete() -> None:
    assert [name for name, _, _ in EDGES] == list(PARAMETERS)


@pytest.mark.parametrize(("name", "value"), INSIDE)
def test_the_edge_is_in(name: str, value: float) -> None:
    leader = {PARAMETERS[name].leaders[0]: 1} if PARAMETERS[name].leaders else {}
    assert getattr(SamplingParams.model_validate({**leader, name: value}), name) == value


@pytest.mark.parametrize(("name", "value"), [*OUTSIDE, *((name, math.nan) for name in PARAMETERS)])
def test_past_the_edge_is_out(name: str, value: float) -> None:
    """The message has the rule with the name, the value, and what to do."""
    with pytest.raises(ParameterError) as caught:
        SamplingParams.model_validate({name: value})
    assert caught.value.rule.startswith(f"{name} must lie ")
    assert caught.value.got == repr(value)
    assert caught.value.next_step
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("value", ["0.5", True, [0.5], {}, 1j, b"1"], ids=repr)
def test_what_is_no_number_is_refused(name: str, value: object) -> None:
    with pytest.raises(ParameterError, match=f"^{name} takes a number, but got"):
        check_value(name, value)


def test_whole_numbers() -> None:
    assert check_value("top_k", 40.0) == 40
    assert isinstance(check_value("top_k", 40.0), int)
    with pytest.raises(ParameterError, match=r"top_k takes a whole number, but got 2\.5"):
        check_value("top_k", 2.5)


@pytest.mark.parametrize("name", ["temperature", "top_k", "top_p"])
def test_a_number_with_hundreds_of_digits_is_refused_in_a_line(name: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check_value(name, 10**400)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), np.float16(0.5)])
def test_numbers_of_numpy_are_numbers(value: Any) -> None:
    assert type(check_value("top_p", value)) is float
    assert type(check_value("top_k", np.int64(3))) is int


def test_minus_zero_is_zero() -> None:
    assert str(SamplingParams(temperature=-0.0).temperature) == "0.0"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("temprature", "temperature"), ("topp", "top_p"), ("repetition", "repetition_penalty"), ("minp", "min_p")],
)
def test_an_unknown_name_is_answered_with_the_nearest(written: str, meant: str) -> None:
    with pytest.raises(ParameterError, match=f"but got '{written}'. Did you mean {meant}\\?"):
        SamplingParams.model_validate({written: 0.5})
    with pytest.raises(ParameterError, match=f"Did you mean {meant}"):
        grid(**{written: [0.5]})


def test_a_name_like_nothing_is_answered_with_where_they_are_listed() -> None:
    with pytest.raises(ParameterError, match="poise list params"):
        find_parameter("zzz")


def test_an_unknown_dialect() -> None:
    with pytest.raises(ParameterError, match=f"A dialect is one of {', '.join(DIALECTS)}, but got 'hf'"):
        SamplingParams(dialect="hf")
    with pytest.raises(ParameterError, match="A dialect is one of"):
        grid(dialect="hf")


def test_settings_that_are_no_mapping() -> None:
    with pytest.raises(ParameterError, match="Settings are names with values, but got 'temperature=1'"):
        SamplingParams.model_validate("temperature=1")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(Exception, match="frozen"):
        SamplingParams(temperature=1).temperature = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given_", "label"),
    [
        ({}, "temperature=1"),
        ({"temperature": 1.0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1}, "temperature=1"),
        ({"temperature": 0}, "temperature=0"),
        ({"temperature": 0.7}, "temperature=0.7"),
        ({"temperature": 0.1 + 0.2}, "temperature=0.30000000000000004"),
        ({"temperature": 1e-7}, "temperature=1e-07"),
        ({"top_p": 0.9, "temperature": 0.3}, "temperature=0.3,top_p=0.9"),
        ({"top_k": 1_000_000}, "temperature=1,top_k=1000000"),
        ({"presence_penalty": -0.5, "top_k": 2}, "temperature=1,top_k=2,presence_penalty=-0.5"),
    ],
)  # fmt: skip
def test_labels(given_: dict[str, float], label: str) -> None:
    assert SamplingParams.model_validate(given_).label == label


@given(st.lists(VALUES), st.lists(VALUES))
def test_a_label_names_one_law(a: list[tuple[str, Any]], b: list[tuple[str, Any]]) -> None:
    first, second = led(dict(a)), led(dict(b))
    assert (first.label == second.label) == (first.active() == second.active())
    assert (first.normalised() == second.normalised()) == (first.active() == second.active())


@given(st.lists(VALUES))
def test_normalised(pairs: list[tuple[str, Any]]) -> None:
    params = led(dict(pairs))
    normal = params.normalised()
    assert normal.active() == params.active()
    assert normal.normalised() == normal
    assert all(getattr(normal, n) != p.neutral for n, p in PARAMETERS.items() if p.neutral is not None)
    assert SamplingParams.model_validate_json(params.model_dump_json()) == params
    assert hash(SamplingParams.model_validate(params.model_dump())) == hash(params)


def test_active_is_in_the_order_of_the_dialect() -> None:
    params = SamplingParams(typical_p=0.9, top_p=0.9, temperature=0.5, presence_penalty=1, top_k=5)
    assert list(params.active()) == ["presence_penalty", "temperature", "top_k", "top_p", "typical_p"]
    assert params.greedy is False
    assert SamplingParams(temperature=0, top_p=0.5).greedy is True


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_says_all_there_is(name: str) -> None:
    parameter = find_parameter(name)
    for words in (parameter.meaning, parameter.helps, parameter.harms):
        assert words.endswith(".")
        assert words[0].isupper()
    assert parameter.source
    assert name in SamplingParams.__doc__  # type: ignore[operator]
    for step in parameter.leaders or (name,):
        assert (step in PENALTIES) == (parameter.stage == "penalty")
        assert step in {**PENALTIES, **RESHAPINGS}
        assert not PARAMETERS[step].leaders
        assert any(step in dialect.order for dialect in DIALECTS.values() if dialect.known)
    assert parameter.neutral is None or check_value(name, parameter.neutral) == parameter.neutral


def test_the_ranges_in_the_docstring() -> None:
    lines = [line.strip() for line in str(SamplingParams.__doc__).splitlines()]
    alone = {line.partition(":")[0]: line for line in lines if line.partition(":")[0] in PARAMETERS}
    assert {*alone} == {"guidance_scale", *(name for name, _, _ in EDGES[:8])}
    assert all(PARAMETERS[name].range_text in line for name, line in alone.items())


def test_ranges_as_text() -> None:
    shown = {name: p.range_text for name, p in PARAMETERS.items()}
    assert shown == {
        "temperature": "[0, ∞)", "top_k": "[1, ∞)", "top_p": "[0, 1]", "min_p": "[0, 1]", "typical_p": "(0, 1]",
        "repetition_penalty": "(0, ∞)", "frequency_penalty": "[-2, 2]", "presence_penalty": "[-2, 2]",
        "top_n_sigma": "(0, ∞)", "epsilon_cutoff": "[0, 1]", "eta_cutoff": "[0, 1]", "top_h": "(0, 1]", "tfs": "[0, 1]",
        "top_a": "[0, ∞)", "dynatemp_range": "[0, ∞)", "dynatemp_exponent": "(0, ∞)", "smoothing_factor": "[0, ∞)",
        "smoothing_curve": "[0, ∞)", "xtc_probability": "[0, 1]", "xtc_threshold": "[0, 1]", "mirostat": "[0, 2]",
        "mirostat_tau": "(0, ∞)", "mirostat_eta": "[0, ∞)", "penalty_last_n": "[0, ∞)", "dry_multiplier": "[0, ∞)",
        "dry_base": "[1, ∞)", "dry_allowed_length": "[0, ∞)", "dry_last_n": "[0, ∞)",
        "no_repeat_ngram_size": "[0, ∞)", "guidance_scale": "[0, ∞)",
    }  # fmt: skip


def test_grid_order_and_duplicates() -> None:
    made = grid(temperature=[0.3, 1.0, None], top_k=(5, 5.0))
    assert [p.label for p in made] == ["temperature=0.3,top_k=5", "temperature=1,top_k=5"]
    assert grid() == [SamplingParams()]
    assert grid(temperature=None) == [SamplingParams()]
    assert [p.label for p in grid(top_k=np.arange(1, 3))] == ["temperature=1,top_k=1", "temperature=1,top_k=2"]
    assert [p.temperature for p in grid(temperature=np.float32(0.5))] == [0.5]
    assert [p.top_k for p in grid(top_k=iter([2, 3]))] == [2, 3]


def test_grid_refuses() -> None:
    with pytest.raises(ParameterError, match="temperature needs at least one value"):
        grid(temperature=[])
    with pytest.raises(ParameterError, match=r"top_p must lie in \[0, 1\], but got 1\.1"):
        grid(top_p=[0.9, 1.1])
    with pytest.raises(ParameterError, match=r"temperature takes a number, but got '0\.3,0\.5'"):
        grid(temperature="0.3,0.5")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="temperature takes a number"):
        grid(temperature=object())  # type: ignore[arg-type]


def test_a_grid_has_a_limit_found_before_it_is_made() -> None:
    """A million settings, and values without an end: an error at once."""
    with pytest.raises(ParameterError, match="at most 10,000 settings, but got 1,000,000"):
        grid(temperature=np.linspace(0.1, 2, 1000), top_k=range(1, 1001))
    with pytest.raises(ParameterError, match="at most 10,000 settings, but got more than 10,000"):
        grid(top_k=itertools.count(1))
    assert len(grid(temperature=np.linspace(0.1, 2, 100), top_k=range(1, MAX_SETTINGS // 100 + 1))) == MAX_SETTINGS
