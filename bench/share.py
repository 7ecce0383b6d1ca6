"""`python -m bench.share`: what the law takes of a decode step of the embedded model."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import poise
from poise.params import DIALECTS, SamplingParams
from poise.sessions import Engine, Tally

PROMPTS, DRAWS, TOKENS = 16, 8, 32  # 128 texts at once; many prompts, so that few of them share their beginning
TARGET = 0.10  # of the chain
CHAINS = {
    "nothing but the log-probabilities": SamplingParams(),
    "temperature, top_k, top_p, min_p": SamplingParams(temperature=0.8, top_k=50, top_p=0.9, min_p=0.05),
    "llama.cpp, an empty request": SamplingParams(**DIALECTS["llama.cpp"].defaults, dialect="llama.cpp"),
}


def main() -> None:
    """Draw 128 texts at once under each chain in turn, several times; print the medians of where the time goes."""
    parser = argparse.ArgumentParser(prog="python -m bench.share", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each chain, 5 by default")
    asked = parser.parse_args()
    engine = poise.load("smollm2", dtype="bfloat16")
    drawn: dict[str, list[dict[str, float]]] = {name: [] for name in CHAINS}
    for run in range(-1, asked.runs):
        for name, params in CHAINS.items():
            split = seconds(engine, params)
            if run >= 0:  # the first is for warming up
                drawn[name].append(split)
    print(f"smollm2 in bfloat16, {PROMPTS} prompts, {DRAWS} draws, {TOKENS} tokens, medians of {asked.runs} runs")
    print(
        f"{'milliseconds a step':<36}{'rows':>6}{'forward':>9}{'noise':>8}{'law':>8}{'share':>8}{'the chain alone':>17}"
    )
    bare = statistics.median(s["law"] for s in drawn["nothing but the log-probabilities"])
    for name, splits in drawn.items():
        print(line(name, {part: statistics.median(s[part] for s in splits) for part in splits[0]}, bare))
    print(f"target: the chain takes at most {TARGET:.0%} of a step")


def seconds(engine: Engine, params: SamplingParams) -> dict[str, float]:
    """Where the time of a sweep goes, in seconds by part."""
    seen: list[Tally] = []
    with tempfile.TemporaryDirectory() as folder:
        asked: dict[str, Any] = {"study": Path(folder) / "share.db", "baselines": False, "draws": DRAWS}
        prompts = [p.text for p in poise.load_use_case("creative-story").prompts[:PROMPTS]]
        poise.sweep(
            engine, prompts, [params], max_tokens=TOKENS, min_tokens=TOKENS,
            progress=lambda done, total, tally: seen.append(tally), **asked,
        ).close()  # fmt: skip
    return {**seen[-1].seconds, "rows": seen[-1].rows / TOKENS}


def line(name: str, split: dict[str, float], bare: float) -> str:
    """A row of the table; a decode step is its forward pass, its law and its noise."""
    step = split["forward"] + split["law"] + split["noise"]
    forward, noise, law = (1000 * split[part] / TOKENS for part in ("forward", "noise", "law"))
    shares = f"{split['law'] / step:>8.1%}{max(0.0, split['law'] - bare) / step:>17.1%}"
    return f"{name:<36}{split['rows']:>6.0f}{forward:>9.1f}{noise:>8.1f}{law:>8.1f}{shares}"


if __name__ == "__main__":
    main()
