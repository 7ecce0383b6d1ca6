"""Curves: exact means along dials, and bands that hold the whole curve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import poise
from poise.bands import simultaneous
from poise.curves import human_nll
from poise.engines.fake import FakeEngine
from poise.errors import MetricError, UsageError
from poise.metrics import METRICS
from poise.metrics.context import Context
from poise.metrics.metric import CompletionMetric
from poise.pieces import Dial, Dials, Found, tile
from poise.records import Completion, Prompt, Request
from poise.spans import Cut, Span, closed

Floats = NDArray[np.float64]
AT = (np.arange(200) + 0.5) / 200  # places where a band is held against the truth


def made(parts: list[tuple[float, float, tuple[int, ...] | None]], draw: int = 0, prompt: str = "p") -> Dial:
    """A dial by hand over [0, 1]: (low, high, token ids or None) per piece; ln p of each token is -1."""
    ids = tuple(map(ord, prompt))
    request = Request(Prompt(prompt), ids, poise.SamplingParams(), 0, draw, 64)
    found = []
    for low, high, tokens in parts:
        span = Span(Cut(low), Cut(high, after=high == 1))
        done = None
        if tokens is not None:
            done = Completion(request, str(tokens), tokens, (-1.0,) * len(tokens), "length")
        found.append(Found(span, done, tokens or ()))
    return Dial(request, "temperature", 0.0, 1.0, tile(found))


LOOP, FREE = (7, 8) * 16, tuple(range(32))


def test_a_curve_is_the_mean_at_every_value() -> None:
    """Three draws stop looping at 0.2, 0.5 and 0.7: shares 1, 2/3, 1/3, 0; mean over the range 1.4 / 3."""
    dials = [made([(0, at, LOOP), (at, 1, FREE)], draw) for draw, at in enumerate((0.2, 0.5, 0.7))]
    curve = poise.curve(dials, "loop_rate")
    assert [(s.span.low.value, s.mean) for s in curve.steps] == [
        (0, 1), (0.2, pytest.approx(2 / 3)), (0.5, pytest.approx(1 / 3)), (0.7, 0)
    ]  # fmt: skip
    assert curve.overall.mean == pytest.approx(1.4 / 3)
    assert curve.stays_below(0.4)[0] == 0.5
    assert curve.at(0.6).mean == pytest.approx(1 / 3)
    assert curve.known_share == 1
    assert "8 draws of each" in curve.note
    assert all(s.low is None for s in curve.steps)
    assert [s.mean for s in poise.distinct_texts(dials).steps] == [1, 2, 1]


def test_prompts_weigh_the_same() -> None:
    """One prompt with one looping draw, another with three that do not: 1/2, not 1/4."""
    dials = [made([(0, 1, LOOP)], 0, "a"), *(made([(0, 1, FREE)], d, "b") for d in range(3))]
    assert poise.curve(dials, "loop_rate").steps[0].mean == 0.5


def test_no_value_where_a_text_is_not_known() -> None:
    dials = [made([(0, 0.5, LOOP), (0.5, 1, None)]), made([(0, 1, FREE)], 1)]
    curve = poise.curve(dials, "loop_rate")
    assert [s.mean for s in curve.steps] == [0.5, None]
    assert curve.known_share == 0.5


def test_a_band_from_eight_draws_or_eight_prompts() -> None:
    """Eight draws that stop looping at 0.1 ... 0.8: the band holds the mean and stays within 0 and 1."""
    stops = [0.1 * (i + 1) for i in range(8)]
    draws = poise.curve([made([(0, at, LOOP), (at, 1, FREE)], i) for i, at in enumerate(stops)], "loop_rate")
    prompts = poise.curve([made([(0, at, LOOP), (at, 1, FREE)], 0, f"{i}") for i, at in enumerate(stops)], "loop_rate")
    assert (draws.scope, prompts.scope) == ("prompt", "use_case")
    for curve in (draws, prompts):
        assert all(0 <= s.low <= s.mean <= s.high <= 1 for s in curve.steps)  # type: ignore[operator]
        assert curve.steps[0].low < 1, "where all agree there still is a width"  # type: ignore[operator]
        low, sure = curve.stays_below(0.5)[1:]
        assert low is not None
        assert low <= 0.5
        assert sure is None or sure >= 0.5


def test_the_mean_over_the_range_has_an_interval_from_eight_on() -> None:
    """Eight draws that stop looping at 0.1 ... 0.8 loop over 0.45 of the range on average; seven give no interval."""
    dials = [made([(0, 0.1 * (i + 1), LOOP), (0.1 * (i + 1), 1, FREE)], i) for i in range(8)]
    mean, low, high, note = poise.curve(dials, "loop_rate").overall
    assert mean == pytest.approx(0.45)
    assert low is not None
    assert high is not None
    assert 0.2 < low < 0.45 < high < 0.7
    assert not note
    few = poise.curve(dials[:7], "loop_rate").overall
    assert few.low is None
    assert "8 draws" in few.note
    assert poise.curve([made([(0, 1, None)], i) for i in range(8)], "loop_rate").overall.mean is None


def test_differences_to_a_human_text_prompt_by_prompt() -> None:
    """NLL 1 on every text: 0.25 above the one prompt's human text, 0.75 below the other's; a third has none."""
    dials = [made([(0, 1, FREE)], d, name) for name in "abc" for d in range(8)]
    reference = {dials[0].prompt: 0.75, dials[8].prompt: 1.75}
    apart = poise.curve(dials, "nll", reference=reference)
    assert (apart.metric, apart.n_prompts, apart.n_draws) == ("nll - reference", 2, 16)
    assert apart.steps[0].mean == pytest.approx(-0.25)
    with pytest.raises(UsageError, match="a human text to differ from"):
        poise.curve(dials[16:], "nll", reference=reference)


def test_a_human_text_is_scored_as_a_continuation() -> None:
    """The fake model's own words after the prompt, cut to as many tokens as the texts may have."""
    prompt = Prompt("a ship", reference="sailed on and found a star")
    request = Request(prompt, (1,), poise.SamplingParams(), 0, 0, 3)
    whole = tile([Found(closed(0, 1), None, ())])
    engine = FakeEngine()
    found = human_nll(engine, [Dial(request, "temperature", 0.0, 1.0, whole), made([(0, 1, FREE)])])
    chances = poise.score(engine, Prompt("a ship"), " sailed on and").logprobs
    assert found == {prompt: pytest.approx(-sum(chances) / 3)}


def test_where_a_curve_leaves_a_range() -> None:
    """NLL 1 everywhere, without spread, against a range around it, above it, and one that cuts the band."""
    curve = poise.curve([made([(0, 1, FREE)], i) for i in range(8)], "nll")
    assert [said for _, said in curve.outside(0.5, 1.5)] == ["inside"]
    assert [said for _, said in curve.outside(2, 3)] == ["outside"]
    assert poise.curve([made([(0, 1, FREE)])], "nll").outside(0, 2)[0][1] == "cannot tell"


def test_the_curve_of_real_dials_is_the_mean_of_their_texts(tmp_path: Path) -> None:
    """30 values of two metrics, from the dials' own texts."""
    dials = poise.dial(
        FakeEngine(), ["a ship", "the star"], "temperature", 0, 1.5, draws=3, max_tokens=20, study=tmp_path / "s.db"
    )
    context = Context.of([[p.completion for p in d.pieces if p.completion] for d in dials])
    for name in ("loop_rate", "nll"):
        curve, metric = poise.curve(dials, name), METRICS[name]
        assert isinstance(metric, CompletionMetric)
        for value in np.random.default_rng(0).uniform(0, 1.5, 30):
            each = [metric.compute(d.at(float(value)), context) for d in dials]
            assert curve.at(float(value)).mean == pytest.approx(np.mean(each))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: poise.curve([], "nll"), UsageError, "A curve needs dials"),
        (lambda: poise.curve([made([(0, 1, FREE)])], "self_bleu_4"), MetricError, "metric of single texts|one of"),
        (lambda: poise.curve([made([(0, 1, FREE)])], "no_such"), MetricError, "no_such"),
    ],
)
def test_what_has_no_curve_is_told(call: Callable[[], object], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call()


def test_a_chart_is_saved_in_every_format(tmp_path: Path) -> None:
    curve = poise.curve([made([(0, 0.1 * i + 0.1, LOOP), (0.1 * i + 0.1, 1, FREE)], i) for i in range(8)], "loop_rate")
    starts = {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF"}
    for kind, start in starts.items():
        path = tmp_path / f"curve.{kind}"
        poise.curve_chart(curve).save(path)
        assert start in path.read_bytes()[:200]
    assert "loop_rate" in str(curve)
    assert "<table" in curve._repr_html_()


# What a band is held against: families of random step functions with a known mean at every place.


def switches(rng: np.random.Generator, n: int) -> Floats:
    """Loops that stop once, at a uniform place in [0.1, 0.7]."""
    return (AT[None] < rng.uniform(0.1, 0.7, n)[:, None]).astype(float)


def rare(rng: np.random.Generator, n: int) -> Floats:
    """One in ten loops at all."""
    return switches(rng, n) * (rng.random(n) < 0.1)[:, None]


def flickers(rng: np.random.Generator, n: int) -> Floats:
    """0 or 1, drawn anew at 20 places; 1 gets rarer along the range."""
    return np.array([rng.random(21)[np.searchsorted(np.sort(rng.random(20)), AT)] < 1 - AT for _ in range(n)], float)


def steps(rng: np.random.Generator, n: int, value: Callable[[Any], Floats]) -> Floats:
    """New values at 20 places."""
    return np.array([value(rng.standard_normal(21))[np.searchsorted(np.sort(rng.random(20)), AT)] for _ in range(n)])


TRUTH = np.clip((0.7 - AT) / 0.6, 0, 1)
CASES: dict[str, tuple[Callable[[np.random.Generator, int], Floats], Floats, tuple[float | None, float | None]]] = {
    "one switch": (switches, TRUTH, (0.0, 1.0)),
    "rare": (rare, 0.1 * TRUTH, (0.0, 1.0)),
    "flickers": (flickers, 1 - AT, (0.0, 1.0)),
    "normal": (lambda rng, n: steps(rng, n, lambda z: z), 0 * AT, (None, None)),
    "skewed": (lambda rng, n: steps(rng, n, np.exp), np.exp(0.5) + 0 * AT, (0.0, None)),
}


def covered(name: str, n: int, repeats: int) -> float:
    """How often a band of n curves holds the true mean everywhere at once."""
    make, truth, bounds = CASES[name]
    rng = np.random.default_rng(1)
    held = 0
    for i in range(repeats):
        band = simultaneous([make(rng, n)], bounds, seed=i)
        held += bool(np.all((band.low <= truth + 1e-9) & (truth <= band.high + 1e-9)))
    return held / repeats


def test_a_band_holds_the_whole_curve() -> None:
    """100 studies of 16 switching curves; a band that truly holds 95 % gives fewer than 87 once in 2,000."""
    assert covered("one switch", 16, 100) >= 0.87


@pytest.mark.slow
@pytest.mark.parametrize("n", [8, 16, 32])
@pytest.mark.parametrize("name", CASES)
def test_a_band_holds_the_whole_curve_as_promised(name: str, n: int) -> None:
    """1,000 studies each: 95 % less three standard errors of 0.7 %; false alarm once in 700 a case."""
    assert covered(name, n, 1000) >= 0.95 - 3 * 0.0069


def test_stretches_without_width_keep_their_values() -> None:
    assert Dials([made([(0, 1, FREE)])], None).at(0.5).token_ids == FREE  # type: ignore[arg-type]
    assert closed(0, 1).holds(1.0)
