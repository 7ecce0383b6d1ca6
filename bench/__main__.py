"""`make bench`: poise beside the article's loop and transformers' generate; with --vllm beside vLLM too."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping

from bench.contenders import Contender, settings_of
from bench.work import DRAWS, TEMPERATURES, TOKENS

TARGETS = {"article": 35.0, "generate": 7.0, "vllm": 2.0}
SAID = {
    "poise_sweep": "poise, the whole sweep",
    "article": "the article's loop, one generate a text",
    "generate": f"transformers generate, {DRAWS} draws a call",
    "vllm": "vLLM, CPU build, warm",
}


def main() -> None:
    """Run all contenders in turn, several times, and print medians."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="paired runs, 5 by default")
    parser.add_argument("--vllm", help="python of an environment with vLLM's CPU build")
    parser.add_argument("--dtype", default="", help="bfloat16 or float32; by default what poise takes here")
    asked = parser.parse_args()
    settings = settings_of(asked.dtype)
    print(f"{len(TEMPERATURES)} temperatures 0 to {TEMPERATURES[-1]}, {DRAWS} draws, {TOKENS} tokens, {settings}")
    names = ["vllm"] if asked.vllm else ["article", "generate"]
    pythons = {"vllm": asked.vllm}
    ours = Contender("poise_sweep", sys.executable, settings)
    peers = [Contender(n, pythons.get(n) or sys.executable, settings) for n in names]
    for i in range(asked.runs):
        for contender in ([ours, *peers], [*peers, ours])[i % 2]:
            contender.run()
            last = contender.runs[-1]
            print(f"  run {i + 1}: {contender.name} {last['tokens'] / last['seconds']:.0f} tokens/s", flush=True)
    _table(ours, peers)
    for contender in (ours, *peers):
        contender.close()
    if not asked.vllm:
        _ours_alone(ours, settings)
        _start(settings)


def _table(ours: Contender, peers: list[Contender]) -> None:
    print(f"\n{'':44}{'tokens/s':>10}{'ratio':>8}{'target':>8}")
    print(f"{SAID['poise_sweep']:44}{statistics.median(ours.rates()):>10.0f}")
    for peer in peers:
        ratio = statistics.median(a / b for a, b in zip(ours.rates(), peer.rates(), strict=True))
        rate = statistics.median(peer.rates())
        print(f"{SAID[peer.name]:44}{rate:>10.0f}{ratio:>7.1f}x{TARGETS[peer.name]:>7.0f}x")
        if peer.name == "vllm":
            cold = [p.ready["loaded"] + statistics.median(r["seconds"] for r in p.runs) for p in (peer, ours)]
            print(f"{'vLLM, counting start-up':44}{'':10}{cold[0] / cold[1]:>7.1f}x{8:>7.0f}x")
            print(f"  start-up: vLLM {peer.ready['loaded']:.1f} s, poise {ours.ready['loaded']:.1f} s")


def _ours_alone(ours: Contender, settings: Mapping[str, str]) -> None:
    runs = ours.runs
    seconds = statistics.median(r["seconds"] for r in runs)
    parts = {name: statistics.median(r["split"].get(name, 0.0) for r in runs) for name in runs[-1]["split"]}
    rest = seconds - sum(parts.values())
    print("\nwhere the time goes, median seconds of a run:")
    print("  " + ", ".join(f"{n} {v:.2f}" for n, v in parts.items()) + f", the rest {rest:.2f}, in all {seconds:.2f}")
    tokens, rows = runs[-1]["tokens"], runs[-1]["rows"]
    print(f"rows computed: {rows} for {tokens} tokens, {1 - rows / tokens:.0%} saved by sharing")
    print(f"peak memory: {max(r['peak_mib'] for r in runs) / 1024:.2f} GiB (target 2 GB)")
    doubled = Contender("poise_doubled", sys.executable, settings)
    for _ in range(3):
        doubled.run()
    doubled.close()
    twice = statistics.median(r["seconds"] for r in doubled.runs) / seconds
    last = doubled.runs[-1]
    saved = 1 - last["rows"] / last["tokens"]
    print(f"twice the settings in the same range: {twice:.2f} times the time, {saved:.0%} of rows saved (target < 2)")


def _start(settings: Mapping[str, str]) -> None:
    load = f"import poise; poise.load('smollm2', dtype='{settings['BENCH_DTYPE']}')"
    shown = "from poise.cli import run; run(['--help'])"
    timed = (("import poise", "import poise", 0.1), ("poise --help", shown, 0.3), ("load the cached model", load, 3.0))
    for said, code, target in timed:
        times = sorted(_spent(code) for _ in range(5))
        print(f"{said}: median {times[2]:.2f} s (target {target} s)")
    loaded = "import sys, poise; sys.exit(bool({'torch', 'scipy', 'pydantic'} & set(sys.modules)))"
    light = subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0
    print(f"`import poise` leaves torch, scipy and pydantic alone: {light}")


def _spent(code: str) -> float:
    """Seconds that a fresh interpreter needs for `code`, its own start taken off."""
    timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    said = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout
    return float(said.split()[-1])


if __name__ == "__main__":
    main()
