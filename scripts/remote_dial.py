"""A dial drawn on a real server, against the same weights in process."""

from __future__ import annotations

import argparse
import itertools
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests import real_servers

import poise
from poise import models, noise
from poise.engines import conversion
from poise.engines.remote_logits import make_remote_logits
from poise.law import History
from poise.params import SamplingParams
from poise.pieces import Dial, with_value
from poise.records import Message, Prompt, Request
from poise.sessions import LogitsEngine

LOW, HIGH = 0.0, 1.5
NEARBY = 5e-4  # from a stretch: one pass gives a token's logits other last bits, and its border another place
SETTINGS = SamplingParams(top_k=20, top_p=0.8)  # what Qwen recommends beside a temperature
PROMPTS = (
    Prompt("Once upon a time, in a distant galaxy, there was a spaceship called Voyager."),
    Prompt(messages=(Message("user", "Name three ways to save energy at home."),)),
    Prompt("The three most important inventions of the last century are"),
    Prompt(messages=(Message("user", "Write a haiku about the sea."),)),
)


class Stretch(NamedTuple):
    """Values at which two dials have different texts.

    Args:
        low, high: its ends.
        position: of the first token that differs.
        margin: how far ahead the in-process winner is of the other one there, in logits; infinite where one of the
            two is cut close by: the two engines disagree about the border of the kept set.
    """

    low: float
    high: float
    position: int
    margin: float


class Held(NamedTuple):
    """Two dials of one draw held against each other.

    Args:
        here, there: pieces in process, and on the server.
        share: of the range on which the texts differ.
        stretches: where.
    """

    here: int
    there: int
    share: float
    stretches: tuple[Stretch, ...]


def hold(engine: LogitsEngine, here: Dial, there: Dial) -> Held:
    """Compare two dials of one draw.

    Args:
        engine: the model in process.
        here, there: its dial, and the server's.

    Returns:
        Where they differ.
    """
    cuts = sorted({LOW, HIGH, *(p.low for d in (here, there) for p in d.pieces)})
    found: list[Stretch] = []
    for low, high in itertools.pairwise(cuts):
        value = (low + high) / 2
        mine, other = here.at(value).token_ids, there.at(value).token_ids
        if mine == other:
            continue
        both = zip(mine, other, strict=False)
        position = next((i for i, (a, b) in enumerate(both) if a != b), min(len(mine), len(other)))
        pair = mine[position], other[position]
        margin = _margin(engine, here.request, (low, high), mine[:position], pair)
        if found and found[-1].high == low and found[-1].position == position:
            last = found.pop()
            found.append(Stretch(last.low, high, position, max(margin, last.margin)))
        else:
            found.append(Stretch(low, high, position, margin))
    share = sum(s.high - s.low for s in found) / (HIGH - LOW)
    return Held(len(here.pieces), len(there.pieces), share, tuple(found))


def _margin(
    engine: LogitsEngine, request: Request, span: tuple[float, float], prefix: Sequence[int], pair: tuple[int, int]
) -> float:
    """How far the first of two tokens is ahead of the second at one step in process, in the middle of a stretch."""
    at, ids = len(prefix), request.prompt_ids
    logits = engine.session(len(ids) + at + 1, 2).score(ids, [*prefix, pair[0]])
    middle, wide = sum(span) / 2, max(NEARBY, 2 * (span[1] - span[0]))
    values = [max(span[0] - wide, 1e-6), middle, span[1] + wide]
    laws = [with_value(SETTINGS, "temperature", value) for value in values]
    said = History(request.prompt_ids, tuple(prefix))
    made = engine.law.reshape(logits, [at] * 3, laws, [said] * 3, [frozenset()] * 3)
    if not all(math.isfinite(row[token]) for row in made.values for token in pair):
        return math.inf
    key = noise.key(request.seed, request.prompt_ids, request.draw)
    g = noise.gumbel(noise.words(key, at, engine.vocab_size)[list(pair)]) * middle
    ahead, behind = (float(made.values[1][token]) + float(x) for token, x in zip(pair, g, strict=True))
    return ahead - behind


class Drawn(NamedTuple):
    """An engine's dials, and what they cost: rows, seconds."""

    dials: tuple[Dial, ...]
    rows: int
    seconds: float


def dialled(engine: LogitsEngine, prompts: Sequence[Prompt], max_tokens: int) -> Drawn:
    """Every temperature of every prompt.

    Args:
        engine: in process, or a server's.
        prompts: what to continue.
        max_tokens: new tokens of each text.

    Returns:
        One dial per prompt.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        dials = poise.dial(
            engine, prompts, "temperature", LOW, HIGH, params=SETTINGS, max_tokens=max_tokens,
            study=Path(folder) / "dial.db",
        )  # fmt: skip
    return Drawn(tuple(dials), dials.cost.rows, time.perf_counter() - start)


def model_for(name: str, folder: Path) -> Path:
    """The embedded model as a server wants it.

    Args:
        name: of the server.
        folder: for what has to be made.

    Returns:
        A folder, or a GGUF file with the same weights in float32.
    """
    files = models.find("smollm2", convert=conversion.convert)
    if real_servers.SOFTWARE[name].wants == "folder":
        return files.directory
    return real_servers.whole_gguf(real_servers.embedded_gguf(), folder / "smollm2-float32.gguf")


def main() -> None:
    """Start the server, dial, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", choices=["vllm", "llama-server"])
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    given = parser.parse_args()
    missing = real_servers.why_missing(given.server)
    if missing:
        parser.exit(2, f"{missing}\n")
    engine, prompts = poise.load("smollm2", dtype="float32"), PROMPTS[: given.prompts]
    assert isinstance(engine, LogitsEngine)
    with tempfile.TemporaryDirectory() as folder:
        model = model_for(given.server, Path(folder))
        with real_servers.serving(given.server, model, Path(folder) / "server.log") as url:
            remote = make_remote_logits(url)
            there = dialled(remote, prompts, given.max_tokens)
            remote.close()
    here = dialled(engine, prompts, given.max_tokens)
    print(
        "| prompt | pieces, in process | on the server | range with other texts | stretches | widest | margin at most |"
    )
    print("|---|---|---|---|---|---|---|")
    borders = 0
    for prompt, *pair in zip(prompts, here.dials, there.dials, strict=True):
        h = hold(engine, *pair)
        borders += sum(math.isinf(s.margin) for s in h.stretches)
        widest = max((s.high - s.low for s in h.stretches), default=0.0)
        margin = max((s.margin for s in h.stretches if math.isfinite(s.margin)), default=0.0)
        said = f"{h.share:.4%} | {len(h.stretches)} | {widest:.1e} | {margin:.1e}"
        print(f"| {prompt.shown} | {h.here} | {h.there} | {said} |")
    print(f"\nOf the stretches, {borders} come from the border of the kept set.")
    for name, drawn in (("In process", here), (given.server, there)):
        print(f"{name}: {drawn.rows:,} rows in {drawn.seconds:.0f} s, {drawn.rows / drawn.seconds:.0f} a second.")


if __name__ == "__main__":
    main()
