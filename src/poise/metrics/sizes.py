"""One size for all texts compared, where a metric depends on length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poise.stats import MIN_UNITS

# Texts are cut to a step of these ladders. A ladder keeps one text that is a token shorter from
# moving everybody's size, and makes sizes of different studies meet.
TOKEN_LADDER = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
BYTE_LADDER = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
REACHED_BY = 0.9
HEARD_FROM = 0.5  # of the largest trial's texts: an aside of one text changes no other comparison


@dataclass(frozen=True, slots=True)
class Sizes:
    """What texts are cut to before a metric that depends on length looks at them; None for no data.

    Args:
        tokens: the first so many tokens of each text count; shorter texts are left out.
        bytes: the same in UTF-8 bytes.
        texts: so many texts of a prompt are compared.
        long_texts: the same among texts that have `tokens` tokens.
    """

    tokens: int | None = None
    bytes: int | None = None
    texts: int | None = None
    long_texts: int | None = None


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the texts of one prompt under one setting are, one number per text."""

    trial: int
    tokens: NDArray[np.int64]
    bytes: NDArray[np.int64]


def heard(groups: Sequence[Lengths]) -> frozenset[int]:
    """The trials that have a say in the common sizes: those with at least half as many texts as the largest.

    Args:
        groups: every prompt under every setting.

    Returns:
        Their numbers.
    """
    texts: Counter[int] = Counter()
    for group in groups:
        texts[group.trial] += len(group.tokens)
    return frozenset(trial for trial, n in texts.items() if n >= HEARD_FROM * max(texts.values()))


def common_sizes(groups: Sequence[Lengths], among: Collection[int] | None = None) -> Sizes:
    """The sizes at which the trials of a use case are compared.

    Tokens and bytes: the largest step of the ladder that nine in ten texts of every trial reach, not counting
    texts below the first step, which no size can include. With fewer than 8 prompts, where draws are the
    evidence, 8 draws of each prompt must reach it too. A trial of which most texts are below the first step
    has no say, and few values.
    Texts: the smallest number, from 2, that any prompt has under any setting.

    Args:
        groups: every prompt under every setting.
        among: the trials that have a say; None for all that are `heard`.

    Returns:
        The sizes.
    """
    among = heard(groups) if among is None else among
    groups = [g for g in groups if g.trial in among]
    tokens = _common_step([(g.trial, g.tokens) for g in groups], TOKEN_LADDER)
    return Sizes(
        tokens=tokens,
        bytes=_common_step([(g.trial, g.bytes) for g in groups], BYTE_LADDER),
        texts=_fewest([len(g.tokens) for g in groups]),
        long_texts=_fewest([int((g.tokens >= tokens).sum()) for g in groups]) if tokens else None,
    )


def _common_step(lengths: Sequence[tuple[int, NDArray[np.int64]]], ladder: Sequence[int]) -> int | None:
    by_trial: dict[int, list[NDArray[np.int64]]] = {}
    for trial, values in lengths:
        by_trial.setdefault(trial, []).append(values)
    joined = [np.concatenate(parts) for parts in by_trial.values()]
    counts = np.array([[(values >= step).sum() for step in ladder] for values in joined])
    if not len(counts) or not counts[:, 0].any():
        return None
    demands = [n >= REACHED_BY * n[0] for n, values in zip(counts, joined, strict=True) if n[0] * 2 > len(values)]
    if max(map(len, by_trial.values())) < MIN_UNITS:
        draws = [np.array([(values >= step).sum() for step in ladder]) for _, values in lengths]
        demands += [n >= MIN_UNITS for n in draws if n[0] >= MIN_UNITS]
    met = np.all(demands, axis=0) if demands else np.zeros(len(ladder), dtype=bool)
    return ladder[max(int(met.cumprod().sum()) - 1, 0)]


def _fewest(counts: Sequence[int]) -> int | None:
    return min((n for n in counts if n >= 2), default=None)
