"""Ten laws on the built-in base model: run their recipes, check them, write docs/laws.md.

    python recipes/laws/laws.py [--only 2 9] [--out runs/laws] [--quick]

Run from the repository's root, as `make laws` does. Recipes of one world share a run folder, so that no arm is trained
twice; what was finished is not run again. `--only` takes numbers of laws; the page is written only when all were
checked. `--quick` trains three steps and asks few items, to see that everything runs: its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import learning
import page
import shop
from keeping import law_1, law_3, law_4, law_5, law_7
from keeptune.core.config import read_recipe
from keeptune.core.errors import DataError, KeeptuneError
from keeptune.core.records import FrontierPoint, ItemRecord, Summary, read_json, read_records, write_json
from keeptune.core.units import human_seconds
from keeptune.data.encode.encoder import SHOT_SEPARATOR
from keeptune.evaluate.prompts import chosen_items
from keeptune.evaluate.shots import draw_shots
from keeptune.recipe.config import StudyConfig
from keeptune.study.messages import Messages
from keeptune.study.run import open_study, run_study
from keeptune.study.trial import Trial
from outcomes import Law, Results

HERE = Path(__file__).parent
RANKS = ("1", "2", "8", "64")
RATES = ("2e-4", "2e-3")  # of law 5
ATTENTION = ("lora.rank=20", "lora.target_modules=[q_proj, k_proj, v_proj, o_proj]")
LEARNED, LEARNED_SEEDS = ("orders", "diary", "tallies", "category", "labels"), (0, 1)  # law 5: best rates
ALONE = ("diary", "tallies", "category", "labels")
QUICK = ("train.max_steps=3", "validation_items=20", "test_items=20", "seeds=[0, 1, 2]")


@dataclass(frozen=True)
class Recipe:
    """One run of one recipe."""

    name: str
    file: str
    laws: tuple[int, ...]
    changes: tuple[str, ...] = ()  # section.field=value
    world: str = ""  # the run folder, where recipes share one

    @property
    def folder(self) -> str:
        """Name of the run folder."""
        return self.world or self.name

    @property
    def command(self) -> str:
        """The same run by hand."""
        changes = [word for change in self.changes for word in ("--set", change)]
        return shlex.join(["keeptune", "study", f"recipes/laws/{self.file}", *changes])


def _task(name: str) -> str:
    """Where a task stands."""
    return f"builtin:{name}" if name in ("category", "orders") else f"recipes/laws/tasks/{name}.yaml"


RECIPES = (
    # In this order: a study keeps the weights of the rates that it chose, and only those.
    *(Recipe(f"rate-{rate}", "05-rate.yaml", (5, 7), (f"full.learning_rates=[{rate}]",), "orders") for rate in RATES),
    Recipe("replay", "03-replay.yaml", (3, 7), world="orders"),
    Recipe("frontier", "01-frontier.yaml", (1, 4, 5, 7, 8), world="orders"),
    *(
        Recipe(f"best-rate-{name}-{seed}", "05-best-rate.yaml", (5,), (f"target.task={_task(name)}", f"seeds=[{seed}]"))
        for name in LEARNED
        for seed in LEARNED_SEEDS
    ),
    Recipe("sequence", "02-sequence.yaml", (2,)),
    *(Recipe(f"rank-{rank}", "06-rank.yaml", (6,), (f"lora.rank={rank}",)) for rank in RANKS),
    Recipe("rank-attention", "06-rank.yaml", (6,), ATTENTION),
    *(Recipe(f"more-rows-rank-{r}", "06-rank-more-rows.yaml", (6,), (f"lora.rank={r}",)) for r in ("8", "64")),
    Recipe("one-wording", "09-one-wording.yaml", (9,)),
    Recipe("eight-wordings", "09-eight-wordings.yaml", (9,)),
    Recipe("capped", "10-mixture.yaml", (10,)),
    Recipe("uncapped", "10-mixture.yaml", (10,), ("mixture.cap=null",)),
    *(Recipe(f"alone-{name}", "10-alone.yaml", (10,), (f"target.task={_task(name)}",)) for name in ALONE),
)


class Runs:
    """Summaries and items of the recipes below one folder."""

    def __init__(self, out: Path, console: Console, changes: tuple[str, ...] = ()) -> None:
        self.out, self.console, self.changes = out, console, changes
        self.summaries: dict[str, Summary] = {}

    def config(self, recipe: Recipe) -> StudyConfig:
        """The recipe with its changes."""
        return read_recipe(StudyConfig, HERE / recipe.file, (*recipe.changes, *self.changes))

    def run(self, recipe: Recipe) -> None:
        """Run a recipe, unless its summary is there."""
        config, kept = self.config(recipe), self.out / "summaries" / f"{recipe.name}.json"
        try:
            summary = read_json(kept, Summary)
        except DataError:
            summary = None
        if summary is None or summary.manifest.config != config.model_dump(mode="json"):
            self.console.rule(recipe.name)
            summary = run_study(config, self.out / recipe.folder, console=self.console, command=recipe.command)
            write_json(kept, summary)
        self.summaries[recipe.name] = summary

    def frontier(self, *names: str) -> list[FrontierPoint]:
        """Frontier points of some recipes."""
        return [point for name in names for point in self.summaries[name].frontier]

    def base(self, name: str) -> float:
        """Target score of the base on validation items."""
        return next(point.target for point in self.summaries[name].frontier if point.arm == "base")

    def losses(self, name: str) -> dict[int, float]:
        """Seed -> validation loss of the recipe's only arm."""
        points = [point for point in self.summaries[name].frontier if point.kind == "rate"]
        return {p.seed: p.validation_loss for p in points if p.validation_loss is not None}

    def items(self, name: str, arm: str, task: str) -> list[ItemRecord]:
        """Test items of an arm's folder; ``task`` may be a view such as 'orders@unseen'."""
        folder = next(recipe.folder for recipe in RECIPES if recipe.name == name)
        return list(read_records(self.out / folder / "arms" / arm / "items" / f"{task}.jsonl", ItemRecord))

    def scores(self, name: str, task: str) -> dict[int, float]:
        """Seed -> test score of the recipe's only arm that trains."""
        summary = self.summaries[name]
        arm = next(arm for arm in summary.arms if not arm.prompting)
        recipe = next(recipe for recipe in RECIPES if recipe.name == name)
        (own,) = self.config(recipe).training_arms
        trials = {seed: Trial(own, arm.lr or 0.0, seed) for seed in summary.seeds}
        return {seed: _mean(self.items(name, trial.name, task)) for seed, trial in trials.items()}

    def shot_tokens(self, name: str) -> dict[int, float]:
        """Number of shots -> tokens of a request as its parts add up: the bare prompt, and every demonstration."""
        recipe = next(recipe for recipe in RECIPES if recipe.name == name)
        messages = Messages(self.console)
        prepared, workplace = open_study(self.config(recipe), self.out / recipe.folder, messages)
        config, task, encoder = prepared.config, prepared.targets[0], workplace.encoder
        wordings = task.wordings(encoder.chat)
        asked = [wordings.fixed(item) for item in chosen_items(task, "test", config.test_items)]
        bare = statistics.fmean(len(encoder.prompt(row)) for row in asked)

        def tokens(k: int, draw: int) -> int:
            rows = [wordings.fixed(example) for example in draw_shots(task.splits.train, k, draw)]
            texts = [row.prompt + row.completion + SHOT_SEPARATOR for row in rows]
            return sum(len(encoder.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)

        draws = range(config.prompt.draws)
        return {k: bare + statistics.fmean(tokens(k, draw) for draw in draws) for k in config.prompt.shots}


def _mean(items: Sequence[ItemRecord]) -> float:
    return statistics.fmean(item.score for item in items)


def check_8(runs: Runs) -> Law:
    """Demonstrations: the table, the items of every number of shots, and tokens counted apart."""
    arms = runs.summaries["frontier"].arms
    shots = [arm for arm in arms if arm.family == "prompt"]
    items = {arm.shots: runs.items("frontier", arm.name, "orders") for arm in shots if arm.shots is not None}
    return learning.law_8(arms, items, runs.shot_tokens("frontier"))


def check_9(runs: Runs) -> Law:
    """Scores in trained and in unseen wordings, by seed."""

    def both(name: str) -> dict[int, tuple[float, float]]:
        seen, unseen = (runs.scores(name, f"orders@{wording}") for wording in ("each", "unseen"))
        return {seed: (seen[seed], unseen[seed]) for seed in seen}

    return learning.law_9(both("one-wording"), both("eight-wordings"))


def check_10(runs: Runs) -> Law:
    """Test scores of the mixtures and of the tasks alone, by seed; and of the tasks held out."""
    before = {each.task: each.before.mean for each in runs.summaries["capped"].held_out}
    return learning.law_10(
        {task: runs.scores("capped", task) for task in ALONE},
        {task: runs.scores("uncapped", task) for task in ALONE},
        {task: runs.scores(f"alone-{task}", task) for task in ALONE},
        {task: (score, runs.scores("capped", task)) for task, score in before.items()},
        smallest="labels",
    )


CHECKS: Mapping[int, Callable[[Runs], Law]] = {
    1: lambda runs: law_1(runs.frontier("frontier")),
    2: lambda runs: learning.law_2(runs.summaries["sequence"].sequences),
    3: lambda runs: law_3(runs.frontier("replay")),
    4: lambda runs: law_4(runs.frontier("frontier"), runs.base("frontier")),
    5: lambda runs: law_5(
        runs.frontier(f"rate-{RATES[0]}"),
        runs.frontier(f"rate-{RATES[1]}"),
        {name: [runs.frontier(f"best-rate-{name}-{seed}") for seed in LEARNED_SEEDS] for name in LEARNED},
        runs.base("frontier"),
    ),
    6: lambda runs: learning.law_6(
        {**{rank: runs.losses(f"rank-{rank}") for rank in RANKS}, "attention": runs.losses("rank-attention")},
        {rank: runs.losses(f"more-rows-rank-{rank}") for rank in ("8", "64")},
    ),
    7: lambda runs: law_7(runs.frontier("frontier", "replay", *(f"rate-{rate}" for rate in RATES))),
    8: check_8,
    9: check_9,
    10: check_10,
}


def results(runs: Runs, laws: Sequence[Law]) -> Results:
    """The laws with what made them."""
    manifest = next(iter(runs.summaries.values())).manifest
    return Results(
        command="make laws",
        date=manifest.started[:10],
        machine=f"{os.cpu_count()} CPU cores ({platform.machine()}), {manifest.platform}",
        versions={"keeptune": manifest.keeptune, "python": manifest.python, **manifest.versions},
        model=f"{manifest.model} ({manifest.model_hash}), {manifest.precision}",
        wall_seconds=sum(summary.wall_seconds for summary in runs.summaries.values()),
        laws=tuple(laws),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, nargs="+", choices=sorted(CHECKS), default=sorted(CHECKS))
    parser.add_argument("--out", type=Path, default=Path("runs/laws"))
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args(arguments)
    console = Console()
    shop.write_all()
    runs = Runs(chosen.out, console, QUICK if chosen.quick else ())
    for recipe in RECIPES:
        if set(recipe.laws) & set(chosen.only):
            runs.run(recipe)
    laws = [CHECKS[number](runs) for number in sorted(set(chosen.only))]
    for law in laws:
        console.print(page.plain(law), highlight=False)
    found = results(runs, laws)
    console.print(f"{human_seconds(found.wall_seconds)} in all runs", highlight=False)
    write_json(chosen.out / "laws.json", found)
    if len(laws) == len(CHECKS) and not chosen.quick:
        write_json(page.RECORD, found)
        page.PAGE.write_text(page.page(found), encoding="utf-8")
        console.print(f"page: {page.PAGE}", highlight=False)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeeptuneError as error:
        print(f"{shlex.quote(sys.argv[0])}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
