"""The exact commands that make a study's numbers again."""

from __future__ import annotations

import itertools
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from poise.escapes import changed
from poise.param_lists import LISTS
from poise.params import DEFAULT_DIALECT, PARAMETERS, Number, SamplingParams
from poise.records import Fingerprint, Prompt, Trial, params_record
from poise.reports.axes import value_of
from poise.reports.served import address
from poise.reports.survey import Limits, Survey
from poise.usecases import built_in_names, load_use_case

DTYPES = ("float32", "bfloat16", "float16")  # those that can be asked for
MAX_FILE = 60_000  # characters of a use-case file shown on a page


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to draw one use case again.

    Args:
        use_case: its name.
        commands: command lines for a POSIX shell.
        file: content of `usecase.yaml` that the commands read; empty where they need none.
        file_too_long: whether the prompts are too many to be shown on a page.
    """

    use_case: str
    commands: tuple[str, ...]
    file: str
    file_too_long: bool


def make_recipe(fingerprint: Fingerprint, survey: Survey) -> Recipe:
    """Command lines that draw a use case again.

    Args:
        fingerprint: of the engine.
        survey: of the use case.

    Returns:
        One command per limit and seed, and per setting where the settings are no full grid.
    """
    built_in = _is_built_in(survey)
    needs_file = not built_in and _needs_file(survey)
    source = ["-f", survey.use_case] if built_in else ["-f", "usecase.yaml"] if needs_file else _prompt_flags(survey)
    swept = [t for t in survey.trials if not t.names] or list(survey.trials)
    model, *how = address(fingerprint)
    start = ["poise", "sweep", model, *source, *how]
    end = ["--dtype", fingerprint.dtype] if fingerprint.dtype in DTYPES else []
    end += [] if any(t.names for t in survey.trials) else ["--no-baselines"]
    end += ["--study", "again.db"]
    commands = [
        shlex.join([*start, *flags, *_draw_flags(survey, seed, limits), *end])
        for limits, seed, flags in itertools.product(survey.limits, survey.seeds, _settings(swept, fingerprint.served))
    ]
    text = use_case_file(survey) if needs_file else ""
    too_long = len(text) > MAX_FILE
    return Recipe(survey.use_case, tuple(commands), "" if too_long else text, too_long)


def use_case_file(survey: Survey) -> str:
    """A use case's goal and prompts as a YAML file that `poise sweep -f` reads.

    Args:
        survey: of the use case.

    Returns:
        YAML in plain ASCII: control characters and bidi marks are written as escapes.
    """
    goal = {} if survey.goal is None else {"goal": survey.goal.record()}
    record = {"name": survey.use_case, **goal, "prompts": [_prompt_entry(p) for p in survey.prompts]}
    text: str = yaml.safe_dump(record, sort_keys=False, allow_unicode=False, width=100)
    return text


def _draw_flags(survey: Survey, seed: int, limits: Limits) -> list[str]:
    flags = ["--draws", str(survey.most), "--seed", str(seed), "--max-tokens", str(limits.max_tokens)]
    flags += ["--min-tokens", str(limits.min_tokens)] if limits.min_tokens else []
    return flags + [part for s in limits.stop for part in ("--stop", s)]


def _settings(trials: Sequence[Trial], served: bool) -> list[list[str]]:
    """Flags of every sweep; those that differ in more than numbers are apart. A server's dialect is its own."""
    alike: dict[str, list[Trial]] = {}
    for trial in trials:
        alike.setdefault(repr((trial.params.lists(), trial.params.dialect)), []).append(trial)
    return [[*numbers, *_rest(group[0].params, served)] for group in alike.values() for numbers in _grids(group)]


def _rest(params: SamplingParams, served: bool) -> list[str]:
    """The flags of what is no number."""
    said = {name: json.dumps(value) for name, value in params_record(params).items() if name in LISTS}
    said |= {"dialect": params.dialect} if params.dialect != DEFAULT_DIALECT and not served else {}
    return [word for name, text in said.items() for word in (f"--{name.replace('_', '-')}", text)]


def _grids(trials: Sequence[Trial]) -> list[list[str]]:
    """Flags of one sweep where the settings are a full grid, of one per setting otherwise."""
    spread: dict[str, tuple[Number | None, ...]] = {
        n: tuple(dict.fromkeys(value_of(t.params, n) for t in trials)) for n in PARAMETERS
    }
    if math.prod(len(v) for v in spread.values()) == len(trials):
        return [_flags(spread)]
    return [_flags({n: (value_of(t.params, n),) for n in PARAMETERS}) for t in trials]


def _flags(spread: dict[str, tuple[Number | None, ...]]) -> list[str]:
    flags: list[str] = []
    for name, values in spread.items():
        if values in ((None,), (PARAMETERS[name].neutral,)) and name != "temperature":
            continue
        said = ",".join("off" if v is None else f"{v!r}" for v in sorted(values, key=lambda v: (v is None, v or 0)))
        flag = f"--{name.replace('_', '-')}"
        flags += [f"{flag}={said}"] if said.startswith("-") else [flag, said]
    return flags


def _is_built_in(survey: Survey) -> bool:
    if survey.use_case not in built_in_names():
        return False
    case = load_use_case(survey.use_case)
    # A limit of zero is no flag in a recipe, and a stop string cannot be taken back: there the built-in's would hold.
    differs = any((case.min_tokens and not at.min_tokens) or (case.stop and not at.stop) for at in survey.limits)
    return not differs and case.prompts == survey.prompts and survey.goal in (None, case.goal)


def _prompt_flags(survey: Survey) -> list[str]:
    prompt = survey.prompts[0]
    system = next((m.content for m in prompt.messages if m.role == "system"), "")
    return [prompt.shown, "--chat" if prompt.chat else "--text", *(["--system", system] if system else [])]


def _needs_file(survey: Survey) -> bool:
    """A goal, several prompts, answered or checked ones, a conversation, or characters nobody can type."""
    prompt = survey.prompts[0]
    said = [prompt.text or "", *(m.content for m in prompt.messages)]
    turns = [m.role for m in prompt.messages if m.role != "system"]
    judged = bool(prompt.answers or prompt.checks or prompt.reference is not None or survey.goal is not None)
    plain = not judged and turns in ([], ["user"])
    return len(survey.prompts) > 1 or not plain or any(changed(s) or s.startswith("-") for s in said)


def _prompt_entry(prompt: Prompt) -> object:
    entry: dict[str, object] = {}
    if prompt.text is not None:
        entry["text"] = prompt.text
    else:
        entry["messages"] = [{"role": m.role, "content": m.content} for m in prompt.messages]
    if prompt.answers:
        entry["answer"] = list(prompt.answers)
    if prompt.reference is not None:
        entry["reference"] = prompt.reference
    if prompt.checks:
        entry["check"] = [check.record() for check in prompt.checks]
    return entry
