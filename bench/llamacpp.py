"""Ways for llama.cpp to compute many texts: which keep a row's bits, and what a row costs.

`python -m bench.llamacpp [FILE.gguf]`: one thread, the embedded model unless a file is named. Figures are the least of
several rounds, in milliseconds of processor time, so that other work on the machine disturbs them little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np

from poise.engines import llamacpp_session
from poise.engines.llamacpp_library import Context, Model
from poise.engines.llamacpp_session import LlamaCppSession
from poise.engines.padding import Padding
from poise.models import embedded

ROWS, START, STEPS, ROUNDS = 64, 24, 24, 3
KINDS = {
    "a stream for every row, flash attention": (False, -1),
    "a stream for every row, plain attention": (False, 0),
    "one cache for all, flash attention": (True, -1),
    "one cache for all, plain attention": (True, 0),
}


class Laid(Context):
    """A context with its cache laid out as asked: what `Context` sets is changed on its way to the library."""

    def __init__(self, model: Model, unified: bool, attention: int) -> None:
        real = lib.llama_init_from_model

        def changed(pointer: Any, wanted: Any) -> Any:
            wanted.kv_unified, wanted.flash_attn_type = unified, attention
            return real(pointer, wanted)

        lib.llama_init_from_model = changed
        try:
            super().__init__(model, ROWS, 256, 1)
        finally:
            lib.llama_init_from_model = real


def least_ms(work: Callable[[], object], rows: int) -> float:
    """Processor time of a row, milliseconds."""
    found = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        found.append((time.process_time() - start) / rows * 1e3)
    return min(found)


def texts(model: Model) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Token ids of texts made up, (rows, tokens); all begin alike."""
    made = np.random.default_rng(0).integers(model.size, size=(ROWS, START + STEPS))
    made[:, :START] = made[0, :START]
    return made


def lay(model: Model, unified: bool, attention: int) -> tuple[int, float]:
    """Draw texts side by side with half of them replaced under way, then each alone.

    Args:
        model: the model.
        unified: one cache for all rows.
        attention: 0 plain, -1 as llama.cpp chooses.

    Returns:
        How many of the texts had other last logits alone; processor time of a row, milliseconds.
    """
    said, rng = texts(model), np.random.default_rng(1)

    def drawn(chosen: list[int], context: Context, leave: bool) -> tuple[dict[int, Any], float]:
        held, spent, rows = dict.fromkeys(chosen, START), 0.0, 0
        for i in chosen:
            context.decode(said[i, :START].tolist(), range(START), [i] * START, 1)
        last: dict[int, Any] = {}
        while held:
            now = sorted(held)
            tokens, places = [int(said[i, held[i]]) for i in now], [held[i] for i in now]
            start = time.process_time()
            found = context.decode(tokens, places, now, len(now))
            spent, rows = spent + time.process_time() - start, rows + len(now)
            for i, row in zip(now, found, strict=True):
                held[i] += 1
                if held[i] == START + STEPS:
                    last[i] = row
                    del held[i]
                elif leave and rng.random() < 0.04:  # this row ends, and another takes its place
                    context.cut(i, 0)
                    context.decode(said[i, :START].tolist(), range(START), [i] * START, 1)
                    held[i] = START
        return last, spent / rows * 1e3

    together, spent = drawn(list(range(ROWS)), Laid(model, unified, attention), True)
    alone = {i: drawn([i], Laid(model, unified, attention), False)[0][i] for i in range(0, ROWS, 4)}
    return sum(not np.array_equal(alone[i], together[i]) for i in alone), spent


def pad(model: Model) -> None:
    """Print which paddings keep every bit, and what a row costs, among many and alone."""
    session = LlamaCppSession(model, Padding(1, 1, 1, False), 1, llamacpp_session.LONG + 1, ROWS, lambda v: v)
    rows, tokens = llamacpp_session._scene(session, model.size, llamacpp_session.LONG)

    def step(count: int) -> None:
        children, _ = session.computed(rows[:count], tokens[:count])
        session.drop(children)

    print("| rows of a batch | bits | ms a row, of 64 | ms a row, alone |\n|---|---|---|---|")
    for least, multiple, most in (*((n, m, ROWS) for n, m in llamacpp_session.PADDINGS), (ROWS, ROWS, ROWS), (1, 1, 1)):
        session.padding = Padding(least, multiple, most, True)
        steady = "the same" if llamacpp_session._steady(session, rows, tokens) else "others"
        many, one = least_ms(lambda: step(ROWS), ROWS), least_ms(lambda: step(1), 1)
        print(f"| at least {least}, multiples of {multiple}, at most {most} | {steady} | {many:.2f} | {one:.1f} |")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path)
    file = parser.parse_args().file or embedded.gguf_file()
    model = Model(str(file), cpu=True)
    print(f"{file.name}: {model.file_type}, {lib.llama_print_system_info().decode().strip(' |')}\n")
    print("| cache | of 16 texts, others alone | ms a row |\n|---|---|---|")
    for name, (unified, attention) in KINDS.items():
        differ, spent = lay(model, unified, attention)
        print(f"| {name} | {differ} | {spent:.2f} |", flush=True)
    print()
    pad(model)


if __name__ == "__main__":
    main()
