"""The one draw loop of all logits engines: many requests, shared rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise import draws, noise, texts
from poise.breakers import breakers_of
from poise.errors import EngineError
from poise.law import History, State, heat, next_mu, surprise
from poise.law.chain import acting, cut_of
from poise.params import SamplingParams
from poise.records import Completion, FinishReason, Request
from poise.sessions import Logits, LogitsEngine, Reshaped, RowId, Tally, check_tokens

ROWS = 256  # texts under way at most, unless memory says fewer; more hardly raise the speed


class Strand(NamedTuple):
    """One request under way.

    Args:
        request: what was asked.
        noise_key: of its prompt, seed and draw.
        shape: the steps that decide which values remain; the temperature only where another step looks at it.
        scale: the temperature, 0 for greedy; None where the shape tells it.
        mu: mirostat's cut, bits; None where it is off, and at the start of a text.
    """

    request: Request
    noise_key: int
    shape: SamplingParams
    scale: float | None
    mu: float | None = None

    def state(self, position: int) -> State:
        """What its next step depends on besides the text: XTC's coin, mirostat's cut."""
        odds = self.shape.xtc_probability
        return State(not odds or noise.coin(self.noise_key, position) < odds, self.mu)


class Shape(NamedTuple):
    """What is worked out once for all strands that agree in it: a node's row, reshaped."""

    node: int
    law: SamplingParams
    early: bool
    state: State


class Node(NamedTuple):
    """A living text, and the strands that have drawn exactly it so far."""

    row: RowId
    prompt_ids: tuple[int, ...]
    output: tuple[int, ...]
    logprobs: tuple[float, ...]
    strands: Sequence[Strand]
    keep: bool = False  # the row is a prompt's, and more strands will start from it


class Child(NamedTuple):
    """A node's strands that drew the same next token and go on."""

    parent: Node
    token: int
    logprob: float
    strands: list[Strand]


@dataclass(slots=True)
class Queue:
    """A prompt's strands that wait for room; its row and logits, (1, V), once it was read."""

    prompt_ids: tuple[int, ...]
    strands: list[Strand] = field(default_factory=list)
    row: RowId | None = None
    logits: Logits = None


def generate(engine: LogitsEngine, requests: Iterable[Request], tally: Tally | None = None) -> Iterator[Completion]:
    """Draw many requests in one batch; each text depends on its own request alone.

    Strands with the same tokens so far share a row, whatever their settings and draws. No more
    strands than the session has rows are under way at once, so a row is never short.

    Args:
        engine: a logits engine.
        requests: what to draw, in any order and number.
        tally: filled with the cost as it grows.

    Yields:
        Completions as they finish.

    Raises:
        EngineError: the model gave logits that are no numbers.
        ParameterError: a law that names tokens which the model lacks, or bars every token.
    """
    queues = _queues(requests, engine.vocab_size)
    if queues:
        yield from _Loop(engine, queues, tally or Tally()).run()


class _Loop:
    def __init__(self, engine: LogitsEngine, queues: list[Queue], tally: Tally) -> None:
        self.engine, self.queues, self.tally = engine, queues, tally
        strands = [s for q in queues for s in q.strands]
        longest = max(len(s.request.prompt_ids) + s.request.max_tokens for s in strands)
        self.session = engine.session(longest, min(ROWS, len(strands)) + 1)
        self.room = self.session.max_rows - 1  # one row for a prompt that waits for its next strands
        self.children: list[Child] = []
        self.seconds = tally.seconds

    def run(self) -> Iterator[Completion]:
        while self.queues or self.children:
            blocks = self._admit()
            if self.children:
                blocks.append(self._advance())
            for nodes, logits in blocks:
                yield from self._draw(nodes, logits)

    def _admit(self) -> list[tuple[list[Node], Logits]]:
        """Start waiting strands while there is room, prompt by prompt."""
        blocks: list[tuple[list[Node], Logits]] = []
        while self.queues and self.room > 0:
            queue = self.queues[0]
            if queue.row is None:
                with self._time("prefill"):
                    rows, queue.logits = self.session.prefill([queue.prompt_ids])
                queue.row = rows[0]
                self.tally.prompt_tokens += len(queue.prompt_ids)
            started, queue.strands = queue.strands[: self.room], queue.strands[self.room :]
            self.room -= len(started)
            node = Node(queue.row, queue.prompt_ids, (), (), started, keep=bool(queue.strands))
            blocks.append(([node], queue.logits))
            if not queue.strands:
                self.queues.pop(0)
        return blocks

    def _advance(self) -> tuple[list[Node], Logits]:
        """Append each child's token, and forget the parents."""
        children, self.children = self.children, []
        with self._time("forward"):
            rows, logits = self.session.advance([c.parent.row for c in children], [c.token for c in children])
        self.tally.rows += len(rows)
        self.session.drop(list({c.parent.row for c in children if not c.parent.keep}))
        nodes = [
            Node(row, c.parent.prompt_ids, (*c.parent.output, c.token), (*c.parent.logprobs, c.logprob), c.strands)
            for row, c in zip(rows, children, strict=True)
        ]
        return nodes, logits

    def _draw(self, nodes: list[Node], logits: Logits) -> Iterator[Completion]:
        """Draw every strand's next token; finish those that end, queue the rest as children."""
        with self._time("law"):
            normal = self.engine.law.normaliser(logits)
        if not np.all(np.isfinite(normal)):
            bad = nodes[int(np.flatnonzero(~np.isfinite(normal))[0])]
            raise no_numbers(len(bad.prompt_ids), len(bad.output))
        owners, strands, tokens = self._tokens(nodes, logits)
        with self._time("law"):
            chosen = self.engine.law.take(logits, owners, tokens)
        self.tally.tokens += len(tokens)
        going: dict[tuple[int, int], Child] = {}
        for b, strand, token, logit in zip(owners, strands, tokens, chosen, strict=True):
            node, logprob = nodes[b], min(0.0, float(logit - normal[b]))
            ids = (*node.output, token)
            with self._time("text"):
                reason = finish_reason(self.engine, strand.request, ids)
            if reason is None:
                going.setdefault((b, token), Child(node, token, logprob, [])).strands.append(strand)
            else:
                self.room += 1
                self.tally.completions += 1
                with self._time("text"):
                    done = completion_of(self.engine, strand.request, ids, (*node.logprobs, logprob), reason)
                yield done
        self.children += going.values()
        alive = {b for b, _ in going}
        self.session.drop([n.row for b, n in enumerate(nodes) if b not in alive and not n.keep])

    def _tokens(self, nodes: list[Node], logits: Logits) -> tuple[list[int], list[Strand], list[int]]:
        """The next token of every strand: its node's index, the strand as it goes on, the token."""
        shapes: dict[Shape, int] = {}
        groups: dict[tuple[int, int], list[Strand]] = {}
        for b, node in enumerate(nodes):
            position = len(node.output)
            for s in node.strands:
                shape = Shape(b, s.shape, position < s.request.min_tokens, s.state(position))
                place = shapes.setdefault(shape, len(shapes))
                groups.setdefault((place, 0 if s.scale == 0 else s.noise_key), []).append(s)
        with self._time("law"):
            reshaped = self._reshape(nodes, logits, list(shapes))
        owners = [shape.node for shape in shapes]
        out: tuple[list[int], list[Strand], list[int]] = ([], [], [])
        with self._time("noise"):
            rows: dict[tuple[int, int], draws.NoiseRow] = {}
            for (j, noise_key), strands in groups.items():
                position, values = len(nodes[owners[j]].output), reshaped.values[j]
                scales = np.array([reshaped.scale[j] if s.scale is None else s.scale for s in strands])
                tokens = self._pick(values, scales, noise_key, position, rows)
                out[0].extend([owners[j]] * len(strands))
                out[1].extend(_moved(s, values, x, t) for s, x, t in zip(strands, scales, tokens, strict=True))
                out[2].extend(tokens)
        return out

    def _reshape(self, nodes: list[Node], logits: Logits, shapes: list[Shape]) -> Reshaped:
        barred = [self.engine.eos_ids if s.early else frozenset[int]() for s in shapes]
        histories = [
            History(nodes[s.node].prompt_ids, nodes[s.node].output, breakers_of(self.engine, s.law)) for s in shapes
        ]
        return self.engine.law.reshape(
            logits, [s.node for s in shapes], [s.law for s in shapes], histories, barred, [s.state for s in shapes]
        )

    def _pick(
        self,
        values: draws.Values,
        scales: NDArray[np.float64],
        noise_key: int,
        position: int,
        rows: dict[tuple[int, int], draws.NoiseRow],
    ) -> list[int]:
        if scales[0] == 0:
            return [draws.greedy(values)] * len(scales)
        if (noise_key, position) not in rows:
            rows[noise_key, position] = draws.noise_row(noise_key, position, self.engine.vocab_size)
        return list(map(int, draws.winners(values, scales, rows[noise_key, position])))

    @contextmanager
    def _time(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start


def finish_reason(engine: LogitsEngine, request: Request, ids: tuple[int, ...]) -> FinishReason | None:
    """Why a text ends with its newest token; None where it goes on.

    Args:
        engine: its end-of-text tokens and decoder.
        request: stop strings and max_tokens.
        ids: every new token so far.

    Returns:
        The reason.
    """
    if ids[-1] in engine.eos_ids:
        return "eos"
    if request.stop and texts.ends_with_stop(engine.decode, ids, request.stop):
        return "stop"
    return "length" if len(ids) >= request.max_tokens else None


def completion_of(
    engine: LogitsEngine, request: Request, ids: tuple[int, ...], logprobs: tuple[float, ...], reason: FinishReason
) -> Completion:
    """A finished text as a Completion: decoded, cut at its stop string, thinking apart.

    Args:
        engine: it drew the text.
        request: what was asked.
        ids: every new token.
        logprobs: ln p of each, nats.
        reason: why it ended.

    Returns:
        The completion.
    """
    written = engine.decode(ids[:-1] if reason == "eos" else ids)
    if reason == "stop":
        written = written[: texts.stop_position(written, request.stop)]
    opened = engine.opens_thinking(request.prompt_ids)
    thinking, text = texts.split_thinking(written, engine.thinking_tags, opened)
    return Completion(request, text, ids, logprobs, reason, thinking)


def _queues(requests: Iterable[Request], size: int) -> list[Queue]:
    """Strands by prompt; inside it by draw, so that what starts together shares most."""
    queues: dict[tuple[int, ...], Queue] = {}
    known: dict[SamplingParams, tuple[SamplingParams, float | None]] = {}
    for request in requests:
        if request.params not in known:
            check_tokens(request.params, size)
            known[request.params] = _split(request.params)
        key = noise.key(request.seed, request.prompt_ids, request.draw)
        shape, scale = known[request.params]
        queue = queues.setdefault(request.prompt_ids, Queue(request.prompt_ids))
        queue.strands.append(Strand(request, key, shape, scale))
    for queue in queues.values():
        queue.strands.sort(key=lambda s: (s.request.seed, s.request.draw, s.scale or 0.0))
    return list(queues.values())


def _split(params: SamplingParams) -> tuple[SamplingParams, float | None]:
    """What decides the remaining values, and the temperature. Alike shapes are reshaped once."""
    on = acting(params)
    if params.greedy:
        return params.only(on[: on.index("temperature")]), 0.0
    if "dynatemp_range" in on or ("temperature" in on and on[-1] != "temperature"):
        return params.normalised(), None
    return params.only(n for n in on if n != "temperature"), heat(params)


def _moved(strand: Strand, values: draws.Values, scale: float, token: int) -> Strand:
    """A strand after a token: mirostat's cut follows its surprise under the law that drew it."""
    if not strand.shape.mirostat or scale == 0:
        return strand
    tau, eta = strand.shape.number("mirostat_tau"), strand.shape.number("mirostat_eta")
    assert tau is not None
    assert eta is not None
    seen = surprise(values.astype(np.float64) / scale, token)
    return strand._replace(mu=next_mu(cut_of(strand.shape, State(mu=strand.mu)), tau, eta, seen))


def no_numbers(prompt: int, new: int) -> EngineError:
    """The error for logits that are NaN or infinite after so many prompt and new tokens."""
    where = f"NaN or infinity after {prompt} prompt and {new} new tokens"
    return EngineError(
        "A model's logits must be numbers",
        where,
        "Try --dtype float32: half precision overflows in some models; otherwise the weights are damaged",
    )
