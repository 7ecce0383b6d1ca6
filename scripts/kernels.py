"""One GGUF file through two engines: how many texts differ, and how nearly."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import poise
from poise import noise
from poise.models import embedded
from poise.params import SamplingParams
from poise.records import Completion, Prompt, Request

TEMPERATURES = (0.0, 0.3, 0.7, 1.0)
PROMPTS = (
    "Once upon a time, in a distant galaxy, there was a spaceship called Voyager.",
    "What are some of the best strategies within NFL Fantasy",
    "A blockchain is",
    "The three most important inventions of the last century are",
    "def fibonacci(n):",
    "Dear customer, thank you for",
)


class Parting(NamedTuple):
    """Where two texts of one request part.

    Args:
        position: of the first token that differs, from 0.
        margin: how far the first engine's token was ahead of the second's there, in logits, noise included.
    """

    position: int
    margin: float


def drawn(engine: Any, draws: int, tokens: int) -> dict[tuple[str, float, int], Completion]:
    """Every prompt, temperature and draw; greedy once.

    Args:
        engine: draws.
        draws: of each prompt and temperature.
        tokens: of each text.

    Returns:
        Completions by prompt, temperature and draw.
    """
    asked = [
        Request(Prompt(p), engine.encode(Prompt(p)), SamplingParams(temperature=t), 0, d, tokens)
        for p in PROMPTS
        for t in TEMPERATURES
        for d in range(draws if t else 1)
    ]
    keys = {r: (r.prompt.shown, r.params.temperature or 0.0, r.draw) for r in asked}
    return {keys[c.request]: c for c in engine.generate(asked)}


def parting(engine: Any, mine: Completion, other: Completion) -> Parting | None:
    """Where a text parts from another engine's, None where it does not.

    Args:
        engine: drew `mine`.
        mine, other: texts of one request.

    Returns:
        The place and the margin.
    """
    pairs = list(zip(mine.token_ids, other.token_ids, strict=False))
    position = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    if position is None:
        return None
    request, (a, b) = mine.request, pairs[position]
    session = engine.session(len(request.prompt_ids) + position + 2, 2)
    logits = session.score(request.prompt_ids, mine.token_ids[: position + 1])
    ahead, behind = engine.law.take(logits, [position, position], [a, b])
    key = noise.key(request.seed, request.prompt_ids, request.draw)
    g = noise.gumbel(noise.words(key, position, engine.vocab_size)[[a, b]])
    return Parting(position, float(ahead - behind + (request.params.temperature or 0.0) * (g[0] - g[1])))


def apart(one: Any, two: Any, texts: Sequence[Completion]) -> tuple[float, float]:
    """How far two engines' next-token distributions lie apart after the same tokens.

    Args:
        one, two: the engines.
        texts: whose tokens are read.

    Returns:
        Mean total variation distance; standard deviation of the difference of two logits among the ten likeliest.
    """
    distances: list[float] = []
    differences: list[float] = []
    for text in texts:
        rows = []
        for engine in (one, two):
            session = engine.session(len(text.request.prompt_ids) + len(text.token_ids) + 1, 2)
            scored: Any = session.score(text.request.prompt_ids, text.token_ids)
            found = np.asarray(scored.numpy() if hasattr(scored, "numpy") else scored).astype(np.float64)
            rows.append(found - np.log(np.exp(found - found.max(1, keepdims=True)).sum(1, keepdims=True))
                        - found.max(1, keepdims=True))  # fmt: skip
        distances += (np.abs(np.exp(rows[0]) - np.exp(rows[1])).sum(1) / 2).tolist()
        top = np.argsort(rows[0], axis=1)[:, -10:]
        change = np.take_along_axis(rows[1] - rows[0], top, 1)
        differences += (change - change.mean(1, keepdims=True)).ravel().tolist()
    return float(np.mean(distances)), float(np.std(differences) * np.sqrt(2))


def main() -> None:
    """Draw through both, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", default=None, help="a GGUF file; the embedded model's by default")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    given = parser.parse_args()
    file = given.file or embedded.gguf_file()
    one, two = poise.load(f"gguf:{file}", dtype="float32"), poise.load(f"llamacpp:{file}")
    here, there = (drawn(engine, given.draws, given.tokens) for engine in (one, two))
    print("| temperature | texts | that differ | median place of parting | median margin | largest |")
    print("|---|---|---|---|---|---|")
    for t in TEMPERATURES:
        keys = [k for k in here if k[1] == t]
        found = [p for k in keys if (p := parting(one, here[k], there[k])) is not None]
        places = f"{np.median([p.position for p in found]):.0f}" if found else "none"
        margins = [p.margin for p in found] or [0.0]
        print(f"| {t:g} | {len(keys)} | {len(found) / len(keys):.0%} | {places} | {np.median(margins):.2g} "
              f"| {max(margins):.2g} |")  # fmt: skip
    distance, spread = apart(one, two, [here[p, 0.7, 0] for p in PROMPTS])
    print(f"\nAfter the same tokens the two distributions lie {distance:.2g} apart (total variation, mean); the")
    print(f"difference of two of the ten largest logits moves by {spread:.2g} (standard deviation).")


if __name__ == "__main__":
    main()
