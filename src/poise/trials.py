"""Find a trial by what users call it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from poise.errors import ParameterError, StudyError
from poise.goals import DEFAULT_BASELINE
from poise.param_lists import LISTS, read_list
from poise.params import DEFAULT_DIALECT, PARAMETERS, SamplingParams
from poise.records import Trial


def find_trial(trials: Sequence[Trial], asked: str | SamplingParams | Trial) -> Trial:
    """The trial that is meant.

    Args:
        trials: those there are.
        asked: settings as users write them, in any order (``top_p=0.9,temperature=0.3``), a name such as
            ``greedy``, or the settings themselves. A dialect may be left out where it leaves no choice.

    Returns:
        The trial.

    Raises:
        StudyError: no such trial; the nearest is suggested.

    >>> find_trial([Trial(SamplingParams(temperature=0.5))], "temperature=0.50").label
    'temperature=0.5'
    >>> find_trial([Trial(SamplingParams(temperature=0.5, dialect="server"))], "temperature=0.5").label
    'temperature=0.5,dialect=server'
    """
    params = asked.params if isinstance(asked, Trial) else asked if isinstance(asked, SamplingParams) else None
    if isinstance(asked, str):
        named = [t for t in trials if asked in (t.label, *t.names)]
        if named:
            return named[0]
        params = _read(asked)
    if params is not None:
        wanted = params.normalised()
        alike = [t for t in trials if _plain(t.params) == wanted]  # a server has a dialect of its own
        for trial in [*(t for t in trials if t.params == wanted), *(alike if len(alike) == 1 else [])]:
            return trial
    words = [w for t in trials for w in (t.label, *t.names)]
    shown = asked if isinstance(asked, str) else params.normalised().label if params is not None else repr(asked)
    near = difflib.get_close_matches(shown, words, n=1)
    raise StudyError(
        f"A trial here is one of {'; '.join(words) or 'none yet'}",
        repr(shown),
        f"Did you mean {near[0]}?" if near else "Write its settings, as in temperature=0.7,top_p=0.9",
    )


def find_baseline(trials: Sequence[Trial], asked: str | SamplingParams) -> tuple[Trial, str]:
    """The trial that others have to beat.

    What an empty request gets on a server is not always known. A sweep then leaves engine-default out, and what the
    model's makers recommend stands in for it, or else greedy.

    Args:
        trials: those there are.
        asked: see `find_trial`.

    Returns:
        The trial, and what there is to say of it: that it stands in; else nothing.

    Raises:
        StudyError: no such trial.

    >>> known = [Trial(SamplingParams(temperature=0), ("greedy",)), Trial(SamplingParams(temperature=0.7))]
    >>> find_baseline(known, "engine-default")[1]
    'the baseline is greedy, as engine-default was not drawn; --baseline names another'
    """
    named = {name: t for t in trials for name in t.names}
    for other in ("vendor", "greedy") if asked == DEFAULT_BASELINE and asked not in named else ():
        if other in named:
            return named[other], f"the baseline is {other}, as {asked} was not drawn; --baseline names another"
    return find_trial(trials, asked), ""


def _plain(params: SamplingParams) -> SamplingParams | None:
    """The same values in the dialect that goes without saying; None where it lacks them."""
    try:
        return SamplingParams.model_validate({**params.model_dump(), "dialect": DEFAULT_DIALECT}).normalised()
    except ParameterError:
        return None


def _read(text: str) -> SamplingParams | None:
    """Settings as users write them; None where they are none."""
    values: dict[str, object] = {}
    for part in re.split(r",(?=\s*[a-z_]+\s*=)", text):
        name, _, value = (s.strip() for s in part.partition("="))
        if name not in ("dialect", *PARAMETERS, *LISTS):
            return None
        try:
            values[name] = _value(name, value)
        except ValueError:
            return None
    try:
        return SamplingParams.model_validate(values)
    except ParameterError:
        return None


def _value(name: str, text: str) -> object:
    """One of them; ValueError where it is none."""
    if name == "dialect":
        return text
    if text == "off":
        return None
    try:
        return read_list(name, text) if name in LISTS else float(text)
    except ParameterError as error:
        raise ValueError(str(error)) from error
