"""What a dialect has of poise alone, and its engine lacks."""

from __future__ import annotations

from collections.abc import Iterator

from poise.params import PARAMETERS, SamplingParams


def own_steps(params: SamplingParams) -> list[str]:
    """The steps that are on and that poise adds to the dialect, in order.

    >>> own_steps(SamplingParams(frequency_penalty=1)), own_steps(SamplingParams(frequency_penalty=1, dialect="vllm"))
    (['frequency_penalty'], [])
    """
    return [n for n in params.steps if n in params.how.extensions]


def own_window(params: SamplingParams) -> bool:
    """Whether penalties look back through a window that the dialect's engine has not; a law of no engine may have any.

    >>> own_window(SamplingParams(repetition_penalty=1.1, penalty_last_n=8, dialect="vllm"))
    True
    """
    read_in_code = bool(params.how.version)
    on = any(leader in params.steps for leader in PARAMETERS["penalty_last_n"].leaders)
    return params.penalty_last_n is not None and on and read_in_code and params.how.rules.window is None


def lacking(params: SamplingParams) -> str:
    """The engine and what it lacks of the settings, as a sentence says it; empty where it has all.

    >>> lacking(SamplingParams(top_a=0.1, presence_penalty=1))
    'transformers itself has no presence_penalty and no top_a'
    """
    names = [*own_steps(params), *(["penalty_last_n"] if own_window(params) else [])]
    return f"{params.dialect} itself has {' and '.join(f'no {n}' for n in names)}" if names else ""


def own_notes(params: SamplingParams) -> Iterator[str]:
    """The same as notes below a law."""
    if steps := own_steps(params):
        said = "this step is poise's own" if len(steps) == 1 else "these steps are poise's own"
        yield f"{params.dialect} itself has {' and '.join(f'no {n}' for n in steps)}: {said} there"
    if own_window(params):
        yield f"{params.dialect} itself has no penalty_last_n and looks at all tokens: the window is poise's own there"
