"""Tickets: prompts from JSONL and CSV, and what every mistake in one is answered with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import Run
from poise.errors import UseCaseError
from poise.records import Message, Prompt
from poise.usecases import UseCase, load_use_case
from poise.usecases.files import MAX_BYTES


def load(folder: Path, text: str | bytes, name: str) -> UseCase:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_use_case(path)


def said(prompt: Prompt) -> tuple[object, ...]:
    return (prompt.text, prompt.answers, prompt.reference, tuple(map(str, prompt.checks)))


JSONL = """\
{"prompt": "My parcel never came.", "answer": "delivery", "must_include": ["parcel", "sorry"]}

{"prompt": "Charged twice,\\ntwo times", "answer": ["billing", "refund"], "reference": "Done", "must_not_include": "no"}
{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}], "answer": null}
"""
CSV = """\
prompt,answer,reference,must_include,must_not_include,messages
My parcel never came.,delivery,,parcel | sorry,,
,,,,,
"Charged twice,
two times",billing|refund,Done,,no,
,,,,,"[{""role"": ""system"", ""content"": ""Be brief.""}, {""role"": ""user"", ""content"": ""Hello?""}]"
"""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (JSONL, "tickets.jsonl"),
        (CSV, "tickets.csv"),
        (b"\xef\xbb\xbf" + JSONL.encode(), "tickets.jsonl"),
        (b"\xef\xbb\xbf" + CSV.encode(), "tickets.CSV"),
        (JSONL.replace("\n", "\r\n"), "tickets.jsonl"),
    ],
)
def test_records_become_prompts(tmp_path: Path, text: str | bytes, name: str) -> None:
    case = load(tmp_path, text, name)
    assert (case.name, case.goal, case.mode, case.max_tokens) == ("tickets", None, None, None)
    assert said(case.prompts[0]) == (
        "My parcel never came.", ("delivery",), None, ("must_include parcel, sorry",),
    )  # fmt: skip
    assert said(case.prompts[1]) == (
        "Charged twice,\ntwo times", ("billing", "refund"), "Done", ("must_not_include no",),
    )  # fmt: skip
    assert case.prompts[2].messages == (Message("system", "Be brief."), Message("user", "Hello?"))
    assert {p.use_case for p in case.prompts} == {"tickets"}


# One mistake each: the file's suffix and content, what the error says (rule, value with its line, next step).
MISTAKES: dict[str, tuple[str, str | bytes, str]] = {
    "no json": ("jsonl", '{"prompt": "a"}\n{"prompt": \n', "is one JSON object, but got Expecting value, line 2 of"),
    "a list": ("jsonl", '["a"]\n', "is one JSON object, but got list, line 1 of t.jsonl. For example {"),
    "a text": ("jsonl", '\n\n"a"\n', "is one JSON object, but got str, line 3 of t.jsonl"),
    "no number": ("jsonl", '{"prompt": NaN}\n', "NaN is not JSON, line 1 of t.jsonl"),
    "deep": ("jsonl", "[" * 100_000 + "\n", "nested too deep, line 1 of t.jsonl"),
    "misspelt": ("jsonl", '{"prompt": "a"}\n{"promt": "b"}\n', "got 'promt', line 2 of t.jsonl. Did you mean prompt?"),
    "unknown": ("jsonl", '{"prompt": "a", "id": 3}\n', "A column is one of prompt, messages, answer, reference"),
    "a number": ("jsonl", '{"prompt": "a", "answer": 42}\n', "none empty, but got 42, line 1 of t.jsonl. Write text"),
    "neither": ("jsonl", '{"prompt": "a"}\n{"answer": "b"}\n', "or messages, but got line 2 of t.jsonl, which has no"),
    "a key twice": ("jsonl", '{"prompt": "a"}\n{"prompt": "b", "prompt": "c"}\n', "got 'prompt' twice, line 2 of t."),
    "a role twice": ("jsonl", '{"messages": [{"role": "user", "role": "user"}]}\n', "got 'role' twice, line 1 of t.j"),
    "the assistant": ("jsonl", '{"messages": [{"role": "assistant", "content": "x"}]}\n', "A chat ends with the user"),
    "both": ("jsonl", '{"prompt": "a", "messages": [{"role": "user", "content": "b"}]}\n', "prompt and messages, line"),
    "a role": ("jsonl", '{"messages": [{"role": "usr", "content": "b"}]}\n', "A role is system, user or assistant"),
    "a field": ("jsonl", '{"messages": [{"role": "user", "content": "b", "x": 1}]}\n', "'x', line 1 of t.jsonl. Re"),
    "twice": ("jsonl", '{"prompt": "a"}\n\n{"prompt": "a"}\n', "is prompt 1 again, but got {'prompt': 'a'}, line 3"),
    "blank": ("jsonl", '{"prompt": " "}\n', "A prompt has text, but got {'prompt': ' '}, line 1 of t.jsonl"),
    "nothing": ("jsonl", "\n", 'none in t.jsonl. One record a line, for example {"prompt": "My parcel never came."'),
    "empty phrase": ("jsonl", '{"prompt": "a", "must_include": [" "]}\n', "none empty, but got [' '], line 1 of t"),
    "no UTF-8": ("jsonl", b'{"prompt": "a"}\n{"prompt": "\xff"}\n', "is UTF-8 text, but got line 2 of t.jsonl"),
    "csv unknown": ("csv", "promt,answer\na,b\n", "but got 'promt', line 1 of t.csv. Did you mean prompt?"),
    "csv twice": ("csv", "prompt,prompt\na,b\n", "A column is there once, but got 'prompt' twice, line 1 of t.csv"),
    "csv short": ("csv", 'prompt,answer\n"a\nb",c\nd\n', "as many cells as the header, here 2, but got 1, line 4"),
    "csv long": ("csv", "prompt,answer\na,b,c\n", "as many cells as the header, here 2, but got 3, line 2 of t.csv"),
    "csv quote": ("csv", 'prompt\na\n"b"c\n', "line 3 of t.csv. Write a quote inside quotes twice"),
    "csv open quote": ("csv", 'prompt\n"a\n', "unexpected end of data, line 2 of t.csv"),
    "csv huge cell": ("csv", f"prompt\n{'a' * 200_000}\n", "field larger than field limit (131072), line 2 of t.csv"),
    "csv empty answer": ("csv", "prompt,answer\na,b|\n", "none empty, but got '', line 2 of t.csv"),
    "csv messages": ("csv", "messages\nhello\n", "A cell of messages is a JSON list of {role, content}, but got"),
    "csv nothing": ("csv", "", "none in t.csv. A header and one record a line, for example prompt,answer and below it"),
    "csv header alone": ("csv", "prompt,answer\n", "A ticket file has at least one prompt, but got none in t.csv"),
    "csv semicolons": ("csv", "prompt;answer\na;b\n", "but got semicolons, line 1 of t.csv. Save it with commas"),
    "csv tabs": ("csv", "prompt\tanswer\na\tb\n", "commas between its cells, but got tabs, line 1 of t.csv"),
    "csv empty cell": ("csv", "prompt,answer\na,b\n,c\n", "but got line 3 of t.csv, which has no prompt"),
    "csv hostile": ("csv", "prompt,\x1b[31m\na,b\n", "but got '\\x1b[31m', line 1 of t.csv"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_is_answered(tmp_path: Path, name: str) -> None:
    suffix, text, message = MISTAKES[name]
    with pytest.raises(UseCaseError) as caught:
        load(tmp_path, text, f"t.{suffix}")
    assert message in str(caught.value)
    assert caught.value.next_step
    assert len(str(caught.value)) < 500


def test_a_file_that_is_not_there_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(UseCaseError, match=r"a YAML, JSONL or CSV file, but got .*missing\.jsonl"):
        load_use_case(tmp_path / "missing.jsonl")
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(2 * MAX_BYTES)
    with pytest.raises(UseCaseError, match=r"at most 5 MB, but got 10\.0 MB"):
        load_use_case(tmp_path / "huge.csv")


@given(junk=st.binary(max_size=60), suffix=st.sampled_from(["jsonl", "csv"]))
def test_any_bytes_load_or_are_answered(tmp_path_factory: pytest.TempPathFactory, junk: bytes, suffix: str) -> None:
    try:
        done: UseCase | UseCaseError = load(tmp_path_factory.mktemp("case"), junk, f"t.{suffix}")
    except UseCaseError as error:
        done = error
    assert done.prompts if isinstance(done, UseCase) else done.next_step


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip), min_size=1, unique=True)
)
def test_any_text_comes_back_as_written(tmp_path_factory: pytest.TempPathFactory, prompts: list[str]) -> None:
    text = "".join(json.dumps({"prompt": p}) + "\n" for p in prompts)
    assert [p.text for p in load(tmp_path_factory.mktemp("case"), text, "t.jsonl").prompts] == prompts


def test_tickets_are_swept_and_measured(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text(
        "prompt,must_include\nthe ship,ship\nthe quiet,quiet|ship\n", encoding="utf-8"
    )
    assert run("sweep", "fake", "-f", "tickets.csv", "--temperature", "0.3,0.9", "--draws", "8").code == 0
    rows = json.loads(run("measure", "--metric", "passes", "--json").out)["rows"]
    assert {(r["use_case"], r["metric"], r["n"], r["n_prompts"]) for r in rows} == {("tickets", "passes", 16, 2)}
    shown = json.loads(run("usecase", "show", "tickets.csv", "--json").out)
    assert (shown["name"], shown["goal"], shown["checks"]) == (
        "tickets", None, [["must_include ship"], ["must_include quiet, ship"]],
    )  # fmt: skip
