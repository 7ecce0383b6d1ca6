"""The Study: what goes in comes out, in one order, and nothing is lost."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poise import ledger
from poise.codec import RequestKeys
from poise.errors import StudyError
from poise.params import SamplingParams
from poise.records import Completion, Fingerprint, Message, Prompt, Request, request_key
from poise.study import Study, default_path, latest_study
from toy_study import ANY_TEXT, HIGH, LOW, MODEL, answer, ask


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POISE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    with Study.open(tmp_path / "study.db") as opened:
        opened.bind(MODEL)
        yield opened


# What goes in comes out


@settings(max_examples=60, deadline=None)
@given(
    prompt=st.one_of(
        st.builds(Prompt, text=ANY_TEXT, answers=st.tuples(ANY_TEXT), reference=ANY_TEXT),
        st.builds(Prompt, messages=st.tuples(st.builds(Message, st.just("user"), ANY_TEXT))),
    ),
    text=ANY_TEXT,
    tokens=st.lists(st.tuples(st.integers(0, 2**31 - 1), st.floats(max_value=0, allow_nan=False)), min_size=1),
    seed=st.integers(),
    stop=st.lists(ANY_TEXT.filter(bool), max_size=2),
)
def test_a_completion_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    prompt: Prompt,
    text: str,
    tokens: list[tuple[int, float]],
    seed: int,
    stop: list[str],
) -> None:
    ids, logprobs = tuple(t for t, _ in tokens), tuple(p for _, p in tokens)
    request = Request(prompt, ids, HIGH, seed, 3, 7, 2, tuple(stop))
    given = Completion(request, text, ids, logprobs, "length", thinking=text[::-1])
    path = tmp_path_factory.mktemp("exact") / "s.db"
    with Study.open(path) as study:
        study.bind(MODEL)
        study.add(given)
    with Study.open(path, read_only=True) as study:
        assert list(study.completions()) == [given]
        assert [c.logprobs for c in study.completions(with_logprobs=False)] == [()]


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "\udfff\x00\ud83d", "\u202e\x1b[31m", "e\u0301é", "😀\r\n"])
def test_hostile_text_comes_back_exactly(study: Study, text: str) -> None:
    prompt = Prompt(text, answers=(text,), reference=text)
    given = Completion(ask(prompt, stop=(text,)), text, (1,), (-1.0,), "stop", thinking=text)
    study.add(given)
    assert list(study.completions()) == [given]


@given(
    params=st.builds(
        SamplingParams,
        temperature=st.none() | st.just(0) | st.floats(1e-3, 1e6),
        top_k=st.none() | st.integers(1, 10**9),
        frequency_penalty=st.none() | st.floats(-2, 2),
    ),
    ids=st.lists(st.integers(0, 10**6)),
    numbers=st.tuples(st.integers(), st.integers(0), st.integers(1), st.integers(0)),
    stop=st.lists(ANY_TEXT, max_size=2),
)
def test_the_fast_key_is_the_defined_key(
    params: SamplingParams, ids: list[int], numbers: tuple[int, int, int, int], stop: list[str]
) -> None:
    seed, draw, most, least = numbers
    request = Request(Prompt("hi"), tuple(ids), params, seed, draw, most, least, tuple(stop))
    assert RequestKeys(MODEL).key(request).hex() == request_key(MODEL, request)


def test_the_order_does_not_depend_on_the_order_of_writing(tmp_path: Path) -> None:
    requests = [ask(p, s, d) for p in ("b", "a") for s in (HIGH, LOW, SamplingParams()) for d in (1, 0)]
    read = []
    for name, order in (("forth", requests), ("back", requests[::-1])):
        with Study.open(tmp_path / name) as study:
            study.bind(MODEL)
            study.expect(requests)
            for request in order:
                study.add(answer(request))
            read.append([(c.request.prompt.text, c.request.params.label, c.request.draw) for c in study.completions()])
    assert read[0] == read[1]
    assert read[0][:4] == [
        ("b", "temperature=0.3", 0),
        ("b", "temperature=0.3", 1),
        ("b", "temperature=0.9", 0),
        ("b", "temperature=0.9", 1),
    ]
    assert read[0][6:8] == [("a", "temperature=0.3", 0), ("a", "temperature=0.3", 1)]


def test_settings_sort_by_value_and_what_is_off_where_it_changes_nothing(study: Study) -> None:
    plain = SamplingParams()
    for params in (SamplingParams(top_k=5), SamplingParams(temperature=10), plain, SamplingParams(temperature=2)):
        study.add(answer(ask(params=params)))
    labels = [t.label for t in study.trials()]
    assert labels == ["temperature=1,top_k=5", "temperature=1", "temperature=2", "temperature=10"]


# What is missing


def test_only_what_is_not_there_is_missing_and_each_once(study: Study) -> None:
    study.add(answer(ask(draw=0)))
    wanted = [ask(draw=0), ask(draw=1), ask(draw=1), ask("ho")]
    assert study.missing(wanted) == [ask(draw=1), ask("ho")]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"draw": 1},
        {"max_tokens": 5},
        {"min_tokens": 1},
        {"stop": ("x",)},
        {"prompt_ids": (9,)},
        {"params": HIGH},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_decides_the_text_is_part_of_the_key(study: Study, change: dict[str, Any]) -> None:
    study.add(answer(ask()))
    changed = dataclasses.replace(ask(), **change)
    assert study.missing([ask(), changed]) == [changed]


def test_answers_and_use_case_do_not_decide_the_text(study: Study) -> None:
    study.add(answer(ask()))
    assert study.missing([ask(Prompt("hi", answers=("42",), use_case="other"))]) == []


def test_a_second_answer_to_the_same_request_changes_nothing(study: Study) -> None:
    study.add(answer(ask(), "first"))
    study.add(answer(ask(), "second"))
    assert [c.text for c in study.completions()] == ["first"]


# What a use case asks now


def test_lone_prompts_add_up(study: Study) -> None:
    study.expect([ask("one")])
    study.expect([ask("two")])
    assert [p.text for p in study.prompts("prompt")] == ["one", "two"]


def test_a_named_use_case_is_read_as_last_asked(study: Study) -> None:
    old, kept, new = (Prompt(text, use_case="story") for text in ("old", "kept", "new"))
    for prompt in (old, kept):
        study.expect([ask(old), ask(kept)], whole={"story"})
        study.add(answer(ask(prompt)))
    study.expect([ask(kept), ask(new)], whole={"story"})
    assert [p.text for p in study.prompts("story")] == ["kept", "new"]
    assert [c.request.prompt.text for c in study.completions("story")] == ["kept"]
    assert [c.request.prompt.text for c in study.completions("story", everything=True)] == ["old", "kept"]
    study.expect([ask(old), ask(kept)], whole={"story"})
    assert study.count("story") == 2


def test_what_was_rolled_back_is_asked_anew(study: Study) -> None:
    """The second use case has a name that no file can hold: nothing of this call is written."""
    with pytest.raises(StudyError, match="valid Unicode"):
        study.expect([ask(Prompt("hi", use_case="story")), ask(Prompt("hi", use_case="\ud800"))])
    assert study.use_cases() == []
    study.add(answer(ask(Prompt("hi", use_case="story"))))
    assert [c.request.prompt.text for c in study.completions("story")] == ["hi"]


def test_a_prompt_is_read_under_the_limits_it_was_last_asked_with(study: Study) -> None:
    for limit in (4, 8):
        study.add(answer(ask(max_tokens=limit)))
    assert [c.request.max_tokens for c in study.completions()] == [8]
    assert [c.request.max_tokens for c in study.completions(everything=True)] == [4, 8]
    study.expect([ask(max_tokens=4)])
    assert [c.request.max_tokens for c in study.completions()] == [4]


def test_new_answers_warn_and_count_from_now_on(study: Study) -> None:
    study.add(answer(ask(Prompt("2+2=", answers=("5",), use_case="sums"))))
    warned = study.expect([ask(Prompt("2+2=", answers=("4",), use_case="sums"))])
    assert len(warned) == 1
    assert "answers" in warned[0]
    [completion] = study.completions()
    assert completion.request.prompt.answers == ("4",)


def test_two_use_cases_share_a_text_but_not_their_settings(study: Study) -> None:
    first, second = Prompt("hi", use_case="first"), Prompt("hi", use_case="second")
    study.add(answer(ask(first, LOW)))
    study.add(answer(ask(first, HIGH)))
    study.expect([ask(second, LOW)])
    assert study.use_cases() == ["first", "second"]
    assert [t.label for t in study.trials("second")] == ["temperature=0.3"]
    assert [t.label for t in study.trials()] == ["temperature=0.3", "temperature=0.9"]
    assert [c.request.prompt.use_case for c in study.completions()] == ["first", "first", "second"]
    assert (study.count(), study.count("second"), study.count(params=LOW)) == (3, 1, 2)


def test_settings_without_a_text_are_no_trial(study: Study) -> None:
    study.expect([ask()])
    assert study.trials() == []
    assert study.count() == 0


def test_an_unknown_use_case_names_the_known_ones(study: Study) -> None:
    study.expect([ask(Prompt("hi", use_case="story"))])
    for read in (study.prompts, study.trials, study.count, study.completions):
        with pytest.raises(StudyError, match=r"one of story, but got 'stories'"):
            read("stories")


def test_a_name_belongs_to_the_settings_it_was_given_last(study: Study) -> None:
    for params in (LOW, HIGH):
        study.add(answer(ask(params=params)))
    study.name_trial(LOW, "vendor")
    study.name_trial(HIGH, "greedy")
    study.name_trial(HIGH, "vendor")
    assert [t.names for t in study.trials()] == [(), ("greedy", "vendor")]


# Whose study it is


def test_a_study_of_another_model_names_both_and_stays_as_it_is(study: Study) -> None:
    study.add(answer(ask()))
    other = dataclasses.replace(MODEL, model="giant", weights="x" * 64)
    with pytest.raises(StudyError, match=r"'toy'.*'giant'.*weights.*Name another study"):
        study.bind(other)
    study.add(answer(ask(draw=1)))
    assert study.count() == 2
    assert [p.n for p in study.provenances()] == [2]


def test_changed_circumstances_warn_are_kept_and_lose_nothing(tmp_path: Path) -> None:
    newer = dataclasses.replace(MODEL, provenance={"device": "cpu", "torch": "2.14", "threads": "2"})
    with Study.open(tmp_path / "s.db") as study:
        assert study.bind(MODEL) == []
        study.add(answer(ask()))
    with Study.open(tmp_path / "s.db") as study:
        assert study.bind(MODEL) == []
        [warning] = study.bind(newer)
        assert "torch was 2.13, is 2.14" in warning
        assert "threads was unknown, is 2" in warning
        study.add(answer(ask(draw=1)))
        assert study.missing([ask(), ask(draw=1)]) == []
        assert [(p.record["torch"], p.n) for p in study.provenances()] == [("2.13", 1), ("2.14", 1)]
        assert study.fingerprint == newer


def test_an_unbound_study_takes_nothing(tmp_path: Path) -> None:
    with Study.open(tmp_path / "s.db") as study:
        with pytest.raises(StudyError, match="bound to an engine"):
            study.add(answer(ask()))
        with pytest.raises(StudyError, match="belongs to an engine"):
            _ = study.fingerprint


# Faces and places


def test_tables_for_notebooks_are_escaped(study: Study) -> None:
    study.add(answer(ask(Prompt("hi", use_case="<script>alert(1)</script>"))))
    study.name_trial(LOW, "<b>")
    page = study._repr_html_()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<td>&lt;script&gt;alert(1)&lt;/script&gt;</td><td>temperature=0.3</td><td>&lt;b&gt;</td><td>1</td>" in page
    assert repr(study) == f"Study({str(study.path)!r}, model='toy', use_cases=1, trials=1, completions=1)"


def test_the_latest_study_is_the_one_written_last_wherever_it_lies(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"must be a study to read.*poise sweep"):
        latest_study()
    for name in ("one.db", "far/away/two.db"):
        with Study.open(tmp_path / name) as study:
            study.bind(MODEL)
    Study.open(tmp_path / "one.db", read_only=True).close()
    assert latest_study() == tmp_path / "far/away/two.db"
    (tmp_path / "far/away/two.db").unlink()
    with pytest.raises(StudyError, match=r"two\.db is gone"):
        latest_study()


def test_where_no_note_can_be_made_the_study_is_written_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("POISE_HOME", str(tmp_path / "file"))
    with Study.open(tmp_path / "s.db") as study:
        [warning] = study.bind(MODEL)
        assert "name it with --study" in warning
        study.add(answer(ask()))


def test_the_default_path_follows_the_model_and_what_is_asked(home: Path) -> None:
    def path(*prompts: Prompt, model: Fingerprint = MODEL) -> Path:
        return default_path(model, prompts)

    story = [Prompt(f"{i}", use_case="story") for i in range(3)]
    assert path(Prompt("Once upon: a *time*!")).parent == home / "studies"
    assert path(Prompt("Once upon: a *time*!")).name.startswith("toy-once-upon-a-time-")
    assert path(Prompt("a")) == path(Prompt("a", answers=("b",)))
    assert path(*story) == path(*story[:2]), "a use case may grow"
    newer = dataclasses.replace(MODEL, model="TOY", provenance={})
    assert path(Prompt("a"), model=newer).name[-13:] == path(Prompt("a")).name[-13:]
    others = [
        path(Prompt("a")),
        path(Prompt("b")),
        path(Prompt("a"), Prompt("b")),
        path(Prompt(messages=(Message("user", "a"),))),
        path(Prompt("a", use_case="story")),
        path(Prompt("a"), model=dataclasses.replace(MODEL, dtype="bfloat16")),
        path(Prompt("\x00/../\ud800")),
    ]
    assert len(set(others)) == len(others)
    assert all(p.parent == home / "studies" for p in others)


def test_what_a_sweep_cost_is_kept(study: Study) -> None:
    assert not study.last_sweep
    assert study.seen_rate is None
    study.log_sweep(ledger.SweepSummary(drawn=4, reused=0, rows=10, tokens=24, seconds=2.0))
    study.log_sweep(ledger.SweepSummary(drawn=0, reused=4, rows=0, tokens=0, seconds=0.1))
    assert study.seen_rate == 12
    assert study.last_sweep == ledger.SweepSummary(0, 4, 0, 0, 0.1)
    assert study.last_sweep.shared is None
    # 4 texts of 6 tokens need 20 rows alone: 10 of them were saved.
    assert ledger.SweepSummary(4, 0, 10, 24, 2.0).shared == 0.5


@pytest.mark.slow
def test_a_hundred_thousand_completions_are_read_in_seconds(study: Study) -> None:
    prompts = [f"prompt {i}" for i in range(16)]
    laws = [SamplingParams(temperature=i / 10) for i in range(1, 26)]
    requests = [ask(p, s, d) for p in prompts for s in laws for d in range(250)]
    ids, logprobs = tuple(range(64)), tuple(-i / 7 for i in range(64))
    study.expect(requests)
    with study._db.transaction():
        for request in requests:
            study.add(Completion(request, "some text " * 30, ids, logprobs, "length"))

    def seconds(act: Callable[[], object]) -> float:
        start = time.perf_counter()
        act()
        return time.perf_counter() - start

    took = {
        "read": seconds(lambda: sum(1 for _ in study.completions())),
        "read without log-probabilities": seconds(lambda: sum(1 for _ in study.completions(with_logprobs=False))),
        "missing": seconds(lambda: study.missing(requests)),
        "trials": seconds(study.trials),
    }
    print(took)
    assert study.count() == 100_000
    assert took["read"] < 10
    assert took["missing"] < 5
    assert took["trials"] < 1
