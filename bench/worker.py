"""One contender in a process of its own: says when it is ready, then runs on demand.

Speaks lines of JSON: {"ready": seconds} once, then for each line read {"tokens", "seconds", ...}.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.work import (
    ARTICLE_TWO,
    AXIS,
    DRAWS,
    HUNDREDTHS,
    LONG,
    LONG_AXIS,
    PROMPT,
    TEMPERATURES,
    TOKENS,
)

Result = dict[str, Any]
Runner = Callable[[], Result]


def article() -> Runner:
    """The article's loop: one `generate` a text. One draw of each temperature a run; its speed is the same for all."""
    return _transformers(draws=1)


def generate() -> Runner:
    """transformers' `generate` with all draws of a temperature in one call."""
    return _transformers(draws=DRAWS)


def _transformers(draws: int, temperatures: Sequence[float] = TEMPERATURES) -> Runner:
    import torch
    import transformers

    from poise import models
    from poise.engines import conversion

    directory = models.find("smollm2", convert=conversion.convert).directory
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=_dtype()).eval()
    inputs = transformers.AutoTokenizer.from_pretrained(directory)(PROMPT, return_tensors="pt")

    def call(temperature: float) -> int:
        how = {"do_sample": False} if temperature == 0 else {"do_sample": True, "temperature": temperature, "top_k": 0}
        copies = {} if temperature == 0 else {"num_return_sequences": draws}
        fed = {k: v.repeat(draws, 1) for k, v in inputs.items()} if temperature == 0 else inputs
        out = model.generate(**fed, **how, **copies, max_new_tokens=TOKENS, pad_token_id=model.config.eos_token_id[0])
        new = out[:, inputs["input_ids"].shape[1] :]
        ends = torch.isin(new, torch.tensor(model.config.eos_token_id))
        return int(((ends.cumsum(1) - ends.long()) == 0).sum())  # tokens up to the end of each text

    return lambda: {"tokens": sum(call(t) for t in temperatures)}


def poise_sweep(settings: int = len(TEMPERATURES)) -> Runner:
    """The same sweep through poise, a new study each time."""
    import tempfile
    from pathlib import Path

    import poise

    engine = poise.load("smollm2", dtype=os.environ["BENCH_DTYPE"])
    high = TEMPERATURES[-1]
    grid = poise.grid(temperature=[high * i / (settings - 1) for i in range(settings)])

    def run() -> Result:
        seen: list[Any] = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bench.db"
            asked = {"study": path, "baselines": False, "draws": DRAWS, "max_tokens": TOKENS}
            study = poise.sweep(engine, PROMPT, grid, progress=lambda done, total, tally: seen.append(tally), **asked)
            study.close()
        return {"tokens": seen[-1].tokens, "rows": seen[-1].rows, "split": dict(seen[-1].seconds)}

    return run


def poise_doubled() -> Runner:
    """Twice the settings in the same range."""
    return poise_sweep(2 * len(TEMPERATURES))


def dial_axis() -> Runner:
    """The whole axis of temperatures, one draw, through poise; a new study each time."""
    return _dial(AXIS, TOKENS)


def dial_long() -> Runner:
    """A long text over [0, 1]."""
    return _dial(LONG_AXIS, LONG)


def _dial(axis: tuple[float, float], tokens: int) -> Runner:
    import tempfile
    from pathlib import Path

    import poise

    engine = poise.load("smollm2", dtype=os.environ["BENCH_DTYPE"])

    def run() -> Result:
        with tempfile.TemporaryDirectory() as folder:
            asked = {"study": Path(folder) / "bench.db", "draws": 1, "max_tokens": tokens}
            dials = poise.dial(engine, PROMPT, "temperature", *axis, **asked)
        return {
            "tokens": sum(len(p.prefix) for p in dials.pieces),
            "rows": dials.cost.rows,
            "pieces": dials.cost.pieces,
            "expected_pieces": dials.cost.expected_pieces,
            "expected_rows": dials.cost.expected_rows,
            "split": dict(dials.cost.parts),
        }

    return run


def article_two() -> Runner:
    """The article's loop at two temperatures, one text each."""
    return _transformers(draws=1, temperatures=ARTICLE_TWO)


def vllm_hundredths() -> Runner:
    """vLLM's CPU build, one text at each of 151 temperatures, in one call."""
    return vllm(HUNDREDTHS, draws=1)


def vllm(temperatures: Sequence[float] = TEMPERATURES, draws: int = DRAWS) -> Runner:
    """vLLM's CPU build, all texts in one call. Runs in an environment of its own."""
    import vllm as engine

    limits = {"max_model_len": 256, "max_num_seqs": 256, "gpu_memory_utilization": 0.3}  # of the memory, also on a CPU
    model = engine.LLM(os.environ["BENCH_MODEL"], dtype=os.environ["BENCH_DTYPE"], **limits)
    asked = [engine.SamplingParams(temperature=t, n=1, max_tokens=TOKENS) for t in temperatures for _ in range(draws)]

    def run() -> Result:
        done = model.generate([PROMPT] * len(asked), asked, use_tqdm=False)
        return {"tokens": sum(len(o.token_ids) for d in done for o in d.outputs)}

    return run


def _dtype() -> Any:
    import torch

    return getattr(torch, os.environ["BENCH_DTYPE"])


def serve(name: str) -> None:
    """Warm up once, then run whenever a line comes."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print must not break the protocol
    run = globals()[name]()
    loaded = time.time() - float(os.environ["BENCH_START"])
    start = time.perf_counter()
    run()
    first = time.perf_counter() - start
    print(json.dumps({"loaded": loaded, "first": first}), file=replies, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        result = run()
        result["seconds"] = time.perf_counter() - start
        result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(result), file=replies, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
