"""A training that learned nothing: each cause is told from the others by its records."""

from __future__ import annotations

import pytest

from keeptune.core.records import Costs, DataCard, SkippedRecord, StepRecord, ValidationRecord
from keeptune.recommend.trouble import Training, likely_cause


def card(prompt: int = 60, completion: int = 20) -> DataCard:
    return DataCard(
        name="t", source="t.jsonl", sha256="", rows=100, counts={}, clusters=100, quarantined=0, duplicates=0,
        near_duplicates=0, leaks="", prompt_tokens=(prompt, 2 * prompt, 3 * prompt),
        completion_tokens=(completion, 2 * completion, 3 * completion), templates=(), example_prompt="",
        example_completion="",
    )  # fmt: skip


def training(
    first: float, last: float, validation: tuple[float, ...] = (), trained: int = 200, skipped: int = 0
) -> Training:
    losses = [first + (last - first) * i / 99 for i in range(100)]
    return Training(
        lr=1e-3,
        rates=[1e-4, 1e-3],
        steps=[
            StepRecord(step=i, loss=x, lr=1e-3, grad_norm=1, tokens=800, trained_tokens=trained, seconds=1)
            for i, x in enumerate(losses, 1)
        ],
        validation=[ValidationRecord(step=i, loss=x, best=False) for i, x in enumerate(validation)],
        skipped=[
            SkippedRecord(step=i, loss=None, grad_norm=None, rows=(), gradient=None, weight="w", largest=None)
            for i in range(skipped)
        ],
    )


WINDOW = Costs(tokens_per_request=60, window_share=60 / 512)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (training(2, 1, skipped=20), "rate: 20 of 120 steps had no finite loss or gradient; lr 0.001 is too high"),
        (training(2, 4), "rate: the training loss rose from 2.091 to 3.909; lr 0.001 is too high"),
        (training(2, 1, trained=8), "mask: 1.0 % of the tokens were learned from, where completions are 25.0 %"),
        (
            training(2, 1.99),
            "rate: the training loss stayed where it was (2.000, 1.990 at the end); "
            "lr 0.001 (the highest that was tried) is too low, or 100 steps are too few",
        ),
        (
            training(2, 0.1, validation=(2.0, 2.1, 3.0)),
            "data: the training loss fell from 1.914 to 0.186, the validation loss did not (2.000, 2.100 at best); "
            "the rows are too few, or unlike those of validation",
        ),
        (
            training(2, 1, validation=(2.0, 1.5, 1.0)),
            "rate: the validation loss was still falling at the end (2.000 to 1.000); "
            "lr 0.001 is too low, or 100 steps are too few",
        ),
    ],
)
def test_each_cause_is_told_by_its_records(found: Training, said: str) -> None:
    assert likely_cause(found, [card()], WINDOW) == said


def test_rows_longer_than_the_window_are_named() -> None:
    said = likely_cause(training(2, 1), [card(prompt=300)], WINDOW)
    assert said == "length: one row in twenty has 640 tokens or more, and the model's window 512"


def test_where_all_fell_the_answers_are_to_be_read() -> None:
    assert likely_cause(training(2, 1, validation=(2.0, 1.0, 1.1)), [card()], WINDOW).startswith(
        "data: training and valid"
    )
    assert likely_cause(Training(lr=1e-3, rates=[]), [], Costs()).startswith("data: ")  # records that are not there
