"""Leaks between the parts: found, refused with the pairs listed, or dropped."""

from __future__ import annotations

import importlib.util
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from keeptune.core.errors import DataError
from keeptune.data.examples import Example, Splits
from keeptune.data.splits.compared import normalise
from keeptune.data.splits.copies import keep_together
from keeptune.data.splits.drop import drop_leaks
from keeptune.data.splits.leakage import asked_elsewhere, find_leaks
from keeptune.data.splits.minhash import similar_pairs
from keeptune.data.splits.split import split


def benchmark(name: str) -> Any:
    path = Path(__file__).parents[4] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


planted = benchmark("leaks")
INSTRUCTION = "Summarise the dialogue in one sentence."
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "s", "l", "m", "ck", "nd", "")]


def text(seed: int, words: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def row(source: str, line: int, label: str | None = None, cluster: str | None = None, **more: str) -> Example:
    fields = {"instruction": INSTRUCTION, "input": source, **more}
    return Example.make(fields, label=label, cluster=cluster, path="data.jsonl", line=line)


def parts(train: list[Example], test: list[Example], validation: list[Example] | None = None) -> Splits:
    return Splits(train, validation if validation is not None else [row(text(9_000), 9_000)], test)


TRAIN = [row(text(i), i) for i in range(200)]
TEST = [row(text(1_000 + i), 1_000 + i) for i in range(100)]


def test_clean_parts_pass_and_the_shared_instruction_is_no_leak() -> None:
    cleaned, report = drop_leaks(parts(TRAIN, TEST))
    assert report.fields == ("input",)
    assert not (report.copies or report.near or report.duplicates)
    assert list(cleaned.train) == TRAIN and list(cleaned.test) == TEST


def test_exact_copy_is_refused_with_both_places_and_the_remedy() -> None:
    with pytest.raises(DataError, match=r"1 rows repeat.*data\.jsonl:7 = test data\.jsonl:2000.*on_leak: drop"):
        drop_leaks(parts(TRAIN, [*TEST, row(text(7), 2000)]))


def test_normalised_copy_is_refused() -> None:
    shouted = row(text(7).upper().replace(" ", ",  ") + "!", 2000)
    report = find_leaks(parts(TRAIN, [*TEST, shouted]))
    assert [(pair.kind, pair.where, pair.other_where) for pair in report.copies] == [
        ("normalised", "data.jsonl:7", "data.jsonl:2000")
    ]
    with pytest.raises(DataError, match="1 normalised leaks"):
        drop_leaks(parts(TRAIN, [*TEST, shouted]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is C?", "What is C++?"),
        ("12 + 7", "12 - 7"),
        ("Is 3*4 more?", "Is 3/4 more?"),
        ("a < b", "a > b"),
        ("So \U0001f600", "So \U0001f621"),
    ],
)
def test_symbols_make_a_difference(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)
    assert normalise(one) == normalise(f"  {one.upper()}!!")
    assert not find_leaks(parts([*TRAIN, row(one, 300)], [*TEST, row(other, 2000)])).copies


def talk(line: int, *said: str, system: str = "") -> Example:
    """Turns of user and assistant by turns, all answers trained."""
    turns = [{"role": "system", "content": system, "trained": False}] if system else []
    turns += [
        {"role": ("user", "assistant")[i % 2], "content": content, "trained": i % 2 == 1}
        for i, content in enumerate(said)
    ]
    fields = {"prompt": "\n\n".join([*said[:-1], system]), "completion": said[-1], "messages": turns}
    return Example.make(fields, path="data.jsonl", line=line)


def test_an_answered_turn_is_a_leak_whatever_stands_around_it() -> None:
    question, answer = text(1, 12), text(2, 12)
    test = [talk(2000, question, answer)]
    others = [talk(i, text(100 + 2 * i), text(101 + 2 * i)) for i in range(3, 100)]
    longer = talk(100, question, answer, text(3), text(4))
    later = talk(101, text(5), text(6), question.upper(), f" {answer}.")
    behind = talk(102, question, answer, system=text(7, 200))
    another = talk(103, question, text(8), text(9), text(10))
    found = find_leaks(parts([*others, longer, later, behind, another], test), ["prompt"])
    assert sorted(pair.where for pair in found.normalised) == [f"data.jsonl:{line}" for line in (100, 101, 102)]
    assert {pair.other_where for pair in found.normalised} == {"data.jsonl:2000"}


def test_a_short_exchange_recurs_by_itself() -> None:
    train = [talk(i, "Hello!", "Hello, how can I help?", text(2 * i), text(2 * i + 1)) for i in range(50)]
    assert not find_leaks(parts(train, [talk(2000, "Hello!", "Hello, how can I help?")]), ["prompt"]).copies


@pytest.mark.parametrize(
    "thanks",
    ["Thanks!", "Thank you so much for your help, I really do appreciate it!"],
    ids=["short", "long"],
)
def test_thanks_at_the_end_of_many_talks_are_no_leak(thanks: str) -> None:
    end = (thanks, "You're welcome! Have a nice day and come back soon.")
    train = [talk(i, text(2 * i), text(2 * i + 1), *end) for i in range(50)]
    found = find_leaks(parts(train, [talk(2000, text(900), text(901), *end)]), ["prompt"])
    assert not found.copies
    assert not found.near


def test_a_short_turn_counts_together_with_what_it_follows() -> None:
    asked, more = text(1, 12), ("And why?", text(2, 12))
    train = [talk(i, text(100 + 2 * i), text(101 + 2 * i)) for i in range(50)]
    train += [talk(60, text(5), asked, *more), talk(61, text(6), text(7), *more)]
    found = find_leaks(parts(train, [talk(2000, text(8), asked, *more)]), ["prompt"])
    assert [pair.where for pair in found.normalised] == ["data.jsonl:60"]


def test_five_pairs_are_shown_and_the_rest_counted() -> None:
    with pytest.raises(DataError, match="20 rows repeat.*and 15 more") as error:
        drop_leaks(parts(TRAIN, [*TEST, *(row(text(i), 3_000 + i) for i in range(20))]))
    assert str(error.value).count(" = test ") == 5


def test_dropping_moves_copies_out_of_the_earlier_part() -> None:
    valid = [row(text(3), 501), row(text(1_001), 502), row(text(700), 503)]
    cleaned, report = drop_leaks(parts(TRAIN, TEST, valid), on_leak="drop")
    assert {example.line for example in TRAIN} - {example.line for example in cleaned.train} == {3}
    assert [example.line for example in cleaned.validation] == [501, 503]
    assert list(cleaned.test) == TEST
    assert len(report.exact) == 2
    assert any("2 exact leaks" in note for note in cleaned.notes)


def test_same_input_with_another_answer_is_a_leak_too() -> None:
    train = [row(text(i), i, label=str(i % 2), output=str(i % 2)) for i in range(60)]
    test = [row(text(5), 100, label="0", output="0"), *(row(text(100 + i), i, label="1", output="1") for i in range(9))]
    assert [pair.where for pair in find_leaks(parts(train, test)).exact] == ["data.jsonl:5"]


def test_a_cluster_in_two_parts_is_a_leak() -> None:
    train = [*TRAIN, row("one summary of it " + text(50_000), 600, cluster="dialogue 1")]
    test = [*TEST, row("another summary of it " + text(50_001), 601, cluster="dialogue 1")]
    report = find_leaks(parts(train, test))
    assert [(pair.where, pair.other_where) for pair in report.cluster] == [("data.jsonl:600", "data.jsonl:601")]


def near(seed: int, changed: int = 1) -> str:
    words = text(seed).split()
    for place in range(changed):
        words[-1 - place] = f"z{seed}q{place}"
    return " ".join(words)


def test_near_duplicates_leave_train_and_are_listed() -> None:
    test = [*TEST, row(near(7), 2000)]
    cleaned, report = drop_leaks(parts(TRAIN, test))
    assert [(pair.where, pair.other_where) for pair in report.near] == [("data.jsonl:7", "data.jsonl:2000")]
    assert 0.8 <= report.near[0].similarity < 1
    assert 7 not in {example.line for example in cleaned.train} and len(cleaned.train) == len(TRAIN) - 1
    assert cleaned.near_duplicates == 1
    assert len(cleaned.test) == len(test)


def test_too_many_near_duplicates_are_refused() -> None:
    test = [*TEST, *(row(near(i), 2000 + i) for i in range(3))]
    with pytest.raises(DataError, match=r"3 of 103 test rows have near-duplicates.*1%.*data\.jsonl:0 = test"):
        drop_leaks(parts(TRAIN, test))
    cleaned, _ = drop_leaks(parts(TRAIN, test), on_leak="drop")
    assert len(cleaned.train) == len(TRAIN) - 3


def test_many_test_rows_near_one_train_row_all_count() -> None:
    test = [*TEST, *(row(near(7, changed), 2000 + changed) for changed in (1, 2, 3))]
    report = find_leaks(parts(TRAIN, test))
    assert len(report.near) == 1 and report.near_held_out["test"] == 3


def test_different_texts_are_no_near_duplicates() -> None:
    half = row(" ".join([*text(7).split()[:30], *text(8_888).split()[:30]]), 2000)
    assert not find_leaks(parts(TRAIN, [*TEST, half])).near


def test_an_instruction_inside_every_prompt_does_not_make_prompts_alike() -> None:
    long = " ".join(text(1, 200).split())
    train = [Example.make({"prompt": f"{long} {text(i, 20)}"}) for i in range(100)]
    test = [Example.make({"prompt": f"{long} {text(500 + i, 20)}"}) for i in range(50)]
    assert not find_leaks(Splits(train, [], test)).near


def short(texts: list[str], label: bool = True) -> list[Example]:
    return [Example.make({"text": text, "label": "ab"[i % 2]}, label="ab"[i % 2]) for i, text in enumerate(texts)]


def test_short_texts_one_word_apart_are_different_and_a_typo_is_not() -> None:
    filler = short([text(i, 7) for i in range(60)])
    train = [*filler, *short(["what is the capital city of peru", "how do i reset the password of my account"])]
    held = short([text(100 + i, 7) for i in range(120)])
    test = [*held, *short(["what is the capital city of cuba", "how do i reset the passwords of my account"])]
    found = find_leaks(Splits(train, [], test)).near
    assert [pair.id for pair in found] == [train[-1].id]


def test_sums_with_other_numbers_are_different_rows() -> None:
    long = "please work out the following sum as carefully as you can and say what"
    train = short([f"{text(i, 8)} {long} 1234 plus 5678 is" for i in range(10)])
    test = short([f"{text(i, 8)} {long} 1234 plus 5679 is" for i in range(10)])
    assert not find_leaks(Splits(train, [], test)).near


def test_repeated_rows_inside_train_are_kept_once_and_listed() -> None:
    train = [*TRAIN, row(text(7), 700), row(text(8).title(), 701)]
    cleaned, report = drop_leaks(parts(train, TEST))
    assert [(pair.where, pair.other_where) for pair in report.duplicates] == [
        ("data.jsonl:700", "data.jsonl:7"),
        ("data.jsonl:701", "data.jsonl:8"),
    ]
    assert [example.line for example in cleaned.train] == [example.line for example in TRAIN]
    assert cleaned.duplicates == 2


def test_two_answers_to_one_question_inside_train_both_stay() -> None:
    train = [*TRAIN, row(text(7), 700, output="other")]
    cleaned, report = drop_leaks(parts(train, TEST), fields=["instruction", "input"])
    assert not report.duplicates and len(cleaned.train) == len(train)


def test_a_part_that_repeats_another_whole() -> None:
    with pytest.raises(DataError, match="every row of train repeats"):
        drop_leaks(Splits(TRAIN[:5], [], [row(text(i), 2000 + i) for i in range(5)]), on_leak="drop")


def jaccard(one: Counter[str], other: Counter[str]) -> float:
    return (one & other).total() / (one | other).total()


def shingles(tokens: Sequence[str], size: int) -> Counter[str]:
    return Counter({" ".join(tokens[i : i + size]) for i in range(len(tokens) - size + 1)})


def similarity(one: str, other: str) -> float:
    """What the docstring of `minhash` says, word by word; 0 for texts that are not similar."""
    if min(len(one.split()), len(other.split())) < 20:
        found = jaccard(shingles(list(one), 4), shingles(list(other), 4))
        return found if found >= 0.8 else 0
    found = jaccard(Counter(one.split()), Counter(other.split()))
    order = jaccard(shingles(one.split(), 2), shingles(other.split(), 2))
    return found if found >= 0.8 and order >= 0.5 else 0


@pytest.mark.parametrize("length", [8, 18, 22, 60])
def test_minhash_equals_brute_force(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keeptune.data.splits.minhash.COMMON", 1.0)
    rng = random.Random(length)
    texts = [text(i, length + i % 5) for i in range(60)]
    for i in range(60):
        words = texts[i].split()
        for place in rng.sample(range(len(words)), rng.randint(0, max(1, len(words) // 6))):
            words[place] = rng.choice(WORDS) if i % 2 else words[place] + "s"
        texts.append(" ".join(words))
    found = {(i, j): s for i, j, s in similar_pairs(texts, [0] * 60 + [1] * 60)}
    scores = {(i, j): similarity(texts[i], texts[j]) for i in range(60) for j in range(60, 120)}
    expected = {pair: score for pair, score in scores.items() if score}
    assert len(expected) > 10
    assert found == pytest.approx(expected)


def test_every_pair_of_different_groups_comes_once_and_in_order() -> None:
    texts = [f"{text(7)} {i}" for i in range(6)] + [text(i) for i in range(100, 150)]
    pairs = [(i, j) for i, j, _ in similar_pairs(texts, range(len(texts)))]
    assert sorted(pairs) == [(i, j) for i in range(6) for j in range(i + 1, 6)]


def test_the_same_words_in_another_order_are_another_text() -> None:
    words = text(7).split()
    assert not list(similar_pairs([" ".join(words), " ".join(sorted(words))], [0, 1]))


def test_scripts_without_blanks_are_compared_by_character() -> None:
    rng = random.Random(0)
    texts = ["".join(chr(rng.randrange(0x4E00, 0x9000)) for _ in range(60)) for _ in range(30)]
    texts.append(texts[3][:40] + "好" + texts[3][41:])
    assert [(i, j) for i, j, _ in similar_pairs(texts, [0] * 30 + [1])] == [(3, 30)]


def test_planted_copies_are_found_and_nothing_else() -> None:
    found = planted.measure(planted.make_rows(4_000, 150, seed=5))
    assert found["recall"]["exact"] == found["recall"]["spacing"] == 1
    assert found["recall"]["edited"] >= 0.95
    assert found["false_alarm_rate"] < 0.001


def test_look_alikes_that_are_still_to_be_divided_share_a_cluster() -> None:
    words = [f"w{number}" for number in range(400)]
    rng = random.Random(3)
    texts = [" ".join(rng.sample(words, 40)) for _ in range(60)]
    texts += [text + " and more" for text in texts[:20]]  # near-duplicates
    texts += [texts[30].upper()]  # a normalised copy
    examples = [Example.make({"text": text, "n": str(i)}) for i, text in enumerate(texts)]
    grouped = keep_together(examples, ["text"])
    assert len({example.cluster for example in grouped}) == 60
    shuffled = rng.sample(examples, len(examples))
    assert {e.id: e.cluster for e in keep_together(shuffled, ["text"])} == {e.id: e.cluster for e in grouped}
    splits, report = drop_leaks(split(grouped, validation=0.2, test=0.2), ["text"])
    assert not report.copies
    assert not report.near
    assert min(len(splits.validation), len(splits.test)) > 5


def test_rows_of_the_source_s_own_held_out_parts_keep_their_clusters() -> None:
    examples = [Example.make({"text": "the same words in a row here", "n": str(i)}, part="test") for i in range(4)]
    assert keep_together(examples, ["text"]) == examples


def test_a_form_filled_in_many_times_is_not_one_cluster() -> None:
    examples = [Example.make({"text": "the form that everybody fills in" + "!" * i}) for i in range(40)]
    assert len({e.cluster for e in keep_together(examples, ["text"])}) == 40


def test_train_rows_that_another_task_asks_are_found() -> None:
    ours = parts([row(text(1), 1), row("short texts recur", 2), row(text(3), 3)], [row(text(4), 4)])
    copies = [row(text(1).upper() + "!", 11), row("short texts recur", 12), row(text(4), 14)]
    theirs = parts([row(text(4) + ".", 15)], copies)
    tasks = {"ours": ours, "theirs": theirs}
    fields = {"ours": ("input",), "theirs": ("input",)}
    found = asked_elsewhere(tasks, fields, {"ours", "theirs"})
    assert {name: [pair.where for pair in pairs] for name, pairs in found.items()} == {
        "ours": ["data.jsonl:1"],
        "theirs": ["data.jsonl:15"],
    }
    assert "test of theirs data.jsonl:11" in str(found["ours"][0])
    assert not asked_elsewhere({"ours": ours}, {}, {"ours"})  # its own test rows are its splits' business
    assert list(asked_elsewhere(tasks, fields, {"theirs"})) == ["theirs"]
    assert not asked_elsewhere(tasks, fields, ())


def test_train_rows_that_another_task_validates_on_are_found() -> None:
    ours = parts([row(text(1), 1), row(text(2), 2)], [row(text(3), 3)])
    theirs = parts([row(text(4), 4)], [row(text(5), 5)], [row(text(2), 12)])
    found = asked_elsewhere({"ours": ours, "theirs": theirs}, {}, {"ours"})
    assert [(pair.where, pair.other_part) for pair in found["ours"]] == [("data.jsonl:2", "validation of theirs")]


class Unread(Splits):
    """Parts whose train rows nobody may read."""

    def part(self, name: str) -> Sequence[Example]:
        assert name != "train"
        return super().part(name)


def test_train_rows_that_nobody_trains_on_are_not_read() -> None:
    untrained = Unread([row(text(1), 1)], [row(text(2), 2)], [row(text(3), 3)])
    ours = parts([row(text(3), 4), row(text(6), 6)], [row(text(5), 5)])
    found = asked_elsewhere({"ours": ours, "theirs": untrained}, {}, {"ours"})
    assert list(found) == ["ours"]


def test_near_duplicates_in_validation_leave_train_and_are_no_reason_to_refuse() -> None:
    rng = random.Random(5)
    words = [f"w{number}" for number in range(300)]
    train = [Example.make({"text": " ".join(rng.sample(words, 60))}) for _ in range(30)]
    close = [Example.make({"text": str(row.fields["text"]) + " more"}) for row in train[:10]]
    test = [Example.make({"text": " ".join(rng.sample(words, 60))}) for _ in range(10)]
    kept, report = drop_leaks(Splits(train, close, test), ["text"])
    assert (len(kept.train), len(kept.validation), len(report.near)) == (20, 10, 10)
    with pytest.raises(DataError, match="10 of 10 test rows"):
        drop_leaks(Splits(train, test, close), ["text"])
