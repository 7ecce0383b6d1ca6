"""The README: every command in it is run, and its console blocks show what is printed."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from scripts import outputs

from commands import Run

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def shape(text: str) -> str:
    """Output without what differs from machine to machine: drawn texts, numbers, column widths."""
    kept = []
    for line in text.splitlines():
        if line.startswith("── "):
            kept.append(line)
        elif not (kept and kept[-1].startswith("── ") and line.strip()):
            words = re.sub(r"-?[0-9a-f]{10}\.db|[-+]?\d[\d.,e-]*%?", "#", line)
            words = re.sub(r"^(  .*\s)(yes|no)(\s)", r"\1#\3", words)
            kept.append(re.sub(r"[-\s]+", " ", words.replace(" - ", " # ")).strip())
    return "\n".join(kept)


def test_the_first_screen_says_what_it_is_and_shows_a_command_with_its_output() -> None:
    lines = README.splitlines()
    assert lines[0] == "# poise"
    first = next(i for i, line in enumerate(lines) if line.startswith("$ poise "))
    assert first < 12
    assert lines[first + 1].strip(), "its output follows"


@pytest.mark.model
def test_the_console_blocks_show_what_is_printed(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def runner(words: list[str]) -> str:
        done = run(*words)
        assert done.code == 0, done.err
        return done.out.replace(str(tmp_path / "home"), outputs.SHOWN_HOME)

    again = outputs.rewritten(README, runner)
    assert shape(again) == shape(README)


@pytest.mark.model
def test_every_poise_command_runs(run: Run) -> None:
    lines = [line for line in SHELL if line.startswith("poise ")]
    assert len(lines) >= 8
    for line in lines:
        done = run(*shlex.split(line)[1:])
        assert done.code == 0, f"{line}\n{done.err}"


@pytest.mark.model
def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POISE_HOME", str(tmp_path))
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert "temperature=0.3" in out
    assert "nats/token" in out
    assert (tmp_path / "report.html").exists()


def test_every_make_target_is_there_and_does_what_it_says() -> None:
    """Dry runs: what `make demo` runs is run by the tests of the command line."""
    does = {"demo": "/poise demo", "test": "pytest", "check": "mypy", "check-slow": "-m slow", "bench": "-m bench"}
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    assert {*does, "setup", "docs"} == named
    for target in named:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)
        assert does.get(target, "") in done.stdout


def test_the_documents_it_links_to_are_all_there_are() -> None:
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", README))
    assert linked == {f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")}
