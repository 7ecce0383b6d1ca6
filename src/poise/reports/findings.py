"""Opening sentences, computed from measurements; unsupported ones do not appear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from poise.reports.axes import Contrast, value_of
from poise.reports.evidence import Evidence, scope_of


class Wording(NamedTuple):
    """How a metric is spoken of.

    Args:
        noun: what it is, for a table's row.
        rises, falls: what the texts do, after "the texts".
    """

    noun: str
    rises: str
    falls: str


# The family of the opening sentences: fixed, small, one metric per question a reader has.
# Five hold where prompts have no answers: few enough that eight prompts can still carry a finding.
HEADLINES: Mapping[str, Wording] = {
    "loop_rate": Wording("Texts that end in a loop", "end in loops more often", "end in loops less often"),
    "seq_rep_4": Wording("Repetition within a text", "repeat themselves more", "repeat themselves less"),
    "word_vector_distance": Wording(
        "Difference between draws", "differ more from draw to draw", "differ less from draw to draw"
    ),
    "nll": Wording("Surprise per token", "use words the model finds less likely", "use words the model finds likelier"),
    "relevance": Wording(
        "Closeness to the prompt", "stay closer to the prompt’s words", "stray further from the prompt’s words"
    ),
    "passes": Wording("Texts that pass their checks", "pass their checks more often", "pass their checks less often"),
    "exact_match": Wording("Right answers", "give more right answers", "give fewer right answers"),
}
# Two metrics of one thing: where both agree, one clause is enough; the table has both.
_SAME_THING = {"seq_rep_4": "loop_rate", "exact_match": "passes"}


class Opening(NamedTuple):
    """What one contrast says, for the top of a section.

    Args:
        contrast: the two ends compared.
        sentence: what was found, in one sentence with its numbers.
        plain: the same without numbers, to stand above the table that has them.
        evidence: one per headline metric that could be compared; empty where none could be tested.
        caveat: what the numbers speak of, or what is missing.
    """

    contrast: Contrast
    sentence: str
    plain: str
    evidence: tuple[Evidence, ...]
    caveat: str

    @property
    def uneven(self) -> bool:
        """Whether means and differences speak of different texts, as where some are too short for a metric."""
        return any(not e.even for e in self.evidence)


def open_with(contrast: Contrast, evidence: Sequence[Evidence]) -> Opening:
    """Say what a contrast shows, and no more.

    Args:
        contrast: the two ends of a parameter.
        evidence: of the headline metrics, weighed as one family.

    Returns:
        The sentence, with the evidence that carries it.
    """
    found = {e.comparison.metric: e.direction for e in evidence if e.found}
    told = [e for e in evidence if e.found and not _said_already(e, found)]
    ends = _ends(contrast)
    if told:
        plain = f"From {ends} the texts {_listed([_clause(e) for e in told])}."
        sentence = f"From {ends} the texts {_listed([f'{_clause(e)} ({e.change})' for e in told])}."
    elif any(e.direction == "undetected" for e in evidence):
        plain = sentence = f"From {ends} no difference was detected."
    else:
        missing = "; ".join(dict.fromkeys(e.reason for e in evidence if e.reason))
        said = f"Too little was drawn to say what changes from {ends}."
        return Opening(contrast, said, said, (), missing)
    return Opening(contrast, sentence, plain, tuple(evidence), scope_of(evidence))


def noun(metric: str) -> str:
    """What a metric is called in a table."""
    return HEADLINES[metric].noun if metric in HEADLINES else metric.replace("_", " ")


def _said_already(evidence: Evidence, found: Mapping[str, str]) -> bool:
    other = _SAME_THING.get(evidence.comparison.metric)
    return other is not None and found.get(other) == evidence.direction


def _clause(evidence: Evidence) -> str:
    wording = HEADLINES[evidence.comparison.metric]
    return wording.rises if evidence.direction == "rises" else wording.falls


def _ends(contrast: Contrast) -> str:
    low, high = (value_of(t.params, contrast.parameter) for t in (contrast.low, contrast.high))
    shown = ["off" if v is None else f"{v:g}" for v in (low, high)]
    held = f" (with {contrast.held})" if contrast.held else ""
    return f"{contrast.parameter} {shown[0]} to {shown[1]}{held}"


def _listed(clauses: Sequence[str]) -> str:
    """
    >>> _listed(["a", "b", "c"])
    'a, b and c'
    """
    return clauses[0] if len(clauses) == 1 else f"{', '.join(clauses[:-1])} and {clauses[-1]}"
