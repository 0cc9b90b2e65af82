"""What two models are asked of a suite: all of its items, or as many as settle its verdict. No torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from keeptune.core.records import ItemRecord
from keeptune.data.examples import Example
from keeptune.retention.pairs import Suite, pair
from keeptune.retention.sequential import LOOKS, Stop, course, settled
from keeptune.retention.skill import skill_of

Items = tuple[ItemRecord, ...]
Ask = Callable[[Collection[str]], "Answered"]
"""Asks both models the items with these ids."""


@dataclass(frozen=True)
class Answered:
    """Items that both models were asked, in the same order, and how many one of them was asked alone."""

    before: Items
    after: Items
    alone: int = 0

    @classmethod
    def of(cls, before: Items, after: Items) -> Answered:
        """Keep what both were asked: a tokenizer may not know the characters of an item that the other one knows."""
        both = {item.id for item in before} & {item.id for item in after}
        left = [tuple(item for item in side if item.id in both) for side in (before, after)]
        return cls(left[0], left[1], len(before) + len(after) - 2 * len(both))

    def and_then(self, more: Answered) -> Answered:
        """With the items of another block, in the order of their ids."""
        before, after = (
            tuple(sorted(items, key=lambda item: item.id))
            for items in (self.before + more.before, self.after + more.after)
        )
        return Answered(before, after, self.alone + more.alone)


def ask_until_settled(
    suite: Suite,
    items: Sequence[Example | ItemRecord],
    ask: Ask,
    validation: Sequence[ItemRecord],
    suites: int,
    *,
    whole: bool = False,
    same_weights: bool = False,
) -> tuple[Answered, Stop]:
    """Ask block after block of a suite's items until its verdict is settled (`retention.sequential`).

    One block settles what no item decides: that the base's validation items show no skill, and equal weights. All items
    are one block where the base has no validation items: then the judged ones say what it can do.

    Args:
        suite: what is judged.
        items: all that can be asked, with their clusters.
        ask: asks both models.
        validation: the base's validation items.
        suites: number of suites that are judged together.
        whole: scores of single items mean nothing: all are one block.
        same_weights: both are the same model.
    """
    looks = 1 if whole or not validation else LOOKS
    planned = course(suite.name, [item.cluster for item in items], suites, looks)
    skill = skill_of(suite, validation) if validation else None
    seen = Answered((), ())
    for look, block in enumerate(planned.blocks):
        seen = seen.and_then(ask([items[position].id for position in block]))
        stop = planned.stop(look)
        if same_weights or skill is None or not skill.measurable:
            break
        if settled(skill.suite, pair(seen.before, seen.after), stop):
            break
    return seen, stop
