"""Where settings go, and how they are written there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from poise.parameters import Number

Form = Literal["json", "python", "flags", "modelfile", "keys"]
BiasStyle = Literal["object", "pairs", "sequences", "flags"]
ALL_TOKENS = 1_048_576  # a window that no text fills; engines keep a buffer of this size
NEARLY_BARRED = -1e30  # a bias that leaves nothing of a token, where -∞ cannot be written
MOST_TOKENS = 2**30  # of a top-k: no vocabulary is larger, and some engines take more for off


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One way of writing settings for a target.

    Args:
        file: the artefact's usual name.
        names: what each parameter is called there; several names are given one value.
        off: what is written where a step is off; what has no entry is left out.
        off_too: values that switch a step off besides, from the first to the second.
        beside: what else is written, so that no step is on for which poise has no parameter.
        bias: what biases are called, and how they are written; None where there is no place for them.
        lowest_bias: the lowest bias that may be written; -∞ where a token can be barred.
        bars: what a list of barred tokens is called, where biases of -∞ are written apart.
        bars_words: whether barred words of one token are written as biases of -∞, and read back as words: where the
            engine takes -∞ and the dialect's biases end before it.
        words: what barred sequences of tokens are called; empty where there is no place for them.
        breakers: what DRY's breakers are called; empty where there is no place for them.
        no_breakers: whether an empty list of breakers may be written.
        sequence: what the order of the steps is called; empty where it is fixed.
        letters: the field whose text says the order with a letter for each step; empty where there is none.
        switch: the field that says whether anything is drawn at random; empty where temperature 0 says it.
        calls: the Python functions that are called, each with the names it takes.
        imports: the line that imports them.
        usage: how to use the artefact, one comment line.
        program: of flags, the words in front of them; what the user adds follows.
        tolerates: whether a field of poise's own may stand in it, for where the settings come from.
        decimals: how many the engine reads of a number; None for all.
        apart: names of fields that shape no law: lengths, seeds, stops, prompts.
        neutral: fields that shape the law and for which poise has no parameter, with the value that switches them off.
        aliases: other spellings, by the name that they mean.
        whole: of a window, the number that stands for the whole text besides `ALL_TOKENS`; None for none.
    """

    file: str
    names: Mapping[str, str | tuple[str, ...]]
    off: Mapping[str, Number]
    off_too: Mapping[str, tuple[Number, Number]] = field(default_factory=dict, hash=False)
    beside: Mapping[str, Any] = field(default_factory=dict, hash=False)
    bias: tuple[str, BiasStyle] | None = None
    lowest_bias: float = float("-inf")
    bars: str = ""
    bars_words: bool = False
    words: str = ""
    breakers: str = ""
    no_breakers: bool = True
    sequence: str = ""
    letters: str = ""
    switch: str = ""
    calls: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    imports: str = ""
    usage: str = ""
    program: tuple[str, ...] = ()
    tolerates: bool = False
    decimals: int | None = None
    apart: frozenset[str] = frozenset()
    neutral: Mapping[str, Any] = field(default_factory=dict, hash=False)
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False)
    whole: int | None = None

    def written(self, name: str) -> tuple[str, ...]:
        """What a parameter is called, all its names; none where there is no place for it."""
        found = self.names.get(name, ())
        return (found,) if isinstance(found, str) else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where settings go.

    Args:
        name: as `--to` takes it.
        dialect: by which the engine draws, a key of `poise.dialects.DIALECTS`.
        about: what comes out, in a few words.
        sheets: the ways of writing them, by form, the usual one first.
        limits: ranges that are narrower than the dialect's, by parameter.
        defaults: what is taken where nothing is said, by parameter; None for the dialect's.
        notes: what whoever uses the artefact should know.
    """

    name: str
    dialect: str
    about: str
    sheets: Mapping[Form, Sheet]
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)
    defaults: Mapping[str, Number] | None = None
    notes: tuple[str, ...] = ()


def shortened(value: float, decimals: int) -> float:
    """A number of 32 bits, read with so many decimals: llama.cpp prints what a GGUF file says before it reads it.

    >>> shortened(0.0512345678, 6)
    0.051235
    """
    return float(f"{float(np.float32(value)):.{decimals}f}")
