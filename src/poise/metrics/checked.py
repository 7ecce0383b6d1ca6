"""Checked texts: whether they pass, and whether they can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from poise.checks import Check, Kind, callable_allowed, callables_of, folded, numbers_in
from poise.errors import MetricError
from poise.jsontexts import read_json
from poise.metrics.context import Context
from poise.metrics.correctness import normalise_answer
from poise.metrics.examining import EXAMINER, require_allowed
from poise.records import Completion, Prompt

_KEPT = 4_096  # texts whose outcome is kept: two metrics ask for it, and settings draw the same text again
Outcome = tuple[float, bool]  # how far it passes, 0 to 1; whether it could be read


def passes(completion: Completion, context: Context) -> float | None:
    """1 where every check of the prompt holds, else the least that one gives; None without checks."""
    found = _outcome(completion, context)
    return None if found is None else found[0]


def invalid(completion: Completion, context: Context) -> float | None:
    """1 where the text is empty or one of the prompt's checks cannot read it; None without checks."""
    found = _outcome(completion, context)
    return None if found is None else float(not found[1])


def refuse_strangers(prompts: Iterable[Prompt]) -> None:
    """Find callables that are not allowed before anything is measured.

    Args:
        prompts: that will be measured.

    Raises:
        MetricError: one of their checks names a callable that was not allowed.
    """
    checks = dict.fromkeys(check for prompt in prompts for check in prompt.checks)
    for check in checks:
        if callables_of([check]):
            require_allowed(check)


def strangers(prompts: Iterable[Prompt]) -> list[str]:
    """Callables that checks name and that were not allowed, each once."""
    named = callables_of(check for prompt in prompts for check in prompt.checks)
    return [name for name in named if not callable_allowed(name)]


def try_check(check: Check, text: str, prompt: Prompt) -> float | None:
    """Hold one text against one check.

    Args:
        check: any.
        text: not empty.
        prompt: that it answers.

    Returns:
        1 where it holds, 0 where it does not, between where a callable says so; None where the check cannot read
        the text: no number, no JSON.

    Raises:
        MetricError: see `Examiner.ask`; an answer is compared with, and the prompt has none.
    """
    if check.needs_answer and not prompt.answers:
        raise MetricError(f"The check {check} compares with the prompt's answer", "a prompt without", "Give it answers")
    known = _KINDS.get(check.kind)
    return EXAMINER.ask(check, text, prompt) if known is None else known(check, text, prompt)


def _outcome(completion: Completion, context: Context) -> Outcome | None:
    prompt, text = completion.request.prompt, completion.text
    if not prompt.checks:
        return None
    key = (prompt, text)
    if key not in context.outcomes:
        if len(context.outcomes) >= _KEPT:
            context.outcomes.clear()
        context.outcomes[key] = _tried(prompt, text)
    return context.outcomes[key]


def _tried(prompt: Prompt, text: str) -> Outcome:
    if not text.strip():
        return 0.0, False
    found = [try_check(check, text, prompt) for check in prompt.checks]
    return min(0.0 if value is None else value for value in found), None not in found


def _exact(check: Check, text: str, prompt: Prompt) -> float | None:
    return float(normalise_answer(text) in {normalise_answer(a) for a in prompt.answers})


def _numeric(check: Check, text: str, prompt: Prompt) -> float | None:
    given, found = check.value, numbers_in(text)
    if not found:
        return None
    wanted = [n for a in prompt.answers for n in numbers_in(a)] if given is None else [Decimal(str(given))]
    within = Decimal(str(check.within))
    return float(any(n == w or abs(n - w) <= within for n in found for w in wanted))


def _fields(check: Check, text: str, prompt: Prompt) -> float | None:
    try:
        found = read_json(text)
    except ValueError:
        return None
    return float(_holds(check.value, found))


def _holds(wanted: object, found: object) -> bool:
    """Whether plain data are there: of an object its fields, of a list every element, of a text its words."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(n in found and _holds(w, found[n]) for n, w in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_holds, wanted, found))
    if isinstance(wanted, str):
        return isinstance(found, str) and normalise_answer(found) == normalise_answer(wanted)
    return isinstance(wanted, bool) == isinstance(found, bool) and wanted == found  # to Python, true is 1


def _included(check: Check, text: str, prompt: Prompt) -> float | None:
    said = folded(text)
    return float(all(folded(phrase) in said for phrase in check.value))


def _left_out(check: Check, text: str, prompt: Prompt) -> float | None:
    said = folded(text)
    return float(not any(folded(phrase) in said for phrase in check.value))


# All kinds but those that may never end: patterns, schemas and callables have a process of their own.
_KINDS: Mapping[Kind, Callable[[Check, str, Prompt], float | None]] = {
    "exact": _exact,
    "numeric": _numeric,
    "json_fields": _fields,
    "must_include": _included,
    "must_not_include": _left_out,
}
