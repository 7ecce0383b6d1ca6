"""The tree of all texts along a parameter, grown over shared rows."""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from poise import draws, noise
from poise.breakers import breakers_of
from poise.contests import Moment, Part, Said, Step, winners
from poise.draws import NoiseRow
from poise.errors import EngineError
from poise.law import History
from poise.motions import Motion
from poise.numerics import Trail
from poise.params import PARAMETERS
from poise.pieces import Found, value_in, with_value
from poise.records import Request
from poise.sampler import completion_of, finish_reason, no_numbers
from poise.sessions import Logits, LogitsEngine, RowId, Tally
from poise.spans import Cut, Span

ROWS = 768  # living rows at most, unless memory says fewer
BATCH = 192  # rows computed at once
NOISES = 48  # rows of noise kept

Rivals = tuple[tuple[float, float], ...]


class Budget(NamedTuple):
    """Where a dial may stop early; the widest unknown stretch is then followed first.

    Args:
        max_rows: forward passes of one row at most, prompts not counted; None for no limit.
        resolution: stretches narrower than this are given up, in the parameter's unit; None follows all.
        max_texts: finished stretches at most; None for no limit.
    """

    max_rows: int | None = None
    resolution: float | None = None
    max_texts: int | None = None

    @property
    def hurried(self) -> bool:
        """Whether it may end before everything is known."""
        return self.max_rows is not None or self.max_texts is not None


class Strand(NamedTuple):
    """One draw of one prompt, and the stretches on which its texts are wanted.

    Args:
        number: its place among the dials.
        request: the draw; the moving parameter is off in it.
        spans: what is to be found out.
    """

    number: int
    request: Request
    spans: tuple[Span, ...]


class Stretch(NamedTuple):
    """A stretch of a strand on which one text was drawn so far, and how far ahead each of its tokens was."""

    strand: Strand
    key: int
    span: Span
    rivals: tuple[Rivals, ...]


class Node(NamedTuple):
    """A living text, and the stretches that have drawn exactly it so far."""

    row: RowId
    request: Request  # of any of its strands: prompt and limits are theirs in common
    output: tuple[int, ...]
    logprobs: tuple[float, ...]
    stretches: Sequence[Stretch]


class Child(NamedTuple):
    """A node's stretches that drew the same next token and go on; its row is still to be computed."""

    parent: Node
    token: int
    logprob: float
    stretches: list[Stretch]

    @property
    def width(self) -> float:
        """Of its widest stretch."""
        return max(s.span.width for s in self.stretches)


class Parting(NamedTuple):
    """A node at which texts part, shown to whoever watches: its step, its children's tokens, where it holds."""

    node: Node
    step: Step
    tokens: tuple[int, ...]
    span: Span


Watch = Callable[[Parting], None]
Progress = Callable[[float, Tally], None]


def grow(
    engine: LogitsEngine,
    strands: Iterable[Strand],
    parameter: str,
    how: Motion,
    *,
    budget: Budget = Budget(),  # noqa: B008  immutable
    tally: Tally | None = None,
    watch: Watch | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[Strand, Found]]:
    """Find every text of every strand; strands with the same tokens so far share their rows.

    Args:
        engine: a logits engine.
        strands: draws and their stretches.
        parameter: the one that moves.
        how: its mechanism beside the strands' fixed parameters, from `motions.motion`.
        budget: where to stop early.
        tally: filled with the cost as it grows.
        watch: told of every node at which texts part.
        progress: told the share of the work that is done, by estimate, after every batch.

    Yields:
        Each stretch as its text ends, or as it is given up.

    Raises:
        EngineError: the model gave logits that are no numbers, or memory is too short for one more text.
    """
    wanted = [s for s in strands if s.spans]
    if wanted:
        loop = _Loop(engine, wanted, (parameter, how), budget, tally or Tally())
        loop.watch, loop.progress = watch, progress
        yield from loop.run()


class _Loop:
    def __init__(
        self,
        engine: LogitsEngine,
        strands: list[Strand],
        moving: tuple[str, Motion],
        budget: Budget,
        tally: Tally,
    ) -> None:
        self.engine, self.budget, self.tally = engine, budget, tally
        self.watch: Watch | None = None
        self.progress: Progress | None = None
        self.parameter, self.how = moving
        self.queues: dict[tuple[int, ...], list[Strand]] = {}
        for strand in strands:
            self.queues.setdefault(strand.request.prompt_ids, []).append(strand)
        self.alone = {ids: len(found) == 1 for ids, found in self.queues.items()}
        longest = max(len(s.request.prompt_ids) + s.request.max_tokens for s in strands)
        self.session = engine.session(longest, ROWS)
        self.pending: list[Child] = []
        self.noises: OrderedDict[tuple[int, int], NoiseRow] = OrderedDict()
        self.rows, self.texts = 0, 0
        self.trail = Trail(engine, strands[0].request.prompt_ids)
        self.lowest = strands[0]
        self.odds = strands[0].request.params.xtc_probability or 0.0
        self.breakers = breakers_of(engine, strands[0].request.params, self.parameter)

    def run(self) -> Iterator[tuple[Strand, Found]]:
        while self.queues or self.pending:
            while self.queues and len(self.pending) < self.session.max_rows // 4:
                yield from self._draw(*self._read())
            if self._spent():
                yield from self._give_up()
                return
            if self.pending:
                yield from self._draw(*self._advance(self._choose()))
            if self.progress is not None:
                self.progress(self._share(), self.tally)

    def _share(self) -> float:
        """Share of the work done: living texts go on growing in number as they did."""
        if not self.pending:
            return 1.0
        depth = sum(len(c.parent.output) + 1 for c in self.pending) / len(self.pending)
        left = max(c.parent.request.max_tokens for c in self.pending) - depth
        living, unread = len(self.pending), 1 + len(self.queues)
        to_do = unread * (left * living + living / (depth + 1) * left**2 / 2)
        most = self.budget.max_rows or math.inf
        return max(self.rows / (self.rows + to_do), self.rows / most)

    def _read(self) -> tuple[list[Node], Logits]:
        """Read the next prompt."""
        ids = next(iter(self.queues))
        strands = self.queues.pop(ids)
        with self._time("prefill"):
            rows, logits = self.session.prefill([ids])
        self.tally.prompt_tokens += len(ids)
        stretches = [
            Stretch(s, noise.key(s.request.seed, ids, s.request.draw), span, ()) for s in strands for span in s.spans
        ]
        return [Node(rows[0], strands[0].request, (), (), stretches)], logits

    def _spent(self) -> bool:
        most = self.budget
        return self.rows >= (most.max_rows or math.inf) or self.texts >= (most.max_texts or math.inf)

    def _give_up(self) -> Iterator[tuple[Strand, Found]]:
        """What is left of the range stays unknown past the tokens drawn so far."""
        for child in self.pending:
            for s in child.stretches:
                yield s.strand, Found(s.span, None, (*child.parent.output, child.token))
        for strands in self.queues.values():
            yield from ((s, Found(span, None, ())) for s in strands for span in s.spans)

    def _choose(self) -> list[Child]:
        """The next batch: breadth first, or the widest where time is short, or the deepest where memory is."""
        held = Counter(c.parent.row for c in self.pending)
        crowded = len(held) > self.session.max_rows // 2
        if crowded:
            self.pending.sort(key=lambda c: -len(c.parent.output))
        elif self.budget.hurried:
            self.pending.sort(key=lambda c: (-c.width, -len(c.parent.output)))
        else:
            self.pending.sort(key=lambda c: len(c.parent.output))
        most = BATCH
        if self.budget.hurried:  # what is much narrower than the widest waits, or nothing would be finished in time
            most = sum(c.width >= self.pending[0].width / 2 for c in self.pending) or 1
        if self.budget.max_rows is not None:
            most = min(most, self.budget.max_rows - self.rows)
        chosen: list[Child] = []
        left: list[Child] = []
        for child in self.pending:
            after = len(held) - (held[child.parent.row] == 1) + len(chosen) + 1
            if len(chosen) < most and after <= self.session.max_rows:
                chosen.append(child)
                held[child.parent.row] -= 1
                held += Counter()  # forgets parents without waiting children
            else:
                left.append(child)
        if not chosen:
            raise EngineError(
                "The texts that wait for their turn must fit into memory", f"{len(self.pending):,} of them",
                "Take fewer --draws or --max-tokens, or a narrower range",
            )  # fmt: skip
        self.pending = left
        return chosen

    def _advance(self, children: list[Child]) -> tuple[list[Node], Logits]:
        """Append each child's token, and forget parents that have no more children to come."""
        with self._time("forward"):
            rows, logits = self.session.advance([c.parent.row for c in children], [c.token for c in children])
        self.rows += len(rows)
        self.tally.rows += len(rows)
        waiting = {c.parent.row for c in self.pending}
        self.session.drop([row for row in {c.parent.row for c in children} if row not in waiting])
        nodes = [
            Node(row, c.parent.request, (*c.parent.output, c.token), (*c.parent.logprobs, c.logprob), c.stretches)
            for row, c in zip(rows, children, strict=True)
        ]
        return nodes, logits

    def _draw(self, nodes: list[Node], logits: Logits) -> Iterator[tuple[Strand, Found]]:
        """Every next token of every stretch; texts that end are found, the others become children."""
        with self._time("law"):
            normal = self.engine.law.normaliser(logits)
        if not np.all(np.isfinite(normal)):
            bad = nodes[int(np.flatnonzero(~np.isfinite(normal))[0])]
            raise no_numbers(len(bad.request.prompt_ids), len(bad.output))
        grown: list[tuple[int, int, list[Stretch]]] = []
        for b, (node, steps) in enumerate(zip(nodes, self._steps(nodes, logits), strict=True)):
            first = node.stretches[0]
            step = steps[self._struck(first)]
            if first.strand is self.lowest and first.span.low == self.lowest.spans[0].low:
                self.trail.note(node.output, step.values)
            by_token: dict[int, list[Stretch]] = {}
            for s in node.stretches:
                for part in self._parts(node, s, steps[self._struck(s)]):
                    if part.token is None:
                        yield s.strand, Found(part.span, None, node.output)
                    else:
                        longer = Stretch(s.strand, s.key, part.span, (*s.rivals, part.rivals))
                        by_token.setdefault(part.token, []).append(longer)
            if self.watch is not None and len(by_token) > 1 and self._common(node):
                self._show(node, step, by_token)
            grown += [(b, token, found) for token, found in by_token.items()]
        with self._time("law"):
            chosen = self.engine.law.take(logits, [b for b, *_ in grown], [token for _, token, _ in grown])
        going: set[int] = set()
        for (b, token, found), logit in zip(grown, chosen, strict=True):
            child = Child(nodes[b], token, min(0.0, float(logit - normal[b])), found)
            ended = list(self._ended(child))
            if not ended:
                self.pending.append(child)
                going.add(b)
            yield from ended
        self.session.drop([n.row for b, n in enumerate(nodes) if b not in going])

    def _steps(self, nodes: list[Node], logits: Logits) -> list[dict[bool, Step]]:
        """Each node's step, twice where some of its draws are struck by XTC and some are not."""
        wanted = [(b, struck) for b, n in enumerate(nodes) for struck in dict.fromkeys(map(self._struck, n.stretches))]
        with self._time("law"):
            moving = (self.parameter, nodes[0].request.params)
            said = [self._said(nodes[b], struck) for b, struck in wanted]
            made = Step.many(self.engine.law, logits, moving, [b for b, _ in wanted], said)
        steps = dict(zip(wanted, made, strict=True))
        return [
            {struck: steps[b, struck] for struck in (True, False) if (b, struck) in steps} for b in range(len(nodes))
        ]

    def _said(self, node: Node, struck: bool) -> Said:
        barred = self.engine.eos_ids if len(node.output) < node.request.min_tokens else frozenset[int]()
        return Said(History(node.request.prompt_ids, node.output, self.breakers), barred, struck)

    def _struck(self, s: Stretch) -> bool:
        """Whether XTC strikes a draw's next step, where its probability stands still."""
        return not self.odds or noise.coin(s.key, len(s.rivals)) < self.odds

    def _parts(self, node: Node, s: Stretch, step: Step) -> list[Part]:
        with self._time("noise"):
            row = self._noise(s.key, len(node.output))
        narrow = self.budget.resolution
        with self._time("envelope"):
            found = winners(Moment(step, row), self.how, s.span, narrow)
        if narrow is None or not self.how.exact or PARAMETERS[self.parameter].kind == "int":
            return found
        return [kept for part in found for kept in self._wide(part, narrow)]

    def _wide(self, part: Part, narrow: float) -> list[Part]:
        """A part that is narrower than the resolution is given up; greedy, a single value, never is."""
        if part.span.width == 0 or part.span.width >= narrow:
            return [part]
        zero = Cut(0.0, after=True)
        if self.parameter == "temperature" and part.span.low == Cut(0.0):
            return [part._replace(span=Span(Cut(0.0), zero)), Part(Span(zero, part.span.high), None)]
        return [part._replace(token=None)]

    def _noise(self, key: int, position: int) -> NoiseRow:
        if (key, position) not in self.noises:
            self.noises[key, position] = draws.noise_row(key, position, self.engine.vocab_size)
            if len(self.noises) > NOISES:
                self.noises.popitem(last=False)
        return self.noises[key, position]

    def _common(self, node: Node) -> bool:
        """Whether several draws meet in a text, or there is one draw of its prompt alone."""
        drawn = {s.strand.number for s in node.stretches}
        return len(drawn) > 1 or self.alone[node.request.prompt_ids]

    def _show(self, node: Node, step: Step, by_token: dict[int, list[Stretch]]) -> None:
        assert self.watch is not None
        spans = [s.span for found in by_token.values() for s in found]
        whole = Span(min(s.low for s in spans), max(s.high for s in spans))
        with self._time("forks"):
            self.watch(Parting(node, step, tuple(by_token), whole))

    def _ended(self, child: Child) -> Iterator[tuple[Strand, Found]]:
        """The finished stretches of a text that ends with its newest token; none where it goes on."""
        ids, chances = (*child.parent.output, child.token), (*child.parent.logprobs, child.logprob)
        with self._time("text"):
            reason = finish_reason(self.engine, child.parent.request, ids)
        if reason is None:
            return
        for s in child.stretches:
            inside = value_in(self.parameter, s.span)
            request = s.strand.request
            law = with_value(request.params, self.parameter, inside)
            asked = Request(
                request.prompt, request.prompt_ids, law, request.seed, request.draw, request.max_tokens,
                request.min_tokens, request.stop,
            )  # fmt: skip
            with self._time("text"):
                done = completion_of(self.engine, asked, ids, chances, reason)
            with self._time("numerics"):
                least = self.trail.tolerance(self.session)
            doubtful = tuple(
                t
                for t, rivals in enumerate(s.rivals)
                if min((a + b * inside for a, b in rivals), default=np.inf) < least
            )
            self.texts += 1
            self.tally.completions += 1
            self.tally.tokens += len(ids)
            yield s.strand, Found(s.span, done, ids, doubtful)

    @contextmanager
    def _time(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds = self.tally.seconds
        seconds[part] = seconds.get(part, 0.0) + time.perf_counter() - start
