"""Scores as files of lm-eval, read back by the reader of its logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keeptune.compare.lm_eval_files import Scored, write_lm_eval
from keeptune.compare.logs import find_logs, read_log
from keeptune.compare.samples import compare_samples
from keeptune.core.records import ItemRecord
from keeptune.retention.scores import score

STARTED = "2026-11-29T22:00:00+00:00"


def items(wrong: set[int], n: int = 200) -> list[ItemRecord]:
    return [
        ItemRecord(
            suite="triage",
            id=f"item{i}",
            cluster=f"item{i}",
            score=float(i not in wrong),
            prediction="no" if i in wrong else "yes",
            prompt=f"Question {i}?",
            references=("yes",),
        )
        for i in range(n)
    ]


def write(folder: Path, wrong: set[int], model: str) -> list[ItemRecord]:
    found = items(wrong)
    write_lm_eval(folder, model, STARTED, [Scored("triage", 0, score(found, "exact_match", "binary"), found)])
    return found


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    found = write(tmp_path, {3, 5}, "owner/base")
    ((task, path),) = find_logs(str(tmp_path)).items()
    assert (task, path.name) == ("triage", "samples_triage_2026-11-29T22-00-00.jsonl")
    log = read_log(path, task)
    assert log.model == "owner/base" and log.higher_is_better == {"exact_match": True}
    by_id = {row.doc["id"]: row for row in log.rows}
    assert len(by_id) == len(found)
    for item in found:
        row = by_id[item.id]
        assert row.scores["exact_match"].score == item.score
        assert (row.prompt, row.prediction, row.target) == (item.prompt, item.prediction, "yes")


def test_the_results_have_means_errors_and_names(tmp_path: Path) -> None:
    write(tmp_path, {3, 5}, "owner/base")
    results = json.loads((tmp_path / "results_2026-11-29T22-00-00.json").read_text())
    assert results["results"]["triage"]["exact_match,none"] == pytest.approx(0.99)
    assert 0 < results["results"]["triage"]["exact_match_stderr,none"] < 0.02
    assert results["n-samples"]["triage"]["effective"] == 200 and results["n-shot"] == {"triage": 0}


def test_verdicts_from_the_files(tmp_path: Path) -> None:
    write(tmp_path / "base", {3}, "owner/base")
    write(tmp_path / "same", {3}, "owner/same")
    write(tmp_path / "worse", set(range(80)), "owner/worse")
    for after, verdict in (("same", "Retained"), ("worse", "Harmed")):
        compared = compare_samples(str(tmp_path / "base"), str(tmp_path / after), margin=0.03)
        assert [each.verdict for each in compared.verdicts] == [verdict]


def test_bits_per_byte_are_pairs_and_several_shots_several_tasks(tmp_path: Path) -> None:
    text = [ItemRecord(suite="notes", id=f"b{i}", cluster="a", score=1.5, weight=1024 + i) for i in range(30)]
    measured = score(text, "bits_per_byte", "bits_per_byte")
    write_lm_eval(tmp_path, "m", STARTED, [Scored("notes", 0, measured, text), Scored("notes", 4, measured, text)])
    assert set(find_logs(str(tmp_path))) == {"notes_0shot", "notes_4shot"}
    log = read_log(find_logs(str(tmp_path))["notes_4shot"], "notes_4shot")
    assert [row.scores["bits_per_byte"].score for row in log.rows] == [pytest.approx(1.5)] * len(text)
    assert sorted(row.scores["bits_per_byte"].weight for row in log.rows) == [item.weight for item in text]
