"""Which setting of a study is exported, and what speaks for it."""

from __future__ import annotations

from typing import NamedTuple

from poise.errors import StudyError, UsageError, UseCaseError
from poise.params import SamplingParams
from poise.records import Trial
from poise.study import Study
from poise.trials import find_trial
from poise.verdicts import decide
from poise.verdicts.words import headline

_SAY = 'Name one with --setting "temperature=0.7,top_p=0.9"'


class Choice(NamedTuple):
    """A setting, and where it comes from.

    Args:
        params: the setting.
        use_case: that it is for; empty where none was named.
        evidence: what the verdict says of it; empty where it was named.
    """

    params: SamplingParams
    use_case: str = ""
    evidence: str = ""


def choose(study: Study, setting: str | SamplingParams | Trial | None, use_case: str | None) -> Choice:
    """The setting that is meant: the one that is named, else the one that the verdict recommends.

    Args:
        study: with trials.
        setting: as users write it; None for the verdict's.
        use_case: one of the study's; None for all of them.

    Returns:
        The setting.

    Raises:
        StudyError: no such trial, no such use case, nothing drawn yet.
        UsageError: there is no verdict, it recommends nothing, or use cases differ in what suits them.
    """
    trials = study.trials(use_case)
    if setting is not None:
        return Choice(find_trial(trials, setting).params, use_case or "")
    if len(trials) == 1:
        return Choice(trials[0].params, use_case or "")
    if not trials:
        raise StudyError("A study is exported once it has texts", f"none in {study.path}", "`poise sweep` draws some")
    try:
        verdicts = decide(study, use_case=use_case)
    except UseCaseError as error:
        raise UsageError(
            "A study is exported at the setting that its verdict recommends", f"no verdict: {error.rule}",
            f"{_SAY}, or give its use case a goal",
        ) from error  # fmt: skip
    said = "; ".join(f"{v.use_case}: {headline(v)}" for v in verdicts)
    found = {v.recommended.params for v in verdicts if v.recommended is not None}
    if len(found) != 1 or any(v.recommended is None for v in verdicts):
        rule = "A study is exported at the one setting that its verdict recommends"
        names = ", ".join(v.use_case for v in verdicts)
        raise UsageError(rule, said, f"{_SAY}, or one of its use cases: {names}" if len(verdicts) > 1 else _SAY)
    return Choice(found.pop(), ", ".join(v.use_case for v in verdicts), said)
