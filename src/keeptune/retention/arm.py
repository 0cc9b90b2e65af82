"""All that is said of the retained suites of one arm: verdicts, the test over all of them, and where the losses lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keeptune.core.records import ItemRecord, Overall, SuiteLosses, SuiteVerdict
from keeptune.retention.losses import losses
from keeptune.retention.overall import overall
from keeptune.retention.pairs import Suite, pair
from keeptune.retention.sequential import Stop
from keeptune.retention.verdict import judge

Items = Sequence[ItemRecord]


@dataclass(frozen=True)
class Judged:
    """The fields of an `ArmSummary` that concern what was kept."""

    suites: tuple[SuiteVerdict, ...] = ()
    overall: Overall | None = None
    losses: tuple[SuiteLosses, ...] = ()


def judge_arm(
    suites: Sequence[tuple[Suite, Items, Items]],
    base: Mapping[str, Items] | None = None,
    *,
    same_weights: bool = False,
    stops: Mapping[str, Stop] | None = None,
) -> Judged:
    """Judge one arm.

    Args:
        suites: every suite with its items before and after.
        base: validation items of the base by suite, as for `judge`.
        same_weights: both sides are the same model, by content.
        stops: where suites ended that were asked in blocks, as for `judge`; there is no test over all suites then, for
            what was seen of suites that stopped is not to be averaged.

    Example:
        >>> from keeptune import ItemRecord, Suite
        >>> def item(number, score):
        ...     return ItemRecord(suite="addition", id=f"{number}", cluster=f"{number}", score=score)
        >>> before = [item(number, 1.0 if number < 900 else 0.0) for number in range(1000)]
        >>> after = [item(number, 1.0 if number < 800 else 0.0) for number in range(1000)]
        >>> addition, prose = (Suite(name, "exact_match", "binary", margin=0.02) for name in ("addition", "prose"))
        >>> kept = judge_arm([(addition, before, after), (prose, before, before)])
        >>> [verdict.verdict for verdict in kept.suites]
        ['Harmed', 'Retained']
        >>> kept.losses[0].lost
        100
    """
    pairs = [(suite, pair(before, after)) for suite, before, after in suites]
    verdicts = judge(pairs, base, same_weights=same_weights, stops=stops)
    found = [
        losses(suite, before, after)
        for (suite, before, after), verdict in zip(suites, verdicts, strict=True)
        if verdict.verdict != "Not measurable" and not same_weights
    ]
    return Judged(
        suites=verdicts,
        overall=None if same_weights or stops else overall(pairs, verdicts),
        losses=tuple(each for each in found if each is not None),
    )
