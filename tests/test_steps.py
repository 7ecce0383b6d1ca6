"""The law at speed against its definition: the same tokens, the same bits, whatever the batch."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scripts.conformance import golden
from scripts.conformance.golden import Case

from poise import law
from poise.errors import ParameterError
from poise.law import FRESH, NOTHING_SAID, Facts, History, State
from poise.params import DIALECTS, FOLLOWERS, PARAMETERS, SamplingParams

torch = pytest.importorskip("torch")
torch_law = pytest.importorskip("poise.steps.torch_law")

TORCH_LAW = torch_law.TorchLaw()
NO_BAR = frozenset[int]()
OFF = -np.inf


def defined(
    logits: np.ndarray,
    params: SamplingParams,
    history: History = NOTHING_SAID,
    barred: frozenset[int] = NO_BAR,
    state: State = FRESH,
) -> tuple[np.ndarray, float]:
    """What the law says: penalised logits where a token is left, -inf where it is cut; and the temperature."""
    row = logits.astype(np.float64)
    row[list(barred)] = OFF
    return law.scaled(row, law.acting(params), Facts(params, history, state))


def reshaped(
    logits: Any,
    params: Sequence[SamplingParams],
    rows: Sequence[int] | None = None,
    histories: Sequence[History] | None = None,
    barred: Sequence[frozenset[int]] | None = None,
    states: Sequence[State] = (),
) -> law.Reshaped:
    count = len(params)
    return TORCH_LAW.reshape(
        logits, rows or range(count), params, histories or [NOTHING_SAID] * count, barred or [NO_BAR] * count, states
    )


def one(
    logits: Any,
    params: SamplingParams,
    history: History = NOTHING_SAID,
    barred: frozenset[int] = NO_BAR,
    state: State = FRESH,
) -> np.ndarray:
    return np.asarray(reshaped(logits[None], [params], [0], [history], [barred], [state]).values[0])


def check(
    logits: Any,
    params: SamplingParams,
    history: History = NOTHING_SAID,
    barred: frozenset[int] = NO_BAR,
    state: State = FRESH,
) -> None:
    values, scale = defined(logits.double().numpy(), params, history, barred, state)
    result = reshaped(logits[None], [params], [0], [history], [barred], [state])
    assert_array_equal(result.values[0], values, err_msg=params.label)
    assert result.scale[0] == scale, params.label


# Values that tie, sums that land on a boundary, halves and quarters, and the far ends.
COARSE = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, -1.0, float(np.log(0.5)), float(np.log(0.25)), OFF, 30.0, -3e38])
FINE = st.floats(-50, 50, width=32)
LOGITS = st.lists(COARSE | FINE, min_size=1, max_size=40).filter(lambda x: max(x) > OFF)
SHARES = st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9, 0.999999]) | st.floats(1e-6, 1)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.sampled_from([0, 1e-30, 0.1, 0.5, 1.0, 2.0]) | st.floats(0.01, 2),
    "top_k": st.integers(1, 50),
    "top_p": SHARES | st.just(0.0),
    "min_p": SHARES,
    "typical_p": SHARES,
    "repetition_penalty": st.sampled_from([0.5, 1.3, 2.0]),
    "frequency_penalty": st.floats(-2, 2),
    "presence_penalty": st.sampled_from([-2.0, 0.5, 2.0]),
    "penalty_last_n": st.integers(0, 9),
    "top_n_sigma": st.sampled_from([0.5, 1.0, 2.0]) | st.floats(0.01, 4),
    "epsilon_cutoff": SHARES,
    "eta_cutoff": SHARES,
    "top_h": SHARES,
    "tfs": SHARES | st.just(0.0),
    "top_a": st.sampled_from([0.25, 0.5, 1.0, 4.0]) | st.floats(1e-6, 3),
    "dynatemp_range": st.sampled_from([0.5, 1.0, 2.0]) | st.floats(0.01, 3),
    "dynatemp_exponent": st.sampled_from([0.5, 1.0, 2.0]),
    "smoothing_factor": st.floats(0.01, 3),
    "smoothing_curve": st.sampled_from([0.0, 1.0, 1.5, 3.0, 4.0]),
    "xtc_probability": st.just(0.5),
    "xtc_threshold": st.sampled_from([0.0, 0.1, 0.125, 0.25, 0.5]) | st.floats(0, 0.5),
    "mirostat": st.integers(1, 2),
    "mirostat_tau": st.sampled_from([0.5, 1.0, 1.5, 5.0]),
    "dry_multiplier": st.sampled_from([0.5, 1.0]),
    "dry_base": st.sampled_from([1.0, 1.75, 3.0]),
    "dry_allowed_length": st.integers(0, 3),
    "dry_last_n": st.integers(0, 12),
    "no_repeat_ngram_size": st.integers(1, 4),
    "logit_bias": st.dictionaries(st.integers(0, 3), st.sampled_from([OFF, -1.0, 0.5, 3.0]), max_size=3),
    "bad_words": st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), max_size=3, unique_by=tuple),
}
assert VALUES.keys() - {"logit_bias", "bad_words"} == PARAMETERS.keys() - {"mirostat_eta", "guidance_scale"}


@st.composite
def any_params(draw: st.DrawFn) -> SamplingParams:
    """A few steps of one dialect, with what shapes them; where users may order them in any order."""
    dialect = DIALECTS[draw(st.sampled_from(sorted(DIALECTS)))]
    able = [n for n in dialect.order if n in VALUES]
    on = draw(st.lists(st.sampled_from(able), max_size=5, unique=True))
    on = next(([n for n in able if n in beside] for n, beside in dialect.alone.items() if n in on), on)
    shaping = [n for step in on for n in FOLLOWERS.get(step, ()) if n in VALUES and draw(st.booleans())]
    settings: dict[str, Any] = {n: draw(VALUES[n]) for n in dict.fromkeys([*on, *shaping])}
    for name, (low, high) in dialect.limits.items():
        if name in settings and name != "logit_bias":
            settings[name] = min(max(settings[name], low), high)
    if dialect.rules.top_p_zero == "refused" and settings.get("top_p") == 0:
        del settings["top_p"]
    if dialect.name == "vllm" and "logit_bias" in settings:
        settings["logit_bias"] = {i: max(b, -100.0) for i, b in settings["logit_bias"].items()}
    if dialect.orderable and draw(st.booleans()):
        settings["order"] = draw(st.permutations(dialect.order))
    return SamplingParams.model_validate({**settings, "dialect": dialect.name})


STATES = st.builds(State, struck=st.booleans(), mu=st.none() | st.sampled_from([1.0, 2.0, 3.0]) | st.floats(-2, 20))
BREAKERS = st.frozensets(st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple), max_size=3)


@settings(max_examples=3000, suppress_health_check=[HealthCheck.too_slow])
@given(
    LOGITS, any_params(), st.lists(st.integers(0, 3), max_size=16), st.sets(st.integers(0, 39), max_size=4), st.data()
)
def test_equal_to_the_definition(
    logits: list[float], params: SamplingParams, said: list[int], barred: set[int], data: st.DataObject
) -> None:
    """Every step of every dialect: ties, infinities, edge values and all between, in all three float types."""
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
    row = torch.tensor(logits).to(dtype)
    history = History(said[:5], said[5:], data.draw(BREAKERS))
    history = History([t % len(logits) for t in said[:5]], [t % len(logits) for t in said[5:]], history.breakers)
    left = frozenset(t for t in barred if t < len(logits))
    state = data.draw(STATES)
    if not any(row[t] > OFF for t in range(len(logits)) if t not in left):
        return
    try:
        check(row, params, history, left, state)
    except ParameterError as refused:  # all barred, or an id beyond the vocabulary: the definition says the same
        with pytest.raises(ParameterError, match=f"^{re.escape(str(refused))}$"):
            defined(row.double().numpy(), params, history, left, state)
        with pytest.raises(ParameterError, match=f"^{re.escape(str(refused))}$"):
            one(row, params, history, left, state)


@given(LOGITS, LOGITS, st.floats(0.1, 5))
def test_guidance_is_the_definition(first: list[float], second: list[float], scale: float) -> None:
    size = min(len(first), len(second))
    both = torch.tensor([first[:size], second[:size]])
    if (both.max(dim=1).values > OFF).all() and ((both[0] > OFF) & (both[1] > OFF)).any():
        params = SamplingParams(guidance_scale=scale, top_k=3)
        made = TORCH_LAW.reshape(both, [0], [params], [NOTHING_SAID], [NO_BAR], unconditional=[1])
        facts = Facts(params, unconditional=both[1].double().numpy())
        expected, _ = law.scaled(both[0].double().numpy(), law.acting(params), facts)
        assert_array_equal(made.values[0], expected)


def test_guidance_without_the_other_row_is_refused() -> None:
    with pytest.raises(ParameterError, match="guidance_scale needs the logits of the same text without its prompt"):
        one(torch.zeros(3), SamplingParams(guidance_scale=2))


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
    {"top_n_sigma": 1.0},
    {"top_n_sigma": 3.0, "top_k": 100},
    {"epsilon_cutoff": 0.001},
    {"epsilon_cutoff": 1e-5, "top_p": 0.9},
    {"eta_cutoff": 0.002},
    {"eta_cutoff": 1e-5},
    {"top_h": 0.5},
    {"top_h": 1.0, "min_p": 0.01},
    {"tfs": 0.95},
    {"tfs": 0.9999},
    {"top_a": 0.2},
    {"top_a": 0.01},
    {"dynatemp_range": 0.3, "min_p": 0.01},
    {"smoothing_factor": 0.2, "smoothing_curve": 1.5, "top_p": 0.95},
    {"xtc_probability": 0.5, "xtc_threshold": 0.01},
    {"mirostat": 1, "mirostat_tau": 3},
    {"mirostat": 2, "mirostat_tau": 3},
    {"dry_multiplier": 0.8, "no_repeat_ngram_size": 2, "logit_bias": {5: 1.5, 8: OFF}, "bad_words": [[7], [8, 3]]},
    {"dialect": "llama.cpp", "top_k": 4000, "typical_p": 0.9, "top_p": 0.9, "min_p": 0.001, "xtc_probability": 0.5},
    {"dialect": "llama.cpp", "top_n_sigma": 2.0, "top_k": 40, "dynatemp_range": 0.5},
    {"dialect": "sglang", "top_k": 50, "top_p": 0.9},
    {"dialect": "mlx", "top_p": 0.95, "min_p": 0.001, "xtc_probability": 0.5, "top_k": 100},
    {"dialect": "vllm", "min_p": 0.001, "top_k": 1000, "top_p": 0.9},
]


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize("given_", WIDE, ids=str)
def test_equal_on_large_vocabularies(given_: dict[str, Any], name: str) -> None:
    """Where the search for the few tokens that matter comes in. bfloat16 rows tie at every cut."""
    for seed in range(4):
        row = natural(seed, 20_011, getattr(torch, name))
        history = History(range(100, 200), [7, 7, 8, *range(150, 160)])
        params = SamplingParams.model_validate({"temperature": [0.3, 0.7, 1.0, 1.5][seed % 4], **given_})
        check(row, params, history, frozenset({3, int(row.float().argmax())} if seed % 2 else ()))


@pytest.mark.parametrize("case", [c for c in golden.RUN if c.unconditional is None], ids=lambda c: c.id)
def test_golden(case: Case) -> None:
    """The engines' own vectors, through the fast form."""
    result = reshaped(torch.tensor(case.logits)[None], [case.params], [0], [case.history])
    values, scale = np.asarray(result.values[0]), float(result.scale[0])
    golden.check(case, law.temperature(values, 0) if scale == 0 else values / scale)


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
