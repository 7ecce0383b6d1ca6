"""Living rows of a llama.cpp model, and the self-test of their bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.engines.hardware import free_memory
from poise.engines.llamacpp_library import READ, Context, Model, most_streams
from poise.engines.llamacpp_streams import Streams, cost, runs
from poise.engines.padding import Padding
from poise.errors import EngineError
from poise.sessions import Logits

SHARE = 0.5  # of the free memory that a session may take
BLOCK = 256  # llama.cpp gives every stream a multiple of this many cells
ROWS = 128  # more hardly raise the speed, and llama.cpp fills the cache of every row with zeros before it starts
SCATTERED = 1.5  # children move closer together when a step costs this many times what it must
SCENES = (64, 16)  # rows of the self-test, and the most that are computed at once; the second where memory is short
LONG = 260  # tokens of its longest row: past one block of cells, as the others are not
SIZES = (2, 3, 5, 8, 9, 16, 17, 32, 33, 63)  # kernels change between one row and two, and at powers of two

# Smallest number of rows and multiple of, the cheapest first; then as many as are ever computed, always. Seen on a CPU
# with AVX-512: Q4_0, Q4_1, Q8_0 and F16 hold from two rows on, Q6_K from eight, Q4_K in multiples of four, mixtures of
# the two in multiples of eight.
PADDINGS = ((2, 1), (4, 4), (8, 1), (8, 8), (16, 16))

Values = NDArray[np.float32]
Shape = Callable[[Values], Logits]


class LlamaCppSession:
    """Rows of one model; see `sessions.Session`.

    Args:
        model: what computes.
        padding: found by `self_test`.
        threads: to compute with.
        max_length: tokens of a text at most, prompt included.
        rows: rows wanted; fewer when memory is short.
        shape: turns llama.cpp's logits, (B, V), into what the law reads.
    """

    def __init__(
        self, model: Model, padding: Padding, threads: int, max_length: int, rows: int, shape: Shape
    ) -> None:  # fmt: skip
        self.padding, self._shape = padding, shape
        capacity = cells(max_length)
        per_row = row_bytes(model, capacity)
        self.max_rows = min(rows, ROWS, most_streams() - 2, int(SHARE * free_memory() / per_row))
        if self.max_rows < 2:
            raise EngineError(
                "Two texts of the longest kind must fit into half of the free memory",
                f"{per_row / 2**20:.0f} MiB a text",
                "Take shorter prompts, fewer --max-tokens, or a smaller model",
            )
        count = max(self.max_rows + 2, padding.least)  # one while a parent waits, one to score in
        self._context = Context(model, count, capacity, threads)
        self.streams = Streams(count, self._context)

    def prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[list[int], Logits]:
        """See `sessions.Session.prefill`; every prompt is read alone."""
        rows = [self.streams.open(len(ids)) for ids in prompts]
        read = [self._read(self.streams.places[row].stream, ids, 1) for row, ids in zip(rows, prompts, strict=True)]
        return rows, self._shape(np.concatenate(read))

    def advance(self, parents: Sequence[int], tokens: Sequence[int]) -> tuple[list[int], Logits]:
        """See `sessions.Session.advance`."""
        rows, logits = self.computed(parents, tokens)
        return rows, self._shape(logits)

    def computed(self, parents: Sequence[int], tokens: Sequence[int]) -> tuple[list[int], Values]:
        """`advance`, with the logits as llama.cpp gives them, (B, V)."""
        rows = self.streams.extend(parents, gather=self._scattered(parents))
        places = [self.streams.places[row] for row in rows]
        index = {place.stream: i for i, place in enumerate(places)}
        parts: dict[int, Values] = {}
        for run in runs(sorted(index), self.padding, self.streams.count):
            members = range(run.start, run.end)
            due = {stream: index[stream] for stream in members if stream in index and index[stream] not in parts}
            if not due:  # the padding of the batch before took them along
                continue
            fed = [tokens[due[s]] if s in due else 0 for s in members]
            at = [self.streams.write(s, places[due[s]].length - 1) if s in due else self.streams.idle(s)
                  for s in members]  # fmt: skip
            found = self._context.decode(fed, at, members, len(members))
            parts |= {i: found[stream - run.start] for stream, i in due.items()}
        return rows, np.stack([parts[i] for i in range(len(rows))])

    def drop(self, rows: Sequence[int]) -> None:
        """See `sessions.Session.drop`."""
        self.streams.drop(rows)

    def score(self, prompt: Sequence[int], tokens: Sequence[int]) -> Logits:
        """See `sessions.Session.score`."""
        stream = self.streams.spare()
        fed = [*prompt, *tokens][:-1]
        found = self._read(stream, fed, len(tokens))
        self.streams.note(stream, len(fed))
        return self._shape(found)

    def _read(self, stream: int, ids: Sequence[int], last: int) -> Values:
        """Logits of a text's last positions, (last, V). It is read in parts, so that Ctrl-C need not wait for all."""
        found: list[Values] = []
        for start in range(0, len(ids), READ):
            part = ids[start : start + READ]
            wanted = max(0, start + len(part) - max(start, len(ids) - last))
            found.append(self._context.decode(part, range(start, start + len(part)), [stream] * len(part), wanted))
        return np.concatenate(found)

    def _scattered(self, parents: Sequence[int]) -> bool:
        """Whether the rows to come lie so far apart that moving them costs less than computing the gaps."""
        streams = sorted({self.streams.places[parent].stream for parent in parents})
        now, least = (cost(runs(s, self.padding, self.streams.count)) for s in (streams, range(len(streams))))
        return now > SCATTERED * least


def cells(length: int) -> int:
    """Cells of a stream for texts of `length` tokens, and one for a token that nobody wants."""
    return -(-(length + 1) // BLOCK) * BLOCK


def row_bytes(model: Model, capacity: int) -> int:
    """Memory of one row: its cache of `capacity` tokens, its logits and what the law makes of them."""
    return model.token_bytes * capacity + 16 * model.size


def self_test(model: Model, threads: int) -> Padding:
    """Find the cheapest padding under which a row's bits do not depend on its neighbours.

    Args:
        model: what computes.
        threads: to compute with.

    Returns:
        The padding; not `verified` when none of those tried holds.
    """
    longest = max(2, min(LONG, model.context_length - 2))
    size = row_bytes(model, cells(longest + 1))
    most = next((n for n in SCENES if n * size < free_memory() / 4), SCENES[-1])
    session = LlamaCppSession(model, Padding(1, 1, 1, False), threads, longest + 1, most, lambda values: values)
    scene = _scene(session, model.size, longest)
    # One row at a time takes twice as long, and is exact where nothing else is: a row then meets no other.
    for least, multiple, at_once in (*((n, m, most) for n, m in PADDINGS), (most, most, most), (1, 1, 1)):
        session.padding = Padding(least, multiple, at_once, True)
        if _steady(session, *scene):
            return session.padding
    return Padding(1, 1, 1, False)


def _scene(session: LlamaCppSession, vocab_size: int, longest: int) -> tuple[list[int], list[int]]:
    """Rows of one long text cut at many lengths, each in a stream of its own, and a token for each."""
    made = np.random.default_rng(0)
    [root], _ = session.prefill([made.integers(vocab_size, size=longest).tolist()])
    count = session.max_rows
    lengths = [2 + (7 * i) % max(1, min(60, longest) - 1) for i in range(1, count)]
    rows = [root, *(session.streams.fork(root, min(length, longest)) for length in lengths)]
    return rows, made.integers(vocab_size, size=count).tolist()


def _steady(session: LlamaCppSession, rows: Sequence[int], tokens: Sequence[int]) -> bool:
    """Whether every row gets the same logits, to the bit, in every batch tried."""

    def logits(chosen: Sequence[int]) -> Any:
        children, found = session.computed([rows[i] for i in chosen], [tokens[i] for i in chosen])
        session.drop(children)
        return found

    whole = logits(range(len(rows)))
    return all(np.array_equal(logits(part), whole[part], equal_nan=True) for part in _parts(len(rows)))


def _parts(count: int) -> Iterator[list[int]]:
    """Rows computed together: neighbours in two places, then some with gaps; small batches first."""
    for size in (n for n in SIZES if n < count):
        yield list(range(size))
        yield list(range(count - size, count))
    yield list(range(1, count, 3))
    yield [0, count // 2, count - 1]
