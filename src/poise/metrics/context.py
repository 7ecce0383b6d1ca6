"""What a metric may look at besides the texts it measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from poise.metrics.sizes import Lengths, Sizes, common_sizes
from poise.metrics.vectors import WordVectors
from poise.params import SamplingParams
from poise.records import Completion, Prompt

Place = tuple[SamplingParams, tuple[int, ...], int, int, bytes]  # settings, prompt ids, seed, draw, text's SHA-256


@dataclass(frozen=True, slots=True)
class PromptVectors:
    """The prompts of a use case as one sum of vectors of length 1, and how many there are.

    Args:
        total: (256,).
        shown: the distinct prompts that went into it.
    """

    total: NDArray[np.float64]
    shown: frozenset[str]


@dataclass(frozen=True, slots=True)
class Context:
    """What the texts of one use case share.

    Args:
        sizes: what texts are cut to.
        prompts: every prompt of the use case.
        vectors: word vectors of any text.
        judgements: what a judge said of the texts, 0 to 1; see `judged.judge`.
        outcomes: what checks found in texts, by prompt and text; filled by `checked`.
    """

    sizes: Sizes = field(default_factory=Sizes)
    prompts: tuple[Prompt, ...] = ()
    vectors: WordVectors = field(default_factory=WordVectors)
    judgements: Mapping[Place, float] = field(default_factory=dict)
    outcomes: dict[tuple[Prompt, str], tuple[float, bool]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _prompt_vectors: list[PromptVectors] = field(default_factory=list, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, groups: Sequence[Sequence[Completion]]) -> Context:
        """The context of some completions, for measuring without a study.

        Args:
            groups: completions of one prompt under one setting each.

        Returns:
            Sizes at which all of them can be compared, and their prompts.
        """
        lengths = [lengths_of(i, group) for i, group in enumerate(groups)]
        prompts = dict.fromkeys(c.request.prompt for group in groups for c in group)
        return cls(common_sizes(lengths), tuple(prompts))

    def prompt_vectors(self) -> PromptVectors:
        """The prompts' vectors, summed once."""
        if not self._prompt_vectors:
            found = {p.shown: self.vectors.of(p.shown) for p in self.prompts}
            known = {shown: vector for shown, vector in found.items() if vector is not None}
            total = np.sum(list(known.values()), axis=0) if known else np.zeros(0)
            self._prompt_vectors.append(PromptVectors(total, frozenset(known)))
        return self._prompt_vectors[0]


def lengths_of(trial: int, group: Sequence[Completion]) -> Lengths:
    """How long the texts of a group are.

    Args:
        trial: number of the setting they were drawn under.
        group: completions of one prompt under that setting.

    Returns:
        Tokens without the closing end-of-text token, and UTF-8 bytes.
    """
    tokens = np.array([len(c.content_ids) for c in group], dtype=np.int64)
    return Lengths(trial, tokens, np.array([len(utf8(c.text)) for c in group], dtype=np.int64))


def utf8(text: str) -> bytes:
    """A text's bytes; lone surrogates survive."""
    return text.encode("utf-8", "surrogatepass")
