"""The grammar of values on the command line."""

from __future__ import annotations

import contextlib
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise.cli import grammar
from poise.errors import ParameterError


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("temperature", "0.7", (0.7,)),
        ("temperature", "0.3,0.5,0.9", (0.3, 0.5, 0.9)),
        ("temperature", "0.9, 0.3", (0.9, 0.3)),
        ("temperature", "0.3,0.30", (0.3,)),
        ("temperature", "0..1:0.25", (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("temperature", "0..1:0.4", (0.0, 0.4, 0.8)),
        ("temperature", "0.1..0.3:0.1", (0.1, 0.2, 0.3)),
        ("temperature", "off,0..1:1", (None, 0.0, 1.0)),
        ("temperature", "1e-1", (0.1,)),
        ("top_k", "40", (40,)),
        ("top_k", "10..30:10", (10, 20, 30)),
        ("top_k", "1e2", (100,)),
        ("frequency_penalty", "-0.5", (-0.5,)),
        ("frequency_penalty", "-1..1:1", (-1.0, 0.0, 1.0)),
        ("top_p", "off", (None,)),
    ],
)
def test_values(name: str, text: str, values: tuple[float | None, ...]) -> None:
    assert grammar.parse(name, text) == values


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("temprature", "0.5", "Did you mean temperature"),
        ("temperature", "", "nothing"),
        ("temperature", "hot", "'hot'"),
        ("temperature", "0.3,,0.5", "'0.3,,0.5'"),
        ("temperature", "-1", "[0, ∞)"),
        ("temperature", "nan", "'nan'"),
        ("temperature", "inf", "'inf'"),
        ("temperature", "1e999", "inf"),
        ("temperature", "None", "'None'"),
        ("temperature", "0..1.5", "0..1.5:0.1"),
        ("temperature", "1..0:0.1", "low <= high"),
        ("temperature", "0..1:0", "step > 0"),
        ("temperature", "0..1:-0.1", "step > 0"),
        ("temperature", "0..1:0.000001", "1,000,001"),
        ("temperature", "0..1:1e-999", "step > 0"),
        ("temperature", "1..", "A grid has a step, for example 0..1.5:0.1"),
        ("temperature", "0...1:0.1", "has two dots, but got '0...1:0.1'"),
        ("temperature", "٣", "'٣'"),
        ("top_p", "1.5", "[0, 1]"),
        ("top_k", "1.5", "whole number"),
        ("top_k", "0", "[1, ∞)"),
        ("typical_p", "0", "(0, 1]"),
    ],
)
def test_refusals_say_the_rule_and_the_value(name: str, text: str, said: str) -> None:
    with pytest.raises(ParameterError) as error:
        grammar.parse(name, text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "ends"),
    [
        ("temperature", "0..1.5", (0.0, 1.5)),
        ("temperature", "0..0.1", (0.0, 0.1)),
        ("temperature", "0.5 .. 1e1", (0.5, 10.0)),
        ("frequency_penalty", "-2..-.5", (-2.0, -0.5)),
        ("top_k", "1..off", (1.0, math.inf)),
        ("temperature", "0..1:0.5", None),
        ("temperature", "0..1,2", None),
        ("temperature", "off", None),
    ],
)
def test_ranges(name: str, text: str, ends: tuple[float, float] | None) -> None:
    assert grammar.parse_range(name, text) == ends


@pytest.mark.parametrize(
    "text", ["0..", "..1", "nan..1", "0..inf", "off..1", "0..off", "0...1", "0....1", "..", "a..b"]
)
def test_ranges_that_are_none_are_told_what_one_is(text: str) -> None:
    with pytest.raises(ParameterError) as error:
        grammar.parse_range("temperature", text)
    assert repr(text) in str(error.value)
    assert re.search(r"0\.\.1\.5|has two dots", str(error.value))
    assert "inf." not in str(error.value)


@given(st.integers(0, 40), st.integers(1, 40), st.integers(1, 9))
def test_a_grid_has_both_ends_and_even_steps(low: int, steps: int, tenths: int) -> None:
    high = low * 10 + steps * tenths
    text = f"{low}..{high / 10:g}:{tenths / 10:g}"
    values = grammar.parse("temperature", text)
    assert values == tuple((low * 10 + i * tenths) / 10 for i in range(steps + 1))


@given(st.text(max_size=30))
def test_any_text_is_values_or_a_message(text: str) -> None:
    values: grammar.Values = ()
    with contextlib.suppress(ParameterError):
        values = grammar.parse("temperature", text)
    assert all(v is None or v >= 0 for v in values)


def test_assignments() -> None:
    assert grammar.assignments(["temperature=0.3,0.9", "top-p=0.9"]) == {"temperature": (0.3, 0.9), "top_p": (0.9,)}


@pytest.mark.parametrize(("pairs", "said"), [(["temperature"], "name=value"), (["top_k=1", "top-k=2"], "twice")])
def test_assignments_refuse(pairs: list[str], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        grammar.assignments(pairs)
