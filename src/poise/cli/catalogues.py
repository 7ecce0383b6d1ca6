"""list and usecase: what there is to choose from."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import poise
from poise.cli.evidence import JsonFlag
from poise.cli.flags import LIST_FLAGS, flag
from poise.cli.schemas import Item, Listed, UseCaseRecord
from poise.cli.terminal import quoted, room, show, show_json
from poise.errors import UsageError
from poise.params import DIALECTS, PARAMETERS
from poise.tables import Table


def list_names(
    kind: Annotated[str, typer.Argument(help="params, metrics, engines, models, dialects or usecases.")],
    as_json: JsonFlag = False,
) -> None:
    """List parameters, metrics, engines, models, dialects or use cases."""
    if kind not in CATALOGUES:
        raise UsageError(f"`poise list` knows {', '.join(CATALOGUES)}", repr(kind), "For example `poise list params`")
    items = CATALOGUES[kind]()
    if as_json:
        show_json(Listed(kind=kind, items=items))
        return
    show(_shown(kind, items))
    show(f"\nNext: {NEXT[kind]}")


def _shown(kind: str, items: list[Item]) -> str:
    """The catalogue as people read it: the last column is wrapped, so that every line fits."""
    details = [name for name in (items[0].details if items else []) if name not in UNSHOWN]
    cells = [[i.name, *(i.details[name] for name in details)] for i in items]
    taken = sum(max(len(row[c]) for row in [["name", *details], *cells]) + 2 for c in range(len(details) + 1))
    width = max(40, room(WIDEST) - taken - 4)
    rows: list[list[str]] = []
    for cell, item in zip(cells, items, strict=True):
        first, *more = textwrap.wrap(item.meaning, width, break_on_hyphens=False) or [""]
        rows += [[*cell, first], *([*[""] * len(cell), line] for line in more)]
    last = "order of the steps" if kind == "dialects" else "meaning"
    return Table(kind, ("name", *details, last), rows).text()


def new_use_case(
    path: Annotated[str, typer.Argument(help="File to write, for example mine.yaml. An existing file stays.")],
    as_json: JsonFlag = False,
) -> None:
    """Write a commented use-case file to start from."""
    file = Path(path)
    if file.is_dir():
        raise UsageError("A use case goes to a file", f"the folder '{path}'" if path else "''", "For example mine.yaml")
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(poise.template_text())
    except FileExistsError as error:
        raise UsageError("A new use case gets a new file", f"{path}, which exists", "Choose another name") from error
    except OSError as error:
        raise UsageError(
            "The use case must be writable", f"{path}: {error.strerror}", "Choose another folder"
        ) from error
    if as_json:
        _show_record(path)
        return
    show(f"{path}  (edit the prompts, then draw)")
    show(f"\nNext: poise sweep smollm2 -f {quoted(path)} --temperature 0.3,0.9")


def show_use_case(
    name: Annotated[str, typer.Argument(help="A built-in name, or a YAML, JSONL or CSV file.")],
    as_json: JsonFlag = False,
) -> None:
    """Show what a use case is for, its goal, prompts and checks."""
    if as_json:
        _show_record(name)
        return
    case = poise.load_use_case(name)
    show(f"{case.name}: {case.description}\n")
    if case.goal is not None:
        show(f"goal: {case.goal}\n")
    for number, prompt in enumerate(case.prompts, 1):
        show(f"{number:>3}  {prompt.shown}")
        for check in prompt.checks:
            show(f"     check: {check}")
    show(f"\nNext: poise sweep smollm2 -f {quoted(name)} --temperature 0.3,0.9")


def list_use_cases(as_json: JsonFlag = False) -> None:
    """List the built-in use cases."""
    list_names("usecases", as_json)


def _show_record(name: str) -> None:
    case = poise.load_use_case(name)
    built_in = name in poise.built_in_names()
    record = UseCaseRecord(
        name=case.name,
        path=None if built_in else os.path.abspath(name),
        description=case.description,
        goal=None if case.goal is None else str(case.goal),
        prompts=[p.shown for p in case.prompts],
        checks=[list(map(str, p.checks)) for p in case.prompts],
    )
    show_json(record)


def _params() -> list[Item]:
    numbers = {name: (p.range_text, p.meaning) for name, p in PARAMETERS.items()}
    lists = {name: (written, meaning) for name, (written, meaning) in LIST_FLAGS.items()}
    return [
        Item(name=name, meaning=meaning, details={"range": reach, "flag": flag(name), "dialects": _having(name)})
        for name, (reach, meaning) in {**numbers, **lists}.items()
    ]


def _having(name: str) -> str:
    """The dialects of engines that have a parameter; those that poise adds it to are in brackets."""
    steps = (PARAMETERS[name].leaders if name in PARAMETERS else ()) or (STEP_OF.get(name, name),)
    found = []
    for d in DIALECTS.values():
        if d.orderable if name == "order" else any(map(d.has, steps)):
            added = all(step in d.extensions for step in steps if d.has(step))
            found.append(f"({d.name})" if added and name != "order" else d.name)
    return ", ".join(found)


def _metrics() -> list[Item]:
    made: Mapping[str, Any] = poise.METRICS
    return [
        Item(name=name, meaning=m.meaning, details={"unit": m.unit, "better": m.direction, "per": m.level})
        for name, m in made.items()
    ]


def _engines() -> list[Item]:
    return [
        Item(name=name, meaning=entry.meaning, details={"written": entry.spec}) for name, entry in poise.ENGINES.items()
    ]


def _models() -> list[Item]:
    """Models by the name one can pass as MODEL."""
    return [Item(name=entry.spec, meaning=entry.meaning, details={}) for entry in poise.ENGINES.values()]


def _dialects() -> list[Item]:
    return [
        Item(
            name=name, meaning=" → ".join(d.order),
            details={"source": d.source, "version": d.version, "added by poise": ", ".join(sorted(d.extensions))},
        )
        for name, d in DIALECTS.items()
    ]  # fmt: skip


def _use_cases() -> list[Item]:
    cases = [poise.load_use_case(name) for name in poise.built_in_names()]
    return [Item(name=c.name, meaning=c.description, details={"prompts": str(len(c.prompts))}) for c in cases]


UNSHOWN = ("flag", "dialects", "source", "version", "added by poise")  # in JSON and in the docs alone
WIDEST = 100  # columns where no terminal says
STEP_OF = {"dry_breakers": "dry_multiplier"}
CATALOGUES: Mapping[str, Callable[[], list[Item]]] = {
    "params": _params,
    "metrics": _metrics,
    "engines": _engines,
    "models": _models,
    "dialects": _dialects,
    "usecases": _use_cases,
}
NEXT: Mapping[str, str] = {
    "params": "poise sweep smollm2 'Once upon a time' --temperature 0.3,0.5,0.9",
    "metrics": "poise measure",
    "engines": "poise list models",
    "models": "poise generate smollm2 'Once upon a time' --temperature 0.7",
    "dialects": "poise list params",
    "usecases": "poise usecase show creative-story",
}
