"""Runs the law against the engines that are here, and writes the figures of docs/conformance.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

from scripts.conformance import outside
from scripts.conformance.judge import Score
from scripts.conformance.page import PAGE, keep, page

ROWS = 100_000
Run = Callable[[int, int], tuple[Score, str]]


def _transformers(rows: int, seed: int) -> tuple[Score, str]:
    from scripts.conformance import of_transformers

    return of_transformers.compared(rows, seed), of_transformers.VERSION


def _llamacpp(rows: int, seed: int) -> tuple[Score, str]:
    from scripts.conformance import of_llamacpp

    return of_llamacpp.compared(rows, seed), of_llamacpp.VERSION


def _outside(engine: outside.Engine) -> Run:
    return lambda rows, seed: outside.compared(engine, rows, seed)


# Each dialect's run, and whether it can be made here.
RUNS: Mapping[str, tuple[bool, Run]] = {
    "transformers": (find_spec("transformers") is not None, _transformers),
    "llama.cpp": (find_spec("llama_cpp") is not None, _llamacpp),
    **{e.name: (e.ready, _outside(e)) for e in (outside.VLLM, outside.MLX, outside.SGLANG)},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what can be run, keep the figures, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="random rows for each engine; 0 writes the page alone")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=RUNS, nargs="+", default=list(RUNS), help="those to run")
    given = parser.parse_args(arguments)
    for name in given.engine if given.rows else ():
        ready, run = RUNS[name]
        if not ready:
            print(f"{name} is not set up here: its figures stay as they are", file=sys.stderr)
            continue
        score, version = run(given.rows, given.seed)
        keep(name, version, score)
        print(f"{name} {version}: {score.rows:,} rows, {score.total('different'):,} differences", file=sys.stderr)
        for examples in score.examples.values():
            print("\n".join(examples[:3]), file=sys.stderr)
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
