"""What the parts of a study take: measured by a short probe, not guessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from keeptune.data.storage.lazy import LazyMap
from keeptune.recipe.arms import Arm
from keeptune.recipe.config import StudyConfig
from keeptune.recipe.search import SEARCH
from keeptune.recommend.search import ALPHAS
from keeptune.study.rehearsal import tokens_per_trained
from keeptune.study.workplace import Workplace
from keeptune.train.estimate import Needs, probe
from keeptune.train.remedies.base import Need

BASE_FORWARD = 1 / 3  # of a training step: what another model's forward costs beside it


@dataclass(frozen=True)
class Estimates:
    """Seconds and bytes of one training, one evaluation, one model."""

    needs: dict[str, Needs]  # by method
    tasks: int  # to learn
    rows: int  # to train on
    steps: int
    tokens: int  # of one training of all rows
    validation_seconds: float  # scoring one model on all validation parts
    test_seconds: float
    bytes_of_model: int
    per_trained: float = 1.0  # tokens of the target's rows for each that is trained
    per_replayed: float = 1.0  # and of the retained suites' train rows

    def training(self, config: StudyConfig, arm: Arm, longer: int = 1) -> float:
        """Seconds of one training, of ``longer`` times the recipe's epochs, and its validation."""
        looks = 1 + (longer * config.train.epochs * config.train.validations_per_epoch - 1) * config.checkpoints
        return longer * self.steps_alone(arm) + looks * self.validation_seconds

    def steps_alone(self, arm: Arm) -> float:
        """Seconds of the steps of one training."""
        needs = self.needs[arm.method.name]
        added = sum(
            (remedy.token_factor() - 1) * (self.per_replayed if Need.REHEARSAL_ROWS in remedy.needs else 1.0)
            for remedy in arm.remedies
        )
        tokens = self.tokens * (1 + added / self.per_trained) * (1 + BASE_FORWARD * arm.base_forwards)
        updates = self.steps * (1 + sum(remedy.updates for remedy in arm.remedies))
        return tokens * needs.seconds_per_token + updates * needs.seconds_per_step

    def memory(self, arm: Arm) -> int | None:
        """Peak bytes of one training."""
        memory = self.needs[arm.method.name].memory_bytes
        if memory is not None and arm.base_forwards and arm.method.copies_base:
            memory += self.bytes_of_model
        return memory

    def arm(self, config: StudyConfig, arm: Arm) -> tuple[int, float]:
        """(trainings, seconds) of an arm; an interpolated one trains with the arm that it belongs to."""
        trials = len(config.learning_rates(arm)) + len(config.seeds) - 1
        if arm.interpolated:
            own = 0 if arm.trained in config.training_arms else trials  # of a model that is no arm itself
            points = len(config.seeds) * (self.interpolation + self.test_seconds)
            return own, points + own * self.training(config, arm.trained)
        sizes = config.curve.sizes if config.curve and arm.name in config.curve.arms else ()
        curve = sum(size < self.rows for size in sizes)
        seconds = (trials + curve) * self.training(config, arm) + (len(config.seeds) + curve) * self.test_seconds
        return trials + curve, seconds

    def search(self, config: StudyConfig) -> tuple[int, float]:
        """(trainings, seconds) of a search: all as long as any may be, with the points on the way."""
        arms = config.searched_arms
        if not arms:
            return 0, 0.0
        one = max(self.training(config, arm, config.search.longer) for arm in arms) + self.interpolation
        later = (len(config.seeds) - 1) * one + len(config.seeds) * self.test_seconds
        return config.search.trainings, config.search.trainings * one + later

    def sequence(self, config: StudyConfig, arm: Arm) -> tuple[int, float]:
        """(trainings, seconds) of an arm through all orders: every task in its turn, all tasks tested after each."""
        assert config.sequence is not None
        chains = max(1, len(config.sequence.orders)) * len(config.seeds)
        return chains * self.tasks * len(config.learning_rates(arm)), chains * self.chain(config, arm)

    def chain(self, config: StudyConfig, arm: Arm) -> float:
        """Seconds of an arm through one order."""
        return len(config.learning_rates(arm)) * self.training(config, arm) + (self.tasks + 1) * self.test_seconds

    @property
    def interpolation(self) -> float:
        """Seconds of the points between the base and one model."""
        return (len(ALPHAS) - 1) * self.validation_seconds

    def parts(self, config: StudyConfig) -> Iterator[tuple[str, Arm, tuple[int, float]]]:
        """All that trains, with (trainings, seconds): every arm, the search by one of its arms, every arm in turn."""
        for arm in config.training_arms:
            yield arm.name, arm, self.arm(config, arm)
        for arm in config.searched_arms[:1]:
            yield SEARCH, arm, self.search(config)
        for arm in config.sequence_arms:
            yield f"{arm.name}, in turn", arm, self.sequence(config, arm)

    def total(self, config: StudyConfig) -> float:
        """Seconds of everything that trains, one worker."""
        return sum(seconds for _, _, (_, seconds) in self.parts(config))


def estimate(workplace: Workplace, methods: Sequence[str], threads: int) -> Estimates:
    """Probe every method, where the model is the base and was scored."""
    config, lm, scorer = workplace.config, workplace.lm, workplace.scorer
    seed = config.seeds[0]
    rows = workplace.data.rows(seed)
    steps = LazyMap(rows.order, lambda step: [rows.train[i] for i in step])
    chosen_by = (*scorer.targets, *scorer.suites)
    tested = [scorer.evaluate(name, "test") for name in chosen_by] + [scorer.evaluate_extra(e) for e in scorer.extras]
    old = workplace.rehearsal.suites.rows(seed) if config.needs(Need.REHEARSAL_ROWS) else {}
    return Estimates(
        needs={name: probe(lm, config.method(name).build(), steps, config.train.engine, threads) for name in methods},
        tasks=len(scorer.targets),
        rows=len(rows.train),
        steps=len(rows.order),
        tokens=sum(len(row) for step in steps for row in step),
        per_trained=tokens_per_trained([rows.train]),
        per_replayed=tokens_per_trained([*old.values()]),
        validation_seconds=sum(scorer.evaluate(name, "validation").seconds for name in chosen_by),
        test_seconds=sum(run.seconds for run in tested),
        bytes_of_model=workplace.parameters * lm.dtype.itemsize,
    )
