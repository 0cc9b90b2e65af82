"""Two models on the same items: the summary that `compare` prints, whoever answered them. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keeptune.compare.gate import gate
from keeptune.core.records import (
    OPEN,
    ArmSummary,
    Interval,
    ItemRecord,
    Manifest,
    SampleOutput,
    Score,
    SuiteVerdict,
    Summary,
    write_json,
    write_records,
)
from keeptune.retention.arm import Judged, judge_arm
from keeptune.retention.pairs import Suite
from keeptune.retention.scores import difference, score
from keeptune.retention.sequential import Stop

BEFORE, AFTER = "before", "after"
SHOWN = 8  # changed answers that the report shows side by side
SAME = "The two models hold equal weights: nothing was changed."
NO_TARGET = Score(metric="", mean=0.0, interval=Interval(low=0.0, high=0.0), n=0, clusters=0)


@dataclass(frozen=True)
class SuitePair:
    """One suite, and its items in the same order on both sides."""

    suite: Suite
    before: tuple[ItemRecord, ...]
    after: tuple[ItemRecord, ...]
    validation: tuple[ItemRecord, ...] = ()  # of the first model: whether a loss can be seen; else the judged items say
    stop: Stop | None = None  # where the verdict was settled, if the items were asked in blocks


@dataclass(frozen=True)
class Comparison:
    """The summary that report and console print, and the items behind it."""

    summary: Summary
    suites: tuple[SuitePair, ...]

    @property
    def verdicts(self) -> tuple[SuiteVerdict, ...]:
        """The verdicts on the retained suites; `keeptune.compare.gate.exit_code` turns them into an exit code."""
        return self.summary.arms[1].suites

    def save(self, run: Path) -> None:
        """Write summary.json and, laid out as a study's, the items that its verdicts can be recomputed from.

        Where suites were stopped, the looks before the last are not among them.
        """
        for each in self.suites:
            for arm, items in ((BEFORE, each.before), (AFTER, each.after)):
                write_records(run / "arms" / arm / "items" / f"{each.suite.name}.jsonl", items)
            write_records(run / "base" / "validation" / f"{each.suite.name}.jsonl", each.validation)
        write_json(run / "summary.json", self.summary)


def side_by_side(
    models: tuple[str, str],
    suites: Sequence[SuitePair],
    manifest: Manifest,
    *,
    target: str | None = None,
    wall_seconds: float = 0.0,
    same_weights: bool = False,
    notes: Sequence[str] = (),
) -> Comparison:
    """Judge what the second model lost against the first.

    Args:
        models: names of the two in tables.
        suites: what both have answered.
        manifest: how the answers came about.
        target: name of the suite that was trained for; it is reported and not judged.
        wall_seconds: time that it took.
        same_weights: both are the same model, by content.
        notes: what the reader has to know beside the verdicts.
    """
    judged = [each for each in suites if each.suite.name != target]
    base = {each.suite.name: each.validation for each in judged}
    suites_of_both = [(each.suite, each.before, each.after) for each in judged]
    stops = {each.suite.name: each.stop for each in judged if each.stop is not None}
    kept = judge_arm(suites_of_both, base, same_weights=same_weights, stops=stops)
    aim = next((each for each in suites if each.suite.name == target), None)
    gain = None if aim is None else difference(aim.after, aim.before)
    summary = Summary(
        title=" \u2192 ".join(models),
        model=models[0],
        target=target or "",
        metric=aim.suite.metric if aim else "",
        date=manifest.started[:10],
        wall_seconds=wall_seconds,
        seeds=(),
        arms=_arms(models, aim, gain, kept),
        recommendation=gate(AFTER, kept.suites, gain=gain, metric=aim.suite.metric if aim else ""),
        samples=tuple(_changed(suites)),
        undecided=tuple(v.sentence for v in kept.suites if v.verdict in OPEN),
        warnings=(*notes, *_fewer(judged), *((SAME,) if same_weights else ())),
        manifest=manifest,
    )
    return Comparison(summary, tuple(suites))


def _arms(
    models: tuple[str, str], aim: SuitePair | None, gain: tuple[float, Interval] | None, kept: Judged
) -> tuple[ArmSummary, ArmSummary]:
    first, second = NO_TARGET, NO_TARGET
    if aim is not None:
        first = score(aim.before, aim.suite.metric, aim.suite.kind)
        second = score(aim.after, aim.suite.metric, aim.suite.kind)
    return (
        ArmSummary(name=BEFORE, label=models[0], family="base", target=first),
        ArmSummary(
            name=AFTER,
            label=models[1],
            family="tuned",
            target=second,
            gain=gain[1] if gain else None,
            gain_mean=gain[0] if gain else None,
            suites=kept.suites,
            overall=kept.overall,
            losses=kept.losses,
        ),
    )


def _fewer(suites: Sequence[SuitePair]) -> tuple[str, ...]:
    """How many items settled the verdicts, where they were asked in blocks."""
    if all(each.stop is None for each in suites):
        return ()
    asked, left = sum(len(each.before) for each in suites), sum(each.stop.unasked for each in suites if each.stop)
    share = f"{100 * asked / (asked + left):.0f} %"
    return (f"Items were asked until the verdicts were settled: {asked:,} of {asked + left:,} ({share}).",)


def _changed(suites: Sequence[SuitePair]) -> list[SampleOutput]:
    """Generated answers whose score changed, the largest losses first."""
    found = []
    for each in suites:
        for a, b in zip(each.before, each.after, strict=True):
            if a.prediction is None or b.prediction is None or a.score == b.score:
                continue
            output = SampleOutput(
                id=a.id,
                prompt=a.prompt or "",
                references=a.references,
                outputs={BEFORE: a.prediction, AFTER: b.prediction},
                scores={BEFORE: a.score, AFTER: b.score},
            )
            found.append((b.score - a.score, output))
    found.sort(key=lambda entry: entry[0])
    return [output for _, output in found[:SHOWN]]
