from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from keeptune.core.errors import ConfigError, DataError
from keeptune.data.encode.encoder import Encoder
from keeptune.data.storage import lazy
from keeptune.evaluate.config import SplitConfig, TaskConfig, TextConfig
from keeptune.evaluate.metrics.base import Answer
from keeptune.evaluate.task import Judged, build_task, build_text
from keeptune.evaluate.text import byte_entropy

NAMES = "ant bee cat dog eel fox gnu hen ibis jay kite lark mole newt owl pig quail ram seal tern".split()


def write_rows(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def animal_rows(n: int = 60) -> list[dict[str, Any]]:
    """Classification: has the animal wings?"""
    return [
        {"text": f"{NAMES[i % 20]} {i} {NAMES[(7 * i) % 20]}", "label": ["no", "yes", "maybe"][i % 3]} for i in range(n)
    ]


def repeated_rows() -> list[dict[str, Any]]:
    """The first documents occur again with another summary, the next ones with a slip."""
    rows = story_rows()
    again = [{**row, "summary": f"again {row['summary']}"} for row in rows[:3]]
    return [*rows, *again, *({**row, "document": f"{row['document']}!"} for row in rows[3:6])]


def sum_rows(n: int = 60) -> list[dict[str, Any]]:
    return [{"question": f"What is {i} plus {3 * i}?", "answer": str(4 * i)} for i in range(n)]


def story_rows(n: int = 60) -> list[dict[str, Any]]:
    return [
        {
            "document": " ".join(NAMES[(i * k + k) % 20] for k in range(1, 30)) + f" {i}",
            "summary": f"{NAMES[i % 20]} met the {NAMES[(i + 3) % 20]} and then went home {i}",
        }
        for i in range(n)
    ]


def test_few_answers_become_choices(tmp_path: Path) -> None:
    task = build_task(TaskConfig(data=write_rows(tmp_path, animal_rows())))
    assert (task.name, task.metric.name, task.request) == ("rows", "accuracy", "choices")
    row = task.wordings(chat=False).fixed(task.splits.test[0])
    assert row.choices == (" maybe", " no", " yes")
    assert task.margin is None  # a share of what the base has above chance
    assert {part: len(task.splits.part(part)) for part in ("train", "validation", "test")} == {
        "train": 42,
        "validation": 6,
        "test": 12,
    }


def test_short_free_answers_are_matched_and_long_ones_compared(tmp_path: Path) -> None:
    sums = build_task(TaskConfig(data=write_rows(tmp_path, sum_rows(), "sums.jsonl")))
    assert (sums.metric.name, sums.request) == ("exact_match", "generate")
    stories = build_task(TaskConfig(data=write_rows(tmp_path, story_rows(), "stories.jsonl")))
    assert (stories.metric.name, stories.request) == ("rougeL", "generate")


def test_the_rows_own_options_become_choices(tmp_path: Path) -> None:
    rows = [
        {"question": f"Which one is number {i}?", "choices": [NAMES[i % 20], f"x{i}", f"y{i}"], "answer": f"x{i}"}
        for i in range(60)
    ]
    task = build_task(TaskConfig(data=write_rows(tmp_path, rows)))
    assert task.request == "choices"
    assert task.chance() == pytest.approx(1 / 3)


def test_own_wordings_that_rename_the_labels_are_generated(tmp_path: Path) -> None:
    data = write_rows(tmp_path, animal_rows())
    plain = build_task(TaskConfig(data=data, templates=("{{ text }} ||| {{ label }}",)))
    assert plain.request == "choices"
    renamed = build_task(TaskConfig(data=data, templates=("{{ text }} ||| it is {{ label }}",)))
    assert (renamed.metric.name, renamed.request) == ("exact_match", "generate")
    stated = TaskConfig(
        data=data,
        templates=("{{ text }} ||| it is {{ label }}",),
        answer_choices=("it is yes", "it is no", "it is maybe"),
        metric="accuracy_norm",
    )
    assert build_task(stated).request == "choices"


def test_a_pack_gives_several_wordings(tmp_path: Path) -> None:
    task = build_task(TaskConfig(data=write_rows(tmp_path, animal_rows()), pack="classification"))
    assert task.request == "choices"
    assert len(task.wordings(chat=False).templates) >= 8


def test_metrics_that_do_not_fit_are_refused_early(tmp_path: Path) -> None:
    data = write_rows(tmp_path, story_rows())
    with pytest.raises(
        ConfigError, match="'accuracy' needs answers to choose from.*-> give answer_choices, or use exact"
    ):
        build_task(TaskConfig(data=data, metric="accuracy"))
    animals = write_rows(tmp_path, animal_rows(), "animals.jsonl")
    with pytest.raises(ConfigError, match="'rougeL' compares texts, and this task chooses among 3 answers -> use acc"):
        build_task(TaskConfig(data=animals, metric="rougeL", answer_choices=("yes", "no", "maybe")))
    with pytest.raises(ConfigError, match="no metric 'acuracy' -> did you mean 'accuracy'"):
        build_task(TaskConfig(data=animals, metric="acuracy"))


def test_exact_match_generates_even_where_choices_are_known(tmp_path: Path) -> None:
    data = write_rows(tmp_path, animal_rows())
    for choices in (None, ("yes", "no", "maybe")):
        assert build_task(TaskConfig(data=data, metric="exact_match", answer_choices=choices)).request == "generate"
    assert build_task(TaskConfig(data=data, metric="rougeL")).request == "generate"  # the few answers are a guess
    assert build_task(TaskConfig(data=data, metric="macro_f1")).request == "choices"


def test_leaks_are_refused_or_dropped(tmp_path: Path) -> None:
    rows = animal_rows()
    for number, row in enumerate(rows):
        row["split"] = "test" if number < 20 else "train"
    rows.append({**rows[0], "split": "train"})
    data = write_rows(tmp_path, rows)
    with pytest.raises(DataError, match=r"rows\.jsonl:61 = test .*rows\.jsonl:1 .*on_leak: drop"):
        build_task(TaskConfig(data=data))
    task = build_task(TaskConfig(data=data, split=SplitConfig(on_leak="drop")))
    assert len(task.splits.test) == 20


def test_chance_is_the_majority_or_one_in_k(tmp_path: Path) -> None:
    rows = [{**row, "label": "yes" if i % 10 else "no", "split": "test"} for i, row in enumerate(animal_rows())]
    task = build_task(TaskConfig(data=write_rows(tmp_path, rows)))
    assert task.chance() == pytest.approx(0.9)
    assert task.suite().chance == pytest.approx(0.9)
    assert build_task(TaskConfig(data=task.source, metric="macro_f1")).chance() == pytest.approx(0.5)
    assert build_task(TaskConfig(data=task.source, metric="exact_match")).chance() == pytest.approx(0.9)
    assert build_task(TaskConfig(data=task.source, metric="rougeL")).chance() is None


def test_digest_follows_all_that_scores_depend_on(tmp_path: Path) -> None:
    data = write_rows(tmp_path, animal_rows())
    (tmp_path / "m.py").write_text("def f(prediction, references):\n    return 1.0\n")
    base = TaskConfig(data=data)
    variants = [
        {},
        {"name": "other"},
        {"metric": "exact_match"},
        {"metric": "exact_match", "extract": "x"},
        {"metric": "exact_match", "extract": "x", "extract_first": True},
        {"metric": "exact_match", "max_new_tokens": 3},
        {"templates": ("{{ text }} ||| {{ label }}",)},
        {"system": "Be brief."},
        {"split": SplitConfig(seed=1)},
        {"metric": f"python:{tmp_path / 'm.py'}:f"},
    ]
    digests = [build_task(base.model_copy(update=variant)).digest for variant in variants]
    assert len(set(digests)) == len(variants)
    assert build_task(base.model_copy(update={"margin": 5})).digest == digests[0]
    (tmp_path / "m.py").write_text("def f(prediction, references):\n    return 0.0\n")
    assert build_task(base.model_copy(update=variants[-1])).digest != digests[-1]


def test_new_tokens_follow_the_longest_completion(tmp_path: Path, tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, context=4096)
    sums = build_task(TaskConfig(data=write_rows(tmp_path, sum_rows())))
    assert sums.new_tokens(encoder) == 16
    long = [{"prompt": f"say it {i} {NAMES[i % 20]}", "completion": "word " * 40 + str(i)} for i in range(40)]
    task = build_task(TaskConfig(data=write_rows(tmp_path, long, "long.jsonl")))
    longest = max(len(encoder.completion(task.wordings(False).fixed(row).completion)) for row in task.splits.train)
    assert task.new_tokens(encoder) == longest * 5 // 4
    assert build_task(TaskConfig(data=task.source, max_new_tokens=7)).new_tokens(encoder) == 7
    assert task.new_tokens(Encoder(tokenizer, context=longest + 20)) == longest  # a prompt of 20 has room
    assert task.new_tokens(Encoder(tokenizer, context=longest - 20)) == longest - 21  # one token is left to the prompt


def test_answers_that_cannot_be_written_do_not_stop_the_limit(tmp_path: Path, tokenizer: Any) -> None:
    rows = [{"prompt": f"say {i} {NAMES[i % 20]}", "completion": "word </s> " * 9 + str(i)} for i in range(40)]
    task = build_task(TaskConfig(data=write_rows(tmp_path, rows)))
    assert task.new_tokens(Encoder(tokenizer, context=4096)) > 16


def test_text_suites(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(" ".join(f"{i} {NAMES[i % 20]}" for i in range(4000)))
    task = build_text(TextConfig(text=str(tmp_path / "book.txt"), margin="2%", block_bytes=256))
    assert (task.name, task.request, task.margin) == ("book", "text", 0.02)
    suite = task.suite()
    assert (suite.kind, suite.relative, suite.documents) == ("bits_per_byte", True, 1)
    assert suite.chance is not None and 3 < suite.chance < 5  # bits per byte of letters, digits and spaces
    clusters = {part: {e.cluster for e in task.splits.part(part)} for part in ("train", "validation", "test")}
    assert not clusters["train"]  # the one document is judged: none of it is trained on
    assert not clusters["validation"] & clusters["test"]
    assert len(clusters["test"]) > len(clusters["validation"]) > 0


def test_rows_that_a_remedy_trains_on_are_of_documents_that_are_not_judged(tmp_path: Path) -> None:
    for name in "abcde":
        (tmp_path / f"{name}.txt").write_text(" ".join(f"{name}{i} {NAMES[i % 20]}" for i in range(2000)))
    task = build_text(TextConfig(text=str(tmp_path / "*.txt"), block_bytes=256))
    documents = {part: {e.label for e in task.splits.part(part)} for part in ("train", "validation", "test")}
    assert len(documents["train"]) == 1
    assert not documents["train"] & (documents["test"] | documents["validation"])
    assert task.suite().documents == 4


def test_a_suite_that_nothing_trains_on_has_no_train_part_unless_the_recipe_gives_shares(tmp_path: Path) -> None:
    source = write_rows(tmp_path, sum_rows())
    task = build_task(TaskConfig(data=source), Judged())
    assert (len(task.splits.train), len(task.splits.validation), len(task.splits.test)) == (0, 18, 42)
    shares = TaskConfig(data=source, split=SplitConfig(validation=0.2))
    assert build_task(shares, Judged()).splits.train
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text(f"{number} words of a text and more of them. " * 200)
    text = build_text(TextConfig(text=str(tmp_path / "*.txt")), Judged()).splits
    assert not text.train
    assert len(text.test) > len(text.validation) > 0


def test_the_entropy_of_bytes_is_that_of_their_frequencies() -> None:
    assert byte_entropy(["abab", "abab"]) == pytest.approx(1.0)
    assert byte_entropy(["aaaa"]) == 0.0
    assert byte_entropy([bytes(range(128)).decode()]) == pytest.approx(7.0)


def test_the_recipe_says_how_rows_are_read_and_which_turns_count(tmp_path: Path) -> None:
    def talk(i: int) -> list[dict[str, str]]:
        return [
            {"role": "user", "content": f"What is {i} plus {3 * i}?"},
            {"role": "assistant", "content": str(4 * i)},
            {"role": "user", "content": "And one more?"},
            {"role": "assistant", "content": str(4 * i + 1)},
        ]

    rows = [{"messages": talk(i), "prompt": f"{NAMES[i % 20]} {i}", "completion": str(i)} for i in range(60)]
    data = write_rows(tmp_path, rows)
    with pytest.raises(DataError, match="fit 2 formats"):
        build_task(TaskConfig(data=data))
    task = build_task(TaskConfig(data=data, format="messages", supervise="last"))
    assert (task.metric.name, task.request) == ("exact_match", "generate")
    assert task.loaded is not None
    assert task.loaded.notes == ("60 of 120 assistant turns are learned from (the last of each)",)
    rendered = task.wordings(chat=False).fixed(task.splits.train[0])
    assert "And one more?" in rendered.prompt
    assert build_task(TaskConfig(data=data, format="prompt-completion")).metric.name == "exact_match"


@pytest.mark.parametrize(
    ("row", "message"),
    [({"text": "Once upon a time."}, "nothing says what is asked"), ({"input_ids": [3, 4]}, "cannot be scored")],
)
def test_rows_that_ask_nothing_are_no_task(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        build_task(TaskConfig(data=write_rows(tmp_path, [row])))


PYTHON_METRIC = "python:{folder}/m.py:f"
KINDS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "choices": (animal_rows(), {}),
    "choices by byte": (animal_rows(), {"metric": "accuracy_norm", "pack": "classification"}),
    "generated": (sum_rows(), {"extract": r"\d+", "system": "Be brief."}),
    "long": (story_rows(), {}),
    "repeated": (repeated_rows(), {}),
    "test rows": ([{**row, "split": "test"} for row in story_rows()], {}),
    "corpus": (story_rows(), {"metric": "bleu"}),
    "json": ([{**row, "answer": json.dumps({"sum": row["answer"]})} for row in sum_rows()], {"metric": "json_f1"}),
    "python": (sum_rows(), {"metric": PYTHON_METRIC}),
    "conversations": (
        [
            {
                "messages": [
                    {"role": role, "content": row[key]} for role, key in (("user", "question"), ("assistant", "answer"))
                ]
            }
            for row in sum_rows()
        ],
        {},
    ),
}


@pytest.mark.parametrize("in_memory", [lazy.IN_MEMORY, 7], ids=["few", "many"])
@pytest.mark.parametrize("kind", KINDS)
def test_tasks_can_be_sent_to_other_processes(
    kind: str, in_memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy, "IN_MEMORY", in_memory)
    (tmp_path / "m.py").write_text("def f(prediction, references):\n    return float(prediction in references)\n")
    rows, settings = KINDS[kind]
    given = {k: v.format(folder=tmp_path) if v == PYTHON_METRIC else v for k, v in settings.items()}
    judged = Judged() if kind == "test rows" else None
    task = build_task(TaskConfig(data=write_rows(tmp_path, rows), **given), judged)
    again = pickle.loads(pickle.dumps(task))
    assert "digest" not in vars(again)  # it is computed anew
    assert again.digest == task.digest
    answers = [Answer(row.id, "[4]", ("[4]", "{}")) for row in task.splits.test]
    assert again.metric.score(answers) == task.metric.score(answers)
    assert again.chance() == task.chance()
    for part in ("train", "validation", "test"):
        assert list(again.splits.part(part)) == list(task.splits.part(part))


def test_free_text_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(" ".join(f"{i} {NAMES[i % 20]}" for i in range(4000)))
    task = build_text(TextConfig(text=str(tmp_path / "book.txt")))
    again = pickle.loads(pickle.dumps(task))
    assert (again.digest, again.suite()) == (task.digest, task.suite())
