"""Writes the generated pages of docs/ and the README's file map; --check compares."""

from __future__ import annotations

import ast
import inspect
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import typer
from scripts import docs_law
from scripts.floors import FLOORS

import poise
from poise.cli import COMMANDS, assemble, function_of
from poise.cli.schemas import DOCUMENTS, Record
from poise.dumps import COLUMNS, CURVE_COLUMNS, PIECE_COLUMNS
from poise.models.vendors import recommendations

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "poise"
BEGIN, END = "<!-- file map: written by `make docs` -->", "<!-- end of the file map -->"
GENERATED = "<!-- Written by `make docs` from {}; edit that, not this. -->\n"


def pages() -> Mapping[Path, str]:
    """Every generated page with its text."""
    docs = ROOT / "docs"
    return {
        docs / "parameters.md": parameters(),
        docs / "metrics.md": metrics(),
        docs / "commands.md": commands(),
        docs / "json.md": json_fields(),
        docs / "dumps.md": dumps(),
        docs / "dial-table.md": exactness(),
        docs / "vendors.md": vendors(),
        ROOT / "README.md": readme(),
    }


def parameters() -> str:
    """docs/parameters.md from `PARAMETERS` and `DIALECTS`."""
    return "\n".join([GENERATED.format("src/poise/parameters.py and dialects.py"), *docs_law.parameters(_table)]) + "\n"


def metrics() -> str:
    """docs/metrics.md from `METRICS`."""
    lines = [GENERATED.format("src/poise/metrics/"), "# Metrics", ""]
    lines += [
        "`poise measure` prints all that the prompts allow, `--metric NAME` one: what needs answers, checks, a",
        "reference or judgements is there once a use case has them. No data, no number: a metric without data says",
        "why.",
        "",
    ]
    for name, m in poise.METRICS.items():
        rows = [("unit", m.unit), ("better", m.direction), ("one number per", m.level)]
        rows += [("needs", ", ".join(sorted(m.needs)) or "nothing"), ("source", m.source)]
        rows += [("measured", "where `--metric` or a use case's goal names it")] if m.when_asked else []
        lines += [f"## {name}", "", m.meaning, "", *_table(("", ""), rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def commands() -> str:
    """docs/commands.md from the commands themselves."""
    root: Any = typer.main.get_command(assemble())
    lines = [GENERATED.format("src/poise/cli/"), "# Commands", ""]
    lines += [
        "Values of a parameter: `a` fixes, `a,b,c` sweeps, `a..b:step` is a grid, `off` leaves the parameter out;",
        "`a..b` is a range, which `poise dial` moves it over, of top-k also `1..off`: up to the whole vocabulary.",
        "Exit codes: 0 done, 1 a check did not hold, 2 your mistake, 3 an engine or the system failed, 130 Ctrl-C.",
        "`POISE_DEBUG=1` shows the traceback of an error, `POISE_HOME` is where models and studies are kept.",
        "",
    ]
    for entry in COMMANDS:
        command = root
        for word in entry.words.split():
            command = command.commands[word]
        doc = inspect.getdoc(function_of(entry)) or ""
        lines += [f"## poise {entry.words}", "", doc, "", "```sh", entry.example, "```", ""]
        rows = [_option_row(p) for p in command.params if "--help" not in p.opts]
        lines += [*_table(("argument or flag", "meaning", "default"), rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def _option_row(p: Any) -> tuple[str, str, str]:
    names = [*p.opts, *p.secondary_opts] if p.opts[0].startswith("-") else [p.name.upper()]
    default = "" if p.default in (None, False, [], ()) or p.required else f"`{p.default}`"
    shown = "required" if p.required else default
    return ", ".join(f"`{n}`" for n in names), p.help or "", shown


def json_fields() -> str:
    """docs/json.md from the schemas of `--json`."""
    lines = [GENERATED.format("src/poise/cli/schemas.py"), "# JSON", ""]
    lines += [
        "With `--json` stdout carries one JSON document and nothing else; messages and progress go to stderr.",
        "A number that does not exist is `null`, never 0 and never NaN.",
        "",
    ]
    nested: dict[str, type[Record]] = {}
    for words, record in DOCUMENTS.items():
        lines += [f"## poise {words} --json", "", *_fields(record, nested), ""]
    told: set[str] = set()
    while waiting := [inner for name, inner in nested.items() if name not in told]:
        for inner in waiting:  # their fields may name more
            told.add(inner.__name__)
            lines += [f"## {inner.__name__}", "", (inner.__doc__ or "").strip(), "", *_fields(inner, nested), ""]
    return "\n".join(lines).rstrip() + "\n"


def _fields(record: type[Record], nested: dict[str, type[Record]]) -> list[str]:
    """A row per field; the records that they hold are added to `nested`."""
    record.model_rebuild()  # names of records that were defined later
    rows = [
        (f"`{name}`", _shown(field.annotation, nested), field.description or "")
        for name, field in record.model_fields.items()
    ]
    return _table(("field", "type", "meaning"), rows)


def _shown(kind: Any, nested: dict[str, type[Record]], plural: bool = False) -> str:
    """A type as JSON has it, for example "list of lists of ReachRecord, or null"."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is list:
        return f"{'lists' if plural else 'list'} of {_shown(inner[0], nested, plural=True)}"
    if origin is dict:
        return f"{'objects' if plural else 'object'} of {_shown(inner[1], nested)}"
    if origin in (Union, types.UnionType):
        return " or ".join(_shown(each, nested) for each in inner)
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in inner)
    if kind is type(None):
        return "null"
    if issubclass(kind, Record):
        nested.setdefault(kind.__name__, kind)
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    return str(kind.__name__)


def _table(heads: tuple[str, ...], rows: Any) -> list[str]:
    body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *body]]


def dumps() -> str:
    """docs/dumps.md from the columns of a dump."""
    lines = [GENERATED.format("src/poise/dumps.py"), "# Dumps", ""]
    lines += [
        "`poise dump` writes one row per completion; `--what pieces` one per piece of every dial, `--what curves` one",
        "per step of every curve. JSON lines are exact; in CSV, lists are JSON in their cell, and a text that a",
        "spreadsheet would take for a formula has an apostrophe in front.",
        "",
        "```sh",
        "poise dump -o texts.csv",
        'poise dial smollm2 "Once upon a time" --temperature 0..1.5 --draws 8 --max-tokens 24',
        "poise dump --what pieces -o pieces.csv",
        "poise dump --what curves -o curves.csv",
        "```",
        "",
        "Without `--study`, completions come from the study that was drawn last, pieces and curves from the one that",
        "was dialled last. A curve is of `loop_rate` and of `nll`, unless `--metric` asks for others.",
    ]
    of_dials = {"Pieces": PIECE_COLUMNS, "Curves": CURVE_COLUMNS}
    for title, columns in {"Completions": COLUMNS, **of_dials}.items():
        rows = [(f"`{name}`", column.kind, column.meaning) for name, column in columns.items()]
        lines += ["", f"## {title}", "", *_table(("column", "type", "meaning"), rows)]
    return "\n".join(lines) + "\n"


def vendors() -> str:
    """docs/vendors.md from `models.vendors`."""
    lines = [GENERATED.format("src/poise/models/vendors.py"), "# What vendors recommend", ""]
    lines += [
        "The baseline `vendor` of a sweep: what the model's own `generation_config.json` says; where it ships none, or",
        "the model is on a server, this table. A model is found by its name; one that was tuned further, or a base",
        "model, has no entry, and neither has a family whose vendor publishes nothing.",
        "",
    ]
    rows = [
        (r.family, r.mode or "–", f"`{r.params.label}`", f"[{r.read}]({r.source})", r.note or "–")
        for r in recommendations()
    ]
    return "\n".join([*lines, *_table(("family", "mode", "settings", "source", "note"), rows)]) + "\n"


def exactness() -> str:
    """docs/dial-table.md: which parameter can be dialled beside which, from `motions`."""
    return "\n".join([GENERATED.format("src/poise/motions.py"), *docs_law.dial_table(_table)]) + "\n"


def readme() -> str:
    """README.md with its file map written again."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{file_map()}{END}{after}"


def file_map() -> str:
    """One line per file of src/poise, floor by floor: its path and the first line of its docstring."""
    captions = {str(p.relative_to(SOURCE)): _caption(p) for p in sorted(SOURCE.rglob("*.py"))}
    width = max(map(len, captions))
    lines = [f"{'__init__.py':<{width}}  {captions['__init__.py']}"]
    for floor in FLOORS:
        lines += ["", f"-- {floor.about}"]
        for unit in floor.units:
            files = [n for n in captions if n == f"{unit}.py" or n.startswith(f"{unit}/")]
            lines += [f"{name:<{width}}  {captions[name]}" for name in files]
    return "\n".join(["```", *lines, "```", ""])


def _caption(path: Path) -> str:
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return doc.partition("\n")[0].rstrip(".")


def main() -> int:
    """Write the pages, or with --check name those that are stale."""
    stale = [p for p, text in pages().items() if not p.exists() or p.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale: run `make docs`")
        return 1 if stale else 0
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
