"""`make bench-dial`: every temperature at once, beside a few of them, or 151, one by one."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench.contenders import Contender, settings_of
from bench.work import AXIS, HUNDREDTHS, LONG, LONG_AXIS, PROMPT, TOKENS

POINTS = 16  # of the grid that a dial is compared with
CROSS_TOKENS, CROSS_DRAWS = 128, 8


def main() -> None:
    """Run all contenders in turn, several times, and print medians."""
    parser = argparse.ArgumentParser(prog="make bench-dial", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="paired runs, 5 by default")
    parser.add_argument("--vllm", help="python of an environment with vLLM's CPU build")
    parser.add_argument("--dtype", default="", help="bfloat16 or float32; by default what poise takes here")
    parser.add_argument("--no-crossover", action="store_true", help="leave out the comparison with a grid")
    asked = parser.parse_args()
    settings = settings_of(asked.dtype)
    print(f"temperature over [{AXIS[0]}, {AXIS[1]}], {TOKENS} tokens, 1 draw, {settings}")
    ours = Contender("dial_axis", sys.executable, settings)
    peers = [Contender("article_two", sys.executable, settings)]
    if asked.vllm:
        peers.append(Contender("vllm_hundredths", asked.vllm, settings))
    for i in range(asked.runs):
        for contender in ([ours, *peers], [*peers, ours])[i % 2]:
            contender.run()
            print(f"  run {i + 1}: {contender.name} {contender.runs[-1]['seconds']:.2f} s", flush=True)
    for contender in (ours, *peers):
        contender.close()
    _table(ours, peers)
    _long(settings, asked.runs)
    if not asked.no_crossover:
        _crossover(settings["BENCH_DTYPE"])


def _table(ours: Contender, peers: list[Contender]) -> None:
    last = ours.runs[-1]
    print(f"\nthe whole axis: {_seconds(ours):.2f} s, {last['pieces']} pieces, {last['rows']} rows", end="")
    print(f" (expected {last['expected_pieces']:.0f} and {last['expected_rows']:.0f})")
    said = {
        "article_two": ("the article's loop, 2 temperatures", 1.0),
        "vllm_hundredths": (f"vLLM's CPU build, warm, {len(HUNDREDTHS)} temperatures", 0.5),
    }
    for peer in peers:
        name, target = said[peer.name]
        ratio = statistics.median(a["seconds"] / b["seconds"] for a, b in zip(ours.runs, peer.runs, strict=True))
        print(f"{name}: {_seconds(peer):.2f} s; the axis takes {ratio:.2f} of it (target at most {target})")


def _long(settings: dict[str, str], runs: int) -> None:
    """Rows per second over a long text, and where the time goes."""
    long = Contender("dial_long", sys.executable, settings)
    for _ in range(min(runs, 3)):
        long.run()
    long.close()
    seconds = _seconds(long)
    last = long.runs[-1]
    parts = {name: statistics.median(r["split"].get(name, 0.0) for r in long.runs) for name in last["split"]}
    share = (parts.get("envelope", 0.0) + parts.get("noise", 0.0)) / seconds
    print(f"\n{LONG} tokens over [{LONG_AXIS[0]}, {LONG_AXIS[1]}]: {last['rows'] / seconds:.0f} rows/s (target 800 in")
    print(f"bfloat16), {last['pieces']} pieces, {last['rows']} rows in {seconds:.1f} s")
    print(f"envelope and noise: {share:.0%} of the time (target under 25 %)")
    print("  " + ", ".join(f"{n} {v:.2f}" for n, v in parts.items()) + f", in all {seconds:.2f} s")
    print(f"peak memory: {max(r['peak_mib'] for r in long.runs) / 1024:.2f} GiB")


def _crossover(dtype: str) -> None:
    """From which length on a grid with shared prefixes gives the same curve for fewer rows.

    Both are read off the same dials. A grid computes one row per distinct prefix among its points; the axis one per
    distinct prefix at all. In return the axis averages all texts around a grid point, which differ less than draws
    do: at equal precision of the curve (mean log-probability, averaged over a grid cell) a grid needs more draws.
    """
    import poise

    engine = poise.load("smollm2", dtype=dtype)
    with tempfile.TemporaryDirectory() as folder:
        options = {"study": Path(folder) / "cross.db", "draws": CROSS_DRAWS, "max_tokens": CROSS_TOKENS}
        dials = poise.dial(engine, PROMPT, "temperature", *AXIS, **options)
    grid = np.linspace(*AXIS, POINTS)
    found: int | None = None
    print(f"\n{POINTS} points with shared prefixes against the whole axis, {CROSS_DRAWS} draws:")
    for length in (8, 16, 24, 32, 48, 64, 96, 128):
        chosen = [d.piece_at(float(v)) for d in dials for v in grid]
        axis_rows = sum(len({p.prefix[:t] for d in dials for p in d.pieces}) for t in range(1, length))
        grid_rows = sum(len({p.prefix[:t] for p in chosen}) for t in range(1, length))
        more = _more_draws(dials, grid, length)
        costs = f"axis {axis_rows} rows, grid {grid_rows}"
        print(f"  {length:4} tokens: {costs}; for the same precision {more:.2f} times the draws")
        dearer = axis_rows > grid_rows * more
        found = (found or length) if dearer else None
    if found is None:
        print(f"crossover: beyond {CROSS_TOKENS} tokens; up to there the whole axis is the cheaper way")
    else:
        print(f"crossover: from about {found} tokens on, a {POINTS}-point grid gives the same curve for fewer rows")


def _more_draws(dials: object, grid: np.ndarray, length: int) -> float:
    """How many times the draws a grid needs: variance of values at its points over that of averages of its cells."""
    half = (grid[1] - grid[0]) / 2
    points, cells = [], []
    for d in dials:  # type: ignore[attr-defined]
        points.append([_mean(d.piece_at(float(v)), length) for v in grid])
        row = []
        for v in grid:
            low, high = max(d.low, v - half), min(d.high, v + half)
            inside = [(max(p.low, low), min(p.high, high), p) for p in d.pieces if p.high > low and p.low < high]
            row.append(sum((b - a) * _mean(p, length) for a, b, p in inside) / (high - low))
        cells.append(row)
    return float(np.mean(np.var(points, axis=0, ddof=1)) / np.mean(np.var(cells, axis=0, ddof=1)))


def _mean(piece: object, length: int) -> float:
    return float(np.mean(piece.completion.logprobs[:length]))  # type: ignore[attr-defined]


def _seconds(contender: Contender) -> float:
    return statistics.median(r["seconds"] for r in contender.runs)


if __name__ == "__main__":
    main()
