"""Writes docs/article.md, the article's claims judged, from a study."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import poise
from poise.escapes import visible
from poise.reports.claims import ClaimResult
from poise.reports.page import MARKS
from poise.study import Study
from poise.verdicts import Verdict
from poise.verdicts.words import sentences, table

PAGE = Path(__file__).resolve().parent.parent / "docs" / "article.md"
COMMANDS = (
    "poise demo --study article.db",
    "poise sweep smollm2 -f creative-story -f technical-explanation --temperature 0.2,0.5,0.7,0.9 --draws 4 "
    "--max-tokens 96 --min-tokens 64 --text --study article.db",
    "poise decide article.db",
)
INTRO = """# The article, judged

*Decoding LLM Parameters, Part 1: Temperature* draws one text at a few temperatures, reads them and concludes. Here its
prompts and more of their kind are drawn many times over, and each of its claims is a paired test fixed beforehand: the
outcome may be that no difference could be seen, and then the page says how large one would have had to be.

This page is written from the study of one full run:

```sh
{commands}
```

and `python -m scripts.article article.db`. {made}
"""


def page(study: Study) -> str:
    """The page.

    Args:
        study: that `poise demo` drew.
    """
    held = study.fingerprint
    versions = ", ".join(f"{k} {v}" for k, v in sorted(held.provenance.items()) if k in ("torch", "device", "poise"))
    made = (
        f"The model is `{held.model}` in {held.dtype} ({versions}); the study holds {study.count():,} texts. On "
        "another kind of machine single texts may come out otherwise, and with them the last digits."
    )
    claims = poise.check_claims(study)
    parts = [INTRO.format(commands="\n".join(COMMANDS), made=made), *_tally(claims)]
    for name in dict.fromkeys(c.use_case for c in claims):
        parts += [f"## {name}\n", *(_claim(c) for c in claims if c.use_case == name)]
    verdicts = poise.decide(study)
    parts += [
        "## So which temperature?\n",
        "The claims compare two temperatures. The verdict compares all that were drawn, by the goal of the use case, "
        "and measures its choice again on prompts that did not choose it. [How to read it](decide.md).\n",
    ]
    parts += [part for v in verdicts for part in _verdict(v)]
    return visible("\n".join(parts)).rstrip() + "\n"


def _tally(claims: Sequence[ClaimResult]) -> Iterator[str]:
    counts = {status: sum(c.status == status for c in claims) for status in MARKS}
    said = [f"{n} {status}" for status, n in counts.items() if n]
    yield f"**{len(claims)} claims, by use case: {', '.join(said)}.**\n"


def _claim(claim: ClaimResult) -> str:
    lines = [f"### {MARKS[claim.status]} {claim.status}: {claim.claim.said}", ""]
    lines += [f"- {_plain(number)}" for number in claim.numbers]
    lines += [f"- {_plain(claim.reason)}"] if claim.reason else []
    lines += [f"- Not judged: {claim.claim.beyond}."] if claim.claim.beyond else []
    return "\n".join(lines) + "\n"


def _verdict(v: Verdict) -> Iterator[str]:
    first, *others = sentences(v)
    yield f"### {v.use_case}\n"
    yield f"Goal: {_plain(str(v.goal))}.\n"
    yield f"**{_plain(first)}**\n"
    yield "\n".join(f"- {_plain(s)}" for s in others) + "\n"
    found = table(v)
    heads = [h.strip() or "why not" for h in found.head]
    rows = ["| " + " | ".join(_plain(cell) for cell in row) + " |" for row in found.rows]
    yield "\n".join(["| " + " | ".join(map(_plain, heads)) + " |", "|---" * len(heads) + "|", *rows]) + "\n"


def _plain(text: str) -> str:
    """Nothing that Markdown would take for its own."""
    for mark in "\\`*_<>|[]":
        text = text.replace(mark, f"\\{mark}")
    return text


def main(words: Sequence[str]) -> int:
    """Write the page from the study named."""
    if len(words) != 1:
        sys.stderr.write("python -m scripts.article STUDY\n")
        return 2
    with Study.open(words[0], read_only=True) as study:
        PAGE.write_text(page(study), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
