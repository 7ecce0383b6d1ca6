"""The sentences around the evidence: what was asked, shown, left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from poise.numerals import count
from poise.records import Fingerprint
from poise.reports.claims import ClaimResult, Status
from poise.reports.survey import Survey

TITLE_LENGTH = 120


def title(surveys: Sequence[Survey], fingerprint: Fingerprint) -> str:
    """What the page is about."""
    varied = list(dict.fromkeys(n for s in surveys for n in s.axis.varied))
    if not varied:
        return f"Texts of {fingerprint.model}, measured"
    return f"What {_listed(varied)} {'does' if len(varied) == 1 else 'do'} to {fingerprint.model}"


def asked(surveys: Sequence[Survey]) -> str:
    """What was drawn, in one sentence."""
    prompts = count(sum(len(s.prompts) for s in surveys), "prompt")
    if len(surveys) > 1:
        prompts += f" in {len(surveys)} use cases"
    settings = list(dict.fromkeys(t for s in surveys for t in s.trials))
    names = [" and ".join(t.names) for t in settings if t.names]
    among = f" ({_listed(names)} among them)" if names else ""
    texts = count(sum(s.completions for s in surveys), "text")
    return f"{texts}: {prompts}, {count(len(settings), 'setting')}{among}, {_draws(surveys)}."


def heading(survey: Survey) -> str:
    """What a section is called: its use case, or the prompt itself where there is only one."""
    if len(survey.prompts) == 1:
        return shortened(survey.prompts[0].shown, TITLE_LENGTH)
    return "These prompts" if survey.use_case == "prompt" else survey.use_case


def nothing_compared(survey: Survey) -> str:
    """Why a section has no opening sentence."""
    if len(survey.trials) == 1:
        return "One setting was drawn: there is nothing to compare it with."
    return "No metric could tell these settings apart."


def shown(survey: Survey, fingerprint: Fingerprint) -> str:
    """How many texts stand on the page, how they were chosen, and where the rest is."""
    here = sum(len(strip.excerpts) for p in survey.excerpts for strip in p.strips)
    texts = count(survey.completions, "text")
    said = "All texts are shown."
    if here < survey.completions:
        said = f"{here:,} of {texts} are shown: the first draws of the first prompts, unchosen; poise dump writes all."
    noise = " Texts in a row share their noise, so what differs is due to the setting."
    if fingerprint.served:
        noise = " The server drew them by luck of its own: texts in a row may differ by chance too."
    return said + (noise if len(survey.columns) > 1 else "")


def legend(survey: Survey) -> str:
    """What the signs in a chart mean, those that occur."""
    named = [t for t in survey.trials if t.names and survey.axis.parameter]
    said = ["Points are means over the texts of a setting, bars their 95% intervals."]
    signs = [
        "a diamond is a baseline on the line" if any(survey.axis.holds(t) for t in named) else "",
        "a dashed rule is a baseline beside it" if not all(survey.axis.holds(t) for t in named) else "",
    ]
    if any(signs):
        said.append(sentence(", ".join(filter(None, signs))))
    return " ".join([*said, "A click on a point leads to its texts."])


def sentence(text: str) -> str:
    """A clause as a sentence.

    >>> sentence("greedy is fixed")
    'Greedy is fixed.'
    """
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def drawn(survey: Survey) -> str:
    """Seeds, draws and limits of a use case."""
    said = [f"seed {', '.join(map(str, survey.seeds[:10]))}" + (", …" if len(survey.seeds) > 10 else "")]
    said.append(f"{_draws([survey])} of {count(len(survey.prompts), 'prompt')}")
    for limits in survey.limits:
        text = f"at most {count(limits.max_tokens, 'token')}"
        text += f", at least {limits.min_tokens}" if limits.min_tokens else ""
        text += f", stopped at {', '.join(map(repr, limits.stop))}" if limits.stop else ""
        said.append(text)
    return "; ".join(said) + "."


def tally(claims: Sequence[ClaimResult]) -> str:
    """How the claims fared, counted."""
    counts = {status: sum(c.status == status for c in claims) for status in get_args(Status)}
    said = [f"{n} {status}" for status, n in counts.items() if n]
    return f"{_listed(said)}." if said else ""


def shortened(text: str, length: int) -> str:
    """A text cut to a length, on one line.

    >>> shortened("one two\\nthree", 8)
    'one two…'
    """
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def _draws(surveys: Sequence[Survey]) -> str:
    fewest, most = min(s.fewest for s in surveys), max(s.most for s in surveys)
    return f"{count(most, 'draw')} each" if fewest == most else f"{fewest} to {count(most, 'draw')} each"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
