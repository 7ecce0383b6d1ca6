"""Where llama.cpp's rows lie, and which streams are computed together."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from poise.engines.padding import Padding

RUN = 1  # what a batch of its own costs beside its rows, in rows: every weight is read once


class Memory(Protocol):
    """What holds the streams' keys and values."""

    def copy(self, source: int, target: int) -> None:
        """Make one stream hold what another holds."""
        ...

    def cut(self, stream: int, length: int) -> None:
        """Forget a stream's tokens from a position on."""
        ...


class Place(NamedTuple):
    """Where a row lies: its stream, and how many tokens it holds there."""

    stream: int
    length: int


class Run(NamedTuple):
    """Neighbouring streams that are computed in one batch, the last one excluded."""

    start: int
    end: int


class Streams:
    """Streams of equal capacity; a row is a prefix of a stream, from its first cell on.

    A child is written behind its parent in the parent's stream when nothing living lies there, and in another stream
    with a copy of the prefix otherwise. So the cells of a row follow each other in every case, and its sums are taken
    in one order.

    Args:
        count: of streams.
        memory: where they lie.
    """

    def __init__(self, count: int, memory: Memory) -> None:
        self.count, self.places = count, dict[int, Place]()
        self._memory = memory
        self._held = [0] * count  # tokens that lie in each stream, living or not
        self._lengths: list[list[int]] = [[] for _ in range(count)]  # of the living rows of each
        self._free = list(range(count))
        self._next = 0

    def open(self, length: int) -> int:
        """A new row of `length` tokens, still to be written, in a stream of its own."""
        stream = heapq.heappop(self._free)
        self.clear(stream, 0)
        self._held[stream] = length
        return self._register(Place(stream, length))

    def fork(self, row: int, length: int) -> int:
        """A new row with the first tokens of another, `length` in all, in a stream of its own."""
        source, target = self.places[row].stream, heapq.heappop(self._free)
        self._memory.copy(source, target)
        self._held[target] = self._held[source]
        return self._register(Place(target, length))

    def spare(self) -> int:
        """An empty stream that stays free."""
        self.clear(self._free[0], 0)
        return self._free[0]

    def extend(self, parents: Sequence[int], gather: bool = False) -> list[int]:
        """A child of one more token for each parent, in the parent's stream or in a copy.

        Args:
            parents: living rows; one may stand several times.
            gather: move children to lower streams where some are free.

        Returns:
            The children's rows. Their last token is still to be written.
        """
        found: list[int | None] = [None] * len(parents)
        later: list[int] = []
        for i, parent in enumerate(parents):
            stream, length = self.places[parent]
            if max(self._lengths[stream]) == length:
                found[i] = self._register(Place(stream, length + 1))
            else:
                later.append(i)
        for i in later:
            found[i] = self._copied(parents[i])
        if gather:
            for i in sorted(range(len(parents)), key=lambda i: -self.places[parents[i]].stream):
                child = found[i]
                assert child is not None
                if self._free and self._free[0] < self.places[child].stream:
                    self.drop([child])
                    found[i] = self._copied(parents[i])
        return [row for row in found if row is not None]

    def drop(self, rows: Sequence[int]) -> None:
        """Forget rows; a stream without rows is free."""
        for row in rows:
            stream, length = self.places.pop(row)
            self._lengths[stream].remove(length)
            if not self._lengths[stream]:
                heapq.heappush(self._free, stream)

    def write(self, stream: int, length: int) -> int:
        """Make room behind `length` tokens of a stream for one more; the position that it gets."""
        self.clear(stream, length)
        self._held[stream] = length + 1
        return length

    def idle(self, stream: int) -> int:
        """Where a token goes that nobody wants: behind every living row of a stream that was written."""
        return self.write(stream, min(self._held[stream], max(self._lengths[stream], default=0)))

    def note(self, stream: int, length: int) -> None:
        """Remember that a free stream was written, up to `length` tokens."""
        self._held[stream] = length

    def clear(self, stream: int, length: int) -> None:
        """Forget what lies in a stream behind `length` tokens."""
        if self._held[stream] > length:
            self._memory.cut(stream, length)
            self._held[stream] = length

    def _copied(self, parent: int) -> int:
        return self.fork(parent, self.places[parent].length + 1)

    def _register(self, place: Place) -> int:
        self._lengths[place.stream].append(place.length)
        row = self._next
        self._next += 1
        self.places[row] = place
        return row


def runs(streams: Sequence[int], padding: Padding, count: int) -> list[Run]:
    """Batches of neighbouring streams that hold every wanted one.

    llama.cpp computes streams together only where they follow each other. A gap is filled with streams that nobody
    wants as long as that costs less than another batch.

    Args:
        streams: wanted, ascending, each once.
        padding: of a batch.
        count: of all streams; at least the smallest batch.

    Returns:
        The batches, ascending. Padding may make two of them overlap.
    """
    found: list[Run] = []
    for stream in streams:
        if found:
            start, end = found[-1]
            together = padding.rows(stream + 1 - start)
            if stream + 1 - start <= padding.most and together <= padding.rows(end - start) + RUN + padding.rows(1):
                found[-1] = Run(start, stream + 1)
                continue
        found.append(Run(stream, stream + 1))
    return [_padded(run, padding.rows(run.end - run.start), count) for run in found]


def cost(batches: Sequence[Run]) -> int:
    """What batches cost, in rows."""
    return sum(run.end - run.start + RUN for run in batches)


def _padded(run: Run, wanted: int, count: int) -> Run:
    """A run made `wanted` streams long: to the right as far as there are any, then to the left."""
    end = min(count, run.start + wanted)
    return Run(min(run.start, end - wanted), end)
