"""Read: an engine's settings file as the law that it stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from poise.errors import UsageError
from poise.exports import ggufs
from poise.exports.catalogue import TARGETS, find_target
from poise.exports.parsing import fields_in
from poise.exports.settling import Found, settle
from poise.exports.target import Form, Target
from poise.exports.wrapped import unwrapped
from poise.exports.writing import PROVENANCE
from poise.params import SamplingParams

LARGEST = 10_000_000  # bytes of a settings file that is no GGUF
_NO_PATH = re.compile(r"[\n{}=(]|\s-|^\s*((?i:parameter)\s|-|\[)")  # what texts have, and names of files hardly ever


def read(given: str | Path, format: str | None = None) -> SamplingParams:
    """Read settings as an engine's own file, request, command line or code says them.

    Args:
        given: a path, or the text itself.
        format: a target of `export`; None where the text says which.

    Returns:
        The law that it stands for, in that engine's dialect: what it leaves out has the engine's own default. Fields
        that shape no law, such as lengths and stops, are left out; `read_found` lists them.

    Raises:
        UsageError: no such file, a text that is none of these formats, or could be several.
        ParameterError: a field that the format has not, a value of the wrong kind, a step that poise has not.

    >>> read('PARAMETER temperature 0.7\\nPARAMETER top_k 20', "ollama").label
    'temperature=0.7,top_k=20,top_p=0.9,dialect=ollama'
    """
    return read_found(given, format).params


def read_found(given: str | Path, format: str | None = None) -> Found:
    """The same, with the fields that were left out and the defaults that were filled in; see `read`."""
    target = None if format is None else find_target(format, "A format")
    path = _path(given)
    if path is not None:
        _check_file(path)
    if path is not None and _is_gguf(path, target):
        gguf = TARGETS["gguf"]
        return settle(ggufs.read_keys(path), gguf, gguf.sheets["keys"])
    if path is None:
        return read_text(str(given), format)
    return _settled(_text(path), target, path.name, str(path))


def read_text(text: str, format: str | None = None) -> Found:
    """The same of a text, whatever it looks like; see `read`."""
    return _settled(text, None if format is None else find_target(format, "A format"), "", "The text")


def _settled(text: str, target: Target | None, name: str, what: str) -> Found:
    text = text.removeprefix("\ufeff")
    if _form_of(text) == "json" and (inner := unwrapped(_json(text, what), target)):
        settled = settle(inner.fields, inner.target, inner.target.sheets[inner.form])
        return replace(settled, left_out=(*inner.beside, *settled.left_out))
    found, form = _recognised(text, target, name, what)
    sheet = found.sheets[form]
    return settle(fields_in(text, form, sheet, what), found, sheet)


def _path(given: object) -> Path | None:
    """A file that is meant; None for a text."""
    if isinstance(given, Path) and "\0" not in str(given):
        return given
    if not isinstance(given, str) or "\0" in given:  # a zero byte, which neither has
        raise UsageError("Settings are read from a path or a text", repr(given)[:80], 'For example "settings.json"')
    if not given.strip():
        raise UsageError("Settings are read from a path or a text", "an empty one", 'For example "settings.json"')
    path = Path(given)
    try:
        return path if path.exists() or not _NO_PATH.search(given) else None
    except (OSError, ValueError):  # too long for a name, or with a zero byte
        return None


def _check_file(path: Path) -> None:
    """A device or a pipe may have no end."""
    if path.is_dir():
        raise UsageError("Settings are read from a file", f"the folder '{path}'", "Name a file in it")
    if path.exists() and not path.is_file():
        got = f"'{path}', which is a device or a pipe"
        raise UsageError("Settings are read from a file", got, "Name a file, or pipe a text into `poise import -`")


def _is_gguf(path: Path, target: Target | None) -> bool:
    if target is not None:
        return target.name == "gguf" and path.suffix.lower() != ".txt"
    try:
        with path.open("rb") as file:
            return file.read(len(ggufs.MAGIC)) == ggufs.MAGIC or path.suffix.lower() == ".gguf"
    except OSError as error:
        raise _unreadable(path, error) from error


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            rule = f"A settings file has at most {LARGEST:,} bytes, unless it is GGUF"
            raise UsageError(rule, f"more in {path}", "Name another")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise UsageError("A settings file is UTF-8 text, or GGUF", f"{path}, which is not", "Name another") from error


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError("Settings are read from a file that can be read", f"{path}: {error.strerror}", "Name another")


def _recognised(text: str, target: Target | None, name: str, what: str) -> tuple[Target, Form]:
    """Which target's text it is, and in which form."""
    form = _form_of(text)
    if target is not None:
        if form == "json":
            _with_json(target, what)
        elif form not in target.sheets:
            form = next(iter(target.sheets))
        return target, form
    if form == "json":
        return _json_target(text, name, what), form
    for known in TARGETS.values():
        sheet = known.sheets.get(form)
        if sheet is not None and _fits(text, form, sheet.program, tuple(sheet.calls)):
            return known, form
    raise UsageError(
        f"{what} is a settings file of {', '.join(TARGETS)}", repr(text[:60]), "Name its --format, or another file"
    )


def _form_of(text: str) -> Form:
    head = text.lstrip("\ufeff \t\r\n")
    lines = [line.strip() for line in head.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    first = lines[0] if lines else ""
    if head.startswith(("{", "[")):
        return "json"
    if any(line.startswith(ggufs.PREFIX) for line in lines):
        return "keys"
    if any(re.match(r"(?i)(parameter|from)\s+\S+", line) and "import" not in line for line in lines):
        return "modelfile"
    if re.match(r"(exec\s+)?(-{1,2}[a-z]|\S*(llama-\w+|vllm)\s)", first):
        return "flags"
    return "python"


def _fits(text: str, form: Form, program: tuple[str, ...], calls: tuple[str, ...]) -> bool:
    """Whether a text is of this target rather than of another one with the same form."""
    if form == "python":
        return any(f"{call}(" in text for call in calls)
    if form == "flags":
        named = [
            p for t in TARGETS.values() for s in t.sheets.values() for p in [" ".join(s.program)] if p and p in text
        ]
        return " ".join(program) in (named or ["llama-cli"])
    return True


def _json(text: str, what: str) -> dict[str, Any]:
    """Fields of an object, whoever's they are."""
    return fields_in(text, "json", TARGETS["openai"].sheets["json"], what)


def _json_target(text: str, name: str, what: str) -> Target:
    """Whose JSON it is: as it says, by its usual name, or by the fields that only one target has."""
    fields = _json(text, what)
    own = fields.get(PROVENANCE)
    said = own.get("target") if isinstance(own, dict) else None
    if said is not None:
        return _with_json(find_target(said, f"The target of {PROVENANCE}"), what)
    able = [t for t in TARGETS.values() if "json" in t.sheets and _knows(fields, t)]
    if name == "generation_config.json" or {"do_sample", "transformers_version"} & {*fields}:
        return TARGETS["transformers"]
    if len(able) == 1:
        return able[0]
    if not able:
        # The closest one then says which field it has not.
        return max((t for t in TARGETS.values() if "json" in t.sheets), key=lambda t: _share(fields, t))
    names = ", ".join(t.name for t in able)
    raise UsageError("Settings are read for one engine", f"{what}, which could be for {names}", "Name its --format")


def _with_json(target: Target, what: str) -> Target:
    """A target whose settings may be written as JSON."""
    if "json" not in target.sheets:
        able = ", ".join(t.name for t in TARGETS.values() if "json" in t.sheets)
        rule = f"Settings are JSON for {able}"
        raise UsageError(rule, f"{what}, which is JSON, as {target.name}'s", "Name one of these as its --format")
    return target


def _knows(fields: Mapping[str, Any], target: Target) -> bool:
    return _share(fields, target) == len(fields)


def _share(fields: Mapping[str, Any], target: Target) -> int:
    """How many of the fields a target knows."""
    sheet = target.sheets["json"]
    lists = {sheet.bars, sheet.words, sheet.breakers, sheet.sequence, sheet.switch, sheet.bias[0] if sheet.bias else ""}
    law = {n for name in sheet.names for n in sheet.written(name)}
    return len({*fields} & ({PROVENANCE, *lists, *sheet.apart, *sheet.neutral} | law))
