"""A bigram model with peaked and flat contexts."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poise.engines.fake import FakeEngine
from poise.records import Message

Table = NDArray[np.float64]  # (V, V): logits of the next token after each token
END = 0  # the token that ends a text
THINK_END = "</think>"
SAID = (
    " the a ship sailed on and star found quiet to of in was it he she that light over sea night day old new long "
    "small bright cold wind stone river tree house road hand voice word song dream fire glass storm harbour captain "
    "map north west east south under through again never always many few some slowly"
)
WORDS = tuple(f" {word}" for word in SAID.split())
SPREADS = (0.6, 5.0)  # of a row's logits: nearly flat, nearly certain
END_SHARES = (0.005, 0.2)  # probability of the end after most tokens, and after every eighth one


@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """A language model that looks at the last token only.

    Args:
        words: the vocabulary, V long; word 0 ends the text and is written as nothing.
        logits: of the next token after each token, (V, V).
        think_end: the token that closes a thought; None for a model that does not think.
    """

    words: tuple[str, ...]
    logits: Table
    think_end: int | None = None

    @property
    def size(self) -> int:
        """V."""
        return len(self.words)

    @property
    def digest(self) -> str:
        """SHA-256 of the words and the table: what identifies the weights."""
        return hashlib.sha256(repr(self.words).encode() + self.logits.tobytes()).hexdigest()

    def text(self, ids: Sequence[int]) -> str:
        """The words, joined."""
        return "".join(map(self.words.__getitem__, ids))

    def spelt(self, text: str) -> tuple[int, ...]:
        """Token ids of a text: its words, the longest that fits first; a word that it lacks is one of its own."""
        ids: list[int] = []
        while text:
            fits = [i for i, word in enumerate(self.words) if word and text.startswith(word)]
            if fits:
                ids.append(max(fits, key=lambda i: len(self.words[i])))
                text = text[len(self.words[ids[-1]]) :]
                continue
            word, *rest = text.split(maxsplit=1) or [""]
            if word:
                ids.append(1 + zlib.crc32(word.encode("utf-8", "surrogatepass")) % (self.size - 1))
            text = f" {rest[0]}" if rest else ""
        return tuple(ids)

    def chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Token ids of chat turns; the last word spoken comes last, so that prompts differ."""
        return self.spelt("\n".join(f"{m.role}: {m.content}" for m in messages))

    def engine(self, name: str = "fake") -> FakeEngine:
        """The same model in process, where poise draws: for comparisons with a server."""
        return FakeEngine(self.words, lambda token: np.asarray(self.logits[token]), name=name)


def make_language(size: int = 64, seed: int = 0, thinks: bool = False) -> Language:
    """A model with random words after each word.

    Args:
        size: V, at least 4.
        seed: of the table.
        thinks: whether one token closes a thought.

    Returns:
        The model. Entropies of its contexts lie between about 0.2 and 4 nats, as those of large models do.

    >>> make_language(8).words[:3]
    ('', ' the', ' a')
    """
    rng = np.random.default_rng(seed)
    low, high = np.log(SPREADS)
    logits = rng.normal(0, 1, (size, size)) * np.exp(rng.uniform(low, high, (size, 1)))
    others = np.log(np.exp(logits[:, 1:]).sum(axis=1))
    ends = np.where(np.arange(size) % 8 == 7, END_SHARES[1], END_SHARES[0]) * rng.uniform(0.5, 2, size)
    logits[:, END] = others + np.log(ends / (1 - ends))
    words = ["", *WORDS[: size - 1], *(f" w{i}" for i in range(len(WORDS) + 1, size))]
    if thinks:
        words[1], logits[:, 1] = THINK_END, logits.min(axis=1) - 20
    return Language(tuple(words), logits, 1 if thinks else None)
