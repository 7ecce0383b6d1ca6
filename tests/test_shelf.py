"""Dials in a study: kept exactly, never overlapping, older files brought up to date."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import poise
from poise import schema
from poise.engines.fake import FakeEngine
from poise.errors import StudyError
from poise.params import SamplingParams
from poise.pieces import Found, with_value
from poise.records import Completion, Prompt, Request
from poise.spans import Cut, Span, closed
from poise.study import Study

ENGINE = FakeEngine()
REQUEST = Request(Prompt("a ship"), ENGINE.encode(Prompt("a ship")), SamplingParams(top_p=0.9), 2**70, 1, 8, 0, ("x",))


def found(low: Cut, high: Cut, *ids: int) -> Found:
    params = with_value(REQUEST.params, "temperature", Span(low, high).middle)
    asked = Request(REQUEST.prompt, REQUEST.prompt_ids, params, 2**70, 1, 8, 0, ("x",))
    done = Completion(asked, f"\ud800 {ids}", ids, tuple(-0.1 * i for i in ids), "length", "hm")
    return Found(Span(low, high), done, ids, (0,))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    opened = Study.open(tmp_path / "s.db")
    opened.bind(ENGINE.fingerprint)
    opened.expect_dial(REQUEST, "temperature", 0, 1)
    return opened


def test_a_piece_comes_back_to_the_bit(study: Study) -> None:
    pieces = [
        found(Cut(0.0), Cut(0.1 + 0.2, after=True), 1, 2),
        found(Cut(0.1 + 0.2, after=True), Cut(1.0, after=True), 1, 3),
    ]
    for piece in reversed(pieces):
        study.add_piece(REQUEST, "temperature", piece)
    assert study.pieces(REQUEST, "temperature") == pieces
    [dial] = study.dials()
    assert (dial.request, [p.span for p in dial.pieces]) == (REQUEST, [p.span for p in pieces])
    assert study.dials(parameter="top_k") == study.dials(use_case="other") == []


def test_what_overlaps_is_left_out_and_what_is_missing_is_unknown(study: Study) -> None:
    study.add_piece(REQUEST, "temperature", found(Cut(0.2), Cut(0.4), 1))
    study.add_piece(REQUEST, "temperature", found(Cut(0.2), Cut(0.4), 1))
    study.add_piece(REQUEST, "temperature", found(Cut(0.3), Cut(0.5), 2))
    study.add_piece(REQUEST, "temperature", found(Cut(0.4), Cut(0.5), 3))
    [dial] = study.dials()
    assert [(p.low, p.high, p.known) for p in dial.pieces] == [
        (0, 0.2, False), (0.2, 0.4, True), (0.4, 0.5, True), (0.5, 1, False)
    ]  # fmt: skip
    study.expect_dial(REQUEST, "temperature", 0.3, 0.45)
    [dial] = study.dials()
    assert [(p.low, p.high) for p in dial.pieces] == [(0.3, 0.4), (0.4, 0.45)]


def test_dials_change_nothing_that_sweeps_see(study: Study) -> None:
    study.add_piece(REQUEST, "temperature", found(Cut(0.0), Cut(1.0, after=True), 1))
    assert (study.use_cases(), study.trials(), study.count(), study.caveats()) == ([], [], 0, [])


def test_forks_are_kept_once_for_all_draws(study: Study) -> None:
    for _ in range(2):
        study.add_fork(REQUEST, "temperature", (1, 2), closed(0, 1), "[1]")
    other = Request(REQUEST.prompt, REQUEST.prompt_ids, REQUEST.params, 2**70, 7, 8, 0, ("x",))
    assert study.forks(other, "temperature") == [((1, 2), closed(0, 1), "[1]")]


def test_a_study_is_bound_and_a_dial_expected_before_it_is_written(tmp_path: Path, study: Study) -> None:
    with Study.open(tmp_path / "new.db") as unbound, pytest.raises(StudyError, match="bound to an engine"):
        unbound.expect_dial(REQUEST, "temperature", 0, 1)
    with pytest.raises(StudyError, match="expected before its pieces"):
        study.add_piece(REQUEST, "top_k", found(Cut(1.0), Cut(2.0), 1))


def test_a_study_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    """Read-only it has no dials; opened for writing it gets their tables, and keeps its texts."""
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as old:
        for statement in schema.STATEMENTS:
            old.execute(statement)
        old.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
    old.close()
    with Study.open(path, read_only=True) as reading:
        assert reading.dials() == []
    poise.sweep(ENGINE, "a ship", poise.grid(temperature=0.5), study=path, baselines=False, max_tokens=4).close()
    poise.dial(ENGINE, "a ship", "temperature", 0, 1, study=path, max_tokens=4)
    with Study.open(path, read_only=True) as reading:
        assert (reading.count(), len(reading.dials())) == (1, 1)
