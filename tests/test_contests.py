"""Winners as functions of a parameter: equal to the law at every value, on random rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from poise import draws
from poise.contests import Moment, Step, winners
from poise.errors import ParameterError
from poise.law import History, State
from poise.motions import motion
from poise.parameters import COMMON as COMMON_NAMES
from poise.params import DIALECTS, PARAMETERS, SamplingParams
from poise.spans import closed
from random_laws import LAW, RANGES, beside, movable, stretch_of
from random_laws import moment as any_moment

COMMON = {n: RANGES[n] for n in COMMON_NAMES}
BESIDE = [
    {}, {"temperature": 0.7}, {"temperature": 0.0}, {"top_k": 8}, {"top_p": 0.8}, {"min_p": 0.08}, {"typical_p": 0.7},
    {"top_k": 12, "top_p": 0.9, "min_p": 0.02}, {"repetition_penalty": 1.3, "presence_penalty": 0.4},
    {"temperature": 1.2, "top_p": 0.85}, {"frequency_penalty": 0.5}, {"temperature": 0.8, "top_k": 20},
]  # fmt: skip


def moment(rng: np.random.Generator, parameter: str, fixed: SamplingParams, size: int) -> Moment:
    """A random step; every third row has ties, as half precision makes them."""
    logits = rng.normal(0, 2.5, size)
    if rng.integers(3) == 0:
        logits = np.round(logits * 2) / 2
    history = History(tuple(rng.integers(0, size, 9).tolist()), tuple(rng.integers(0, size // 2, 7).tolist()))
    barred = frozenset({3}) if rng.integers(2) else frozenset[int]()
    row = draws.noise_row(int(rng.integers(2**60)), 3, size)
    return Moment(Step(LAW, logits[None], 0, (history, barred), (parameter, fixed)), row)


def drawn(m: Moment, value: float) -> int:
    """The token that a plain draw takes."""
    step, law = m.step, m.step.at(value)
    struck = not law.xtc_probability or m.noise.coin < law.xtc_probability
    reshaped = LAW.reshape(step.logits, [0], [law], [step.history], [step.barred], [State(struck)])
    if reshaped.scale[0] == 0:
        return draws.greedy(reshaped.values[0])
    return int(draws.winners(reshaped.values[0], reshaped.scale, m.noise)[0])


def token_at(found: list, value: float) -> int:
    [part] = [p for p in found if p.span.holds(value)]
    return part.token


@pytest.mark.parametrize("parameter", COMMON)
@pytest.mark.parametrize("beside", BESIDE, ids=str)
@pytest.mark.parametrize("dialect", ["transformers", "temperature-last"])
def test_the_parts_are_what_the_law_draws(parameter: str, beside: dict, dialect: str) -> None:
    """40 values on 12 rows; within 1e-9 of a change either neighbour will do."""
    rng = np.random.default_rng(len(parameter) * 97 + len(str(beside)))
    fixed = SamplingParams(**{k: v for k, v in beside.items() if k != parameter}, dialect=dialect)
    how = motion(parameter, fixed)
    resolution = None if how.exact else (COMMON[parameter][1] - COMMON[parameter][0]) / 200
    known = []
    low, high = COMMON[parameter]
    whole = PARAMETERS[parameter].kind == "int"
    for _ in range(12 if how.exact else 3):
        m = moment(rng, parameter, fixed, int(rng.choice([64, 300, 3000])))
        found = winners(m, how, closed(low, high), resolution)
        assert found[0].span.low == closed(low, high).low
        assert found[-1].span.high == closed(low, high).high
        assert all(a.span.high == b.span.low for a, b in itertools.pairwise(found))
        assert all(a.token != b.token for a, b in itertools.pairwise(found))
        values = rng.integers(low, high + 1, 40) if whole else rng.uniform(low, high, 40)
        edges = np.array([p.span.low.value for p in found[1:]])
        for value in [float(low), float(high), *map(float, values)]:
            if not whole and edges.size and np.abs(edges - value).min() < 1e-9:
                continue
            token = token_at(found, value)
            known.append(token is not None)
            assert token is None or token == drawn(m, value), (value, found)
    if how.exact:
        assert all(known)
    else:
        assert np.mean(known) > 0.5  # what is not proved at this resolution is the exception


@pytest.mark.parametrize("dialect", [d for d in DIALECTS if d != "server"])
def test_random_laws_under_every_dialect(dialect: str) -> None:
    """Each parameter beside up to five steps, ten times, custom orders among them; 20 values on each random row."""
    rng = np.random.default_rng(len(dialect) * 1009 + ord(dialect[0]))
    for parameter in movable(dialect):
        low, high = stretch_of(parameter, dialect)
        whole = PARAMETERS[parameter].kind == "int"
        tried = 0
        while tried < 10:
            fixed = beside(rng, parameter, dialect)
            if fixed is None or not (how := motion(parameter, fixed)).possible:
                continue
            tried += 1
            m = any_moment(rng, parameter, fixed, int(rng.choice([40, 120])))
            found = winners(m, how, closed(low, high), None if how.exact else (high - low) / 30)
            assert (found[0].span.low, found[-1].span.high) == closed(low, high)
            assert all(a.span.high == b.span.low and a.token != b.token for a, b in itertools.pairwise(found))
            edges = np.array([p.span.low.value for p in found[1:]])
            values = rng.integers(low, high + 1, 20) if whole else rng.uniform(low, high, 20)
            for value in [float(low), float(high), *map(float, values)]:
                if whole or not edges.size or np.abs(edges - value).min() > 1e-9:
                    check(m, token_at(found, value), value, how.exact)


def check(m: Moment, token: int | None, value: float, exact: bool) -> None:
    """What a part says of a value; where the law bars every token there is none."""
    try:
        wanted: int | None = drawn(m, value)
    except ParameterError:
        wanted = None
    assert token == wanted or (token is None and not exact), (m.step.parameter, value, m.step.fixed.label)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.999])
def test_ahead_of_typical_p_the_cold_end_is_proved(share: float) -> None:
    """Temperatures from 1e-12 to the end of the first stretch, on 40 rows; where two tokens tie, none is proved."""
    rng = np.random.default_rng(int(1000 * share))
    fixed = SamplingParams(typical_p=share)
    how = motion("temperature", fixed)
    for i in range(40):
        m = moment(rng, "temperature", fixed, 300)
        zero, *rest = winners(m, how, closed(0.0, 1.5), 0.01)
        if zero.span.high.value == 0:
            assert rest[0].token is None, i  # only a near tie leaves the stretch above 0 unknown
            best = np.sort(m.step.values)[-2:]
            assert best[1] - best[0] < 0.2, i
            continue
        for heat in [0.0, *np.geomspace(1e-12, np.nextafter(zero.span.high.value, 0), 25)]:
            assert drawn(m, float(heat)) == zero.token, (i, heat)
