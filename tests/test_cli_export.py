"""`poise export` and `poise import`: what they print and write, and what they refuse."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from commands import Run
from poise.cli.export_records import Exported, Imported
from poise.goals import read_goal
from small_studies import COLD, WARM, study_of

WORDS = ["temperature=0.7", "min_p=0.05", "top_p=0.9"]


def test_stdout_is_the_artefact_and_nothing_else(run: Run) -> None:
    done = run("export", *WORDS, "--to", "llama-server")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["samplers"].index("temperature") < said["samplers"].index("top_p") < said["samplers"].index("min_p")
    assert "for llama-server" in done.err
    assert "Next: poise export temperature=0.7 min_p=0.05 top_p=0.9 --to llama-server -o request.json" in done.err


def test_what_is_written_is_read_again(run: Run) -> None:
    done = run("export", *WORDS, "--to", "ollama", "-o", "Modelfile")
    assert done.code == 0, done.err
    assert "it acts after temperature in transformers, before it in ollama" in done.out
    assert "Next: poise import Modelfile --format ollama" in done.out
    again = run("import", "Modelfile")
    assert again.code == 0, again.err
    assert again.out.splitlines()[0] == "temperature=0.7,top_p=0.9,min_p=0.12282280261157906,dialect=ollama"
    assert "Next: poise export " in again.out


def test_a_dash_is_stdout(run: Run) -> None:
    done = run("export", *WORDS, "--to", "llama-server", "-o", "-")
    assert done.code == 0, done.err
    assert done.out == run("export", *WORDS, "--to", "llama-server").out
    assert not Path("-").exists()
    assert "-o request.json" in done.err


def test_a_link_stays_and_so_does_a_files_mode(run: Run) -> None:
    there = Path("there.py")
    there.write_text("old", encoding="utf-8")
    there.chmod(0o640)
    Path("link.py").symlink_to(there)
    done = run("export", *WORDS, "--to", "vllm", "-o", "link.py")
    assert done.code == 0, done.err
    assert Path("link.py").is_symlink()
    assert "SamplingParams" in there.read_text("utf-8")
    assert there.stat().st_mode & 0o777 == 0o640
    assert "poise import link.py" in done.out
    Path("round.py").symlink_to("round.py")
    assert "file has to be writable, but got round.py" in run("export", *WORDS, "--to", "vllm", "-o", "round.py").err


@pytest.mark.parametrize("words", [["Modelfile"], ["--study", "Modelfile"]])
@pytest.mark.parametrize("text", ["PARAMETER temperature 0.7\n", "PARAMETER temperature 0.7\nPARAMETER mirostat 2\n"])
def test_an_engines_file_is_imported_first(run: Run, words: list[str], text: str) -> None:
    Path("Modelfile").write_text(text, encoding="utf-8")
    done = run("export", *words, "--to", "vllm")
    assert done.code == 2
    assert "'Modelfile', which holds an engine's settings. `poise import Modelfile` reads them" in done.err


def test_an_import_says_what_it_left_out_and_filled_in(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"do_sample": true, "temperature": 0.6, "max_new_tokens": 9}'))
    done = run("import", "-")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "temperature=0.6,top_k=50"
    assert "Not said there, so the engine's own: top_k=50." in done.out
    assert "no law of the next token depends on it: max_new_tokens." in done.out


def test_standard_input_without_an_end_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("{" * 10_000_001))
    done = run("import", "-")
    assert done.code == 2
    assert "at most 10,000,000 characters, but got more" in done.err


def test_an_import_as_json(run: Run) -> None:
    assert run("export", "temperature=0.5", "--to", "vllm-server", "-o", "r.json").code == 0
    done = run("import", "r.json", "--json")
    assert done.code == 0, done.err
    found = Imported.model_validate_json(done.out, strict=True)
    assert found.format == "vllm-server"
    assert found.params == {"temperature": 0.5, "dialect": "vllm"}
    assert found.file == str(Path("r.json").absolute())


def test_losses_as_json_with_how_much(run: Run) -> None:
    words = [*WORDS, "xtc_probability=0.5", "--to", "ollama", "--model", "fake", "--prompt", "the ship", "--json"]
    done = run("export", *words)
    assert done.code == 0, done.err
    found = Exported.model_validate_json(done.out, strict=True)
    assert {"target", "artefact", "losses"} <= set(json.loads(done.out))
    assert [(r.parameter, r.kind) for r in found.losses] == [
        ("top_p", "approximate"),
        ("xtc_probability", "impossible"),
    ]
    assert all(r.total_variation is not None and 0 < r.total_variation < 1 for r in found.losses)
    assert found.next_tokens == 32
    assert found.model == "fake"
    assert "PARAMETER temperature 0.7" in found.artefact
    without = Exported.model_validate_json(run("export", *WORDS, "--to", "ollama", "--json").out, strict=True)
    assert (without.total_variation, without.next_tokens) == (None, 0)


def test_a_study_is_exported_with_its_verdict(run: Run, tmp_path: Path) -> None:
    added = {COLD: (0, 0), WARM: (3, 5)}
    texts = {params: {f"p{i}": ["x" * (20 + i + add[i % 2])] for i in range(16)} for params, add in added.items()}
    with study_of(tmp_path, texts) as study:
        study.keep_goal("prompt", read_goal({"raise": "length", "baseline": "temperature=0.3"}))
    done = run("export", "small.db", "--to", "vllm")
    assert done.code == 0, done.err
    assert "# evidence: prompt: Use temperature=0.7" in done.out
    named = run("export", "--study", "small.db", "--setting", "temperature=0.3", "--to", "vllm", "--json")
    assert Exported.model_validate_json(named.out).params == {"temperature": 0.3, "dialect": "vllm"}


def test_the_study_drawn_last_is_the_default(run: Run) -> None:
    assert run("sweep", "fake", "the ship", "--temperature", "0.5", "--draws", "1", "--max-tokens", "4").code == 0
    done = run("export", "--to", "mlx", "--setting", "temperature=0.5", "--model", "fake")
    assert done.code == 0, done.err
    assert "# model: fake" in done.out
    assert "temp=0.5" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "temperature=0.7", "--to", "vlm"], "A target is one of transformers, vllm"),
        (["export", "temperature=0.7", "--to", "vllm", "--form", "json"], "written as python, but got 'json'"),
        (["export", "temperature=0.7"], "--to"),
        (["export", "temprature=0.7", "--to", "vllm"], "Did you mean temperature?"),
        (["export", "dynatemp_range=0.3", "--dialect", "vllm", "--to", "vllm"], "vllm has no dynatemp_range"),
        (["export", "missing.db", "--to", "vllm"], "A study's file or settings are exported, but got 'missing.db'"),
        (["export", "temperature=0.7", "--to", "vllm", "--setting", "greedy"], "--setting is for a study"),
        (["export", "temperature=0.7", "--to", "vllm", "--prompt", "hi"], "Losses are measured on a model"),
        (["export", "temperature=0.7", "--to", "vllm", "--model", "fake"], "a model without prompts"),
        (["export", "temperature=0.7", "--to", "vllm", "--model", "fake", "-f", "x", "--prompt", "y"], "but got both"),
        (["export", "temperature=0.7", "--to", "vllm", "--gguf", "m.gguf"], "--gguf is for the target gguf"),
        (["export", "temperature=0.7", "--to", "gguf", "--gguf", "m.gguf"], "Add -o copy.gguf"),
        (["export", "temperature=0.7", "--to", "gguf", "--gguf", "text.json", "-o", "c.gguf"], "begins with GGUF"),
        (["export", "temperature=0.7", "--to", "vllm", "-o", "no/such/x.py"], "in a folder that is there"),
        (["import", "missing.json"], "a file that can be read"),
        (["import", "text.json"], "one JSON object"),
        (["import", "text.json", "--format", "x"], "A format is one of"),
        (["export", "text.json", "--to", "vllm"], "A file of settings is JSON"),
    ],
)
def test_mistakes_say_the_rule_the_value_and_the_next_step(run: Run, words: list[str], message: str) -> None:
    Path("text.json").write_text("{no", encoding="utf-8")
    done = run(*words)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""
    assert [p.name for p in Path().iterdir()] == ["text.json"]
