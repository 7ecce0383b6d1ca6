"""`poise judge`: plan, answers, ends; on the fake engine and a judge that can be foreseen."""

from __future__ import annotations

import json
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import poise
from commands import SWEEP, Run, spawn
from fake_judge import FakeJudge, serving
from poise.cli.schemas import DOCUMENTS
from poise.judges.endpoint import KEY_ENV

SECRET = "sk-do-not-keep-0123456789"
CALLS = 2 * (8 * 3 - 2)  # two orders; eight draws of three trials, of which two are engine-default's own words


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_ENV, raising=False)


@pytest.fixture
def server() -> Iterator[FakeJudge]:
    with serving(FakeJudge()) as judge:
        yield judge


def command(server: FakeJudge, *more: str) -> list[str]:
    return ["judge", "--url", server.url, "--model", "wise", *more]


def hint(out: str) -> list[str]:
    return shlex.split(out.rstrip().splitlines()[-1].removeprefix("Next: poise "))


def test_it_plans_asks_and_says_how_far_to_trust(run: Run, server: FakeJudge) -> None:
    run(*SWEEP)
    done = run(*command(server))
    assert done.code == 0, done.err
    assert f"calls     {CALLS}: 0 in the study already, {CALLS} to make" in done.err
    assert "baseline  prompt: temperature=1 (engine-default)" in done.err
    assert f"{CALLS} answers of wise, 0 kept before; {CALLS} calls now" in done.out
    assert "both orders agree      100%" in done.out
    assert len(server.asked) == CALLS
    assert hint(done.out) == ["measure", "--metric", "judge"]
    assert "judge" in run(*hint(done.out)).out
    again = run(*command(server, "--json"))
    record = DOCUMENTS["judge"].model_validate_json(again.out, strict=True).model_dump()
    assert (record["answers"], record["kept"], record["asked"], record["withheld"]) == (CALLS, CALLS, 0, 0)
    assert record["orders"]["share"] == 1
    assert record["same"] == 2
    assert record["baselines"]["prompt"] == poise.SamplingParams().normalised().active() | {"dialect": "transformers"}
    assert len(server.asked) == CALLS


def test_measured_by_the_judge_the_longer_texts_are_better(run: Run, server: FakeJudge) -> None:
    run(*SWEEP)
    run(*command(server))
    with poise.Study.open(poise.latest_study(), create=False, read_only=True) as study:
        trials = {t.params: t for t in study.trials()}
        base = next(t.params for t in trials.values() if "engine-default" in t.names)
        texts = {(c.request.params, c.request.draw): c.text for c in study.completions()}
    rows = json.loads(run("measure", "--metric", "judge", "--json").out)["rows"]
    for row in rows:
        params = next(p for p, t in trials.items() if t.label == row["trial"])
        lengths = [(len(texts[params, d]), len(texts[base, d])) for d in range(8)]
        assert row["mean"] == pytest.approx(sum((a > b) + (a == b) / 2 for a, b in lengths) / 8)


def test_a_dry_run_asks_nobody_and_ends_with_the_command(run: Run, server: FakeJudge) -> None:
    run(*SWEEP, "--study", "my study.db")
    given = ["--baseline", "greedy", "--question", "Which is funnier?", "--repeats", "2", "--use-case", "prompt"]
    given += ["--limit-draws", "3", "--parallel", "2", "--timeout", "30", "--study", "my study.db"]
    planned = run(*command(server, *given, "--dry-run"))
    assert planned.code == 0, planned.err
    assert server.asked == []
    assert "36 to make" in planned.out  # two orders twice, three draws, three trials
    record = json.loads(run(*command(server, *given, "--dry-run", "--json")).out)
    assert DOCUMENTS["judge --dry-run"].model_validate(record).model_dump()["missing"] == 36
    done = run(*hint(planned.out))
    assert done.code == 0, done.err
    assert "0 kept before; 36 calls now" in done.out
    assert "repeats agree          100%" in done.out
    assert all("Which is funnier?" in question for question in server.asked)
    assert hint(done.out) == ["measure", "--metric", "judge", "--study", "my study.db"]


def test_a_study_by_place_or_by_flag(run: Run, server: FakeJudge) -> None:
    run(*SWEEP, "--study", "mine.db")
    run("sweep", "fake", "Another prompt", "--temperature", "0.5", "--max-tokens", "8")
    for words in (["mine.db"], ["--study", "mine.db"]):
        done = run(*command(server, *words, "--dry-run"))
        assert "study     mine.db" in done.out
        assert "--study mine.db" in done.out.splitlines()[-1]
    both = run(*command(server, "mine.db", "--study", "mine.db"))
    assert (both.code, both.err) == (
        2,
        "Error: A study is named once, but got mine.db and --study mine.db. Keep one.\n",
    )


def test_a_judge_that_cannot_do_it_is_named_so(run: Run, server: FakeJudge) -> None:
    run(*SWEEP)
    server.way = "garbage"
    done = run(*command(server))
    assert done.code == 0
    assert "Note: 100% of the answers are invalid, more than 20%: this judge cannot do it; take another" in done.out
    assert f"{2 * CALLS} calls now" in done.out


def test_a_key_that_is_not_accepted(
    run: Run, server: FakeJudge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(*SWEEP)
    monkeypatch.setenv("MY_KEY", SECRET)
    server.key = "another"
    done = run(*command(server, "--key-env", "MY_KEY"))
    assert (done.code, done.out) == (3, "")
    assert "401" in done.err
    assert "Put a key that it accepts into MY_KEY" in done.err
    server.key = SECRET
    assert run(*command(server, "--key-env", "MY_KEY")).code == 0
    planned = run(*command(server, "--key-env", "MY_KEY", "--dry-run"))
    assert "--key-env MY_KEY" in planned.out
    assert SECRET not in done.err + planned.out + planned.err
    assert all(SECRET.encode() not in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_ctrl_c_keeps_what_came_and_the_same_command_asks_the_rest(
    run: Run, server: FakeJudge, tmp_path: Path, as_json: list[str]
) -> None:
    run(*SWEEP)
    server.holds_at = 10
    child = spawn(*command(server, "--parallel", "1", *as_json), home=tmp_path / "home")
    while len(server.asked) <= 10 and child.poll() is None:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, "")
    assert "Interrupted: every answer that came is kept in" in err
    assert "Traceback" not in err
    server.holds_at = None
    server.release.set()
    done = json.loads(run(*command(server, "--json")).out)
    assert (done["kept"], done["asked"]) == (10, CALLS - 10)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--model", "wise"], 2, "--url"),
        (["--url", "http://127.0.0.1:9/v1"], 2, "--model"),
        (["--url", "127.0.0.1:9", "--model", "wise"], 2, "For example --url http://localhost:8000/v1"),
        (["--url", f"http://{SECRET}@127.0.0.1:9/v1", "--model", "wise"], 2, "holds no key"),
        (["--url", "http://127.0.0.1:9/v1", "--model", "wise"], 3, "Start the server, or name another --url"),
        (["--url", "http://127.0.0.1:9/v1", "--model", "wise", "--repeats", "0"], 2, "repeats is a whole number"),
        (["--url", "http://127.0.0.1:9/v1", "--model", "wise", "--repeats", "x"], 2, "--repeats takes a whole number"),
        (["--url", "http://127.0.0.1:9/v1", "--model", "wise", "--baseline", "gredy"], 2, "Did you mean greedy?"),
        (["--url", "http://127.0.0.1:9/v1", "--model", "wise", "--use-case", "x"], 2, "'x'"),
        (["--url", "http://127.0.0.1:9/v1", "--model", "wise", "--study", "none.db"], 2, "none.db"),
        (["--url", "http://127.0.0.1:9/v1", "--model", "wise", "--key-env", "NONE"], 2, "export NONE"),
    ],
    ids=str,
)
def test_mistakes(run: Run, words: list[str], code: int, said: str) -> None:
    run(*SWEEP)
    done = run("judge", *words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert SECRET not in done.err
