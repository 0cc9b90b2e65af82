"""What a run folder was begun for, so that a command goes on with the same run and writes over no other one.

recipe.json holds what trainings and scores depend on, data by their content. What only decides what is made of the
scores (margins, indifference, requests, a budget) is left out: with another value the run is still the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from keeptune.core.errors import DataError
from keeptune.core.files import sha256_of
from keeptune.core.records import Record, read_json, write_json
from keeptune.recipe.entries import Entry
from keeptune.recipe.files import check_files, files_of, resolved
from keeptune.recipe.scoring import ScoringConfig

if TYPE_CHECKING:  # commands that train nothing look at their folder without torch
    from keeptune.recipe.config import StudyConfig

FILE = "recipe.json"
HELD = ("arms", "summary.json", "manifest.json")  # what a folder with results has at least one of
UNMEASURED = {
    "title",
    "device",
    "workers",
    "parallel",
    "offload",
    "budget",
    "indifference",
    "requests",
    "costs",
    "forgetting",
    "trackers",
    "search",  # says which trainings there are; each has its key
}


class Begun(Record):
    """recipe.json."""

    kind: Literal["study", "comparison", "evaluation"]
    settings: dict[str, Any]  # another value makes another run
    lists: dict[str, list[Any]]  # a run that goes on may add to these: arms, seeds, rates


def begun_study(config: StudyConfig, data_root: Path = Path()) -> Begun:
    """What the run of a recipe is known by.

    Raises:
        KeeptuneError: a file that the recipe names is missing.
    """
    check_files((*config.target, *config.retain, *config.held_out), data_root)
    values = config.model_dump(mode="json", exclude=UNMEASURED)
    lists = {name: values.pop(name) for name in ("arms", "seeds")}
    lists |= {f"{key}.learning_rates": values[key].pop("learning_rates") for key in config.method_keys}
    lists["prompt.shots"] = values["prompt"].pop("shots")
    for name in ("curve", "sequence"):
        lists |= {f"{name}.{key}": value for key, value in (values.pop(name) or {}).items()}
    lists["held_out"] = [content(entry, data_root) for entry in config.held_out]
    del values["held_out"]
    for name, entries in (("target", config.target), ("retain", config.retain)):
        values[name] = [content(entry, data_root) for entry in entries]
    return Begun(kind="study", settings={**values, "model": place(config.model)}, lists=lists)


def begun_comparison(
    models: tuple[str, str], retain: tuple[Entry, ...], target: Entry | str | None, settings: Mapping[str, Any]
) -> Begun:
    """What a comparison is known by; its margin counts, for it has no other result than verdicts.

    Args:
        models: the two models or sets of logs.
        retain: what is judged; nothing where logs are compared.
        target: what was trained for, of logs its name.
        settings: the options of the command.
    """
    asked = {
        "models": [place(name) for name in models],
        "retain": [content(entry) for entry in retain],
        "target": target if target is None or isinstance(target, str) else content(target),
    }
    return Begun(kind="comparison", settings={**settings, **asked}, lists={})


def begun_evaluation(config: ScoringConfig, tasks: tuple[Entry, ...]) -> Begun:
    """What an evaluation is known by; other tasks and other shots have files of their own beside it."""
    values = config.model_dump(mode="json", exclude={"tasks", "shots"})
    adapter = None if config.adapter is None else place(str(config.adapter))
    named = {f"task {values['name']}": values for values in map(content, tasks)}
    return Begun(
        kind="evaluation", settings={**values, "model": place(config.model), "adapter": adapter, **named}, lists={}
    )


def begin(folder: Path, begun: Begun) -> None:
    """Write down what a folder is for."""
    before = begun_in(folder)
    if before is not None and before.kind == begun.kind:
        begun = begun.model_copy(update={"settings": {**before.settings, **begun.settings}})
    write_json(folder / FILE, begun)


def another(folder: Path, begun: Begun) -> str | None:
    """What makes the run in a folder another one, in words; None where it is the same, or nothing was measured yet.

    A study that did not finish may go on with fewer arms; of one that did, the report would lose them.
    """
    if not held(folder):
        return None
    before = begun_in(folder)
    if before is None:
        return f"a run without {FILE}"
    if before.kind != begun.kind:
        return f"{'an' if before.kind == 'evaluation' else 'a'} {before.kind}"
    other = [name for name, value in before.settings.items() if begun.settings.get(name, value) != value]
    if (folder / "summary.json").exists():
        other += [name for name, old in before.lists.items() if any(x not in begun.lists.get(name, ()) for x in old)]
    return f"another {begun.kind} (other {', '.join(other)})" if other else None


def held(folder: Path) -> bool:
    """Whether anything was measured in a folder."""
    return any((folder / name).exists() for name in HELD)


def content(entry: Entry, data_root: Path = Path()) -> dict[str, Any]:
    """An entry with the content of its files in place of their names, and without its margin."""
    config = resolved(entry, data_root)
    values = config.model_dump(mode="json", exclude={"margin"})
    files = {field: [sha256_of(file) for file in look()] for field, look in files_of(config).items()}
    return {**values, "name": config.title, **{field: found for field, found in files.items() if found}}


def place(name: str) -> str:
    """A model or a folder by its full path, whatever folder it is named from; names of the hub as they are."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def begun_in(folder: Path) -> Begun | None:
    """What the run in a folder was begun for; None where it does not say so."""
    try:
        return read_json(folder / FILE, Begun)
    except DataError:
        return None
