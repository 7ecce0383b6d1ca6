"""What a dial counts, keeps and refuses at its edges: whole numbers, resolutions, odd numbers, logits that are none."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import poise
from poise.engines.fake import FakeEngine
from poise.errors import EngineError, UsageError
from poise.params import SamplingParams
from poise.pieces import Dial, Found, beside, common_length, tile
from poise.spans import Cut, Span, closed
from test_curves import FREE, LOOP, made


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return tmp_path / "dials.db"


def whole(dial: Dial, *known: bool) -> Dial:
    """A dial of top_k over 1, 2, 3 with a piece for each, of NLL k; some are not known."""
    found = []
    for k, there in enumerate(known, 1):
        [piece] = made([(0, 1, (k,) * 20)]).pieces
        assert piece.completion is not None
        said = poise.Completion(piece.completion.request, "", (k,) * 20, (-float(k),) * 20, "length")
        found.append(Found(Span(Cut(float(k)), Cut(float(min(k + 1, 3)), k == 3)), said if there else None, (k,) * 20))
    return Dial(dial.request, "top_k", 1.0, 3.0, tile(found))


def test_each_whole_number_weighs_the_same(engine: FakeEngine) -> None:
    """NLL 1, 2, 3 at k = 1, 2, 3: mean 2; with k = 3 unknown, two of three are known, mean 1.5."""
    dial = made([(0, 1, FREE)])
    assert poise.curve([whole(dial, True, True, True)], "nll").overall.mean == pytest.approx(2.0)
    partly = whole(dial, True, True, False)
    assert partly.exact_share == pytest.approx(2 / 3)
    found = poise.curve([partly], "nll")
    assert (found.known_share, found.overall.mean) == (pytest.approx(2 / 3), pytest.approx(1.5))


def test_a_resolution_gives_up_no_proof_and_never_greedy(engine: FakeEngine, study: Path) -> None:
    """Whatever winners were proved stays known, however narrow; at temperature 0 there is a text at any resolution."""
    ahead = SamplingParams(typical_p=0.9)
    halved = poise.dial(engine, "hi", "temperature", 0, 1.5, params=ahead, resolution=0.05, max_tokens=8, study=study)
    assert halved.at(0).text
    assert min(p.span.width for p in halved.pieces if p.known) < 0.05
    coarse = poise.dial(engine, "hi", "temperature", 0, 1, resolution=0.3, max_tokens=8, study=study)
    assert coarse.at(0).text
    assert all(p.span.width == 0 or p.span.width >= 0.3 for p in coarse.pieces if p.known)


def test_a_parent_is_the_first_that_shares_most(engine: FakeEngine, study: Path) -> None:
    """In dials that know their range in part as well: 8 draws, halved down to 0.02."""
    ahead = SamplingParams(typical_p=0.9)
    dials = poise.dial(
        engine, "Once upon a time", "temperature", 0, 1.5, params=ahead, resolution=0.02, max_tokens=16, draws=8,
        study=study,
    )  # fmt: skip
    for d in dials:
        for i, piece in enumerate(d.pieces[1:], 1):
            shared = [common_length(piece.prefix, other.prefix) for other in d.pieces[:i]]
            assert piece.departs == max(shared)
            assert piece.parent == shared.index(max(shared))


def test_a_forecast_is_of_what_is_missing_and_never_of_more_than_there_is(engine: FakeEngine, study: Path) -> None:
    whole_range = poise.plan_dial(engine, "a ship", "temperature", 0, 1.5, max_tokens=16, study=study)
    poise.dial(engine, "a ship", "temperature", 0, 1.0, max_tokens=16, study=study)
    rest = poise.plan_dial(engine, "a ship", "temperature", 0, 1.5, max_tokens=16, study=study)
    assert rest.held == pytest.approx(2 / 3)
    assert rest.expected is not None
    assert whole_range.expected is not None
    assert rest.expected.rows < whole_range.expected.rows
    done = poise.dial(engine, "a ship", "temperature", 0, 1.5, max_tokens=16, study=study)
    assert done.cost.expected_rows == rest.expected.rows
    again = poise.plan_dial(engine, "a ship", "temperature", 0, 1.5, max_tokens=16, study=study)
    assert again.expected is not None
    assert (again.held, again.expected.rows) == (1.0, 0.0)
    few = poise.plan_dial(engine, "a ship", "top_k", 1, math.inf, max_tokens=60, study=study).expected
    assert few is not None
    assert few.pieces <= engine.vocab_size


def test_numbers_of_other_kinds_are_numbers(engine: FakeEngine, study: Path) -> None:
    dial = poise.dial(
        engine, "a ship", "top_k", 1, np.int64(5), max_tokens=6, max_rows=np.int64(100), study=study
    ).only  # fmt: skip
    assert dial.at(np.int64(2)) == dial.at(2.0) == dial.at(2)
    assert np.int64(2) in dial.piece_at(2)
    warm = poise.dial(engine, "a ship", "temperature", 0, 1, max_tokens=6, study=study).only
    assert warm.at(np.float32(0.5)) == warm.at(0.5)


def test_settings_beside_the_moving_one() -> None:
    """The temperature is not 1 while it moves."""
    assert beside("temperature", SamplingParams()) == ""
    assert beside("temperature", SamplingParams(top_p=0.9)) == "top_p=0.9"
    assert beside("top_p", SamplingParams(temperature=0.7)) == "temperature=0.7"


def test_logits_that_are_no_numbers_are_told(study: Path) -> None:
    with pytest.raises(EngineError, match="must be numbers"):
        poise.dial(poise.load("fake:nan"), "hello", "temperature", 0, 1, study=study)


def test_barred_and_cut_tokens_raise_no_warning(study: Path) -> None:
    """A model that gives a token no chance at all, -inf; warnings are errors in these tests."""
    row = np.array([-np.inf, 3.0, 2.9, *[-np.inf] * 9])
    dial = poise.dial(FakeEngine(bigram=lambda token: row), "a", "temperature", 0, 1, max_tokens=8, study=study).only
    assert dial.exact_share == 1.0


DIAL = made([(0, 0.3, LOOP), (0.3, 1, FREE)])
OTHER = dataclasses.replace(DIAL, request=dataclasses.replace(DIAL.request, draw=2, max_tokens=30))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: DIAL.at(float("nan")), "read at a number in.*For example 0"),
        (lambda: DIAL.at("x"), "read at a number in"),
        (lambda: DIAL.at(True), "read at a number in"),
        (lambda: DIAL.at(2), "Dial a wider range"),
        (lambda: whole(DIAL, True, True, True).at(2.5), "a whole number.*but got 2.5. Take 2 or 3"),
        (lambda: poise.curve([DIAL], "nll").at(None), "read at a number in"),
        (lambda: poise.curve([DIAL], "nll").at(1.5), "Dial a wider range"),
        (lambda: poise.curve([DIAL], "nll").stays_below(float("nan")), "A level is a number"),
        (lambda: poise.curve([DIAL], "nll").stays_below("x"), "A level is a number"),
        (lambda: poise.curve([DIAL], "nll").outside(3, 1), "goes from low to high.*Swap them"),
        (lambda: poise.curve(DIAL, "nll"), r"A curve averages dials.*\[dial\]"),
        (lambda: poise.curve([DIAL, DIAL], "nll"), "counts once"),
        (lambda: poise.curve([DIAL, OTHER], "nll"), "the same other settings and limits.*max_tokens=30"),
    ],
)
def test_what_cannot_be_read_or_averaged_is_told(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        call()


def test_a_single_value_and_a_whole_range_have_an_extent() -> None:
    assert closed(1, 3).extent(whole=True) == 3
    assert Span(Cut(1.0, after=True), Cut(3.0)).extent(whole=True) == 1
    assert closed(0.0, 1.5).extent(whole=False) == 1.5
