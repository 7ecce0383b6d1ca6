"""Use cases: what a file may say, and what every mistake in one is answered with."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import poise
from poise.errors import UseCaseError
from poise.records import Message, Prompt
from poise.usecases import UseCase, built_in_names, load_use_case, template_text
from poise.usecases.files import MAX_BYTES


def write(folder: Path, text: str | bytes, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_seven_are_built_in() -> None:
    assert built_in_names() == [
        "brainstorm",
        "creative-story",
        "factual-answer",
        "json-extraction",
        "summarise",
        "support-answer",
        "technical-explanation",
    ]


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("creative-story", "Once upon a time, in a distant galaxy, there was a spaceship called Voyager."),
        ("technical-explanation", "Explain how blockchain works in simple terms."),
    ],
)
def test_a_built_in_use_case_starts_with_the_articles_prompt(name: str, first: str) -> None:
    case = load_use_case(name)
    assert (case.name, case.mode, case.max_tokens, case.min_tokens) == (name, "text", 128, 1)
    assert case.description
    assert case.prompts[0] == Prompt(first, reference=case.prompts[0].reference, use_case=name)
    assert len(case.prompts) == 24
    lengths = [len(prompt.text or "") for prompt in case.prompts]
    assert min(lengths) > 0.5 * len(first)
    assert max(lengths) < 2.2 * len(first)


def test_the_template_loads_itself(tmp_path: Path) -> None:
    case = load_use_case(write(tmp_path, template_text()))
    assert case.name == "my-use-case"
    assert case.prompts[1].answers == ("Oslo",)
    assert [str(c) for c in case.prompts[1].checks] == [
        "must_include Oslo", "must_not_include sorry, as an AI", "regex [.!?]$",
    ]  # fmt: skip
    assert [str(c) for c in case.prompts[5].checks] == ["numeric", "regex [.!?]$"]
    assert case.goal is not None
    assert str(case.goal).startswith("raise passes; invalid <= 0.05; differences under 0.05")
    assert case.prompts[3].reference
    assert [m.role for m in case.prompts[4].messages] == ["system", "user", "assistant", "user"]
    commented = template_text()
    for field in UseCase.model_fields:
        assert re.search(rf"^(# )?{field}:", commented, re.MULTILINE), f"the template shows {field}"


def test_all_that_a_file_can_say(tmp_path: Path) -> None:
    text = """
name: capitals
description: Two questions.
mode: chat
system: Be brief.
max_tokens: 20
min_tokens: 2
stop: ["\\n\\n", "###"]
prompts:
  - Of France?
  - prompt: Of Norway?
    answer: [Oslo, Kristiania]
    reference: It is Oslo.
"""
    case = load_use_case(write(tmp_path, text))
    assert (case.max_tokens, case.min_tokens, case.stop) == (20, 2, ("\n\n", "###"))
    brief = Message("system", "Be brief.")
    assert case.prompts == (
        Prompt(messages=(brief, Message("user", "Of France?")), use_case="capitals"),
        Prompt(
            messages=(brief, Message("user", "Of Norway?")),
            answers=("Oslo", "Kristiania"),
            reference="It is Oslo.",
            use_case="capitals",
        ),
    )


def test_a_goal_and_checks(tmp_path: Path) -> None:
    text = """
name: sums
goal: {hold: nll, near: reference, also: {lower: length}, constraints: passes >= 0.9, matters: 0.1, baseline: greedy}
check: [{must_not_include: sorry}, {must_include: metres}]
prompts:
  - text: How high?
    answer: "42"
    check: [numeric, {regex: "^[0-9]"}]
    must_include: [metres]
  - How long?
"""
    case = load_use_case(write(tmp_path, text))
    assert str(case.goal) == (
        "hold nll near the reference; also lower length; passes >= 0.9; differences under 0.1 do not matter; "
        "baseline greedy"
    )
    both = ["must_not_include sorry", "must_include metres"]
    assert list(map(str, case.check)) == both
    first, second = ([str(c) for c in prompt.checks] for prompt in case.prompts)
    assert first == ["numeric", "regex ^[0-9]", "must_include metres", "must_not_include sorry"], (
        "each once, its own first"
    )
    assert second == both
    assert UseCase(name="sums", check=case.check, prompts=case.prompts).prompts == case.prompts


def test_what_a_file_leaves_out(tmp_path: Path) -> None:
    case = load_use_case(write(tmp_path, "prompts: [Hello, {messages: [{role: user, content: Hi}]}]", "greet.yml"))
    assert case.name == "greet", "the file's name"
    assert (case.mode, case.system, case.max_tokens, case.min_tokens, case.stop) == (None, None, None, 0, ())
    assert [prompt.chat for prompt in case.prompts] == [False, True], "a plain prompt is text, messages are chat"


def test_python_can_make_one_too() -> None:
    given: dict[str, Any] = {"prompts": ["a", Prompt("b", answers=("c",))], "stop": "\n"}
    case = poise.UseCase(name="x", **given)
    assert [prompt.text for prompt in case.prompts] == ["a", "b"]
    assert {prompt.use_case for prompt in case.prompts} == {"x"}
    assert case.stop == ("\n",)


# One mistake each: the file, what the error says (rule, value with its line, next step).
MISTAKES: dict[str, tuple[str | bytes, str]] = {
    "empty file": ("", "is a mapping with name and prompts, but got nothing in mine.yaml"),
    "a list": ("- a\n", "is a mapping with name and prompts, but got a list"),
    "a text": ("hello", "is a mapping with name and prompts, but got text"),
    "no prompts": ("name: x\n", "prompts is a list of at least one prompt, but got nothing"),
    "empty prompts": ("name: x\nprompts: []\n", "prompts is a list of at least one prompt, but got [], line 2"),
    "prompts as mapping": ("prompts: {a: b}", "prompts is a list of at least one prompt, but got {'a': 'b'}"),
    "misspelt field": ("name: x\npromts:\n  - a\n", "but got 'promts', line 2 of mine.yaml. Did you mean prompts?"),
    "a field of later": ("prompts: [a]\nweights: x\n", "A use case has the fields name, description, mode, system"),
    "metrics": ("prompts: [a]\nmetrics: [x]\n", "but got 'metrics', line 2 of mine.yaml"),
    "constraints": ("prompts: [a]\nconstraints: x\n", "but got 'constraints', line 2 of mine.yaml"),
    "a goal as text": ("prompts: [a]\ngoal: loops\n", "A goal is a mapping, but got 'loops', line 2 of mine.yaml"),
    "a goal's field": ("prompts: [a]\ngoal:\n  raise: nll\n  limits: x\n", "but got limits, line 4 of mine.yaml"),
    "no sense": ("prompts: [a]\ngoal: {matters: 1}\n", "exactly one of raise, lower and hold, but got none, line 2"),
    "constraint": ("goal:\n  raise: nll\n  constraints: [x]\nprompts: [a]\n", "but got 'x', line 1 of mine.yaml"),
    "a check": ("prompts:\n  - text: a\n    check: match\n", "A check is exact, numeric, or a mapping of one of"),
    "check of all": ("prompts: [a]\ncheck:\n  - exact\n", "with the prompt's answer, but got a prompt without"),
    "kind of check": ("check:\n  - regx: a\nprompts: [a]\n", "got 'regx', line 2 of mine.yaml. Did you mean regex?"),
    "broken pattern": (
        "prompts:\n  - text: a\n    check:\n      - exact\n      - regex: '('\n    answer: b\n",
        "but got '(': missing ), unterminated subpattern at position 0, line 5 of mine.yaml",
    ),
    "broken schema": (
        "check:\n  json_schema:\n    type: objct\nprompts: [a]\n",
        "given schemas at $.type, line 2 of mine.yaml",
    ),
    "number without": ("prompts:\n  - b\n  - {text: a, answer: x, check: numeric}\n", "then has, but got 'x', line 3"),
    "empty phrase": ("prompts:\n  - text: a\n    must_include: ['']\n", "none empty, but got [''], line 3 of"),
    "code": ("prompts: [a]\ncheck: {callable: os}\n", "callable is an import path, but got 'os', line 2 of mine.yaml"),
    "unquoted colon": ("prompts:\n  - a\n  - Explain: a cat\n", "line 3 of mine.yaml. Put the prompt in quotes"),
    "unknown mode": ("mode: talk\nprompts: [a]\n", "mode is chat or text, but got 'talk', line 1"),
    "no tokens": ("max_tokens: 0\nprompts: [a]\n", "max_tokens is a whole number of at least 1, but got '0', line 1"),
    "half a token": ("max_tokens: 6.5\nprompts: [a]\n", "max_tokens is a whole number of at least 1, but got '6.5'"),
    "yes tokens": ("max_tokens: yes\nprompts: [a]\n", "max_tokens is a whole number of at least 1, but got 'yes'"),
    "text tokens": ("max_tokens: '64'\nprompts: [a]\n", "max_tokens is a whole number"),
    "min above max": ("max_tokens: 4\nmin_tokens: 5\nprompts: [a]\n", "min_tokens is at most max_tokens, here 4"),
    "a name as number": ("name: 2024\nprompts: [a]\n", "name is one line of 1 to 80 characters, but got '2024'"),
    "a name of two lines": ('name: "a\\nb"\nprompts: [a]\n', "name is one line of 1 to 80 characters"),
    "a long name": (f"name: {'x' * 81}\nprompts: [a]\n", "name is one line of 1 to 80 characters"),
    "empty stop": ("stop: ['']\nprompts: [a]\n", "stop is a text or a list of texts, none empty, but got ''"),
    "number as prompt": ("prompts:\n  - a\n  - 42\n", "but got '42', line 3 of mine.yaml. Put text in quotes"),
    "time as prompt": ("prompts:\n  - 12:30\n", "but got '12:30', line 2"),
    "date as prompt": ("prompts:\n  - 2024-01-01\n", "'2024-01-01' in line 2 of mine.yaml. Quote text"),
    "nothing as prompt": ("prompts:\n  -\n", "A prompt is text, or a mapping with text or messages, but got ''"),
    "blank prompt": ("prompts: [a, '  ']\n", "A prompt has text, but got '  ', line 1"),
    "blank text": ("prompts:\n  - text: '  '\n", "A prompt has text, but got {'text': '  '}, line 2"),
    "number as answer": ("prompts:\n  - text: a\n    answer: 1984\n", "none empty, but got '1984', line 3"),
    "empty answer": ("prompts:\n  - text: a\n    answer: [x, '']\n", "answer is a text or a list of texts"),
    "text and messages": (
        "prompts:\n  - text: a\n    messages: [{role: user, content: b}]\n",
        "exactly one of text and messages, but got text and messages, line 2 of mine.yaml. Keep one",
    ),
    "neither": ("prompts:\n  - answer: a\n", "A prompt has exactly one of text and messages"),
    "unknown role": (
        "prompts:\n  - messages:\n      - {role: usr, content: hi}\n",
        "A role is system, user or assistant, but got 'usr', line 3",
    ),
    "misspelt in a message": (
        "prompts:\n  - messages:\n      - {role: user, contents: hi}\n",
        "A message has the fields role, content, but got 'contents', line 3 of mine.yaml. Did you mean content?",
    ),
    "no messages": ("prompts:\n  - messages: []\n", "messages is a list of at least one {role, content}"),
    "the model's turn last": (
        "prompts:\n  - messages: [{role: user, content: a}, {role: assistant, content: b}]\n",
        "A chat ends with the user's turn",
    ),
    "messages as text": (
        "mode: text\nprompts:\n  - messages: [{role: user, content: a}]\n",
        "Messages are asked as chat",
    ),
    "system without chat": ("system: x\nprompts: [a]\n", "A system turn needs chat, but got 'a', line 2"),
    "two system turns": (
        "system: x\nprompts:\n  - messages: [{role: system, content: y}, {role: user, content: a}]\n",
        "A chat has one system turn",
    ),
    "a prompt twice": (
        "prompts:\n  - a\n  - b\n  - {text: a, answer: c}\n",
        "this is prompt 1 again, but got {'text': 'a', 'answer': 'c'}, line 4",
    ),
    "a field twice": ("name: a\nname: b\nprompts: [c]\n", "A field is given once, but got 'name' again in line 2"),
    "a list as field": ("[a]: b\n", "A field's name is text, but got line 1"),
    "aliases": ("name: &a x\nprompts: [*a]\n", "may not use YAML aliases, but got *a in line 2 of mine.yaml"),
    "merge key": ("<<: {name: x}\nprompts: [a]\n", "but got '<<', line 1"),
    "python object": ("prompts: [!!python/object/apply:os.system [x]]\n", "A use case holds text, numbers, lists"),
    "python name": ("name: !!python/name:os.system x\nprompts: [a]\n", "A use case holds text, numbers, lists"),
    "own tag": ("name: !mine x\nprompts: [a]\n", "A use case holds text, numbers, lists"),
    "open quote": ('name: "x\nprompts: [a]\n', "must be valid YAML, but got line 3 of mine.yaml"),
    "tab": ("prompts:\n\t- a\n", "must be valid YAML, but got line 2 of mine.yaml"),
    "two documents": ("name: x\n---\nname: y\n", "must be valid YAML, but got line 2 of mine.yaml"),
    "control character": ("prompts: ['a\x00b']\n", "must be valid YAML"),
    "endless number": (f"max_tokens: {'9' * 6000}\nprompts: [a]\n", "must be valid YAML, but got line 1"),
    "not UTF-8": (b"name: x\nprompts: [\xff]\n", "UTF-8 text, but got line 2 of mine.yaml. Save it as UTF-8"),
    "one level too many": ("prompts: " + "[" * 20 + "a" + "]" * 20, "nests at most 20 deep, but got more in line 1"),
    "endless nesting": ("prompts: " + "[" * 100_000, "nests at most 20 deep, but got more in line 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_is_answered(tmp_path: Path, name: str) -> None:
    text, message = MISTAKES[name]
    with pytest.raises(UseCaseError) as caught:
        load_use_case(write(tmp_path, text))
    assert message in str(caught.value)
    assert caught.value.rule
    assert caught.value.got
    assert caught.value.next_step
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 500, "an error fits on a screen, whatever the file holds"


def test_a_bomb_of_aliases_is_stopped_at_its_first(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    with pytest.raises(UseCaseError, match=r"may not use YAML aliases, but got \*a0 in line 2"):
        load_use_case(write(tmp_path, bomb))


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(50 * MAX_BYTES)
    with pytest.raises(UseCaseError, match=r"at most 5 MB, but got 250\.0 MB\. Split it"):
        load_use_case(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UseCaseError, match=r"or one of brainstorm, creative-story, .* Did you mean crea"):
        load_use_case("creative-stroy")
    with pytest.raises(UseCaseError, match=r"A use case is a YAML, JSONL or CSV file, but got .*missing\.yaml"):
        load_use_case(tmp_path / "missing.yaml")
    with pytest.raises(UseCaseError, match="A use case is a YAML, JSONL or CSV file"):
        load_use_case(tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "x", "prompts": []}, "prompts is a list of at least one prompt, but got []"),
        ({"prompts": ["a"]}, "name is one line of 1 to 80 characters, but got nothing"),
        ({"name": "x", "prompts": ["a", "a"]}, "this is prompt 1 again, but got 'a'"),
        ({"name": "x", "prompts": [3]}, "A prompt is text, or a mapping with text or messages, but got 3"),
        ({"name": "x", "prompts": ["a"], "weights": "y"}, "but got 'weights'"),
    ],
)
def test_mistakes_in_python(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UseCaseError) as caught:
        UseCase(**given)
    assert message in str(caught.value)


def loads_or_is_answered(path: Path) -> None:
    """Anything but a use case or an error with a next step, a foreign exception above all, fails."""
    try:
        done: UseCase | UseCaseError = load_use_case(path)
    except UseCaseError as error:
        done = error
    assert done.prompts if isinstance(done, UseCase) else done.rule and done.next_step


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([*UseCase.model_fields, "text", "answer", "must_include", "regex", "numeric", "nonsense"])


@settings(deadline=None)
@given(prompts=st.lists(WORDS, min_size=1, max_size=5, unique=True))
def test_any_text_comes_back_as_written(tmp_path_factory: pytest.TempPathFactory, prompts: list[str]) -> None:
    path = write(tmp_path_factory.mktemp("case"), yaml.safe_dump({"prompts": prompts}, allow_unicode=True))
    assert [prompt.text for prompt in load_use_case(path).prompts] == prompts


@settings(deadline=None)
@given(content=PLAIN | st.dictionaries(FIELDS, PLAIN, max_size=4))
def test_any_content_loads_or_is_answered(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    path = write(tmp_path_factory.mktemp("case"), yaml.safe_dump(content))
    loads_or_is_answered(path)


@settings(deadline=None)
@given(junk=st.binary(max_size=60))
def test_any_bytes_load_or_are_answered(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    path = write(tmp_path_factory.mktemp("case"), junk)
    loads_or_is_answered(path)


def test_use_cases_need_no_torch() -> None:
    code = "import sys\nfor n in ('torch', 'transformers'): sys.modules[n] = None\nimport poise.usecases"
    subprocess.run([sys.executable, "-c", code], check=True)
