"""`keeptune.Study`, `keeptune.load_recipe` and `keeptune.train`: what `keeptune study`, `demo` and `train` run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from rich.console import Console

from keeptune.api.data import Data, entries, sources
from keeptune.api.results import Result
from keeptune.core.config import parse_recipe, read_recipe, validate
from keeptune.core.files import write_whole
from keeptune.core.lines import print_line
from keeptune.launch.world import ALONE, World
from keeptune.recipe.begun import begun_study
from keeptune.recipe.config import StudyConfig
from keeptune.recipe.run_folder import run_folder

RECIPE = "recipe.yaml"  # in the folder of a run that no command line began


class Study:
    """Targets to learn, skills to keep, arms to compare; nothing runs before `run`.

    Args:
        model: hub name, folder, or "builtin".
        target: what is learned: a path, a task (builtin:orders, a YAML file), rows, an entry of a recipe whose
            ``data`` may be rows, or a list of these.
        retain: what must not get worse: the same, text files, "standard"; "none" where it does not matter.
        data_root: relative paths are below it.
        settings: any other field of a recipe: ``arms=["prompt", "lora+replay:5%"]``, ``seeds=[0, 1, 2]``.

    A list of mappings is one set of rows, unless one of them has a key "data", "task" or "text"; such rows are given as
    ``{"data": rows}``. Rows are kept in the cache (`keeptune.core.files.cache_folder`).

    Raises:
        ConfigError: a field that a recipe does not have, or a bad value.
        DataError: rows that cannot be kept.

    Example:
        >>> study = Study(model="builtin", target="builtin:orders", retain=["builtin:addition"], seeds=[0])
        >>> result = study.run()
        >>> result.recommendation.headline
    """

    def __init__(
        self,
        *,
        model: str | os.PathLike[str],
        target: Data | Mapping[str, Any] | Sequence[Any],
        retain: Data | Mapping[str, Any] | Sequence[Any] = (),
        data_root: Path | str = Path(),
        **settings: Any,
    ) -> None:
        values = {"model": os.fspath(model), "target": entries(target, "target"), "retain": entries(retain, "retained")}
        self.config = validate(StudyConfig, {**values, **settings}, source="keeptune.Study")
        self.data_root = Path(data_root)
        self.name, self._note = "study", ""

    @classmethod
    def of(cls, config: StudyConfig, *, name: str, data_root: Path | str = Path(), note: str = "") -> Study:
        """The study of a recipe; its run folder is runs/``name`` where none is named. ``note`` is said as it begins."""
        study = cls.__new__(cls)
        study.config, study.data_root, study.name, study._note = config, Path(data_root), name, note
        return study

    @property
    def folder(self) -> Path:
        """Where it runs if nothing else is said."""
        return Path("runs") / self.name

    def run(
        self,
        out: Path | str | None = None,
        *,
        overwrite: bool = False,
        quiet: bool = False,
        console: Console | None = None,
        command: str | None = None,
        world: World = ALONE,
        on: str | None = None,
        mirror: str | None = None,
    ) -> Result:
        """Run every arm that is not finished, judge, recommend; write summary.json and report.html.

        Args:
            out: the run folder; by default runs/<name>, numbered where another run is there.
            overwrite: remove the run that is there, and begin anew.
            quiet: print nothing.
            console: where progress goes.
            command: as the report quotes it; by default one that does this study again from ``recipe.yaml``, which is
                then written beside its records.
            world: the processes that do every job together, of which this is the main one.
            on: "ray" or "ray://host:6379": the cluster whose workers do the jobs; by default this machine.
            mirror: storage that holds a copy of the run folder: "s3://bucket/run", "gs://…", a folder.

        Raises:
            KeeptuneError: anything foreseen; finished arms are kept.
        """
        console = console or Console(quiet=quiet)
        begun, given = begun_study(self.config, self.data_root), None if out is None else Path(out)
        folder = run_folder(begun, self.folder, given, overwrite=overwrite, console=console)
        if self._note:
            print_line(self._note, console)
        command = command or self._command(folder)
        from keeptune.study.run import run_study  # imports torch: what is wrong with the recipe is said before

        summary = run_study(
            self.config,
            folder,
            console=console,
            data_root=self.data_root,
            command=command,
            world=world,
            on=on,
            mirror=mirror,
        )
        return Result(folder, summary)

    def _command(self, folder: Path) -> str:
        """Write the recipe down, and say how to run it again."""
        values = self.config.model_dump(mode="json", exclude_unset=True)
        write_whole(folder / RECIPE, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
        root = [] if self.data_root == Path() else ["--data", str(self.data_root)]
        return shlex.join(["keeptune", "study", str(folder / RECIPE), "--out", str(folder), *root])

    def __repr__(self) -> str:
        return f"Study(model={self.config.model!r}, arms={list(self.config.arms)!r})"


def load_recipe(path: Path | str, overrides: Sequence[str] = (), *, data_root: Path | str = Path()) -> Study:
    """The study that a YAML recipe describes.

    Args:
        path: of the recipe.
        overrides: "section.field=value" each, as behind --set.
        data_root: relative data paths of the recipe are below it.

    Raises:
        ConfigError: the file is missing, or has an unknown key or a bad value (with its line).
    """
    return Study.of(read_recipe(StudyConfig, path, overrides), name=Path(path).stem, data_root=data_root)


def train(
    model: str | os.PathLike[str],
    data: Data | Sequence[Data],
    *,
    out: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Result:
    """Split, train one method, and compare base and tuned model on the held-out rows: a study with one arm.

    Args:
        model: hub name, folder, or "builtin".
        data: files, folders of split files, hf:owner/name, or rows.
        out: the run folder; by default runs/train, numbered where another run is there.
        overwrite: remove the run that is there, and begin anew.
        quiet: print nothing.
        settings: see `training`.

    Raises:
        KeeptuneError: anything foreseen.

    Example:
        >>> result = train("builtin", [{"prompt": "2 + 2 =", "completion": " 4"}, ...])
        >>> result.to_frame()[["label", "score"]]
    """
    return training(model, data, **settings).run(out, overwrite=overwrite, quiet=quiet)


def training(
    model: str | os.PathLike[str],
    data: Data | Sequence[Data],
    *,
    method: Literal["lora", "full"] = "lora",
    retain: Data | Sequence[Data] | None = None,
    margin: float | None = None,
    search: bool | None = None,
    rates: Sequence[float] = (),
    trials: int | None = None,
    on_leak: Literal["error", "drop"] = "error",
    fields: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> Study:
    """The study with one arm that `train` runs.

    Args:
        model: hub name, folder, or "builtin".
        data: files, folders of split files, hf:owner/name, or rows.
        method: what is trained.
        retain: what must not get worse.
        margin: points that a retained task may lose.
        search: look for an arm that keeps what is retained; by default where something is.
        rates: peak learning rates to try; by default the method's grid.
        trials: how many rates of the grid are tried, those in its middle.
        on_leak: "drop" takes rows that leak across the parts out of training.
        fields: role -> column, where columns are not recognised.
        overrides: "section.field=value" each, as in a recipe.
    """
    from keeptune.recipe.entries import entries_of
    from keeptune.recipe.search import SEARCH

    named = sources(data, "rows")
    columns = dict(fields) if fields else None
    recipe: dict[str, Any] = {
        "model": os.fspath(model),
        "target": [{"data": source, "fields": columns, "split": {"on_leak": on_leak}} for source in named],
        "retain": [entry for spec in sources(retain, "retained") for entry in entries_of(spec, margin)],
        "arms": ["prompt", method, *([SEARCH] if (bool(retain) if search is None else search) else [])],
        "prompt": {"shots": [0]},
        "seeds": [0],
        "title": " + ".join(Path(source).stem for source in named),
        **({method: {"learning_rates": list(rates)}} if rates else {}),
    }
    config = parse_recipe(StudyConfig, yaml.safe_dump(recipe), source="keeptune train", overrides=overrides)
    tried = middle(config.method(method).learning_rates, trials)
    note = (
        f"{len(tried)} learning rates are tried ({', '.join(f'{one:g}' for one in tried)}) and the best on validation"
        " is kept; the plan says how long that takes; --trials 1 or --lr RATE is faster"
    )
    config = config.with_learning_rates({method: tried})
    return Study.of(config, name="train", note=note if len(tried) > 1 else "")


def middle(rates: Sequence[float], count: int | None) -> tuple[float, ...]:
    """The ``count`` rates in the middle of an ascending grid; of two middles the lower one."""
    spare = len(rates) - min(count or len(rates), len(rates))
    return tuple(rates[spare // 2 : len(rates) - (spare - spare // 2)])
