"""The dial page as text: complete, escaped, small."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest

import poise
from poise.engines.fake import HOSTILE, FakeEngine
from poise.errors import UsageError
from poise.pieces import Dial, Dials, Found, tile
from poise.records import Completion, Prompt, Request
from poise.reports.dialdata import zones
from poise.spans import Cut, Span


def page_of(engine: FakeEngine, folder: Path, **options: object) -> tuple[Path, Dials]:
    """A page of dials over [0, 1.5]."""
    with poise.Study.open(folder / "s.db") as study:
        dials = poise.dial(engine, "a ship", "temperature", 0, 1.5, study=study, forks=True, **options)  # type: ignore[arg-type]
        return poise.dial_report(study, dials, folder / "dial.html", engine=engine), dials


def data_of(page: Path) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def texts_of(draw: dict) -> list[str]:
    """What the page's script makes of the pieces."""
    text, made = "", []
    for piece in draw["pieces"]:
        units = text.encode("utf-16-le", "surrogatepass")[: 2 * piece[2]]
        text = units.decode("utf-16-le", "surrogatepass") + piece[3]
        made.append(text)
    return made


def test_the_page_holds_every_text_of_every_piece(tmp_path: Path) -> None:
    page, dials = page_of(FakeEngine(), tmp_path, draws=5, max_tokens=24)
    data = data_of(page)
    [prompt] = data["prompts"]
    assert len(prompt["draws"]) == 4, "four stand side by side"
    for draw, dial in zip(prompt["draws"], dials, strict=False):
        assert texts_of(draw) == [p.text.lstrip(" ") for p in dial.pieces if p.text is not None]
        assert [p[:2] for p in draw["pieces"]] == [[p.low, int(not p.low_closed)] for p in dial.pieces]
    assert prompt["forks"]
    assert [c["name"] for c in data["curves"][0]] == ["distinct_texts", "loop_rate", "nll"]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    engine = FakeEngine(HOSTILE, name="</title><script>alert(9)</script>")
    page, _ = page_of(engine, tmp_path, draws=4, max_tokens=12)
    html = page.read_text("utf-8")
    assert html.count("<script") == 2
    assert "alert(1)" not in re.sub(r'<script type="application/json".*?</script>', "", html, flags=re.DOTALL)
    assert not re.search("[\x00-\x08\x1b\u202a-\u202e\u2028]", html)


def test_two_thousand_pieces_fit_into_three_megabytes(tmp_path: Path) -> None:
    page = big_page(tmp_path)
    assert page.stat().st_size < 3e6


def big_page(folder: Path) -> Path:
    """Four draws of 500 pieces, 200 tokens each; every piece departs somewhere from the one before."""
    engine, rng, dials = FakeEngine(), np.random.default_rng(0), []
    prompt = Prompt("a ship")
    ids = engine.encode(prompt)
    for draw in range(4):
        request = Request(prompt, ids, poise.SamplingParams(), 0, draw, 200)
        cuts = [0.0, *np.sort(rng.uniform(0, 1.5, 499)).tolist(), 1.5]
        text = rng.integers(1, 12, 200)
        found = []
        for low, high in itertools.pairwise(cuts):
            text = text.copy()
            at = int(rng.integers(0, 200))
            text[at:] = rng.integers(1, 12, 200 - at)
            tokens = tuple(text.tolist())
            done = Completion(request, engine.decode(tokens), tokens, (-1.0,) * 200, "length")
            found.append(Found(Span(Cut(low), Cut(high, after=high == 1.5)), done, tokens))
        dials.append(Dial(request, "temperature", 0.0, 1.5, tile(found)))
    with poise.Study.open(folder / "big.db") as study:
        study.bind(engine.fingerprint)
        return poise.dial_report(study, dials, folder / "big.html", engine=engine)


def test_an_unfinished_stretch_says_so(tmp_path: Path) -> None:
    page, dials = page_of(FakeEngine(), tmp_path, max_tokens=24, max_rows=120)
    known = [p[5] for p in data_of(page)["prompts"][0]["draws"][0]["pieces"]]
    assert known == [int(p.known) for p in dials.pieces]
    assert 0 in known


def test_zones_are_named_only_where_measured() -> None:
    """Two draws: both loop up to 0.5, neither does from 1.0 on; in between one does: half is "repeats" still."""
    loop, other = (7, 8) * 16, tuple(range(32))
    made = []
    for draw, stop in enumerate((0.5, 1.0)):
        request = Request(Prompt("p"), (1,), poise.SamplingParams(), 0, draw, 32)
        free = tuple(reversed(other)) if draw else other
        parts = [(0.0, stop, loop), (stop, 1.5, free)]
        found = [
            Found(Span(Cut(a), Cut(b, after=b == 1.5)), Completion(request, "", t, (-1.0,) * 32, "length"), t)
            for a, b, t in parts
        ]
        made.append(Dial(request, "temperature", 0.0, 1.5, tile(found)))
    assert zones(made) == [(0.0, 1.0, "repeats"), (1.0, 1.5, "varies")]
    assert zones(made[:1]) == []


def test_a_page_goes_to_a_file(tmp_path: Path) -> None:
    engine = FakeEngine()
    with poise.Study.open(tmp_path / "s.db") as study:
        dials = poise.dial(engine, "a ship", "temperature", 0, 1, max_tokens=4, study=study)
        with pytest.raises(UsageError, match="goes to a file"):
            poise.dial_report(study, dials, tmp_path, engine=engine)
