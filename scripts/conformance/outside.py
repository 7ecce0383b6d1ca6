"""Engines with an interpreter of their own: rows go there as a file, and come back as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from scripts.conformance.judge import Score, Stage, judged, said_of
from scripts.conformance.rows import Group, Rng, Wanted, groups

from poise.dialects import DIALECTS, Dialect

ROOT = Path(__file__).resolve().parent.parent.parent
INSIDE = Path(__file__).resolve().parent / "inside"
BATCH = 100  # groups of one file
Answer = list[tuple[tuple[str, ...], Any]]  # the steps and the rows (B, V) of each stage


class Engine(NamedTuple):
    """An engine that is asked through a script.

    Args:
        name: the dialect.
        script: file in `inside`.
        folder: its environment in the repository; `make servers` sets it up.
        wanted: what to draw, each with its share of the rows.
        own: whether its folder has an interpreter, rather than packages for ours.
    """

    name: str
    script: str
    folder: str
    wanted: tuple[tuple[Wanted, float], ...]
    own: bool = True

    @property
    def ready(self) -> bool:
        """Whether its environment is set up."""
        return (ROOT / self.folder / ".installed").exists()


def _tiny(rng: Rng, size: int) -> float:
    return float(rng.choice([0.004, 5e-6]))


_PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")
_VLLM = Wanted("vllm", ("bad_words", "logit_bias", *_PENALTIES, "temperature", "min_p", "top_k", "top_p"))
VLLM = Engine(
    "vllm", "vllm_rows.py", ".venv-vllm",
    (
        (_VLLM, 0.9),
        (_VLLM._replace(values={"temperature": lambda rng, size: 0.0}, always=("temperature",)), 0.05),
        (_VLLM._replace(values={"temperature": _tiny}, always=("temperature",)), 0.05),
    ),
)  # fmt: skip
_MLX = Wanted(
    "mlx", ("logit_bias", *_PENALTIES, "top_p", "min_p", "xtc_probability", "top_k", "temperature"), without=(),
    values={
        "penalty_last_n": lambda rng, size: int(rng.choice([1, 5, 20, 64])),
        "xtc_threshold": lambda rng, size: float(rng.choice([0.0625, 0.125, 0.25, 0.5, rng.uniform(0.01, 0.5)])),
        "top_k": lambda rng, size: int(rng.integers(1, size)),
    },
)  # fmt: skip
MLX = Engine("mlx", "mlx_rows.py", ".venv-mlx", ((_MLX, 1.0),))
# SGLang's own sampler for PyTorch cuts otherwise than FlashInfer's kernels, which it takes where it can.
PYTORCH = replace(
    DIALECTS["sglang"], name="sglang-pytorch",
    rules=replace(DIALECTS["sglang"].rules, top_k_ties="exact", top_p_scope="joint", top_p_passes=True),
)  # fmt: skip
_SGLANG = Wanted(
    PYTORCH.name,
    ("frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias", "temperature", "top_k", "top_p",
     "min_p"),
)  # fmt: skip
SGLANG = Engine("sglang", "sglang_rows.py", ".venv-sglang", ((_SGLANG, 1.0),), own=False)


def compared(engine: Engine, rows: int, seed: int = 1) -> tuple[Score, str]:
    """The law against an engine.

    Args:
        engine: which.
        rows: how many random ones.
        seed: of the draw.

    Returns:
        What was found, and the engine's version.
    """
    score, version = Score(engine.name), ""
    with known(PYTORCH):
        for i, (wanted, share) in enumerate(engine.wanted):
            drawn = groups(wanted, round(rows * share), seed + i)
            while batch := list(islice(drawn, BATCH)):
                version, answers = asked(engine, batch)
                for group, after in zip(batch, answers, strict=True):
                    _counted(score, group, after, f"seed {seed + i}")
    return score, version


def _counted(score: Score, group: Group, after: Answer, seed: str) -> None:
    for j in range(len(group.logits)):
        stages = [Stage(steps, rows[j]) for steps, rows in after]
        found = judged(group.logits[j].astype(np.float64), group.settings, said_of(group, j), stages)
        score.add(found, f"{seed}, row {score.rows}: {group.settings}")


@contextmanager
def known(dialect: Dialect) -> Iterator[None]:
    """A dialect that poise does not offer, while the block runs.

    Args:
        dialect: its data.

    Yields:
        Nothing.
    """
    table: Any = DIALECTS
    table[dialect.name] = dialect
    try:
        yield
    finally:
        del table[dialect.name]


def asked(engine: Engine, batch: Sequence[Group]) -> tuple[str, Iterator[Answer]]:
    """Run some groups through an engine.

    Args:
        engine: which.
        batch: groups.

    Returns:
        Its version, and for each group the steps and the rows (B, V) of each stage.
    """
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "asked.npz", Path(folder) / "answered.npz"
        arrays: dict[str, Any] = {}
        for g, group in enumerate(batch):
            arrays |= {f"logits{g}": group.logits, f"prompt{g}": group.prompt, f"output{g}": group.output}
        np.savez(source, settings=json.dumps([g.settings for g in batch]), **arrays)
        _run(engine, [str(INSIDE / engine.script), str(source), str(target)])
        with np.load(target) as given:
            names = json.loads(str(given["names"]))
            answers: list[Answer] = [
                [(tuple(steps), given[f"rows{g}_{j}"]) for j, steps in enumerate(stages)]
                for g, stages in enumerate(names)
            ]
            return str(given["version"]), iter(answers)


def scopes() -> list[list[Any]]:
    """What mlx-lm's `generate_step` penalises at its first steps, and what it draws, in three cases."""
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "asked.npz", Path(folder) / "answered.npz"
        np.savez(source, settings="[]")
        _run(MLX, [str(INSIDE / MLX.script), str(source), str(target)])
        with np.load(target) as given:
            found: list[list[Any]] = json.loads(str(given["scope"]))
            return found


def _run(engine: Engine, words: list[str]) -> None:
    python = str(ROOT / engine.folder / "bin" / "python") if engine.own else sys.executable
    more: Mapping[str, str] = {} if engine.own else {"PYTHONPATH": str(ROOT / engine.folder)}
    done = subprocess.run(  # noqa: S603
        [python, *words], capture_output=True, text=True, check=False, cwd=INSIDE, env={**os.environ, **more}
    )
    if done.returncode:
        raise RuntimeError(f"{engine.name}: {done.stderr[-2000:]}")
