"""steps.py against its definition, law.py: the same tokens, the same bits, whatever the batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from poise import law
from poise.law import NOTHING_SAID, PENALTIES, History
from poise.params import SamplingParams
from test_law import GOLDEN, check_golden, golden_history, golden_logits, golden_params

torch = pytest.importorskip("torch")
steps = pytest.importorskip("poise.steps")

TORCH_LAW = steps.TorchLaw()
NO_BAR = frozenset[int]()
OFF = -np.inf


def defined(
    logits: np.ndarray, params: SamplingParams, history: History = NOTHING_SAID, barred: frozenset[int] = NO_BAR
) -> np.ndarray:
    """What law.py says: penalised logits where a token is left, -inf where it is cut. Greedy keeps all."""
    row = logits.astype(np.float64)
    row[list(barred)] = OFF
    on = params.normalised().model_dump(exclude_none=True)
    said = {n: v for n, v in on.items() if n in PENALTIES or n == "dialect"}
    penalised = law.reshape(row, SamplingParams.model_validate(said), history)
    if params.greedy:
        return penalised
    return np.where(law.reshape(row, params, history) > OFF, penalised, OFF)


def reshaped(
    logits: Any,
    params: Sequence[SamplingParams],
    rows: Sequence[int] | None = None,
    histories: Sequence[History] | None = None,
    barred: Sequence[frozenset[int]] | None = None,
) -> law.Reshaped:
    count = len(params)
    return TORCH_LAW.reshape(
        logits, rows or range(count), params, histories or [NOTHING_SAID] * count, barred or [NO_BAR] * count
    )


def one(
    logits: Any, params: SamplingParams, history: History = NOTHING_SAID, barred: frozenset[int] = NO_BAR
) -> np.ndarray:
    return np.asarray(reshaped(logits[None], [params], [0], [history], [barred]).values[0])


def check(
    logits: Any, params: SamplingParams, history: History = NOTHING_SAID, barred: frozenset[int] = NO_BAR
) -> None:
    expected = defined(logits.double().numpy(), params, history, barred)
    assert_array_equal(one(logits, params, history, barred), expected, err_msg=params.label)


# Values that tie, sums that land on a boundary, halves and quarters, and the far ends.
COARSE = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, -1.0, float(np.log(0.5)), float(np.log(0.25)), OFF, 30.0, -3e38])
FINE = st.floats(-50, 50, width=32)
LOGITS = st.lists(COARSE | FINE, min_size=1, max_size=40).filter(lambda x: max(x) > OFF)
SHARES = st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9, 0.999999]) | st.floats(1e-6, 1)
ANY_PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 1e-30, 0.1, 0.5, 1.0, 2.0, 1e30]) | st.floats(0.01, 10),
        "top_k": st.integers(1, 50),
        "top_p": SHARES | st.just(0.0),
        "min_p": SHARES,
        "typical_p": SHARES,
        "repetition_penalty": st.sampled_from([0.5, 1.3, 2.0, 1e30]),
        "frequency_penalty": st.floats(-2, 2),
        "presence_penalty": st.sampled_from([-2.0, 0.5, 2.0]),
    },
).map(SamplingParams.model_validate)


@settings(max_examples=1500, suppress_health_check=[HealthCheck.too_slow])
@given(
    LOGITS, ANY_PARAMS, st.lists(st.integers(0, 39), max_size=12), st.sets(st.integers(0, 39), max_size=4), st.data()
)
def test_equal_to_the_definition(
    logits: list[float], params: SamplingParams, said: list[int], barred: set[int], data: st.DataObject
) -> None:
    """Ties, infinities, edge values and everything between, in all three float types."""
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
    row = torch.tensor(logits).to(dtype)
    said = [t % len(logits) for t in said]
    left = frozenset(t for t in barred if t < len(logits))
    if any(row[t] > OFF for t in range(len(logits)) if t not in left):
        check(row, params, History(said[:5], said[5:]), left)


def natural(seed: int, size: int, dtype: Any) -> Any:
    """A row like a language model's: most tokens far below, some near the top; sharper or flatter by seed."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1 + seed % 4, size) + 8 * rng.random(size) ** 20 * (seed % 3)
    return torch.tensor(logits, dtype=torch.float32).to(dtype)


WIDE = [
    {"top_k": 50},
    {"top_k": 4000},
    {"top_p": 0.5},
    {"top_p": 0.9},
    {"top_p": 0.99},
    {"top_p": 0.99999},
    {"min_p": 0.05},
    {"min_p": 1e-4},
    {"typical_p": 0.2},
    {"typical_p": 0.9},
    {"top_k": 4000, "top_p": 0.9},
    {"top_k": 50, "top_p": 0.9, "min_p": 0.05},
    {"top_p": 0.95, "min_p": 0.05},
    {"top_p": 0.95, "min_p": 0.001, "typical_p": 0.9},
    {"repetition_penalty": 1.2, "frequency_penalty": 0.3, "top_p": 0.9},
]


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize("given_", WIDE, ids=str)
def test_equal_on_large_vocabularies(given_: dict[str, float], name: str) -> None:
    """Where the search for the few tokens that matter comes in. bfloat16 rows tie at every cut."""
    for seed in range(8):
        row = natural(seed, 20_011, getattr(torch, name))
        history = History(range(100, 200), [7, 7, 8, *range(150, 160)])
        params = SamplingParams.model_validate({"temperature": [0.3, 0.7, 1.0, 1.5][seed % 4], **given_})
        check(row, params, history, frozenset({3, int(row.float().argmax())} if seed % 2 else ()))


def test_no_shortcut_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept does not hang on where the shortcuts switch over, nor on how much error they allow for."""
    rows = [natural(seed, 20_011, torch.bfloat16) for seed in range(6)]
    params = [
        SamplingParams(temperature=1.3, top_p=0.9),
        SamplingParams(temperature=0.8, typical_p=0.9),
        SamplingParams(top_k=30, min_p=0.01),
    ]
    before = [one(row, p) for row in rows for p in params]
    for name, value in [("MANY", 1), ("MANY", 10**9), ("WIDTH", 3), ("ROUGH", 1e-3), ("FINE", 1e-3), ("NEAR", 10.0)]:
        with monkeypatch.context() as patch:
            patch.setattr(steps, name, value)
            for row, expected in zip([one(row, p) for row in rows for p in params], before, strict=True):
                assert_array_equal(row, expected, err_msg=name)


def test_boundaries_go_to_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a mass equals p the rounding of a sum would decide; there, and only there, law.py itself is asked."""
    asked: list[str] = []
    for name, function in law.RESHAPINGS.items():
        monkeypatch.setitem(steps.RESHAPINGS, name, lambda z, v, f=function, n=name: (asked.append(n), f(z, v))[1])
    halves = torch.log(torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64))
    one(halves, SamplingParams(top_p=0.75))
    assert asked == ["top_p"]
    one(halves, SamplingParams(top_p=0.8))
    assert asked == ["top_p"]
    flat = torch.zeros(20_000)
    one(flat, SamplingParams(top_p=0.25))
    assert asked == ["top_p", "top_p"]
    assert np.isfinite(one(flat, SamplingParams(top_p=0.25))).sum() == 5000


def test_rounding_at_a_boundary_is_that_of_the_definition() -> None:
    """Logits exactly ln m below the top, and typical tokens equally far on both sides of the entropy.

    Which way such a case falls hangs on the last bit, so the last bit has to be the definition's.
    """
    for temperature in (0.3, 0.7, 1.0, 3.0):
        for gap in range(1, 30):
            row = torch.tensor([20.0, 20.0 - gap, 20.0 - gap / 2])
            check(row, SamplingParams(temperature=temperature, min_p=float(np.exp(-gap / temperature))))
    halves = torch.log(torch.tensor([0.5, 0.125, 0.125, 0.125, 0.125], dtype=torch.float64))
    for shift in np.linspace(-3, 3, 101):  # 1 bit and 3 bits, entropy 2 bits
        for p in (0.3, 0.5, 0.6):
            check(halves + shift, SamplingParams(typical_p=p))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda c: c["id"])
def test_golden(case: dict[str, Any]) -> None:
    """The engines' own vectors, through the fast form."""
    params = golden_params(case)
    result = reshaped(torch.tensor(golden_logits(case))[None], [params], [0], [golden_history(case)])
    values, scale = result.values[0], result.scale[0]
    values = law.temperature(np.asarray(values), 0) if scale == 0 else values / scale
    check_golden(case, np.asarray(values))


def test_the_design_example() -> None:
    result = reshaped(torch.tensor([[3.0, 2.0, 1.0]]), [SamplingParams(temperature=0.5, top_p=0.8)])
    assert_array_equal(result.values, [[3, OFF, OFF]])
    assert_array_equal(result.scale, [0.5])


def test_scales() -> None:
    params = [SamplingParams(), SamplingParams(temperature=0), SamplingParams(temperature=0.3, top_k=2)]
    result = reshaped(torch.tensor([[3.0, 2.0, 1.0]]), params, rows=[0, 0, 0])
    assert_array_equal(result.scale, [1, 0, 0.3])
    assert_array_equal(result.values, [[3, 2, 1], [3, 2, 1], [3, 2, OFF]])


def test_histories_of_one_row_are_told_apart() -> None:
    """Two requests may share a row and still differ in which of its tokens are prompt and which output."""
    params = SamplingParams(presence_penalty=1)
    result = reshaped(torch.zeros(1, 3), [params] * 2, [0, 0], [History([0, 1], [2]), History([0], [1, 2])])
    assert_array_equal(result.values, [[0, 0, -1], [0, -1, -1]])


def test_logits_are_not_written_to() -> None:
    logits = torch.zeros(2, 5)
    reshaped(
        logits,
        [SamplingParams(top_k=1, repetition_penalty=2), SamplingParams(top_p=0.2)],
        histories=[History([1], [1])] * 2,
        barred=[frozenset({0})] * 2,
    )
    assert bool((logits == 0).all())


MIXED = [
    SamplingParams(temperature=0),
    SamplingParams(temperature=0.7),
    SamplingParams(temperature=1.2, top_p=0.9),
    SamplingParams(top_k=40, top_p=0.8, min_p=0.05),
    SamplingParams(temperature=0.8, typical_p=0.9),
    SamplingParams(repetition_penalty=1.2, presence_penalty=0.4),
    SamplingParams(min_p=0.1, frequency_penalty=0.2),
]


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_row_does_not_know_its_batch(name: str) -> None:
    """128 rows of an odd vocabulary, alone and in shuffled batches of 2 to 128: the same bits.

    Odd, so that rows start at every alignment in memory.
    """
    size = 5_003
    logits = torch.stack([natural(seed, size, getattr(torch, name)) for seed in range(128)])
    params = [MIXED[j % len(MIXED)] for j in range(128)]
    histories = [History([j, j + 1], [j + 2] * (j % 3)) for j in range(128)]
    alone = [one(logits[j], params[j], histories[j]).tobytes() for j in range(128)]
    normal = [TORCH_LAW.normaliser(logits[j][None]).tobytes() for j in range(128)]
    rng = np.random.default_rng(5)
    for size in (2, 3, 8, 31, 64, 127, 128):
        batch = [int(j) for j in rng.permutation(128)[:size]]
        result = reshaped(logits[batch], [params[j] for j in batch], histories=[histories[j] for j in batch])
        assert [np.asarray(v).tobytes() for v in result.values] == [alone[j] for j in batch]
        assert [n.tobytes() for n in TORCH_LAW.normaliser(logits[batch])] == [normal[j] for j in batch]


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16", "float64"])
def test_normaliser(name: str) -> None:
    """Against float64, to 1e-6; and against log-softmax for what a user sees."""
    logits = torch.stack([natural(seed, 20_011, getattr(torch, name)) for seed in range(6)])
    logits[0, 5] = OFF
    exact = torch.logsumexp(logits.double(), dim=-1).numpy()
    np.testing.assert_allclose(TORCH_LAW.normaliser(logits), exact, rtol=0, atol=1e-6)
    picked = TORCH_LAW.take(logits, [1, 1, 3], [0, 7, 20_010])
    assert_array_equal(picked, logits.double()[[1, 1, 3], [0, 7, 20_010]].numpy())
    logprobs = torch.log_softmax(logits.double(), dim=-1)[[1, 1, 3], [0, 7, 20_010]].numpy()
    np.testing.assert_allclose(picked - TORCH_LAW.normaliser(logits)[[1, 1, 3]], logprobs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("spoil", "bad"), [((2, 1, np.nan), 2), ((1, 3, np.inf), 1), ((0, slice(None), OFF), 0), ((0, 1, OFF), None)]
)
def test_bad_rows_are_found(name: str, spoil: tuple[int, Any, float], bad: int | None) -> None:
    logits = torch.zeros(4, 6, dtype=getattr(torch, name))
    assert np.isfinite(TORCH_LAW.normaliser(logits)).all()
    logits[spoil[0], spoil[1]] = spoil[2]
    finite = np.isfinite(TORCH_LAW.normaliser(logits))
    assert [int(i) for i in np.flatnonzero(~finite)] == ([] if bad is None else [bad])


def test_a_truncated_step_stays_affordable() -> None:
    """128 rows of 49,152 tokens. The limit is ten times what one slow core needs, so only a blunder breaks it."""
    logits = torch.stack([natural(seed, 49_152, torch.bfloat16) for seed in range(8)]).repeat(16, 1)
    params = [SamplingParams(temperature=0.8, top_k=50, top_p=0.9, min_p=0.05)] * 128
    reshaped(logits, params)
    start = time.process_time()
    reshaped(logits, params)
    assert time.process_time() - start < 0.5
