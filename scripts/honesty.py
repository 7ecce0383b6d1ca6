"""Simulates known truths and writes docs/honesty.md and docs/winners-curse.md."""

# ruff: noqa: E501  what it writes is prose

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.curse import curse, draw
from scripts.simulations import (
    CHECK,
    CHOOSE,
    DELTA,
    FEW_PROMPTS,
    SAME,
    SCENARIOS,
    Covered,
    Same,
    best_kept,
    claims_in_rounds,
    claims_of,
    cover_all,
    cover_one,
    fixed_power,
    least_rate,
    rounds,
)
from scripts.studies import same_law
from scripts.worlds import WORLDS

from poise.engines.fake import FakeEngine

DOCS = Path(__file__).resolve().parent.parent / "docs"
PROMPTS = (8, 16, 32, 64)
ONE, FOUR, SIXTEEN, ALIKE, RACES = 2_000, 300, 100, 50, 200  # studies a cell
INTRO = """# Honesty, measured

Every number on this page comes from `python -m scripts.honesty`, which makes studies whose truth is known and looks at
what poise says of them. Seeds are fixed. `make check-slow` tests the same properties and more (`tests/test_honesty.py`),
each test with its rate of false alarms; `make test` repeats some cells of this page. How intervals and verdicts are
computed: [verdict-statistics.md](verdict-statistics.md). What is left out of account without them:
[winners-curse.md](winners-curse.md).
"""
ONE_SAID = """## Two settings

95 % intervals of the difference of two settings (`poise compare`, *delivered*): in how many of {studies:,} studies they
held the truth, and their median width, as a multiple of the interval that one could give if the true spread were known.
Before anything is seen, a t interval is 1.21 times as wide at 8 prompts, and 1.09 times at 16.
"""
ALL_SAID = """## All settings at once

Simultaneous 95 % intervals of every pair (`poise decide`, *promised*): in how many studies all of them held the truth
at once ({four} studies with 4 settings, which make 6 pairs; {sixteen} with 16, which make 120). Width as above, against
the interval with the true spread and the same share of the error.
"""
WIDE = """
Where values are skewed or rare, and prompts few, the spread cannot be read off the sample, and intervals are wider
rather than wrong. The row where they hold least is meant to hurt: a constant, such as a greedy text that is the same
every time, against values with so long a tail that most samples miss it.
"""
SAME_SAID = """## A against A

Whole studies on the fake engine, decided by `poise decide`, whose settings all draw by one law: they differ by nothing
but luck. A claim is a setting out of the best set, or a difference to the baseline said to be there; at most 5 % of
studies may make one. {studies} studies of each kind.
"""
ROUNDS_SAID = """
Looking often finds something by chance often, unless the looks are planned. The same, with values as above (the first
setting of a row, many times over) and {studies} studies each: with one look at all prompts, and in rounds.
"""
EARLY_SAID = """## Stopping early

`--until-decided` on 96 prompts at 4 draws, of which {choose} choose and {check} check; normal values. A prompt's
difference has the spread δ / {delta}, so that the fixed plan, which draws every prompt under every setting, finds a
difference of δ in {power:.0%} of studies among all 120 pairs. Texts as a share of that plan's; {studies} races each.
"""


def honesty() -> Iterator[str]:
    """docs/honesty.md."""
    yield INTRO
    yield ONE_SAID.format(studies=ONE)
    heads = [f"{n} prompts" for n in PROMPTS]
    yield from _table(["values", "", *heads], [one_row(name) for name in WORLDS])
    yield "\n" + ALL_SAID.format(four=FOUR, sixteen=SIXTEEN)
    heads = [*(f"4 settings, {n} prompts" for n in PROMPTS), *(f"16, {n}" for n in PROMPTS[1:])]
    yield from _table(["values", *heads], [all_row(name) for name in WORLDS])
    yield WIDE
    yield from _same()
    yield from _best()
    yield from _early()


def one_row(name: str) -> list[str]:
    """A row of the first table: two settings of a world."""
    world = WORLDS[name]
    return [name, world.said, *(_covered(cover_one(world, n, ONE)) for n in PROMPTS)]


def all_row(name: str) -> list[str]:
    """A row of the second table: all settings of a world at once."""
    world = WORLDS[name]
    cells = [_covered(cover_all(world, n, 4, FOUR)) for n in PROMPTS]
    return [name, *cells, *(_covered(cover_all(world, n, 16, SIXTEEN)) for n in PROMPTS[1:])]


def _covered(found: Covered) -> str:
    withheld = f"; {found.withheld:.0%} withheld" if found.withheld >= 0.005 else ""
    return f"{found.held:.1%}, × {found.width:.2f}{withheld}"


def _same() -> Iterator[str]:
    engine = FakeEngine()
    supply = same_law(engine, 48, 100, 16, engine.vocab_size)
    yield SAME_SAID.format(studies=ALIKE)
    shapes = list(dict.fromkeys(k[1:] for k in SAME))
    rows, total = [], 0
    for metric in dict.fromkeys(k.metric for k in SAME):
        found = [claims_of(Same(metric, *shape), supply, ALIKE) for shape in shapes]
        total += sum(found)
        rows.append([metric, *map(str, found), f"{sum(found) / ALIKE / len(shapes):.1%}"])
    heads = [f"{k} settings, {p} prompts, {d} draws" for k, p, d in shapes]
    yield from _table(["claims in metric", *heads, "in all"], rows)
    studies = ALIKE * len(SAME)
    yield (
        f"\nIn all, {total} of {studies:,} studies make a claim, {total / studies:.1%}; with 99 % confidence the rate is "
        f"above {least_rate(total, studies):.1%}. With 2 prompts, which are then taken as they are, and 12 draws of "
        f"each: {sum(claims_of(k, supply, ALIKE) for k in FEW_PROMPTS)} of {ALIKE * len(FEW_PROMPTS)}."
    )
    yield ROUNDS_SAID.format(studies=RACES)
    rows = []
    for name in ("normal", "exponential", "rates", "rare rates"):
        for prompts, settings in ((16, 4), (64, 16)):
            once, often = claims_in_rounds(WORLDS[name], prompts, settings, RACES)
            rows.append([name, str(settings), str(prompts), f"{once / RACES:.1%}", f"{often / RACES:.1%}"])
    yield from _table(["values", "settings", "prompts", "one look", "in rounds"], rows)


def _best() -> Iterator[str]:
    yield (
        "\n## The best set\n\nIn how many of "
        f"{RACES} studies the truly best setting is in the best set, and how many settings are, on average.\n"
    )
    rows = []
    for name in ("normal", "exponential", "rates", "lengths"):
        for settings in (4, 16):
            cells = []
            for prompts in (16, 64):
                kept, size = best_kept(WORLDS[name], prompts, settings, RACES)
                cells += [f"{kept / RACES:.1%}", f"{size:.1f}"]
            rows.append([name, str(settings), *cells])
    yield from _table(["values", "settings", "16 prompts", "in the set", "64 prompts", "in the set"], rows)


def _early() -> Iterator[str]:
    rows = []
    for name, means in SCENARIOS.items():
        found = rounds(means, RACES)
        rows.append([name, f"{found.mean:.0%}", f"{found.most:.0%}", f"{found.kept / RACES:.1%}"])
    yield "\n" + EARLY_SAID.format(choose=CHOOSE, check=CHECK, delta=DELTA, power=fixed_power(RACES), studies=RACES)
    yield from _table(["settings", "texts", "at most", "the best was kept"], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in [heads, ["---"] * len(heads), *rows]:
        yield f"| {' | '.join(row)} |"


def main() -> int:
    """Write both pages."""
    for name, lines in (("honesty.md", honesty()), ("winners-curse.md", curse())):
        (DOCS / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (DOCS / "winners-curse.svg").write_text(draw(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
