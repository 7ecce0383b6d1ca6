"""Why this text: how far each parameter can move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Unpack, cast

import numpy as np

from poise import asks, draws, noise
from poise.asks import DrawOptions, Given
from poise.breakers import breakers_of
from poise.contests import Moment, Part, Said, Step, winners
from poise.dialects import Dialect
from poise.draws import NoiseRow
from poise.errors import UsageError
from poise.escapes import visible
from poise.law import History, State
from poise.motions import COUNTED, motion, moving_step
from poise.params import PARAMETERS, Number, SamplingParams
from poise.records import Completion, FinishReason, Request
from poise.sampler import completion_of, finish_reason, no_numbers
from poise.sessions import Engine, Logits, LogitsEngine, RowId
from poise.spans import Cut, Span, closed

WIDEST = 100.0  # how far a parameter without an upper limit is followed
LEAST = {  # where a range that leaves out 0 begins here
    "typical_p": 1e-3, "repetition_penalty": 1e-2, "top_n_sigma": 1e-3, "top_h": 1e-3, "dynatemp_exponent": 1e-2,
}  # fmt: skip
WINDOWS = {"penalty_last_n": "window", "dry_last_n": "dry_window"}  # what a dialect does where nobody says how much


class Change(NamedTuple):
    """What would change first beyond one end.

    Args:
        value: where, in the parameter's unit.
        position: index of the new token that changes, from 0.
        was: the token drawn.
        becomes: the token drawn beyond; -1 where every token is barred there.
        was_text, becomes_text: the two, decoded.
    """

    value: float
    position: int
    was: int
    becomes: int
    was_text: str
    becomes_text: str


@dataclass(frozen=True, slots=True)
class Reach:
    """The values of one parameter on which this seed draws this very text.

    Args:
        parameter: its name.
        value: what it was drawn at; the value that changes nothing where it is off.
        span: the stretch around it; None where it cannot be told exactly.
        below, above: what changes first on either side; None where nothing does inside the range looked at.
        why: the mechanism, or why it cannot be told.
        on: whether it took part in the drawing; off, it did what `value` does.
        lowest, widest: how far it was followed where it has no end of its own there and nothing changed on the way;
            None otherwise.
    """

    parameter: str
    value: float
    span: Span | None
    below: Change | None
    above: Change | None
    why: str
    on: bool = True
    lowest: float | None = None
    widest: float | None = None

    def __str__(self) -> str:
        at = f"{self.parameter} {f'{self.value:g}' if self.on else 'off'}"
        if self.span is None:
            return f"{at}: cannot be told exactly ({self.why})"
        beyond = [said for said in (self.below_said, self.above_said) if said]
        return f"{at}: this very text on {self.span}" + "".join(f"; {said}" for said in beyond)

    @property
    def below_said(self) -> str:
        """What happens below the stretch, in words; empty where the parameter's range ends there."""
        bound = "" if self.lowest is None else f"down to {self.lowest:g}, the lowest looked at"
        return bound if self.below is None else _said(self.below)

    @property
    def above_said(self) -> str:
        """What happens above the stretch, in words; empty where the parameter's range ends there."""
        bound = "" if self.widest is None else f"up to {self.widest:g}, the widest looked at"
        return bound if self.above is None else _said(self.above)


@dataclass(frozen=True, slots=True)
class Why:
    """A completion, and how far each parameter can move without changing it.

    Args:
        completion: the text.
        reaches: one per parameter of the dialect.
    """

    completion: Completion
    reaches: tuple[Reach, ...]

    def __getitem__(self, parameter: str) -> Reach:
        for reach in self.reaches:
            if reach.parameter == parameter:
                return reach
        raise UsageError(f"A parameter here is one of {', '.join(r.parameter for r in self.reaches)}", repr(parameter))


class _Following:
    """One parameter's stretch, narrowed step by step."""

    def __init__(self, engine: LogitsEngine, parameter: str, request: Request, value: Number) -> None:
        params = request.params
        self.parameter, self.value = parameter, float(value)
        self.fixed = params.without(parameter)
        self.on = parameter in params.active() or bool(
            PARAMETERS[parameter].leaders
        )  # which stand at a value of theirs
        self.how = motion(parameter, self.fixed)
        self.breakers = breakers_of(engine, self.fixed, parameter) if self.how.exact else frozenset()
        low, high = _range(parameter, params.how, engine.vocab_size, len(request.prompt_ids) + request.max_tokens)
        self.span = self.looked = closed(min(low, self.value), max(high, self.value))
        self.ends: list[tuple[Cut, int, int, int] | None] = [None, None]  # cut, position, was, becomes

    def narrow(self, step: Step, row: NoiseRow, position: int) -> None:
        """Keep the part of the stretch on which the same token wins as at the value."""
        found = winners(Moment(step, row), self.how, self.span)
        at = next(i for i, part in enumerate(found) if part.span.holds(self.value))
        mine = found[at]
        assert mine.token is not None
        if at > 0:
            self.ends[0] = (mine.span.low, position, mine.token, _token(found[at - 1]))
        if at + 1 < len(found):
            self.ends[1] = (mine.span.high, position, mine.token, _token(found[at + 1]))
        self.span = mine.span


def _token(part: Part) -> int:
    return -1 if part.token is None else part.token


def _stands(parameter: str, request: Request, size: int) -> Number | None:
    """Where on its axis a parameter stands; None where it is off without a place there, or shapes nothing."""
    params, declared = request.params, PARAMETERS[parameter]
    if parameter in params.active():
        return params.active()[parameter]
    if not params.how.has(moving_step(parameter, params)):
        return None
    if declared.leaders and not {*declared.leaders} & {*params.steps}:
        return None
    if parameter in WINDOWS:
        window: int | None = getattr(params.how.rules, WINDOWS[parameter])
        return len(request.prompt_ids) + request.max_tokens if window is None else window
    return size if parameter == "top_k" else declared.neutral


def _range(parameter: str, dialect: Dialect, size: int, length: int) -> tuple[float, float]:
    """How far a parameter is followed down and up; beyond a text's length nothing that counts its tokens differs."""
    declared = PARAMETERS[parameter]
    low = LEAST.get(parameter, float(declared.low))
    if parameter == "top_p" and dialect.rules.top_p_zero == "refused":
        low = LEAST["typical_p"]
    most = size if parameter == "top_k" else length if parameter in COUNTED else WIDEST
    high = float(most) if declared.high is None else float(declared.high)
    limits = dialect.limits.get(parameter, (low, high))
    return max(low, limits[0]), min(high, limits[1])


@dataclass(slots=True)
class _Text:
    request: Request
    key: int
    row: RowId
    following: list[_Following]
    output: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    reason: FinishReason | None = None


def why(
    engine: Engine,
    prompts: Given | Sequence[Given],
    params: SamplingParams | None = None,
    **draw: Unpack[DrawOptions],
) -> list[Why]:
    """Draw texts as `generate` does, and find on which values of each parameter this seed gives these very texts.

    No forward pass is made beyond those that draw: each step's logits tell how far the parameter can move.

    Args:
        engine: a loaded model whose tokens poise draws.
        prompts: texts, prompts and use cases, one or several.
        params: the law; None for none.
        **draw: see `DrawOptions`.

    Returns:
        One `Why` per prompt and draw.

    Raises:
        UsageError: an engine that draws by itself, or an option that cannot be.
        ParameterError: a parameter that the engine does not honour.
        EngineError: the model failed.

    Source: docs/method.md.
    """
    _check_engine(engine)
    options = asks.check_options(draw)
    trials = asks.check_settings(engine, params or SamplingParams(), baselines=False)
    asked = asks.ask_all(engine, asks.listed(prompts), options)
    ours = cast(LogitsEngine, engine)
    return [_explained(ours, text) for text in _drawn(ours, asks.requests_of(asked, trials, options))]


def _check_engine(engine: Engine) -> None:
    if getattr(engine, "draws_by", "") != "poise":
        raise UsageError(
            "Only texts that poise draws can be explained", getattr(engine, "name", repr(engine)),
            "Load the weights (hf:, gguf:): a server's noise is not known",
        )  # fmt: skip
    if getattr(engine, "partial", False):
        raise UsageError(
            "A text is explained from the logits of all tokens", f"{engine.name}, a server that returns a few",
            "Load the weights (hf:, gguf:)",
        )  # fmt: skip


def _drawn(engine: LogitsEngine, requests: list[Request]) -> Iterator[_Text]:
    """Draw a few texts at a time, each on a row of its own."""
    longest = max(len(r.prompt_ids) + r.max_tokens for r in requests)
    session = engine.session(longest, min(len(requests), 64) + 1)
    size = session.max_rows - 1
    for start in range(0, len(requests), size):
        batch = requests[start : start + size]
        rows, logits = zip(*(session.prefill([r.prompt_ids]) for r in batch), strict=True)
        texts = [
            _Text(r, noise.key(r.seed, r.prompt_ids, r.draw), row[0], _followed(engine, r))
            for r, row in zip(batch, rows, strict=True)
        ]
        for text, each in zip(texts, logits, strict=True):
            _step(engine, [text], each)
        while going := [t for t in texts if t.reason is None]:
            parents = [t.row for t in going]
            children, each = session.advance(parents, [t.output[-1] for t in going])
            session.drop(parents)
            for text, row in zip(going, children, strict=True):
                text.row = row
            _step(engine, going, each)
            session.drop([t.row for t in going if t.reason is not None])
        yield from texts


def _followed(engine: LogitsEngine, request: Request) -> list[_Following]:
    """Every parameter that acts, or has a value at which it does nothing."""
    places = {n: _stands(n, request, engine.vocab_size) for n in PARAMETERS if n in engine.supports}
    return [_Following(engine, n, request, value) for n, value in places.items() if value is not None]


def _step(engine: LogitsEngine, texts: list[_Text], logits: Logits) -> None:
    """The next token of each text, and what it says of every parameter."""
    normal = engine.law.normaliser(logits)
    for b, text in enumerate(texts):
        request, position = text.request, len(text.output)
        if not np.isfinite(normal[b]):
            raise no_numbers(len(request.prompt_ids), position)
        barred = engine.eos_ids if position < request.min_tokens else frozenset[int]()
        row = draws.noise_row(text.key, position, engine.vocab_size)
        law = request.params
        struck = not law.xtc_probability or row.coin < law.xtc_probability
        history = History(request.prompt_ids, text.output, breakers_of(engine, law))
        made = engine.law.reshape(logits, [b], [law], [history], [barred], [State(struck)])
        scale = made.scale[:1]
        token = draws.greedy(made.values[0]) if scale[0] == 0 else int(draws.winners(made.values[0], scale, row)[0])
        for each in text.following:
            if each.how.exact:
                said = Said(history._replace(breakers=each.breakers), barred, struck)
                each.narrow(Step(engine.law, logits, b, said, (each.parameter, each.fixed)), row, position)
        [logit] = engine.law.take(logits, [b], [token])
        text.output = (*text.output, token)
        text.logprobs = (*text.logprobs, min(0.0, float(logit - normal[b])))
        text.reason = finish_reason(engine, request, text.output)


def _explained(engine: LogitsEngine, text: _Text) -> Why:
    assert text.reason is not None
    completion = completion_of(engine, text.request, text.output, text.logprobs, text.reason)
    return Why(completion, tuple(_reach(engine, f) for f in text.following))


def _reach(engine: LogitsEngine, following: _Following) -> Reach:
    ends = [
        None if end is None else Change(
            end[0].value, end[1], end[2], end[3], engine.decode([end[2]]), engine.decode([i for i in end[3:] if i >= 0])
        )
        for end in following.ends
    ]  # fmt: skip
    name, exact = following.parameter, following.how.exact
    return Reach(
        parameter=name, value=following.value, span=following.span if exact else None, below=ends[0], above=ends[1],
        why=following.how.why, on=following.on,
        lowest=following.looked.low.value if exact and ends[0] is None and _bottomless(following) else None,
        widest=following.looked.high.value if exact and ends[1] is None and _endless(name) else None,
    )  # fmt: skip


def _endless(parameter: str) -> bool:
    """Whether it can always go higher; what counts tokens ends at the vocabulary."""
    return PARAMETERS[parameter].high is None and PARAMETERS[parameter].kind != "int"


def _bottomless(following: _Following) -> bool:
    """Whether it was not followed down to the end of its range."""
    return following.looked.low.value > PARAMETERS[following.parameter].low


def _said(change: Change) -> str:
    if change.becomes < 0:
        return f"token {change.position + 1}: every token is barred"
    was, becomes = (f"\u201c{visible(text)}\u201d" for text in (change.was_text, change.becomes_text))
    return f"token {change.position + 1}: {was} to {becomes}"
