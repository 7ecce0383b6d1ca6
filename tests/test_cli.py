"""Every command on the fake engine: what it prints, what it keeps, how it ends."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import poise
from commands import SWEEP, Ended, Run, spawn
from poise import asks, cli
from poise.cli import demonstration, dialling, flags
from poise.cli.schemas import DOCUMENTS
from poise.dumps import DRAWN
from poise.errors import PoiseError
from poise.params import PARAMETERS


def test_a_sweep_ends_with_texts_and_the_next_command(run: Run) -> None:
    done = run(*SWEEP)
    assert done.code == 0
    assert "32 texts drawn, 0 reused" in done.out
    assert done.out.rstrip().endswith("Next: poise measure")
    for name in ("temperature=0.3", "temperature=0.9", "temperature=0 (greedy)", "temperature=1 (engine-default)"):
        assert f"── {name} ──" in done.out
    assert "texts     32: 0 in the study already, 32 to draw" in done.err


def test_the_same_sweep_draws_nothing_and_more_draws_only_what_is_missing(run: Run) -> None:
    run(*SWEEP)
    again = json.loads(run(*SWEEP, "--json").out)
    assert (again["drawn"], again["reused"]) == (0, 32)
    more = json.loads(run(*SWEEP, "--draws", "10", "--json").out)
    assert (more["drawn"], more["reused"]) == (8, 32)


def test_no_baselines(run: Run) -> None:
    done = json.loads(run(*SWEEP, "--no-baselines", "--json").out)
    assert [t["params"]["temperature"] for t in done["trials"]] == [0.3, 0.9]
    assert all(t["names"] == [] and t["n"] == 8 for t in done["trials"])


def test_flags_and_pairs_say_the_same(run: Run) -> None:
    flagged = json.loads(run(*SWEEP, "--top-p", "0.9,off", "--dry-run", "--json").out)
    paired = json.loads(
        run(
            *SWEEP[:3], "-p", "temperature=0.3,0.9", "-p", "top_p=0.9,off", "--max-tokens", "24", "--dry-run", "--json"
        ).out
    )
    assert flagged == paired
    assert {"temperature": 0.3, "top_p": 0.9, "dialect": "transformers"} in flagged["settings"]
    assert {"temperature": 0.9, "dialect": "transformers"} in flagged["settings"]


def test_a_dry_run_shows_the_plan_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    done = run(*SWEEP, "--dry-run")
    assert done.code == 0
    assert "32 to draw" in done.out
    assert "at most 768 new ones" in done.out  # 4 settings, 8 draws, 24 tokens
    assert not list(tmp_path.rglob("*.db"))


def test_generate_prints_each_draw(run: Run) -> None:
    done = run("generate", "fake", "hello", "--temperature", "0.7", "--draws", "3", "--max-tokens", "8")
    assert done.code == 0
    assert [f"draw {d} " in done.out for d in (0, 1, 2)] == [True] * 3
    texts = json.loads(
        run("generate", "fake", "hello", "--temperature", "0.7", "--draws", "3", "--max-tokens", "8", "--json").out
    )
    for completion in texts["completions"]:
        assert completion["text"].strip("\n") in done.out


def test_generate_gives_what_was_asked_now_and_no_older_draws(run: Run) -> None:
    base = ["generate", "fake", "hello", "--temperature", "0.7", "--json"]
    run(*base, "--draws", "5", "--max-tokens", "8")
    done = json.loads(run(*base, "--draws", "2", "--max-tokens", "4", "--seed", "7", "--stop", "zzz").out)
    assert [(c["draw"], c["seed"]) for c in done["completions"]] == [(0, 7), (1, 7)]
    assert all(len(c["token_ids"]) <= 4 for c in done["completions"])


def test_chat_goes_through_the_template_and_text_does_not(run: Run) -> None:
    asked = ["sweep", "fake", "Hello", "--temperature", "0.5", "--dry-run"]
    assert "continued as text" in run(*asked).out
    assert "asked as chat" in run(*asked, "--chat").out
    assert "asked as chat" in run(*asked, "--system", "Be brief.").out


def test_use_cases_by_name_and_by_file(run: Run) -> None:
    made = run("usecase", "new", "mine.yaml")
    assert made.code == 0
    done = run(
        "sweep", "fake", "-f", "mine.yaml", "-f", "creative-story", "--temperature", "0.3", "--draws", "1", "--json"
    )
    names = {t["use_case"] for t in json.loads(done.out)["trials"]}
    assert names == {"my-use-case", "creative-story"}


def test_draws_by_default(run: Run) -> None:
    """One text to generate, 8 of a lone prompt, 4 of a use case of 16."""
    asked = ["--dry-run", "--json", "--temperature", "0.5"]
    found = [
        json.loads(run(*words, *asked).out)["draws"]
        for words in (["generate", "fake", "hi"], ["sweep", "fake", "hi"], ["sweep", "fake", "-f", "creative-story"])
    ]
    assert found == [1, 8, 4]


def test_the_limits_of_a_use_case_hold_unless_a_flag_says_otherwise(run: Run) -> None:
    run("usecase", "new", "mine.yaml")  # max_tokens: 64, five prompts
    asked = [
        "sweep",
        "fake",
        "-f",
        "mine.yaml",
        "--temperature",
        "0.3",
        "--draws",
        "1",
        "--no-baselines",
        "--dry-run",
        "--json",
    ]
    assert json.loads(run(*asked).out)["max_new_tokens"] == 6 * 64
    assert json.loads(run(*asked, "--max-tokens", "16").out)["max_new_tokens"] == 6 * 16


def test_measure_compare_report_dump_read_the_latest_study(run: Run, tmp_path: Path) -> None:
    run(*SWEEP)
    assert "temperature=0.3" in run("measure").out
    only = json.loads(run("measure", "--metric", "length", "--json").out)
    assert {r["metric"] for r in only["rows"]} == {"length"}
    assert "detected" in run("compare", "temperature=0.3", "greedy").out
    assert run("report", "-o", "page.html").code == 0
    assert (tmp_path / "page.html").read_text().startswith("<!")
    assert run("dump", "-o", "texts.parquet").code == 0
    assert (tmp_path / "texts.parquet").stat().st_size > 0


def test_every_command_reads_the_study_that_is_named(run: Run) -> None:
    run(*SWEEP, "--study", "mine.db")
    run("sweep", "fake", "Another prompt", "--temperature", "0.5", "--max-tokens", "8")
    done = run("measure", "--study", "mine.db")
    assert "temperature=0.3" in done.out
    assert "--study mine.db" in done.out.splitlines()[-1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("words", [["measure"], ["measure", "--json"], ["dump"]])
def test_a_full_stdout_is_said(run: Run, tmp_path: Path, words: list[str]) -> None:
    run(*SWEEP)
    command = [sys.executable, "-c", "from poise.cli import main; main()", *words]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith("Error: Standard output must have room, but got No space left on device.")
    assert len(done.stderr.splitlines()) == 1


def test_dump_to_a_dash_is_dump_to_stdout(run: Run) -> None:
    run(*SWEEP)
    assert run("dump", "-o", "-").out == run("dump").out


def test_dump_to_stdout_is_data_alone(run: Run, tmp_path: Path) -> None:
    run(*SWEEP)
    child = spawn("dump", home=tmp_path / "home")
    out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, "")
    assert len([json.loads(line) for line in out.splitlines()]) == 32


@pytest.mark.parametrize("kind", ["params", "metrics", "engines", "models", "dialects", "usecases"])
def test_list(run: Run, kind: str) -> None:
    done = run("list", kind)
    items = json.loads(run("list", kind, "--json").out)["items"]
    assert items
    shown = " ".join(done.out.split())  # meanings are wrapped
    assert all(item["name"] in shown and " ".join(item["meaning"].split()) in shown for item in items)
    assert max(map(len, done.out.splitlines())) <= 100


def test_list_models_names_every_fake_there_is(run: Run) -> None:
    out = run("list", "models").out
    for variant in ("hostile", "slow", "nan"):
        assert poise.load(f"fake:{variant}").name == f"fake:{variant}"
        assert variant in out


def test_list_params_has_every_parameter_with_its_range(run: Run) -> None:
    out = run("list", "params").out
    for name, parameter in PARAMETERS.items():
        assert re.search(rf"^\s*{name}\s+{re.escape(parameter.range_text)}\s", out, re.MULTILINE)


def test_the_next_commands_lead_through_everything(run: Run) -> None:
    """Following each hint from a sweep on runs through, and never asks for something that is not there."""
    words, seen = list(SWEEP), []
    while (command := words[0]) not in seen:
        seen.append(command)
        done = run(*words)
        assert done.code == 0, done.err
        words = shlex.split(done.out.rstrip().splitlines()[-1].removeprefix("Next: poise "))
    assert seen == ["sweep", "measure", "compare", "report", "dump"]


def test_the_hint_after_generate_keeps_what_was_asked(run: Run) -> None:
    asked = ["--system", "be brief", "--max-tokens", "8", "--stop", " ship", "--seed", "3", "--study", "my study.db"]
    done = run("generate", "fake", "hi you", "--chat", *asked)
    assert done.code == 0, done.err
    words = shlex.split(done.out.rstrip().splitlines()[-1])[2:]
    assert words[:5] == ["sweep", "fake", "hi you", "--temperature", "0.3,0.5,0.9"]
    assert "--chat" in words
    assert all(f"{a} {b}" in " ".join(words) for a, b in zip(asked[::2], asked[1::2], strict=True))
    assert run(*words).code == 0
    plain = run("generate", "fake", "hi", "--text", "--draws", "2").out.rstrip().splitlines()[-1]
    assert plain == "Next: poise sweep fake hi --temperature 0.3,0.5,0.9 --text"


def test_the_hint_to_compare_names_two_trials_even_where_one_was_drawn(run: Run) -> None:
    run("sweep", "fake", "hello", "--temperature", "0.5", "--max-tokens", "8")
    hint = run("measure").out.rstrip().splitlines()[-1]
    assert run(*shlex.split(hint)[2:]).code == 0


def test_demo_measures_the_article(run: Run, tmp_path: Path) -> None:
    done = run("demo", "--model", "fake", "--no-open")
    assert done.code == 0, done.err
    said = "Once upon a time, in a distant galaxy, there was a spaceship called Voyager."
    low, high = done.out.index("── temperature=0.2 ──"), done.out.index("── temperature=0.9 ──")
    assert low < high < done.out.index("creative-story: mean")
    assert done.out.count(said) == 2
    for part in ("technical-explanation: mean", "nfl-fantasy: mean", "SUPPORTED", "CANNOT BE JUDGED"):
        assert part in done.out
    verdicts = done.out.partition("── Which setting suits each use case ──")[2].splitlines()
    assert [line for line in verdicts if line in ("creative-story", "technical-explanation")] == [
        "creative-story", "technical-explanation",
    ]  # fmt: skip
    assert sum(line.startswith(("    Use ", "    Keep ", "    No setting keeps ")) for line in verdicts) == 2
    assert (tmp_path / "report.html").exists()
    assert "The model may not end a text before 64 tokens" in " ".join(done.err.split())
    with poise.Study.open(poise.latest_study(), create=False, read_only=True) as study:
        assert {(c.request.min_tokens, len(c.content_ids) >= 64) for c in study.completions()} == {(64, True)}
    again = run("demo", "--model", "fake", "--no-open", "--json")
    record = DOCUMENTS["demo"].model_validate_json(again.out, strict=True).model_dump()
    assert record["drawn"] == 0
    cases = {r["use_case"] for r in record["rows"]}
    assert cases == {"creative-story", "technical-explanation", "nfl-fantasy"}
    assert [v["use_case"] for v in record["verdicts"]] == ["creative-story", "technical-explanation"]
    assert {v["n_prompts"] + v["held_out"] for v in record["verdicts"]} == {demonstration.PROMPTS}


# how it ends


def test_version(run: Run) -> None:
    assert run("--version") == Ended(0, f"poise {poise.__version__}\n", "")


def test_an_unexpected_failure_is_short(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the disk sang \x1b[31m")

    monkeypatch.setattr(poise, "load", broken)
    done = run(*SWEEP)
    assert done.code == 3
    assert "RuntimeError: the disk sang ␛[31m" in done.err
    assert "Traceback" not in done.err
    monkeypatch.setenv("POISE_DEBUG", "1")
    with pytest.raises(RuntimeError):
        cli.run(SWEEP)


def test_hostile_text_is_shown_not_obeyed(run: Run) -> None:
    done = run("generate", "fake:hostile", "[bold]hi[/bold]\x1b[2J", "--draws", "8", "--max-tokens", "32")
    assert done.code == 0
    for said in (done.out, done.err):
        assert "\x1b" not in said
        assert "\u202e" not in said
    assert "␛[31mred" in done.out
    assert "[bold]markup[/bold]" in done.out
    for words in (["sweep", "fake:hostile", "hi", "--max-tokens", "32"], ["measure"], ["dump", "-o", "x.csv"]):
        done = run(*words)
        assert done.code == 0
        assert "\x1b" not in done.out + done.err


def kept_texts(home: Path) -> int:
    """Completions in the only study of a home, while another process writes it."""
    try:
        [path] = (home / "studies").glob("*.db")
        with poise.Study.open(path, create=False, read_only=True) as study:
            return study.count()
    except (ValueError, PoiseError):
        return 0


def test_ctrl_c_keeps_everything_and_the_same_command_resumes(tmp_path: Path) -> None:
    """Interrupted in the middle of 64 slow texts, then run to its end; the texts are those of one run."""
    words = ["sweep", "fake:slow", "hello", "--temperature", "0.3..1.8:0.1", "--draws", "4", "--stop", "star", "--json"]
    words += ["--min-tokens", "400", "--max-tokens", "400"]  # the first text early, the last after 8 seconds
    child = spawn(*words, home=tmp_path)
    deadline = time.monotonic() + 30
    while not kept_texts(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out) == (130, "")
    kept = re.search(r"Interrupted: (\d+) of (\d+) texts were drawn and are kept in", err)
    assert kept, err
    assert "The same command draws the rest." in err
    assert "Traceback" not in err
    child = spawn(*words, home=tmp_path)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    done = json.loads(out)
    assert done["reused"] >= int(kept[1]) >= 1
    assert done["drawn"] > 0
    assert done["drawn"] + done["reused"] == int(kept[2])


def test_progress_shows_rate_and_remaining_time_on_a_terminal(tmp_path: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    env = {**os.environ, "POISE_HOME": str(tmp_path), "TERM": "xterm", "COLUMNS": "120"}
    words = ["sweep", "fake:slow", "hello", "--temperature", "0.5", "--max-tokens", "80", "--json"]
    command = [sys.executable, "-c", "from poise.cli import main; main()", *words]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, text=True, env=env)
    os.close(follower)
    out, _ = child.communicate(timeout=60)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    json.loads(out)
    text = shown.decode()
    assert re.search(r"\d+/24 texts  [\d,]+ tokens/s  \d+:\d\d left", text)


# --help


def test_help_loads_no_heavy_library() -> None:
    code = "import sys\nfrom poise.cli import run\nrun(['--help'])\nprint('LOADED', *sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(out.partition("LOADED")[2].split())
    assert not loaded & {"torch", "transformers", "scipy", "numpy", "altair", "pyarrow", "pydantic"}


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda c: c.words)
def test_every_command_teaches(run: Run, monkeypatch: pytest.MonkeyPatch, command: cli.Command) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    doc = inspect.getdoc(cli.function_of(command)) or ""
    assert doc.partition("\n")[0] == command.summary
    done = run(*command.words.split(), "--help")
    assert done.code == 0
    assert f"Example: {command.example}" in " ".join(done.out.split())
    assert command.summary in done.out


def test_help_of_sweep_has_every_parameter_with_range_and_meaning(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    out = run("sweep", "--help").out
    for name, parameter in PARAMETERS.items():
        assert flags.flag(name) in out
        assert f"{parameter.range_text}  {parameter.meaning}" in out


def test_the_help_says_the_default_that_holds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert flags.MAX_TOKENS == asks.MAX_TOKENS
    monkeypatch.setenv("COLUMNS", "250")
    assert f"A metric of curves, by name. Repeatable. Default: {' and '.join(DRAWN)}." in run("dump", "--help").out
    said = run("dial", "--help").out
    assert f"Dials per prompt. Default: 1; with --report {dialling.PAGE_DRAWS}, side by side on the page." in said
    assert f"New tokens at most. Default: {dialling.MAX_TOKENS} for a prompt; for a use case what it says" in said
    assert "a..b moves one (--top-k also 1..off)" in said
    page = (Path(__file__).parent.parent / "docs" / "commands.md").read_text("utf-8")
    assert "`a..b` is a range" in page.partition("## ")[0]
    assert "`1..off`" in page.partition("## ")[0]
