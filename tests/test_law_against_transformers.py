"""law.py against transformers' own processors, on random rows."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import numpy as np
import pytest

from poise import law
from poise.law import History
from poise.params import SamplingParams

torch = pytest.importorskip("torch")
process = pytest.importorskip("transformers.generation.logits_process")
generation = pytest.importorskip("transformers.generation.utils")

Settings = dict[str, float | int]
V = 400

# One at a time, from narrow to wide.
SINGLE: list[Settings] = [
    {"temperature": 0.3},
    {"temperature": 1.7},
    {"top_k": 1},
    {"top_k": 20},
    {"top_k": 1000},
    {"top_p": 0.1},
    {"top_p": 0.5},
    {"top_p": 0.9},
    {"top_p": 0.999},
    {"min_p": 0.01},
    {"min_p": 0.3},
    {"min_p": 1.0},
    {"typical_p": 0.2},
    {"typical_p": 0.9},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
]
CHAINS: list[Settings] = [
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 1.5, "top_k": 40, "top_p": 0.9, "min_p": 0.02},
    {"repetition_penalty": 1.2, "temperature": 0.8, "top_k": 50},
    {"temperature": 2.0, "top_p": 0.95, "typical_p": 0.8},
    {
        "repetition_penalty": 1.1,
        "temperature": 1.2,
        "top_k": 100,
        "top_p": 0.97,
        "min_p": 0.005,
        "typical_p": 0.95,
    },
]


def processors(settings: Settings) -> list[object]:
    """transformers' classes in the order of its `_get_logits_processor`; a test below reads that order off it."""
    table = {
        "repetition_penalty": lambda v: process.RepetitionPenaltyLogitsProcessor(penalty=float(v)),
        "temperature": lambda v: process.TemperatureLogitsWarper(float(v)),
        "top_k": lambda v: process.TopKLogitsWarper(top_k=int(v)),
        "top_p": lambda v: process.TopPLogitsWarper(top_p=float(v)),
        "min_p": lambda v: process.MinPLogitsWarper(min_p=float(v)),
        "typical_p": lambda v: process.TypicalLogitsWarper(mass=float(v)),
    }
    return [make(settings[name]) for name, make in table.items() if name in settings]


def theirs(logits: np.ndarray, settings: Settings, said: list[int], dtype: str) -> np.ndarray:
    scores = torch.tensor(logits, dtype=getattr(torch, dtype))[None]
    for processor in processors(settings):
        scores = processor(torch.tensor([said]), scores)
    return scores[0].double().numpy()


def ours(logits: np.ndarray, settings: Settings, said: list[int]) -> np.ndarray:
    half = len(said) // 2
    return law.reshape(logits, SamplingParams.model_validate(settings), History(said[:half], said[half:]))


def rows(count: int, seed: int) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Logits of float32, peaked to flat, some with cut tokens, and a history."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        logits = rng.normal(0, rng.uniform(0.2, 5), V).astype(np.float32)
        if i % 4 == 0:
            logits[rng.choice(V, 50, replace=False)] = -np.inf
        yield logits.astype(np.float64), [int(t) for t in rng.integers(0, V, 30)]


def differing(settings: Settings, dtype: str, count: int) -> list[int]:
    """How many tokens one side keeps and the other cuts, per row where any does; the rest agrees in value."""
    found = []
    for logits, said in rows(count, seed=1):
        a, b = ours(logits, settings, said), theirs(logits, settings, said, dtype)
        both = (a > -np.inf) & (b > -np.inf)
        np.testing.assert_allclose(a[both], b[both], rtol=1e-6 if dtype == "float32" else 1e-14, atol=1e-6)
        odd = int(np.sum((a > -np.inf) != (b > -np.inf)))
        if odd:
            found.append(odd)
    return found


@pytest.mark.parametrize("settings", [*SINGLE, *CHAINS], ids=str)
def test_equal_in_float64(settings: Settings) -> None:
    """300 rows: the same tokens, every one. A boundary within the rounding of float64 would need luck of 1e-12."""
    assert differing(settings, "float64", 300) == []


@pytest.mark.parametrize("settings", [*SINGLE, *CHAINS], ids=str)
def test_equal_in_float32_but_for_boundaries(settings: Settings) -> None:
    """300 rows: float32 sums are off by about 1e-6, which turns a token at a boundary now and then.

    At most 1 % of the rows may differ, and those by one token.
    """
    found = differing(settings, "float32", 300)
    assert len(found) <= 3
    assert set(found) <= {1}


@pytest.mark.parametrize("settings", [s for s in SINGLE if s.keys() <= {"top_p", "min_p", "typical_p"}], ids=str)
def test_a_difference_in_float32_is_a_boundary(settings: Settings) -> None:
    """What float32 keeps lies between what law.py keeps with the parameter 2e-6 lower and 2e-6 higher."""
    [(name, value)] = settings.items()
    eps = 2e-6 * (-1 if name == "min_p" else 1)
    for logits, said in rows(300, seed=2):
        b = theirs(logits, settings, said, "float32") > -np.inf
        narrow, wide = (
            ours(logits, {name: min(max(value + sign * eps, 1e-9), 1.0)}, said) > -np.inf for sign in (-1, 1)
        )
        if name == "typical_p":  # its set is no prefix, yet still nested in p
            assert not np.any(narrow & ~wide)
        assert not np.any(narrow & ~b)
        assert not np.any(b & ~wide)


@pytest.mark.parametrize("settings", [*SINGLE, *CHAINS], ids=str)
def test_ties_of_bfloat16(settings: Settings) -> None:
    """Rows rounded to bfloat16 tie often. Both sides keep equally many tokens of each logit.

    Which of the tied tokens top-p drops is left open by transformers' unstable sort; poise keeps the lower id.
    """
    for logits, said in rows(150, seed=3):
        coarse = torch.tensor(logits).bfloat16().double().numpy()
        a, b = ours(coarse, settings, said), theirs(coarse, settings, said, "float64")
        np.testing.assert_allclose(np.sort(a), np.sort(b), rtol=1e-14)


def test_the_order_is_that_of_transformers() -> None:
    """The classes appear in `_get_logits_processor` in the order used above."""
    source = inspect.getsource(generation.GenerationMixin._get_logits_processor)
    everything: Settings = {
        "repetition_penalty": 2, "temperature": 2, "top_k": 2, "top_p": 0.5, "min_p": 0.5, "typical_p": 0.5,
    }  # fmt: skip
    names = [type(p).__name__ for p in processors(everything)]
    places = [m.start() for n in names for m in re.finditer(rf"(?<!\w){n}(?=\()", source)]
    assert len(places) == len(names)
    assert places == sorted(places)
