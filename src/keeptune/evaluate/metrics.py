"""The registry of metrics: a name in a recipe -> how answers become scores per item, all in [0, 1] or close to it.

accuracy       choices   the most likely choice is the right one (sum of its tokens' log-probabilities)
accuracy_norm  choices   the same, log-probabilities divided by the choice's UTF-8 bytes
macro_f1       both      mean F1 over labels (corpus figure, see `corpus`)
exact_match    text      equal up to whitespace
token_f1       text      SQuAD's bag of words
rouge1, rouge2, rougeL, rougeLsum  text   rouge-score with stemmer, best reference
bleu, chrf     text      sacrebleu (corpus figures, see `corpus`)
json_valid, json_f1      text   is it JSON; do its fields agree
python:file.py:function  text   ``function(prediction: str, references: list[str]) -> float`` in [0, 1]
bits_per_byte  free text only, chosen by the task itself (see `text`)

Tasks of lm-eval bring their own (see `harness`).
"""

from __future__ import annotations

import difflib
import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from keeptune.core.errors import ConfigError, DataError
from keeptune.evaluate import answers, corpus

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


@dataclass(frozen=True)
class Metric:
    """A way to score answers.

    ``kind`` decides the statistics: 'binary' items are 0 or 1, 'mean' items are averaged, 'bits_per_byte'
    items are averaged by weight and lower is better. ``requests`` are the request kinds that it can score.
    """

    name: str
    kind: Kind
    requests: frozenset[Request]
    scorer: Callable[[Sequence[Answer]], Scores]
    higher_is_better: bool = True

    def score(self, given: Sequence[Answer]) -> Scores:
        """Score all answers of one part at once. An empty sequence gives no scores."""
        return self.scorer(given) if given else Scores(())


def _per_item(item: answers.ItemScore) -> Callable[[Sequence[Answer]], Scores]:
    return lambda given: Scores(tuple(item(one.prediction, one.references) for one in given))


def _columns(given: Sequence[Answer]) -> tuple[list[str], list[tuple[str, ...]]]:
    return [one.prediction for one in given], [one.references for one in given]


def _macro_f1(given: Sequence[Answer]) -> Scores:
    return Scores(tuple(corpus.macro_f1(*_columns(given))))


def _bleu(given: Sequence[Answer]) -> Scores:
    values, signature = corpus.bleu(*_columns(given))
    return Scores(tuple(values), signature)


def _chrf(given: Sequence[Answer]) -> Scores:
    values, signature = corpus.chrf(*_columns(given))
    return Scores(tuple(values), signature)


def no_answers(given: Sequence[Answer]) -> Scores:
    """Stands where scores do not come from answers.

    Raises:
        TypeError: always.
    """
    raise TypeError("these scores come from log-probabilities or from lm-eval, not from answers")


_CHOICES: frozenset[Request] = frozenset({"choices"})
_TEXT: frozenset[Request] = frozenset({"generate"})
_BOTH = _CHOICES | _TEXT

BITS_PER_BYTE = Metric("bits_per_byte", "bits_per_byte", frozenset({"text"}), no_answers, higher_is_better=False)

_REGISTRY: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "binary", _CHOICES, _per_item(answers.exact_match)),
        Metric("accuracy_norm", "binary", _CHOICES, _per_item(answers.exact_match)),
        Metric("macro_f1", "mean", _BOTH, _macro_f1),
        Metric("exact_match", "binary", _TEXT, _per_item(answers.exact_match)),
        Metric("token_f1", "mean", _TEXT, _per_item(answers.token_f1)),
        *(
            Metric(name, "mean", _TEXT, _per_item(answers.rouge(name)))
            for name in ("rouge1", "rouge2", "rougeL", "rougeLsum")
        ),
        Metric("bleu", "mean", _TEXT, _bleu),
        Metric("chrf", "mean", _TEXT, _chrf),
        Metric("json_valid", "binary", _TEXT, _per_item(answers.json_valid)),
        Metric("json_f1", "mean", _TEXT, _per_item(answers.json_f1)),
    )
}

METRIC_NAMES = tuple(_REGISTRY)


def find_metric(name: str) -> Metric:
    """The metric of a name, or the user's own function for 'python:file.py:function'.

    Raises:
        ConfigError: no such metric (the nearest name is given), no such file, no such function.
    """
    if name.startswith("python:"):
        return _user_metric(name)
    if name in _REGISTRY:
        return _REGISTRY[name]
    near = difflib.get_close_matches(name.replace("-", "_"), METRIC_NAMES, n=1, cutoff=0.5)
    if name in ("perplexity", BITS_PER_BYTE.name):
        raise ConfigError(f"'{name}' is measured on free text", where="metric", remedy="use a 'text:' entry for it")
    remedy = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(METRIC_NAMES)}, python:file.py:function"
    raise ConfigError(f"no metric '{name}'", where="metric", remedy=remedy)


def _user_metric(name: str) -> Metric:
    path, _, function = name.removeprefix("python:").rpartition(":")
    if not path or not function:
        raise ConfigError(f"'{name}' names no function", where="metric", remedy="write python:file.py:function")
    call = _load_function(Path(path), function)
    return Metric(name, "mean", _TEXT, lambda given: Scores(tuple(_call_user(call, path, one) for one in given)))


def _load_function(path: Path, function: str) -> Callable[..., Any]:
    """Run a user's Python file and take one function out of it; the file is the user's own and is trusted."""
    if not path.is_file():
        raise ConfigError("no such file", where=f"metric: {path}", remedy="the path is relative to where you run")
    spec = importlib.util.spec_from_file_location(f"keeptune_user_metric_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError("not a Python file", where=f"metric: {path}", remedy="give it the ending .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(
            f"the file does not run: {type(error).__name__}: {error}", where=f"metric: {path}", remedy=f"python {path}"
        ) from error
    call = getattr(module, function, None)
    if not callable(call):
        found = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(
            f"no function '{function}'", where=f"metric: {path}", remedy=f"it has: {', '.join(found) or 'none'}"
        )
    return call  # type: ignore[no-any-return]


def _call_user(call: Callable[..., Any], path: str, answer: Answer) -> float:
    """One call of a user's function, with every way to go wrong named."""
    signature = "def f(prediction: str, references: list[str]) -> float, a value from 0 to 1"
    try:
        value = call(answer.prediction, list(answer.references))
    except Exception as error:
        raise DataError(
            f"the metric failed on item {answer.id}: {type(error).__name__}: {error}",
            path=path,
            remedy=f"prediction {answer.prediction[:60]!r}, first reference {answer.references[0][:60]!r}; {signature}",
        ) from error
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:  # also catches nan
        raise DataError(f"the metric gave {value!r} for item {answer.id}", path=path, remedy=signature)
    return number
