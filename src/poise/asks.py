"""Prompts, settings and options, checked and turned into requests."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import NamedTuple, TypedDict, cast, get_type_hints

from poise.checks import Check, require_answers
from poise.errors import ParameterError, PromptError, UsageError
from poise.params import DEFAULT_DIALECT, MAX_SETTINGS, WAITING, SamplingParams
from poise.records import Message, Prompt, Request, Trial
from poise.sessions import Engine, LogitsEngine, check_tokens
from poise.study import default_path
from poise.usecases import UseCase

MAX_COMPLETIONS = 1_000_000  # a plan holds every request in memory
MAX_TOKENS = 128
Given = str | Prompt | UseCase


class DrawOptions(TypedDict, total=False):
    """How to draw: what is no part of the law.

    Args:
        draws: texts per prompt and setting, at least 1; default 1.
        seed: any whole number; default 0. The same seed draws the same texts.
        max_tokens: new tokens at most, at least 1; None: what the use case says, else 128.
        min_tokens: the model cannot end the text before this many; a stop string still can;
            None: what the use case says, else 0.
        stop: strings that end the text and are no part of it; None: what the use case says, else none.
        chat: True asks through the model's template, False continues as text; None: as the prompt is given.
        system: the system message, in place of a prompt's own; asks through the template.
    """

    draws: int
    seed: int
    max_tokens: int | None
    min_tokens: int | None
    stop: Sequence[str] | None
    chat: bool | None
    system: str | None


@dataclass(frozen=True, slots=True)
class Options:
    """`DrawOptions`, checked; see there."""

    draws: int = 1
    seed: int = 0
    max_tokens: int | None = None
    min_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    chat: bool | None = None
    system: str | None = None


class Limits(NamedTuple):
    """When a text ends: `max_tokens`, `min_tokens` and `stop` of a Request."""

    max_tokens: int
    min_tokens: int
    stop: tuple[str, ...]


class Ask(NamedTuple):
    """A prompt as it will be asked.

    Args:
        prompt: as text or messages, whichever it is asked as.
        prompt_ids: as fed to the model.
        limits: when its texts end.
    """

    prompt: Prompt
    prompt_ids: tuple[int, ...]
    limits: Limits


def check_options(given: DrawOptions) -> Options:
    """Check how to draw.

    Args:
        given: as a user wrote them.

    Returns:
        All of them, with defaults.

    Raises:
        UsageError: an unknown name, a wrong type, a value out of range.
    """
    known = list(get_type_hints(DrawOptions))
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else "Decoding parameters go into the settings: poise.grid(...)"
            raise UsageError(f"An option is one of {', '.join(known)}", repr(name), hint)
    least = {"draws": 1, "seed": None, "max_tokens": 1, "min_tokens": 0}
    whole = {n: _whole(n, given[n], least[n]) for n in ("draws", "seed") if n in given}
    limits = {n: _whole(n, given[n], least[n]) for n in ("max_tokens", "min_tokens") if given.get(n) is not None}
    stop = given.get("stop")
    stops = None if stop is None else tuple(stop) if isinstance(stop, (list, tuple)) else (stop,)
    options = Options(**whole, **limits, stop=stops, chat=given.get("chat"), system=given.get("system"))
    if not all(isinstance(s, str) and s for s in options.stop or ()):
        raise UsageError("A stop string has at least one character", repr(options.stop), "Leave empty ones out")
    if options.chat not in (None, True, False):
        raise UsageError("chat is True, False or None", repr(options.chat), "Leave it out to take the prompt as it is")
    if not isinstance(options.system, str | None):
        raise UsageError("system is text", repr(options.system), "Put it in quotes")
    if options.system is not None and options.chat is False:
        raise UsageError("A system message needs the model's chat template", "system with chat=False", "Drop one")
    return dataclasses.replace(options, chat=True) if options.system is not None else options


def check_settings(engine: Engine, settings: SamplingParams | Iterable[SamplingParams], baselines: bool) -> list[Trial]:
    """Check settings, and join the engine's baselines.

    Args:
        engine: decides which parameters are honoured, and what the baselines are.
        settings: one or several.
        baselines: whether greedy, engine-default and vendor join.

    Returns:
        Distinct settings with their names, baselines last; identical ones are one trial.

    Raises:
        ParameterError: no settings, too many, a parameter that the engine does not honour, or a token id that it lacks.
    """
    given = several(settings)
    if len(given) > MAX_SETTINGS:
        raise ParameterError(
            f"A sweep has at most {MAX_SETTINGS:,} settings", f"more than {MAX_SETTINGS:,}", "Take fewer values"
        )
    given = [_in_its_dialect(engine, params) for params in given]
    names: dict[SamplingParams, list[str]] = {params.normalised(): [] for params in given}
    for name, params in engine.baselines.items() if baselines else ():
        names.setdefault(params.normalised(), []).append(name)
    if not names:
        raise ParameterError("A sweep needs at least one setting", "none", "For example poise.grid(temperature=0.7)")
    for params in names:
        _check_supported(engine, params)
        if engine.draws_by == "poise":
            check_tokens(params, cast(LogitsEngine, engine).vocab_size)
    return [Trial(params, tuple(called)) for params, called in names.items()]


def check_laws(engine: Engine, laws: Iterable[SamplingParams]) -> None:
    """Refuse laws that an engine has no way to draw from: a server may say too little of the next token.

    Args:
        engine: any; most can draw from all laws.
        laws: settings as they will be drawn, or both ends of a range.

    Raises:
        ParameterError: one of them, and why.
    """
    check = getattr(engine, "check_law", None)
    if check is not None:
        for params in laws:
            check(params)


def several(settings: SamplingParams | Iterable[SamplingParams]) -> list[SamplingParams]:
    """One setting or several as a list.

    Args:
        settings: as a user gave them.

    Returns:
        Them, in order; one more than may be swept where there are too many.

    Raises:
        ParameterError: neither a setting nor several.
    """
    step = "poise.grid(temperature=[0.3]) makes them"
    if not isinstance(settings, SamplingParams | Iterable):
        raise ParameterError("Settings are SamplingParams", repr(settings), step)
    given = [settings] if isinstance(settings, SamplingParams) else list(itertools.islice(settings, MAX_SETTINGS + 1))
    for params in given:
        if not isinstance(params, SamplingParams):
            raise ParameterError("Settings are SamplingParams", repr(params), step)
    return given


def _in_its_dialect(engine: Engine, params: SamplingParams) -> SamplingParams:
    """A server draws by a dialect of its own; everything else by the one that the settings say."""
    own: str | None = getattr(engine, "dialect", None)
    if own is None:
        if params.dialect == "server":
            raise ParameterError(
                "The dialect server is what a server does", f"it for {engine.name}, where poise draws", "Name another"
            )
        return params
    if params.dialect not in (DEFAULT_DIALECT, own):
        raise ParameterError(
            f"{engine.name} draws by its own law, {own}", f"dialect={params.dialect}", "Leave --dialect out"
        )
    _check_supported(engine, params)  # by the dialect that it was said in: the other one may not even have it
    return SamplingParams.model_validate({**params.model_dump(), "dialect": own}, context=WAITING)


def _check_supported(engine: Engine, params: SamplingParams) -> None:
    """Refuse what the engine does not honour."""
    if refused := [n for n in (*params.active(), *params.lists()) if n not in engine.supports]:
        why = getattr(engine, "refusal", None)  # a server's reasons were seen
        raise (why(refused) if why is not None else None) or ParameterError(
            f"{engine.name} honours {', '.join(sorted(engine.supports))}", ", ".join(refused), "Leave it out"
        )


def listed(prompts: Given | Iterable[Given]) -> list[Given]:
    """One prompt or several as a list.

    Args:
        prompts: texts, prompts and use cases.

    Returns:
        Them, in order.

    Raises:
        PromptError: neither a prompt nor several.
    """
    if isinstance(prompts, Given):
        return [prompts]
    if not isinstance(prompts, Iterable):
        raise PromptError("A prompt is text, a Prompt or a UseCase, or several", repr(prompts), "Put it in quotes")
    return list(prompts)


def ask_all(engine: Engine, prompts: Iterable[Given], options: Options) -> list[Ask]:
    """Turn prompts into what the model will be asked.

    Args:
        engine: its tokenizer, template and context decide.
        prompts: texts, prompts and use cases.
        options: all but `draws` and `seed` matter here.

    Returns:
        One `Ask` per prompt, in order.

    Raises:
        PromptError: none, an empty one, one that cannot be asked so, or one too long for the model.
        UsageError: min_tokens above max_tokens.
    """
    asks: list[Ask] = []
    for prompt, limits in _flat(prompts, options):
        if limits.min_tokens > limits.max_tokens:
            got = f"{limits.min_tokens} and {limits.max_tokens}"
            raise UsageError("min_tokens is at most max_tokens", got, "Change one of them")
        asks.append(Ask(prompt, _encoded(engine, prompt, limits.max_tokens), limits))
    if not asks:
        raise PromptError("A sweep needs at least one prompt", "none", "Write one, or name a use case")
    return asks


def requests_of(asks: Sequence[Ask], trials: Sequence[Trial], options: Options) -> list[Request]:
    """Every draw of every prompt under every setting.

    Args:
        asks: from `ask_all`.
        trials: from `check_settings`.
        options: draws and seed matter here.

    Returns:
        Requests, by prompt, then setting, then draw.

    Raises:
        UsageError: over a million of them.
    """
    total = len(asks) * len(trials) * options.draws
    if total > MAX_COMPLETIONS:
        raise UsageError(
            f"A sweep draws at most {MAX_COMPLETIONS:,} texts",
            f"{len(asks):,} prompts × {len(trials):,} settings × {options.draws:,} draws = {total:,}",
            "Split it: sweeps into one study add up",
        )
    return [
        Request(ask.prompt, ask.prompt_ids, trial.params, options.seed, draw, *ask.limits)
        for ask in asks
        for trial in trials
        for draw in range(options.draws)
    ]


def default_study(engine: Engine, asks: Sequence[Ask]) -> Path:
    """Where texts are kept when no study is named: the same command comes back to the same file.

    Args:
        engine: its fingerprint decides.
        asks: from `ask_all`.

    Returns:
        See `study.default_path`.
    """
    lone = [tuple(ask.limits) for ask in asks if ask.prompt.use_case == Prompt().use_case]
    return default_path(engine.fingerprint, [ask.prompt for ask in asks], lone)


def _flat(prompts: Iterable[Given], options: Options) -> Iterator[tuple[Prompt, Limits]]:
    """Each prompt as text or messages, and its limits: what the options say goes before the use case."""
    for item in prompts:
        if isinstance(item, UseCase):
            limits = _limits(options, item.max_tokens, item.min_tokens, item.stop)
            yield from ((_shaped(prompt, options), limits) for prompt in item.prompts)
        elif isinstance(item, (str, Prompt)):
            prompt = Prompt(item) if isinstance(item, str) else item
            yield _shaped(prompt, options), _limits(options, None, 0, ())
        else:
            raise PromptError("A prompt is a text, a Prompt or a UseCase", repr(item), "Write it in quotes")


def _limits(options: Options, max_tokens: int | None, min_tokens: int, stop: tuple[str, ...]) -> Limits:
    return Limits(
        options.max_tokens or max_tokens or MAX_TOKENS,
        min_tokens if options.min_tokens is None else options.min_tokens,
        stop if options.stop is None else options.stop,
    )


def _shaped(prompt: Prompt, options: Options) -> Prompt:
    """As chat or as text, whichever the options say, else as it is."""
    if prompt.text is not None and prompt.messages:
        raise PromptError("A prompt has either text or messages", repr(prompt.text), "Keep one of them")
    for check in prompt.checks:
        if not isinstance(check, Check):
            raise PromptError(
                "A prompt's checks are what poise.read_checks gives", repr(check), 'For example read_checks("exact")'
            )
        require_answers(check, prompt.answers)
    if not (prompt.chat if options.chat is None else options.chat):
        return _as_text(prompt)
    messages = prompt.messages or (Message("user", prompt.text or ""),)
    if options.system is not None:
        messages = (Message("system", options.system), *(m for m in messages if m.role != "system"))
    return dataclasses.replace(prompt, text=None, messages=messages)


def _as_text(prompt: Prompt) -> Prompt:
    if not prompt.chat:
        return prompt
    roles = [m.role for m in prompt.messages]
    if roles != ["user"]:
        raise PromptError("Only a single user turn can be continued as text", ", ".join(roles), "Ask it as chat")
    return dataclasses.replace(prompt, text=prompt.messages[0].content, messages=())


def _encoded(engine: Engine, prompt: Prompt, max_tokens: int) -> tuple[int, ...]:
    shown = repr(prompt.shown if len(prompt.shown) <= 60 else prompt.shown[:60] + "…")
    if not prompt.shown:
        raise PromptError("A prompt has at least one character", shown, "Write what the model should continue")
    try:
        "".join([prompt.text or "", *(m.content for m in prompt.messages)]).encode()
    except UnicodeEncodeError:
        raise PromptError("A prompt is valid Unicode", shown, "Save it as UTF-8") from None
    if prompt.chat and not engine.has_template:
        raise PromptError(
            "Chat needs a model with a chat template", f"{engine.name}, which has none", "Use chat=False, or --text"
        )
    ids = engine.encode(prompt)
    context = engine.context_length
    if context is not None and len(ids) + max_tokens > context:
        raise PromptError(
            f"Prompt and new tokens fit into the model's context of {context:,} tokens",
            f"{len(ids):,} + {max_tokens:,} tokens for {shown}",
            f"Take max_tokens={context - len(ids)} or less" if len(ids) < context else "Shorten the prompt",
        )
    return ids


def _whole(name: str, value: object, least: int | None) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or (least is not None and value < least):
        rule = f"{name} is a whole number" + ("" if least is None else f" of at least {least}")
        raise UsageError(rule, repr(value), f"For example {name}={1 if least is None else max(least, 1)}")
    return int(value)
