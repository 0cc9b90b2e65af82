"""Where the losses lie: which labels, which clusters, which items. Descriptions beside the verdicts, without tests.

Groups are ordered by what they add to the loss of the suite, so that a large group that lost little may stand before a
small one that lost everything. Only groups that became worse are listed, and none of them is a verdict: with many
labels, some lose by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from keeptune.core.records import ItemRecord, LossGroup, LostItem, SuiteLosses
from keeptune.core.units import cut
from keeptune.retention.clusters import FloatArray
from keeptune.retention.pairs import PairedScores, Suite, pair

GROUPS = 6  # of labels and of clusters that are listed
SAMPLES = 3  # items that are shown
TEXT = 300  # characters of each text
FEWEST = 2  # items that make a group; where groups are smaller on average, there are none


def losses(suite: Suite, before: Sequence[ItemRecord], after: Sequence[ItemRecord]) -> SuiteLosses | None:
    """What became worse on one suite, by label and by cluster, with the items that lost most; None where nothing did.

    Args:
        suite: says whether changes are relative.
        before: items of the model before.
        after: the same items, after.
    """
    scores = pair(before, after)
    change = (scores.before - scores.after) if suite.relative else (scores.after - scores.before)  # positive is better
    if not (change < 0).any():
        return None
    answers = {item.id: item for item in after}
    worst = np.argsort(change, kind="stable")[:SAMPLES]
    return SuiteLosses(
        suite=suite.name,
        n=scores.n,
        lost=int(np.count_nonzero(change < 0)),
        gained=int(np.count_nonzero(change > 0)),
        relative=suite.relative,
        groups=(*_groups("label", suite, scores, change), *_groups("cluster", suite, scores, change)),
        samples=tuple(
            _sample(suite, before[i], answers[before[i].id], float(change[i])) for i in worst if change[i] < 0
        ),
    )


def _groups(by: Literal["label", "cluster"], suite: Suite, scores: PairedScores, change: FloatArray) -> list[LossGroup]:
    """The groups that lost most; none where the items do not share what they are grouped by."""
    names = scores.labels if by == "label" else scores.clusters
    if names is None:
        return []
    found, codes = np.unique(names.astype(str), return_inverse=True)
    counts = np.bincount(codes)
    if len(found) < 2 or FEWEST * len(found) > scores.n:
        return []
    unit = scores.weights * (scores.before if suite.relative else 1.0)
    sums, units = np.bincount(codes, change * scores.weights), np.bincount(codes, unit)
    lost, gained = np.bincount(codes, change < 0), np.bincount(codes, change > 0)
    return [
        LossGroup(
            by=by,
            name=cut(str(found[k]), TEXT),
            n=int(counts[k]),
            lost=int(lost[k]),
            gained=int(gained[k]),
            change=float(sums[k] / units[k]),
        )
        for k in np.argsort(sums, kind="stable")[:GROUPS]
        if sums[k] < 0 and counts[k] >= FEWEST and found[k]
    ]


def _sample(suite: Suite, before: ItemRecord, after: ItemRecord, change: float) -> LostItem:
    return LostItem(
        id=before.id,
        label=before.label,
        cluster=before.cluster,
        prompt=cut(before.prompt, TEXT),
        references=tuple(cut(text, TEXT) for text in before.references[:1]),
        before=cut(before.prediction, TEXT),
        after=cut(after.prediction, TEXT),
        change=change / before.score if suite.relative else change,
    )
