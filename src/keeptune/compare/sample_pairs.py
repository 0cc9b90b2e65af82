"""Two logs of one task -> the same items, answered before and after.

Items are joined on the document's hash. Prompts and targets must be the same on both sides (their hashes say
so): two runs that asked different questions cannot show that one model lost something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from keeptune.compare.lm_eval import SampleLog, SampleRow
from keeptune.compare.logs import find_logs, stated_task
from keeptune.compare.side_by_side import SuitePair
from keeptune.core.errors import ConfigError, DataError
from keeptune.core.records import ItemRecord
from keeptune.retention.pairs import Suite
from keeptune.retention.precheck import chance_level

Key = tuple[str, int]  # document hash, and which of its copies

HIGHER = ":higher"  # behind a metric's name on the command line: more is better
# Scores of lm-eval's own tasks that are better when higher; what is not here may be an error or a loss.
RISING = frozenset(
    "acc acc_norm acc_bytes acc_mutual_info acc_norm_bytes exact_match em f1 mcc likelihood contains pass@1 pass_at_1"
    " prompt_level_strict_acc prompt_level_loose_acc inst_level_strict_acc inst_level_loose_acc bleu chrf rouge1 rouge2"
    " rougeL rougeLsum mc1 mc2 relaxed_accuracy math_verify".split()
)
MARGIN_BITS = 0.01  # relative change of bits per byte


def match(before: str, after: str) -> list[tuple[str, Path, Path]]:
    """(task, log before, log after) for every task; two single files are a pair whatever their names.

    Raises:
        DataError: no logs, or a task that only one side has.
    """
    first, second = find_logs(before), find_logs(after)
    if len(first) == len(second) == 1:
        (a,), (b,) = first.values(), second.values()
        stated = [task for task in (stated_task(a), stated_task(b)) if task is not None]
        if len(set(stated)) < 2:
            return [(stated[0] if stated else a.stem, a, b)]
    for here, there, name in ((first, second, before), (second, first, after)):
        alone = sorted(here.keys() - there.keys())
        if alone:
            raise DataError(
                f"only this side has {', '.join(alone[:5])}",
                path=name,
                remedy="run the missing task on the other model, or name the logs of the shared tasks alone",
            )
    return [(task, first[task], second[task]) for task in sorted(first)]


def join(
    before: SampleLog,
    after: SampleLog,
    *,
    metrics: Sequence[str],
    margin: float | None,
    cluster: str | None,
) -> SuitePair:
    """Pair the items of two logs under one metric and one filter.

    Raises:
        ConfigError: the metric must be chosen, or is not there.
        DataError: the logs hold other items, prompts or targets.
    """
    metric, chosen = choose(before, after, metrics)
    first, second = _keyed(before, chosen), _keyed(after, chosen)
    _check_same(before, after, first, second)
    bits = metric == "bits_per_byte"
    binary = all(row.scores[metric].score in (0, 1) for side in (first, second) for row in side.values())
    suite = Suite(
        name=before.task,
        metric=_label(metric, chosen),
        kind="bits_per_byte" if bits else "binary" if binary else "mean",
        margin=MARGIN_BITS if margin is None and bits else margin,
        chance=_chance(list(first.values())) if binary and not bits else None,
    )
    return SuitePair(
        suite,
        tuple(_item(before, key, row, metric, cluster) for key, row in first.items()),
        tuple(_item(after, key, second[key], metric, cluster) for key in first),
    )


def choose(before: SampleLog, after: SampleLog, wanted: Sequence[str]) -> tuple[str, str]:
    """(metric, filter): the first of `wanted` that both logs have, or the only one there is.

    Raises:
        ConfigError: several and none wanted, or none of the wanted.
    """
    stated = {name.removesuffix(HIGHER) for name in wanted if name.endswith(HIGHER)}
    usable = sorted(_usable(before, stated) & _usable(after, stated))
    for name in [each.removesuffix(HIGHER) for each in wanted] or [""]:
        found = [pair for pair in usable if name in ("", pair[0], _label(*pair))]
        if len(found) == 1:
            return found[0]
        if found:
            break
    labels = [_label(*pair) for pair in usable]
    unsure = sorted((_usable(before, None) & _usable(after, None)) - set(usable))
    if unsure and not usable:
        shown = ", ".join(_label(*pair) for pair in unsure)
        raise ConfigError(
            f"task '{before.task}': nothing says whether a higher {shown} is better",
            where=str(before.path),
            remedy=f"say so: --metric {_label(*unsure[0])}{HIGHER}, or copy lm-eval's results_*.json beside the log",
        )
    corpus = sorted({name for row in before.rows for name in row.other})
    left_out = f"; no score per item: {', '.join(corpus)}" if corpus else ""
    raise ConfigError(
        f"task '{before.task}': choose a metric; there are {', '.join(labels) or 'none'}{left_out}",
        where=str(before.path),
        remedy=f"--metric {labels[0]}" if labels else "log a metric that scores every item in [0, 1], such as acc",
    )


def _label(metric: str, name: str) -> str:
    """The metric as lm-eval's results name it, without the filter that changes nothing."""
    return metric if name == "none" else f"{metric},{name}"


def _usable(log: SampleLog, stated: set[str] | None) -> set[tuple[str, str]]:
    """(metric, filter) pairs with a score in [0, 1], higher is better, on every item; or bits per byte.

    That higher is better is said by the run's results, by ``stated``, or by the metric's name where it is one of
    lm-eval's own scores; with ``stated`` None everything that is not known to be worse is taken.
    """

    def rises(metric: str, name: str) -> bool:
        known = log.higher_is_better.get(metric)
        if known is not None:
            return known
        return stated is None or metric in RISING or bool({metric, _label(metric, name)} & stated)

    rows_of = Counter(row.filter for row in log.rows)
    good: Counter[tuple[str, str]] = Counter()
    for row in log.rows:
        for metric, value in row.scores.items():
            if metric == "bits_per_byte" or (0 <= value.score <= 1 and rises(metric, row.filter)):
                good[metric, row.filter] += 1
    return {pair for pair, count in good.items() if count == rows_of[pair[1]]}


def _keyed(log: SampleLog, name: str) -> dict[Key, SampleRow]:
    """Rows of one filter by document hash; equal documents are told apart by their order."""
    copies: Counter[str] = Counter()
    keyed: dict[Key, SampleRow] = {}
    for row in sorted((row for row in log.rows if row.filter == name), key=lambda row: row.doc_id):
        keyed[row.doc_hash, copies[row.doc_hash]] = row
        copies[row.doc_hash] += 1
    return keyed


def _check_same(
    before: SampleLog, after: SampleLog, first: Mapping[Key, SampleRow], second: Mapping[Key, SampleRow]
) -> None:
    for here, there, log in ((first, second, after), (second, first, before)):
        missing = [row for key, row in here.items() if key not in there]
        if missing:
            raise DataError(
                f"task '{log.task}': {len(missing)} of {len(here)} items of the other log are not here,"
                f" document {missing[0].doc_id} first",
                path=log.path,
                remedy="run both models with the same version of the tool, of the task, and the same --limit",
            )
    for name, remedy in (
        ("prompt_hash", "use the same number of shots, seed, chat template and system prompt on both sides"),
        ("target_hash", "use the same version of the task on both sides"),
    ):
        changed = [key for key in first if getattr(first[key], name) != getattr(second[key], name)]
        if changed:
            row = second[changed[0]]
            raise DataError(
                f"differs from {before.path}:{first[changed[0]].line} and on {len(changed)} of {len(first)} items",
                path=after.path,
                line=row.line,
                field=name,
                remedy=remedy,
            )


def _chance(rows: Sequence[SampleRow]) -> float | None:
    """Score of guessing: the larger of 1/k and the majority share; None where all targets are the same (a dummy)."""
    labels = [row.target for row in rows]
    if len(set(labels)) < 2:
        return None
    choices = [row.choices for row in rows]
    return chance_level(labels, choices if all(choices) else len(labels))


def _item(log: SampleLog, key: Key, row: SampleRow, metric: str, cluster: str | None) -> ItemRecord:
    document, copy = key
    if cluster is not None and cluster not in row.doc:
        raise DataError(
            "not in the document",
            path=log.path,
            line=row.line,
            field=cluster,
            remedy=f"--cluster is one of: {', '.join(sorted(row.doc)) or 'none, the log holds no documents'}",
        )
    ident = document[:16] + (f"-{copy + 1}" if copy else "")
    return ItemRecord(
        suite=log.task,
        id=ident,
        cluster=document[:16] if cluster is None else str(row.doc[cluster]),
        score=row.scores[metric].score,
        weight=row.scores[metric].weight,
        label=row.target if row.choices else None,
        prediction=row.prediction,
        prompt=row.prompt,
        references=(row.target,),
    )
