"""Answers of several arms side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keeptune.core.records import SampleOutput, Summary
from keeptune.report.arms import ArmView
from keeptune.report.formatting import clip
from keeptune.report.marks import mark_differences

SAMPLE_LIMIT, PROMPT_LENGTH, OUTPUT_LENGTH = 8, 1500, 1500  # keep the page small


@dataclass(frozen=True)
class Answer:
    """One arm's answer to a sample item."""

    label: str
    chosen: bool
    text: Markup
    score: float | None


@dataclass(frozen=True)
class Sample:
    """A test item with its answers, differences marked."""

    id: str
    prompt: str
    references: tuple[str, ...]
    answers: tuple[Answer, ...]
    against: str  # what the marks compare with


def samples(summary: Summary, views: Sequence[ArmView]) -> tuple[Sample, ...]:
    """The first sample outputs, cut to a readable length."""
    return tuple(_sample(sample, views) for sample in summary.samples[:SAMPLE_LIMIT])


def _sample(sample: SampleOutput, views: Sequence[ArmView]) -> Sample:
    labels = {v.arm.name: v for v in views}
    outputs = {name: clip(text, OUTPUT_LENGTH) for name, text in sample.outputs.items()}
    first = next(iter(outputs), "")
    references = tuple(clip(text, OUTPUT_LENGTH) for text in sample.references)
    answers = []
    for name, text in outputs.items():
        view = labels.get(name)
        compared = references or (() if name == first else (outputs[first],))
        marked = mark_differences(text, compared)
        label = view.label if view else name
        answers.append(Answer(label, bool(view and view.chosen), marked, sample.scores.get(name)))
    against = "the closest reference" if references else f"the answer of {first}"
    return Sample(sample.id, clip(sample.prompt, PROMPT_LENGTH), references, tuple(answers), against)
