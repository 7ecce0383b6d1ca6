"""Runs `poise` in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SWEEP = ["sweep", "fake", "Once upon a time", "--temperature", "0.3,0.9", "--max-tokens", "24"]


class Ended(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


def spawn(*words: str, home: Path, **more: str) -> subprocess.Popen[str]:
    env = {**os.environ, "POISE_HOME": str(home), **more}
    command = [sys.executable, "-c", "from poise.cli import main; main()", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
