"""Which decoding settings to use, and what each of them really does."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Every public name and the module that defines it. Names load on first use, so that
# `import poise` stays fast and needs no library at all.
_WHERE = {
    "Completion": "poise.records",
    "Prompt": "poise.records",
    "SamplingParams": "poise.params",
    "grid": "poise.params",
    "load": "poise.engines",
}

if TYPE_CHECKING:
    from poise.engines import load as load
    from poise.params import SamplingParams as SamplingParams
    from poise.params import grid as grid
    from poise.records import Completion as Completion
    from poise.records import Prompt as Prompt

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"poise has no {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
