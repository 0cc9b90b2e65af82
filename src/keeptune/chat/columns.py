"""What answers side by side: the base of a run, its best prompting and its arms; or models as they are named."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from keeptune.chat.demonstrations import NOTHING, Demonstrations, demonstrations
from keeptune.core.errors import KeeptuneError, ModelError, RunFolderError
from keeptune.core.records import ArmSummary, Record, Summary, read_json
from keeptune.core.units import CUT
from keeptune.recipe.begun import begun_in
from keeptune.study.weights import ADAPTER, arm_weights, trained_arms

SUMMARY = "summary.json"
BASE = "base model"


@dataclass(frozen=True)
class Place:
    """Weights, as they are loaded."""

    model: str  # hub name, folder or "builtin"
    adapter: Path | None = None
    precision: str = "auto"
    quantise: str = "none"


@dataclass(frozen=True)
class Column:
    """One of those that answer."""

    label: str
    source: str  # the run or model as it was named
    place: Place
    arm: ArmSummary | None = None  # what the run found out about it
    target: str = ""  # of the run
    recommended: bool = False
    behind: Demonstrations = NOTHING  # what stands in front of a prompt


class Suggestion(Record):
    """An item of the run that can be asked again."""

    of: str  # "orders: test items", "addition: lost by LoRA r=16"
    prompt: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Sources:
    """All that the command line named."""

    columns: tuple[Column, ...]
    suggestions: tuple[Suggestion, ...] = ()
    notes: tuple[str, ...] = ()


def read_sources(names: Sequence[str]) -> Sources:
    """The columns of runs and models, in the order in which they are named; a base that several runs share comes once.

    Args:
        names: folders of finished studies; models or adapters as folders, hub names or "builtin".

    Raises:
        DataError: a run that did not finish.
        RunFolderError: a comparison or an evaluation, or a run whose weights are all gone.
        ModelError: a folder that holds neither, or an adapter that does not name its base.
    """
    found = [_run(Path(name)) if _is_run(Path(name)) else _model(name) for name in names]
    columns: list[Column] = []
    for column in (each for source in found for each in source.columns):
        plain = column.arm is None or column.arm.prompting
        if not plain or not any((c.place, c.behind) == (column.place, column.behind) for c in columns):
            columns.append(column)
    return Sources(
        tuple(columns),
        tuple(each for source in found for each in source.suggestions),
        tuple(each for source in found for each in source.notes),
    )


def _is_run(folder: Path) -> bool:
    return (folder / SUMMARY).is_file() or begun_in(folder) is not None


def _model(name: str) -> Sources:
    """A model by itself, or an adapter on the base that it names."""
    from keeptune.models.adapters import is_adapter  # imports torch: a wrong run is refused before

    label = Path(name).name or name
    if not Path(name).is_dir() or not is_adapter(name):
        return Sources((Column(label, name, Place(name)),))
    try:
        base = json.loads((Path(name) / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError):
        base = None
    if not isinstance(base, str) or not base:
        raise ModelError(
            "the adapter does not name its base",
            where=name,
            remedy="write base_model_name_or_path into its adapter_config.json",
        )
    return Sources((Column(BASE, base, Place(base)), Column(label, name, Place(base, Path(name)))))


def _run(run: Path) -> Sources:
    """The columns of a finished study."""
    begun = begun_in(run)
    if begun is not None and begun.kind != "study":
        models = begun.settings.get("models") or [begun.settings.get("model", "MODEL")]
        raise RunFolderError(
            f"holds {'an' if begun.kind == 'evaluation' else 'a'} {begun.kind}, which keeps no weights",
            where=str(run),
            remedy=f"name what it asked: keeptune chat {' '.join(map(str, models))}",
        )
    summary = read_json(run / SUMMARY, Summary)
    config = summary.manifest.config
    base = Place(
        str(config["model"]),
        precision=str(config.get("precision", "auto")),
        quantise=str(config.get("quantise", "none")),
    )
    prompting = {arm.shots: arm for arm in summary.arms if arm.prompting}
    best = next((arm for arm in prompting.values() if arm.gain is None), None)  # the others' gain is over it
    trained, notes = _trained(run, summary, base)
    shots = (best.shots if best else None) or 0
    try:
        behind = demonstrations(run, config, shots)
    except KeeptuneError as error:
        notes.append(
            f"{run}: asked without demonstrations and system text, for the target's data are not here: {error}"
        )
        behind = None
    bare = NOTHING if behind is None else behind.without_shots()

    def column(label: str, place: Place, arm: ArmSummary | None, behind: Demonstrations) -> Column:
        chosen = arm is not None and arm.name == summary.recommendation.arm
        return Column(label, str(run), place, arm, summary.target, chosen, behind)

    columns = [column(BASE, base, prompting.get(0), bare)]
    if best is not None and shots and behind is not None:
        columns.append(column(best.label, base, best, behind))
    columns += [column(arm.label, place, arm, bare) for arm, place in trained]
    return Sources(tuple(columns), tuple(_suggestions(summary)), tuple(notes))


def _trained(run: Path, summary: Summary, base: Place) -> tuple[list[tuple[ArmSummary, Place]], list[str]]:
    """The arms whose weights are there, and what to say of the others.

    Raises:
        RunFolderError: there are arms that trained, and no weights of any.
    """
    there: list[tuple[ArmSummary, Place]] = []
    gone: list[str] = []
    trained = trained_arms(summary.arms)
    again = "run the study again: it keeps the weights of every arm that it tests"
    for arm in trained.values():
        weights = arm_weights(run, arm)
        if weights is None:
            gone.append(arm.label)
        elif weights.name == ADAPTER:
            there.append((arm, Place(base.model, weights, base.precision, base.quantise)))
        else:
            there.append((arm, Place(str(weights), precision=base.precision)))
    if trained and not there:
        raise RunFolderError("the weights of its arms are gone", where=str(run), remedy=again)
    return there, [f"{run}: the weights of {', '.join(gone)} are gone -> {again}"] if gone else []


def _suggestions(summary: Summary) -> Iterator[Suggestion]:
    """Test items of the target, and items that an arm lost; of each prompt that the records hold whole."""
    items: Iterable[tuple[str, str, tuple[str, ...]]] = [
        (f"{summary.target}: test items", each.prompt, each.references) for each in summary.samples
    ]
    lost = [
        (f"{losses.suite}: lost by {arm.label}", each.prompt, each.references)
        for arm in summary.arms
        for losses in arm.losses
        for each in losses.samples
    ]
    seen: set[str] = set()
    for of, prompt, references in (*items, *lost):
        if prompt and not prompt.endswith(CUT) and prompt not in seen:
            seen.add(prompt)
            yield Suggestion(of=of, prompt=prompt, references=references)
