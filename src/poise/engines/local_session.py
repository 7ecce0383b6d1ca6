"""Living rows of a local model, and the self-test of their bits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import torch

from poise.engines.padding import Padding as Padding
from poise.engines.products import Product
from poise.engines.slots import BLOCK, LayerShape, Pad, Place, Slots, blocks, free_bytes
from poise.errors import EngineError

SHARE = 0.5  # of the free memory that a session may take
# Smallest number of rows, multiple of, largest number; the cheapest for large batches first. Kernels for matrices of
# few rows and for those of many may round otherwise: seen on CPUs with AMX in bfloat16, with borders at 1 and 2, at 4
# and 5, at 32 and 33 rows, and beyond 250. Fewer than 8 rows are never computed: with small matrices they differ in
# one number of 50,000, too rarely for a test to see it, and 8 cost as much as 1.
PADDINGS = (
    *((n, m, 192) for n, m in ((8, 1), (8, 8), (16, 16), (33, 1), (48, 16), (64, 64))),
    *((n, m, 32) for n, m in ((8, 1), (16, 16), (32, 32))),
)
SCENE, SMALL_SCENE = 192, 32  # rows of the self-test; where memory is short
SIZES = (1, 2, 3, 4, 5, 8, 11, 16, 21, 24, 31, 32, 33, 40, 48, 64, 65, 96, 127, 160)
PRODUCTS = 50_000  # numbers compared for each product and size: small matrices differ in one of thousands
WINDOWS = 16  # places where a small batch is tried: one row may agree by chance


class Step(Protocol):
    """A decoder over slots: reads prompts, and feeds one token to each of many rows."""

    name: str
    dtype: torch.dtype
    device: torch.device
    vocab_size: int

    def shapes(self) -> list[LayerShape]:
        """Heads and widths of every layer's cache."""
        ...

    def products(self) -> list[Product]:
        """The products of matrices that a step is made of, one of each shape."""
        ...

    def read(self, ids: Sequence[int], keep: int, slots: Slots | None = None, slot: int = 0) -> torch.Tensor:
        """Read a prompt alone; logits of its last positions, (keep, V)."""
        ...

    def __call__(self, tokens: torch.Tensor, places: list[Place], slots: Slots, pad: Pad) -> torch.Tensor:
        """Feed one token to each row, sorted by (blocks, slot); logits, (B, V)."""
        ...


class LocalSession:
    """Rows of one model; see `sessions.Session`.

    Args:
        step: how it decodes.
        padding: found by `self_test`.
        max_length: tokens of a text at most, prompt included.
        rows: rows wanted; fewer when memory is short.
    """

    def __init__(self, step: Step, padding: Padding, max_length: int, rows: int) -> None:
        self.step, self.padding = step, padding
        capacity, shapes = blocks(max_length), step.shapes()
        per_row = row_bytes(step, capacity)
        self.max_rows = min(rows, int(SHARE * free_bytes(step.device) / per_row))
        if self.max_rows < 2:
            raise EngineError(
                "Two texts of the longest kind must fit into half of the free memory",
                f"{per_row / 2**20:.0f} MiB a text",
                "Take shorter prompts, fewer --max-tokens, or a smaller model",
            )
        self.slots = Slots(self.max_rows + 1, capacity, step.dtype, step.device)
        self.slots.allocate(shapes)

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[list[int], torch.Tensor]:
        """See `sessions.Session.prefill`; every prompt is read alone."""
        rows = [self.slots.open(len(ids)) for ids in prompts]
        slots = [self.slots.places[row].slot for row in rows]
        return rows, torch.cat([self.step.read(i, 1, self.slots, s) for i, s in zip(prompts, slots, strict=True)])

    @torch.inference_mode()
    def advance(self, parents: Sequence[int], tokens: Sequence[int]) -> tuple[list[int], torch.Tensor]:
        """See `sessions.Session.advance`."""
        rows = self.slots.extend(parents)
        places = [self.slots.places[row] for row in rows]
        order = sorted(range(len(rows)), key=lambda i: (blocks(places[i].length), places[i].slot))
        fed = torch.tensor([tokens[i] for i in order], device=self.step.device)
        starts = range(0, len(order), self.padding.most)
        parts = [order[start : start + self.padding.most] for start in starts]
        done = [
            self.step(fed[start : start + len(part)], [places[i] for i in part], self.slots, self.padding.rows)
            for start, part in zip(starts, parts, strict=True)
        ]
        logits = done[0] if len(done) == 1 else torch.cat(done)
        if order == list(range(len(rows))):
            return rows, logits
        back = torch.empty(len(rows), dtype=torch.long)
        back[order] = torch.arange(len(rows))
        return rows, logits[back.to(self.step.device)]

    def drop(self, rows: Sequence[int]) -> None:
        """See `sessions.Session.drop`."""
        self.slots.drop(rows)

    @torch.inference_mode()
    def score(self, prompt: Sequence[int], tokens: Sequence[int]) -> torch.Tensor:
        """See `sessions.Session.score`."""
        return self.step.read([*prompt, *tokens], len(tokens) + 1)[:-1]


def row_bytes(step: Step, capacity: int) -> int:
    """Memory of one row: its cache of `capacity` tokens, its logits and what the law makes of them."""
    item = torch.empty((), dtype=step.dtype).element_size()
    widths = sum(s.key_heads * s.key_width + s.value_heads * s.value_width for s in step.shapes())
    return item * capacity * widths + 16 * step.vocab_size


class _Scene(NamedTuple):
    """Rows made up for a test: slots filled with noise, and a token for each."""

    slots: Slots
    places: list[Place]
    tokens: torch.Tensor

    def step(self, step: Step, start: int, end: int, pad: Pad) -> torch.Tensor:
        return step(self.tokens[start:end], self.places[start:end], self.slots, pad)


def _scene(step: Step, rows: int) -> _Scene:
    generator = torch.Generator().manual_seed(0)
    slots = Slots(rows, BLOCK, step.dtype, step.device)
    slots.allocate(step.shapes())
    for store in (*slots.keys, *slots.values):
        store.copy_(torch.randn(store.shape, generator=generator))
    places = [Place(i, 2 + (7 * i) % (BLOCK - 2)) for i in range(rows)]
    tokens = torch.randint(step.vocab_size, (rows,), generator=generator)
    return _Scene(slots, places, tokens.to(step.device))


@torch.inference_mode()
def self_test(step: Step) -> Padding:
    """Find the cheapest padding under which a row's bits do not depend on its neighbours.

    Args:
        step: how the model decodes.

    Returns:
        The padding; not `verified` when none of those tried holds.
    """
    rows = SCENE if SCENE * row_bytes(step, BLOCK) < free_bytes(step.device) / 8 else SMALL_SCENE
    scene = _scene(step, rows)
    for least, multiple, most in PADDINGS:
        if most > rows:
            continue
        pad = Padding(least, multiple, most, True)
        whole = scene.step(step, 0, most, pad.rows)
        alike = all(torch.equal(scene.step(step, a, b, pad.rows), whole[a:b]) for a, b in _windows(most))
        if alike and all(_steady(product, pad, step) for product in step.products()):
            return pad
    return Padding(1, 1, rows, False)


def steadiest(steps: Iterable[Step]) -> tuple[str, Padding]:
    """Which of several ways to decode keeps a row's bits in the largest batches; of equals the first.

    Args:
        steps: made as they are asked for, the fastest first; the rest are not made once one holds at any size.

    Returns:
        Its name and its padding.
    """
    found: list[tuple[str, Padding]] = []
    for step in steps:
        found.append((step.name, self_test(step)))
        if found[-1][1].verified and found[-1][1].most == SCENE:
            break
    return max(found, key=lambda f: (f[1].verified, f[1].most))


def _steady(product: Product, pad: Padding, step: Step) -> bool:
    """Whether a product gives a row the same bits at every size, on as many random numbers as it takes to see."""
    generator = torch.Generator().manual_seed(0)
    rounds: list[tuple[torch.Tensor, torch.Tensor]] = []  # rows (most, inputs), and their product

    def made(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        while len(rounds) <= number:
            rows = torch.randn(pad.most, product.inputs, generator=generator).to(step.dtype).to(step.device)
            rounds.append((rows, product.compute(rows)))
        return rounds[number]

    for n in (n for n in SIZES if n < pad.most):
        compared = number = 0
        while compared < PRODUCTS:
            rows, whole = made(number)
            empty = rows.new_zeros(pad.rows(n) - n, product.inputs)
            for start in range(0, pad.most - n, n):
                part = slice(start, start + n)
                if not torch.equal(product.compute(torch.cat([rows[part], empty]))[:n], whole[part]):
                    return False
                compared += n * whole.shape[1]
                if compared >= PRODUCTS:
                    break
            number += 1
    return True


def _windows(rows: int) -> list[tuple[int, int]]:
    """Batches to try: small ones in several places, the likeliest to differ first."""
    spread = [(a, a + n) for n in SIZES if n <= 4 for a in range(0, rows - n, max(1, rows // WINDOWS))]
    return [*spread, *((a, a + n) for n in SIZES if 4 < n < rows for a in (0, rows - n))]


@torch.inference_mode()
def difference(step: Step, other: Step) -> float:
    """How far two steps' next-token distributions lie apart, on made-up rows.

    Args:
        step: one way to decode.
        other: another, of the same weights and dtype.

    Returns:
        Mean total variation distance of decoding and of reading a prompt, the larger, in [0, 1].
    """
    scene, pad = _scene(step, SMALL_SCENE), Padding(8, 1, SMALL_SCENE, False).rows
    prompt = [int(t) for t in scene.tokens[:24]]
    pairs = [(s.read(prompt, 8), scene.step(s, 0, 8, pad)) for s in (step, other)]
    return max(_distance(a, b) for a, b in zip(*pairs, strict=True))


def agrees(step: Step, stock: Step, again: Step) -> bool:
    """Whether a step differs from the stock one by no more than rounding does.

    Args:
        step: the step to judge.
        stock: the definition.
        again: the definition with another attention kernel: equal but for rounding.

    Returns:
        True when the first two lie at most twice as far apart as the last two.
    """
    return difference(step, stock) <= 2 * difference(stock, again) + 1e-4


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((torch.softmax(a.float(), -1) - torch.softmax(b.float(), -1)).abs().sum(-1).mean() / 2)
