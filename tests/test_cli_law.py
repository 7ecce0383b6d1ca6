"""`poise law` and `poise lint`, and how settings are written."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from commands import Run
from poise.cli.settings import read_settings, words_of
from poise.errors import PoiseError

TOY = "law --logits 3,2,1 --temperature 0.5 --top-p 0.8"


def said(run: Run, line: str) -> str:
    """What a command prints, blanks narrowed."""
    done = run(*shlex.split(line))
    assert done.code == 0, done.err
    return " ".join(done.out.split())


def test_a_toy_distribution_step_by_step(run: Run) -> None:
    out = said(run, TOY)
    assert "2 top_p=0.8 1 13.3 % 0.133" in out
    assert out.endswith("Next: poise lint temperature=0.5 top_p=0.8")


def test_two_dialects_side_by_side(run: Run) -> None:
    out = said(run, f"{TOY} --beside llama.cpp")
    assert "They part at top_p, step 2 of transformers and 1 of llama.cpp: llama.cpp keeps one more token (1)." in out
    assert out.endswith("Next: poise lint temperature=0.5 top_p=0.8 --to llama.cpp")
    read = json.loads(run(*shlex.split(f"{TOY} --beside llama.cpp --json")).out)
    assert read["parting"] == {"kind": "kept", "left": 2, "right": 1, "token_ids": [1]}
    assert [s["step"] for s in read["beside"]["steps"]] == ["top_p", "temperature"]
    assert read["total_variation"] == pytest.approx(0.1192, abs=1e-4)
    assert (read["kept"], read["beside"]["kept"], read["probabilities"]) == (1, 2, [1, 0, 0])


def test_probabilities_names_and_what_was_said_before(run: Run) -> None:
    """Token a was said: 0.5 becomes exp(2 ln 0.5) = 0.25, of 0.75 in all."""
    line = "law --probs 0.5,0.3,0.2 --tokens a,b,c --repetition-penalty 2"
    assert "a 0.500 0.333" in said(run, f"{line} --prompt-tokens 0")
    assert "a 0.500 0.500" in said(run, f"{line} --dialect sglang --prompt-tokens 0")
    for flag in ("--output-tokens", "--history"):
        assert "a 0.500 0.333" in said(run, f"{line} --dialect sglang {flag} 0,0")


def test_a_model_s_prompt(run: Run) -> None:
    out = said(run, "law fake 'the ship' --top-k 2 --top 3 --output-tokens 1,2")
    assert out.startswith("The next token after “the ship” and 2 tokens under fake, by the steps of transformers")
    assert "9 others" in out
    read = json.loads(run("law", "fake", "the ship", "--top-k", "2", "--top", "3", "--json").out)
    assert (read["model"], len(read["token_ids"]), read["steps"][0]["kept"]) == ("fake", 3, 2)


def test_lists_and_pairs(run: Run) -> None:
    read = json.loads(run(*shlex.split("law --logits 0,0 -p logit_bias=0:off -p temperature=2 --json")).out)
    assert read["probabilities"] == [0, 1]
    assert [s["step"] for s in read["steps"]] == ["logit_bias", "temperature"]
    out = said(run, "law --logits 2,1,0 --dialect llama.cpp --order temperature,top_p --top-p 0.8 --temperature 0.5")
    assert out.index("1 temperature=0.5") < out.index("2 top_p=0.8")


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_a_picture(run: Run, tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"law.{kind}"
    done = run(*shlex.split(TOY), "-o", str(target))
    assert done.code == 0, done.err
    assert f"Wrote {target}" in done.out
    assert target.read_bytes()[:4] in (b"<svg", b"\x89PNG", b"%PDF")


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("law", "A law acts on a model's prompt, or on a toy distribution"),
        ("law fake", "A model's next token follows a prompt"),
        ("law fake hello --logits 1,2", "got --logits and the model fake"),
        ("law --logits 1,2 --probs 0.5,0.5", "got --logits and --probs"),
        ("law --logits 1,x", "--logits takes numbers with commas between them"),
        ("law --probs 0.5,0.2", "add up to 1"),
        ("law --probs 1.5,-0.5", "add up to 1"),
        ("law --logits 1,2 --tokens a", "Every token has one name"),
        ("law --logits 1,2 --output-tokens x", "--output-tokens takes token ids"),
        ("law --logits 1,2 --output-tokens 2", "Token ids here go from 0 to 1"),
        ("law fake hello --tokens a", "--tokens is for toy distributions"),
        ("law fake hello --prompt-tokens 1", "--prompt-tokens is for toy distributions"),
        ("law fake hello --top 0", "--top is a whole number of at least 1"),
        ("law fake hello --chat --system x --text", "--system with --text"),
        ("law fake hello -o law.gif", "A picture is a .svg, .png or .pdf file"),
        ("law fake hello -o nowhere/law.svg", "a folder that is there"),
        ("law --logits 1,2 --temperature 0.3,0.5", "temperature has one value here"),
        ("law --logits 1,2 --typical-p 0.5 --beside vllm", "vllm has no typical_p"),
        ("law --logits 1,2 --beside nowhere", "A dialect is one of"),
        ("law --logits 1,2 --guidance-scale 2", "Guidance looks at logits without the prompt too"),
        ("lint", "A lint looks at settings"),
        ("lint temperature", "A setting is written name=value"),
        ("lint temperature=0.7 --to nowhere", "A target is one of"),
        ("lint temperature=0.7 --prompt hello", "Prompts are drawn by a model"),
        ("lint temperature=0.7 --model fake -f creative-story --prompt hello", "on a prompt or on a use case"),
        ("lint temperature=0.7 --draws 0", "draws is a whole number"),
        ("lint temperature=0.7 --steps x", "--steps takes a whole number"),
    ],
)  # fmt: skip
def test_mistakes_end_with_2_and_say_the_rule(run: Run, line: str, rule: str, tmp_path: Path) -> None:
    done = run(*shlex.split(line))
    assert done.code == 2
    assert rule in done.err
    assert done.out == ""
    assert not list(tmp_path.rglob("law.*"))


def test_a_lint_prints_what_it_remarks_and_measures(run: Run) -> None:
    out = said(run, "lint temperature=0 top_p=0.9 --draws 4")
    assert "error temperature=0 draws the same text every time: 4 draws are one." in out
    assert "warning top_p=0.9 changes nothing: temperature 0" in out
    out = said(run, "lint temperature=0.7 top_k=1 --model fake --steps 4")
    assert "What each setting does on fake: 8 texts" in out
    assert "8 prompts of creative-story" in out
    assert "top_k=1 100 %" in out


@pytest.mark.parametrize(
    ("line", "following"),
    [
        ("law --logits=-3,2", "poise law --logits=-3,2 --temperature 0.5 --top-p 0.8"),
        ("law --probs 0.5,0.5 --dialect mlx --beside vllm",
         "poise law --probs=0.5,0.5 --temperature 0.5 --top-p 0.8 --dialect mlx --beside vllm"),
        ("law --logits " + ",".join(map(str, range(99))), "poise law --logits=3,2,1 --temperature 0.5 --top-p 0.8"),
        ("law fake 'the ship' --top-p 1", "poise law fake 'the ship' --temperature 0.5 --top-p 0.8"),
        ("law fake hello --guidance-scale 2", "poise lint guidance_scale=2"),
        ("lint guidance_scale=2", "poise lint guidance_scale=2 --to vllm"),
        ("lint dialect=vllm", "poise lint temperature=0.7 top_p=0.9 --model smollm2"),
        ("lint top_p=1 --model fake", "poise lint temperature=0.7 top_p=0.9 --to vllm"),
        ("lint top_p=1 --to vllm", "poise export temperature=1 --to vllm"),
    ],
)  # fmt: skip
def test_the_following_command_works(run: Run, line: str, following: str) -> None:
    out = said(run, line)
    assert out.endswith(f"Next: {following}")
    done = run(*shlex.split(following.replace("smollm2", "fake"))[1:])
    assert done.code == 0, done.err


def test_an_empty_file_of_settings_is_followed_by_an_example(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    out = said(run, f"lint {tmp_path / 'mine.json'}")
    assert out.endswith("Next: poise lint temperature=0.7 top_p=0.9 --model smollm2")


MANY = (
    "temperature=0.7 top_p=0.9 repetition_penalty=1.1 presence_penalty=0.3 min_p=0.05 typical_p=0.95 top_k=9 "
    "xtc_probability=0.5 penalty_last_n=64 dry_multiplier=1 dry_base=2 dry_allowed_length=1 dry_last_n=32"
)


@pytest.mark.parametrize("columns", [72, 80, 100])
@pytest.mark.parametrize(
    "line",
    [
        "law fake 'the quiet ship sailed on and on and on' --top 2 --output-tokens 1,2 "
        + " ".join(f"-p {word}" for word in MANY.split()),
        "law --logits 3,2,1 --temperature 0.5 --top-p 0.8 --beside llama.cpp",
        f"lint {MANY}",
        f"lint {MANY} --to llama.cpp",
        "lint temperature=0.7 top_p=0.9 --model fake --texts 2 --steps 2",
    ],
)
def test_what_is_printed_fits_the_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, line: str, columns: int
) -> None:  # fmt: skip
    """Apart from what is one word, or to be copied: the title of a lint and the following command."""
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = run(*shlex.split(line)).out.splitlines()
    assert len(lines) > 3
    whole = ("temperature=", "Next: poise")
    assert [read for read in lines if len(read) > columns and not read.startswith(whole)] == []


def test_a_strict_lint_ends_with_1(run: Run) -> None:
    assert run("lint", "temperature=0", "top_p=0.9", "--strict").code == 1
    assert run("lint", "temperature=0", "top_p=0.9", "--strict", "--json").code == 1
    assert run("lint", "temperature=0.7", "top_p=1", "--strict").code == 0  # a note
    assert run("lint", "temperature=0", "top_p=0.9").code == 0


def test_settings_come_from_words_names_and_files(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps({"temperature": 0.5, "top_p": 0.8, "dialect": "llama.cpp"}))
    file = str(tmp_path / "mine.json")
    for words in (
        ["temperature=0.5", "top-p=0.8", "dialect=llama.cpp"], ["temperature=0.5,top_p=0.8,dialect=llama.cpp"], [file],
        ["temperature=0.5 top_p=0.8  dialect=llama.cpp"],
    ):  # fmt: skip
        assert read_settings(words).label == "temperature=0.5,top_p=0.8,dialect=llama.cpp"
    assert read_settings([file, "top_p=off", "top_k=5"]).label == "temperature=0.5,top_k=5,dialect=llama.cpp"
    assert read_settings(["temperature=0.5"], "vllm").dialect == "vllm"
    assert read_settings([]).label == "temperature=1"
    lists = read_settings(['logit_bias={"50": -1},bad_words=[[1, 2]]', 'dry_breakers=["a,b=c"]', "dry_multiplier=1"])
    assert read_settings(['logit_bias={"50": -1} top_k=3']).active() == {"top_k": 3}
    assert (lists.logit_bias, lists.bad_words, lists.dry_breakers) == (((50, -1.0),), ((1, 2),), ("a,b=c",))


@pytest.mark.parametrize(
    "words",
    [
        ["temperature=0.123456789"], ["logit_bias=3:off;5:2.5", "bad_words=1:2;3"], ["top_k=3", "dialect=mlx"],
        ["dry_multiplier=1", 'dry_breakers=["\\n", "a;b", ","]'],
        ["temperature=0.5", "top_p=0.9", "order=temperature;top_p", "dialect=llama.cpp"],
    ],
)  # fmt: skip
def test_words_of_a_setting_read_back(words: list[str]) -> None:
    found = read_settings(words)
    assert read_settings(words_of(found)) == found


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["temperature=0.5", "temperature=0.6"], "temperature is given once"),
        (["temperature=0.5,0.6"], "temperature has one value here"),
        (["nonsense=1"], "A parameter is one of"),
        (["logit_bias={5"], "logit_bias is JSON where it begins with a bracket"),
        (['logit_bias={"5": 1}top_k=3'], "A comma parts settings in a word"),
        (['logit_bias={"5":1,"5":2}'], "Mend it: '5' stands twice"),
        (["nowhere.json"], "Settings come from a file that can be read"),
        (["dialect=vllm"], "A setting has one dialect"),
        (["xtc_threshold=0.2"], "xtc_threshold does nothing without xtc_probability"),
        ([""], "A setting is written name=value"),
    ],
)
def test_settings_that_cannot_be_read_say_so(words: list[str], rule: str) -> None:
    with pytest.raises(PoiseError, match=rule):
        read_settings(words, "llama.cpp")


@pytest.mark.parametrize(
    "text", ["[1, 2]", "{", '"x"', "\xff\xfe", '{"temperature": "hot"}', '{"no": 1}', '{"top_k": 1, "top_k": 2}']
)
def test_files_that_hold_no_settings_say_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(
        PoiseError, match=r"settings holds one object|settings is JSON|takes a number|poise's own names"
    ):
        read_settings([str(tmp_path / "mine.json")])


def test_a_file_of_settings_is_bounded_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "mark.json").write_bytes(b'\xef\xbb\xbf{"top_k": 3}')
    assert read_settings([str(tmp_path / "mark.json")]).top_k == 3
    (tmp_path / "large.json").write_text(" " * 1_000_001)
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    (tmp_path / "typo.json").write_text('{"temprature": 1}')
    (tmp_path / "hub.json").write_text('{"do_sample": true}')
    (tmp_path / "Modelfile").write_text("PARAMETER temperature 0.7")
    with pytest.raises(PoiseError, match=r"`poise import .*Modelfile` reads an engine's file"):
        read_settings([str(tmp_path / "Modelfile")])
    for name, rule in (
        ("large", "has at most 1,000,000 bytes"), ("zero", "zero.json, which is none"),
        ("typo", "Did you mean temperature?"), ("hub", "`poise import .*hub.json` reads an engine's file"),
    ):  # fmt: skip
        with pytest.raises(PoiseError, match=rule):
            read_settings([str(tmp_path / f"{name}.json")])
