"""Dials: the texts of plain drawing, at every value."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import poise
from poise.engines.fake import FakeEngine
from poise.errors import ParameterError, PoiseError, UsageError
from poise.params import SamplingParams
from poise.pieces import Dials, with_value
from poise.records import Completion
from poise.sessions import Tally
from poise.spans import Cut, Span, closed, gaps

RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 1.5), "top_k": (1, math.inf), "top_p": (0, 1), "min_p": (0, 1), "typical_p": (0.05, 1),
    "repetition_penalty": (0.7, 2.5), "frequency_penalty": (-1, 2), "presence_penalty": (-1, 2),
}  # fmt: skip


def plain(engine: Any, dials: Dials, values: list[tuple[int, float]]) -> list[Completion]:
    """What `generate` draws for (index of the dial, value) pairs."""
    asked = []
    for i, value in values:
        request = dials[i].request
        whole = int(value) if dials[i].parameter == "top_k" else value
        asked.append(dataclasses.replace(request, params=with_value(request.params, dials[i].parameter, whole)))
    found = {c.request: c for c in engine.generate(asked)}
    return [found[request] for request in asked]


def same(a: Completion, b: Completion) -> bool:
    """Equal to the bit in what a draw decides."""
    return (a.token_ids, a.logprobs, a.text, a.finish_reason) == (b.token_ids, b.logprobs, b.text, b.finish_reason)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return tmp_path / "s.db"


@pytest.mark.parametrize("parameter", RANGES)
def test_every_value_gives_what_generate_draws(engine: FakeEngine, study: Path, parameter: str) -> None:
    """Fake engine: 3 draws of 2 prompts, 12 tokens, 20 values each, both ends among them."""
    fixed = SamplingParams() if parameter == "temperature" else SamplingParams(temperature=0.9)
    low, high = RANGES[parameter]
    dials = poise.dial(
        engine, ["a ship", "the star"], parameter, low, high, params=fixed, draws=3, max_tokens=12, study=study
    )
    rng = np.random.default_rng(1)
    whole = parameter == "top_k"
    values = [
        (i, float(v))
        for i, d in enumerate(dials)
        for v in [d.low, d.high, *(rng.integers(1, 13, 18) if whole else rng.uniform(d.low, d.high, 18))]
    ]
    assert all(same(c, dials[i].at(v)) for c, (i, v) in zip(plain(engine, dials, values), values, strict=True))
    for d in dials:
        assert d.pieces[0].span.low == Cut(d.low)
        assert d.pieces[-1].span.high == Cut(d.high, after=True)
        assert all(a.span.high == b.span.low for a, b in zip(d.pieces, d.pieces[1:], strict=False))
        assert d.exact_share == 1.0
        assert len(d.breakpoints) == len(d.pieces) - 1


@pytest.mark.parametrize(("parameter", "beside"), [
    *((name, {}) for name in RANGES), ("top_p", {"temperature": 0.9}),
    *(("temperature", cut) for cut in ({"top_k": 4}, {"top_p": 0.8}, {"min_p": 0.1})),
], ids=str)  # fmt: skip
def test_every_piece_has_a_value_and_every_end_is_on_its_side(parameter: str, beside: dict, study: Path) -> None:
    """A model of few words meets the same logits again and again: a cut a float off would make pieces of one float.

    Drawn at every float of the narrow pieces, and at every end: not one differs.
    """
    engine = FakeEngine(seed=1)
    dials = poise.dial(
        engine, "Once upon a time", parameter, *RANGES[parameter], params=SamplingParams(**beside), draws=3,
        max_tokens=20, study=study,
    )  # fmt: skip
    values = []
    for i, d in enumerate(dials):
        for piece in d.pieces:
            if parameter == "top_k" or piece.high - piece.low > 64 * np.spacing(piece.high):
                values.append((i, piece.low))
                values.append((i, piece.high if piece.high_closed else piece.low))
                continue
            inside = [v for v in _floats(piece.low, piece.high) if v in piece]
            assert inside, piece.span
            values += [(i, v) for v in inside]
    assert all(same(c, dials[i].at(v)) for c, (i, v) in zip(plain(engine, dials, values), values, strict=True))


def _floats(low: float, high: float) -> list[float]:
    found = [low]
    while found[-1] < high:
        found.append(math.nextafter(found[-1], math.inf))
    return found


def test_a_piece_departs_from_its_parent_where_it_says(engine: FakeEngine, study: Path) -> None:
    dial = poise.dial(engine, "a ship", "temperature", 0, 1.5, max_tokens=20, study=study).only
    assert (dial.pieces[0].parent, dial.pieces[0].departs) == (None, 0)
    for i, piece in enumerate(dial.pieces[1:], 1):
        assert piece.parent is not None
        assert piece.parent < i
        mother = dial.pieces[piece.parent]
        assert piece.prefix[: piece.departs] == mother.prefix[: piece.departs]
        assert piece.prefix[piece.departs] != mother.prefix[piece.departs]


def test_zero_is_a_piece_of_its_own_where_noise_breaks_a_tie(study: Path) -> None:
    """Tokens 1 and 2 tie at the top: 0 takes the lower id, every value above takes the one with the louder noise."""
    logits = np.full(12, -9.0)
    logits[1:3] = 4.0
    engine = FakeEngine(bigram=lambda token: logits)
    firsts = []
    for draw in range(8):
        dial = poise.dial(engine, "a", "temperature", 0, 0.5, draws=draw + 1, max_tokens=1, study=study)[draw]
        assert dial.at(0).token_ids == (1,)
        louder = dial.at(0.01).token_ids
        assert [p.token_ids for p in (dial.at(1e-7), dial.at(0.3))] == [louder, louder]
        assert (dial.pieces[0].high == 0) == (louder == (2,))
        firsts.append(louder)
    assert {(1,), (2,)} == {*firsts}


def test_generate_hands_over_what_a_dial_and_a_sweep_draw(engine: FakeEngine, study: Path) -> None:
    """Two prompts, three draws: by prompt, then draw."""
    asked = ["a ship", "the star"]
    dials = poise.dial(engine, asked, "temperature", 0, 1.5, draws=3, max_tokens=10, study=study)
    drawn = poise.generate(engine, asked, SamplingParams(temperature=0.7), draws=3, max_tokens=10)
    assert all(same(c, d.at(0.7)) for c, d in zip(drawn, dials, strict=True))
    swept = poise.sweep(engine, asked, SamplingParams(temperature=0.7), draws=3, max_tokens=10, study=study)
    assert {c.request: c for c in swept.completions(params=SamplingParams(temperature=0.7))} == {
        c.request: c for c in drawn
    }
    with pytest.raises(UsageError, match=r"poise.load"):
        poise.generate("smollm2", "a ship")  # type: ignore[arg-type]


def test_off_and_zero_belong_to_the_range(engine: FakeEngine, study: Path) -> None:
    dial = poise.dial(engine, "a ship", "top_p", 0, 1, max_tokens=12, study=study).only
    free = next(iter(engine.generate([dataclasses.replace(dial.request, params=SamplingParams())])))
    assert same(dial.at(1.0), free)
    whole = poise.dial(engine, "a ship", "top_k", 1, math.inf, max_tokens=12, study=study).only
    assert whole.high == engine.vocab_size
    assert same(whole.at(whole.high), free)


def test_ends_and_stop_strings_end_pieces_at_their_own_lengths(study: Path) -> None:
    engine = FakeEngine(seed=3)
    dial = poise.dial(engine, "a ship", "temperature", 0, 3, max_tokens=30, stop=["star"], study=study, draws=4)
    reasons = {p.completion.finish_reason for d in dial for p in d.pieces if p.completion}
    assert reasons == {"eos", "stop", "length"}
    assert all("star" not in p.text for d in dial for p in d.pieces if p.text is not None)


def test_a_dial_is_kept_and_a_wider_one_finds_out_only_the_rest(
    engine: FakeEngine, study: Path, tmp_path: Path
) -> None:
    asked = {"draws": 2, "max_tokens": 20}
    first = poise.dial(engine, "a ship", "temperature", 0, 0.8, study=study, **asked)
    again = poise.dial(engine, "a ship", "temperature", 0, 0.8, study=study, **asked)
    assert (again.cost.rows, [d.pieces for d in again]) == (0, [d.pieces for d in first])
    wider = poise.dial(engine, "a ship", "temperature", 0, 1.5, study=study, **asked)
    fresh = poise.dial(engine, "a ship", "temperature", 0, 1.5, study=tmp_path / "other.db", **asked)
    assert wider.cost.rows < fresh.cost.rows
    assert [[(p.span, p.prefix, p.parent) for p in d.pieces] for d in wider] == [
        [(p.span, p.prefix, p.parent) for p in d.pieces] for d in fresh
    ]
    with poise.Study.open(study) as opened:
        assert [d.pieces for d in opened.dials()] == [d.pieces for d in wider]
        assert opened.count() == 0


def test_what_was_finished_outlives_an_interruption(engine: FakeEngine, study: Path, tmp_path: Path) -> None:
    """The power goes after two thirds: the same call finds the rest, and the result is that of an undisturbed one."""
    asked: dict[str, Any] = {"draws": 3, "max_tokens": 30, "stop": ["on"]}

    def interrupt(share: float, tally: Tally) -> None:
        if share > 0.66:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        poise.dial(engine, "a ship", "temperature", 0, 1.5, study=study, progress=interrupt, **asked)
    with poise.Study.open(study) as opened:
        kept = sum(p.known for d in opened.dials() for p in d.pieces)
        assert kept > 0
        assert 0 < opened.dials()[0].exact_share < 1
    resumed = poise.dial(engine, "a ship", "temperature", 0, 1.5, study=study, **asked)
    whole = poise.dial(engine, "a ship", "temperature", 0, 1.5, study=tmp_path / "b.db", **asked)
    assert resumed.cost.rows < whole.cost.rows
    assert [[(p.span, p.prefix) for p in d.pieces] for d in resumed] == [
        [(p.span, p.prefix) for p in d.pieces] for d in whole
    ]


def test_a_budget_follows_the_widest_first_and_says_what_it_knows(engine: FakeEngine, tmp_path: Path) -> None:
    shares = []
    for rows in (100, 200, 400, 2000):
        dial = poise.dial(
            engine, "a ship", "temperature", 0, 1.5, max_tokens=30, max_rows=rows, study=tmp_path / f"{rows}.db"
        ).only
        shares.append(dial.exact_share)
        known = sum(p.span.width for p in dial.pieces if p.known) / 1.5
        assert dial.exact_share == pytest.approx(known)
        assert closed(0, 1.5) == Span(dial.pieces[0].span.low, dial.pieces[-1].span.high)
    assert shares == sorted(shares)
    assert 0 < shares[1] < 1
    assert shares[-1] == 1


def test_a_stretch_that_was_given_up_cannot_be_read(engine: FakeEngine, study: Path) -> None:
    dial = poise.dial(engine, "a ship", "temperature", 0, 1.5, max_tokens=30, resolution=0.05, study=study).only
    unknown = next(p for p in dial.pieces if not p.known)
    with pytest.raises(UsageError, match="pieces it finished"):
        dial.at(unknown.span.middle)
    assert unknown.text is None
    assert all(
        same(plain(engine, Dials([dial], None), [(0, p.span.middle)])[0], p.completion)
        for p in dial.pieces
        if p.completion
    )  # type: ignore[arg-type]


def test_what_is_not_monotone_is_halved_and_only_proved_stretches_count(engine: FakeEngine, study: Path) -> None:
    """Temperature ahead of typical-p: the known pieces are what `generate` draws, at 30 values."""
    dials = poise.dial(
        engine, "a ship", "temperature", 0, 1.5, params=SamplingParams(typical_p=0.8), draws=2, max_tokens=8,
        resolution=0.01, study=study,
    )  # fmt: skip
    assert 0.2 < dials.exact_share < 1
    assert all(d.piece_at(0.001).known for d in dials)  # the cold end has a proof of its own
    rng = np.random.default_rng(0)
    values = [(i, float(v)) for i in range(2) for v in rng.uniform(0, 1.5, 15) if dials[i].piece_at(float(v)).known]
    assert len(values) > 10
    assert all(same(c, dials[i].at(v)) for c, (i, v) in zip(plain(engine, dials, values), values, strict=True))


def test_the_forecast_is_what_is_found(study: Path) -> None:
    """60 draws of a memoryless model over [0.2, 1.5]: pieces and rows within a quarter of the closed form."""
    row = np.random.default_rng(1).normal(0, 1.5, 12)
    row[0] = -40.0
    engine = FakeEngine(bigram=lambda token: row)
    dials = poise.dial(engine, "a ship sailed", "temperature", 0.2, 1.5, draws=60, max_tokens=12, study=study)
    assert dials.cost.expected_pieces == pytest.approx(dials.cost.pieces, rel=0.25)
    alone = sum(len({p.prefix[:t] for p in d.pieces}) for d in dials for t in range(1, 12))
    assert dials.cost.expected_rows == pytest.approx(alone, rel=0.25)


def test_at_a_fixed_value_pieces_are_ordinary_draws(study: Path) -> None:
    """χ² of the first token over 2,000 draws at three values against the law; false alarm once in 10,000."""
    engine = FakeEngine()
    dials = poise.dial(engine, "a ship", "temperature", 0.5, 1.5, draws=2000, max_tokens=1, study=study)
    ids = engine.encode(dials[0].prompt)
    for value in (0.6, 1.0, 1.4):
        p = np.exp(engine.bigram(ids[-1]) / value)
        p /= p.sum()
        drawn = np.bincount([d.at(value).token_ids[0] for d in dials], minlength=12)
        often = p * 2000 >= 5
        seen = [*drawn[often], drawn[~often].sum()]
        expected = [*(2000 * p[often]), 2000 * p[~often].sum()]
        keep = np.array(expected) > 0
        assert stats.chisquare(np.array(seen)[keep], np.array(expected)[keep]).pvalue > 1e-4 / 3


@pytest.mark.parametrize("settings", [{"temperature": 0.8}, {"temperature": 0.9, "top_p": 0.8}, {"temperature": 0}])
def test_why_finds_the_piece_of_the_dial(engine: FakeEngine, study: Path, settings: dict[str, float]) -> None:
    """The stretch of each parameter around a text is the piece that a dial over it finds there."""
    params = SamplingParams(**settings)
    for each in poise.why(engine, "a ship", params, draws=2, max_tokens=10):
        request = each.completion.request
        assert same(next(iter(engine.generate([request]))), each.completion)
        for reach in each.reaches:
            if reach.span is None or reach.parameter == "top_k":
                continue
            low, high = (
                max(reach.span.low.value - 0.05, {"typical_p": 0.01}.get(reach.parameter, 0)),
                reach.span.high.value,
            )
            if reach.parameter in ("frequency_penalty", "presence_penalty"):
                low = max(reach.span.low.value - 0.05, -2)
            if low >= high:
                continue
            fixed = SamplingParams(**{k: v for k, v in settings.items() if k != reach.parameter})
            dials = poise.dial(
                engine, "a ship", reach.parameter, low, high, params=fixed, draws=2, max_tokens=10, study=study
            )
            piece = dials[request.draw].piece_at(min(max(reach.value, low), high))
            assert piece.completion is not None
            assert piece.completion.token_ids == each.completion.token_ids
            assert piece.low == pytest.approx(max(reach.span.low.value, low), abs=1e-9)


MISTAKES: list[tuple[Callable[[FakeEngine], object], type[PoiseError], str]] = [
    (lambda e: poise.dial(e, "a", "temperature", 1, 1), UsageError, "lower to a higher value, but got 1 to 1"),
    (lambda e: poise.dial(e, "a", "temperature", 1, 0), UsageError, r"Swap them: 0\.\.1"),
    (lambda e: poise.dial(e, "a", "temperature", -1, 1), ParameterError, r"temperature must lie in \[0, ∞\)"),
    (lambda e: poise.dial(e, "a", "top_p", 0, 1.5), ParameterError, r"top_p must lie in \[0, 1\], but got 1.5"),
    (lambda e: poise.dial(e, "a", "top_k", 1, 2.5), ParameterError, "whole number"),
    (lambda e: poise.dial(e, "a", "temperatur", 0, 1), ParameterError, "Did you mean temperature"),
    (lambda e: poise.dial(e, "a", "temperature", 0, 1, max_rows=3), UsageError, "rows for one text of 128 tokens"),
    (lambda e: poise.dial(e, "a", "temperature", 0, 1, max_texts=0), UsageError, "max_texts is a whole number"),
    (lambda e: poise.dial(e, "a", "temperature", 0, 1, resolution=2), UsageError, "between 0 and the range's width, 1"),
    (lambda e: poise.dial(e, "a", "temperature", 0, 1, resolution="x"), UsageError, "A resolution is a number"),
    (lambda e: poise.dial(e, "a", "temperature", 0, 1, drows=1), UsageError, "Did you mean draws"),
    (lambda e: poise.dial(e, " ", "temperature", 0, 1), PoiseError, "at least one token"),
    (lambda e: poise.dial("smollm2", "a", "temperature", 0, 1), UsageError, "An engine is what poise.load gives"),
    (
        lambda e: poise.dial(e, "a", "temperature", 0, 1, params=SamplingParams(temperature=1)),
        UsageError, "either dialled or fixed",
    ),
    (
        lambda e: poise.dial(e, "a", "temperature", 0, 1, params=SamplingParams(typical_p=0.5)),
        UsageError, "typical_p comes after the temperature.*--resolution",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "says"), MISTAKES, ids=[says for *_, says in MISTAKES])
def test_what_cannot_be_dialled_is_told_before_any_work(
    engine: FakeEngine, call: Callable[[FakeEngine], object], error: type[PoiseError], says: str
) -> None:
    with pytest.raises(error, match=says):
        call(engine)


def test_an_engine_that_draws_by_itself_cannot_be_dialled() -> None:
    class Server(FakeEngine):
        draws_by = "engine"  # type: ignore[assignment]

    with pytest.raises(UsageError, match="draws by itself and gives no hold on its noise"):
        poise.dial(Server(), "a", "temperature", 0, 1)
    with pytest.raises(UsageError, match="Only texts that poise draws"):
        poise.why(Server(), "a")


def test_a_parameter_that_the_engine_lacks_is_told() -> None:
    class Plain(FakeEngine):
        supports = frozenset({"temperature"})

    with pytest.raises(UsageError, match="honours temperature, but got top_p"):
        poise.dial(Plain(), "a", "top_p", 0, 1)


def test_gaps_are_what_is_not_held() -> None:
    whole = closed(0, 3)
    held = [Span(Cut(0.0), Cut(1.0)), Span(Cut(2.0, after=True), Cut(3.0, after=True))]
    assert gaps(whole, held) == [Span(Cut(1.0), Cut(2.0, after=True))]
    assert gaps(whole, [whole]) == []
