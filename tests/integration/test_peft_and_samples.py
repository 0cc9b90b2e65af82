"""`keeptune compare` judges what other tools made: an adapter of plain peft, and sample logs of lm-eval."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keeptune.core.records import ItemRecord, SuiteVerdict, Summary, read_json, read_records
from keeptune.retention.pairs import Suite, pair
from keeptune.retention.verdict import judge

Run = Callable[..., Any]


def judged_again(run: Path, suites: Sequence[Suite]) -> tuple[SuiteVerdict, ...]:
    """The statistics module's own verdicts on the item scores that a comparison wrote."""

    def items(arm: str, suite: Suite) -> list[ItemRecord]:
        return list(read_records(run / "arms" / arm / "items" / f"{suite.name}.jsonl", ItemRecord))

    base = {s.name: list(read_records(run / "base" / "validation" / f"{s.name}.jsonl", ItemRecord)) for s in suites}
    return judge([(suite, pair(items("before", suite), items("after", suite))) for suite in suites], base)


def prose(folder: Path) -> None:
    """prose.txt: 20 kB in which no passage comes twice."""
    draw = np.random.default_rng(0)
    words = ["".join(draw.choice(list("abdeghilmnorstu"), draw.integers(2, 8))) for _ in range(4000)]
    (folder / "prose.txt").write_text(" ".join(words), encoding="utf-8")


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores in float32 on every machine: `compare` would pick bf16 where it is faster."""
    import torch

    from keeptune.models import load

    monkeypatch.setattr(load, "pick_dtype", lambda *_: torch.float32)


# An adapter


@pytest.fixture
def kept(jsonl: Run) -> Path:
    """240 questions with two answers; the base that `base` trains knows them."""
    data = [
        {"prompt": f"Is {n} even or odd?", "completion": " even" if n % 2 == 0 else " odd"} for n in range(1000, 1240)
    ]
    path: Path = jsonl(data, "parity.jsonl")
    return path


def sgd(model: Any, tokenizer: Any, texts: Sequence[str], steps: int, rate: float) -> None:
    """Plain PyTorch steps on whole texts; nothing of keeptune."""
    import torch

    rows = [torch.tensor([tokenizer(text)["input_ids"]]) for text in texts]
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    for step in range(steps):
        loss = sum(model(row, labels=row).loss for row in rows[step % 4 :: 4]) / (len(rows) // 4)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@pytest.fixture
def adapter(request: pytest.FixtureRequest, tiny_folder: Path, tokenizer: Any, tmp_path: Path) -> Path:
    """A few steps in plain peft: of LoRA, or of the kind that a test asks for."""
    import torch
    import transformers
    from peft import LoraConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model

    configs = {
        "lora": LoraConfig(r=2, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"]),
        "prompt-tuning": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
        "p-tuning": PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    }
    torch.manual_seed(0)
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    model = get_peft_model(base, configs[getattr(request, "param", "lora")])
    sgd(model, tokenizer, [f"Is {n} even or odd? odd</s>" for n in range(8)], steps=5, rate=0.02)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_adapter_of_plain_peft_gets_the_verdicts_of_the_statistics_module(
    keeptune: Run, tiny_folder: Path, adapter: Path, kept: Path, jsonl: Run, rows: Run, tmp_path: Path
) -> None:
    jsonl(rows(), "colour.jsonl")
    prose(tmp_path)
    ended = keeptune(
        "compare", tiny_folder, adapter, "--retain", kept, "--retain", "prose.txt", "--target", "colour.jsonl",
        "--margin", "3",
    )  # fmt: skip
    assert ended.err == "", ended
    run = tmp_path / "runs" / "compare"
    summary = read_json(run / "summary.json", Summary)
    verdicts = summary.arms[1].suites
    assert [(verdict.suite, verdict.margin) for verdict in verdicts] == [("parity", 0.03), ("prose", 0.01)]
    suites = [
        Suite("parity", "accuracy", "binary", 0.03, verdicts[0].chance),
        Suite("prose", "bits_per_byte", "bits_per_byte", 0.01, verdicts[1].chance, documents=1),
    ]
    assert judged_again(run, suites) == verdicts
    assert summary.target == "colour"
    assert summary.arms[1].gain is not None
    words = {verdict.verdict for verdict in verdicts}
    assert ended.code == (10 if "Harmed" in words else 0 if words == {"Retained"} else 11), ended
    assert (run / "report.html").is_file()
    for verdict in verdicts:
        assert verdict.verdict in ended.out


def test_fast_asks_no_more_than_settles_the_verdicts(
    keeptune: Run, tiny_folder: Path, adapter: Path, kept: Path, tmp_path: Path
) -> None:
    prose(tmp_path)
    asked = ("compare", tiny_folder, adapter, "--retain", kept, "--retain", "prose.txt", "--margin", "3")
    whole, fast = (keeptune(*asked, *more, "--out", out) for more, out in (((), "whole"), (("--fast",), "fast")))
    assert fast.err == "", fast
    of_all, found = (read_json(tmp_path / out / "summary.json", Summary) for out in ("whole", "fast"))
    assert found.arms[1].overall is None
    assert any("until the verdicts were settled" in line for line in found.warnings)
    for a, b in zip(of_all.arms[1].suites, found.arms[1].suites, strict=True):
        assert (b.suite, b.margin, b.n + b.unasked) == (a.suite, a.margin, a.n)
        if not b.unasked and b.n < 60:  # one block: everything as it is without
            assert b == a
        answers = {
            item.id: item for item in read_records(tmp_path / f"whole/arms/after/items/{a.suite}.jsonl", ItemRecord)
        }
        for item in read_records(tmp_path / f"fast/arms/after/items/{b.suite}.jsonl", ItemRecord):
            assert item.score == pytest.approx(answers[item.id].score, rel=1e-5)
    assert whole.code in (0, 10, 11) and fast.code in (0, 10, 11)
    refused = keeptune("compare", "--samples", "base", "tuned", "--fast")
    assert refused.code == 2 and "--fast" in refused.err


@pytest.mark.parametrize("adapter", ["lora", "prompt-tuning", "p-tuning"], indirect=True)
def test_the_items_of_compare_are_those_of_peft_itself(
    keeptune: Run, tiny_folder: Path, tokenizer: Any, adapter: Path, kept: Path, tmp_path: Path
) -> None:
    """ScoringRequest scored by hand with peft's model: the same item scores, before and after."""
    import torch
    import transformers
    from peft import PeftModel

    keeptune("compare", tiny_folder, adapter, "--retain", kept, "--limit", "30")
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval()

    def best(model: Any, prompt: str) -> str:
        def nats(choice: str) -> float:
            start = tokenizer(prompt)["input_ids"]
            ids = start + tokenizer(choice)["input_ids"]
            logprobs = model(input_ids=torch.tensor([ids])).logits[0, -len(ids) :].log_softmax(-1)
            return sum(float(logprobs[at - 1, ids[at]]) for at in range(len(start), len(ids)))

        return max((" even", " odd"), key=nats)

    with torch.no_grad():
        for arm in ("before", "after"):
            model = base if arm == "before" else PeftModel.from_pretrained(base, adapter).eval()
            items = list(read_records(tmp_path / f"runs/compare/arms/{arm}/items/parity.jsonl", ItemRecord))
            assert len(items) == 30
            agree = [
                item.score == (best(model, item.prompt or "").strip() == item.references[0].strip()) for item in items
            ]
            assert all(agree)


def test_equal_weights_with_another_template_are_asked_in_one_layout(
    keeptune: Run, tiny_folder: Path, tmp_path: Path, jsonl: Callable[..., Path]
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "merged")
    (tmp_path / "merged" / "chat_template.jinja").write_text(
        "{% for m in messages %}<s>## {{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<s>## {% endif %}"
    )
    jsonl([{"instruction": f"Say {i}.", "output": str(i)} for i in range(80)], "kept.jsonl")
    ended = keeptune("compare", tiny_folder, "merged", "--retain", "kept.jsonl", "--limit", "8")
    assert "Both models were asked in the chat template of merged" in ended.out
    summary = read_json(tmp_path / "runs/compare/summary.json", Summary)
    (verdict,) = summary.arms[1].suites
    assert verdict.change == 0
    assert any("Both models were asked in" in line for line in summary.warnings)


def test_a_model_compared_with_itself_is_never_harmed(keeptune: Run, tiny_folder: Path, tmp_path: Path) -> None:
    prose(tmp_path)
    (tmp_path / "prose.yaml").write_text("{text: prose.txt, margin: 20%, block_bytes: 64}", encoding="utf-8")
    ended = keeptune("compare", tiny_folder, tiny_folder, "--retain", "prose.yaml")
    assert ended.code == 0, ended
    (verdict,) = read_json(tmp_path / "runs/compare/summary.json", Summary).arms[1].suites
    assert (verdict.verdict, verdict.change) == ("Retained", 0.0)
    assert "the two models hold equal weights" in " ".join(ended.out.split())


def test_copies_of_test_rows_in_train_do_not_stop_a_comparison(
    keeptune: Run, tiny_folder: Path, jsonl: Run, rows: Run, tmp_path: Path
) -> None:
    """Nothing is trained here, and tables name folders by the end of their paths."""
    data = [{**row, "split": "train" if number < 60 else "test"} for number, row in enumerate(rows(80))]
    jsonl([*data, {**data[3], "split": "test"}], "copied.jsonl")
    ended = keeptune("compare", tiny_folder, tiny_folder, "--retain", "copied.jsonl")
    assert ended.code == 0 and ended.err == "", ended
    (verdict,) = read_json(tmp_path / "runs/compare/summary.json", Summary).arms[1].suites
    assert verdict.n == 21
    told, _, next_steps = ended.out.partition("report: ")
    assert "/".join(tiny_folder.parts[-2:]) in told and str(tiny_folder) not in told and str(tiny_folder) in next_steps


# Sample logs


def write_log(folder: Path, task: str, scores: Sequence[int], *, prompt: str = "") -> None:
    """What lm-eval 0.4 writes under --log_samples for a task with two choices."""
    folder.mkdir(exist_ok=True)

    def sha(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    lines = []
    for number, score in enumerate(scores):
        question = f"{task} {number}"
        lines.append(
            {
                "doc_id": number,
                "doc": {"question": question, "passage": number // 5},
                "target": str(number % 2),
                "arguments": {"gen_args_0": {"arg_0": question, "arg_1": " a"}, "gen_args_1": {"arg_0": question}},
                "resps": [[["-1.0", "False"]], [["-2.0", "False"]]],
                "filtered_resps": [["-1.0", "False"], ["-2.0", "False"]],
                "filter": "none",
                "metrics": ["acc"],
                "doc_hash": sha(question),
                "prompt_hash": sha(prompt + question),
                "target_hash": sha(str(number % 2)),
                "acc": float(score),
            }
        )
    path = folder / f"samples_{task}_2026-11-23T10-00-00.000000.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def flipped(scores: Sequence[int], lost: int, gained: int) -> list[int]:
    """The same answers, but for the first ``lost`` right and the first ``gained`` wrong ones."""
    right = [i for i, score in enumerate(scores) if score][:lost]
    wrong = [i for i, score in enumerate(scores) if not score][:gained]
    return [1 - score if i in (*right, *wrong) else score for i, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("n", "lost", "gained", "code", "words"),
    [
        (2000, 40, 40, 0, ["Retained"]),
        (2000, 300, 20, 10, ["Harmed"]),
        (60, 2, 2, 11, ["Inconclusive"]),
    ],
)
def test_sample_logs_get_the_verdicts_of_the_statistics_module(
    keeptune: Run, tmp_path: Path, n: int, lost: int, gained: int, code: int, words: list[str]
) -> None:
    draw = np.random.default_rng(1)
    before = [int(value) for value in draw.random(n) < 0.85]
    after = flipped(before, lost, gained)
    write_log(tmp_path / "base", "parity", before)
    write_log(tmp_path / "tuned", "parity", after)
    ended = keeptune("compare", "--samples", "base", "tuned")
    assert (ended.code, ended.err) == (code, ""), ended
    run = tmp_path / "runs" / "compare"
    verdicts = read_json(run / "summary.json", Summary).arms[1].suites
    assert [verdict.verdict for verdict in verdicts] == words
    assert (verdicts[0].lost, verdicts[0].gained, verdicts[0].n) == (lost, gained, n)
    assert judged_again(run, [Suite("parity", "acc", "binary", None, verdicts[0].chance)]) == verdicts

    # and from the scores themselves, without the records of the comparison
    def items(scores: Sequence[int]) -> list[ItemRecord]:
        return [ItemRecord(suite="parity", id=str(i), cluster=str(i), score=s) for i, s in enumerate(scores)]

    (direct,) = judge([(Suite("parity", "acc", "binary", None, verdicts[0].chance), pair(items(before), items(after)))])
    assert direct == verdicts[0]


def test_two_tasks_one_harmed_and_the_margin_and_cluster_options(keeptune: Run, tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    safe = [int(value) for value in draw.random(2000) < 0.9]
    hurt = [int(value) for value in draw.random(2000) < 0.9]
    for folder, second in (("base", hurt), ("tuned", flipped(hurt, 200, 10))):
        write_log(tmp_path / folder, "safe", safe)
        write_log(tmp_path / folder, "hurt", second)
    ended = keeptune("compare", "--samples", "base", "tuned")
    assert ended.code == 10
    assert "hurt" in ended.out.split("\n\n")[0]
    assert keeptune("compare", "--samples", "base", "tuned", "--margin", "15").code == 0
    too_wide = keeptune("compare", "--samples", "base", "tuned", "--margin", "30")
    assert too_wide.code == 11
    assert "exceeds half of what the base has above chance" in " ".join(too_wide.out.split())
    clustered = keeptune("compare", "--samples", "base", "tuned", "--cluster", "passage", "--out", "clustered")
    assert clustered.code == 10
    summary = read_json(tmp_path / "clustered/summary.json", Summary)
    assert {verdict.clusters for verdict in summary.arms[1].suites} == {400}


def test_logs_of_other_prompts_or_items_are_refused(keeptune: Run, tmp_path: Path) -> None:
    write_log(tmp_path / "base", "parity", [1, 0] * 50)
    write_log(tmp_path / "tuned", "parity", [1, 0] * 50, prompt="Answer: ")
    ended = keeptune("compare", "--samples", "base", "tuned")
    assert ended.code == 3
    assert "prompt_hash" in ended.err and "same number of shots" in ended.err
    write_log(tmp_path / "tuned", "parity", [1, 0] * 40)
    ended = keeptune("compare", "--samples", "base", "tuned")
    assert ended.code == 3
    assert "20 of 100 items" in ended.err and "--limit" in ended.err
    assert not (tmp_path / "runs").exists()
