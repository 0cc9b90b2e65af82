"""What makes sense after a run: one or two commands, each with its reason. Pure functions of the summary."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from keeptune.core.records import OPEN, ArmSummary, Summary

MOST = 2  # commands that are named


@dataclass(frozen=True, slots=True)
class Step:
    """A command to run next, and why."""

    command: str
    reason: str

    def __str__(self) -> str:
        return f"next: {self.command}  # {self.reason}"


def next_steps(summary: Summary, folder: Path) -> tuple[Step, ...]:
    """The most useful commands after a study or a comparison.

    Args:
        summary: of the run.
        folder: of the run.
    """
    steps = _after_comparison(summary) if _compared(summary) else _after_study(summary, folder)
    return tuple(step for step, _ in zip(steps, range(MOST), strict=False))


def _compared(summary: Summary) -> bool:
    return not summary.seeds and {arm.family for arm in summary.arms} == {"base", "tuned"}


def _after_comparison(summary: Summary) -> Iterator[Step]:
    command = summary.manifest.command
    if summary.recommendation.arm is not None and command.startswith("keeptune compare "):
        given = command.removeprefix("keeptune compare ")
        yield Step(f"keeptune ci init {given}", "let every pull request pass this comparison")
    yield from _more_items(summary)


def _after_study(summary: Summary, folder: Path) -> Iterator[Step]:
    command = summary.manifest.command
    again = command if command.startswith("keeptune ") else None
    if again is not None and again.startswith("keeptune demo"):
        yield Step("keeptune init rows.jsonl", "the same on data of your own")
        return
    trained = [arm for arm in summary.arms if not arm.prompting and arm.not_run is None]
    best = max(trained, key=lambda arm: (arm.name == summary.recommendation.arm, arm.target.mean), default=None)
    if best is not None and again is not None:
        yield from _learned_nothing(best, summary)
        yield from _against_forgetting(best, summary, again)
        yield from _beyond_the_rates(best, summary, again)
        yield from _learned_too_little(best, summary, again)
    yield from _more_items(summary)
    if best is not None:
        yield from _take(best, summary, folder)


def _learned_nothing(best: ArmSummary, summary: Summary) -> Iterator[Step]:
    """Where training did not get above prompting, the first thing to look at is what it saw."""
    if best.gain_mean is None or best.gain_mean > 0:
        return
    if (data := _data_of(summary)) is not None:
        yield Step(
            f"keeptune data preview {data} --model {shlex.quote(summary.model)}",
            f"{best.label} did not beat prompting: see what it is trained on",
        )


def _data_of(summary: Summary) -> str | None:
    """The file of the first target, as a shell reads it; None where it is none of the user's."""
    targets = summary.manifest.config.get("target")
    first = targets[0] if isinstance(targets, list | tuple) and targets else {}
    return shlex.quote(str(first["data"])) if isinstance(first, dict) and "data" in first else None


def _learned_too_little(best: ArmSummary, summary: Summary, again: str) -> Iterator[Step]:
    """Where an arm lost nothing and is not taken, there is room for other methods, or for more passes."""
    kept = best.suites and all(verdict.verdict == "Retained" for verdict in best.suites)
    if not kept or summary.recommendation.arm == best.name or best.gain_mean is None or best.gain_mean <= 0:
        return
    if again.startswith("keeptune train "):
        if (data := _data_of(summary)) is not None:
            model = shlex.quote(summary.model)
            reason = f"{best.label} learned too little: put full fine-tuning and prompting beside it"
            yield Step(f"keeptune init {data} --model {model}", reason)
        return
    trained = summary.manifest.config.get("train")
    if isinstance(trained, dict) and "epochs" in trained:
        yield Step(
            f"{again} --set train.epochs={2 * trained['epochs']}",
            f"{best.label} lost nothing and learned too little: train twice as long",
        )


def _against_forgetting(best: ArmSummary, summary: Summary, again: str) -> Iterator[Step]:
    """Where a suite was lost and no remedy was tried, the two that cost least to try."""
    lost = [verdict.suite for verdict in best.suites if verdict.verdict in ("Harmed", "Worse")]
    if lost and not any(arm.parts and arm.parts.remedies for arm in summary.arms):
        plain = list(dict.fromkeys(arm.arm for arm in summary.arms if arm.arm and not arm.prompting))
        prompting = ["prompt"] if any(arm.prompting for arm in summary.arms) else []
        arms = [*prompting, *plain, f"{best.family}+replay:5%", f"{best.family}+kl"]
        chosen = shlex.quote(f"arms=[{', '.join(arms)}]")
        yield Step(
            f"{again} --set {chosen}",
            f"{lost[0]} got worse: try what holds a model against forgetting",
        )


def _beyond_the_rates(best: ArmSummary, summary: Summary, again: str) -> Iterator[Step]:
    """Where the best rate is the highest that was tried, the next one may be better."""
    key = best.family.replace("-", "_")
    settings = summary.manifest.config.get(key)
    rates = sorted(settings.get("learning_rates", ())) if isinstance(settings, dict) else []
    if len(rates) > 1 and best.lr == rates[-1] and not any(v.verdict == "Harmed" for v in best.suites):
        tried = ", ".join(_written(rate) for rate in (*rates, 3 * rates[-1]))
        yield Step(
            f"{again} --set {shlex.quote(f'{key}.learning_rates=[{tried}]')}",
            f"{best.label} has the highest rate that was tried",
        )


def _written(rate: float) -> str:
    """A rate as YAML reads a number: 1.0e-05, not 1e-05."""
    text = f"{rate:.3g}"
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def _more_items(summary: Summary) -> Iterator[Step]:
    """Where a verdict is open for lack of items that are there."""
    needed = [
        (verdict.n_needed, verdict.suite)
        for arm in summary.arms
        for verdict in arm.suites
        if verdict.verdict in OPEN and verdict.n_needed
    ]
    limited = summary.manifest.config.get("test_items") or summary.manifest.config.get("limit")
    if needed and limited and summary.manifest.command.startswith("keeptune "):
        most, suite = max(needed)
        option = f"--limit {most}" if _compared(summary) else f"--set test_items={most}"
        yield Step(f"{summary.manifest.command} {option}", f"{suite} is undecided with {limited} items")


def _take(best: ArmSummary, summary: Summary, folder: Path) -> Iterator[Step]:
    """The tuned model, asked something else."""
    if summary.recommendation.arm != best.name:
        return
    tuned, model = folder / "tuned", shlex.quote(summary.model)
    if not summary.manifest.config.get("retain"):
        yield Step(
            f"keeptune compare {model} {tuned} --retain OTHER.jsonl", "what it may have forgotten, on other data"
        )
    adapter = (folder / str(best.folder) / "adapter").is_dir()
    asked = f"--model {model} --adapter {tuned}" if adapter else f"--model {tuned}"
    yield Step(f"keeptune evaluate {asked} --task NEW.jsonl", "how it does on data that it has not seen")
