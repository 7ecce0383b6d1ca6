"""This machine: its processor and memory, as far as they tell."""

from __future__ import annotations

import itertools
import platform
import re
import sys
from pathlib import Path


def processor() -> str:
    """What tells one model of processor from another: kernels are chosen by it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            first = "".join(itertools.takewhile(str.strip, lines))
    except OSError:
        return f" {platform.processor()}".rstrip()
    said = dict(re.findall(r"^(cpu family|model|stepping|CPU part)\s*:\s*(\S+)", first, re.MULTILINE))
    return "".join(f" {name} {value}" for name, value in said.items())


def free_memory() -> int:
    """Main memory that could be taken now, bytes."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = next(line for line in lines if line.startswith("MemAvailable:"))
        return min(int(found.split()[1]) * 1024, _container_bytes())
    except (OSError, StopIteration):
        return 4 << 30  # no way to ask: assume a small machine


def _container_bytes() -> int:
    """What a container's limit leaves, bytes; the host's figures do not know it."""
    v1, v2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    for limit, used in (
        (v2 / "memory.max", v2 / "memory.current"),
        (v1 / "memory.limit_in_bytes", v1 / "memory.usage_in_bytes"),
    ):
        try:
            return int(limit.read_text()) - int(used.read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return sys.maxsize
