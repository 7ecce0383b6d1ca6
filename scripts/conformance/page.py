"""docs/conformance.md from the figures of the last runs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.conformance import golden
from scripts.conformance.judge import FLOAT32, NEAR, PROBABILITY, Score
from scripts.conformance.known import CANNOT, KNOWN

from poise.dialects import DIALECTS, Dialect
from poise.params import FOLLOWERS

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE, FIGURES = ROOT / "docs" / "conformance.md", ROOT / "docs" / "conformance.json"
BEGIN, END = "<!-- figures: written by `python -m scripts.conformance` -->", "<!-- end of the figures -->"
ENGINES = ("transformers", "vllm", "llama.cpp", "sglang", "mlx", "ollama")
OUTCOMES = ("equal", "boundary", "tie", "different")
HOW = {
    "transformers": "its processors, in process, in the order of `_get_logits_processor`",
    "llama.cpp": "its samplers on candidate arrays, in process, in its default order and in random ones",
    "vllm": "the functions of its sampler, in its own environment",
    "sglang": "its penalisers and its sampler for PyTorch",
    "mlx": "its processors and cuts, in its own environment",
    "ollama": "its own test vectors alone",
}
Figures = dict[str, dict[str, Any]]


def kept() -> Figures:
    """The figures of the last runs, by dialect."""
    return json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}


def keep(dialect: str, version: str, score: Score) -> None:
    """Put the figures of a run in the place of those before.

    Args:
        dialect: whose.
        version: of the engine.
        score: what was found.
    """
    steps = {"+".join(s): {o: c[o] for o in OUTCOMES} for s, c in sorted(score.counts.items())}
    figures = kept() | {
        dialect: {
            "version": version, "rows": score.rows, "undefined": score.undefined,
            "apart": max(score.apart.values(), default=0.0), "steps": steps,
        }
    }  # fmt: skip
    FIGURES.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def page() -> str:
    """The page with its figures written again."""
    text = PAGE.read_text(encoding="utf-8")
    part = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    written = "\n".join(_lines(kept()))
    return part.sub(lambda _: f"{BEGIN}\n\n{written}\n{END}", text)


def _lines(figures: Figures) -> Iterator[str]:
    yield "## Engines"
    yield ""
    yield from _table(
        ("dialect", "checked", "version", "rows", "comparisons", "differences", "boundary hits", "ties", "undefined"),
        (_engine_row(d, figures.get(d)) for d in ENGINES),
    )
    worst = max((f["apart"] for f in figures.values()), default=0.0)
    yield ""
    large = f"{PROBABILITY / FLOAT32:.0f}"
    yield f"Probabilities: at most {worst:.1e} apart, of {PROBABILITY:g} that are allowed; where the largest logit is"
    yield f"above {large}, as under very low temperatures, both are as many times larger, since float32 holds no more."
    yield ""
    yield "## Parameters"
    yield ""
    yield from _table(("parameter", *ENGINES), (_step_row(step, figures) for step in _steps()))
    yield ""
    yield "## Known differences"
    yield ""
    rows = ((k.dialect, k.parameter, k.engine, k.poise, k.shown) for k in KNOWN)
    yield from _table(("dialect", "parameter", "the engine", "poise", "known from"), rows)
    yield ""
    yield "## Not verified"
    yield ""
    yield from (f"* {line}" for line in CANNOT)
    yield ""
    yield "## Test vectors that are not of poise's law"
    yield ""
    yield from _table(("case", "why"), ((f"`{case}`", why) for case, why in golden.ELSEWHERE.items()))


def _engine_row(dialect: str, found: Mapping[str, Any] | None) -> tuple[str, ...]:
    if found is None:
        return dialect, HOW[dialect], f"read: {DIALECTS[dialect].version}", *["–"] * 6
    total: Counter[str] = Counter()
    for counts in found["steps"].values():
        total.update(counts)
    numbers = (sum(total.values()), total["different"], total["boundary"], total["tie"], found["undefined"])
    return dialect, HOW[dialect], found["version"], f"{found['rows']:,}", *(f"{n:,}" for n in numbers)


def _steps() -> list[str]:
    """Every step of a dialect, in the order of transformers."""
    return list(dict.fromkeys(s for d in ENGINES for s in DIALECTS[d].order))


def _step_row(step: str, figures: Figures) -> tuple[str, ...]:
    shaping = ", ".join(f"`{f}`" for f in FOLLOWERS.get(step, ()))
    shown = f"`{step}`" + (f" ({shaping})" if shaping else "")
    return shown, *(_cell(step, DIALECTS[d], figures.get(d)) for d in ENGINES)


def _cell(step: str, dialect: Dialect, found: Mapping[str, Any] | None) -> str:
    if not dialect.has(step):
        return "–"
    vectors = sum(step in c.params.steps for c in golden.CASES if c.params.dialect == dialect.name)
    many = f"{vectors} vector{'s' * (vectors > 1)}"
    more = f"; {many}" if vectors else ""
    total: Counter[str] = Counter()
    for names, counts in (found or {"steps": {}})["steps"].items():
        if step in names.split("+"):
            total.update(counts)
    if total:
        odd = [f"{total[o]:,} {w}" for o, w in (("different", "**differences**"), ("boundary", "at a boundary"),
                                               ("tie", "ties")) if total[o]]  # fmt: skip
        beside = f" ({', '.join(odd)})" if odd else ""
        return f"run, {sum(total.values()):,} rows{beside}{more}"
    if step in dialect.extensions:
        return f"extension{more}"
    return many if vectors else "read"


def _table(heads: tuple[str, ...], rows: Any) -> Iterator[str]:
    for row in (heads, ["---"] * len(heads), *rows):
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"


assert NEAR == 1e-6  # as the page says
