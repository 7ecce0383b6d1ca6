"""`python -m bench.server [URL]`: throughput through poise beside a bare asynchronous client at its best."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

import poise
from poise.engines.remote import RemoteEngine, make_server
from poise.engines.remote_calls import call_of
from poise.engines.remote_options import ServerOptions
from poise.params import SamplingParams
from poise.records import Message, Prompt, Request
from poise.servers.honours import Probe
from poise.servers.neutral import Neutral
from poise.sessions import Tally

TARGET = 0.95
LEVELS = (8, 16, 32, 40, 48, 64, 96, 128)
LATENCY = ("--latency", "0.05", "--latency-token", "0.005", "--capacity", "32")


class Rate(NamedTuple):
    """One measurement: texts and tokens that came, and in which time."""

    texts: int
    tokens: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Texts per second."""
        return self.texts / self.seconds

    def __str__(self) -> str:
        return f"{self.per_second:8.1f} texts/s {self.tokens / self.seconds:9.0f} tokens/s  in {self.seconds:5.1f} s"


class Work(NamedTuple):
    """What is drawn: the same texts for everybody."""

    url: str
    requests: list[Request]
    bodies: list[dict[str, Any]]
    path: str


def main() -> None:
    """Find the bare client's best concurrency, then run both in turn; print rates and their ratio."""
    parser = argparse.ArgumentParser(prog="python -m bench.server", description=__doc__)
    parser.add_argument("url", nargs="?", help="http(s)://HOST[:PORT]/v1[#MODEL]; by default a fake server, 50 ms and "
                        "5 ms per token, 32 at once")  # fmt: skip
    parser.add_argument("--requests", type=int, default=3000, help="3,000 by default")
    parser.add_argument("--tokens", type=int, default=64, help="new tokens at most, 64 by default")
    parser.add_argument("--runs", type=int, default=3, help="paired runs, 3 by default")
    parser.add_argument("--chat", action="store_true", help="ask through the chat template")
    asked = parser.parse_args()
    if asked.url:
        compare(asked.url, asked)
        return
    words = [sys.executable, "-m", "poise.fakeserver", "--port", "0", *LATENCY]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            compare(server.stdout.readline().partition(" at ")[2].partition(";")[0], asked)
        finally:
            server.terminate()


def compare(url: str, asked: argparse.Namespace) -> None:
    """Measure both on one server.

    Args:
        url: of the server.
        asked: the command line.
    """
    with closing(opened(url)) as engine:
        work = work_of(engine, asked.requests, asked.tokens, asked.chat)
        print(f"{engine.name} at {engine.wire.url} ({engine.about.kind}): {asked.requests:,} texts of {asked.tokens}")
    part = work._replace(requests=work.requests[: len(work.requests) // 3], bodies=work.bodies[: len(work.bodies) // 3])
    found = {level: asyncio.run(bare(part, level)) for level in LEVELS if level <= len(part.bodies) // 2}
    for level, rate in found.items():
        print(f"  bare client, {level:3} at once: {rate}", flush=True)
    best = max(found, key=lambda level: found[level].per_second)
    ratios: dict[str, list[float]] = {"first batch": [], "second batch": [], "a sweep that is kept": []}
    before = asyncio.run(bare(work, best))
    print(f"bare client, {best:3} at once:      {before}", flush=True)
    for _ in range(asked.runs):
        first, second = through_poise(url, work)
        ours = {"first batch": first, "second batch": second, "a sweep that is kept": (swept(url, work, asked), 0)}
        after = asyncio.run(bare(work, best))
        theirs = statistics.mean((before.per_second, after.per_second))  # the machine does other things too
        for said, (rate, level) in ours.items():
            ratios[said].append(rate.per_second / theirs)
            found_it = f", {level:3} at once" if level else ""
            print(f"poise, {said + found_it:22} {rate}  {ratios[said][-1]:.1%}", flush=True)
        print(f"bare client, {best:3} at once:      {after}", flush=True)
        before = after
    for said, values in ratios.items():
        print(f"{said}: {statistics.median(values):.1%} of the bare client at its best (target {TARGET:.0%})")


def opened(url: str) -> RemoteEngine:
    """An engine that knows nothing yet, but that nobody needs to probe it."""
    made = make_server(url, dtype="auto", device="auto", trust_remote_code=False, server=ServerOptions(timeout=600.0))
    about = made.about
    made.learn(
        Probe(made.wire.url, about.model, about.kind, about.version, about.identity, "server", "unknown", 0,
              about.takes_ids, (), 0, 0, 0.0, time.time())
    )  # fmt: skip
    return made


def prompts_of(number: int, chat: bool) -> list[Prompt]:
    """Prompts that differ."""
    said = [f"Tell me what happened to ship number {i} in the harbour." for i in range(number)]
    return [Prompt(messages=(Message("user", s),)) if chat else Prompt(s) for s in said]


def work_of(engine: RemoteEngine, number: int, tokens: int, chat: bool) -> Work:
    """The requests, and the bodies by which a bare client asks the same."""
    plain = Neutral(engine.wire, engine.about)
    law = SamplingParams(temperature=0.8, dialect=engine.dialect)
    prompts = prompts_of(max(1, number // 8), chat)
    least = tokens if engine._manners.min_tokens else 0  # whole texts where the server can be told so
    asked = [(draw, p) for draw in range(-(-number // len(prompts))) for p in prompts][:number]
    requests = [Request(p, engine.encode(p), law, 0, draw, tokens, least) for draw, p in asked]
    bodies = []
    for request in requests:
        call = plain.completed(call_of(request, engine._manners))
        said: dict[str, Any] = (
            {"messages": [{"role": m.role, "content": m.content} for m in call.messages]}
            if chat
            else {"prompt": call.text}
        )
        bodies.append({"model": engine.about.model, **said, "max_tokens": tokens, "seed": call.seed, **call.fields})
    return Work(engine.wire.url, requests, bodies, "chat/completions" if chat else "completions")


async def bare(work: Work, level: int) -> Rate:
    """A client that does nothing else: so many requests at once, answers read as JSON."""
    waiting, tokens = iter(work.bodies), 0
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(limits=limits, timeout=600, trust_env=False) as client:

        async def ask() -> None:
            nonlocal tokens
            for body in waiting:
                answer = await client.post(f"{work.url}/{work.path}", json=body)
                tokens += answer.raise_for_status().json()["usage"]["completion_tokens"]

        start = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(level)))
        return Rate(len(work.bodies), tokens, time.perf_counter() - start)


def through_poise(url: str, work: Work) -> tuple[tuple[Rate, int], tuple[Rate, int]]:
    """All texts, twice, through an engine that knows nothing at first, and the concurrency that it found."""
    with closing(opened(url)) as engine:
        first, second = (_drawn(engine, work.requests) for _ in range(2))
        return first, second


def _drawn(engine: RemoteEngine, requests: list[Request]) -> tuple[Rate, int]:
    tally, start = Tally(), time.perf_counter()
    texts = sum(1 for _ in engine.generate(requests, tally))
    return Rate(texts, tally.tokens, time.perf_counter() - start), engine._pool.pace.level


def swept(url: str, work: Work, asked: argparse.Namespace) -> Rate:
    """All texts through a sweep that keeps each of them."""
    prompts: Sequence[Prompt] = list(dict.fromkeys(r.prompt for r in work.requests))
    draws = -(-asked.requests // len(prompts))
    with closing(opened(url)) as engine, tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with poise.sweep(
            engine, prompts, SamplingParams(temperature=0.8), draws=draws, max_tokens=asked.tokens, baselines=False,
            min_tokens=work.requests[0].min_tokens, study=Path(folder) / "s.db",
        ) as study:  # fmt: skip
            spent, done = time.perf_counter() - start, study.last_sweep
        assert done is not None
        return Rate(done.drawn, done.tokens, spent)


if __name__ == "__main__":
    main()
