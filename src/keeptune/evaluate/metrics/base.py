"""How answers become scores per item, and the registry of the metrics that a recipe can name.

A metric is a class in a file of its own, registered under the name that recipes use:

    @METRICS.register("same_length")
    class SameLength(ItemMetric):
        kind = "binary"

        def score_item(self, prediction: str, references: Sequence[str]) -> float:
            return float(any(len(prediction) == len(each) for each in references))
"""

from __future__ import annotations

import hashlib
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from keeptune.core.errors import DataError
from keeptune.core.registry import Registry
from keeptune.data.examples import Rendered

Request = Literal["choices", "generate", "text", "harness"]
Kind = Literal["binary", "mean", "bits_per_byte"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said for one item: the generated (and extracted) text, or the choice that it ranked first."""

    id: str
    prediction: str
    references: tuple[str, ...]
    cut: bool = False  # generation ended at its limit of tokens, in the middle of the answer


@dataclass(frozen=True, slots=True)
class Scores:
    """One number per answer, in the order given; ``signature`` names the library's settings where it has them."""

    values: tuple[float, ...]
    signature: str = ""


class Metric:
    """A way to score the answers of one part of a task. Most derive from `ItemMetric`, which scores them one by one.

    Instances are sent to other processes, so they must be picklable.

    Attributes:
        name: what a recipe calls it, as it was registered.
        kind: decides the statistics. Items of 'binary' metrics score 0 or 1, those of 'mean' metrics are averaged,
            those of 'bits_per_byte' are averaged by weight.
        requests: how items may be asked so that this metric can score them. A task with choices is asked for
            'choices' where that is among them, and every other task for a text ('generate').
        higher_is_better: false where a rise is a loss.
        per_byte: choices are ranked by log-probability per byte.
        choices_as_text: a recipe may name choices and have the model write its answer all the same.

    Example:
        >>> answers = [Answer("a", "yes", ("yes", "yeah")), Answer("b", "no", ("yes",))]
        >>> METRICS["exact_match"]().score(answers).values
        (1.0, 0.0)
    """

    name: str
    kind: Kind = "mean"
    requests: frozenset[Request] = frozenset({"generate"})
    higher_is_better: bool = True
    per_byte: bool = False
    choices_as_text: bool = False

    @property
    def key(self) -> str:
        """What scores depend on beside the answers: the name and, where the code is not keeptune's, its file's hash."""
        module = type(self).__module__
        file = getattr(sys.modules.get(module), "__file__", None)
        if module.partition(".")[0] == "keeptune" or file is None:
            return self.name
        return f"{self.name} {sha256(Path(file).read_bytes())}"

    def score(self, answers: Sequence[Answer]) -> Scores:
        """Score all answers of one part at once. An empty sequence gives no scores.

        Raises:
            TypeError: the scores do not come from answers, but from log-probabilities or from lm-eval.
        """
        raise TypeError(f"'{self.name}' does not score answers")

    def chance(self, rows: Iterable[Rendered]) -> float | None:
        """Score of guessing on these rows; None where guessing scores nothing."""
        return None


class ItemMetric(Metric, ABC):
    """A metric that scores one answer at a time."""

    @abstractmethod
    def score_item(self, prediction: str, references: Sequence[str]) -> float:
        """A number from 0 to 1 (0 or 1 where ``kind`` is 'binary'). With several references the best one counts."""

    def score(self, answers: Sequence[Answer]) -> Scores:
        """One score per answer.

        Raises:
            DataError: a score is not from 0 to 1.
        """
        return Scores(tuple(map(self._checked, answers)))

    def _checked(self, answer: Answer) -> float:
        value = self.score_item(answer.prediction, answer.references)
        number = from_0_to_1(value)
        if number is None or (self.kind == "binary" and number not in (0, 1)):
            wanted = "0 or 1, as its kind is binary" if self.kind == "binary" else "a number from 0 to 1"
            raise DataError(
                f"the metric '{self.name}' gave {value!r} for item {answer.id}",
                remedy=f"let its score_item return {wanted}",
            )
        return number


METRICS: Registry[Metric] = Registry("metric", __package__)


def from_0_to_1(value: Any) -> float | None:
    """A value as a number from 0 to 1; None where it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    return number if 0 <= number <= 1 else None  # also of nan


def right_answers(rows: Iterable[Rendered]) -> tuple[list[str], list[int]]:
    """The right answer of every row, and the number of its choices (without any, of the different right answers)."""
    found = [(row.completion.strip(), len(row.choices or ())) for row in rows]
    different = len({label for label, _ in found})
    return [label for label, _ in found], [choices or different for _, choices in found]


def sha256(content: bytes) -> str:
    """Hex digest of a file's content."""
    return hashlib.sha256(content).hexdigest()
