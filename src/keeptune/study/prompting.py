"""The prompting arms: the base model with k demonstrations, and which k is the best prompting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keeptune.core.records import Costs, ItemRecord, Part
from keeptune.evaluate.runner import Evaluation
from keeptune.study.arms import Arm, ArmRecord, finished_arm, save_arm
from keeptune.study.bench import Bench
from keeptune.study.choose import Candidate, pick

Floats = NDArray[np.float64]


def prompting_arms(bench: Bench) -> tuple[list[Arm], str, dict[str, Floats]]:
    """One arm per number of shots, scored on test items; the best one's name, chosen on validation items; and every
    arm's scores of these.
    """
    shots = bench.config.prompt.shots
    arms = [_arm(bench, k) for k in shots]
    asked = {arm.name: _validation_scores(bench, k) for arm, k in zip(arms, shots, strict=True)}
    candidates = [Candidate(arm.name, float(k), asked[arm.name]) for arm, k in zip(arms, shots, strict=True)]
    return arms, pick(candidates).name, asked


def _arm(bench: Bench, shots: int) -> Arm:
    name = f"prompt-{shots}shot"
    key = bench.test_key("prompt", shots, bench.config.prompt.draws)
    folder = bench.folder / "arms" / name
    tasks = [task.name for task in bench.targets]
    done = finished_arm(folder, key, tasks, ())
    if done:
        bench.say(f"{name}: finished before, skipped")
        return done
    runs = {task.name: _draws(bench, task.name, "test", shots) for task in bench.targets}
    everything = [run for task_runs in runs.values() for run in task_runs]
    arm = Arm(
        ArmRecord(
            key=key,
            name=name,
            label=f"prompting, {shots}-shot" if shots else "prompting, zero-shot",
            family="prompt",
            shots=shots,
            costs=request_costs(everything, bench.parameters).model_copy(
                update={"shared_tokens": _demonstration_tokens(bench, shots)}
            ),
            note=f"{bench.config.prompt.draws} draws of the demonstrations, averaged per item" if shots else None,
        ),
        folder,
        {task: mean_over_draws(task_runs) for task, task_runs in runs.items()},
        {},
    )
    save_arm(arm)
    return arm


def _draws(bench: Bench, task: str, part: Part, shots: int) -> list[Evaluation]:
    """One evaluation per draw of the demonstrations (one in all without any)."""
    draws = bench.config.prompt.draws if shots else 1
    return [bench.evaluate(task, part, shots=shots, draw=draw) for draw in range(draws)]


def _demonstration_tokens(bench: Bench, shots: int) -> float:
    """Tokens of the demonstrations, which stand in front of every request alike."""
    if not shots:
        return 0.0
    asked = [run for task in bench.targets for run in _draws(bench, task.name, "validation", shots)]
    without = [bench.evaluate(task.name, "validation").tokens_per_request for task in bench.targets]
    return max(float(np.mean([run.tokens_per_request for run in asked]) - np.mean(without)), 0.0)


def _validation_scores(bench: Bench, shots: int) -> Floats:
    runs = [mean_over_draws(_draws(bench, task.name, "validation", shots)) for task in bench.targets]
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
