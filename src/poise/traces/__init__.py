"""One next token through every step of a law."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from poise import asks, law
from poise.breakers import breakers_of
from poise.distances import total_variation
from poise.errors import ParameterError, PromptError, UsageError
from poise.escapes import visible
from poise.law import NOTHING_SAID, History, Row, State
from poise.law.heat import heat
from poise.params import FOLLOWERS, PARAMETERS, SamplingParams
from poise.records import Prompt
from poise.sampler import no_numbers
from poise.sessions import Engine, LogitsEngine
from poise.traces.own import own_notes
from poise.traces.record import Beside as Beside
from poise.traces.record import Parting as Parting
from poise.traces.record import Trace as Trace
from poise.traces.record import TraceStep as TraceStep

TOP = 10  # tokens that a trace names, unless asked for more
NAMED = 50  # tokens whose texts are known, for what is said of two laws
LARGEST = 3.4e38  # about float32's: no engine holds larger logits
_SHOWN = 40  # characters of a prompt in a title


class _Moment(NamedTuple):
    """What the next token depends on, and what its vocabulary is called."""

    logits: Row
    history: History
    unconditional: Row | None
    about: str
    names: Sequence[str] | None = None  # of a toy
    engine: LogitsEngine | None = None

    def word(self, token: int) -> str:
        """A token's text."""
        if self.names is not None:
            return self.names[token]
        assert self.engine is not None
        return self.engine.decode([token])


def trace(
    given: Engine | Sequence[float] | Row,
    params: SamplingParams | Mapping[str, Any] | None = None,
    prompt: str | Prompt | None = None,
    *,
    history: History = NOTHING_SAID,
    words: Sequence[str] = (),
    top: int = TOP,
    unconditional: Sequence[float] | Row | None = None,
) -> Trace:
    """Follow one next token through every step of a law.

    Args:
        given: logits of a toy distribution, (V,), -∞ where a token cannot be; or an engine, with a prompt.
        params: the law; None for the model's own distribution.
        prompt: of an engine.
        history: what was said before, for penalties; of an engine only its output, which follows the prompt.
        words, top: names of a toy's tokens, none for their numbers; how many tokens are shown, at least 1.
        unconditional: logits without the prompt, (V,), for guidance; an engine works them out.

    Returns:
        The trace; `poise.law_chart` draws it.

    Raises:
        UsageError: no logits, no names for them, or an engine that has none to give.
        ParameterError: no settings, guidance without unconditional logits.
        PromptError: an engine without a prompt, token ids that are not in the vocabulary.

    >>> [s.kept for s in trace([3, 2, 1], SamplingParams(temperature=0.5, top_p=0.8)).steps]
    [3, 1]
    """
    settings = SamplingParams() if params is None else SamplingParams.model_validate(params)
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise UsageError("A trace names at least one token", repr(top), "For example top=10")
    if isinstance(given, Engine):
        _check_own(words, unconditional, history)
        return _followed(_of_engine(given, prompt, history.output, settings), settings, top)
    if prompt is None:
        return _followed(_of_toy(_row("logits", given), history, words, settings, unconditional), settings, top)
    raise UsageError("A prompt needs a model", f"{prompt!r} with logits", "Leave one of them out")


def _check_own(words: Sequence[str], unconditional: Any, history: History) -> None:
    """Refuse beside an engine what it brings itself."""
    if words or unconditional is not None or history.prompt:
        raise UsageError("An engine has its own words and logits", "others too", "Leave them out")


def _followed(moment: _Moment, params: SamplingParams, top: int) -> Trace:
    before = law.probabilities(moment.logits)
    struck = tuple(_passed(before, _steps(moment, params, State(struck=True)), params))
    after = struck[-1].probabilities if struck else before
    strikes = float(params.xtc_probability or 0) if any(s.name == "xtc_probability" for s in struck) else None
    if strikes is not None:
        spared = _steps(moment, params, State(struck=False))
        after = strikes * after + (1 - strikes) * law.probabilities(spared[-1].logits)
    likely = [int(i) for i in np.argsort(-np.maximum(before, after), kind="stable")[: max(top, NAMED)]]
    shown = tuple(sorted(likely[:top], key=lambda i: (-before[i], i)))
    skipped = [n for n in params.steps if n not in [s.name for s in struck]]
    engine = moment.engine
    return Trace(
        params=params, about=moment.about, model=before, steps=struck, probabilities=after, strikes=strikes,
        shown=shown, words={i: moment.word(i) for i in likely}, plain=engine is None,
        ends=frozenset() if engine is None else engine.eos_ids, notes=tuple(_notes(params, strikes, skipped, struck)),
    )  # fmt: skip


def _steps(moment: _Moment, params: SamplingParams, state: State) -> list[law.Step]:
    free = moment.unconditional
    with np.errstate(divide="ignore"):
        return law.steps(moment.logits, params, moment.history, state, unconditional=free)


def _passed(before: Row, steps: Sequence[law.Step], params: SamplingParams) -> Iterator[TraceStep]:
    """Each step with what it cut and how far it moved the distribution."""
    for step in steps:
        after = law.probabilities(step.logits)
        cut = np.isneginf(step.logits) & (before > 0)
        yield TraceStep(
            name=step.name, said=_said(step, params), probabilities=after, kept=int(np.sum(step.logits > -np.inf)),
            cut=cut, cut_mass=float(before[cut].sum()), moved=total_variation(before, after),
        )  # fmt: skip
        before = after


def _said(step: law.Step, params: SamplingParams) -> str:
    """A step as users write it, with what shapes it."""
    on = params.active()
    beside = [f"{n}={on[n]:g}" for n in FOLLOWERS.get(step.name, ()) if n in on]
    if step.name == "dynatemp_range":
        beside.insert(0, f"temperature={params.number('temperature'):g}")
    if step.name not in PARAMETERS:
        beside = [f"{len(step.value)} of them"]
    first = f"{step.name}={step.value:g}" if step.name in PARAMETERS else step.name
    return f"{first} ({', '.join(beside)})" if beside else first


def _notes(
    params: SamplingParams, strikes: float | None, skipped: Sequence[str], steps: Sequence[TraceStep]
) -> Iterator[str]:
    skipped = [n for n in skipped if not (n == "temperature" and params.dynatemp_range)]
    if skipped:
        yield f"never looked at, since temperature 0 takes the likeliest token: {', '.join(skipped)}"
    yield from own_notes(params)
    said, taken = params.temperature, heat(params)
    if said is not None and said != taken:
        yield f"{params.dialect} takes temperature {said:g} as {taken:g}"
    if strikes is not None:
        yield f"XTC strikes at {100 * strikes:g} % of the steps; from its row on the rows show a step where it does"
        yield "“drawn from” is both cases together: steps where XTC strikes, and steps where it does not"
    if any(s.name == "mirostat" for s in steps):
        tau = params.number("mirostat_tau")
        yield f"mirostat at the start of a text, where its cut is twice mirostat_tau: {2 * float(tau or 0):g} bits"


def _of_toy(logits: Row, history: History, words: Sequence[str], params: SamplingParams, unconditional: Any) -> _Moment:
    """A distribution that a user wrote down."""
    names = [visible(str(w)) for w in words] or [str(i) for i in range(logits.size)]
    if len(names) != logits.size:
        raise UsageError("Every token has one name", f"{len(names)} for {logits.size} tokens", "Name all or none")
    outside = [i for i in (*history.prompt, *history.output) if not 0 <= i < logits.size]
    if outside:
        raise PromptError(f"Token ids here go from 0 to {logits.size - 1}", str(outside[0]), "Leave it out")
    if params.guidance_scale not in (None, 1.0) and unconditional is None:
        raise ParameterError(
            "Guidance looks at logits without the prompt too", "none", "Give unconditional, or leave it out"
        )
    free = None if unconditional is None else _row("unconditional", unconditional)
    if free is not None and free.size != logits.size:
        raise UsageError("Both rows of logits are of one vocabulary", f"{logits.size} and {free.size}", "Give both")
    breakers = frozenset((i,) for i, name in enumerate(names) if any(b in name for b in params.dry_breakers or ()))
    about = f"A toy distribution of {_counted(logits.size)}"
    return _Moment(logits, history._replace(breakers=breakers), free, about, names)


def _counted(tokens: int) -> str:
    return "1 token" if tokens == 1 else f"{tokens:,} tokens"


def _row(what: str, given: Any) -> Row:
    """Numbers as one row of logits."""
    try:
        row = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        row = np.empty(0)
    if row.ndim != 1 or row.size == 0 or np.isnan(row).any() or not np.isfinite(row.max()):
        raise UsageError(
            f"{what} are numbers, one a token, the largest finite", repr(given)[:60], "For example [3, 2, 1]"
        )
    if (far := row[np.isfinite(row) & (np.abs(row) > LARGEST)]).size:
        raise UsageError(
            f"{what} lie between -{LARGEST:g} and {LARGEST:g}, as engines hold them; -inf is a token that cannot be",
            f"{far[0]:g}", "Give smaller numbers: a token 1,000 below the top has no probability",
        )  # fmt: skip
    return row


def _of_engine(engine: Engine, prompt: str | Prompt | None, output: Sequence[int], params: SamplingParams) -> _Moment:
    """What a model says comes next."""
    ours = _checked(engine)
    if prompt is None:
        raise PromptError("A model's next token follows a prompt", "none", 'For example "Once upon a time"')
    outside = [i for i in output if not 0 <= i < ours.vocab_size]
    if outside:
        raise PromptError(
            f"Token ids of {ours.name} go from 0 to {ours.vocab_size - 1}", str(outside[0]), "Leave it out"
        )
    [ask] = asks.ask_all(ours, [prompt], asks.Options(max_tokens=len(output) + 1))
    free = None
    if params.guidance_scale not in (None, 1.0):  # transformers starts from the prompt's last token
        free = _logits(ours, ask.prompt_ids[-1:], output)
    shown = ask.prompt.shown if len(ask.prompt.shown) <= _SHOWN else ask.prompt.shown[:_SHOWN] + "…"
    after = f" and {_counted(len(output))}" if output else ""
    history = History(ask.prompt_ids, tuple(output), breakers_of(ours, params))
    about = f"The next token after “{shown}”{after} under {ours.name}"
    return _Moment(_logits(ours, ask.prompt_ids, output), history, free, about, engine=ours)


def _logits(engine: LogitsEngine, prompt_ids: Sequence[int], output: Sequence[int]) -> Row:
    """The model's logits after a prompt and what was drawn so far, (V,)."""
    session = engine.session(len(prompt_ids) + len(output) + 1, 2)
    rows, logits = session.prefill([prompt_ids])
    for token in output:
        parents, (rows, logits) = rows, session.advance(rows, [token])
        session.drop(parents)
    if not np.all(np.isfinite(engine.law.normaliser(logits))):
        raise no_numbers(len(prompt_ids), len(output))
    plain = engine.law.reshape(logits, [0], [SamplingParams()], [NOTHING_SAID], [frozenset()])
    return plain.values[0].astype(np.float64)


def _checked(engine: Engine) -> LogitsEngine:
    if not isinstance(engine, LogitsEngine) or engine.draws_by != "poise" or getattr(engine, "partial", False):
        raise UsageError(
            "A trace needs the logits of all tokens", f"{engine.name}, which gives none or a few",
            "Load the weights (hf:, gguf:)",
        )  # fmt: skip
    return engine
