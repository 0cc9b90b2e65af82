"""`compare --samples` on JSON logs of Inspect 0.3.285 and runs of InvarLock, in as many fields as are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from keeptune.compare.logs import find_logs, read_log
from keeptune.compare.samples import compare_samples
from keeptune.core.errors import ConfigError, DataError

N = 300


def sample(i: int, right: bool, *, epoch: int = 1, system: str = "") -> dict[str, Any]:
    """As Inspect writes a sample: messages have ids of their own in every run."""
    asked = [{"id": f"{epoch}-{i}-{right}", "role": "user", "content": f"{i} + {i} ="}]
    if system:
        asked.insert(0, {"id": f"s{i}", "role": "system", "content": system})
    answer = {"id": f"a{i}{right}", "role": "assistant", "content": str(2 * i if right else -1)}
    return {
        "id": f"sum-{i}",
        "epoch": epoch,
        "input": f"{i} + {i} =",
        "target": str(2 * i),
        "messages": [*asked, answer],
        "output": {"completion": answer["content"]},
        "scores": {"match": {"value": "C" if right else "I", "answer": answer["content"]}},
        "metadata": {"source": f"page {i // 3}"},
    }


def inspect_log(folder: Path, samples: Sequence[dict[str, Any]], model: str, changes: Any = None) -> str:
    spec = {"task": "arithmetic", "model": model, "created": "2026-11-30T05:21:55+00:00"}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"2026-11-30T05-21-55_arithmetic_{model.replace('/', '-')}.json"
    path.write_text(json.dumps({"version": 2, "status": "success", "eval": spec, "samples": samples} | (changes or {})))
    return str(path)


def run_of(path: Path, scores: Sequence[float], changes: Any = None) -> str:
    records = [
        {
            "id": f"r{i}",
            "input": f"say {i}",
            "expected": str(i),
            "output": str(i),
            "scores": {"exact_match": score},
            "metadata": {"page": str(i // 2)},
            "error": None,
            "context": None,
            **(changes or {}),
        }
        for i, score in enumerate(scores)
    ]
    path.write_text(json.dumps({"format": "invarlock/evaluation-run-v1", "run_id": path.stem, "records": records}))
    return str(path)


def test_inspect_logs_of_a_folder_are_joined_by_id_and_judged(tmp_path: Path) -> None:
    inspect_log(tmp_path / "base", [sample(i, i % 10 > 0) for i in range(N)], "org/base")
    inspect_log(tmp_path / "tuned", [sample(i, i % 2 > 0) for i in reversed(range(N))], "org/tuned")
    compared = compare_samples(str(tmp_path / "base"), str(tmp_path / "tuned"), cluster="source")
    (verdict,) = compared.verdicts
    assert (verdict.suite, verdict.metric, verdict.verdict) == ("arithmetic", "match", "Harmed")
    assert (verdict.before, verdict.after) == (pytest.approx(0.9), pytest.approx(0.5))
    assert [arm.label for arm in compared.summary.arms] == ["org/base", "org/tuned"]


def test_epochs_of_a_sample_are_averaged_and_letters_are_numbers(tmp_path: Path) -> None:
    twice = [sample(i, epoch == 1, epoch=epoch) for i in range(40) for epoch in (1, 2)]
    twice[0]["scores"] = {"match": {"value": "P"}}
    log = read_log(Path(inspect_log(tmp_path, twice, "m")), "arithmetic")
    assert [row.scores["match"].score for row in log.rows[:2]] == [0.25, 0.5] and len(log.rows) == 40
    assert log.higher_is_better == {"match": True}


def test_another_system_prompt_is_another_question(tmp_path: Path) -> None:
    a = inspect_log(tmp_path / "a", [sample(i, True) for i in range(9)], "a")
    b = inspect_log(tmp_path / "b", [sample(i, True, system="Be brief.") for i in range(9)], "b")
    with pytest.raises(DataError, match=r"field 'prompt_hash'.* on 9 of 9 items"):
        compare_samples(a, b)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: {"status": "error"}, "ended with status 'error'"),
        (lambda rows: {"samples": [*rows, rows[0]]}, "sample sum-0 is there twice"),
        (lambda rows: {"samples": [*rows, {**rows[0], "id": "x", "scores": {}}]}, "sample x has no score"),
        (lambda rows: {"samples": []}, "holds no samples"),
    ],
)
def test_what_cannot_be_judged_is_refused(change: Callable[..., Any], said: str, tmp_path: Path) -> None:
    rows = [sample(i, True) for i in range(4)]
    path = inspect_log(tmp_path, rows, "m", change(rows))
    with pytest.raises(DataError, match=said):
        compare_samples(path, path)


def test_packed_logs_and_folders_of_two_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "2026_arithmetic.eval").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"\.eval files are not read.*inspect log convert"):
        find_logs(str(tmp_path / "packed"))
    for model in ("a", "b"):
        inspect_log(tmp_path / "both", [sample(0, True)], model)
    with pytest.raises(DataError, match="logs of 2 models on one side: a, b"):
        find_logs(str(tmp_path / "both"))


def test_runs_of_invarlock_are_pairs_whatever_their_names(tmp_path: Path) -> None:
    before = run_of(tmp_path / "baseline.json", [1.0] * N)
    after = run_of(tmp_path / "subject.json", [float(i % 2) for i in range(N)])
    (verdict,) = compare_samples(before, after, cluster="page").verdicts
    assert (verdict.metric, verdict.verdict, verdict.before, verdict.after) == ("exact_match", "Harmed", 1.0, 0.5)


def test_likelihoods_of_invarlock_are_bits_per_byte(tmp_path: Path) -> None:
    facts = {"likelihood": {"logprob_sum": -6.931471805599453, "utf8_byte_count": 5}, "scores": {"judge": 0.5}}
    path = run_of(tmp_path / "run.json", [0.0] * 40, facts)
    row = read_log(Path(path), "run").rows[0]
    assert row.scores["bits_per_byte"].score == pytest.approx(2.0) and row.scores["bits_per_byte"].weight == 5
    with pytest.raises(ConfigError, match=r"nothing says whether a higher judge|choose a metric"):
        compare_samples(path, path, metrics=["judge"])
