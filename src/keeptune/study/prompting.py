"""The prompting arms: the base model with k demonstrations, and which k is the best prompting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keeptune.core.records import PROMPTING, Costs, ItemRecord, Part
from keeptune.evaluate.runner import Evaluation
from keeptune.recipe.config import PromptConfig
from keeptune.recommend.pick import Candidate, pick
from keeptune.study.baseline import Floats
from keeptune.study.ledger import Ledger
from keeptune.study.records import ArmRecord, ScoredArm, finished_arm, save_arm
from keeptune.study.scorer import Scorer


def prompting_arms(ledger: Ledger, scorer: Scorer) -> tuple[list[ScoredArm], str, dict[str, Floats]]:
    """One arm per number of shots, scored on test items; the best one's name, chosen on validation items; and every
    arm's scores of these. The base was asked before.
    """
    settings = ledger.config.prompt
    arms = [_arm(ledger, scorer, k) for k in settings.shots]
    asked = {arm.name: _validation_scores(scorer, settings, k) for arm, k in zip(arms, settings.shots, strict=True)}
    candidates = [Candidate(arm.name, float(k), asked[arm.name]) for arm, k in zip(arms, settings.shots, strict=True)]
    return arms, pick(candidates).name, asked


def _arm(ledger: Ledger, scorer: Scorer, shots: int) -> ScoredArm:
    name, settings = f"prompt-{shots}shot", ledger.config.prompt
    key, folder = ledger.prompting_key(shots), ledger.folder / "arms" / name
    done = finished_arm(folder, key, scorer.targets)
    if done:
        scorer.messages.say(f"{name}: finished before, skipped")
        return done
    runs = {task: _draws(scorer, settings, task, "test", shots) for task in scorer.targets}
    everything = [run for task_runs in runs.values() for run in task_runs]
    arm = ScoredArm(
        ArmRecord(
            key=key,
            name=name,
            label=f"prompting, {shots}-shot" if shots else "prompting, zero-shot",
            family=PROMPTING,
            shots=shots,
            costs=request_costs(everything, scorer.lm.parameters).model_copy(
                update={"shared_tokens": _demonstration_tokens(scorer, settings, shots)}
            ),
            note=f"{settings.draws} draws of the demonstrations, averaged per item" if shots else None,
        ),
        folder,
        {task: mean_over_draws(task_runs) for task, task_runs in runs.items()},
        {},
    )
    save_arm(arm)
    return arm


def _draws(scorer: Scorer, settings: PromptConfig, task: str, part: Part, shots: int) -> list[Evaluation]:
    """One evaluation per draw of the demonstrations (one in all without any)."""
    draws = settings.draws if shots else 1
    return [scorer.evaluate(task, part, shots=shots, draw=draw) for draw in range(draws)]


def _demonstration_tokens(scorer: Scorer, settings: PromptConfig, shots: int) -> float:
    """Tokens of the demonstrations, which stand in front of every request alike."""
    if not shots:
        return 0.0
    asked = [run for task in scorer.targets for run in _draws(scorer, settings, task, "validation", shots)]
    without = [scorer.evaluate(task, "validation").tokens_per_request for task in scorer.targets]
    return max(float(np.mean([run.tokens_per_request for run in asked]) - np.mean(without)), 0.0)


def _validation_scores(scorer: Scorer, settings: PromptConfig, shots: int) -> Floats:
    runs = [mean_over_draws(_draws(scorer, settings, task, "validation", shots)) for task in scorer.targets]
    return np.array([item.score for items in runs for item in items])


def mean_over_draws(runs: Sequence[Evaluation]) -> tuple[ItemRecord, ...]:
    """Every item once: its mean score over the draws, with the first draw's text."""
    return tuple(
        same[0].model_copy(update={"score": float(np.mean([item.score for item in same]))})
        for same in zip(*(run.items for run in runs), strict=True)
    )


def request_costs(runs: Sequence[Evaluation], total_parameters: int) -> Costs:
    """What requests cost, averaged over evaluations of equal weight."""
    return Costs(
        total_parameters=total_parameters,
        tokens_per_request=float(np.mean([run.tokens_per_request for run in runs])),
        window_share=float(np.mean([run.window_share for run in runs])),
        shots_dropped=float(np.mean([run.shots_dropped for run in runs])),
        seconds_per_request=float(np.mean([run.seconds / len(run.items) for run in runs])),
    )
