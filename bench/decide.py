"""`python -m bench.decide`: a large study measured and decided: seconds and memory against their targets."""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import poise
from poise.engines.fake import FakeEngine
from poise.params import SamplingParams
from poise.records import Completion, Prompt, Request
from poise.study import Study

SETTINGS, PROMPTS, DRAWS, TOKENS = 50, 100, 8, 48
METRICS = (
    "seq_rep_4", "loop_rate", "compression_ratio", "distinct_2", "distinct_texts", "word_vector_distance", "nll",
    "relevance", "length", "finish_eos",
)  # fmt: skip
GOAL = {"lower": "seq_rep_4", "also": {"raise": "distinct_2"}, "constraints": ["loop_rate <= 0.2"],
        "matters": 0.02, "baseline": "temperature=0.02"}  # fmt: skip
TARGETS = {"decide": 10.0, "measure and decide": 60.0, "GiB": 1.0}


def main() -> None:
    """Fill a study, measure ten metrics, decide twice; print what it took."""
    parser = argparse.ArgumentParser(prog="python -m bench.decide", description=__doc__)
    parser.add_argument("--settings", type=int, default=SETTINGS, help=f"{SETTINGS} by default")
    parser.add_argument("--prompts", type=int, default=PROMPTS, help=f"{PROMPTS} by default")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Study.open(Path(folder) / "large.db") as study:
        texts = fill(study, asked.settings, asked.prompts)
        print(f"{asked.settings} settings, {asked.prompts} prompts, {DRAWS} draws: {texts:,} texts of {TOKENS} tokens")
        measured = _timed("measure ten metrics", lambda: poise.measure(study, metrics=METRICS))
        decided = _timed("decide", lambda: poise.decide(study, goal=GOAL))
        _timed(
            "decide on another goal", lambda: poise.decide(study, goal={"raise": "nll", "baseline": GOAL["baseline"]})
        )
    print(f"decide {decided:.1f} s (target {TARGETS['decide']:.0f}), with measuring {measured + decided:.1f} s", end="")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f" (target {TARGETS['measure and decide']:.0f}); peak memory {peak:.2f} GiB (target {TARGETS['GiB']:.0f})")


def _timed(said: str, work) -> float:  # type: ignore[no-untyped-def]
    start = time.perf_counter()
    work()
    spent = time.perf_counter() - start
    print(f"{said}: {spent:.1f} s", flush=True)
    return spent


def fill(study: Study, settings: int, prompts: int) -> int:
    """Add texts of the fake model's words; a colder setting repeats itself more.

    Args:
        study: empty.
        settings, prompts: how many.

    Returns:
        How many texts were added.
    """
    engine = FakeEngine()
    study.bind(engine.fingerprint, latest=False)
    added = list(_texts(engine, settings, prompts))
    study.expect([c.request for c in added])
    with study._db.transaction():  # one by one each would wait for the disk
        for completion in added:
            study.add(completion)
    return len(added)


def _texts(engine: FakeEngine, settings: int, prompts: int) -> Iterator[Completion]:
    rng = np.random.default_rng(0)
    laws = [SamplingParams(temperature=round(0.02 * (k + 1), 2)).normalised() for k in range(settings)]
    asked = [
        Prompt(f"Tell number {p} of the {w}", use_case="large") for p, w in zip(range(prompts), _nouns(), strict=False)
    ]
    for number, prompt in enumerate(asked):
        ids = (1 + number // 11, 1 + number % 11, *engine.encode(prompt))  # each its own
        for k, params in enumerate(laws):
            for draw in range(DRAWS):
                tokens = rng.integers(1, engine.vocab_size, TOKENS)
                if rng.random() < 0.6 - 0.5 * k / settings:  # it comes round to its beginning
                    start = int(rng.integers(4, TOKENS - 8))
                    tokens[start:] = np.resize(tokens[:start], TOKENS - start)
                said = tuple(tokens.tolist())
                request = Request(prompt, ids, params, 0, draw, TOKENS)
                yield Completion(request, engine.decode(said), said, tuple(-rng.exponential(size=TOKENS)), "length")


def _nouns() -> Iterator[str]:
    while True:
        yield from ("ship", "star", "harbour", "captain", "storm", "island", "map", "song", "lamp", "river", "night")


if __name__ == "__main__":
    main()
