"""Contenders: each in a process of its own, stopped while the others run."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent


class Contender:
    """A worker process; see worker.py for the protocol."""

    def __init__(self, name: str, python: str, settings: Mapping[str, str]) -> None:
        self.name = name
        said = {**os.environ, **settings, "BENCH_START": str(time.time()), "PYTHONPATH": str(HERE)}
        self.process = subprocess.Popen(
            [python, "-m", "bench.worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if name.startswith("vllm") else None,
            text=True,
            env=said,
            cwd=HERE,
            start_new_session=True,  # a group of its own, to be stopped and continued whole
        )
        atexit.register(self.kill)
        self.ready = self._read()
        self.pause()
        self.runs: list[dict[str, Any]] = []

    def run(self) -> None:
        """One measured run, while the others are stopped: some poll when they have nothing to do."""
        assert self.process.stdin is not None
        os.killpg(self.process.pid, signal.SIGCONT)
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.runs.append(self._read())
        self.pause()

    def pause(self) -> None:
        """Stop the whole group."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        os.killpg(self.process.pid, signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait(60)

    def kill(self) -> None:
        """Nothing stopped is left behind, whatever ended this process."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)

    def rates(self) -> list[float]:
        """Tokens per second of each run."""
        return [r["tokens"] / r["seconds"] for r in self.runs]

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(
                f"{self.name} stopped: {self.process.stderr.read()[-2000:] if self.process.stderr else 'see above'}"
            )
        read: dict[str, Any] = json.loads(line)
        return read


def settings_of(dtype: str) -> dict[str, str]:
    """What all contenders are told: the dtype, by default what poise takes here, and where the model lies."""
    return {"BENCH_DTYPE": dtype or _dtype(), "BENCH_MODEL": _directory()}


def _dtype() -> str:
    code = "import poise; print(poise.load('smollm2').fingerprint.dtype)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _directory() -> str:
    from poise import models
    from poise.engines import conversion

    return str(models.find("smollm2", convert=conversion.convert).directory)
