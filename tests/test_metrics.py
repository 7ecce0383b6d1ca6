"""Every metric on texts small enough to count by eye."""

from __future__ import annotations

import itertools
import logging
import math
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise.engines import load
from poise.errors import MetricError
from poise.metrics import METRICS, find_metrics
from poise.metrics.conformance import CHECKS, check_metric
from poise.metrics.context import Context
from poise.metrics.correctness import normalise_answer
from poise.metrics.diversity import expected_distinct
from poise.metrics.metric import CompletionMetric, GroupMetric, Metric
from poise.metrics.repetition import Loop, find_loop
from poise.metrics.sizes import Lengths, Sizes, common_sizes, heard
from poise.metrics.vectors import WordVectors
from poise.params import SamplingParams
from poise.records import Completion, Prompt, Request
from small_studies import drawn

# What the embedded model writes at temperature 0 after "Once upon a time, in a distant galaxy,", 320 tokens.
STORY = (Path(__file__).parent / "data" / "greedy_story.txt").read_text(encoding="utf-8")


def value(name: str, completion: Completion, context: Context | None = None) -> float | None:
    metric = METRICS[name]
    assert isinstance(metric, CompletionMetric)
    return metric.compute(completion, context or Context.of([[completion]]))


def group_value(name: str, texts: Sequence[str], sizes: Sizes | None = None) -> float | None:
    metric = METRICS[name]
    assert isinstance(metric, GroupMetric)
    group = [drawn(t, draw=i) for i, t in enumerate(texts)]
    return metric.compute(group, Context(sizes) if sizes else Context.of([group]))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_conformance(name: str, check: object) -> None:
    assert METRICS[name].name == name
    check(METRICS[name])  # type: ignore[operator]


def broken(**how: object) -> Metric:
    metric = METRICS["length"]
    assert isinstance(metric, CompletionMetric)
    return replace(metric, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metric", "complaint"),
    [
        (broken(name="My Length"), "lower case"),
        (broken(meaning="tokens"), "no sentence"),
        (broken(compute=lambda c, _: float(len(c.token_ids))), "needs token ids"),  # 0 for no data
        (broken(compute=lambda c, _: len(c.token_ids) or None), "no float"),
        (broken(compute=lambda c, _: math.nan), "gives nan"),
        (broken(high=20.0), "above its range"),
        (broken(compute=lambda c, _: None), "no value"),
        (broken(equal="tokens"), "looks beyond its prefix"),
    ],
)
def test_the_conformance_suite_finds_what_is_wrong(metric: Metric, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_metric(metric)


def test_seq_rep_4_by_hand() -> None:
    # 16 tokens hold 13 runs of four. "abcd" four times has 4 different ones.
    assert value("seq_rep_4", drawn("abcd" * 4)) == pytest.approx(1 - 4 / 13)
    assert value("seq_rep_4", drawn("abcdefghijklmnop")) == 0
    assert value("seq_rep_4", drawn("a" * 16)) == pytest.approx(1 - 1 / 13)


def test_seq_rep_4_ignores_what_comes_after_the_common_size() -> None:
    context = Context(Sizes(tokens=16))
    assert value("seq_rep_4", drawn("abcdefghijklmnop" + "z" * 99), context) == 0
    assert value("seq_rep_4", drawn("abcdefghijklmno"), context) is None
    assert value("seq_rep_4", drawn("abcdefghijklmno", finish="eos"), context) is None  # the end is no content


def by_force(items: Sequence[object], least: int) -> tuple[int, int] | None:
    """Onset and period of the longest end that repeats, by trying every end and every period."""
    for onset in range(len(items)):
        end = items[onset:]
        for period in range(1, len(end) // 3 + 1):
            if all(end[i] == end[i - period] for i in range(period, len(end))):
                if len(end) >= least:
                    return onset, period
                break
    return None


looping = st.tuples(
    st.lists(st.integers(0, 2), max_size=12), st.lists(st.integers(0, 2), min_size=1, max_size=6), st.integers(0, 30)
).map(lambda parts: tuple(parts[0]) + tuple(itertools.islice(itertools.cycle(parts[1]), parts[2])))


@given(looping, st.integers(1, 20))
def test_loops_are_found_as_by_force(items: tuple[int, ...], least: int) -> None:
    found = find_loop(items, least)
    assert (None if found is None else (found.onset, found.period)) == by_force(items, least)


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("once. " + "again " * 3, Loop(5, 6, 19 / 6)),  # the blank before belongs to it
        ("ab" * 8, Loop(0, 2, 8.0)),
        ("!" * 15, None),  # under 16 tokens
        ("!" * 16, Loop(0, 1, 16.0)),
        ("again and " * 2 + "again an", None),  # 2.8 rounds
        ("", None),
    ],
)
def test_loops_by_eye(text: str, loop: Loop | None) -> None:
    assert find_loop(text) == loop


def test_a_text_that_loops_is_flagged() -> None:
    looped = drawn(STORY)
    assert value("loop_rate", looped) == 1
    # It goes round from "allowing it to create| a new form of energy ...", a little over three times.
    onset = STORY.index(" a new form of energy that was capable of", STORY.index("allowing it"))
    assert value("loop_onset", looped) == onset
    last = STORY.rindex("Echo-Laser was able")
    assert value("loop_period", looped) == last - STORY.rindex("Echo-Laser was able", 0, last)
    before = drawn(STORY[:onset])
    assert [value(n, before) for n in ("loop_rate", "loop_onset", "loop_period")] == [0, None, None]


@pytest.mark.slow
@pytest.mark.model
def test_the_embedded_model_loops_at_temperature_0() -> None:
    engine = load("smollm2", dtype="float32")  # in bfloat16 its text is another
    prompt = Prompt("Once upon a time, in a distant galaxy,")
    [text] = engine.generate([Request(prompt, engine.encode(prompt), SamplingParams(temperature=0), 0, 0, 400)])
    assert value("loop_rate", text) == 1


def test_a_loop_that_ends_is_a_loop_and_its_end_is_no_part_of_it() -> None:
    assert value("loop_rate", drawn("ab" * 8, finish="eos")) == 1


def test_compression_by_hand() -> None:
    text = "abcdefgh" * 8
    assert value("compression_ratio", drawn(text)) == 64 / len(zlib.compress(text.encode(), 9))
    assert value("compression_ratio", drawn(text[:63])) is None
    umlauts = "ä" * 32  # 64 bytes
    assert value("compression_ratio", drawn(umlauts)) == 64 / len(zlib.compress(umlauts.encode(), 9))


def test_distinct_2_by_hand() -> None:
    # Four tokens each: pairs ab bc cd and ab bx xy, 5 different of 6.
    assert group_value("distinct_2", ["abcd", "abxy"], Sizes(tokens=4, long_texts=2)) == pytest.approx(5 / 6)
    assert group_value("distinct_2", ["abcd", "abc"], Sizes(tokens=4, long_texts=2)) is None
    # Of three texts, the mean over the three choices of two: (3 + 6 + 6) / 3 = 5 of 6.
    assert group_value("distinct_2", ["abcd", "abcd", "vwxy"], Sizes(tokens=4, long_texts=2)) == pytest.approx(5 / 6)


def test_distinct_texts_by_hand() -> None:
    assert group_value("distinct_texts", ["a", "a", "b", "c"]) == 0.75
    assert group_value("distinct_texts", ["a", "a"]) == 0.5
    assert group_value("distinct_texts", ["a"]) is None
    assert group_value("distinct_texts", ["a", "a", "b"], Sizes(texts=2)) == pytest.approx((0.5 + 1 + 1) / 3)


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=7), st.data())
def test_expected_distinct_is_the_mean_over_all_choices(texts: list[str], data: st.DataObject) -> None:
    chosen = data.draw(st.integers(2, len(texts)))
    choices = [len(set(c)) for c in itertools.combinations(texts, chosen)]
    holders = [texts.count(t) for t in set(texts)]
    assert expected_distinct(holders, len(texts), chosen) == pytest.approx(np.mean(choices))


def test_distance_is_the_mean_over_all_pairs() -> None:
    texts = ["the sea is cold", "ships sail at night", "sums are hard", "the sea is cold"]
    vectors = [WordVectors().of(t) for t in texts]
    by_hand = np.mean([1 - a @ b for a, b in itertools.combinations(vectors, 2)])  # type: ignore[operator]
    assert group_value("word_vector_distance", texts) == pytest.approx(by_hand)
    assert group_value("word_vector_distance", ["the same words"] * 5) == 0
    assert group_value("word_vector_distance", ["one", ""]) is None


def test_vectors_are_the_librarys() -> None:
    import wordllama

    theirs = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    text = "Once upon a time, in a distant galaxy"
    mine = WordVectors().of(text)
    assert mine == pytest.approx(theirs.embed(text, norm=True)[0], abs=1e-6)


def test_a_vector_does_not_depend_on_its_neighbours() -> None:
    alone, among = WordVectors(), WordVectors()
    among.prepare(["a much longer text that would ask for padding " * 9, "the sea", "", "the sea"])
    assert np.array_equal(alone.of("the sea"), among.of("the sea"))  # type: ignore[arg-type]
    assert among.of("") is None
    assert among.of("lone \ud800 surrogate") is not None


def test_word_vectors_leave_logging_alone() -> None:
    code = "import logging; from poise.metrics.vectors import WordVectors; WordVectors().of('a');"
    code += " root = logging.getLogger(); print(root.handlers, root.level)"
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert said.strip() == f"[] {logging.WARNING}"


def test_nll_by_hand() -> None:
    half = drawn("ab", finish="eos")
    assert value("nll", half) == pytest.approx(math.log(2))
    assert value("nll", replace(half, logprobs=(-1.0, -2.0, -6.0))) == 3
    assert value("nll", replace(half, logprobs=(-1.0, -math.inf, -6.0))) is None
    assert math.copysign(1, value("nll", replace(half, logprobs=(0.0, 0.0, 0.0))) or 0.0) == 1


def test_relevance_by_hand() -> None:
    prompts = (Prompt("cooking pasta"), Prompt("sailing ships"), Prompt("solving sums"))
    context = Context(prompts=prompts)
    text = "Ships sail on the sea."
    v = [context.vectors.of(p.shown) for p in prompts]
    t = context.vectors.of(text)
    found = value("relevance", drawn(text, prompts[1]), context)
    assert found == pytest.approx(t @ v[1] - (t @ v[0] + t @ v[2]) / 2)  # type: ignore[operator]
    assert found > 0.2
    assert value("relevance", drawn(text, prompts[0]), context) < 0  # type: ignore[operator]
    assert value("relevance", drawn(text, prompts[1]), Context(prompts=prompts[1:2])) is None
    assert value("relevance", drawn("", prompts[1]), context) is None


def test_exact_match_by_hand() -> None:
    asked = Prompt("What is 6 times 7?", answers=("42", "forty-two"))
    assert [value("exact_match", drawn(t, asked)) for t in ("42", " *Forty-Two.*\n", "-42", "It is 42")] == [1, 1, 0, 0]
    assert value("exact_match", drawn("42")) is None
    assert normalise_answer("\uff14\uff12") == "42"  # full-width digits
    assert normalise_answer("a \n  b") == "a b"


def test_reference_f1_by_hand() -> None:
    asked = Prompt("Where?", reference="The cat sat on a mat.")  # cat sat on mat
    # "a Cat, on the hat" is cat on hat: 2 words in common, 2 * 2 / (3 + 4).
    found = [value("reference_f1", drawn(t, asked)) for t in ("The cat sat on a mat.", "a Cat, on the hat", "dog", "")]
    assert found == [1, pytest.approx(4 / 7), 0, 0]
    assert value("reference_f1", drawn("on on on", asked)) == pytest.approx(2 / 7)  # a word counts as often as in both
    assert value("reference_f1", drawn("cat")) is None
    assert value("reference_f1", drawn("cat", Prompt("Where?", reference="The!"))) is None


@pytest.mark.parametrize(
    ("text", "ideas"),
    [
        ("1. Sell old books\n2. Walk the dog\n3) sell OLD books!", 2),
        ("Here are some:\n\n- **Sell** old books\n- Walk the dog\n\nI hope that this helps you.", 2),
        ("1. Sell old books\n   - ask your friends\n   - ask the library\n2. Walk the dog", 2),
        ("Ideas for you:\nSell old books\nWalk the dog", 2),
        ("* Books\n* Sell old books\n* " + "very " * 31, 1),  # one word, three words, 31 words
        ("1990 was a good year\nSell old books", 2),
        ("1. 1. Use a cup\n2. 2. Use a cup\n3. - Use a cup", 1),
        ("", 0),
        ("-\n- \n1.", 0),
    ],
)
def test_ideas_by_eye(text: str, ideas: int) -> None:
    assert value("distinct_ideas", drawn(text, finish="eos")) == ideas


def test_an_idea_that_is_cut_off_is_none() -> None:
    assert value("distinct_ideas", drawn("- Sell old books\n- Walk the")) == 1
    assert value("distinct_ideas", drawn("- Sell old books\n- Walk the", finish="eos")) == 2


def test_lengths_and_endings_by_hand() -> None:
    ended, cut, stopped = drawn("abc", finish="eos"), drawn("abc"), drawn("abc", finish="stop")
    assert [value("length", c) for c in (ended, cut, stopped)] == [3, 3, 3]
    for name, which in (("finish_eos", 0), ("finish_length", 1), ("finish_stop", 2)):
        assert [value(name, c) for c in (ended, cut, stopped)] == [float(i == which) for i in range(3)]
    assert [value("empty_output", drawn(t)) for t in ("a", " \n", "")] == [0, 1, 1]


def lengths(*tokens: Sequence[int]) -> list[Lengths]:
    return [Lengths(trial, np.array(t), np.array(t) * 4) for trial, t in enumerate(tokens)]


def test_sizes_are_the_largest_that_nine_in_ten_texts_of_every_trial_reach() -> None:
    assert common_sizes(lengths([64] * 10, [200] * 10)) == Sizes(64, 256, 10, 10)
    assert common_sizes(lengths([63] + [64] * 9, [200] * 10)) == Sizes(64, 256, 10, 9)
    assert common_sizes(lengths([63] * 2 + [64] * 8, [200] * 10)) == Sizes(32, 128, 10, 10)


def test_with_few_prompts_eight_draws_of_each_reach_the_size() -> None:
    rare = [Lengths(0, np.array([63] + [64] * 7), np.array([256]))]
    many = [Lengths(0, np.array([64] * 40), np.array([256]))]
    assert common_sizes(rare + many).tokens == 32  # 47 of 48 reach 64, but only 7 of one prompt
    assert common_sizes(rare + many * 7).tokens == 64  # eight prompts are the evidence, not their draws


def test_texts_below_the_first_step_and_trials_of_them_have_no_say() -> None:
    assert common_sizes(lengths([2] * 10, [200] * 10)).tokens == 128
    assert common_sizes(lengths([2] * 6 + [20] * 4, [200] * 10)).tokens == 128
    assert common_sizes(lengths([2] * 4 + [20] * 6, [200] * 10)).tokens == 16
    assert common_sizes(lengths([2] * 4 + [64] * 6)).tokens == 64
    assert common_sizes(lengths([2] * 6 + [20] * 4)).tokens == 16
    assert common_sizes(lengths([2] * 10)) == Sizes(None, None, 10, None)
    assert common_sizes([]) == Sizes()


def test_one_text_of_a_prompt_does_not_make_groups_of_one() -> None:
    assert common_sizes([*lengths([64] * 8), Lengths(0, np.array([64]), np.array([64]))]).texts == 8


def test_small_trials_have_no_say_unless_they_are_asked() -> None:
    groups = lengths([64] * 10, [200] * 10, [20] * 4)
    assert heard(groups) == {0, 1}
    assert common_sizes(groups) == common_sizes(groups[:2]) == Sizes(64, 256, 10, 10)
    assert common_sizes(groups, [1, 2]) == Sizes(16, 64, 4, 4)
    assert heard(lengths([64] * 10, [20] * 5)) == {0, 1}  # half as many is enough
    assert heard([]) == frozenset()


def test_unknown_metrics() -> None:
    with pytest.raises(MetricError, match="Did you mean seq_rep_4"):
        find_metrics(["seq_rep4"])
    with pytest.raises(MetricError, match="At least one"):
        find_metrics([])
    with pytest.raises(MetricError, match="two called 'length'"):
        find_metrics(["length", broken()])
    assert [m.name for m in find_metrics("length")] == ["length"]
    assert len(find_metrics(["length", "length"])) == 1
