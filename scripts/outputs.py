"""Runs the commands of the README's console blocks and writes what they print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
SHOWN_HOME = "~/.local/share/poise"  # what stands in the README for the home of this run

Runner = Callable[[list[str]], str]


def rewritten(readme: str, run: Runner) -> str:
    """The README with every console block's commands run again, in order.

    Args:
        readme: its text.
        run: takes the words after `poise`, gives what was printed to stdout.
    """
    return BLOCK.sub(lambda block: f"```console\n{_run_block(block[1], run)}```", readme)


def _run_block(block: str, run: Runner) -> str:
    said = []
    for line in block.splitlines():
        if line.startswith("$ "):
            said.append(f"{line}\n{run(shlex.split(line)[2:]).rstrip()}\n")
    return "".join(said)


def main() -> int:
    """Rewrite the README in place, with a home of its own."""
    with tempfile.TemporaryDirectory() as home:
        cache = os.environ.get("POISE_CACHE") or str(_cache())
        env = {**os.environ, "POISE_HOME": home, "POISE_CACHE": cache, "COLUMNS": "100"}

        def run(words: list[str]) -> str:
            command = [sys.executable, "-c", "from poise.cli import main; main()", *words]
            done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
            return done.stdout.replace(home, SHOWN_HOME)

        README.write_text(rewritten(README.read_text(encoding="utf-8"), run), encoding="utf-8")
    return 0


def _cache() -> Path:
    from poise.models import cache_root

    return cache_root()


if __name__ == "__main__":
    sys.exit(main())
