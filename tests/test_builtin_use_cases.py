"""The built-in use cases: right by their own checks, and ready to be decided."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import poise
from poise.checks import folded
from poise.engines.fake import FakeEngine
from poise.metrics.context import Context
from poise.metrics.metric import CompletionMetric
from poise.records import Prompt
from small_studies import drawn

NAMES = [
    "brainstorm",
    "creative-story",
    "factual-answer",
    "json-extraction",
    "summarise",
    "support-answer",
    "technical-explanation",
]
every_case = pytest.mark.parametrize("name", NAMES)


def value(metric: str, prompt: Prompt, text: str) -> float | None:
    """What a metric gives for one text of one prompt."""
    known = poise.METRICS[metric]
    assert isinstance(known, CompletionMetric)
    return known.compute(drawn(text, prompt), Context())


def said_by_checks(prompt: Prompt, kind: str) -> list[Any]:
    """What the prompt's checks of one kind ask for."""
    return [check.value for check in prompt.checks if check.kind == kind]


def words(texts: Iterable[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def references(name: str) -> list[str]:
    """One per prompt."""
    found = [prompt.reference for prompt in poise.load_use_case(name).prompts]
    return [reference for reference in found if reference is not None]


class Reader(FakeEngine):
    """A fake engine that scores any text, each word of it as one of its own."""

    def score(self, prompt: Prompt, text: str) -> tuple[tuple[int, ...], NDArray[np.float64]]:
        return super().score(prompt, self.decode(self.encode(Prompt(text))))


def test_these_are_built_in() -> None:
    assert sorted(poise.built_in_names()) == NAMES


@every_case
def test_a_built_in_has_prompts_limits_and_a_goal(name: str) -> None:
    case = poise.load_use_case(name)
    assert case.name == name
    assert case.description.endswith(".")
    assert case.mode is not None
    assert case.max_tokens is not None
    assert 8 <= case.max_tokens <= 160
    assert len({prompt.shown for prompt in case.prompts}) == len(case.prompts) >= 24
    assert case.goal is not None
    assert set(case.goal.metrics) <= set(poise.METRICS)
    assert case.goal.matters
    assert case.goal.constraints
    assert case.goal.baseline == "engine-default"


@every_case
def test_a_goal_near_the_reference_has_a_text_of_a_person_for_every_prompt(name: str) -> None:
    case = poise.load_use_case(name)
    assert case.goal is not None
    if case.goal.needs_reference:
        assert len(set(references(name))) == len(case.prompts)
        assert min(words(references(name))) >= 40


def test_no_two_use_cases_share_a_prompt() -> None:
    asked = {name: {folded(p.shown) for p in poise.load_use_case(name).prompts} for name in NAMES}
    for one, other in itertools.combinations(NAMES, 2):
        assert not asked[one] & asked[other], (one, other)


@every_case
def test_every_answer_passes_its_own_checks(name: str) -> None:
    for prompt in poise.load_use_case(name).prompts:
        for answer in prompt.answers:
            assert value("exact_match", prompt, answer) == 1, (prompt.shown, answer)
            assert value("passes", prompt, answer) in (1, None), (prompt.shown, answer)
            assert value("exact_match", prompt, f"not {answer}") == 0, (prompt.shown, answer)


def test_factual_answers_are_short_and_none_is_in_its_question() -> None:
    prompts = poise.load_use_case("factual-answer").prompts
    assert all(prompt.answers for prompt in prompts)
    assert max(words(answer for prompt in prompts for answer in prompt.answers)) <= 6
    for prompt in prompts:
        question = prompt.shown.strip().splitlines()[-2:]
        asked = folded(" ".join(question)).split()
        assert not any(folded(answer) in asked for answer in prompt.answers), prompt.shown


# A summary


def test_a_passage_is_short_and_its_summary_is_one_sentence() -> None:
    prompts = poise.load_use_case("summarise").prompts
    passages = [prompt.shown.split("\n\n")[1] for prompt in prompts]
    assert {prompt.shown.split("\n\n")[0] for prompt in prompts} == {"Summarise the following text in one sentence."}
    assert 70 <= min(words(passages)) <= max(words(passages)) <= 100
    summaries = references("summarise")
    assert len(summaries) == len(passages)
    assert 18 <= min(words(summaries)) <= max(words(summaries)) <= 30
    assert all(summary.endswith(".") and summary.count(". ") == 0 for summary in summaries)


def test_a_summary_is_nearer_to_its_own_passage_than_to_any_other() -> None:
    prompts = poise.load_use_case("summarise").prompts
    for prompt in prompts:
        shared = {other.shown: value("reference_f1", prompt, other.reference or "") or 0.0 for other in prompts}
        assert shared.pop(prompt.shown) == 1
        assert max(shared.values()) < 0.5, prompt.reference


# JSON


def test_the_right_json_passes_and_a_changed_value_does_not() -> None:
    for prompt in poise.load_use_case("json-extraction").prompts:
        assert said_by_checks(prompt, "json_schema"), prompt.shown
        (fields,) = said_by_checks(prompt, "json_fields")
        assert value("passes", prompt, json.dumps(fields)) == 1, fields
        assert value("invalid", prompt, json.dumps(fields)) == 0
        for name, right in fields.items():
            wrong = right + 1 if isinstance(right, int) else f"{right} x"
            changed = json.dumps({**fields, name: wrong})
            assert (value("passes", prompt, changed), value("invalid", prompt, changed)) == (0, 0), changed
            missing = json.dumps({n: v for n, v in fields.items() if n != name})
            assert value("passes", prompt, missing) == 0, missing
        assert (value("passes", prompt, "Gladly!"), value("invalid", prompt, "Gladly!")) == (0, 1)


def test_every_text_to_extract_stands_in_its_message() -> None:
    for prompt in poise.load_use_case("json-extraction").prompts:
        (fields,) = said_by_checks(prompt, "json_fields")
        message = folded([line for line in prompt.shown.splitlines() if line.startswith("Message: ")][-1])
        texts = [right for right in fields.values() if isinstance(right, str)]  # a number may be said in words
        assert all(folded(right) in message for right in texts), (message, fields)


# Support


def test_the_policy_holds_every_fact_that_an_answer_needs() -> None:
    prompts = poise.load_use_case("support-answer").prompts
    (policy,) = {prompt.messages[0].content for prompt in prompts}
    assert {prompt.messages[0].role for prompt in prompts} == {"system"}
    for prompt in prompts:
        (facts,) = said_by_checks(prompt, "must_include")
        assert all(folded(fact) in folded(policy) for fact in facts), facts
        assert not any(folded(fact) in folded(prompt.shown) for fact in facts), "a question that says its answer"
        assert value("passes", prompt, f"Well: {', '.join(facts)}.") == 1
        assert value("passes", prompt, "I do not know.") == 0
        assert value("invalid", prompt, " ") == 1


def test_some_questions_are_for_a_colleague() -> None:
    prompts = poise.load_use_case("support-answer").prompts
    passed = [value("passes", prompt, "I will hand over to a colleague.") for prompt in prompts]
    assert passed.count(1) >= 8
    assert passed.count(0) >= 16


# All of it, on the fake engine


@every_case
def test_a_built_in_is_swept_measured_and_decided(name: str, tmp_path: Path) -> None:
    case = poise.load_use_case(name)
    assert case.goal is not None
    few = case.model_copy(update={"prompts": case.prompts[:2]})
    with poise.sweep(
        Reader(), few, poise.grid(temperature=[0.5]), study=tmp_path / "s.db", draws=2, max_tokens=6
    ) as study:
        measured = {m.metric for m in poise.measure(study, metrics=list(case.goal.metrics))}
        assert measured == set(case.goal.metrics)
        (verdict,) = poise.decide(study)
        assert verdict.use_case == name
