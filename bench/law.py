"""`python -m bench.law`: what each step costs, beside transformers' processor for the same job."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from transformers.generation import logits_process as process

from poise.law import History
from poise.params import DIALECTS, SamplingParams
from poise.steps import TorchLaw

ROWS, SIZE = 128, 50_000
SAID = 200  # tokens of each text
TARGET = 1.5
Settings = dict[str, Any]
Make = Callable[[], list[Any]]

BIAS = ((5, 1.0), (6, -2.0))
THEIR_BIAS = [((token,), bias) for token, bias in BIAS]
WORDS = [[5], [6, 7], [8, 9, 10]]
# The step, its settings, and transformers' processors for the same; none where it has no such step.
JOBS: list[tuple[str, Settings, Make | None]] = [
    ("temperature", {"temperature": 0.7}, lambda: [process.TemperatureLogitsWarper(0.7)]),
    ("top_k", {"top_k": 50}, lambda: [process.TopKLogitsWarper(50)]),
    ("top_p", {"top_p": 0.9}, lambda: [process.TopPLogitsWarper(0.9)]),
    ("min_p", {"min_p": 0.05}, lambda: [process.MinPLogitsWarper(0.05)]),
    ("typical_p", {"typical_p": 0.9}, lambda: [process.TypicalLogitsWarper(0.9)]),
    ("epsilon_cutoff", {"epsilon_cutoff": 0.001}, lambda: [process.EpsilonLogitsWarper(0.001)]),
    ("eta_cutoff", {"eta_cutoff": 0.001}, lambda: [process.EtaLogitsWarper(0.001)]),
    ("top_h", {"top_h": 0.5}, lambda: [process.TopHLogitsWarper(0.5)]),
    ("repetition_penalty", {"repetition_penalty": 1.2}, lambda: [process.RepetitionPenaltyLogitsProcessor(1.2)]),
    ("no_repeat_ngram_size", {"no_repeat_ngram_size": 3}, lambda: [process.NoRepeatNGramLogitsProcessor(3)]),
    ("logit_bias", {"logit_bias": dict(BIAS)}, lambda: [process.SequenceBiasLogitsProcessor(dict(THEIR_BIAS))]),
    ("bad_words", {"bad_words": WORDS}, lambda: [process.NoBadWordsLogitsProcessor(WORDS)]),
    ("frequency_penalty", {"frequency_penalty": 0.5}, None),
    ("presence_penalty", {"presence_penalty": 0.5}, None),
    ("dry_multiplier", {"dry_multiplier": 0.8}, None),
    ("top_n_sigma", {"top_n_sigma": 1.0}, None),
    ("tfs", {"tfs": 0.95}, None),
    ("top_a", {"top_a": 0.2}, None),
    ("dynatemp_range", {"dynatemp_range": 0.5}, None),
    ("smoothing_factor", {"smoothing_factor": 0.2}, None),
    ("xtc_probability", {"xtc_probability": 1.0}, None),
    ("mirostat 1", {"mirostat": 1}, None),
    ("mirostat 2", {"mirostat": 2}, None),
    (
        "a whole chain",
        {"temperature": 0.8, "top_k": 50, "top_p": 0.9, "min_p": 0.05},
        lambda: [
            process.TemperatureLogitsWarper(0.8),
            process.TopKLogitsWarper(50),
            process.TopPLogitsWarper(0.9),
            process.MinPLogitsWarper(0.05),
        ],
    ),
    ("llama.cpp, no request", {**DIALECTS["llama.cpp"].defaults, "dialect": "llama.cpp"}, None),
]  # fmt: skip


def main() -> None:
    """Time each step in turn with its counterpart, several times; print medians and their ratio."""
    parser = argparse.ArgumentParser(prog="python -m bench.law", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="paired runs, 5 by default")
    parser.add_argument("--only", help="the step of this name alone")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    logits = torch.stack(list(rows()))
    print(f"{ROWS} rows of {SIZE:,} tokens in float32, {SAID} tokens said, 1 thread, medians of {asked.runs} runs")
    times = [seconds(lambda: TorchLaw().normaliser(logits)) for _ in range(asked.runs)]
    print(f"once for all steps, taking the rows over and normalising them: {1000 * statistics.median(times):.1f} ms")
    print(f"{'step':<22}{'poise':>10}{'transformers':>15}{'ratio':>8}  (target at most {TARGET})")
    for name, settings, make in JOBS:
        if asked.only in (None, name):
            print(line(name, *compare(logits, settings, make, asked.runs)), flush=True)


def rows() -> Iterator[torch.Tensor]:
    """Rows like a language model's: most tokens far below, some near the top; sharper or flatter."""
    for seed in range(ROWS):
        rng = np.random.default_rng(seed)
        logits = rng.normal(0, 1.5 + seed % 4 / 2, SIZE) + 12 * rng.random(SIZE) ** 20
        yield torch.tensor(logits, dtype=torch.float32)


def compare(logits: torch.Tensor, settings: Settings, make: Make | None, runs: int) -> tuple[list[float], list[float]]:
    """Seconds of ours and theirs, run by run, each of them first every other time."""
    said = np.random.default_rng(0).integers(0, 2000, (ROWS, SAID))
    params = SamplingParams.model_validate(settings)
    histories = [History(tuple(row[: SAID // 2]), tuple(row[SAID // 2 :])) for row in said.tolist()]
    ids, law, others = torch.tensor(said), TorchLaw(), make() if make else []
    law.normaliser(logits)  # as the draw loop does

    def ours() -> None:
        law.reshape(logits, range(ROWS), [params] * ROWS, histories, [frozenset()] * ROWS)

    def theirs() -> None:
        scores = logits
        for processor in others:
            scores = processor(ids, scores)

    both = (ours, theirs) if make else (ours,)
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(-1, runs):
        for which in range(len(both)) if run % 2 else reversed(range(len(both))):
            times[which].append(seconds(both[which]))
    return times[0][1:], times[1][1:]  # the first is for warming up


def seconds(job: Callable[[], object]) -> float:
    """How long a job takes."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def line(name: str, ours: list[float], theirs: list[float]) -> str:
    """A row of the table."""
    first = f"{name:<22}{1000 * statistics.median(ours):>7.1f} ms"
    if not theirs:
        return f"{first}{'—':>15}"
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return f"{first}{1000 * statistics.median(theirs):>12.1f} ms{ratio:>8.2f}"


if __name__ == "__main__":
    main()
