"""What ends a repeated sequence for DRY: strings as token sequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol
from weakref import WeakKeyDictionary

from poise.param_lists import BREAKERS
from poise.params import SamplingParams

LONGEST, MOST = 40, 20  # characters of a string that count, and tokens of what is left of one

Sequences = frozenset[tuple[int, ...]]


class Speller(Protocol):
    """What is asked of an engine."""

    vocab_size: int

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids."""
        ...

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Token ids of a text by itself."""
        ...


_TEXTS: WeakKeyDictionary[Speller, list[str]] = WeakKeyDictionary()
_FOUND: WeakKeyDictionary[Speller, dict[tuple[str, ...], Sequences]] = WeakKeyDictionary()


def breakers_of(engine: Speller, params: SamplingParams, moving: str = "") -> Sequences:
    """The token sequences that end a repeated sequence, worked out once per engine and strings.

    Args:
        engine: its vocabulary decides.
        params: the law; llama.cpp's strings where it names none, and nothing where DRY is off.
        moving: the parameter that a dial moves beside it.

    Returns:
        A token alone wherever its text holds a string; where its text ends with the beginning of one, it and the
        tokens of the rest.

    Source:
        llama.cpp, src/llama-sampler.cpp::get_overlapping_token_sequences.
    """
    if not params.dry_multiplier and moving != "dry_multiplier":
        return frozenset()
    strings = BREAKERS if params.dry_breakers is None else params.dry_breakers
    known = _FOUND.setdefault(engine, {})
    if strings not in known:
        known[strings] = frozenset(s for text in strings for s in _sequences(engine, text[:LONGEST]))
    return known[strings]


def _sequences(engine: Speller, string: str) -> Iterator[tuple[int, ...]]:
    """The sequences of one string."""
    if engine not in _TEXTS:
        _TEXTS[engine] = [engine.decode([token]) for token in range(engine.vocab_size)]
    for token, text in enumerate(_TEXTS[engine]):
        if string in text:
            yield (token,)
            continue
        for length in range(1, min(len(string), len(text) + 1)):
            if text.endswith(string[:length]):
                yield (token, *engine.tokenize(string[length:])[:MOST])
