"""probe: what a server does with every parameter."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

import poise
from poise.cli.evidence import JsonFlag
from poise.cli.flags import any_number, flag, whole_number
from poise.cli.probe_records import FindingRecord, ProbeRecord
from poise.cli.progress import ProbeMeter
from poise.cli.terminal import counted, quoted, show, show_json
from poise.params import DIALECTS
from poise.probes import BUDGET
from poise.servers.honours import Finding, Probe
from poise.servers.opening import TIMEOUT

WIDTH = 100
TRIED: Mapping[str, str] = {  # values to begin with, of what matters most first
    "temperature": "0.3,0.9",
    "top_p": "0.8,1",
    "min_p": "0.05,0.2",
    "top_k": "10,40",
    "typical_p": "0.5,1",
    "repetition_penalty": "1,1.1",
    "frequency_penalty": "0,0.5",
    "presence_penalty": "0,0.5",
}
Url = Annotated[str, typer.Argument(help="http(s)://HOST[:PORT]/v1[#MODEL] or ollama:NAME.")]
BudgetFlag = Annotated[
    int, typer.Option("--budget", parser=whole_number("--budget"), metavar="N", help="Requests at most.")
]
KeyFlag = Annotated[
    str | None,
    typer.Option(
        "--key-env", metavar="VARIABLE",
        help="The environment variable that holds the server's key. Default: OPENAI_API_KEY, which goes over https or "
        "to this machine only.",
    ),
]  # fmt: skip
TimeoutFlag = Annotated[
    float,
    typer.Option(
        "--timeout", parser=any_number("--timeout", "120"), metavar="SECONDS", help="How long an answer may take."
    ),
]


def probe(
    url: Url, budget: BudgetFlag = BUDGET, key_env: KeyFlag = None, timeout: TimeoutFlag = TIMEOUT,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Find out what a server really does with every parameter.

    Each finding has its evidence. The probe is kept: sweeps over this server read it.
    """
    with ProbeMeter(budget) as meter:
        found = poise.probe(url, key_env=key_env, timeout=timeout, budget=budget, progress=meter)
    if as_json:
        show_json(record_of(found))
        return
    for line in said_of(found):
        show(line)
    if not found.whole:
        show("\nIt was cut short: what an earlier probe found stays, and a sweep looks at what it needs to know.")
    name = _choosable(found)
    if name is None:
        show("\nNo parameter that poise knows changes what is drawn there: there is no setting to choose.")
        show(f"Next: poise generate {quoted(url)} 'Once upon a time' --draws 4")
    else:
        show(f"\nNext: poise sweep {quoted(url)} -f summarise {flag(name)} {TRIED[name]}")


def _choosable(found: Probe) -> str | None:
    """The parameter to begin with: of those that are honoured best the first one; None where none acts."""
    judged = {n: f.honour for n in TRIED if (f := found.of(n)) is not None}
    for honour in ("honoured", "honoured otherwise", "cannot tell"):
        for name in TRIED:
            if judged.get(name) == honour:
                return name
    return None


def said_of(found: Probe) -> list[str]:
    """A probe as people read it: what the server is, then a table of findings, then what it cost."""
    version = f" {found.version}" if found.version else ""
    order = _order_of(found)
    returned = "" if found.logprobs in ("none", "unknown") else f", of at most {found.top_logprobs} tokens"
    ids = "are taken" if found.takes_ids else "are not taken"
    head = [
        f"{found.model} at {found.url} ({found.kind}{version})",
        f"{order}; log-probabilities: {found.logprobs}{returned}; prompts as token ids {ids}",
        "",
    ]
    lines = [line for f in found.findings for line in _lines(f)]
    cost = f"{counted(found.requests, 'request')}, {counted(found.tokens, 'token')}, {found.seconds:.0f} s"
    return [*head, *lines, cost]


def _order_of(found: Probe) -> str:
    """The dialect, and what departs from it."""
    if found.dialect == "server":
        return "its order of steps could not be told"
    clauses = [f"{a} comes before {b}" for a, b in departures(found.steps, DIALECTS[found.dialect].order)]
    but = f", but that {' and '.join(clauses)}" if clauses else ""
    if found.dialect == "temperature-last":
        return f"temperature comes after the truncations (dialect temperature-last{but})"
    return f"its order of steps is that of {found.dialect}{but}"


def departures(steps: Sequence[str], order: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of steps that come the other way round than in an order.

    >>> departures(("temperature", "min_p", "top_p"), ("temperature", "top_p", "min_p"))
    [('min_p', 'top_p')]
    """
    return [(a, b) for a, b in itertools.combinations(steps, 2) if order.index(a) > order.index(b)]


def _lines(f: Finding) -> list[str]:
    """What was found in a line, what was seen below it."""
    rates = [
        *([f"wrong at most {_rate(f.false_alarm)}"] if f.false_alarm else []),
        *([f"if ignored, found out {_rate(1 - f.power, True)}"] if f.power and f.honour == "honoured" else []),
    ]
    seen = f.evidence + (f" [{'; '.join(rates)}]" if rates else "")
    wide = 18
    first = f"{f.name:<{wide}}  {f.honour}{f': {f.how}' if f.how else ''}"
    return [first, *textwrap.wrap(seen, WIDTH - 4, initial_indent="    ", subsequent_indent="    "), ""]


def _rate(share: float, at_least: bool = False) -> str:
    """A small probability in words.

    >>> _rate(0.0002), _rate(0.004, at_least=True), _rate(0.0, at_least=True)
    ('2 times in 10,000', '99.6% of the time', '99.9% of the time')
    """
    if at_least:
        return f"{min(99.9, 100 * (1 - share)):.3g}% of the time"
    return f"{max(1, round(share * 10_000)):,} times in 10,000"


def record_of(found: Probe) -> ProbeRecord:
    """A probe as JSON."""
    said = found.record()
    return ProbeRecord(**{**said, "findings": [FindingRecord(**f) for f in said["findings"]]})
