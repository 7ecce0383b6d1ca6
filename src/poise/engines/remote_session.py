"""Rows of texts whose next tokens a server rates, one request each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from poise.engines.asker import LOUD, SLACK, Asker, Ids
from poise.engines.returned import Row, Rows, Spot
from poise.errors import ServerError
from poise.servers.calls import Answer, Call, Likely


class RemoteSession:
    """Rows are their token ids: the server's own prefix cache does the sharing.

    Args:
        asker: the server.
        rating: how it is asked.
        vocab_size: V.
        rows: wanted at once.
    """

    def __init__(self, asker: Asker, rating: Rating, vocab_size: int, rows: int) -> None:
        self.max_rows = rows
        self._asker, self._rating, self._size = asker, rating, vocab_size
        self._texts: dict[int, tuple[Ids, int]] = {}  # token ids, and how many of them are the prompt's
        self._next = 0

    def prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[list[int], Rows]:
        """See `sessions.Session.prefill`."""
        return self._live([(tuple(ids), len(ids)) for ids in prompts])

    def advance(self, parents: Sequence[int], tokens: Sequence[int]) -> tuple[list[int], Rows]:
        """See `sessions.Session.advance`."""
        said = [self._texts[parent] for parent in parents]
        return self._live([((*ids, token), prompt) for (ids, prompt), token in zip(said, tokens, strict=True)])

    def drop(self, rows: Sequence[int]) -> None:
        """See `sessions.Session.drop`."""
        for row in rows:
            del self._texts[row]

    def score(self, prompt: Sequence[int], tokens: Sequence[int]) -> Rows:
        """See `sessions.Session.score`: one request per token."""
        said = (*prompt, *tokens)
        texts = [(said[:end], len(prompt)) for end in range(len(prompt), len(said))]
        rated = self._rated(texts)
        return rated._replace(rows=tuple(row._replace(forced=True) for row in rated.rows))

    def _live(self, texts: list[tuple[Ids, int]]) -> tuple[list[int], Rows]:
        rated = self._rated(texts)
        rows = list(range(self._next, self._next + len(texts)))
        self._next += len(texts)
        self._texts.update(zip(rows, texts, strict=True))
        return rows, rated

    def _rated(self, texts: Sequence[tuple[Ids, int]]) -> Rows:
        answers = self._asker.ask([self._rating.call(ids) for ids, _ in texts])
        rows = [
            row_of(next_token(answer), Spot(prompt, len(ids) - prompt), self._size)
            for answer, (ids, prompt) in zip(answers, texts, strict=True)
        ]
        return Rows(tuple(rows), self._size)


class Rating(NamedTuple):
    """How a server is asked to rate the token after a text; which one it then draws does not matter.

    Args:
        top: likeliest tokens asked for.
        plain: a token that it is made to draw; None for any. llama-server says nothing of a drawn token that is no
            whole character, and rates before it looks at biases.
    """

    top: int
    plain: int | None = None

    def call(self, ids: Ids) -> Call:
        """The request for one text."""
        fields = {} if self.plain is None else {"logit_bias": {str(self.plain): LOUD}}
        return Call(ids=ids, max_tokens=1, logprobs=self.top, fields=fields)


def next_token(answer: Answer) -> Sequence[Likely]:
    """The likeliest next tokens, out of an answer of one token.

    Args:
        answer: that has log-probabilities.

    Returns:
        Them.

    Raises:
        ServerError: more tokens came than the one that was asked for.
    """
    positions = answer.choices[0].positions
    if len(positions) > 1:
        raise ServerError(
            "poise draws on a server that ends a text after max_tokens: it asks for one token at a time",
            f"{len(positions):,} tokens where 1 was asked for", "Let it draw by itself (--draws-by server)",
        )  # fmt: skip
    return positions[0].likeliest


def row_of(likeliest: Sequence[Likely], spot: Spot, size: int) -> Row:
    """What a server returned, as a row.

    Args:
        likeliest: tokens with ids and ln p.
        spot: where the text stands.
        size: V.

    Returns:
        The row.

    Raises:
        ServerError: these are no log-probabilities.
    """
    found = {t.id: t.logprob for t in likeliest if t.id is not None and t.logprob > -math.inf}
    ids = np.array(sorted(found), dtype=np.intp)
    values = np.array([found[int(i)] for i in ids], dtype=np.float64)
    rule = "A server's log-probabilities are those of the model itself"
    if ids.size < 2 or len({t.id for t in likeliest}) < len(likeliest):
        raise ServerError(rule, f"{ids.size} different tokens {spot}", "Probe it: poise probe URL")
    if math.fsum(np.exp(values)) > 1 + SLACK:
        raise ServerError(rule, f"{math.fsum(np.exp(values)):.4f} as their sum {spot}", "Probe it: poise probe URL")
    if not 0 <= ids[0] <= ids[-1] < size:
        raise ServerError(f"Token ids lie below {size:,} here", f"{ids[-1]:,} {spot}", "Give vocab_size")
    return Row(ids, values, spot)
