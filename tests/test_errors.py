"""The tree of errors: drawn as it is, every message a rule, a value and a next step."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import poise
from poise import errors
from poise.errors import EngineError, ParameterError, PoiseError, SystemFault, UsageError


def below(root: type[PoiseError]) -> Iterator[type[PoiseError]]:
    for child in root.__subclasses__():
        yield child
        yield from below(child)


EVERY = [PoiseError, *below(PoiseError)]


def test_the_tree_is_drawn_as_it_is() -> None:
    """Names and parents in the docstring's drawing are those of the classes."""
    drawn: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"([│├└─ ]*)([A-Z]\w+(?:Error|Fault))\b", line)
        if found:
            drawn.append((len(found[1]) // 4, found[2]))
    real = [(len(kind.__mro__) - len(PoiseError.__mro__), kind.__name__) for kind in EVERY]
    assert drawn == real


@pytest.mark.parametrize("kind", EVERY)
def test_exit_codes(kind: type[PoiseError]) -> None:
    """2 is the user's mistake, 3 a failure of engine or system; nothing else."""
    assert kind.exit_code == (2 if issubclass(kind, UsageError) else 3)
    assert issubclass(kind, (UsageError, SystemFault)) or kind is PoiseError


@pytest.mark.parametrize("kind", EVERY)
def test_every_error_is_documented(kind: type[PoiseError]) -> None:
    assert kind.__doc__


def test_a_message_has_three_parts() -> None:
    error = ParameterError("top_p must lie in [0, 1]", "1.2", "Leave it out to switch it off")
    assert str(error) == "top_p must lie in [0, 1], but got 1.2. Leave it out to switch it off."
    assert (error.rule, error.got, error.next_step) == (
        "top_p must lie in [0, 1]", "1.2", "Leave it out to switch it off",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        (("A rule",), "A rule."),
        (("A rule.",), "A rule."),
        (("A rule", "7"), "A rule, but got 7."),
        (("A rule", "", "Do this."), "A rule. Do this."),
        (("A rule", "7", "Did you mean this?"), "A rule, but got 7. Did you mean this?"),
    ],
)
def test_empty_parts_are_left_out(parts: tuple[str, ...], shown: str) -> None:
    assert str(PoiseError(*parts)) == shown


@pytest.mark.parametrize("kind", EVERY)
def test_errors_travel_between_processes(kind: type[PoiseError]) -> None:
    error = pickle.loads(pickle.dumps(kind("A rule", "7", "Do this")))
    assert type(error) is kind
    assert str(error) == "A rule, but got 7. Do this."


def test_errors_of_python_are_not_caught_by_the_root() -> None:
    """poise catches PoiseError at its faces; a mistake in poise itself must stay visible."""
    assert not issubclass(ValueError, PoiseError)
    assert not issubclass(EngineError, (ValueError, OSError))


@pytest.mark.parametrize("given", ["x.db", None, 3])
def test_what_is_no_study_is_refused(given: Any, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    for read in (
        lambda: poise.measure(given),
        lambda: poise.compare(given, "greedy", "vendor"),
        lambda: poise.report(given, page),
        lambda: poise.dump(given, "csv", tmp_path / "d.csv"),
    ):
        with pytest.raises(UsageError, match=r"A study is what poise\.sweep or poise\.Study\.open gives, but got"):
            read()
    assert not list(tmp_path.iterdir())


def test_what_is_no_model_and_no_engine_is_refused() -> None:
    none: Any = 3
    with pytest.raises(errors.ModelError, match="named by text, but got 3"):
        poise.load(none)
    engine: Any = "fake"
    for ask in (poise.plan, poise.sweep):
        with pytest.raises(UsageError, match=r"An engine is what poise\.load gives, but got 'fake'"):
            ask(engine, "hi", poise.grid(temperature=1.0))
    with pytest.raises(ParameterError, match="Settings are SamplingParams, but got 3"):
        poise.plan(poise.load("fake"), "hi", none)


def test_every_error_is_caught_by_the_public_name() -> None:
    assert poise.PoiseError is PoiseError
    with pytest.raises(poise.PoiseError):
        poise.load("parrot")
