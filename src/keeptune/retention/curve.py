"""How many training examples are enough: scores by size of the training data, paired on the same items.

Every size is one training, so what is said is about these runs: another seed may rise elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from keeptune.core.errors import DataError
from keeptune.retention.change import Change, change_of_scores
from keeptune.retention.pairs import PairedScores
from keeptune.retention.sentences import points

LEVEL = 0.95  # of the one-sided bounds
ASKED = (500, 1_000)  # "a few hundred examples": the sizes that people ask about

State = Literal["enough", "still rising", "cannot tell"]


@dataclass(frozen=True)
class Enough:
    """The answer of a learning curve."""

    size: int | None  # smallest size that is non-inferior to the largest; None where there is none
    state: State  # are 500 to 1,000 examples enough?
    sentence: str


def enough(
    sizes: Mapping[int, ArrayLike],
    indifference: float,
    clusters: ArrayLike | None = None,
) -> Enough:
    """The smallest training size whose score is non-inferior to the largest one's, and what that says of 500 to 1,000.

    Sizes are tested from the largest down and the first that fails ends the search (a fixed sequence, so that
    testing many sizes needs no correction). One passes where the one-sided lower bound of score(size) -
    score(largest), is above -indifference. Enough is said where a size up to 1,000
    passes; still rising where the largest size up to 1,000 does not, and its upper bound is below 0.

    Args:
        sizes: training examples -> item scores [N] in [0, 1], the same items in the same order for all.
        indifference: the difference that does not matter, a fraction.
        clusters: cluster of every item [N]; each item its own where left out.

    Raises:
        DataError: no size, or sizes with different numbers of items.
    """
    scores = {size: np.asarray(values, dtype=np.float64) for size, values in sorted(sizes.items())}
    if len({values.shape for values in scores.values()}) != 1:
        raise DataError(
            f"{len(scores)} training sizes whose scores have shapes {[v.shape for v in scores.values()]}",
            remedy="score every size on the same test items",
        )
    *smaller, largest = scores
    against = {size: change_of_scores(PairedScores.of(scores[largest], scores[size], clusters)) for size in smaller}
    found: int | None = None
    for size in reversed(smaller):
        if against[size].lower_bound(LEVEL) <= -indifference:
            break
        found = size
    return Enough(found, *_answer(against, largest, found, indifference))


def _answer(against: Mapping[int, Change], largest: int, found: int | None, indifference: float) -> tuple[State, str]:
    few, many = ASKED
    question = f"{few:,} to {many:,} examples"
    if found is not None and found <= many:
        text = f"{_against(against[found], found, largest)}, within the {points(indifference)} that do not matter"
        return "enough", f"{question} are enough in these runs: {text}."
    asked = max((size for size in against if size <= many), default=None)
    if asked is None or (asked < few and largest > many):
        measured = f"no size from {few:,} to {many:,} was measured beside {largest:,}"
        return "cannot tell", f"Whether {question} are enough cannot be told: {measured}."
    change = against[asked]
    rest = f" {found:,} are enough." if found is not None else ""
    if change.upper_bound(LEVEL) < 0:
        short = f"{question} are not enough in these runs"
        lead = short if largest > many else f"The score still rises at {largest:,} examples in these runs"
        return "still rising", f"{lead}: {_against(change, asked, largest)}.{rest}"
    text = f"{_against(change, asked, largest)}, neither within {points(indifference)} nor shown to be lower"
    return "cannot tell", f"Whether {question} are enough cannot be told: {text}.{rest}"


def _against(change: Change, size: int, largest: int) -> str:
    """'with 500 the score is −0.3 points against that with 4,000 (90 % −0.8 to +0.2)'."""
    low, high = change.interval(2 * LEVEL - 1)
    return (
        f"with {size:,} the score is {points(change.estimate, signed=True)} points against that with {largest:,}"
        f" ({100 * (2 * LEVEL - 1):g} % {points(low, signed=True)} to {points(high, signed=True)})"
    )
