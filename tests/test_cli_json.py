"""What `--json` prints: the documented fields and nothing else."""

from __future__ import annotations

import json
import re

import pytest
from scripts import docs

from commands import SWEEP, Run
from poise.cli.schemas import DOCUMENTS

PROMISED = {
    "generate": {"completions": {"prompt", "draw", "seed", "params", "text", "token_ids", "finish_reason"}},
    "sweep": {"study": None, "trials": {"use_case", "params", "n"}, "drawn": None, "reused": None, "rows": None},
    "dial": {"dials": {"prompt", "draw", "seed", "parameter", "low", "high", "exact_share", "pieces"}},
    "measure": {"rows": {"use_case", "params", "metric", "unit", "n", "n_prompts", "scope", "mean", "low", "high"}},
    "compare": {
        "rows": {
            "use_case", "metric", "difference", "low", "high", "n_prompts", "scope", "p_value", "detected",
            "smallest_detectable", "power",
        }
    },
    "export": {"target": None, "artefact": None, "losses": {"parameter", "kind", "why", "total_variation"}},
    "decide": {
        "verdicts": {
            "use_case", "metric", "baseline", "recommended", "best_set", "detected", "promised", "delivered",
            "smallest_detectable",
        }
    },
    "law": {"steps": {"step", "probabilities"}, "probabilities": None},
    "lint": {"remarks": {"rule", "level", "parameters", "said", "next_step"}, "influences": {"parameter", "law"}},
}  # fmt: skip
JSON_COMMANDS = {
    "sweep": SWEEP,
    "generate": ["generate", "fake", "hello", "--max-tokens", "8"],
    "score": ["score", "fake", "the ship", " sailed on."],
    "judge --dry-run": ["judge", "--url", "http://localhost:8000/v1", "--model", "wise", "--dry-run"],
    "measure": ["measure"],
    "compare": ["compare", "temperature=0.3", "temperature=0.9"],
    "decide": ["decide", "--raise", "nll"],
    "report": ["report"],
    "dump": ["dump", "-o", "texts.csv"],
    "law": ["law", "fake", "hello", "--temperature", "0.5", "--top-p", "0.8", "--beside", "llama.cpp"],
    "lint": ["lint", "temperature=0.7", "top_k=1", "--model", "fake", "--to", "vllm", "--steps", "4"],
    "export": ["export", "temperature=0.7", "top_p=0.9", "--to", "ollama"],
    "list": ["list", "params"],
    "usecase list": ["usecase", "list"],
    "usecase show": ["usecase", "show", "creative-story"],
    "usecase new": ["usecase", "new", "new.yaml"],
    "dial": ["dial", "fake", "hello", "--temperature", "0..1", "--draws", "2", "--max-tokens", "8"],
    "dial --dry-run": ["dial", "fake", "hello", "--temperature", "0..1", "--dry-run"],
    "sweep --dry-run": [*SWEEP, "--dry-run"],
    "sweep --until-decided --dry-run": ["sweep", "fake", "-f", "creative-story", "--until-decided", "--dry-run"],
    "generate --dry-run": ["generate", "fake", "hello", "--dry-run"],
}


@pytest.mark.parametrize("name", JSON_COMMANDS)
def test_json_is_the_schema_and_nothing_else(run: Run, name: str) -> None:
    run(*SWEEP)
    done = run(*JSON_COMMANDS[name], "--json")
    assert done.code == 0, done.err
    assert done.out.isascii()
    DOCUMENTS[name].model_validate_json(done.out, strict=True)
    read = json.loads(done.out)
    for field, inner in PROMISED.get(name, {}).items():
        assert field in read
        if inner is not None:
            assert read[field]
            assert all(inner <= set(record) for record in read[field])


def test_the_page_of_fields_defines_every_record_it_links_to() -> None:
    page = docs.json_fields()
    linked = set(re.findall(r"\[(\w+Record)\]\(#", page))
    assert linked >= {"PieceRecord", "ChangeRecord", "ReachRecord"}
    assert linked <= set(re.findall(r"^## (\w+)$", page, re.MULTILINE))
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", page, re.MULTILINE))
    assert rows["whys"] == "list of lists of [ReachRecord](#reachrecord) or null"
    assert rows["below"] == rows["above"] == "[ChangeRecord](#changerecord) or null"
    assert rows["pieces"] == "list of [PieceRecord](#piecerecord)"
    assert rows["doubtful"] == "list of int"
    lists = "list of str or list of lists of float or int or bool"  # an order or breakers; biases or barred words
    assert rows["params"] == f"object of float or int or str or {lists}"


def test_every_document_is_tested() -> None:
    assert set(DOCUMENTS) == {*JSON_COMMANDS, "demo", "judge", "probe", "import"}  # these four where they are tested


def test_a_missing_number_is_null(run: Run) -> None:
    run("sweep", "fake", "hello", "--temperature", "0.5", "--draws", "1", "--max-tokens", "8")
    rows = json.loads(run("measure", "--json").out)["rows"]
    assert any(r["low"] is None and r["note"] for r in rows)
