"""Probes fake servers whose truth is known and writes the figures of docs/probe.md."""

# ruff: noqa: E501  what it writes is prose

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from poise.fakeserver import FakeWire
from poise.probes import BUDGET, probe_wire
from poise.servers.honours import Honour, Probe

PAGE = Path(__file__).resolve().parent.parent / "docs" / "probe.md"
BEGIN, END = "<!-- figures: written by `python -m scripts.probing` -->", "<!-- end of the figures -->"
SERVERS, EACH = 1_000, 300  # honest servers; servers per lie
FINE: frozenset[Honour] = frozenset({"honoured", "cannot tell"})

# Honest servers, and where their truth is something else than what poise calls honoured.
TRUTHS: Mapping[str, Mapping[str, Honour]] = {
    "vllm": {"order": "honoured otherwise"},  # min_p before top_p
    "llama.cpp": {
        "order": "honoured otherwise", "frequency_penalty": "honoured otherwise",
        "presence_penalty": "honoured otherwise",
    },
    "llama-cpp-python": {"order": "honoured otherwise", "repetition_penalty": "honoured otherwise", "n": "ignored"},
    "openai": {},
    "ollama": {
        "order": "honoured otherwise", "frequency_penalty": "honoured otherwise",
        "presence_penalty": "honoured otherwise", "n": "rejected",
    },
}  # fmt: skip


class Planted(NamedTuple):
    """A lie, and the finding that shows it."""

    style: str
    lie: str
    shows_in: str
    found: frozenset[Honour] = frozenset({"honoured otherwise", "ignored", "rejected"})


# What users were burnt by, see the reasons in docs/probe.md.
LIES = (
    Planted("vllm", "temperature=ignored", "temperature"),
    Planted("vllm", "temperature=clamped:0:1", "temperature"),
    Planted("vllm", "top_k=ignored", "top_k"),
    Planted("vllm", "top_k=clamped:5:10", "top_k"),
    Planted("vllm", "top_p=ignored", "top_p"),
    Planted("vllm", "top_p=swapped:min_p", "top_p"),
    Planted("vllm", "min_p=ignored", "min_p"),
    Planted("llama.cpp", "typical_p=ignored", "typical_p"),
    Planted("vllm", "repetition_penalty=ignored", "repetition_penalty"),
    Planted("vllm", "penalties=output", "repetition_penalty"),
    Planted("vllm", "frequency_penalty=ignored", "frequency_penalty"),
    Planted("vllm", "penalties=prompt", "frequency_penalty"),
    Planted("vllm", "presence_penalty=ignored", "presence_penalty"),
    Planted("vllm", "frequency_penalty=swapped:presence_penalty", "frequency_penalty"),
    Planted("vllm", "presence_penalty=mapped:2", "presence_penalty"),
    Planted("vllm", "order=temperature last", "order"),
    Planted("llama.cpp", "order=temperature first", "order"),
    Planted("vllm", "temperature=default:0.7", "defaults"),
    Planted("vllm", "top_p=default:0.8", "defaults"),
    Planted("vllm", "greedy=off", "greedy"),
    Planted("vllm", "seed=ignored", "seed"),
    Planted("vllm", "seed=one", "seed"),
    Planted("vllm", "logit_bias=ignored", "logit_bias"),
    Planted("vllm", "stop=included", "stop"),
    Planted("vllm", "stop=ignored", "stop"),
    Planted("vllm", "max_tokens=clamped:16", "max_tokens"),
    Planted("vllm", "n=ignored", "n"),
    Planted("vllm", "n=clones", "n"),
    Planted("vllm", "logprobs=processed", "logprobs"),
    Planted("vllm", "logprobs=at most:5", "logprobs"),
)
ORDERS = {"temperature last": "temperature-last", "temperature first": "transformers"}


class Job(NamedTuple):
    """One server: its style, its lie (empty for none), its seed, the one finding wanted (empty for all)."""

    style: str
    lie: str
    seed: int
    wanted: str = ""


class Seen(NamedTuple):
    """What a probe said of one server."""

    job: Job
    honours: Mapping[str, Honour]
    dialect: str
    requests: int
    tokens: int


def probed(job: Job) -> Seen:
    """Probe one fake server."""
    wire = FakeWire(job.style, [job.lie] if job.lie else [], seed=job.seed)
    found: Probe = asyncio.run(probe_wire(wire, names={job.wanted} if job.wanted else None))
    honours = {f.name: f.honour for f in found.findings}
    return Seen(job, honours, found.dialect, found.requests, found.tokens)


def found_out(lie: Planted, seen: Seen) -> bool:
    """Whether a probe found the lie."""
    if lie.shows_in == "order":
        return seen.dialect == ORDERS[lie.lie.removeprefix("order=")]
    return seen.honours[lie.shows_in] in lie.found


def false_alarms(seen: Seen) -> list[str]:
    """What a probe said of an honest server that is not so."""
    truth = TRUTHS[seen.job.style]
    return [
        f"{name}: {honour}"
        for name, honour in seen.honours.items()
        if honour not in FINE and honour != truth.get(name, "honoured")
    ]


def honest_jobs(count: int, first: int = 0) -> Iterator[Job]:
    """Honest servers of every style, one after another."""
    styles = tuple(TRUTHS)
    return (Job(styles[i % len(styles)], "", first + i) for i in range(count))


def lying_jobs(lie: Planted, count: int, first: int = 50_000) -> Iterator[Job]:
    """Servers that tell one lie, of which only what shows it is looked at."""
    return (Job(lie.style, lie.lie, first + i, lie.shows_in) for i in range(count))


def all_probed(jobs: Iterable[Job], workers: int) -> list[Seen]:
    """Probe many, on several cores."""
    if workers == 1:
        return [probed(job) for job in jobs]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return pool.map(probed, list(jobs), chunksize=4)


def figures(servers: int, each: int, workers: int) -> str:
    """The generated part of the page."""
    honest = all_probed(honest_jobs(servers), workers)
    print(f"{servers} honest servers done", file=sys.stderr)
    lines = [*_honest_lines(honest), "", *_lie_lines(each, workers)]
    return "\n".join(lines) + "\n"


def _honest_lines(seen: Sequence[Seen]) -> Iterator[str]:
    wrong = {s.job: alarms for s in seen if (alarms := false_alarms(s))}
    yield f"**False alarms.** {len(seen):,} honest servers; of {len(wrong)} something was said that is not so"
    yield f"({len(wrong) / len(seen):.1%}){_listed(wrong.values())}."
    yield f"A probe took {_spread([s.requests for s in seen])} requests and {_spread([s.tokens for s in seen])} tokens"
    yield f"(median, and the most), of {BUDGET} requests at most."
    yield ""
    yield "| honest server | probed | wrong | requests | tokens | could not tell |"
    yield "|---|---|---|---|---|---|"
    for style in TRUTHS:
        mine = [s for s in seen if s.job.style == style]
        if not mine:
            continue
        unclear = Counter(n for s in mine for n, h in s.honours.items() if h == "cannot tell")
        shown = (
            ", ".join(f"{n} {k / len(mine):.0%}" for n, k in unclear.most_common(4) if k / len(mine) >= 0.005) or "–"
        )
        bad = sum(bool(false_alarms(s)) for s in mine)
        yield (
            f"| {style} | {len(mine)} | {bad} | {_spread([s.requests for s in mine])} | "
            f"{_spread([s.tokens for s in mine])} | {shown} |"
        )


def _lie_lines(each: int, workers: int) -> Iterator[str]:
    yield f"**Lies.** {each} servers each; every one is found where the finding is not *honoured* and not *cannot tell*,"
    yield "and for the order, where the right dialect is named."
    yield ""
    yield "| lie | of | found | honoured | cannot tell | requests |"
    yield "|---|---|---|---|---|---|"
    for lie in LIES:
        seen = all_probed(lying_jobs(lie, each), workers)
        print(f"{lie.lie} done", file=sys.stderr)
        hits = sum(found_out(lie, s) for s in seen)
        missed = Counter(s.honours[lie.shows_in] for s in seen if not found_out(lie, s))
        yield (
            f"| `{lie.lie}` | {lie.style} | {hits / each:.1%} | {missed['honoured'] / each:.1%} | "
            f"{missed['cannot tell'] / each:.1%} | {_spread([s.requests for s in seen])} |"
        )


def _listed(wrong: Iterable[Sequence[str]]) -> str:
    counted = Counter(alarm for alarms in wrong for alarm in alarms)
    return "" if not counted else ": " + ", ".join(f"{alarm} ({n})" for alarm, n in counted.most_common())


def _spread(values: Sequence[int]) -> str:
    return f"{sorted(values)[len(values) // 2]:,} (≤ {max(values):,})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the figures anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=SERVERS, help="honest servers")
    parser.add_argument("--each", type=int, default=EACH, help="servers per lie")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    text = figures(given.servers, given.each, given.workers)
    page = PAGE.read_text(encoding="utf-8")
    part = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    PAGE.write_text(part.sub(lambda _: f"{BEGIN}\n\n{text}\n{END}", page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
