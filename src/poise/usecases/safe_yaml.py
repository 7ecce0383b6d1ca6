"""Reads YAML safely: bounded, without aliases, every value with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from poise.errors import UseCaseError
from poise.usecases.files import Document, Mark, Place, read_text

MAX_DEPTH = 20
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is some fifty times faster
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map")}


def read(path: Path) -> Document:
    """Read one YAML document.

    Args:
        path: its file.

    Returns:
        Its content: mappings with text keys, lists, text, numbers, booleans and None.

    Raises:
        UseCaseError: no such file, too large, not UTF-8, not YAML, or YAML with aliases or tags.
    """
    return _parse(read_text(path), path.name)


def _parse(text: str, name: str) -> Document:
    marks: dict[Place, Mark] = {}
    try:
        _refuse_traps(text, name)
        node = yaml.compose(text, Loader=_Loader)
        return Document(name, None if node is None else _plain(node, (), marks, name), marks)
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        if "nesting" in (error.problem or ""):  # libyaml has a limit of its own, which it may meet before ours
            raise _too_deep(where, name) from None
        line = f"line {where.line + 1} of " if where else ""
        got = f"{line}{name}: {error.problem or error.context}"
    except yaml.YAMLError as error:
        got = f"{name}: {str(error).splitlines()[0]}"
    raise UseCaseError("A use-case file must be valid YAML", got, "Indent with spaces; quote text that holds ': ' or #")


def _refuse_traps(text: str, name: str) -> None:
    """Aliases can stand for gigabytes and deep nesting can overflow the stack: both are stopped before building."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise _trap("A use-case file may not use YAML aliases", f"*{event.anchor}", event.start_mark, name)
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            depth -= 1
        if depth > MAX_DEPTH:
            raise _too_deep(event.start_mark, name)


def _too_deep(mark: Any, name: str) -> UseCaseError:
    return _trap(f"A use-case file nests at most {MAX_DEPTH} deep", "more", mark, name)


def _trap(rule: str, got: str, mark: Any, name: str) -> UseCaseError:
    return UseCaseError(rule, f"{got} in line {mark.line + 1} of {name}", "Write the text out")


def _plain(node: Any, place: Place, marks: dict[Place, Mark], name: str) -> object:
    """A node as plain data; only scalars of YAML's own types are built, nothing else is made."""
    line = node.start_mark.line + 1
    marks[place] = Mark(line, node.value if isinstance(node, yaml.ScalarNode) else None)
    if node.tag not in _TAGS:
        # A date, or something that asks for a type of its own: it is text, in quotes, or not at all.
        written = repr(node.value) if isinstance(node, yaml.ScalarNode) else node.tag
        raise UseCaseError(
            "A use case holds text, numbers, lists and mappings", f"{written} in line {line} of {name}", "Quote text"
        )
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*place, i), marks, name) for i, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, marks, name)
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except ValueError as error:
        raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from error


def _mapping(node: Any, place: Place, marks: dict[Place, Mark], name: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for key_node, child in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise UseCaseError("A field's name is text", f"line {line} of {name}", "Quote text that starts with [ or {")
        key = str(key_node.value)
        if key in found:
            raise UseCaseError("A field is given once", f"{key!r} again in line {line} of {name}", "Remove one of them")
        found[key] = _plain(child, (*place, key), marks, name)
        marks[*place, key] = Mark(line, marks[*place, key].written)
    return found
