"""`poise` on servers that honour, ignore, reject and fail, as a user types it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import poise
from commands import Run
from poise.cli.schemas import DOCUMENTS
from poise.fakeserver import STYLES, read_lies
from poise.fakeserver.app import make_app
from poise.fakeserver.server import FakeServer
from poise.fakeserver.serving import served
from poise.servers.honours import Probe

WORDS = ("ship", "star", "sea", "fire", "king", "glass", "owl", "road")
PROMPTS = "".join(f"  - the {word} and the\n" for word in WORDS)
TALES = f"goal: {{raise: nll, baseline: engine-default}}\nprompts:\n{PROMPTS}"
MORE = ("--draws", "2", "--max-tokens", "8", "--study", "s.db")


@contextmanager
def server(*lies: str, style: str = "vllm") -> Iterator[str]:
    with served(make_app(FakeServer(STYLES[style], read_lies(lies)))) as url:
        yield f"{url}/v1"


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_a_sweep_probes_first_and_the_verdict_knows_who_drew(run: Run, tmp_path: Path) -> None:
    Path("tales.yaml").write_text(TALES, encoding="utf-8")
    with server() as url:
        words = ("sweep", url, "-f", "tales.yaml", "--temperature", "0.3,1.5", *MORE)
        planned = run(*words, "--dry-run", "--price-in", "1", "--price-out", "2")
        assert planned.code == 0, planned.err
        assert "before the first sweep a probe of at most 300 requests" in planned.out
        assert "by the prices given" in planned.out
        assert "share their work" not in planned.out
        done = run(*words)
        assert done.code == 0, done.err
        assert "Probed the server first" in done.err
        assert "64 texts drawn, 0 reused" in done.out  # 8 prompts, 2 draws; greedy and engine-default join
        assert "the server was asked 56 times" in done.out, "greedy once a prompt"
        again = json.loads(run(*words, "--json").out)
        assert (again["drawn"], again["reused"], again["requests"]) == (0, 64, 0)
    with poise.Study.open("s.db", read_only=True) as study:
        (record,) = study.all_noted("probe").values()
        assert {"temperature", "top_p", "seed", "stop"} <= {f.name for f in Probe.read(record).findings}
        assert study.fingerprint.served
        assert {n for t in study.trials("tales") for n in t.names} == {"greedy", "engine-default"}
    assert run("report", "--study", "s.db", "-o", "page.html").code == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert "luck of its own" in page
    assert "share their noise" not in page
    assert "the same noise" not in page
    assert "What the server honours" in page
    assert "steps in the order of transformers" in page  # the probe told it
    assert f"poise sweep &#39;{url}#fake-64&#39;" in page  # the command draws there again
    decided = run("decide", "s.db", "--baseline", "temperature=0.3")
    assert "The server drew these texts by itself" in decided.out
    assert "shared noise is not known" in run("compare", "temperature=0.3", "temperature=1.5", "--study", "s.db").out


def test_a_parameter_without_effect_is_an_error_that_says_so(run: Run, tmp_path: Path) -> None:
    with server("min_p=ignored") as url:
        refused = run("sweep", url, "the ship", "--min-p", "0.1,0.5", *MORE)
        assert refused.code == 2
        assert "ignores min_p. Seen by the probe:" in refused.err
        assert "--anyway" in refused.err
        assert not Path("s.db").exists()
        sent = run("sweep", url, "the ship", "--min-p", "0.1,0.5", "--anyway", "--no-baselines", *MORE)
        assert sent.code == 0, sent.err


def test_probe_prints_what_it_found_and_its_json_is_documented(run: Run, tmp_path: Path) -> None:
    with server("seed=ignored", "order=temperature last") as url:
        shown = run("probe", url)
        found = json.loads(run("probe", url, "--json").out)
        for dialect in ("transformers", "server"):
            named = run("sweep", url, "the ship", "--temperature", "0.3,0.9", "--dialect", dialect, *MORE)
            assert named.code == 2
            assert f"draws by its own law, temperature-last, but got dialect={dialect}" in named.err
    assert shown.code == 0, shown.err
    assert "dialect temperature-last" in shown.out
    assert shown.out.splitlines()[-1].startswith(f"Next: poise sweep {url}")
    assert set(found) == set(DOCUMENTS["probe"].model_fields)
    assert {f["name"]: f["honour"] for f in found["findings"]}["seed"] == "ignored"
    assert found["dialect"] == "temperature-last"
    assert found["requests"] <= 300


def test_what_is_honoured_otherwise_is_said_before_and_after(run: Run) -> None:
    with server("top_k=clamped:4:6") as url:
        words = ("sweep", url, "the ship", "--top-k", "2,9", "--draws", "8", "--max-tokens", "8", "--study", "s.db")
        done = run(*words, "--no-baselines")
    assert done.code == 0, done.err
    assert "top_k: honoured otherwise" in done.err
    assert run("report", "--study", "s.db", "-o", "p.html").code == 0
    page = Path("p.html").read_text(encoding="utf-8")
    assert ("order of the server’s own" in page) == ("dialect=server" in done.out)
    compared = run("compare", "top_k=2", "top_k=9", "--study", "s.db", "--metric", "nll")
    assert "Top_k: honoured otherwise" in compared.out or "top_k: honoured otherwise" in compared.out


@pytest.mark.parametrize("style", ["vllm", "llama.cpp"])
def test_a_text_is_shown(run: Run, style: str) -> None:
    with server(style=style) as url:
        done = run("generate", url, "the ship and", "--temperature", "0.7", "--max-tokens", "6", "--draws", "2")
        again = json.loads(
            run(
                "generate", url, "the ship and", "--temperature", "0.7", "--max-tokens", "6", "--draws", "2", "--json"
            ).out
        )
    assert "temperature=0.7, draw 1" in done.out
    assert len(again["completions"]) == 2
    assert all(c["text"].strip() in done.out for c in again["completions"])
    with poise.Study.open(again["study"], read_only=True) as study:
        assert (
            len([*study.completions(params=poise.SamplingParams(temperature=0.7))]) == 2
        )  # the dialect is the server's


def test_a_dial_on_a_server_is_drawn_here(run: Run, tmp_path: Path) -> None:
    with server() as url:
        words = ("the ship", "--temperature", "0..1.5", "--max-tokens", "6")
        prices = ("--price-in", "0.1", "--price-out", "0.2")
        done = run("dial", url, *words, "--top-k", "10", "--report", "d.html", *prices)
        assert "the server was asked" in done.out
        assert "by the prices given" in done.out
        half = run("dial", url, *words, "--top-k", "10", *prices[:2])
        assert "Prices are given for prompts and for texts" in half.err
        assert done.code == 0, done.err
        assert f"poise dial &#39;{url}#fake-64&#39;" in Path("d.html").read_text(encoding="utf-8")
        assert "100.0% of the range is known exactly" in done.out
        refused = run("dial", url, *words)
    assert refused.code in (2, 3)
    assert "Take a smaller top_k, 20 at most" in refused.err or "top_k" in refused.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("generate", "fake", "hi", "--concurrency", "2"), "--concurrency is for servers, but got it for fake"),
        (("generate", "fake", "hi", "--thinking", "on"), "Thinking is switched by a model's chat template"),
        (("generate", "fake", "hi", "--thinking", "maybe"), "--thinking is on or off, but got 'maybe'"),
        (("generate", "http://x:y/v1", "hi"), "A server is written http(s)://HOST[:PORT]/v1[#MODEL]"),
        (("generate", "http://127.0.0.1:9/v1", "hi", "--dtype", "float32"), "A server chose its dtype"),
        (("generate", "http://127.0.0.1:9/v1", "hi", "--trust-remote-code"), "is for models that poise loads"),
        (("generate", "http://127.0.0.1:9/v1", "hi", "--concurrency", "0"), "but got 0"),
        (("probe", "http://127.0.0.1:9/v1", "--key-env", "NOT_SET_ANYWHERE"), "'NOT_SET_ANYWHERE', which is empty"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_anything_is_sent(run: Run, words: tuple[str, ...], says: str) -> None:
    ended = run(*words)
    assert ended.code == 2, ended.err
    assert says in ended.err


def test_nobody_listens(run: Run) -> None:
    ended = run("probe", "http://127.0.0.1:9/v1")
    assert ended.code == 3
    assert "Traceback" not in ended.err
    assert "127.0.0.1:9" in ended.err


def test_ollama_by_its_own_protocol(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with served(make_app(FakeServer(STYLES["ollama"], model="fake:8b"))) as url:
        monkeypatch.setenv("OLLAMA_HOST", url)
        done = run("generate", "ollama:fake:8b", "the ship and the", "--temperature", "0.7", "--max-tokens", "6",
                   "--study", "s.db")  # fmt: skip
        assert done.code == 0, done.err
        assert len(done.out.splitlines()) >= 2
        missing = run("generate", "ollama:other", "hi")
        assert missing.code == 2
        assert "fake:8b" in missing.err


def test_rounds_on_a_server_are_planned_once_it_was_looked_at(run: Run, tmp_path: Path) -> None:
    words = [f"{a} and the {b}" for a in WORDS for b in WORDS[:3]]
    prompts = "".join(f"  - the {w}\n" for w in words)
    Path("tales.yaml").write_text(
        f"goal: {{raise: nll, matters: 0.1, baseline: temperature=0.2}}\nprompts:\n{prompts}", encoding="utf-8"
    )
    with server() as url:
        done = run("sweep", url, "-f", "tales.yaml", "--temperature", "0.2,1.5", "--until-decided", "--no-baselines",
                   "--draws", "2", "--max-tokens", "8", "--study", "s.db")  # fmt: skip
        assert done.code == 0, done.err
        assert "tales: Use temperature=1.5: it was shown to raise nll" in done.out
