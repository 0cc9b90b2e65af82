"""One training of one arm: trained, scored on validation items; and, where it was chosen, on test items."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from keeptune.core.errors import ConfigError
from keeptune.core.files import saving
from keeptune.core.records import Costs, StepRecord, ValidationRecord, write_json
from keeptune.inference.score import row_nats
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel
from keeptune.study.arms import (
    Arm,
    ArmRecord,
    Checkpoint,
    Look,
    SweepPoint,
    SweepRecord,
    TrialRecord,
    finished,
    finished_arm,
    required,
    save_arm,
)
from keeptune.study.bench import Bench
from keeptune.study.prompting import request_costs
from keeptune.study.remedies import Surroundings, build_remedies, describe, limited, remedy_settings
from keeptune.study.spec import ArmSpec
from keeptune.train.budget import FILE, recall
from keeptune.train.callbacks import Callback, Run
from keeptune.train.gauge import gauge
from keeptune.train.loop import FitResult, fit
from keeptune.train.progress import Progress

ALPHAS = (0.2, 0.4, 0.6, 0.8, 1.0)  # points of an interpolation sweep


@dataclass(frozen=True)
class Trial:
    """What is trained: an arm at a rate with a seed, on all training rows or on the first so many."""

    spec: ArmSpec
    lr: float
    seed: int
    examples: int | None = None

    @property
    def name(self) -> str:
        """Name of the folder."""
        size = f"-n{self.examples}" if self.examples is not None else ""
        return f"{self.spec.folder}-lr{self.lr:g}-seed{self.seed}{size}"


def folder_of(bench: Bench, trial: Trial) -> Path:
    """Where a trial leaves its records and weights."""
    return bench.folder / "arms" / trial.name


def artifact_of(bench: Bench, trial: Trial) -> Path:
    """The weights of a trial."""
    return folder_of(bench, trial) / bench.config.build_method(trial.spec.method).artifact


def trial_key(bench: Bench, trial: Trial) -> str:
    """Content hash of everything that a trial depends on."""
    settings = bench.config.method_settings(trial.spec.method)
    remedies = remedy_settings(bench.config, trial.spec)
    order = bench.order_settings()
    margins = [suite.margin for suite in bench.suites] if "guard" in dict(trial.spec.remedies) else None
    return bench.key(
        trial.spec.method,
        settings,
        remedies,
        order,
        margins,
        trial.lr,
        trial.seed,
        trial.examples,
        bench.config.train.digest(),
        bench.config.checkpoints,
    )


def read_trial(bench: Bench, trial: Trial) -> TrialRecord:
    """The record of a trial that is done."""
    return required(folder_of(bench, trial) / "trial.json", TrialRecord, trial_key(bench, trial))


def run_trial(bench: Bench, trial: Trial, *, weights: bool = False) -> bool:
    """Train, score the best checkpoint on validation items, leave trial.json and the weights; False if done before.

    Args:
        bench: what every arm needs.
        trial: what to train.
        weights: are needed: a trial that was done and lost them is done again.
    """
    folder, key = folder_of(bench, trial), trial_key(bench, trial)
    there = not weights or artifact_of(bench, trial).is_dir()
    if there and finished(folder / "trial.json", TrialRecord, key):
        bench.say(f"{trial.name}: trained before, skipped")
        return False
    for record in ("trial.json", "arm.json", "sweep.json"):
        (folder / record).unlink(missing_ok=True)
    base = bench.remember_base()
    recall(bench.folder.glob(f"arms/*/{FILE}"))  # a study that goes on splits its steps as it did before
    rows = bench.training_rows(trial.seed, trial.examples)
    watch = _Watch(bench, trial)
    around = Surroundings(
        old=lambda: bench.old_rows(trial.seed), own=lambda: bench.own_rows(trial.seed), harmless=watch.harmless
    )
    remedies = build_remedies(bench.config, trial.spec, around)
    built = bench.config.build_method(trial.spec.method)
    method = limited(built, remedies)
    watch.method = method
    hooks = [Progress(bench.console, trial.name), watch]
    result = fit(
        bench.lm,
        method,
        rows.train,
        rows.validation,
        bench.config.train,
        folder,
        lr=trial.lr,
        seed=trial.seed,
        hooks=hooks,
        remedies=remedies,
        order=rows.order,
        tier=watch.tier if bench.config.checkpoints and bench.kept else None,
    )
    try:
        done = TrialRecord(
            key=key,
            name=trial.name,
            arm=trial.spec.name,
            label=describe(built, remedies),
            method=trial.spec.method,
            lr=trial.lr,
            seed=trial.seed,
            examples=len(rows.train),
            look=bench.look_at_model(),
            row_losses=tuple(row_nats(bench.lm, rows.validation)),
            validation_loss=result.best_loss,
            diverged=result.diverged,
            best_step=result.best_step,
            steps=result.steps,
            costs=_training_costs(method, bench, result),
            gauge=gauge(bench.lm, method, base),
            checkpoints=tuple(watch.points),
        )
    finally:
        bench.lm.restore(method)
    write_json(folder / "trial.json", done)
    bench.say(f"{trial.name}: target {100 * done.look.score:.1f} on validation")
    return True


class _Watch(Callback):
    """Looks at the model whenever it is validated: for the frontier, and for a guard. Looks once for both."""

    def __init__(self, bench: Bench, trial: Trial) -> None:
        self.bench, self.trial = bench, trial
        self.method: Method | None = None  # that the model is adapted by; known once its remedies are
        self.points: list[Checkpoint] = []
        self._look: Look | None = None  # of the model as it is now

    def after_step(self, run: Run, record: StepRecord) -> None:
        """What was seen before the step no longer holds."""
        self._look = None

    def after_validation(self, run: Run, record: ValidationRecord) -> None:
        """Note a point of the frontier; the last step is the trial's own."""
        if not self.bench.config.checkpoints or record.step in (0, run.steps):
            return
        moved = gauge(self.bench.lm, self.method, self.bench.gauge) if self.method else None
        self.points.append(Checkpoint(step=record.step, validation_loss=record.loss, look=self._looked(), gauge=moved))

    def tier(self) -> int:
        """How well the model as it is now keeps the suites."""
        return self._looked().tier

    def harmless(self, lm: LanguageModel) -> bool:
        """No retained suite lost more than its margin, on validation items."""
        return self._looked().tier < 2

    def _looked(self) -> Look:
        if self._look is None:
            self._look = self.bench.look_at_model()
        return self._look


def _training_costs(method: Method, bench: Bench, result: FitResult) -> Costs:
    return Costs(
        trainable_parameters=sum(p.numel() for p in method.trainable(bench.lm.model).values()),
        total_parameters=bench.parameters,
        peak_memory_bytes=result.peak_memory_bytes,
        train_seconds=result.seconds,
        tokens_per_second=result.tokens_per_second,
        train_tokens=result.tokens,
        trained_tokens=result.trained_tokens,
    )


@contextmanager
def loaded(bench: Bench, trial: Trial) -> Iterator[Method]:
    """The bench's model holding the trial's checkpoint; the base again afterwards."""
    artifact = artifact_of(bench, trial)
    if not artifact.is_dir():
        raise ConfigError(
            f"the weights of {trial.name} are gone",
            where=str(artifact),
            remedy=f"delete {folder_of(bench, trial)} and run the study again",
        )
    method = bench.config.build_method(trial.spec.method)
    bench.lm.adapt(method)
    try:
        method.load(bench.lm.model, artifact)
        yield method
    finally:
        bench.lm.restore(method)


def read_sweep(bench: Bench, trial: Trial) -> SweepRecord:
    """The points of a trial's sweep that is done."""
    return required(folder_of(bench, trial) / "sweep.json", SweepRecord, trial_key(bench, trial))


def sweep(bench: Bench, trial: Trial) -> bool:
    """Score the points between base and tuned model on validation items; no training. Leaves sweep.json.

    Returns False where that was done before.
    """
    path, key = folder_of(bench, trial) / "sweep.json", trial_key(bench, trial)
    if finished(path, SweepRecord, key):
        return False
    done, base = read_trial(bench, trial), bench.remember_base()
    rows = bench.training_rows(trial.seed, trial.examples).validation
    points = []
    for alpha in ALPHAS[:-1]:  # the last is the trial itself
        with loaded(bench, trial) as method:
            method.blend(bench.lm.model, alpha)
            points.append(
                SweepPoint(
                    alpha=alpha,
                    look=bench.look_at_model(),
                    row_losses=tuple(row_nats(bench.lm, rows)),
                    gauge=gauge(bench.lm, method, base),
                )
            )
    last = SweepPoint(alpha=1.0, look=done.look, row_losses=done.row_losses, gauge=done.gauge)
    write_json(path, SweepRecord(key=key, points=(*points, last)))
    bench.say(f"{trial.name}: {len(ALPHAS)} points between base and tuned model scored on validation")
    return True


def arm_folder(bench: Bench, trial: Trial, alpha: float | None = None) -> Path:
    """Where a tested arm's records are: the trial's folder, or one beside it for an interpolated model."""
    folder = folder_of(bench, trial)
    return folder if alpha is None else folder.with_name(f"{folder.name}-alpha{alpha:g}")


def read_arm(bench: Bench, trial: Trial, alpha: float | None = None) -> Arm:
    """The trial's arm as it was scored on test items.

    Raises:
        RuntimeError: it was not.
    """
    arm = scored(bench, trial, alpha)
    if arm is None:
        raise RuntimeError(f"{trial.name} was not scored on test items")
    return arm


def _test_key(bench: Bench, trial: Trial) -> str:
    return bench.test_key(trial_key(bench, trial))


def scored(bench: Bench, trial: Trial, alpha: float | None = None) -> Arm | None:
    """The trial's arm, or the point ``alpha`` of it, if it was scored on test items."""
    names = (
        [task.name for task in bench.targets],
        [suite.name for suite in bench.suites],
        [v.name for v in bench.views],
    )
    return finished_arm(arm_folder(bench, trial, alpha), _test_key(bench, trial), *names)


def score_on_test(bench: Bench, trial: Trial, spec: ArmSpec, alpha: float | None = None) -> bool:
    """Score the trial's model, or the point ``alpha`` between base and it, on all test parts; leaves arm.json.

    Returns False where that was done before.
    """
    if scored(bench, trial, alpha):
        bench.say(f"{trial.name}: scored before, skipped")
        return False
    done, folder, base = read_trial(bench, trial), arm_folder(bench, trial, alpha), bench.remember_base()
    with loaded(bench, trial) as method:
        artifact = artifact_of(bench, trial)
        moved = done.gauge
        if alpha is not None:
            method.blend(bench.lm.model, alpha)
            moved = gauge(bench.lm, method, base)
            artifact = folder / method.artifact
            with saving(artifact):
                method.save(bench.lm.model, artifact, bench.lm.tokenizer)
        target = {task.name: bench.evaluate(task.name, "test") for task in bench.targets}
        suites = {suite.name: bench.evaluate(suite.name, "test").items for suite in bench.suites}
        views = {view.name: bench.look(view).items for view in bench.views}
    costs = request_costs(list(target.values()), bench.parameters)
    title = done.label if alpha is None else f"{done.label}, {100 * alpha:.0f} % of the way"
    save_arm(
        Arm(
            ArmRecord(
                key=_test_key(bench, trial),
                name=folder.name,
                arm=spec.name,
                title=title,
                label=f"{title}, lr {trial.lr:g}",
                family=spec.method,
                lr=trial.lr,
                seed=trial.seed,
                alpha=alpha,
                examples=done.examples,
                gauge=moved,
                costs=done.costs.model_copy(
                    update={
                        "tokens_per_request": costs.tokens_per_request,
                        "window_share": costs.window_share,
                        "seconds_per_request": costs.seconds_per_request,
                        "bytes_on_disk": sum(file.stat().st_size for file in artifact.rglob("*") if file.is_file()),
                    }
                ),
                note="diverged" if done.diverged else None,
            ),
            folder,
            {task: run.items for task, run in target.items()},
            suites,
            views,
        )
    )
    return True
