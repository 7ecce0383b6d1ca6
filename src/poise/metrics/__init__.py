"""The metrics, one entry each, and how they are found."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from poise.errors import MetricError
from poise.metrics import (
    checked,
    correctness,
    diversity,
    judged,
    lengths,
    likelihood,
    likeness,
    listing,
    relevance,
    repetition,
)
from poise.metrics.metric import CompletionMetric, GroupMetric, Metric

_TOO_SHORT = "the texts are shorter than the size compared"
_NO_LOOP = "no text ends in a loop"
_ONE_DRAW = "a prompt needs two draws to compare"
_FINISH = "every text has one"
_NO_CHECKS = "the prompts have no checks"

METRICS: Mapping[str, Metric] = {
    "seq_rep_4": CompletionMetric(
        name="seq_rep_4", unit="share", direction="lower", needs=("token ids",), high=1.0, equal="tokens",
        meaning="How much of a text repeats itself: the share of its four-token sequences that came before.",
        absent=_TOO_SHORT, source="Welleck et al. 2020, seq-rep-n with n = 4, on a prefix of fixed length",
        compute=repetition.seq_rep_4,
    ),
    "loop_rate": CompletionMetric(
        name="loop_rate", unit="share", direction="lower", needs=("token ids",), high=1.0, binary=True,
        meaning="The share of texts that end in a loop: the same tokens over and over, three times or more; "
        "a list whose numbers count up is none.",
        absent="the texts have no token ids",
        source="smallest period of the text's end (Knuth, Morris and Pratt 1977); at least 3 periods and 16 tokens",
        compute=repetition.loop_rate,
    ),
    "loop_onset": CompletionMetric(
        name="loop_onset", unit="tokens", direction="higher", needs=("token ids",),
        meaning="How many tokens come before the loop, among the texts that end in one.",
        absent=_NO_LOOP, source="position of the loop that loop_rate counts", compute=repetition.loop_onset,
    ),
    "loop_period": CompletionMetric(
        name="loop_period", unit="tokens", direction="neutral", needs=("token ids",),
        meaning="After how many tokens a loop starts again, among the texts that end in one.",
        absent=_NO_LOOP, source="smallest period of the loop that loop_rate counts", compute=repetition.loop_period,
    ),
    "compression_ratio": CompletionMetric(
        name="compression_ratio", unit="ratio", direction="lower", equal="bytes",
        meaning="How many times smaller a text gets when zlib compresses it: the more it repeats, the smaller.",
        absent=_TOO_SHORT, source="Shaib et al. 2024, raw over zlib bytes (level 9), on a prefix of fixed bytes",
        compute=repetition.compression_ratio,
    ),
    "distinct_2": GroupMetric(
        name="distinct_2", unit="share", direction="higher", needs=("token ids", "several draws"), high=1.0,
        equal="tokens of texts",
        meaning="How varied the word pairs of a prompt's draws are: the share of their token pairs that are different.",
        absent=f"{_TOO_SHORT}, or a prompt has fewer than two", compute=diversity.distinct_2,
        uses=diversity.long_enough,
        source="Li et al. 2016, distinct-n with n = 2, at equal tokens and texts (rarefaction, Hurlbert 1971)",
    ),
    "distinct_texts": GroupMetric(
        name="distinct_texts", unit="share", direction="higher", needs=("several draws",), high=1.0, equal="texts",
        meaning="The share of a prompt's draws that are different texts.",
        absent=_ONE_DRAW, source="distinct over all texts, among equally many (rarefaction, Hurlbert 1971)",
        compute=diversity.distinct_texts,
    ),
    "word_vector_distance": GroupMetric(
        name="word_vector_distance", unit="1 - cosine", direction="higher", needs=("word vectors", "several draws"),
        high=2.0, meaning="How different the words of a prompt's draws are: 0 for the same words; not their meaning.",
        absent=f"{_ONE_DRAW}, with words in them", compute=diversity.word_vector_distance,
        uses=diversity.has_words,
        source="1 - mean cosine over all pairs (U-statistic) of mean word vectors, wordllama 256-dimensional",
    ),
    "nll": CompletionMetric(
        name="nll", unit="nats/token", direction="neutral", needs=("log-probabilities",),
        meaning="How surprising the model itself finds its tokens at temperature 1; low is predictable, not good.",
        absent="the texts have no log-probabilities", source="mean of -ln p; Holtzman et al. 2020: match human text",
        compute=likelihood.nll,
    ),
    "relevance": CompletionMetric(
        name="relevance", unit="cosine", direction="higher", needs=("word vectors", "other prompts"),
        low=-2.0, high=2.0,
        meaning="How much closer a text's words are to its own prompt than to the other prompts; 0 is chance.",
        absent="one prompt has no others to compare with, or the texts are empty",
        source="cosine of mean word vectors above a shuffled-prompt baseline; after Su et al. 2022",
        compute=relevance.relevance,
    ),
    "exact_match": CompletionMetric(
        name="exact_match", unit="share", direction="higher", needs=("answers",), high=1.0, binary=True,
        meaning="The share of texts that are a right answer, apart from case, white space and outer punctuation.",
        absent="the prompts have no answers", source="exact match after normalisation; empty_output stands apart",
        compute=correctness.exact_match,
    ),
    "passes": CompletionMetric(
        name="passes", unit="share", direction="higher", needs=("checks",), high=1.0,
        meaning="The share of texts that pass every check of their prompt; a callable may also say how far.",
        absent=_NO_CHECKS,
        source="1 where every check of the use case's file holds, 0 for what cannot be read; invalid stands apart",
        compute=checked.passes,
    ),
    "invalid": CompletionMetric(
        name="invalid", unit="share", direction="lower", needs=("checks",), high=1.0, binary=True,
        meaning="The share of texts that are empty or that a check cannot read: no number, no JSON.",
        absent=_NO_CHECKS, source="texts about whose content a check can say nothing", compute=checked.invalid,
    ),
    "reference_f1": CompletionMetric(
        name="reference_f1", unit="share", direction="higher", needs=("reference",), high=1.0,
        meaning="How many words a text has in common with the reference text: 1 for the same words.",
        absent="the prompts have no reference text with words",
        source="Rajpurkar et al. 2016: F1 of words, without case, punctuation and English articles",
        compute=likeness.reference_f1,
    ),
    "distinct_ideas": CompletionMetric(
        name="distinct_ideas", unit="ideas", direction="higher", when_asked=True,
        meaning="How many different ideas a text lists, of 2 to 30 words each.",
        absent=_FINISH, source="list items, else lines, that differ in their words; none that is cut off",
        compute=listing.distinct_ideas,
    ),
    "judge": CompletionMetric(
        name="judge", unit="share", direction="higher", needs=("judgements",), high=1.0,
        meaning="How often a judge model prefers a text to the baseline's of the same draw; a tie counts half.",
        absent="no judge was asked about all prompts of a draw, or its answers were not valid",
        source="Zheng et al. 2023: pairwise, each pair in both orders; `poise judge` says how far to trust it",
        compute=judged.judge,
    ),
    "empty_output": CompletionMetric(
        name="empty_output", unit="share", direction="lower", high=1.0, binary=True,
        meaning="The share of texts that are empty.",
        absent=_FINISH, source="text without anything but white space", compute=correctness.empty_output,
    ),
    "length": CompletionMetric(
        name="length", unit="tokens", direction="neutral", needs=("token ids",),
        meaning="How many tokens a text has.",
        absent="the texts have no token ids", source="tokens drawn, without the closing end-of-text token",
        compute=lengths.length,
    ),
    "finish_eos": CompletionMetric(
        name="finish_eos", unit="share", direction="neutral", high=1.0, binary=True,
        meaning="The share of texts that the model ended by itself.",
        absent=_FINISH, source="finish reason eos", compute=lengths.finish_eos,
    ),
    "finish_stop": CompletionMetric(
        name="finish_stop", unit="share", direction="neutral", high=1.0, binary=True,
        meaning="The share of texts that a stop string ended.",
        absent=_FINISH, source="finish reason stop", compute=lengths.finish_stop,
    ),
    "finish_length": CompletionMetric(
        name="finish_length", unit="share", direction="neutral", high=1.0, binary=True,
        meaning="The share of texts cut off at the largest number of tokens allowed.",
        absent=_FINISH, source="finish reason length", compute=lengths.finish_length,
    ),
}  # fmt: skip


def find_metrics(asked: Sequence[str | Metric]) -> list[Metric]:
    """Metrics by name; metrics of your own as they are.

    Args:
        asked: keys of `METRICS`, or metrics.

    Returns:
        The metrics, each once.

    Raises:
        MetricError: no such metric; the nearest name is suggested. Two metrics under one name.
    """
    found: dict[str, Metric] = {}
    for entry in [asked] if isinstance(asked, (str, Metric)) else asked:
        metric = entry if isinstance(entry, Metric) else _named(entry)
        if found.setdefault(metric.name, metric) is not metric:
            raise MetricError("Each metric has a name of its own", f"two called {metric.name!r}", "Rename one of them")
    if not found:
        raise MetricError("At least one metric is measured", "none", "Leave `metrics` out to measure all")
    return list(found.values())


def _named(name: object) -> Metric:
    if isinstance(name, str) and name in METRICS:
        return METRICS[name]
    near = difflib.get_close_matches(str(name), METRICS, n=1)
    hint = f"Did you mean {near[0]}?" if near else "`poise list metrics` explains them"
    raise MetricError(f"A metric is one of {', '.join(METRICS)}", repr(name), hint)
