"""Key/value storage of living rows, written in place."""

from __future__ import annotations

import contextlib
import heapq
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from poise.engines.hardware import free_memory

BLOCK = 64  # attention reads whole blocks, so a row's bits depend on its own length alone

Pad = Callable[[int], int]  # rows wanted -> rows computed


class Place(NamedTuple):
    """Where a row lies: its slot, and how many tokens it holds there."""

    slot: int
    length: int


class LayerShape(NamedTuple):
    """Heads and width of one layer's keys, and of its values."""

    key_heads: int
    key_width: int
    value_heads: int
    value_width: int


@dataclass
class Slots:
    """Slots of equal capacity; a row is a prefix of a slot.

    A block of all slots lies together, so that attention over neighbouring slots reads plain memory:
    products of matrices copy what is strided otherwise.

    A child is written behind its parent in the parent's slot when nothing living lies there, and
    in a new slot with a copy of the prefix otherwise. The tail of a slot may hold what earlier
    rows left: finite numbers that attention masks.

    Args:
        count: number of slots.
        capacity: tokens per slot, a multiple of `BLOCK`.
        dtype, device: of the tensors.
    """

    count: int
    capacity: int
    dtype: torch.dtype
    device: torch.device
    keys: list[torch.Tensor] = field(default_factory=list)  # per layer (blocks, slots, heads, BLOCK, width)
    values: list[torch.Tensor] = field(default_factory=list)
    places: dict[int, Place] = field(default_factory=dict)
    _lengths: dict[int, list[int]] = field(default_factory=dict)  # slot -> lengths of its living rows
    _free: list[int] = field(default_factory=list)
    _next_row: int = 0

    def __post_init__(self) -> None:
        self._free = list(range(self.count))

    def allocate(self, layers: Sequence[LayerShape]) -> None:
        """Make room for every layer; memory is touched only as rows are written."""
        for shape in layers:
            self.keys.append(self._empty(shape.key_heads, shape.key_width))
            self.values.append(self._empty(shape.value_heads, shape.value_width))

    def open(self, length: int) -> int:
        """A new row of `length` tokens in a slot of its own."""
        return self._register(Place(heapq.heappop(self._free), length))

    def extend(self, parents: Sequence[int]) -> list[int]:
        """A child of one more token for each parent, in the parent's slot or in a copy.

        Args:
            parents: living rows; one may stand several times.

        Returns:
            The children's rows. Their last token is still to be written.
        """
        placed: list[Place] = []
        copies: list[tuple[int, int, int]] = []  # from, to, length
        for parent in parents:
            slot, length = self.places[parent]
            if max(self._lengths[slot]) > length:
                target = heapq.heappop(self._free)
                copies.append((slot, target, length))
                slot = target
            placed.append(Place(slot, length + 1))
            self._lengths.setdefault(slot, []).append(length + 1)
        self._copy(copies)
        return [self._register(place, counted=True) for place in placed]

    def drop(self, rows: Sequence[int]) -> None:
        """Forget rows; a slot without rows is free."""
        for row in rows:
            slot, length = self.places.pop(row)
            self._lengths[slot].remove(length)
            if not self._lengths[slot]:
                del self._lengths[slot]
                heapq.heappush(self._free, slot)

    def spots(self, places: Sequence[Place]) -> list[torch.Tensor]:
        """Where each row's last token goes in every layer's keys, and in its values, for `put`.

        Layers of one shape share the indices.
        """
        last = torch.tensor([p.length - 1 for p in places], device=self.device)
        slot = torch.tensor([p.slot for p in places], device=self.device)
        first = last // BLOCK * self.count + slot
        made: dict[int, torch.Tensor] = {}
        for heads in {store.shape[2] for store in (*self.keys, *self.values)}:
            head = torch.arange(heads, device=self.device)
            made[heads] = ((first[:, None] * heads + head) * BLOCK + (last % BLOCK)[:, None]).flatten()
        return [made[store.shape[2]] for store in (*self.keys, *self.values)]

    def put(self, layer: int, spots: list[torch.Tensor], key: torch.Tensor, value: torch.Tensor) -> None:
        """Write one token a row: key and value (B, heads, width), `spots` from the method of that name."""
        for store, at, new in ((self.keys, layer, key), (self.values, layer + len(self.keys), value)):
            store[layer].view(-1, new.shape[2]).index_copy_(0, spots[at], new.reshape(-1, new.shape[2]))

    def fill(self, layer: int, slot: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Write a prompt from position 0 on: key and value (heads, n, width)."""
        for start in range(0, key.shape[1], BLOCK):
            part = slice(start, min(start + BLOCK, key.shape[1]))
            size = part.stop - part.start
            self.keys[layer][start // BLOCK, slot, :, :size] = key[:, part]
            self.values[layer][start // BLOCK, slot, :, :size] = value[:, part]

    def gather(self, layer: int, at: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Copies of the slots `at` (B,), `width` tokens each: (B, heads, width, width of a head)."""
        found = [store[layer][: width // BLOCK, at] for store in (self.keys, self.values)]
        keys, values = (t.permute(1, 2, 0, 3, 4).flatten(2, 3) for t in found)
        return keys, values

    def _register(self, place: Place, counted: bool = False) -> int:
        if not counted:
            self._lengths.setdefault(place.slot, []).append(place.length)
        row = self._next_row
        self._next_row += 1
        self.places[row] = place
        return row

    def _copy(self, copies: list[tuple[int, int, int]]) -> None:
        if not copies:
            return
        used = blocks(max(length for _, _, length in copies)) // BLOCK
        source = torch.tensor([c[0] for c in copies], device=self.device)
        target = torch.tensor([c[1] for c in copies], device=self.device)
        for store in (*self.keys, *self.values):
            store[:used, target] = store[:used, source]

    def _empty(self, heads: int, width: int) -> torch.Tensor:
        shape = (self.capacity // BLOCK, self.count, heads, BLOCK, width)
        if self.device.type != "cpu":
            return torch.zeros(shape, dtype=self.dtype, device=self.device)
        # Fresh pages: untouched ones cost nothing, and read as zeros, never as NaN. Large ones are entered faster.
        raw = mmap.mmap(-1, max(1, int(np.prod(shape))) * self.dtype.itemsize)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):
                raw.madvise(mmap.MADV_HUGEPAGE)
        return torch.frombuffer(raw, dtype=self.dtype).view(shape)


def blocks(length: int) -> int:
    """`length` rounded up to whole blocks."""
    return -(-length // BLOCK) * BLOCK


def free_bytes(device: torch.device) -> int:
    """Memory that could be taken now, bytes."""
    if device.type == "cuda":
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + idle
    return free_memory()
