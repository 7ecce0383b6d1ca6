"""Dials in a study: resumed, widened, shared by use cases, written by several at once, killed."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import poise
from poise.engines.fake import FakeEngine
from poise.errors import StudyError
from poise.params import PARAMETERS, SamplingParams
from poise.pieces import Dial, Found, Piece
from poise.records import Completion, Prompt, Request
from poise.spans import Cut, Span, closed
from poise.study import Study
from toy_study import ANY_TEXT, HIGH, LOW, MODEL, answer, ask

FREE = SamplingParams()
ASKED = ask(params=FREE)  # "hi", draw 0, at most 4 tokens
FRESH = itertools.count()  # a draw for each example


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISE_HOME", str(tmp_path / "home"))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return bound(tmp_path / "s.db")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


def bound(path: Path) -> Study:
    opened = Study.open(path)
    opened.bind(MODEL)
    return opened


def piece(span: Span, text: str = "and on", request: Request = ASKED) -> Found:
    ids = tuple(map(ord, text))
    done = dataclasses.replace(answer(request, text), token_ids=ids, logprobs=(-0.5,) * len(ids))
    return Found(span, done, done.token_ids, (1,))


def between(low: float, high: float) -> Span:
    """From `low` up to `high`, which is left out."""
    return Span(Cut(low), Cut(high))


def value_of(p: Piece | Found, parameter: str = "temperature") -> float:
    """The value that a piece's request holds."""
    assert p.completion is not None
    on, off = getattr(p.completion.request.params, parameter), PARAMETERS[parameter].neutral
    return float(off if on is None and off is not None else on)


def without_values(dial: Dial) -> Dial:
    """All of a dial but which value of a piece stands in its request."""
    done = [p.completion and dataclasses.replace(p.completion, request=dial.request) for p in dial.pieces]
    pieces = [dataclasses.replace(p, completion=c) for p, c in zip(dial.pieces, done, strict=True)]
    return dataclasses.replace(dial, pieces=tuple(pieces))


def texts(dial: Dial) -> list[tuple[Span, str | None]]:
    return [(p.span, p.text) for p in dial.pieces]


# What is kept comes back


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    ends=st.lists(st.just(0.0) | st.floats(1e-20, 100), min_size=2, max_size=2, unique=True).map(sorted),
    after=st.tuples(st.booleans(), st.booleans()),
    text=ANY_TEXT,
    chances=st.lists(st.floats(allow_nan=False), max_size=4),
)
def test_cuts_texts_and_log_probabilities_come_back_to_the_bit(
    study: Study, ends: list[float], after: tuple[bool, bool], text: str, chances: list[float]
) -> None:
    request = dataclasses.replace(ASKED, draw=next(FRESH), seed=-(2**70), stop=("\ud800",))
    span = Span(Cut(ends[0], after[0]), Cut(ends[1], after[1]))
    ids = tuple(range(len(chances)))
    found = Found(span, Completion(request, text, ids, tuple(chances), "stop", text), ids, (0, 7))
    study.expect_dial(request, "temperature", *ends)
    study.add_piece(request, "temperature", found)
    [back] = study.pieces(request, "temperature")
    assert (back.span, back.prefix, back.doubtful) == (span, ids, (0, 7))
    assert back.completion is not None
    done = back.completion
    assert (done.text, done.thinking, done.token_ids, done.logprobs) == (text, text, ids, tuple(chances))
    assert dataclasses.replace(done.request, params=FREE) == request
    assert span.holds(value_of(back)) or math.nextafter(ends[0], 200) == ends[1]  # no float lies in between


@pytest.mark.parametrize(("parameter", "low", "high"), [("temperature", 0, 1.5), ("top_k", 1, 12), ("top_p", 0, 1)])
def test_the_study_reads_back_the_dial_that_was_found(
    engine: FakeEngine, tmp_path: Path, parameter: str, low: float, high: float
) -> None:
    found = poise.dial(engine, "a ship", parameter, low, high, draws=3, max_tokens=20, study=tmp_path / "d.db")
    with Study.open(tmp_path / "d.db", read_only=True) as study:
        kept = study.dials()
    assert [without_values(d) for d in kept] == [without_values(d) for d in found]
    assert all(p.span.holds(value_of(p, parameter)) for d in kept for p in d.pieces)
    assert sum(len(d.pieces) for d in found) > 6


def test_the_dialled_parameter_and_the_range_are_no_part_of_what_a_dial_is(study: Study) -> None:
    study.expect_dial(ASKED, "temperature", 0, 1)
    study.add_piece(ASKED, "temperature", piece(between(0, 0.5)))
    study.expect_dial(ASKED, "temperature", 0, 2)
    assert [(d.low, d.high, d.exact_share) for d in study.dials()] == [(0, 2, 0.25)]
    others = {
        "draw": 1, "seed": 5, "max_tokens": 5, "min_tokens": 1, "stop": ("x",), "prompt_ids": (1,), "params": HIGH,
    }  # fmt: skip
    for name, other in others.items():
        changed = dataclasses.replace(ASKED, **{name: other})  # type: ignore[arg-type]
        assert study.pieces(changed, "temperature") == [], name
    assert study.pieces(ASKED, "top_p") == []
    assert len(study.pieces(dataclasses.replace(ASKED, prompt=Prompt("shown otherwise")), "temperature")) == 1


def test_a_piece_that_is_cut_holds_a_value_of_what_is_left(study: Study) -> None:
    study.expect_dial(ASKED, "temperature", 0.5, 0.75)
    study.add_piece(ASKED, "temperature", piece(closed(0, 1.5)))
    [dial] = study.dials()
    assert [(str(p.span), value_of(p)) for p in dial.pieces] == [("[0.5, 0.75]", 0.625)]
    [cut] = study.pieces(ASKED, "temperature", closed(0.25, 0.25))
    assert (cut.span, value_of(cut)) == (closed(0.25, 0.25), 0.25)
    tight = Span(Cut(1.0, after=True), Cut(math.nextafter(1, 2), after=True))  # half-way rounds to 1, left out
    [last] = study.pieces(ASKED, "temperature", tight)
    assert value_of(last) == math.nextafter(1, 2)
    assert study.pieces(ASKED, "temperature", closed(2, 3)) == []


def test_whole_numbers_are_cut_where_they_stand(study: Study) -> None:
    """4 and 5 have one text: kept up to 6, so that a wider range goes on at 6 and not beside 5."""
    study.expect_dial(ASKED, "top_k", 1, 5)
    study.add_piece(ASKED, "top_k", piece(between(1, 4), "few"))
    study.add_piece(ASKED, "top_k", piece(Span(Cut(4.0), Cut(5.0, after=True)), "more"))
    study.add_piece(ASKED, "top_k", piece(Span(Cut(5.0, after=True), Cut(5.9)), "no whole number"))
    assert [(str(f.span), value_of(f, "top_k")) for f in study.pieces(ASKED, "top_k")] == [("[1, 4)", 2), ("[4, 6)", 5)]
    assert [str(p.span) for p in study.dials()[0].pieces] == ["[1, 4)", "[4, 5]"]
    study.expect_dial(ASKED, "top_k", 1, 9)
    assert [(str(p.span), p.known) for p in study.dials()[0].pieces][2:] == [("[6, 9]", False)]


# Who asked


def test_two_use_cases_share_the_pieces_and_each_reads_its_own_dial(study: Study) -> None:
    story, sums = Prompt("hi", use_case="story"), Prompt("hi", answers=("4",), use_case="sums")
    for prompt, high in ((story, 1), (sums, 0.5)):
        study.expect_dial(dataclasses.replace(ASKED, prompt=prompt), "temperature", 0, high)
    study.add_piece(ASKED, "temperature", piece(between(0, 1)))
    [one], [two] = study.dials(use_case="story"), study.dials("sums", "temperature")
    assert ((one.prompt, one.high), (two.prompt, two.high)) == ((story, 1), (sums, 0.5))
    assert [d.exact_share for d in (one, two)] == [1.0, 1.0]
    assert study.dials(use_case="none") == []


def test_the_newest_range_and_answers_count_and_asking_again_writes_nothing(study: Study) -> None:
    better = dataclasses.replace(ASKED, prompt=Prompt("hi", answers=("4",)))
    for request, high in ((ASKED, 1), (ASKED, 2), (better, 2), (better, 0.5), (better, 0.5)):
        study.expect_dial(request, "temperature", 0, high)
    assert study._db.rows("SELECT COUNT(*) FROM asked_dials") == [(4,)]
    assert [(d.prompt.answers, d.high) for d in study.dials()] == [(("4",), 0.5)]


def test_dials_are_ordered_by_use_case_prompt_parameter_settings_seed_and_draw(study: Study) -> None:
    cases = [Prompt("b", use_case="z"), Prompt("a", use_case="z"), Prompt("c", use_case="y")]
    wanted = [
        ask(prompt, params, draw, seed=seed)
        for prompt in cases
        for params in (FREE, SamplingParams(top_k=5))
        for seed in (0, 3)
        for draw in (0, 1, 2)
    ]
    for draw in (2, 0, 1):  # asked draw by draw
        for request in wanted:
            if request.draw == draw:
                study.expect_dial(request, "temperature", 0, 1)
    study.expect_dial(ask(cases[0], FREE), "top_p", 0, 1)
    found = [d.request for d in study.dials(parameter="temperature")]
    assert [(r.prompt, r.seed, r.draw) for r in found] == [(r.prompt, r.seed, r.draw) for r in wanted]
    assert {r.params.top_k for r in found[:6]} != {r.params.top_k for r in found[6:12]}
    assert [d.parameter for d in study.dials()][11:14] == ["temperature", "top_p", "temperature"]


def test_readers_of_completions_see_nothing_of_dials(study: Study, tmp_path: Path) -> None:
    study.expect_dial(ASKED, "temperature", 0, 1)
    study.add_piece(ASKED, "temperature", piece(closed(0, 1)))
    assert "no completions" in str(poise.measure(study))
    with pytest.raises(StudyError):
        poise.report(study, tmp_path / "r.html")
    study.add(answer(ask(params=LOW)))
    assert (study.use_cases(), study.count(), len(study.trials()), study.caveats()) == (["prompt"], 1, 1, [])
    assert [c.text for c in study.completions(everything=True)] == ["and on"]
    assert len(study.dials()) == 1


# Resuming


def test_a_wider_range_costs_what_is_new_and_equals_the_whole_dialled_at_once(
    engine: FakeEngine, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"draws": 2, "max_tokens": 16}
    whole = poise.dial(engine, "a ship", "temperature", 0, 1.5, study=tmp_path / "whole.db", **how)
    steps = [poise.dial(engine, "a ship", "temperature", 0.3, high, study=tmp_path / "s.db", **how) for high in (1, 1)]
    last = poise.dial(engine, "a ship", "temperature", 0, 1.5, study=tmp_path / "s.db", **how)
    assert (steps[1].cost.rows, list(steps[1])) == (0, list(steps[0]))
    assert 0 < last.cost.rows < whole.cost.rows
    assert [texts(d) for d in last] == [texts(d) for d in whole]
    with Study.open(tmp_path / "s.db", read_only=True) as study:
        assert [texts(d) for d in study.dials()] == [texts(d) for d in whole]


def test_a_wider_range_of_whole_numbers_leaves_no_piece_without_one(engine: FakeEngine, tmp_path: Path) -> None:
    for high in (3, 4, 5, 6, 12):
        dials = poise.dial(engine, "a ship", "top_k", 1, high, draws=3, max_tokens=20, study=tmp_path / "s.db")
        for p in (p for d in dials for p in d.pieces):
            assert any(p.span.holds(k) for k in range(1, high + 1)), p.span
            assert p.span.holds(value_of(p, "top_k"))
    whole = poise.dial(engine, "a ship", "top_k", 1, 12, draws=3, max_tokens=20, study=tmp_path / "whole.db")
    assert [texts(d) for d in dials] == [texts(d) for d in whole]


def test_a_study_without_an_engine_has_no_pieces_and_can_be_planned_into(engine: FakeEngine, tmp_path: Path) -> None:
    with Study.open(tmp_path / "new.db") as new:
        assert (new.pieces(ASKED, "temperature"), new.forks(ASKED, "temperature"), new.dials()) == ([], [], [])
        assert poise.plan_dial(engine, "a ship", "temperature", 0, 1, study=new, max_tokens=4).held == 0


# What overlaps


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=12))
def test_any_stretches_in_any_order_tile_what_they_cover_and_the_first_one_stays(
    study: Study, ends: list[tuple[int, int]]
) -> None:
    request = dataclasses.replace(ASKED, draw=next(FRESH))
    study.expect_dial(request, "temperature", 0, 12)
    owner: dict[int, str] = {}
    for number, (low, high) in enumerate(ends):
        study.add_piece(request, "temperature", piece(between(low, high), str(number), request))
        for unit in range(low, high):
            owner.setdefault(unit, str(number))
    found = study.pieces(request, "temperature")
    assert all(a.span.high <= b.span.low for a, b in itertools.pairwise(found))
    held = {
        unit: f.completion.text
        for f in found
        if f.completion
        for unit in range(int(f.span.low.value), int(f.span.high.value))
    }
    assert held == owner


def test_a_point_and_the_stretch_above_it_are_neighbours(study: Study) -> None:
    """0 alone is closed on both sides; what follows begins after it."""
    study.expect_dial(ASKED, "temperature", 0, 1)
    study.add_piece(ASKED, "temperature", piece(Span(Cut(0.0, after=True), Cut(1.0, after=True)), "noise"))
    study.add_piece(ASKED, "temperature", piece(closed(0, 0), "greedy"))
    assert texts(study.dials()[0]) == [(closed(0, 0), "greedy"), (Span(Cut(0.0, True), Cut(1.0, True)), "noise")]
    assert value_of(study.dials()[0].pieces[0]) == 0


def test_a_piece_among_thousands_is_found_by_the_index(study: Study) -> None:
    """About 0.1 ms each, whatever is there; looking through all of them took 1.5 ms at 20,000."""
    study.expect_dial(ASKED, "temperature", 0, 4000)
    for i in range(4000):
        study.add_piece(ASKED, "temperature", piece(between(i * 7 % 4000, i * 7 % 4000 + 1), str(i)))
    assert len(study.pieces(ASKED, "temperature")) == 4000
    plan = study._db.rows(
        "EXPLAIN QUERY PLAN SELECT high FROM pieces WHERE dial = 1 AND (low, low_after) < (1, 0)"
        " ORDER BY low DESC, low_after DESC LIMIT 1"
    )
    assert len(plan) == 1
    assert "USING INDEX pieces_by_dial" in plan[0][-1]
