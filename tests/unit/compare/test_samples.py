"""`compare --samples`: logs as lm-eval 0.4.13 writes them, made by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keeptune.compare import lm_eval, logs
from keeptune.compare.gate import exit_code
from keeptune.compare.samples import compare_samples
from keeptune.core.errors import ConfigError, DataError
from keeptune.core.records import ItemRecord, Summary, read_json
from keeptune.retention.pairs import Suite, pair
from keeptune.retention.verdict import judge


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def choice_row(i: int, right: float, *, question: str | None = None, shots: str = "", k: int = 4) -> dict[str, Any]:
    """A multiple-choice document under acc."""
    question = question or f"question {i}"
    return {
        "doc_id": i,
        "doc": {"question": question, "passage": f"passage {i // 10}"},
        "target": str(i % k),
        "arguments": {f"gen_args_{c}": {"arg_0": shots + question, "arg_1": f" {c}"} for c in range(k)},
        "resps": [[["-1.5", "False"]]] * k,
        "filtered_resps": [["-1.5", "False"]] * k,
        "filter": "none",
        "metrics": ["acc"],
        "doc_hash": digest(question),
        "prompt_hash": digest(shots + question),
        "target_hash": digest(str(i % k)),
        "acc": right,
    }


def generation_rows(i: int, strict: float, flexible: float) -> list[dict[str, Any]]:
    """A generation document under two filters."""
    row = choice_row(i, 0.0, k=1) | {"target": f"answer {i}", "resps": [["out"]], "metrics": ["exact_match"]}
    del row["acc"]
    return [
        row | {"filter": "strict-match", "exact_match": strict, "filtered_resps": [f"s{strict}"]},
        row | {"filter": "flexible-extract", "exact_match": flexible, "filtered_resps": [f"f{flexible}"]},
    ]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def scores(n: int, level: float, seed: int) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).random(n) < level]


def two_logs(folder: Path, before: Sequence[float], after: Sequence[float]) -> tuple[str, str]:
    return (
        write(folder / "a.jsonl", [choice_row(i, s) for i, s in enumerate(before)]),
        write(folder / "b.jsonl", [choice_row(i, s) for i, s in enumerate(after)]),
    )


def lose(before: Sequence[float], share: float) -> list[float]:
    """The same scores with a share of the right ones turned wrong."""
    right = [i for i, s in enumerate(before) if s]
    lost = set(right[: round(share * len(right))])
    return [0.0 if i in lost else s for i, s in enumerate(before)]


@pytest.mark.parametrize(
    ("share", "verdict", "code"), [(0.0, "Retained", 0), (0.3, "Harmed", 10), (0.015, "Worse", 11)]
)
def test_verdicts_are_those_of_the_statistics_on_the_same_scores(
    tmp_path: Path, share: float, verdict: str, code: int
) -> None:
    before = scores(400, 0.7, seed=1)
    after = lose(before, share)
    comparison = compare_samples(*two_logs(tmp_path, before, after), margin=0.01)

    def items(values: Sequence[float]) -> list[ItemRecord]:
        return [ItemRecord(suite="a", id=str(i), cluster=str(i), score=s) for i, s in enumerate(values)]

    (expected,) = judge([(Suite("a", "acc", "binary", 0.01, chance=0.25), pair(items(before), items(after)))])
    assert comparison.verdicts == (expected,)
    assert (expected.verdict, exit_code(comparison.verdicts)) == (verdict, code)


def test_a_base_at_chance_is_not_measurable(tmp_path: Path) -> None:
    before = scores(400, 0.25, seed=2)
    comparison = compare_samples(*two_logs(tmp_path, before, lose(before, 0.5)))
    assert [v.verdict for v in comparison.verdicts] == ["Not measurable"]
    assert exit_code(comparison.verdicts) == 11


def test_rows_may_stand_in_any_order(tmp_path: Path) -> None:
    before, after = scores(300, 0.8, 3), scores(300, 0.7, 4)
    a, b = two_logs(tmp_path, before, after)
    shuffled = write(tmp_path / "c.jsonl", [choice_row(i, s) for i, s in reversed(list(enumerate(after)))])
    assert compare_samples(a, shuffled).verdicts == compare_samples(a, b).verdicts


def test_other_prompts_are_refused(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", [choice_row(i, 1.0) for i in range(3)])
    b = write(tmp_path / "b.jsonl", [choice_row(i, 1.0, shots="one shot\n\n" if i else "") for i in range(3)])
    with pytest.raises(DataError, match=r"b\.jsonl:2: field 'prompt_hash'.* on 2 of 3 items.*same number of shots"):
        compare_samples(a, b)


def test_other_items_are_refused(tmp_path: Path) -> None:
    a, b = two_logs(tmp_path, [1.0] * 5, [1.0] * 4)
    with pytest.raises(DataError, match=r"1 of 5 items of the other log are not here, document 4 first.*--limit"):
        compare_samples(a, b)
    with pytest.raises(DataError, match="1 of 5 items"):
        compare_samples(b, a)


def test_several_filters_need_a_choice(tmp_path: Path) -> None:
    rows = [row for i in range(60) for row in generation_rows(i, float(i % 2), 1.0)]
    a = write(tmp_path / "base" / "samples_gsm8k_2026-11-23T10-00-00.123456.jsonl", rows)
    with pytest.raises(ConfigError, match="exact_match,flexible-extract, exact_match,strict-match") as refused:
        compare_samples(a, a)
    assert refused.value.exit_code == 2
    comparison = compare_samples(a, a, metrics=["acc", "exact_match,strict-match"], margin=0.1)
    (verdict,) = comparison.verdicts
    assert (verdict.suite, verdict.metric, verdict.before) == ("gsm8k", "exact_match,strict-match", 0.5)
    assert verdict.chance == pytest.approx(1 / 60)


def test_a_metric_that_is_not_there_is_refused(tmp_path: Path) -> None:
    a, b = two_logs(tmp_path, [1.0] * 5, [1.0] * 5)
    with pytest.raises(ConfigError, match=r"there are acc.*--metric acc"):
        compare_samples(a, b, metrics=["acc_norm"])


def test_corpus_statistics_are_named_as_unusable(tmp_path: Path) -> None:
    rows = [choice_row(i, 1.0) | {"metrics": ["f1"], "f1": [1, 0]} for i in range(3)]
    a = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(ConfigError, match=r"there are none; no score per item: f1"):
        compare_samples(a, a)


def test_bits_per_byte_weigh_by_bytes(tmp_path: Path) -> None:
    def rows(factor: float) -> list[dict[str, Any]]:
        values = [[-factor * size * math.log(2) * (1 + i % 3), size] for i, size in enumerate(range(100, 160))]
        return [
            choice_row(i, 0.0, k=1)
            | {"metrics": ["bits_per_byte", "word_perplexity"], "bits_per_byte": v, "word_perplexity": v}
            for i, v in enumerate(values)
        ]

    a, b = write(tmp_path / "a.jsonl", rows(1.0)), write(tmp_path / "b.jsonl", rows(1.05))
    (verdict,) = compare_samples(a, b).verdicts
    sizes = np.arange(100, 160)
    assert verdict.before == pytest.approx(float((sizes * (1 + np.arange(60) % 3)).sum() / sizes.sum()))
    assert verdict.change == pytest.approx(-0.05)
    assert (verdict.verdict, verdict.relative, verdict.margin) == ("Harmed", True, 0.01)


def test_copies_of_a_document_share_a_cluster(tmp_path: Path) -> None:
    rows = [choice_row(i, 1.0, question=f"question {i // 2}") for i in range(80)]
    for row in rows:
        row |= {"target": "0", "target_hash": digest("0")}
    a = write(tmp_path / "a.jsonl", rows)
    (verdict,) = compare_samples(a, a).verdicts
    assert (verdict.n, verdict.clusters) == (80, 40)


def test_a_field_of_the_document_can_be_the_cluster(tmp_path: Path) -> None:
    a, b = two_logs(tmp_path, [1.0, 0.0] * 200, [1.0, 0.0] * 200)
    (verdict,) = compare_samples(a, b, cluster="passage").verdicts
    assert (verdict.n, verdict.clusters) == (400, 40)
    with pytest.raises(DataError, match=r"field 'story'.*passage, question"):
        compare_samples(a, b, cluster="story")


def test_folders_hold_several_tasks_and_the_newest_log_counts(tmp_path: Path) -> None:
    before, after = scores(400, 0.8, 5), scores(400, 0.8, 5)
    for side, values in (("base", before), ("tuned", after)):
        for task in ("arc_easy", "my_task_v2"):
            rows = [choice_row(i, s) for i, s in enumerate(values)]
            write(tmp_path / side / "model" / f"samples_{task}_2026-11-23T10-00-00.000001.jsonl", rows)
    old = [choice_row(i, 0.0, shots="old") for i in range(3)]
    write(tmp_path / "tuned" / "model" / "samples_arc_easy_2026-11-22T10-00-00.000001.jsonl", old)
    comparison = compare_samples(str(tmp_path / "base"), str(tmp_path / "tuned"), margins={"my_task_v2": 0.05})
    assert [v.suite for v in comparison.verdicts] == ["arc_easy", "my_task_v2"]
    default, given = comparison.verdicts
    assert default.margin == pytest.approx(0.05 * (default.before - (default.chance or 0.0)))
    assert (default.margin_share, given.margin) == (pytest.approx(0.05), 0.05)
    globbed = compare_samples(f"{tmp_path}/base/*/*arc*.jsonl", f"{tmp_path}/tuned/**/*arc*.jsonl")
    assert [v.suite for v in globbed.verdicts] == ["arc_easy"]


def test_a_task_of_one_side_is_an_error(tmp_path: Path) -> None:
    rows = [choice_row(0, 1.0)]
    for side, task in (("base", "one"), ("base", "two"), ("tuned", "one")):
        write(tmp_path / side / f"samples_{task}_2026-11-23T10-00-00.0.jsonl", rows)
    with pytest.raises(DataError, match="only this side has two"):
        compare_samples(str(tmp_path / "base"), str(tmp_path / "tuned"))


def test_the_target_is_reported_and_not_judged(tmp_path: Path) -> None:
    for side, level in (("base", 0.3), ("tuned", 0.9)):
        for task in ("old", "new"):
            rows = [choice_row(i, s) for i, s in enumerate(scores(300, level if task == "new" else 0.8, 6))]
            write(tmp_path / side / f"samples_{task}_2026-11-23T10-00-00.0.jsonl", rows)
    comparison = compare_samples(str(tmp_path / "base"), str(tmp_path / "tuned"), target="new")
    assert [v.suite for v in comparison.verdicts] == ["old"]
    before, after = comparison.summary.arms
    assert after.gain_mean == pytest.approx(after.target.mean - before.target.mean)
    assert after.gain is not None
    assert after.gain.low > 0.5
    with pytest.raises(ConfigError, match="no log of task 'newer'.*new, old"):
        compare_samples(str(tmp_path / "base"), str(tmp_path / "tuned"), target="newer")


def test_results_beside_the_logs_name_the_models_and_what_is_better(tmp_path: Path) -> None:
    date = "2026-11-23T10-00-00.0"
    rows = [choice_row(i, 1.0) | {"metrics": ["acc", "err"], "err": 0.1} for i in range(40)]
    a, b = (write(tmp_path / side / f"samples_arc_{date}.jsonl", rows) for side in ("x", "y"))
    assert [v.metric for v in compare_samples(a, b).verdicts] == ["acc"]  # nothing says that a higher err is better
    for side in ("x", "y"):
        results = {"model_name": f"org/{side}", "higher_is_better": {"arc": {"acc": True, "err": False}}}
        (tmp_path / side / f"results_{date}.json").write_text(json.dumps(results))
    comparison = compare_samples(a, b)
    assert comparison.verdicts[0].metric == "acc"
    assert [arm.label for arm in comparison.summary.arms] == ["org/x", "org/y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"doc_id": 0', r"a\.jsonl:1: not JSON.*cut short"),
        ("[1]", r"a\.jsonl:1: not a JSON object"),
        ('{"doc_id": 0}', r"a\.jsonl:1: field 'doc_hash'.*--log_samples"),
        ("", "the log is empty"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        compare_samples(str(tmp_path / "a.jsonl"), str(tmp_path / "a.jsonl"))


def test_two_runs_in_one_file_are_refused(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", [choice_row(0, 1.0), choice_row(0, 0.0)])
    with pytest.raises(DataError, match=r"a\.jsonl:2: document 0 was already answered on line 1"):
        compare_samples(a, a)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no log here"):
        compare_samples(str(tmp_path), str(tmp_path))


def test_changed_answers_are_shown_and_the_run_can_be_read_again(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", [r for i in range(40) for r in generation_rows(i, 1.0, 1.0)])
    b = write(tmp_path / "b.jsonl", [r for i in range(40) for r in generation_rows(i, float(i > 2), 1.0)])
    comparison = compare_samples(a, b, metrics=["exact_match,strict-match"])
    assert [s.outputs for s in comparison.summary.samples] == [{"before": "s1.0", "after": "s0.0"}] * 3
    comparison.save(tmp_path / "run")
    assert read_json(tmp_path / "run" / "summary.json", Summary) == comparison.summary
    assert len((tmp_path / "run/arms/after/items/a.jsonl").read_text().splitlines()) == 40


def test_no_torch_is_imported(tmp_path: Path) -> None:
    a, b = two_logs(tmp_path, [1.0] * 40, [1.0] * 40)
    code = (
        "import sys, keeptune\n"
        f"keeptune.compare_samples({a!r}, {b!r})\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_metric_of_unknown_direction_is_not_guessed(tmp_path: Path) -> None:
    """As downloaded: sample logs alone, of an error rate that rises."""
    rows = [choice_row(i, 0.5) | {"metrics": ["edit_distance"], "edit_distance": 0.3 + i / 1000} for i in range(60)]
    a, b = (write(tmp_path / side / "samples_words_2026-11-23T10-00-00.0.jsonl", rows) for side in ("x", "y"))
    with pytest.raises(ConfigError, match=r"nothing says whether a higher edit_distance is better.*results_\*\.json"):
        compare_samples(a, b)
    stated = compare_samples(a, b, metrics=["edit_distance:higher"])
    assert [v.metric for v in stated.verdicts] == ["edit_distance"]


def test_logs_without_lists_of_metrics_and_filters_are_read(tmp_path: Path) -> None:
    """As lm-eval wrote them before 0.4.7."""
    rows = [{k: v for k, v in choice_row(i, 1.0).items() if k not in ("metrics", "filter")} for i in range(40)]
    a, b = (write(tmp_path / f"{side}.jsonl", rows) for side in ("x", "y"))
    assert [v.metric for v in compare_samples(a, b).verdicts] == ["acc"]


def test_the_results_of_a_run_are_read_once_for_all_its_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To know whose logs they are: the results of a large group are megabytes."""
    for task in ("arc", "piqa", "boolq"):
        write(tmp_path / f"samples_{task}_2026-11-23T10-00-00.0.jsonl", [choice_row(0, 1.0)])
    (tmp_path / "results_2026-11-23T10-00-00.0.json").write_text(json.dumps({"model_name": "m"}))
    read: list[Path] = []
    real = lm_eval._results_beside
    monkeypatch.setattr(lm_eval, "_results_beside", lambda path: read.append(path) or real(path))
    assert sorted(logs.find_logs(str(tmp_path))) == ["arc", "boolq", "piqa"]
    assert len(read) == 1


def test_logs_of_two_models_on_one_side_are_refused(tmp_path: Path) -> None:
    rows = [choice_row(i, 1.0) for i in range(40)]
    write(tmp_path / "base" / "m" / "samples_arc_2026-11-23T10-00-00.0.jsonl", rows)
    for step, task, hour in ((100, "arc", 12), (200, "arc", 11), (100, "piqa", 12)):
        write(tmp_path / "tuned" / f"out__{step}" / f"samples_{task}_2026-11-23T{hour}-00-00.0.jsonl", rows)
    with pytest.raises(DataError, match=r"logs of 2 models on one side: .*out__100, .*out__200"):
        compare_samples(str(tmp_path / "base"), str(tmp_path / "tuned"))
    for step, name in ((100, "a"), (200, "a")):
        for hour in (11, 12):
            text = json.dumps({"model_name": f"org/{name}"})
            (tmp_path / "tuned" / f"out__{step}" / f"results_2026-11-23T{hour}-00-00.0.json").write_text(text)
    (tmp_path / "tuned/out__100/samples_piqa_2026-11-23T12-00-00.0.jsonl").unlink()
    assert len(compare_samples(str(tmp_path / "base"), str(tmp_path / "tuned")).verdicts) == 1
