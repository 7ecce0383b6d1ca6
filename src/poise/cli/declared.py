"""A command whose flags are the fields of a record."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints


def with_flags_of(record: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag per field of a record; its last argument receives them as one.

    Args:
        record: a dataclass whose fields are annotated as Typer wants them.

    Returns:
        What turns a function with a parameter called `asked` into the function that Typer is to see.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "asked"]

        def with_flags(**given: Any) -> None:
            mine = {p.name: given.pop(p.name) for p in own}
            command(**mine, asked=record(**given))

        by_name = inspect.Parameter.KEYWORD_ONLY
        kinds = get_type_hints(record, include_extras=True)
        flags = [
            inspect.Parameter(f.name, by_name, default=_default(f), annotation=kinds[f.name])
            for f in dataclasses.fields(record)
        ]
        kept = [p.replace(kind=by_name) for p in own]
        with_flags.__signature__ = inspect.Signature([*kept, *flags])  # type: ignore[attr-defined]
        with_flags.__name__, with_flags.__doc__ = command.__name__, command.__doc__
        return with_flags

    return decorate


def _default(field: dataclasses.Field[Any]) -> Any:
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
