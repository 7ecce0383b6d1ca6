"""Where a llama.cpp session puts its rows; and what is said where the library is missing."""

from __future__ import annotations

import random
import sys

import pytest

import poise
from poise.engines.llamacpp_streams import Run, Streams, cost, runs
from poise.engines.padding import Padding
from poise.errors import ModelError


class Cells:
    """Streams as lists of tokens."""

    def __init__(self, count: int) -> None:
        self.held: list[list[int]] = [[] for _ in range(count)]

    def copy(self, source: int, target: int) -> None:
        assert source != target
        self.held[target] = list(self.held[source])

    def cut(self, stream: int, length: int) -> None:
        assert len(self.held[stream]) > length, "nothing to forget"
        del self.held[stream][length:]

    def write(self, stream: int, position: int, token: int) -> None:
        assert len(self.held[stream]) == position, "a stream has no gaps"
        self.held[stream].append(token)


def test_a_first_child_takes_its_parents_stream_and_others_copy() -> None:
    cells = Cells(4)
    streams = Streams(4, cells)
    parent = streams.open(3)
    cells.held[0] = [7, 8, 9]
    one, two = streams.extend([parent, parent])
    assert streams.places[one] == (0, 4)
    assert streams.places[two] == (1, 4)
    assert cells.held[1] == [7, 8, 9]


def test_a_parent_that_waited_goes_on_where_it_was() -> None:
    cells = Cells(3)
    streams = Streams(3, cells)
    parent = streams.open(2)
    cells.held[0] = [1, 2]
    (child,) = streams.extend([parent])
    cells.write(0, streams.write(0, 2), 3)
    streams.drop([child])
    (again,) = streams.extend([parent])
    assert streams.places[again] == (0, 3)
    assert streams.write(0, 2) == 2
    assert cells.held[0] == [1, 2], "what the dropped child wrote is forgotten"


def test_children_gather_in_lower_streams() -> None:
    streams = Streams(8, Cells(8))
    rows = [streams.open(1) for _ in range(8)]
    streams.drop(rows[:6])
    moved = streams.extend(rows[6:], gather=True)
    assert sorted(streams.places[r].stream for r in moved) == [0, 1]


@pytest.mark.parametrize("least", [1, 2, 8])
def test_rows_hold_their_own_tokens_through_anything(least: int) -> None:
    """Random trees of rows: children, waiting parents, gaps, padding over living rows."""
    rng = random.Random(least)
    count, padding = 14, Padding(least, 1, 8, True)
    cells = Cells(count)
    streams = Streams(count, cells)
    said: dict[int, list[int]] = {}
    for _ in range(1500):
        if len(said) < 3 or rng.random() < 0.1:
            prompt = [rng.randrange(100) for _ in range(rng.randint(1, 4))]
            row = streams.open(len(prompt))
            for i, token in enumerate(prompt):
                cells.write(streams.places[row].stream, i, token)
            said[row] = prompt
        parents = [p for p in rng.choices(list(said), k=rng.randint(1, 4)) if len(said[p]) < 40]
        tokens = [rng.randrange(100) for _ in parents]
        rows = streams.extend(parents, gather=rng.random() < 0.3)
        places = [streams.places[r] for r in rows]
        due = {p.stream: i for i, p in enumerate(places)}
        assert len(due) == len(rows), "each child has a stream of its own"
        for run in runs(sorted(due), padding, count):
            assert least <= run.end - run.start <= padding.most
            for stream in range(run.start, run.end):
                i = due.pop(stream, None)
                if i is None:
                    cells.write(stream, streams.idle(stream), -1)
                else:
                    cells.write(stream, streams.write(stream, places[i].length - 1), tokens[i])
        assert not due
        said |= {r: [*said[p], t] for r, p, t in zip(rows, parents, tokens, strict=True)}
        while len(said) > 6 or (len(said) > 1 and rng.random() < 0.3):
            gone = rng.choice(list(said))
            streams.drop([gone])
            del said[gone]
        for row, expected in said.items():
            place = streams.places[row]
            assert cells.held[place.stream][: place.length] == expected


@pytest.mark.parametrize(
    ("streams", "padding", "expected"),
    [
        ([0, 1, 2], Padding(2, 1, 64, True), [(0, 3)]),
        ([0, 9], Padding(2, 1, 64, True), [(0, 2), (9, 11)]),
        ([0, 2], Padding(2, 1, 64, True), [(0, 3)]),
        ([19], Padding(8, 1, 64, True), [(12, 20)]),
        ([0, 12], Padding(8, 1, 64, True), [(0, 13)]),
        ([3, 4, 5], Padding(1, 1, 1, True), [(3, 4), (4, 5), (5, 6)]),
        (list(range(20)), Padding(2, 1, 8, True), [(0, 8), (8, 16), (16, 20)]),
        ([1], Padding(16, 16, 16, True), [(1, 17)]),
    ],
)
def test_batches_are_of_neighbours(streams: list[int], padding: Padding, expected: list[tuple[int, int]]) -> None:
    found = runs(streams, padding, 20)
    assert found == expected
    assert cost(found) == sum(end - start + 1 for start, end in expected)


def test_a_batch_at_the_end_is_padded_to_the_left() -> None:
    assert runs([5], Padding(4, 1, 4, True), 6) == [Run(2, 6)]


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    for name in [n for n in sys.modules if n.startswith("poise.engines.llamacpp")]:
        if name != "poise.engines.llamacpp_streams":
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModelError, match=r"no llama_cpp.*pip install 'poise\[llamacpp\]'"):
        poise.load("llamacpp:model.gguf")
