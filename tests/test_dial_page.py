"""The dial page as text: complete, escaped, small."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import poise
from poise.branches import Budget
from poise.engines.fake import HOSTILE, FakeEngine
from poise.errors import UsageError
from poise.forks import Fork
from poise.pieces import Dial, Dials, Found, tile
from poise.records import Completion, Message, Prompt, Request
from poise.reports.dialdata import zones
from poise.spans import Cut, Span

Moving = tuple[str, float, float]
TEMPERATURE: Moving = ("temperature", 0, 1.5)


def page_of(engine: FakeEngine, folder: Path, moving: Moving = TEMPERATURE, **options: Any) -> tuple[Path, Dials]:
    """A page of dials, of the temperature over [0, 1.5] where nothing else is said."""
    prompt = options.pop("prompt", "a ship")
    budget = Budget(**{name: options[name] for name in Budget._fields if name in options})
    with poise.Study.open(folder / "s.db") as study:
        dials = poise.dial(engine, prompt, *moving, study=study, forks=True, **options)
        return poise.dial_report(study, dials, folder / "dial.html", engine=engine, budget=budget), dials


def part_of(page: Path, name: str) -> str:
    """What "How it was made" says under a name."""
    found = re.search(rf"<dt>{name}</dt><dd>(.*?)</dd>", page.read_text("utf-8"), re.DOTALL)
    return "" if found is None else unescape(re.sub("<[^>]*>", "", found[1]))


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
    """Four draws of 500 pieces, 200 tokens each, every piece departs somewhere from the one before; 40 forks."""
    rng = np.random.default_rng(0)
    draws = [[0.0, *np.sort(rng.uniform(0, 1.5, 499)).tolist(), 1.5] for _ in range(4)]
    forks = []
    for low, high in itertools.pairwise(np.linspace(0, 1.5, 41).tolist()):
        shares = rng.dirichlet(np.ones(8), 34)
        values = tuple(np.linspace(low, high, 34).tolist())
        forks.append(
            Fork((), Span(Cut(low), Cut(high)), values, tuple(range(1, 9)), tuple(map(tuple, shares.tolist())))
        )
    return by_hand(folder, "temperature", [[Cut(v) for v in cuts] for cuts in draws], forks=forks)


def by_hand(
    folder: Path, parameter: str, draws: list[list[Cut]], *, tokens: int = 200, forks: Sequence[Fork] = ()
) -> Path:
    """A page of dials with the given cuts, ends included; each text departs somewhere from the one before."""
    engine, rng, dials = FakeEngine(), np.random.default_rng(0), []
    prompt = Prompt("a ship")
    ids = engine.encode(prompt)
    for draw, cuts in enumerate(draws):
        request = Request(prompt, ids, poise.SamplingParams(), 0, draw, tokens)
        text = rng.integers(1, 12, tokens)
        found = []
        low, high = cuts[0].value, cuts[-1].value
        for span in itertools.starmap(Span, itertools.pairwise([*cuts[:-1], Cut(high, after=True)])):
            text = text.copy()
            at = int(rng.integers(0, tokens))
            text[at] = text[at] % 11 + 1
            text[at + 1 :] = rng.integers(1, 12, tokens - at - 1)
            ids_ = tuple(text.tolist())
            done = Completion(request, engine.decode(ids_), ids_, (-1.0,) * tokens, "length")
            found.append(Found(span, done, ids_))
        dials.append(Dial(request, parameter, low, high, tile(found)))
    with poise.Study.open(folder / "by-hand.db") as study:
        study.bind(engine.fingerprint)
        for fork in forks:
            study.add_fork(dials[0].request, parameter, fork.prefix, fork.span, fork.to_json())
        return poise.dial_report(study, dials, folder / "by-hand.html", engine=engine)


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


def test_bars_stay_at_the_first_open_place_and_say_what_was_chosen(tmp_path: Path) -> None:
    page, dials = page_of(FakeEngine(), tmp_path, draws=4, max_tokens=24)
    [prompt] = data_of(page)["prompts"]
    used = [bar[2] for bar in prompt["bars"] if bar[2] >= 0]
    assert sorted({*used}) == list(range(len(prompt["forks"]))), "only those in use are on the page"
    last = prompt["bars"][-1]
    assert prompt["forks"][last[2]]["before"] == "", "at 1.5 the very first word is open"
    first = [d.at(1.5).token_ids[0] for d in dials]
    words = prompt["forks"][last[2]]["words"]
    shown = {i: FakeEngine().words[t].strip() for i, t in enumerate(first) if FakeEngine().words[t].strip()}
    assert {i: words[place] for i, place in enumerate(last[3]) if place >= 0 and i in shown}.items() <= shown.items()
    assert max(last[3]) >= 0
    texts = {c for d in prompt["draws"] for piece in d["pieces"] for c in piece[10]}
    assert "the" in texts
    assert not texts & {"", " ", "space", "end of text"}
    tops = [max(row) for fork in prompt["forks"] for row in fork["shares"]]
    assert 0 < min(share for fork in prompt["forks"] for row in fork["shares"] for share in row if share) < 1e-4
    assert max(tops) <= 1


def test_draws_that_are_not_shown_are_counted_and_in_the_barcode(tmp_path: Path) -> None:
    page, dials = page_of(FakeEngine(), tmp_path, draws=6, max_tokens=12)
    [prompt] = data_of(page)["prompts"]
    assert (len(prompt["draws"]), prompt["of"]) == (4, 6)
    assert [len(lows) for lows in prompt["others"]] == [len(d.breakpoints) for d in dials[4:]]
    assert prompt["others"][0] == pytest.approx(dials[4].breakpoints, rel=1e-6)


def test_how_it_was_made_says_what_holds(tmp_path: Path) -> None:
    page, dials = page_of(FakeEngine(), tmp_path, draws=2, max_tokens=12)
    assert part_of(page, "What stays").startswith("no other parameter is set; seed 0; at most 12 tokens")
    assert "Every one of them was found" in part_of(page, "How")
    assert part_of(page, "Known exactly").startswith(f"100 % of the range, {sum(len(d.pieces) for d in dials)} pieces")
    assert "A band holds" not in page.read_text("utf-8"), "two draws have no band"
    page, dials = page_of(FakeEngine(), tmp_path, max_tokens=24, max_rows=120)
    assert "nothing was left out" not in part_of(page, "How")
    assert "This dial stopped early" in part_of(page, "How")
    assert not part_of(page, "Known exactly").startswith("100")
    assert "--max-rows 120" in part_of(page, "Make it again")
    page, _ = page_of(FakeEngine(), tmp_path, ("top_k", 1, float("inf")), draws=8, max_tokens=8)
    assert part_of(page, "What stays").startswith("temperature=1;")
    assert data_of(page)["ends"] == ["1", "off"]
    assert "--top-k 1..off" in part_of(page, "Make it again")
    assert "top-k" not in page.read_text("utf-8").replace("--top-k", ""), "one spelling"
    assert "A band holds" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("prompt", "flags"),
    [
        (Prompt("it's a \u202eship\x1b[31m\n\tand 'more' \\x41 <b>"), []),
        (Prompt("-v  or two spaces"), []),
        (
            Prompt(messages=(Message("system", "Be brief"), Message("user", "a ship"))),
            ["--chat", "--system", "Be brief"],
        ),
    ],
)
def test_the_command_asks_the_very_same(tmp_path: Path, prompt: Prompt, flags: list[str]) -> None:
    page, _ = page_of(FakeEngine(), tmp_path, ("presence_penalty", -1, 1), prompt=prompt, draws=2, max_tokens=4)
    command = part_of(page, "Make it again")
    assert command.isascii()
    assert "\n" not in command
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True)
    words = done.stdout.decode().split("\0")[:-1]
    assert prompt.shown in words
    assert words[3] == prompt.shown or words[-2:] == ["--", prompt.shown]
    assert [w for w in flags if w not in words] == []
    assert "--presence-penalty=-1..1" in words
    assert "-f" not in words
    assert words[:3] == ["poise", "dial", "fake"]
