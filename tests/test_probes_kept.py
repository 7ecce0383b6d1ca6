"""Probes kept between commands: what was cut short takes nothing away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.twisted import probed

import poise
from commands import Run
from poise.fakeserver import STYLES, FakeWire, read_lies
from poise.fakeserver.app import make_app
from poise.fakeserver.server import FakeServer
from poise.fakeserver.serving import served
from poise.probes import probe_wire
from poise.probes.kept import joined, keep, kept
from poise.probes.words import missed
from poise.servers.calls import About
from poise.servers.honours import Finding, Probe


@contextmanager
def server(*lies: str) -> Iterator[str]:
    with served(make_app(FakeServer(STYLES["vllm"], read_lies(lies)))) as url:
        yield f"{url}/v1"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def look(lies: tuple[str, ...] = (), **more: Any) -> Probe:
    return asyncio.run(probe_wire(FakeWire("vllm", lies, seed=1), **more))


def about() -> About:
    return asyncio.run(FakeWire("vllm", seed=1).about())


def test_a_probe_that_was_cut_short_takes_nothing_away() -> None:
    whole, short = look(("top_k=ignored",)), look(("top_k=ignored",), budget=25)
    assert keep(whole) == whole
    assert short.of("top_k").honour == "cannot tell"  # type: ignore[union-attr]
    found = keep(short)
    assert found == kept(whole.url, about())
    assert found.findings == whole.findings
    assert (found.dialect, found.logprobs, found.made_at) == ("transformers", "raw", whole.made_at)
    assert found.requests == whole.requests + 25


def test_a_whole_probe_replaces_all() -> None:
    first, second = look(("top_k=ignored",), budget=40), look(seed=1)
    keep(first)
    assert keep(second) == second


def test_of_two_that_were_cut_short_the_one_that_looked_longer_counts() -> None:
    for one, other in ((30, 60), (60, 30)):
        found = joined(look(budget=one), look(budget=other))
        longer = look(budget=60)
        honours = {f.name: f.honour for f in found.findings}
        assert honours == {f.name: f.honour for f in longer.findings}
        assert found.dialect == longer.dialect


def test_an_order_that_is_known_stays_known() -> None:
    whole = look()
    unknown = whole._replace(
        dialect="server", made_at=whole.made_at + 9,
        findings=tuple(
            Finding("order", "cannot tell", evidence="hardly any tokens") if f.name == "order" else f
            for f in whole.findings
        ),
    )  # fmt: skip
    found = joined(whole, unknown)
    assert (found.dialect, found.of("order")) == ("transformers", whole.of("order"))
    other = look(("order=temperature last",))
    assert joined(whole, other).dialect == "temperature-last"


def test_a_few_findings_join_the_others() -> None:
    whole, part = look(), look(("seed=ignored",), names={"seed", "top_p"})
    found = joined(whole, part)
    assert {f.name: f.honour for f in found.findings} == {f.name: f.honour for f in whole.findings} | {
        "seed": "ignored"
    }
    assert found.dialect == "transformers"


def test_what_is_ignored_stays_refused_after_a_short_probe(run: Run, tmp_path: Path) -> None:
    words = ("--top-k", "1,9", "--draws", "1", "--max-tokens", "4", "--study", "s.db")
    with server("top_k=ignored") as url:
        assert run("probe", url).code == 0
        assert "ignores top_k" in run("sweep", url, "the ship", *words).err
        short = run("probe", url, "--budget", "20")
        assert "It was cut short" in short.out
        refused = run("sweep", url, "the ship", *words)
    assert refused.code == 2
    assert "ignores top_k" in refused.err
    assert "Probed" not in refused.err, "all that matters is known"


def test_what_a_short_probe_did_not_reach_is_looked_at_before_a_sweep(run: Run, tmp_path: Path) -> None:
    words = ("--draws", "1", "--max-tokens", "4", "--study", "s.db")
    with server("top_k=ignored") as url:
        assert run("probe", url, "--budget", "20").code == 0
        refused = run("sweep", url, "the ship", "--top-k", "1,9", *words)
        assert refused.code == 2
        assert "ignores top_k" in refused.err
        assert "Probed the server first" in refused.err
        drawn = run("sweep", url, "the ship", "--temperature", "0.3,0.9", *words)
        assert drawn.code == 0, drawn.err
        dialects = {t.params.dialect for t in poise.Study.open("s.db", read_only=True).trials()}
        assert dialects == {"transformers"}
        again = run("probe", url, "--budget", "60")
        assert again.code == 0
        planned = run("sweep", url, "the ship", "--temperature", "0.3,0.9", *words, "--dry-run")
    assert "0 to draw" in planned.out, planned.out


def test_what_was_found_for_nothing_is_not_lost_to_a_short_probe() -> None:
    free, late = Finding("seed", "ignored", requests=0), missed("n", None)
    before, now = probed(free, late), probed(missed("seed", None), late)
    assert joined(before, now).of("seed") == free
    assert joined(now, before).of("seed") == free
