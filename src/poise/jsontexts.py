"""JSON in texts: read whole, held against a schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn
from urllib.parse import unquote

MAX_DEPTH = 100  # of JSON that is read; what is deeper is nobody's answer, and overflows stacks
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_FENCE = "```"
_PROBES: tuple[object, ...] = (None, {}, [], "", 0)  # on each of them a schema that only calls itself never ends


def read_json(text: str) -> object:
    """Read a text that is JSON as a whole; a Markdown fence around it may stand.

    Args:
        text: any string.

    Returns:
        Plain data.

    Raises:
        ValueError: it is not JSON, or nests deeper than `MAX_DEPTH`.

    >>> read_json('```json\\n{"city": "Oslo"}\\n```')
    {'city': 'Oslo'}
    """
    try:
        found: object = json.loads(_without_fence(text), parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if _depth_above(found, MAX_DEPTH):
        raise ValueError("nested too deep")
    return found


def schema_problem(schema: Mapping[str, Any]) -> str:
    """What keeps a JSON Schema from being used.

    References to other documents are refused: a schema may come from a stranger, and nothing is fetched for it.

    Args:
        schema: plain data.

    Returns:
        The problem as a phrase; empty where there is none.
    """
    from jsonschema.exceptions import SchemaError  # takes 0.2 s, and few use cases have a schema

    if not isinstance(schema.get("$schema", ""), str):
        return "a $schema that is no text"
    try:
        _validator_class(schema).check_schema(schema)
        for reference in _references(schema):
            if not reference.startswith("#"):
                return f"a reference out of the schema, {reference!r}"
            if reference.startswith("#/") and not _points_somewhere(schema, reference):
                return f"a reference to nothing, {reference!r}"
        for probe in _PROBES:
            fits(schema, probe)
    except SchemaError as error:
        return f"{error.message} at {error.json_path}"
    except RecursionError:
        return "a schema that refers to itself without end"
    except Exception as error:  # the library's own, of several kinds, where a schema cannot be followed
        return f"{type(error).__name__}: {error}"
    return ""


def fits(schema: Mapping[str, Any], value: object) -> bool:
    """Whether plain data is as a schema says. Formats (``date``, ``email``, …) are notes, as the standard has it.

    Args:
        schema: of which `schema_problem` found none.
        value: plain data.

    Raises:
        Exception: the library's, where the schema cannot be followed to its end.

    Source: JSON Schema 2020-12, or what ``$schema`` names.
    """
    from referencing import Registry

    # An empty registry: the library's default would fetch what a schema refers to.
    return bool(_validator_class(schema)(schema, registry=Registry()).is_valid(value))


def _validator_class(schema: Mapping[str, Any]) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    return validator_for(schema, default=Draft202012Validator)


def _without_fence(text: str) -> str:
    body = text.strip()
    if len(body) < 2 * len(_FENCE) or not (body.startswith(_FENCE) and body.endswith(_FENCE)):
        return body
    head, _, inside = body[: -len(_FENCE)].partition("\n")
    return body if "`" in head.removeprefix(_FENCE) else inside


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _depth_above(value: object, most: int) -> bool:
    """Without recursion: the value may nest as deep as the parser let it."""
    level = [value]
    for _ in range(most):
        level = [child for one in level for child in _children(one)]
        if not level:
            return False
    return True


def _children(value: object) -> list[object]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _references(schema: object) -> Iterator[str]:
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        waiting += _children(one)
        if isinstance(one, dict):
            yield from (one[name] for name in _REFERENCES if isinstance(one.get(name), str))


def _points_somewhere(schema: object, pointer: str) -> bool:
    """Source: RFC 6901."""
    at = schema
    for part in unquote(pointer[2:]).split("/"):
        step = part.replace("~1", "/").replace("~0", "~")
        if isinstance(at, dict) and step in at:
            at = at[step]
        elif isinstance(at, list) and step.isdecimal() and int(step) < len(at):
            at = at[int(step)]
        else:
            return False
    return True
