"""Drawn tokens and the likeliest ones at their places, as arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.servers.calls import Choice, Likely, Position

Rows = NDArray[np.float64]  # (P, N): P places, N likeliest tokens at each
Column = NDArray[np.float64]  # (P,)
Scope = Literal["output", "prompt and output"]
Ids = NDArray[np.int64]

_SPECIAL = re.compile(r"<[|/\w][^<>\s]*>|\[/?[A-Z]+\]")  # how servers write tokens that are no text
MOST_LOST = 0.1  # share of drawn tokens that may not fit what is listed
_NOTHING = 1e-5  # a mass below this is rounding
_TOO_MUCH = 1.02  # log-probabilities whose mass exceeds this are none
_CUT = -100.0  # nats: what servers write for a token that cannot come lies below
_OFF = 0.01  # nats between a drawn token and the one of its name in the list, above which they are two tokens


class History(NamedTuple):
    """Keys of the tokens of a prompt, as far as they are known, and of everything drawn after it."""

    prompt: Ids
    output: Ids


@dataclass(frozen=True, eq=False)
class Draws:
    """P drawn tokens with the N likeliest ones at their places.

    Args:
        logprobs: as returned, likeliest first, (P, N); -inf where fewer came.
        drawn: column of the drawn token, (P,); N for one that is not among them, -1 for a place that says nothing.
        keys: a whole number for each token, the same wherever it occurs, (P, N).
        special: tokens that end a text or are no text, (P, N).
        step: how many tokens were drawn before, (P,).
        text: the text that each place belongs to, (P,), from 0.
        histories: one per text.
        seen: where log-probabilities are those after the steps: what was listed under the settings in question, p of
            each token of `logprobs`, which is then what is listed with everything off, (P, N).
    """

    logprobs: Rows
    drawn: NDArray[np.intp]
    keys: Ids
    special: NDArray[np.bool_]
    step: NDArray[np.intp]
    text: NDArray[np.intp]
    histories: tuple[History, ...]
    seen: Rows | None = None
    _counted: dict[tuple[Scope, int], Rows] = field(default_factory=dict)

    @property
    def places(self) -> int:
        """P."""
        return int(self.drawn.size)

    @property
    def width(self) -> int:
        """N."""
        return int(self.logprobs.shape[1])

    @cached_property
    def tail(self) -> Column:
        """Probability of everything that is not listed, (P,)."""
        left = 1.0 - np.exp(self.logprobs).sum(axis=1)
        return np.where(left < _NOTHING, 0.0, left)

    @cached_property
    def least(self) -> Column:
        """ln p of the last listed token, (P,)."""
        return np.asarray(np.where(np.isfinite(self.logprobs), self.logprobs, np.inf).min(axis=1))

    @property
    def lost(self) -> float:
        """Share of places whose drawn token does not fit the list: above `MOST_LOST` nothing can rest on them."""
        return float(np.mean(self.drawn < 0)) if self.places else 0.0

    @cached_property
    def telling(self) -> NDArray[np.bool_]:
        """Places whose drawn token says something, (P,)."""
        inside = (self.drawn >= 0) & (self.drawn < self.width)
        at = np.where(inside, self.drawn, 0)[:, None]
        special = np.take_along_axis(self.special, at, axis=1)[:, 0] & inside
        mass = np.exp(self.logprobs).sum(axis=1)
        return np.asarray((self.drawn >= 0) & ~special & (mass <= _TOO_MUCH))

    def beside(self, seen: Rows) -> Draws:
        """The same lists, with what was listed under other settings."""
        return replace(self, seen=seen, _counted={})

    def counts(self, scope: Scope = "output", window: int = 0) -> Rows:
        """How often each listed token was said before, (P, N).

        Args:
            scope: what counts.
            window: only so many of the last tokens; 0 for all.
        """
        found = self._counted.get((scope, window))
        if found is None:
            parts = [self._counts_of(t, scope, window) for t in range(len(self.histories))]
            found = np.concatenate(parts) if parts else np.zeros((0, self.width))
            self._counted[scope, window] = found
        return found

    def _counts_of(self, text: int, scope: Scope, window: int) -> Rows:
        mine = self.text == text
        prompt, output = self.histories[text]
        before = prompt if scope == "prompt and output" else prompt[:0]
        said = np.concatenate([before, output])
        until = self.step[mine] + len(before)  # tokens that were there at each place
        at = np.arange(len(said))
        seen = at[None, :] < until[:, None]
        if window:
            seen &= at[None, :] >= until[:, None] - window
        same = self.keys[mine][:, :, None] == said[None, None, :]
        return np.asarray((same & seen[:, None, :]).sum(axis=2), dtype=np.float64)


class Reader:
    """Turns answers into `Draws`; tokens keep their keys from answer to answer.

    Args:
        width: likeliest tokens used at each place, N.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._keys: dict[int | str | None, int] = {}
        self._by_id = False  # some servers name the ids of drawn tokens, and not of those listed

    def key(self, token: Likely) -> int:
        """The number that stands for a token: by its id where lists have ids, else by its text."""
        return self._keys.setdefault(token.id if self._by_id else token.token, len(self._keys))

    def read(self, choices: Iterable[Choice], prompts: Sequence[Sequence[Likely]] = ()) -> Draws:
        """All places of some texts.

        Args:
            choices: with log-probabilities; others add nothing.
            prompts: the tokens of the prompt of each, as far as they are known.

        Returns:
            The draws.
        """
        texts = [c.positions for c in choices]
        if not self._keys:
            everything = [t for positions in texts for p in positions for t in (p.drawn, *p.likeliest)]
            self._by_id = bool(everything) and all(t.id is not None for t in everything)
        rows = [self._row(p) for positions in texts for p in positions]
        histories = []
        for i, positions in enumerate(texts):
            prompt = prompts[i] if i < len(prompts) else ()
            histories.append(History(self._ids(prompt), self._ids(p.drawn for p in positions)))
        width = self.width
        return Draws(
            logprobs=np.array([r[0] for r in rows], dtype=np.float64).reshape(-1, width),
            drawn=np.array([r[1] for r in rows], dtype=np.intp),
            keys=np.array([r[2] for r in rows], dtype=np.int64).reshape(-1, width),
            special=np.array([r[3] for r in rows], dtype=bool).reshape(-1, width),
            step=np.array([s for positions in texts for s in range(len(positions))], dtype=np.intp),
            text=np.array([t for t, positions in enumerate(texts) for _ in positions], dtype=np.intp),
            histories=tuple(histories),
        )

    def _ids(self, tokens: Iterable[Likely]) -> Ids:
        return np.array([self.key(t) for t in tokens], dtype=np.int64)

    def _row(self, position: Position) -> tuple[list[float], int, list[int], list[bool]]:
        listed = [t for t in position.likeliest if t.logprob > _CUT][: self.width]
        padding = self.width - len(listed)
        keys = [self.key(t) for t in listed]
        return (
            [min(t.logprob, 0.0) for t in listed] + [-np.inf] * padding,
            self._column(position.drawn, listed, keys),
            keys + [-1] * padding,
            [is_special(t.token) for t in listed] + [False] * padding,
        )

    def _column(self, drawn: Likely, listed: Sequence[Likely], keys: list[int]) -> int:
        """Where the drawn token is listed; `width` where it is not, -1 where that cannot be told."""
        if not listed:
            return -1
        key = self.key(drawn)
        same = [i for i, k in enumerate(keys) if k == key]  # several where tokens are told apart by their text alone
        if same:
            off, at = min((abs(listed[i].logprob - drawn.logprob), i) for i in same)
            return at if off < _OFF else -1
        return self.width if drawn.logprob < listed[-1].logprob + _OFF else -1


@lru_cache(maxsize=4096)
def is_special(token: str) -> bool:
    """Whether a token ends a text, or stands for no text.

    >>> is_special("<|im_end|>"), is_special(""), is_special(" ship")
    (True, True, False)
    """
    return not token or _SPECIAL.fullmatch(token.strip()) is not None


def joined(parts: Sequence[Draws]) -> Draws:
    """Several draws as one; all of one width, from one reader."""
    firsts = np.cumsum([0, *(len(p.histories) for p in parts[:-1])])
    return Draws(
        logprobs=np.concatenate([p.logprobs for p in parts]),
        drawn=np.concatenate([p.drawn for p in parts]),
        keys=np.concatenate([p.keys for p in parts]),
        special=np.concatenate([p.special for p in parts]),
        step=np.concatenate([p.step for p in parts]),
        text=np.concatenate([p.text + first for p, first in zip(parts, firsts, strict=True)]),
        histories=tuple(h for p in parts for h in p.histories),
        seen=None if parts[0].seen is None else np.concatenate([p.seen for p in parts if p.seen is not None]),
    )
