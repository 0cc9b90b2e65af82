"""What one side found out about a question, and how far two sides say the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.figures import rounded
from keeptune.core.records import ItemRecord, SuiteVerdict, Summary, read_json, read_records
from keeptune.study.records import TrialRecord

Items = Sequence[ItemRecord]
TEXT_TOLERANCE = 0.01  # share by which the bits of a block may differ and still be the same score


@dataclass
class Spent:
    """What an answer took. But for the total, seconds are added up over the processes."""

    total: float = 0.0
    start: float = 0.0  # until the first piece of work
    training: float = 0.0  # optimiser steps, with their batches
    scoring: float = 0.0  # everything that is asked, validations on the way included
    tokens: int = 0  # real ones, in training
    trained_tokens: int = 0
    steps: int = 0
    items: int = 0  # asked of a model

    def to_json(self) -> dict[str, Any]:
        """With few digits."""
        return {key: rounded(value) if isinstance(value, float) else value for key, value in vars(self).items()}


@dataclass
class Findings:
    """An answer: what was chosen, what it scored, what became of every suite."""

    spent: Spent
    base: Mapping[str, Items]  # test items by suite
    rates: dict[str, float] = field(default_factory=dict)  # by arm
    items: dict[str, dict[str, Items]] = field(default_factory=dict)  # by arm: test items of target and suites
    verdicts: dict[str, dict[str, SuiteVerdict]] = field(default_factory=dict)  # by arm, by suite

    def target_score(self, arm: str, target: str) -> float:
        """Mean score of an arm on the target's test items."""
        return float(np.mean([item.score for item in self.items[arm][target]]))


def read_run(folder: Path, spent: Spent) -> Findings:
    """keeptune's findings, as its run folder holds them."""
    summary = read_json(folder / "summary.json", Summary)
    base = _by_suite((folder / "base" / "test").glob("*.jsonl"))
    found = Findings(spent, base)
    spent.items += sum(map(len, base.values())) + sum(
        map(len, _by_suite((folder / "base" / "validation").glob("*.jsonl")).values())
    )
    for path in sorted(folder.glob("arms/*/trial.json")):
        trial = read_json(path, TrialRecord)
        spent.training += trial.costs.train_seconds or 0.0
        spent.tokens += trial.costs.train_tokens or 0
        spent.trained_tokens += trial.costs.trained_tokens or 0
        spent.steps += trial.steps
        asked = [trial.validation.target, trial.row_losses, *(suite.scores for suite in trial.validation.suites)]
        spent.items += sum(map(len, asked))
    for arm in summary.arms:
        if arm.prompting or arm.lr is None:
            continue
        found.rates[arm.arm] = arm.lr
        found.items[arm.arm] = _by_suite((folder / str(arm.folder) / "items").glob("*.jsonl"))
        found.verdicts[arm.arm] = {verdict.suite: verdict for verdict in arm.suites}
        spent.items += sum(map(len, found.items[arm.arm].values()))
    return found


def _by_suite(paths: Iterable[Path]) -> dict[str, Items]:
    return {path.stem: tuple(read_records(path, ItemRecord)) for path in sorted(paths)}


def agreement(ours: Items, theirs: Items, relative: bool) -> float:
    """Share of the items whose score is the same; of a free text's blocks, within `TEXT_TOLERANCE`."""
    known = {item.id: item.score for item in theirs}
    both = [(item.score, known[item.id]) for item in ours if item.id in known]
    tolerance = TEXT_TOLERANCE if relative else 1e-6
    same = sum(abs(a - b) <= tolerance * (abs(a) if relative else 1.0) for a, b in both)
    return rounded(same / len(both), 6) if both else 0.0


def compare(ours: Findings, theirs: Findings, target: str) -> dict[str, Any]:
    """Rates, scores and verdicts of both sides, arm by arm and suite by suite."""
    relative = {suite: next(iter(found.values())).relative for suite, found in _verdicts_by_suite(ours).items()}
    base = {suite: agreement(items, theirs.base[suite], relative[suite]) for suite, items in ours.base.items()}
    arms = {arm: _compare_arm(ours, theirs, arm, target, relative) for arm in ours.rates}
    suites = [suite for arm in arms.values() for suite in arm["suites"]]
    return {
        "arms": arms,
        "base_items_agree": base,
        "same_rates": sum(arm["same_rate"] for arm in arms.values()),
        "same_verdicts": sum(suite["same_verdict"] for suite in suites),
        "verdicts": len(suites),
    }


def _verdicts_by_suite(found: Findings) -> dict[str, dict[str, SuiteVerdict]]:
    suites: dict[str, dict[str, SuiteVerdict]] = {}
    for arm, verdicts in found.verdicts.items():
        for suite, verdict in verdicts.items():
            suites.setdefault(suite, {})[arm] = verdict
    return suites


def _compare_arm(
    ours: Findings, theirs: Findings, arm: str, target: str, relative: Mapping[str, bool]
) -> dict[str, Any]:
    sides = (ours, theirs)
    rates = [side.rates[arm] for side in sides]
    return {
        "rate": _pair(*rates),
        "same_rate": rates[0] == rates[1],
        "target": _pair(*(rounded(side.target_score(arm, target)) for side in sides)),
        "target_items_agree": agreement(ours.items[arm][target], theirs.items[arm][target], relative=False),
        "suites": [_compare_suite(arm, suite, sides, relative[suite]) for suite in ours.verdicts[arm]],
    }


def _compare_suite(arm: str, suite: str, sides: tuple[Findings, Findings], relative: bool) -> dict[str, Any]:
    verdicts = [side.verdicts[arm][suite] for side in sides]
    items = [side.items[arm][suite] for side in sides]
    return {
        "suite": suite,
        "verdict": _pair(*(verdict.verdict for verdict in verdicts)),
        "same_verdict": verdicts[0].verdict == verdicts[1].verdict,
        "before": _pair(*(rounded(verdict.before) for verdict in verdicts)),
        "after": _pair(*(rounded(verdict.after) for verdict in verdicts)),
        "items_agree": agreement(*items, relative=relative),
    }


def _pair(ours: Any, theirs: Any) -> dict[str, Any]:
    return {"keeptune": ours, "stitched": theirs}


def factors(ours: Spent, theirs: Spent) -> dict[str, float]:
    """How many times as much the stitched side took of everything."""
    pairs = {key: (getattr(theirs, key), getattr(ours, key)) for key in vars(ours)}
    return {key: rounded(a / b) for key, (a, b) in pairs.items() if b}
