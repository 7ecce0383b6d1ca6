"""The article's claims about temperature, held against the measurements."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from poise.comparisons import Comparison, compare
from poise.escapes import visible
from poise.measurements import Measurement, choose_metrics, measure
from poise.records import Trial
from poise.reports.evidence import Evidence, holm, weigh
from poise.study import Study

ARTICLE = "Decoding LLM Parameters, Part 1: Temperature (DZone)"
Status = Literal["supported", "contradicted", "not detectable", "not measured", "cannot be judged"]
Compare = Callable[[Trial, Trial, Sequence[str]], Sequence[Comparison]]


@dataclass(frozen=True, slots=True)
class Expectation:
    """What would be measured if a claim held.

    Args:
        metric: a key of `METRICS`.
        low, high: temperatures to compare; of several the first that was drawn.
        sign: +1 if the metric should rise from low to high, -1 if it should fall.
        wording: the measurable part as a clause, after "measured as".
    """

    metric: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    sign: int
    wording: str


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence of the article, and what could be held against it.

    Args:
        key: its name.
        said: what the article says, in our words.
        expected: the measurable part, all of which has to hold; fixed before any number was seen.
        use_case: the use case that it speaks of; empty for all.
        beyond: what no metric here can judge, as a clause; empty where nothing is left.
    """

    key: str
    said: str
    expected: tuple[Expectation, ...]
    use_case: str = ""
    beyond: str = ""


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """A claim and what the measurements of one use case say about it.

    Args:
        claim: what was said.
        use_case: whose prompts were measured.
        status: of the measurable part.
        evidence: the comparisons behind it, in the order of `claim.expected`.
        reason: why there is no status, empty where there is one.
    """

    claim: Claim
    use_case: str
    status: Status
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""

    @property
    def numbers(self) -> list[str]:
        """One line per comparison: what, between which temperatures, difference, interval, scope."""
        return [_line(e, x) for e, x in zip(self.evidence, self.claim.expected, strict=False)]

    def __str__(self) -> str:
        head = f"{self.status.upper()}: {self.claim.said}"
        rest = [*self.numbers, *filter(None, [self.reason, self.claim.beyond and f"Not judged: {self.claim.beyond}."])]
        return "\n".join([head, *(f"    {line}" for line in rest)])


class Claims(Sequence[ClaimResult]):
    """What a study supports of the article's claims; `print` shows it as text.

    Args:
        results: by use case, in the order of the article.
    """

    def __init__(self, results: Iterable[ClaimResult]) -> None:
        self._results = tuple(results)

    def __len__(self) -> int:
        return len(self._results)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._results[index]

    def __str__(self) -> str:
        lines: list[str] = []
        for name in dict.fromkeys(r.use_case for r in self):
            lines += [visible(name), *(str(r) for r in self if r.use_case == name), ""]
        return "\n".join(lines).rstrip()


_LOW, _HIGH = (0.2, 0.3), (0.9,)
CLAIMS: tuple[Claim, ...] = (
    Claim(
        "low-repeats",
        "At a low temperature (0.2 to 0.3) the model gets stuck repeating similar phrases.",
        (Expectation("seq_rep_4", _LOW, _HIGH, -1, "repeated four-token sequences"),),
    ),
    Claim(
        "low-loops",
        "A story at 0.2 runs into loops where at 0.9 it does not.",
        (Expectation("loop_rate", _LOW, _HIGH, -1, "texts that end in a loop"),),
        use_case="creative-story",
    ),
    Claim(
        "middle-balances",
        "A temperature of 0.5 balances: some variation, and still some repetition.",
        (
            Expectation("seq_rep_4", (0.3, 0.2), (0.5,), -1, "repeats less than the low temperature"),
            Expectation("seq_rep_4", (0.5,), _HIGH, -1, "repeats more than 0.9"),
        ),
        beyond="whether that balances coherence and creativity; no metric here measures either",
    ),
    Claim(
        "high-varies",
        "A temperature of 0.9 brings much randomness and variation into the text.",
        (
            Expectation(
                "word_vector_distance", _LOW, _HIGH, +1, "how far apart the draws of a prompt are in word vectors"
            ),
        ),
    ),
    Claim(
        "high-is-creative",
        "A story at 0.9 is creative and imaginative, perfect for storytelling.",
        (),
        use_case="creative-story",
        beyond="creativity and quality; automatic metrics do not track what readers value in stories",
    ),
    Claim(
        "middle-avoids-loops",
        "A temperature of 0.7 avoids the repetition of low temperatures.",
        (Expectation("seq_rep_4", _LOW, (0.7,), -1, "repeated four-token sequences"),),
        use_case="technical-explanation",
    ),
    Claim(
        "high-is-improbable",
        "At 0.9 less probable words enter a technical explanation than at 0.7.",
        (Expectation("nll", (0.7,), _HIGH, +1, "surprise per token under the model itself"),),
        use_case="technical-explanation",
    ),
    Claim(
        "high-strays",
        "For a technical explanation 0.7 beats 0.9: focused, where 0.9 is vague and brings in irrelevant ideas.",
        (Expectation("relevance", (0.7,), _HIGH, -1, "likeness to the prompt in word vectors, above chance"),),
        use_case="technical-explanation",
        beyond="whether the ideas are vague; word vectors see the topic of a text and not its sense",
    ),
    Claim(
        "high-is-inaccurate",
        "At 0.9 a technical explanation is inaccurate, at 0.7 it is accurate.",
        (Expectation("exact_match", (0.7,), _HIGH, -1, "share of right answers"),),
        use_case="technical-explanation",
        beyond="accuracy, where the prompts come without right answers",
    ),
)


def check_claims(study: Study, *, use_case: str | None = None) -> Claims:
    """Hold the article's claims against what a study measured.

    A claim is tested where its temperatures were drawn with everything else off. What it expects
    was fixed beforehand, one comparison per clause, and the tests of one use case are corrected
    for their number (Holm).

    Args:
        study: with completions at some of the temperatures 0.2, 0.3, 0.5, 0.7 and 0.9.
        use_case: only this one; None for all.

    Returns:
        One result per claim and use case that it speaks of.

    Raises:
        StudyError: no such use case.
    """
    names = study.use_cases() if use_case is None else [use_case]
    found: list[ClaimResult] = []
    wanted = {x.metric for c in CLAIMS for x in c.expected}
    for name in names:
        metrics = [m for m in choose_metrics(study, name, None) if m.name in wanted]
        rows = measure(study, metrics=metrics, use_case=name)

        def look(a: Trial, b: Trial, wanted: Sequence[str], name: str = name) -> Sequence[Comparison]:
            return compare(study, a, b, metrics=wanted, use_case=name)

        found += judge(name, study.trials(name), rows, look)
    return Claims(found)


def judge(use_case: str, trials: Sequence[Trial], rows: Sequence[Measurement], look: Compare) -> list[ClaimResult]:
    """Hold the claims against one use case.

    Args:
        use_case: its name.
        trials: what was drawn.
        rows: its measurements.
        look: compares two trials by some metrics.

    Returns:
        One result per claim that speaks of this use case; none where no temperature of the article was drawn.
    """
    at = {
        t.params.temperature or 1.0: t
        for t in trials
        if set(t.params.active()) <= {"temperature"} and not t.params.greedy
    }
    spoken = [c for c in CLAIMS if c.use_case in ("", use_case)]
    pairs = {x: pair for c in spoken for x in c.expected if (pair := _pair(x, at))}
    if not pairs:
        return []
    measured = {r.metric for r in rows if r.mean is not None}
    tested = [x for x in pairs if x.metric in measured]
    looks: dict[tuple[Trial, Trial], dict[str, Comparison]] = {}
    for pair in dict.fromkeys(pairs[x] for x in tested):
        wanted = list(dict.fromkeys(x.metric for x in tested if pairs[x] == pair))
        looks[pair] = {c.metric: c for c in look(*pair, wanted)}
    compared = [looks[pairs[x]][x.metric] for x in tested]
    weighed = weigh(compared, holm([c.p_value for c in compared]), rows)
    evidence = dict(zip(tested, weighed, strict=True))
    empty = {r.metric: r.note for r in rows if r.metric not in measured}
    return [_result(c, use_case, evidence, pairs, empty) for c in spoken]


def _pair(expected: Expectation, at: Mapping[float, Trial]) -> tuple[Trial, Trial] | None:
    low = next((at[t] for t in expected.low if t in at), None)
    high = next((at[t] for t in expected.high if t in at), None)
    return (low, high) if low and high else None


def _result(
    claim: Claim,
    use_case: str,
    evidence: Mapping[Expectation, Evidence],
    drawn: Container[Expectation],
    empty: Mapping[str, str],
) -> ClaimResult:
    lacking = [x for x in claim.expected if x not in drawn]
    if lacking:
        wanted = " and ".join("/".join(f"{t:g}" for t in side) for side in (lacking[0].low, lacking[0].high))
        return ClaimResult(claim, use_case, "not measured", reason=f"It needs the temperatures {wanted}.")
    blind = [x.metric for x in claim.expected if x not in evidence]
    if blind and blind[0] in empty:
        reason = f"There are no data for {blind[0]}: {empty[blind[0]]}."
        return ClaimResult(claim, use_case, "not measured", reason=reason)
    if blind or not claim.expected:  # there is no such metric, or it does not apply to these prompts
        return ClaimResult(claim, use_case, "cannot be judged")
    found = tuple(evidence[x] for x in claim.expected)
    return ClaimResult(claim, use_case, _status(claim, found), found)


def _status(claim: Claim, found: Sequence[Evidence]) -> Status:
    signs = {"rises": 1, "falls": -1}
    agree = [signs.get(e.direction, 0) * x.sign for e, x in zip(found, claim.expected, strict=True)]
    if min(agree) < 0:
        return "contradicted"
    if min(agree) > 0:
        return "supported"
    return "not measured" if any(e.direction == "unknown" for e in found) else "not detectable"


def _line(evidence: Evidence, expected: Expectation) -> str:
    c = evidence.comparison
    basis = c.basis.partition(";")[0]
    how = f"{c.metric}, {basis}" if basis else c.metric
    between = f"{expected.wording} ({how}), {c.a.label} → {c.b.label}: means {evidence.change}"
    size = f"paired difference {evidence.size} {evidence.limits}".rstrip() if evidence.size else ""
    behind = f"{evidence.pairs} of {evidence.scope}" if evidence.comparison.n_pairs else ""
    nothing = "no detectable difference: " if evidence.direction == "undetected" and evidence.reason else ""
    parts = [between, size, f"{nothing}{evidence.reason}", behind]
    return "; ".join(filter(None, parts))
