"""Checks: what a file may say, what a text has to be, and code that runs only when it is allowed."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import poise
from poise import checks, codec
from poise.checks import Check, numbers_in, read_check, read_checks
from poise.errors import MetricError, StoreError, UseCaseError
from poise.jsontexts import read_json
from poise.measurements import measure
from poise.metrics import examining
from poise.metrics.checked import invalid, passes, try_check
from poise.metrics.context import Context
from poise.metrics.examining import EXAMINER
from poise.params import SamplingParams
from poise.records import Prompt
from poise.usecases import UseCase
from small_studies import COLD, WARM, drawn, study_of

CITY = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string", "pattern": "^[A-Z]"}}}


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Each test starts with nothing allowed, in a folder of its own, with a process of its own."""
    monkeypatch.setattr(checks, "_allowed", set())
    monkeypatch.chdir(tmp_path)
    EXAMINER.close()
    yield
    EXAMINER.close()


def holds(said: object, text: str, *answers: str) -> float | None:
    return try_check(read_check(said), text, Prompt("why", answers=answers))


# What each check says of a text: 1, 0, or None where it cannot read it.
@pytest.mark.parametrize(
    ("said", "text", "value"),
    [
        ("exact", " **Oslo**.", 1),
        ("exact", "It is Oslo", 0),
        ({"numeric": 42}, "That makes 42 in all.", 1),
        ({"numeric": 42}, "forty-two", None),
        ({"numeric": 42}, "41, or 43", 0),
        ({"numeric": 42, "within": 1}, "41, or 43", 1),
        ({"numeric": 0.3, "within": 0.1}, "0.2", 1),  # exactly: 0.3 - 0.1 is not 0.2 to a float
        ({"numeric": -1234.5}, "−1,234.5", 1),
        ({"numeric": 1e9}, "1e9", 1),
        ({"regex": "^Yes"}, "Yes, of course", 1),
        ({"regex": "^Yes"}, "yes, of course", 0),
        ({"regex": "(?i)^yes"}, "YES", 1),
        ({"json_schema": CITY}, '{"city": "Oslo"}', 1),
        ({"json_schema": CITY}, '```json\n{"city": "Oslo"}\n```\n', 1),
        ({"json_schema": CITY}, '{"city": "oslo"}', 0),
        ({"json_schema": CITY}, "[]", 0),
        ({"json_schema": CITY}, 'Here it is: {"city": "Oslo"}', None),
        ({"json_fields": {"city": "oslo", "n": 1}}, '{"city": " Oslo ", "n": 1.0, "more": []}', 1),
        ({"json_fields": {"n": 1}}, '{"n": true}', 0),
        ({"json_fields": {"n": True}}, '{"n": true}', 1),
        ({"json_fields": {"n": None}}, "{}", 0),
        ({"json_fields": {"a": {"b": ["x"]}}}, '{"a": {"b": ["X"], "c": 1}}', 1),
        ({"json_fields": {"a": ["x"]}}, '{"a": ["x", "y"]}', 0),
        ({"json_fields": {"a": 1}}, "[1]", 0),
        ({"json_fields": {"a": 1}}, '{"a": NaN}', None),
        ({"must_include": ["my refund", "Invoice"]}, "MY\n refund and the invoice", 1),
        ({"must_include": ["my refund", "Invoice"]}, "my refund", 0),
        ({"must_not_include": "sorry"}, "So sorry!", 0),
        ({"must_not_include": "sorry"}, "Of course", 1),
    ],
)
def test_what_a_check_says_of_a_text(said: object, text: str, value: float | None) -> None:
    assert holds(said, text, "Oslo") == value


def test_the_answers_number_is_compared() -> None:
    assert holds("numeric", "about 1,000 m", "1000 m", "990") == 1
    assert holds({"numeric": "answer", "within": 5}, "995", "1000") == 1
    assert holds("numeric", "995", "1000") == 0
    with pytest.raises(MetricError, match="compares with the prompt's answer"):
        holds("exact", "Oslo")
    for answer in ("Oslo", "1 or 2"):
        with pytest.raises(UseCaseError, match=f"compares with one number.*, but got '{answer}'"):
            checks.require_answers(read_check("numeric"), [answer])


@given(st.lists(st.integers(-(10**12), 10**12), max_size=6))
def test_numbers_come_back_from_any_text_that_holds_them(numbers: list[int]) -> None:
    assert numbers_in(" and ".join(f"{n:,}" for n in numbers)) == [Decimal(n) for n in numbers]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("2024-01-05", ["2024", "1", "5"]),
        ("(-5) x-5", ["-5", "5"]),
        ("1.2.3", ["1.2", "3"]),
        ("12,345,6", ["12345", "6"]),
        ("1,2345", ["1", "2345"]),
        (".5 and 5.", ["0.5", "5"]),
        ("３．５", ["3.5"]),
        ("1e9999", ["1", "9999"]),
        ("none", []),
    ],
)
def test_numbers_by_eye(text: str, numbers: list[str]) -> None:
    assert numbers_in(text) == [Decimal(n) for n in numbers]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 150 + "]" * 150, "9" * 5_000, '{"a": Infinity}', "```json\n{}", "{} {}", "", "\ud800"]
)
def test_hostile_text_is_no_json(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  its message is nobody's
        read_json(text)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (None, "A check is exact, numeric, or a mapping of one of exact, regex"),
        ({"regx": "a"}, "Did you mean regex?"),
        ({}, "exactly one kind, but got none"),
        ({"regex": "a", "numeric": 1}, "exactly one kind, but got regex and numeric"),
        ({"exact": "Oslo"}, "exact compares with the prompt's answer"),
        ({"regex": "("}, "regular expression as Python reads it, but got '(': missing ), unterminated"),
        ({"regex": "(" * 5_000 + ")" * 5_000}, "regular expression as Python reads it"),
        ({"regex": ""}, "of 1 to 10,000 characters"),
        ({"regex": "a", "within": 1}, "Only numeric has within"),
        ({"numeric": "42"}, "numeric is a number, or answer, but got '42'"),
        ({"numeric": True}, "numeric is a number, or answer, but got True"),
        ({"numeric": float("inf")}, "numeric is a number"),
        ({"numeric": 1, "within": -1}, "within is a number of at least 0, but got -1"),
        ({"json_schema": "x"}, "json_schema is a mapping"),
        ({"json_schema": {"type": "objct"}}, "'objct' is not valid under any of the given schemas at $.type"),
        ({"json_schema": {"pattern": "("}}, "'(' is not a 'regex' at $.pattern"),
        ({"json_schema": {"$ref": "https://example.org/s"}}, "a reference out of the schema"),
        ({"json_schema": {"$ref": "file:///etc/passwd"}}, "a reference out of the schema"),
        ({"json_schema": {"$ref": "#/$defs/city"}}, "a reference to nothing, '#/$defs/city'"),
        ({"json_schema": {"$ref": "#"}}, "refers to itself without end"),
        ({"json_schema": {"$schema": 3}}, "a $schema that is no text"),
        ({"json_fields": {}}, "json_fields maps fields to values"),
        ({"json_fields": {"a": {1, 2}}}, "json_fields maps fields to values"),
        ({"must_include": []}, "a text or a list of texts, none empty"),
        ({"must_include": [" "]}, "a text or a list of texts, none empty"),
        ({"callable": "os.system"}, "callable is an import path, but got 'os.system'"),
        ({"callable": "a:b; rm -rf ."}, "callable is an import path"),
    ],
)
def test_every_mistake_is_answered(said: object, message: str) -> None:
    with pytest.raises(UseCaseError) as caught:
        read_check(said)
    assert message in str(caught.value)
    assert caught.value.next_step
    assert len(str(caught.value)) < 400


EVERY: tuple[Any, ...] = (
    "exact", "numeric", {"numeric": "answer", "within": 0.5}, {"numeric": 42}, {"regex": "a|b"}, {"json_schema": CITY},
    {"json_fields": {"city": "Oslo", "n": None}}, {"must_include": ["a", "b"]}, {"must_not_include": ["c"]},
    {"callable": "mine.checks:is_good"},
)  # fmt: skip


def test_a_check_comes_back_from_what_it_writes(tmp_path: Path) -> None:
    found = read_checks(list(EVERY))
    assert len({*found}) == len(EVERY)
    assert read_checks([json.loads(json.dumps(c.record())) for c in found]) == found
    prompt = Prompt("why", answers=("4",), checks=found)
    assert codec.unpack_prompt(codec.pack_prompt(prompt)) == prompt


def test_a_prompt_without_checks_is_kept_as_before_there_were_any() -> None:
    assert codec.pack_prompt(Prompt("why")) == (
        '{"answers":[],"messages":[],"reference":null,"text":"why","use_case":"prompt"}'
    )


def test_a_study_with_a_check_that_is_none_is_damaged(tmp_path: Path) -> None:
    with study_of(tmp_path, {WARM: {"a": ["x"]}}) as study:
        study._db.write("UPDATE prompts SET record = ?", (codec.canonical({
            "answers": [], "messages": [], "reference": None, "text": "a", "use_case": "prompt", "checks": [{"x": 1}],
        }),))  # fmt: skip
        with pytest.raises(StoreError, match="A check has one of"):
            study.prompts("prompt")


def value(metric: Any, text: str, *said: object, answers: tuple[str, ...] = ()) -> float | None:
    prompt = Prompt("why", answers=answers, checks=read_checks(list(said)))
    return metric(drawn(text, prompt), Context())  # type: ignore[no-any-return]


def test_passes_is_all_of_them_and_invalid_is_any_that_cannot_read() -> None:
    both = ({"numeric": 42}, {"must_include": "metres"})
    assert [value(passes, t, *both) for t in ("42 metres", "42", "metres", " ")] == [1, 0, 0, 0]
    assert [value(invalid, t, *both) for t in ("42 metres", "42", "metres", " ")] == [0, 0, 1, 1]
    assert (value(passes, "42"), value(invalid, "42")) == (None, None)


def test_nothing_in_a_strangers_folder_stands_in_for_a_library() -> None:
    Path("json.py").write_text("open('ran', 'w')", encoding="utf-8")
    Path("re.py").write_text("open('ran', 'w')", encoding="utf-8")
    assert holds({"regex": "a"}, "a") == 1
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "said",
    [{"regex": "(a+)+$"}, {"json_schema": {"properties": {"a": {"pattern": "^(a+)+$"}}}}],
    ids=["regex", "schema"],
)
def test_a_pattern_that_does_not_end_is_ended(said: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examining, "SECONDS", 0.5)
    with pytest.raises(MetricError, match=r"within 0\.5 s, but got .* still running at the text"):
        holds(said, json.dumps({"a": "a" * 60 + "!"}))
    monkeypatch.setattr(examining, "SECONDS", 10.0)
    assert holds({"regex": "a"}, "a") == 1


def test_a_schema_that_goes_round_is_answered() -> None:
    with pytest.raises(MetricError, match="can be held against a text, but got RecursionError"):
        holds({"json_schema": {"properties": {"a": {"$ref": "#/properties/a"}}}}, '{"a": 1}')


def test_a_deep_answer_is_held_against_a_schema_that_repeats() -> None:
    tree = {"properties": {"in": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["in"]}
    text = '{"in": ' * 90 + "null" + "}" * 90
    assert holds({"json_schema": tree}, text) == 1


# In a study


def checked_study(path: Path, *said: object, texts: dict[SamplingParams, list[str]] | None = None) -> poise.Study:
    prompt = Prompt("why", checks=read_checks(list(said)))
    study = study_of(path, {})
    for params, all_texts in (texts or {WARM: ["42", "41", "none"], COLD: ["42", "42", "42"]}).items():
        for i, text in enumerate(all_texts):
            study.add(drawn(text, prompt, params, i))
    return study


def test_a_study_alone_is_measured(tmp_path: Path) -> None:
    checked_study(tmp_path, {"numeric": 42}, {"regex": "^4"}).close()
    with poise.Study.open(tmp_path / "small.db", read_only=True) as study:
        found = {(m.metric, m.trial.params): m.mean for m in measure(study)}
    assert (found["passes", WARM], found["invalid", WARM]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert (found["passes", COLD], found["invalid", COLD]) == (1, 0)
    assert EXAMINER._process is None, "no process is left behind"


def test_checks_reach_a_study_from_a_use_case_and_change_without_drawing(tmp_path: Path) -> None:
    case = UseCase(name="sums", check={"regex": "ship"}, prompts=[{"text": "the ship", "answer": "4"}])
    engine, where = poise.load("fake"), tmp_path / "s.db"
    with poise.sweep(engine, case, poise.grid(temperature=[0.5]), study=where, draws=2, max_tokens=4) as study:
        assert [str(c) for c in study.prompts("sums")[0].checks] == ["regex ship"]
    changed = UseCase(name="sums", check=["numeric", Check("exact")], prompts=[{"text": "the ship", "answer": "4"}])
    with pytest.warns(UserWarning, match="Prompts with other answers"):
        study = poise.sweep(engine, changed, poise.grid(temperature=[0.5]), study=where, draws=2, max_tokens=4)
    with study:
        assert study.last_sweep is not None
        assert (study.last_sweep.drawn, study.last_sweep.reused) == (0, 6)
        assert [str(c) for c in study.prompts("sums")[0].checks] == ["numeric", "exact"]


def test_prompts_of_ones_own_have_right_checks(tmp_path: Path) -> None:
    engine = poise.load("fake")
    with pytest.raises(poise.PoiseError, match=r"are what poise.read_checks gives, but got 'e'"):
        poise.generate(engine, Prompt("why", checks="exact"))  # type: ignore[arg-type]
    with pytest.raises(UseCaseError, match="The check exact compares with the prompt's answer"):
        poise.generate(engine, Prompt("why", checks=read_checks("exact")))
