"""Forks: the next word's probabilities where the texts of a prompt part."""

from __future__ import annotations

import json
from dataclasses import dataclass

from poise.spans import Span


@dataclass(frozen=True, slots=True)
class Fork:
    """A place in the texts of a prompt, and what may come next there.

    Args:
        prefix: the tokens that all texts of the stretch begin with.
        span: the stretch.
        values: of the parameter, ascending, both ends of the stretch among them, (n,).
        tokens: what is likely to come next, or was drawn, (k,).
        shares: probability of each token at each value under the whole law, (n, k).
    """

    prefix: tuple[int, ...]
    span: Span
    values: tuple[float, ...]
    tokens: tuple[int, ...]
    shares: tuple[tuple[float, ...], ...]

    def to_json(self) -> str:
        """What `from_json` needs besides prefix and span."""
        said = [self.values, self.tokens, [[float(f"{p:.5g}") for p in row] for row in self.shares]]
        return json.dumps(said, separators=(",", ":"))

    @classmethod
    def from_json(cls, prefix: tuple[int, ...], span: Span, record: str) -> Fork:
        """The inverse of `to_json`, to five digits."""
        values, tokens, shares = json.loads(record)
        return cls(prefix, span, tuple(values), tuple(tokens), tuple(map(tuple, shares)))
