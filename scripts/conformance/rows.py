"""Random rows and settings, with the ties, infinities and edges that real ones have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.dialects import DIALECTS
from poise.param_lists import LISTS
from poise.params import FOLLOWERS, PARAMETERS, SamplingParams

Rng = np.random.Generator
Settings = dict[str, Any]
EACH = 50  # rows of a group: they share settings, vocabulary and lengths
SIZES = (2, 5, 40, 130, 300)  # vocabularies
MINUS = -np.inf

# What llama.cpp has one sampler for, besides biases, which come first.
UNITS: list[tuple[str, ...]] = [
    ("repetition_penalty", "frequency_penalty", "presence_penalty"), ("dry_multiplier",), ("top_n_sigma",),
    ("top_k",), ("typical_p",), ("top_p",), ("min_p",), ("xtc_probability",), ("temperature", "dynatemp_range"),
]  # fmt: skip


class Group(NamedTuple):
    """Rows under the same settings.

    Args:
        settings: of `SamplingParams`.
        logits: (B, V), float32.
        unconditional: (B, V), float32, for guidance.
        prompt: (B, P) token ids.
        output: (B, O) token ids.
        breakers: sequences of token ids, for DRY.
    """

    settings: Settings
    logits: NDArray[np.float32]
    unconditional: NDArray[np.float32]
    prompt: NDArray[np.int64]
    output: NDArray[np.int64]
    breakers: tuple[tuple[int, ...], ...]

    @property
    def params(self) -> SamplingParams:
        """The settings, checked."""
        return SamplingParams.model_validate(self.settings)


def _between(low: float, high: float) -> Callable[[Rng, int], float]:
    return lambda rng, size: float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _share(*edges: float) -> Callable[[Rng, int], float]:
    """A number between 0 and 1, now and then one of the edges."""
    return lambda rng, size: float(rng.choice(edges)) if rng.random() < 0.2 else float(rng.uniform(0.01, 0.999))


def _whole(low: int, high: int) -> Callable[[Rng, int], int]:
    return lambda rng, size: int(rng.integers(low, high + 1))


# How a value of each parameter is drawn, from the generator and the vocabulary's size.
VALUES: Mapping[str, Callable[[Rng, int], Any]] = {
    "temperature": _between(0.2, 3),
    "top_k": lambda rng, size: int(np.exp(rng.uniform(0, np.log(size + 5)))),
    "top_p": _share(0.25, 0.5, 0.75, 0.875, 0.999),
    "min_p": _share(0.125, 0.25, 0.5, 1.0),
    "typical_p": _share(0.25, 0.5, 0.75, 0.999),
    "repetition_penalty": _between(0.6, 1.9),
    "frequency_penalty": lambda rng, size: float(rng.uniform(-2, 2)),
    "presence_penalty": lambda rng, size: float(rng.uniform(-2, 2)),
    "top_n_sigma": _between(0.1, 4),
    "epsilon_cutoff": _between(1e-4, 0.9),
    "eta_cutoff": _between(1e-4, 0.9),
    "top_h": _share(0.5, 0.25),
    "dynatemp_range": _between(0.05, 2),
    "dynatemp_exponent": _between(0.3, 3),
    "xtc_probability": lambda rng, size: 1.0,
    "xtc_threshold": lambda rng, size: float(rng.choice([0.0625, 0.125, 0.25, 0.5, rng.uniform(0.01, 0.6)])),
    "penalty_last_n": lambda rng, size: int(rng.choice([0, 1, 5, 64])),
    "dry_multiplier": _between(0.2, 3),
    "dry_base": _between(1.05, 3),
    "dry_allowed_length": _whole(1, 5),
    "dry_last_n": lambda rng, size: int(rng.choice([2, 10, 64, 500])),
    "no_repeat_ngram_size": _whole(1, 4),
    "guidance_scale": _between(0.5, 3),
    "mirostat": _whole(1, 2),
    "mirostat_tau": _between(0.3, 8),
    "mirostat_eta": _between(0.01, 0.5),
}


class Wanted(NamedTuple):
    """Which settings to draw.

    Args:
        dialect: a key of `DIALECTS`.
        steps: those that the engine can be asked for.
        infinite: whether rows and biases have -∞.
        sizes: of vocabularies.
        values: how some are drawn, instead of `VALUES`.
        order: whether orders of the steps are drawn too.
        without: what shapes a step in poise, but not in the engine.
        always: steps that are on in every group.
    """

    dialect: str
    steps: tuple[str, ...]
    infinite: bool = True
    sizes: tuple[int, ...] = SIZES
    values: Mapping[str, Callable[[Rng, int], Any]] = {}
    order: bool = False
    without: tuple[str, ...] = ("penalty_last_n",)
    always: tuple[str, ...] = ()


def settings_of(wanted: Wanted, steps: Sequence[str], size: int, rng: Rng) -> Settings:
    """Values of some steps and of what shapes them.

    Args:
        wanted: of the dialect.
        steps: which are on.
        size: V.
        rng: whence values come.

    Returns:
        What `SamplingParams` takes.
    """
    limits = DIALECTS[wanted.dialect].limits
    found: Settings = {}
    for step in steps:
        if step == "logit_bias":
            found[step] = _biases(size, wanted.infinite and step not in limits, rng)
        elif step in PARAMETERS:
            shaping = [f for f in FOLLOWERS.get(step, ()) if f in VALUES and f not in wanted.without]
            for name in (step, *(f for f in shaping if rng.random() < 0.7)):
                low, high = limits.get(name, (-np.inf, np.inf))
                value = min(max(wanted.values.get(name, VALUES[name])(rng, size), low), high)
                found[name] = value if isinstance(value, int) else float(np.float32(value))  # as engines make of it
    if wanted.order and rng.random() < 0.5:
        units = [u for u in UNITS if u[0] in wanted.steps]
        units = [units[i] for i in rng.permutation(len(units))]
        found["order"] = ("logit_bias", *(s for unit in units for s in unit))
    return {**found, "dialect": wanted.dialect}


def _biases(size: int, infinite: bool, rng: Rng) -> dict[int, float]:
    ids = rng.choice(size - 1, min(size - 1, int(rng.integers(1, 6))), replace=False)
    return {int(i): MINUS if infinite and rng.random() < 0.2 else float(np.float32(rng.normal(0, 4))) for i in ids}


def rows_of(count: int, size: int, rng: Rng) -> NDArray[np.float32]:
    """Rows from flat to peaked: some tie, some are powers of two, some all the same.

    Args:
        count: B.
        size: V.
        rng: whence they come.

    Returns:
        (B, V).
    """
    rows = rng.normal(0, rng.uniform(0.2, 4, (count, 1)), (count, size)) + rng.normal(0, 3, (count, 1))
    kind = rng.integers(0, 10, count)
    rows[kind == 1] = np.round(rows[kind == 1] * 4) / 4  # many ties
    rows[kind == 2] = -np.log(2) * rng.integers(0, 6, (int(np.sum(kind == 2)), size))  # masses that add up to edges
    rows[kind == 3] *= rng.uniform(2, 4)  # peaked
    if np.any(kind == 4):
        rows[kind == 4] = rng.normal()  # all the same
    return rows.astype(np.float32)


def _infinities(rows: NDArray[Any], rng: Rng) -> NDArray[Any]:
    """Cut some tokens of every fifth row, down to the last, which nothing here ever cuts."""
    last = rows.shape[1] - 1
    for i in np.flatnonzero(rng.random(len(rows)) < 0.2):
        rows[i, rng.choice(last, int(rng.integers(1, last + 1)), replace=False)] = MINUS
    return rows


def groups(wanted: Wanted, rows: int, seed: int) -> Iterator[Group]:
    """Groups of rows until there are enough: half of them one step alone, half a chain of several.

    Args:
        wanted: what to draw.
        rows: how many altogether.
        seed: of the draw.

    Yields:
        Groups of `EACH` rows; the last may be smaller.
    """
    rng = np.random.default_rng(seed)
    order = [s for s in DIALECTS[wanted.dialect].order if s in wanted.steps]
    for done in range(0, rows, EACH):
        count = min(EACH, rows - done)
        size = int(rng.choice(wanted.sizes))
        alone = rng.random() < 0.5
        on = [str(rng.choice(order))] if alone else [s for s in order if rng.random() < 0.5]
        on = [s for s in order if s in on or s in wanted.always]
        said = int(rng.integers(2, 7))  # few words make many repetitions
        words = rng.choice(size - 1, min(size - 1, said), replace=False)
        prompt = rng.choice(words, (count, int(rng.integers(1, 40))))
        output = rng.choice(words, (count, int(rng.integers(0, 40))))
        breakers = tuple(
            tuple(int(i) for i in rng.choice(words, rng.integers(1, 3))) for _ in range(rng.integers(0, 3))
        )
        settings = settings_of(wanted, on, size, rng)
        if "bad_words" in on:
            settings["bad_words"] = _bad_words(words, prompt, output, rng)
        logits = _infinities(rows_of(count, size, rng), rng) if wanted.infinite else rows_of(count, size, rng)
        yield Group(settings, logits, rows_of(count, size, rng), prompt, output, tuple(set(breakers)))


def _bad_words(
    words: NDArray[Any], prompt: NDArray[Any], output: NDArray[Any], rng: Rng
) -> tuple[tuple[int, ...], ...]:
    """Single tokens and sequences; some begin as the first row ends."""
    said = [int(i) for i in (*prompt[0], *output[0])]
    found = {tuple(int(i) for i in rng.choice(words, rng.integers(1, 4))) for _ in range(3)}
    found.add((*said[-2:], int(words[0])))
    return tuple(sorted(found))


assert not {*VALUES} & {*LISTS}
