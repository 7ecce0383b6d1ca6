"""What each parameter does along texts: every step with and without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise import draws, law, noise
from poise.asks import Ask
from poise.breakers import breakers_of
from poise.distances import total_variation
from poise.law import History, Row, State
from poise.lints.record import Influence, value_said
from poise.params import PARAMETERS, SamplingParams
from poise.sampler import no_numbers
from poise.sessions import Logits, LogitsEngine, RowId, Session
from poise.stats import MIN_UNITS, Bounds, mean_interval

MOVED = 1e-6  # a law that is no farther from another is the same
SEED = 0
RULE_OF_THREE = 3.0  # -ln 0.05: what none of n trials showed has a share of at most 3/n, at 95 %
Progress = Callable[[int, int], None]


class _Law(NamedTuple):
    """What a token is drawn from: the rows for the noise, and the distribution, XTC's coin included."""

    values: NDArray[np.floating[Any]]
    scale: float
    probabilities: Row
    left: NDArray[np.bool_]


class _Step(NamedTuple):
    """One parameter at one step."""

    moved: float
    kept: bool
    token: bool


@dataclass(slots=True)
class _Text:
    prompt: int
    prompt_ids: tuple[int, ...]
    key: int
    row: RowId = 0
    mu: float | None = None
    output: tuple[int, ...] = ()
    ended: bool = False
    found: dict[str, list[_Step]] = field(default_factory=dict)


def without(params: SamplingParams, name: str) -> SamplingParams:
    """The settings without one parameter, and without what shapes no step any more.

    >>> without(SamplingParams(dry_multiplier=1.0, dry_base=2.0, top_k=5), "dry_multiplier").label
    'temperature=1,top_k=5'
    """
    said = {n: v for n, v in params if v is not None and n != name}
    for other in [n for n in said if n in PARAMETERS]:
        leaders = PARAMETERS[other].leaders
        if leaders and not any(leader in said for leader in leaders):
            del said[other]
    if "dry_multiplier" not in said:
        said.pop("dry_breakers", None)
    return SamplingParams.model_validate(said)


def measure_influences(
    engine: LogitsEngine, params: SamplingParams, asked: Sequence[Ask], each: int, progress: Progress | None = None
) -> list[Influence]:
    """Draw texts under the settings and look at each step with and without every parameter.

    Args:
        engine: gives the logits.
        params: the settings.
        asked: the prompts, and in their limits how many tokens a text has at most.
        each: texts of each prompt; the noise is that of seed 0.
        progress: told the steps done, and how many there will be at most.

    Returns:
        One per parameter that is on, in the order of the steps, then the lists.

    Raises:
        EngineError: logits that are no numbers.
    """
    names = [*params.active(), *params.lists()]
    laws = [params, *(without(params, name) for name in names)]
    texts = [
        _Text(number, ask.prompt_ids, noise.key(SEED, ask.prompt_ids, draw))
        for number, ask in enumerate(asked)
        for draw in range(each)
    ]
    steps = max(ask.limits.max_tokens for ask in asked)
    session = engine.session(max(len(a.prompt_ids) for a in asked) + steps, len(texts) + 1)
    size, done = max(1, session.max_rows - 1), 0
    for start in range(0, len(texts), size):
        for going, logits in _steps(session, texts[start : start + size], steps):
            _look(engine, going, logits, laws, names)
            done += len(going)
            if progress is not None:
                progress(done, len(texts) * steps)
    return [_influence(name, params, texts) for name in names]


def _steps(session: Session, texts: list[_Text], steps: int) -> Iterator[tuple[list[_Text], Logits]]:
    """The texts of a batch with their next logits: one by one after their prompts, then together."""
    for text in texts:
        [text.row], logits = session.prefill([text.prompt_ids])
        yield [text], logits
    session.drop([t.row for t in texts if t.ended])
    for _ in range(1, steps):
        going = [t for t in texts if not t.ended]
        if not going:
            break
        parents = [t.row for t in going]
        rows, logits = session.advance(parents, [t.output[-1] for t in going])
        session.drop(parents)
        for text, row in zip(going, rows, strict=True):
            text.row = row
        yield going, logits
        session.drop([t.row for t in going if t.ended])
    session.drop([t.row for t in texts if not t.ended])


def _look(
    engine: LogitsEngine, texts: list[_Text], logits: Logits, laws: Sequence[SamplingParams], names: Sequence[str]
) -> None:
    """The next token of each text, and what it would be without each parameter."""
    normal = engine.law.normaliser(logits)
    bad = np.flatnonzero(~np.isfinite(normal))
    if bad.size:
        raise no_numbers(len(texts[bad[0]].prompt_ids), len(texts[bad[0]].output))
    for text, drawn in zip(texts, _laws_at(engine, texts, logits, laws), strict=True):
        row = draws.noise_row(text.key, len(text.output), engine.vocab_size)
        tokens = [_token(d, row) for d in drawn]
        for name, other, token in zip(names, drawn[1:], tokens[1:], strict=True):
            moved = total_variation(drawn[0].probabilities, other.probabilities)
            kept = not np.array_equal(drawn[0].left, other.left)
            text.found.setdefault(name, []).append(_Step(moved, kept, token != tokens[0]))
        _go_on(engine, text, laws[0], drawn[0], tokens[0])


def _laws_at(
    engine: LogitsEngine, texts: list[_Text], logits: Logits, laws: Sequence[SamplingParams]
) -> Iterator[list[_Law]]:
    """For each text what its next token is drawn from under each law; both sides of XTC's coin in one distribution."""
    coins = [noise.coin(text.key, len(text.output)) for text in texts]
    jobs: list[tuple[int, int, bool]] = []
    for b, coin in enumerate(coins):
        for j, params in enumerate(laws):
            struck = coin < _odds(params)
            jobs += [(b, j, struck), *([(b, j, not struck)] if 0 < _odds(params) < 1 else [])]
    breakers = [breakers_of(engine, params) for params in laws]
    histories = [History(texts[b].prompt_ids, texts[b].output, breakers[j]) for b, j, _ in jobs]
    made = engine.law.reshape(
        logits, [b for b, _, _ in jobs], [laws[j] for _, j, _ in jobs], histories,
        [frozenset()] * len(jobs), [State(struck, texts[b].mu) for b, _, struck in jobs],
    )  # fmt: skip
    sides: dict[tuple[int, int], list[_Law]] = {}
    for (b, j, _), values, scale in zip(jobs, made.values, made.scale, strict=True):
        sides.setdefault((b, j), []).append(_law(values, float(scale)))
    for b, coin in enumerate(coins):
        yield [_both(sides[b, j], _odds(params), coin) for j, params in enumerate(laws)]


def _odds(params: SamplingParams) -> float:
    return float(params.xtc_probability or 0.0)


def _law(values: NDArray[np.floating[Any]], scale: float) -> _Law:
    if scale == 0:
        left = np.zeros(values.size, dtype=np.bool_)
        left[draws.greedy(values)] = True
        return _Law(values, scale, left.astype(np.float64), left)
    wide = values.astype(np.float64)
    return _Law(values, scale, law.probabilities(wide / scale), wide > -np.inf)


def _both(sides: Sequence[_Law], odds: float, coin: float) -> _Law:
    """The side on which the coin fell, with the distribution of both."""
    if len(sides) == 1:
        return sides[0]
    mine, other = sides
    share = odds if coin < odds else 1 - odds
    mixed = share * mine.probabilities + (1 - share) * other.probabilities
    return mine._replace(probabilities=mixed, left=mine.left | other.left)


def _token(found: _Law, row: draws.NoiseRow) -> int:
    if found.scale == 0:
        return draws.greedy(found.values)
    return int(draws.winners(found.values, np.array([found.scale]), row)[0])


def _go_on(engine: LogitsEngine, text: _Text, params: SamplingParams, found: _Law, token: int) -> None:
    """Append a token; mirostat's cut follows its surprise under the law that drew it."""
    text.output = (*text.output, token)
    text.ended = token in engine.eos_ids
    if params.mirostat and found.scale:
        tau, eta = (float(params.number(n) or 0.0) for n in ("mirostat_tau", "mirostat_eta"))
        seen = law.surprise(found.values.astype(np.float64) / found.scale, token)
        text.mu = law.next_mu(2 * tau if text.mu is None else text.mu, tau, eta, seen)


def _influence(name: str, params: SamplingParams, texts: Sequence[_Text]) -> Influence:
    """A parameter's steps, summed up."""
    found = [(text.prompt, step) for text in texts for step in text.found[name]]
    moved = [s.moved for _, s in found if s.moved > MOVED]
    count, prompts = len(found), sorted({prompt for prompt, _ in found})
    each = [np.mean([s.moved > MOVED for p, s in found if p == prompt]) for prompt in prompts]
    low = high = None
    if moved and len(prompts) >= MIN_UNITS:
        low, high, _ = mean_interval([np.array(each)], Bounds(0.0, 1.0))
    return Influence(
        parameter=name, said=value_said(name, getattr(params, name)), steps=count, texts=len(texts),
        prompts=len(prompts), law=len(moved) / count, low=low, high=high,
        bound=None if moved else min(1.0, RULE_OF_THREE / count), kept=float(np.mean([s.kept for _, s in found])),
        total_variation=float(np.mean(moved)) if moved else None, token=float(np.mean([s.token for _, s in found])),
    )  # fmt: skip
