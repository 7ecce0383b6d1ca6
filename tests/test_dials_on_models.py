"""Dials on real models: equal to plain drawing to the bit, and to stock transformers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import poise
from poise import noise
from poise.models import ModelFiles
from poise.params import SamplingParams
from poise.pieces import Dials
from test_dials import RANGES, plain, same

PROMPTS = ["Once upon a time, in a distant galaxy,", "A blockchain is"]
BESIDE: dict[str, list[dict[str, Any]]] = {
    "temperature": [
        {}, {"top_k": 40}, {"top_p": 0.9}, {"min_p": 0.05, "repetition_penalty": 1.2},
        {"top_k": 40, "dialect": "temperature-last"}, {"top_p": 0.9, "min_p": 0.02, "dialect": "temperature-last"},
    ],
    "top_k": [{"temperature": 0.9}, {"top_p": 0.9}],
    "top_p": [{"temperature": 0.9}, {"top_k": 40, "frequency_penalty": 0.3}],
    "min_p": [{"temperature": 1.2}, {"top_p": 0.95}],
    "typical_p": [{"temperature": 0.9}, {"top_k": 100}],
    "repetition_penalty": [{"temperature": 0.8}, {"temperature": 0}, {"presence_penalty": 0.5}],
    "frequency_penalty": [{"temperature": 0.8}, {"repetition_penalty": 1.1}],
    "presence_penalty": [{"temperature": 0.8}, {"temperature": 0, "top_p": 0.9}],
}  # fmt: skip


def dialled(engine: Any, parameter: str, beside: dict[str, Any], study: Path, tokens: int, draws: int) -> Dials:
    low, high = RANGES[parameter]
    high = 400 if parameter == "top_k" else high
    params = SamplingParams(**beside)
    return poise.dial(engine, PROMPTS, parameter, low, high, params=params, draws=draws, max_tokens=tokens, study=study)


def mismatches(engine: Any, dials: Dials, count: int, seed: int) -> tuple[int, int]:
    """How many of `count` random values differ from plain drawing; how many lie too near a change to be asked."""
    rng = np.random.default_rng(seed)
    asked, near = [], 0
    for i in rng.integers(0, len(dials), count).tolist():
        d = dials[i]
        value = float(rng.integers(d.low, d.high + 1)) if d.parameter == "top_k" else float(rng.uniform(d.low, d.high))
        if d.parameter != "top_k" and d.breakpoints and min(abs(b - value) for b in d.breakpoints) < 1e-9:
            near += 1
        else:
            asked.append((i, value))
    drawn = plain(engine, dials, asked)
    return sum(not same(c, dials[i].at(v)) for c, (i, v) in zip(drawn, asked, strict=True)), near


@pytest.mark.model
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("parameter", RANGES)
def test_twenty_values_of_each_parameter(
    embedded_files: ModelFiles, parameter: str, dtype: str, tmp_path: Path
) -> None:
    """The embedded model, 2 prompts, 8 tokens."""
    engine = poise.load("smollm2", dtype=dtype)
    beside = BESIDE[parameter][0 if dtype == "float32" else -1]
    dials = dialled(engine, parameter, beside, tmp_path / "s.db", 8, 1)
    wrong, near = mismatches(engine, dials, 20, 1)
    assert (wrong, near) == (0, 0)


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("parameter", RANGES)
def test_a_thousand_values_of_each_parameter(
    embedded_files: ModelFiles, parameter: str, dtype: str, tmp_path: Path
) -> None:
    """1,000 random values over prompts, draws, other parameters: none differs; one at most is too near a change."""
    engine = poise.load("smollm2", dtype=dtype)
    counts = []
    for i, beside in enumerate(BESIDE[parameter]):
        dials = dialled(engine, parameter, beside, tmp_path / f"{i}.db", 24, 2)
        counts.append(mismatches(engine, dials, math.ceil(1000 / len(BESIDE[parameter])), i))
    assert sum(wrong for wrong, _ in counts) == 0
    assert sum(near for _, near in counts) <= 1


class AddNoise(transformers.LogitsProcessor):
    """What the documentation says and nothing else: l / T plus Gumbel noise of (seed, prompt, draw, position)."""

    def __init__(self, keys: list[int], temperatures: list[float], prompt: int) -> None:
        self.keys, self.temperatures, self.prompt = keys, temperatures, prompt
        self.seen: list[np.ndarray] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        position = input_ids.shape[1] - self.prompt
        rows = []
        for row, key, t in zip(scores.double().numpy(), self.keys, self.temperatures, strict=True):
            rows.append(row + t * noise.gumbel(noise.words(key, position, row.size)))
        self.seen.append(np.array(rows))
        return torch.from_numpy(np.array(rows))


@pytest.mark.model
def test_stock_transformers_with_nothing_but_the_noise_gives_the_dials_text(
    embedded_files: ModelFiles, tmp_path: Path
) -> None:
    """float32, 8 rows a batch, 16 temperatures of 2 draws, 24 tokens: its cache has other bits, so that at the first
    difference, if there is one, the two best scores lie within 1e-3; that may happen in 2 of 32 texts at most."""
    engine = poise.load("smollm2", dtype="float32")
    dials = poise.dial(engine, PROMPTS[0], "temperature", 0.05, 1.5, draws=2, max_tokens=24, study=tmp_path / "s.db")
    model = transformers.AutoModelForCausalLM.from_pretrained(embedded_files.directory, dtype=torch.float32).eval()
    ids = dials[0].request.prompt_ids
    values = np.linspace(0.06, 1.49, 16).tolist()
    pairs = [(d, v) for d in dials for v in values]
    differ = 0
    for start in range(0, len(pairs), 8):
        batch = pairs[start : start + 8]
        keys = [noise.key(d.seed, ids, d.draw) for d, _ in batch]
        added = AddNoise(keys, [v for _, v in batch], len(ids))
        out = model.generate(
            torch.tensor([ids] * 8), do_sample=False, max_new_tokens=24, logits_processor=[added], pad_token_id=0,
            eos_token_id=sorted(engine.eos_ids),  # type: ignore[attr-defined]
        )[:, len(ids) :].tolist()  # fmt: skip
        for row, ((d, v), theirs) in enumerate(zip(batch, out, strict=True)):
            ours = d.at(v).token_ids
            at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
            if at is not None:
                differ += 1
                best = np.sort(added.seen[at][row])[-2:]
                assert best[1] - best[0] < 1e-3
    assert differ <= 2


@pytest.mark.model
def test_doubtful_choices_are_measured_and_marked(embedded_files: ModelFiles, tmp_path: Path) -> None:
    """bfloat16 leaves more choices that another machine may decide otherwise than float32 does."""
    marked: Callable[[Dials], int] = lambda dials: sum(len(p.doubtful) for p in dials.pieces)  # noqa: E731
    found = [
        marked(poise.dial(poise.load("smollm2", dtype=d), PROMPTS[0], "temperature", 0, 1, max_tokens=16,
                          study=tmp_path / f"{d}.db"))
        for d in ("bfloat16", "float32")
    ]  # fmt: skip
    assert found[0] > 10 * found[1]
