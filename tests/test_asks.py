"""What a sweep asks, and what it refuses before anything is drawn or written."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poise import asks
from poise.engines.fake import FakeEngine
from poise.errors import ParameterError, PoiseError, PromptError, StudyError, UsageError
from poise.params import SamplingParams, grid
from poise.records import Message, Prompt, Request
from poise.sweeps import plan, sweep
from watched import BRIEF, HEATS, STORY, Watched


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POISE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def engine() -> Watched:
    return Watched()


# What is asked


@pytest.mark.parametrize(
    ("prompt", "how", "asked"),
    [
        ("hi", {}, Prompt("hi")),
        ("hi", {"chat": True}, Prompt(messages=(Message("user", "hi"),))),
        ("hi", {"system": "Be brief."}, Prompt(messages=(Message("system", "Be brief."), Message("user", "hi")))),
        (Prompt(messages=(Message("user", "hi"),)), {}, Prompt(messages=(Message("user", "hi"),))),
        (Prompt(messages=(Message("user", "hi"),)), {"chat": False}, Prompt("hi")),
        (
            BRIEF,
            {"system": "Be long."},
            Prompt(messages=(Message("system", "Be long."), Message("user", "hi")), use_case="brief"),
        ),
        (
            Prompt(messages=(Message("system", "old"), Message("user", "hi"))),
            {"system": "new"},
            Prompt(messages=(Message("system", "new"), Message("user", "hi"))),
        ),
    ],
)
def test_text_or_chat(engine: Watched, prompt: Any, how: Any, asked: Prompt) -> None:
    said = plan(engine, prompt, HEATS, **how)
    assert said.prompts == (asked,)
    way = "asked as chat" if asked.chat else "continued as text"
    other = "--text" if asked.chat else "--chat"
    assert f"{way}" in str(said)
    assert other in str(said)
    with sweep(engine, prompt, HEATS, max_tokens=1, **how):
        assert {r.prompt_ids for r in engine.asked} == {engine.encode(asked)}


def test_every_option_reaches_the_engine(engine: Watched) -> None:
    how: Any = {"draws": np.int64(2), "seed": 9, "max_tokens": 7, "min_tokens": 2, "stop": "x"}
    sweep(engine, "a ship", grid(top_k=3), baselines=False, **how).close()
    expected = Request(Prompt("a ship"), engine.encode(Prompt("a ship")), SamplingParams(top_k=3), 9, 0, 7, 2, ("x",))
    assert engine.asked == [expected, dataclasses.replace(expected, draw=1)]


# What is refused, before anything is drawn or written


@pytest.mark.parametrize(
    ("prompts", "how", "error", "says"),
    [
        ("hi", {"draws": 0}, UsageError, r"draws is a whole number of at least 1, but got 0\. For example draws=1"),
        ("hi", {"draws": True}, UsageError, r"draws is a whole number"),
        ("hi", {"draws": 10**6}, UsageError, r"at most 1,000,000 texts, but got 1 prompts × 4 settings"),
        ("hi", {"seed": 0.5}, UsageError, r"seed is a whole number, but got 0\.5"),
        ("hi", {"max_tokens": 0}, UsageError, r"max_tokens is a whole number of at least 1"),
        ("hi", {"min_tokens": -1}, UsageError, r"min_tokens is a whole number of at least 0"),
        ("hi", {"min_tokens": 9, "max_tokens": 8}, UsageError, r"min_tokens is at most max_tokens, but got 9 and 8"),
        ([STORY, STORY], {}, UsageError, r"different names, but got story, story"),
        (BRIEF, {"chat": False}, PromptError, r"single user turn .* got system, user"),
        (Prompt("a", (Message("user", "b"),)), {}, PromptError, r"either text or messages"),
        (STORY, {"min_tokens": 7}, UsageError, r"min_tokens is at most max_tokens, but got 7 and 6"),
        ("hi", {"stop": ["a", ""]}, UsageError, r"stop string has at least one character"),
        ("hi", {"stop": 5}, UsageError, r"stop string has at least one character, but got \(5,\)"),
        ("hi", {"system": 5}, UsageError, r"system is text, but got 5"),
        ("hi", {"drawz": 3}, UsageError, r"'drawz'. Did you mean draws\?"),
        ("hi", {"temperature": 3}, UsageError, r"'temperature'. Decoding parameters go into the settings"),
        ("hi", {"chat": "yes"}, UsageError, r"chat is True, False or None"),
        ("hi", {"chat": False, "system": "x"}, UsageError, r"system message needs the model's chat template"),
        ("", {}, PromptError, r"at least one character, but got ''"),
        ("  ", {}, PromptError, r"at least one token"),
        ([], {}, PromptError, r"at least one prompt"),
        (None, {}, PromptError, r"text, a Prompt or a UseCase, or several, but got None"),
        (3, {}, PromptError, r"text, a Prompt or a UseCase, or several, but got 3"),
        ([7], {}, PromptError, r"a text, a Prompt or a UseCase, but got 7"),
        ("\ud800", {}, PromptError, r"valid Unicode"),
        ("on " * 4090, {}, PromptError, r"context of 4,096 tokens, but got 4,090 \+ 128 .*Take max_tokens=6 or less"),
        ("on " * 4096, {}, PromptError, r"Shorten the prompt"),
        (
            Prompt(messages=(Message("user", "a"), Message("assistant", "b"), Message("user", "c"))),
            {"chat": False},
            PromptError,
            r"single user turn .* got user, assistant, user",
        ),
    ],
)
def test_mistakes_are_told_before_any_work(
    engine: Watched, home: Path, prompts: Any, how: Any, error: type[PoiseError], says: str
) -> None:
    for verb in (plan, sweep):
        with pytest.raises(error, match=says) as caught:
            verb(engine, prompts, HEATS, **how)
        assert caught.value.exit_code == 2
    assert engine.asked == []
    assert not home.exists()


@pytest.mark.parametrize(
    ("settings", "baselines", "says"),
    [
        ([], False, r"at least one setting"),
        ([{"temperature": 3}], True, r"Settings are SamplingParams"),
        ((SamplingParams(temperature=i / 1000) for i in range(10**9)), True, r"at most 10,000 settings"),
        (grid(min_p=0.1), True, r"fake honours temperature, top_k, but got min_p"),
    ],
    ids=["none", "no settings", "a billion", "not honoured"],
)
def test_settings_that_cannot_be_drawn_are_refused(
    engine: Watched, home: Path, settings: Any, baselines: bool, says: str
) -> None:
    engine.supports = frozenset({"temperature", "top_k"})
    with pytest.raises(ParameterError, match=says):
        sweep(engine, "hi", settings, baselines=baselines)
    assert not home.exists()


def test_chat_without_a_template_is_refused(engine: Watched) -> None:
    engine.has_template = False
    with pytest.raises(PromptError, match=r"chat template, but got fake, which has none.*--text"):
        plan(engine, "hi", HEATS, chat=True)


def test_a_study_of_another_model_is_refused_by_plan_and_sweep(engine: Watched, tmp_path: Path) -> None:
    sweep(engine, "a ship", HEATS, study=tmp_path / "s.db", max_tokens=2).close()
    before = (tmp_path / "s.db").read_bytes()
    for verb in (plan, sweep):
        with pytest.raises(StudyError, match=r"belongs to one model.*'fake'.*'other'"):
            verb(FakeEngine(seed=1, name="other"), "a ship", HEATS, study=tmp_path / "s.db")
    assert (tmp_path / "s.db").read_bytes() == before


def test_options_are_called_alike_as_given_and_as_checked() -> None:
    assert set(asks.DrawOptions.__annotations__) == {f.name for f in dataclasses.fields(asks.Options)}
