"""Simulates known truths and writes docs/honesty.md and docs/winners-curse.md."""

# ruff: noqa: E501  what it writes is prose

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poise.families import compare_all
from poise.holdouts import gain
from poise.races import Rules, race
from poise.samples import Sample
from poise.stats import UNBOUNDED, Bounds, difference_interval
from poise.verdicts.case import sizes_of

Matrix = NDArray[np.float64]
DOCS = Path(__file__).resolve().parent.parent / "docs"
STUDIES, RACES, TUNED = 500, 40, 200
PROMPTS = (8, 16, 32, 64)


def _normal(rng: np.random.Generator, n: int, k: int) -> Matrix:
    return rng.normal(size=(n, k)) * 0.5 + rng.normal(size=(n, 1))


def _exponential(rng: np.random.Generator, n: int, k: int) -> Matrix:
    return np.asarray(rng.exponential(size=(n, k)) * np.linspace(1, 1.5, k))


def _lognormal(rng: np.random.Generator, n: int, k: int) -> Matrix:
    return np.asarray(rng.lognormal(0, 1, (n, k)) * np.linspace(1, 1.5, k))


def _rates(rng: np.random.Generator, n: int, k: int) -> Matrix:
    return np.asarray(rng.binomial(4, rng.beta(2, 2, (n, 1)), (n, k)) / 4)


def _rare(rng: np.random.Generator, n: int, k: int) -> Matrix:
    return np.asarray(rng.binomial(4, rng.beta(0.3, 5, (n, 1)), (n, k)) / 4)


Draw = Callable[[np.random.Generator, int, int], Matrix]
KINDS: dict[str, tuple[Draw, float, bool]] = {  # draws, true difference of the last setting to the first, a share
    "normal": (_normal, 0.0, False),
    "exponential": (_exponential, 0.5, False),
    "lognormal": (_lognormal, 0.5 * float(np.exp(0.5)), False),
    "rates": (_rates, 0.0, True),
    "rare rates": (_rare, 0.0, True),
}


def honesty() -> Iterator[str]:
    """docs/honesty.md."""
    yield "# Honesty, measured\n"
    yield (
        "Every number on this page comes from `python -m scripts.honesty`, which simulates studies whose truth is known. "
        "The same properties, and whole studies on the fake engine, are tested by `make check-slow` "
        "(`tests/test_honesty.py`), each with its false-alarm rate. How verdicts are computed: "
        "[verdict-statistics.md](verdict-statistics.md).\n"
    )
    yield "## Intervals of paired differences\n"
    yield (
        f"95 % intervals of the difference of two settings (`poise compare`, *delivered*), {STUDIES:,} studies per cell. "
        "*Withheld*: too few prompts differ to say. *Width*: the median, over that of the interval one could give if the "
        "spread were known.\n"
    )
    yield "| values | prompts | held the truth | withheld | width |\n|---|---|---|---|---|"
    yield from (_covered(name, n) for name in KINDS for n in PROMPTS)
    yield "\n## Settings that are all the same\n"
    yield (
        "Share of studies in which any setting was claimed to be better or worse than any other, over all pairs; looked "
        "at once, and in rounds. It should be at most 5 %.\n"
    )
    yield "| values | prompts | settings | claims, one look | claims, in rounds | studies |\n|---|---|---|---|---|---|"
    yield from (
        _claimed(name, n, k) for name in ("normal", "rates", "rare rates") for n, k in ((8, 3), (24, 8), (64, 16))
    )
    yield "\n## Stopping early\n"
    yield from _early()


def _covered(name: str, n: int) -> str:
    draw, truth, share = KINDS[name]
    held = withheld = 0
    widths, known = [], []
    for seed in range(STUDIES):
        values = draw(np.random.default_rng(seed), n, 2)
        bounds = Bounds(0.0, 1.0, 4.0 * n) if share else UNBOUNDED
        found = difference_interval([values[:, 0]], [values[:, 1]], bounds)
        known.append(float((values[:, 1] - values[:, 0]).var(ddof=1)))
        if found.low is None or found.high is None:
            withheld += 1
            continue
        held += found.low <= truth <= found.high
        widths.append(found.high - found.low)
    given = STUDIES - withheld
    reach = 2 * 1.96 * (float(np.mean(known)) / n) ** 0.5
    rate = f"{held / given:.1%}" if given else "–"
    return f"| {name} | {n} | {rate} | {withheld / STUDIES:.0%} | {np.median(widths) / reach:.2f} |"


def _claimed(name: str, n: int, k: int) -> str:
    draw, _, share = KINDS[name]
    studies = {3: 250, 8: 120, 16: 60}[k]
    bounds = Bounds(0.0, 1.0, 4.0 * n) if share else UNBOUNDED
    rules = Rules(sizes_of(n), tuple(range(k)), +1, bounds=bounds)
    one = many = 0
    for seed in range(studies):
        values = draw(np.random.default_rng(seed), n, k)
        one += bool(compare_all([values], bounds).detected.any())
        many += bool(race([values], rules).fallen)
    return f"| {name} | {n} | {k} | {one / studies:.1%} | {many / studies:.1%} | {studies} |"


def _early() -> Iterator[str]:
    """The published scenario, and two in which there is little to save."""
    delta = 0.65
    cases = {
        "16 settings: 4 within δ, 12 of them 2δ to 6δ worse": [0, -0.3, -0.6, -0.9, *np.linspace(-2, -6, 12)],
        "2 settings, 3δ apart": [0, -3],
        "16 settings, none different": [0.0] * 16,
    }
    yield (
        "96 prompts, of which 64 choose and 32 check; normal values, the spread of a prompt's difference is δ / 0.65. "
        "Texts are counted against the plan that draws every prompt under every setting.\n"
    )
    yield "| settings | texts | at most | the best was kept |\n|---|---|---|---|"
    for name, worse in cases.items():
        means = np.array(worse) * delta
        rules = Rules(sizes_of(64), tuple(range(len(means))), +1, matters=delta)
        shares, kept = [], 0
        for seed in range(RACES):
            values = np.random.default_rng(seed).normal(size=(64, len(means))) / 2**0.5 + means
            found = race([values], rules)
            asked = sum(found.fallen[k].units if k in found.fallen else found.seen[-1] for k in range(len(means)))
            shares.append((asked + 32 * min(3, len(means))) / (96 * len(means)))
            kept += 0 in found.alive
        yield f"| {name} | {np.mean(shares):.0%} | {max(shares):.0%} | {kept} of {RACES} |"


def curse() -> Iterator[str]:
    """docs/winners-curse.md."""
    yield "# The winner's curse\n"
    yield (
        "Try 11 settings on 50 prompts, print the one with the best mean, and quote its gain over the default. Here is what "
        f"that promises and what it delivers, over {TUNED} simulated studies whose truth is known "
        "(`python -m scripts.honesty`, fixed seeds).\n"
    )
    yield (
        "Each prompt is answered by 10 draws that are right or wrong; prompts differ a lot, settings not at all or by a "
        "little. The default is the first setting. Two thirds of the prompts choose; the last third checks.\n"
    )
    yield (
        "| truth | best mean: promised | delivered on other prompts | its true gain | its interval held the truth | "
        "poise recommends the default | poise: promised | poise: true gain | its interval held the truth |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, gains in (("no setting differs", np.zeros(11)), ("one is 2 points better", np.eye(11)[5] * 0.02),
                        ("one is 15 points better", np.eye(11)[5] * 0.15)):  # fmt: skip
        yield _tuned(name, gains)
    yield (
        "\nThe best of eleven means is chosen because it came out high: what it promises is luck for the most part, and "
        "other prompts take the luck back. poise says nothing of a difference that it cannot tell from luck, keeps the "
        "default there, and where it does recommend another setting its interval is one that holds for all settings at "
        "once. `poise decide` prints both, the best mean's promise and what it delivered, on every study of yours.\n"
    )
    yield (
        "On public data the same happens: in the answers of nine models to multiple-choice questions at 11 temperatures "
        "(Renze and Guven 2024), tuning on 50 questions promises 4.5 points and delivers 0.85."
    )


def _tuned(name: str, gains: Matrix) -> str:
    promised, delivered, true, held, kept, said, real, right = [], [], [], 0, 0, [], [], 0
    for seed in range(TUNED):
        rng = np.random.default_rng(seed)
        chance = 0.85 * rng.beta(1.2, 1.2, (50, 1)) + gains  # at most 1
        truth = gains
        values = rng.binomial(10, chance) / 10
        choose, check = values[:33], values[33:]
        bounds = Bounds(0.0, 1.0, 330.0)
        best = int(np.argmax(choose.mean(axis=0)))
        first = gain(Sample((choose,), "use_case", tuple(range(33)), bounds, ""), 0, best, False, "chose it")
        other = gain(Sample((check,), "use_case", tuple(range(17)), bounds, ""), 0, best, False)
        promised.append(first.difference or 0.0)
        delivered.append(other.difference or 0.0)
        true.append(truth[best] - truth[0])
        held += first.low is not None and first.high is not None and first.low <= true[-1] <= first.high
        found = compare_all([choose], bounds)
        beaten = (found.detected & (found.difference > 0)).any(axis=1)
        pick = (
            0 if not beaten[0] else max(np.flatnonzero(~beaten & found.detected[0]), key=lambda k: choose[:, k].mean())
        )
        kept += pick == 0
        said.append(found.difference[0, pick])
        real.append(truth[pick] - truth[0])
        right += found.low[0, pick] - 1e-9 <= real[-1] <= found.high[0, pick] + 1e-9

    def points(x: list[float]) -> str:
        return f"{100 * float(np.mean(x)):+.1f}".replace("-", "−")

    cells = (name, points(promised), points(delivered), points(true), f"{held / TUNED:.0%}", f"{kept / TUNED:.1%}",
             points(said), points(real), f"{right / TUNED:.0%}")  # fmt: skip
    return f"| {' | '.join(cells)} |"


PAGES = {"honesty.md": honesty, "winners-curse.md": curse}


def main(names: Sequence[str]) -> int:
    """Write the pages named, or both."""
    for name in names or PAGES:
        (DOCS / name).write_text("\n".join(PAGES[name]()) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
