"""The arm that keeps: trainings that `recommend.search` asks for, one choice among all models, and its test.

The history is what lies on disk, so a search that was interrupted asks for the same trainings again and finds them
done. Everything that it looks at are validation items; only what it chose sees the test parts.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from keeptune.core.records import SearchPoint, SearchSummary, SuiteLoss, write_json
from keeptune.recipe.arms import Arm
from keeptune.recipe.config import StudyConfig
from keeptune.recipe.search import AT_ONCE, arm_of, setting_of
from keeptune.recommend import price
from keeptune.recommend.doses import Setting
from keeptune.recommend.pick import Candidate, pick_within
from keeptune.recommend.search import Seen, Space, Tried, ask, estimates
from keeptune.study.baseline import Baseline
from keeptune.study.jobs.base import Job
from keeptune.study.jobs.explore import Explore
from keeptune.study.jobs.interpolate import Interpolate
from keeptune.study.jobs.test import ScoreTest
from keeptune.study.jobs.train import Train
from keeptune.study.ledger import Ledger
from keeptune.study.records import SearchRecord, Tuned, ValidationScores
from keeptune.study.schedule.work import Work
from keeptune.study.trial import Trial
from keeptune.study.tuning import Chosen, drop_weights, first_trials
from keeptune.study.validation import BaseSuite
from keeptune.train.remedies.base import Need

FILE = "search.json"


@dataclass(frozen=True)
class Model:
    """A model that a search looked at: a training's own, or a point on the way to it."""

    trial: Trial
    alpha: float | None
    training: int  # its place among the trainings of the search, from 1; 0 is a training of another arm
    label: str
    validation: ValidationScores
    row_losses: tuple[float, ...]
    diverged: bool
    seen: Seen  # as the strategy reads it


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    summary: SearchSummary
    model: Model | None = None  # that was chosen


class Search:
    """One search of a study.

    Args:
        work: does its trainings.
        ledger: where their results are.
        baseline: what suites are compared with.
        chosen: the picked rates of the study's arms; the plain ones are where a search starts.
        rows: which rows there are that remedies may draw on, as needs.
    """

    def __init__(self, work: Work, ledger: Ledger, baseline: Baseline, chosen: Chosen, rows: Collection[Need]) -> None:
        self.work, self.ledger, self.baseline, self.chosen = work, ledger, baseline, chosen
        self.starts = [trial for arm, trial in chosen.items() if arm.plain]
        self.known = first_trials(work.recipe)
        self.suites = [BaseSuite.of(skill, baseline.validation[skill.suite.name]) for skill in baseline.skills]
        self.rows = rows
        self.done: list[Trial] = []

    @property
    def config(self) -> StudyConfig:
        """What a budget left of the recipe."""
        return self.work.recipe

    def run(self) -> Found:
        """Train until the strategy asks for nothing more, or the trainings or the budget are spent."""
        if not self.baseline.skills or not self.starts:
            return Found(self.summary([], None))
        self.work.do([Interpolate(trial) for trial in self.starts if trial.arm.method.weight_deltas])
        space = self._space()
        while (left := self.config.search.trainings - len(self.done)) > 0:
            wanted = ask(self.tried(), space, min(AT_ONCE, left))
            if not wanted or not self._train(wanted):
                break
            self._keep_weights(self._write().model)
        self.work.schedule.search_ended(len(self.done))
        return self._write()

    def tried(self) -> list[Tried]:
        """The history as the strategy reads it."""
        return list(_placed(self._by_trial()).values())

    def models(self) -> list[Model]:
        """Everything that was looked at, every loss as all of it together says it is."""
        found = self._by_trial()
        placed = _placed(found)
        for trial, better in zip(placed, estimates(list(placed.values()), self._space()), strict=True):
            found[trial] = [replace(model, seen=seen) for model, seen in zip(found[trial], better.models, strict=True)]
        return [model for models in found.values() for model in models]

    def summary(self, models: Sequence[Model], choice: Model | None) -> SearchSummary:
        """What is written down of the search so far."""
        seen = [self._point(model) for model in models]
        search = self.config.search
        written = SearchSummary(
            allowed=search.trainings,
            trainings=len(self.done),
            tokens=sum(self.ledger.trial(trial).costs.train_tokens or 0 for trial in self.done),
            spare=search.spare,
            base=float(self.baseline.target_scores.mean()),
            points=tuple(seen),
            front=tuple(point.name for point in price.front(seen)),
            found=self._name(choice) if choice else None,
        )
        return written.model_copy(update={"sentences": tuple(price.words(written))})

    def _space(self) -> Space:
        """What may be tried: remedies that draw on rows only where there are such rows."""
        remedies = {
            trial.arm.name: {
                name: doses for name, doses in self.config.searched_doses(trial.arm).items() if self._has_rows(name)
            }
            for trial in self.starts
        }
        arms = [trial.arm for trial in self.starts]
        return Space(
            starts=[Setting(arm.name, lr) for arm in arms for lr in self.config.learning_rates(arm)],
            doses=remedies,
            longer=self.config.search.longer,
            spare=self.config.search.spare,
            base=float(self.baseline.target_scores.mean()),
            whole=frozenset(arm.name for arm in arms if not arm.method.weight_deltas),
        )

    def _has_rows(self, remedy: str) -> bool:
        """Whether a remedy that draws on rows finds some of one kind that it can take."""
        kinds = self.config.remedy(remedy).needs & {Need.REHEARSAL_ROWS, Need.SELF_GENERATED_ROWS}
        return not kinds or any(kind in self.rows for kind in kinds)

    def _train(self, wanted: Sequence[Setting]) -> bool:
        """Do the trainings; False where a budget left one out."""
        seed, first = self.config.seeds[0], len(self.done) + 1
        trials = [Trial(arm_of(each, self.config), each.lr, seed, longer=each.longer) for each in wanted]
        self.work.do([Explore(trial, number) for number, trial in enumerate(trials, first)])
        ran = [trial for trial in trials if self.ledger.has_trial(trial)]
        self.done += ran
        return len(ran) == len(trials)

    def _by_trial(self) -> dict[Trial, list[Model]]:
        """All trainings and the models that they gave, those of the study's other arms first."""
        numbered = [*((trial, 0) for trial in self.known), *((trial, n) for n, trial in enumerate(self.done, 1))]
        return {trial: self._looked_at(trial, number) for trial, number in numbered}

    def _looked_at(self, trial: Trial, training: int) -> list[Model]:
        """The points on the way to a training's model, where they were scored, and that model last."""
        record = self.ledger.trial(trial)
        points = self.ledger.sweep(trial).points[:-1] if self.ledger.has_sweep(trial) else ()
        label = f"{record.label}, lr {trial.lr:g}"

        def model(alpha: float | None, way: str, scores: ValidationScores, row_losses: tuple[float, ...]) -> Model:
            seen = self._seen(1.0 if alpha is None else alpha, scores)
            return Model(trial, alpha, training, label + way, scores, row_losses, record.diverged, seen)

        on_the_way = [model(p.alpha, f", {_way(p.alpha)}", p.validation, p.row_losses) for p in points]
        return [*on_the_way, model(None, "", record.validation, record.row_losses)]

    def _seen(self, alpha: float, validation: ValidationScores) -> Seen:
        """A model as the strategy reads it."""
        target, suites = np.array(validation.target), validation.suites
        return Seen(
            alpha=alpha,
            target=validation.score,
            error=float(target.std()) / math.sqrt(len(target)),
            losses=tuple(-suite.change / suite.margin for suite in suites),
            errors=tuple(suite.error / suite.margin for suite in suites),
            items=tuple(base.losses(suite.scores) for base, suite in zip(self.suites, suites, strict=True)),
        )

    def _choice(self, models: Sequence[Model]) -> Model | None:
        """The model to test: see `recommend.pick.pick_within`."""
        spare = self.config.search.spare
        candidates = {
            self._name(model): Candidate(
                self._name(model),
                model.seen.worst(spare),
                np.array(model.validation.target),
                np.array(model.row_losses),
                tier=0 if model.seen.worst(spare) <= 1 else 2,
                diverged=model.diverged,
            )
            for model in models
        }
        best = pick_within(list(candidates.values()), self.baseline.target_scores)
        return next((model for model in models if best is not None and self._name(model) == best.name), None)

    def _point(self, model: Model) -> SearchPoint:
        relative = {skill.suite.name: skill.suite.relative for skill in self.baseline.skills}
        return SearchPoint(
            name=self._name(model),
            arm=model.trial.arm.name,
            label=model.label,
            training=model.training,
            alpha=model.alpha,
            target=model.validation.score,
            losses=tuple(
                SuiteLoss(
                    suite=s.suite,
                    loss=loss * s.margin,
                    error=error * s.margin,
                    margin=s.margin,
                    relative=relative[s.suite],
                )
                for s, loss, error in zip(model.validation.suites, model.seen.losses, model.seen.errors, strict=True)
            ),
            worst=model.seen.worst(self.config.search.spare),
            diverged=model.diverged,
        )

    def _name(self, model: Model) -> str:
        return self.ledger.arm_folder(model.trial, model.alpha).name

    def _keep_weights(self, best: Model | None) -> None:
        """Of the search's trainings the best one's weights stay, and those of what was tested."""
        kept = {*self.chosen.values(), *([best.trial] if best else [])}
        drop_weights(self.ledger, [trial for trial in self.done if trial not in kept])

    def _write(self) -> Found:
        """Choose among what was looked at so far, and write it down."""
        models = self.models()
        choice = self._choice(models)
        summary = self.summary(models, choice)
        key = self.ledger.key("search", self.config.search.digest(), [trial.name for trial in self.done])
        write_json(self.ledger.folder / FILE, SearchRecord(key=key, search=summary))
        return Found(summary, choice)


def found_trials(config: StudyConfig, found: Found | None) -> list[Trial]:
    """The chosen model's training, with all seeds; empty where nothing was found."""
    if found is None or found.model is None:
        return []
    return [replace(found.model.trial, seed=seed) for seed in config.seeds]


def finish_search(work: Work, ledger: Ledger, found: Found | None, tested: Sequence[Tuned]) -> list[Tuned]:
    """The chosen model with all seeds on test items; empty where nothing was found, or an arm of the recipe is it.

    Its further seeds are trained by now.
    """
    if found is None or found.model is None:
        return []
    model, trials = found.model, found_trials(work.recipe, found)
    if ledger.arm_folder(model.trial, model.alpha).name in {each.seeds[0].name for each in tested}:
        return []
    arm = _arm(model, work.recipe)
    if ledger.scored(model.trial, model.alpha) is None:
        again: Job = Explore(model.trial, model.training, weights=True) if model.training else Train(model.trial, True)
        work.do([again])
    work.do([ScoreTest(trial, arm, model.alpha) for trial in trials])
    known = sum(ledger.trial(trial).costs.train_tokens or 0 for trial in first_trials(work.recipe))
    return [Tuned(arm, [ledger.arm(trial, model.alpha) for trial in trials], found.summary.tokens + known)]


def _placed(found: Mapping[Trial, Sequence[Model]]) -> dict[Trial, Tried]:
    """Trainings as the strategy reads them; an arm with a remedy without a dose has no place among them."""
    settings = {trial: setting_of(trial.arm, trial.lr, trial.longer) for trial in found}
    return {
        trial: Tried(setting, tuple(model.seen for model in found[trial]))
        for trial, setting in settings.items()
        if setting is not None
    }


def _arm(model: Model, config: StudyConfig) -> Arm:
    """The arm that a model stands for in tables."""
    arm = model.trial.arm
    setting = setting_of(arm, model.trial.lr)
    assert setting is not None
    return arm if model.alpha is None else arm_of(setting, config, interpolated=True)


def _way(alpha: float) -> str:
    return f"{100 * alpha:.0f} % of the way"
