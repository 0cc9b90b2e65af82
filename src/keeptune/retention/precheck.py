"""What can be said before anything is trained: the chance level, and whether the items can decide the margin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from keeptune.core.errors import DataError
from keeptune.retention.change import MIN_CLUSTERS
from keeptune.retention.pairs import Suite
from keeptune.retention.power import items_needed, smallest_decidable_margin
from keeptune.retention.sentences import margin_text, unit

FLIPS_GUESS = 0.1  # share of items of a binary score that change
SPREAD_GUESS = 0.15  # standard deviation of a paired difference of ROUGE-like scores


def chance_level(labels: Sequence[str], n_choices: int | Sequence[int]) -> float:
    """Score of guessing on choice items: the larger of 1/k and the majority share of the right answers.

    Args:
        labels: the right answer of every test item.
        n_choices: k, or the number of choices of every item where it varies (the mean of 1/k counts).
    """
    if not labels:
        raise DataError("no labels to compute the chance level from", remedy="give the suite at least one test item")
    counts = [n_choices] if isinstance(n_choices, int) else list(n_choices)
    uniform = sum(1 / k for k in counts) / len(counts)
    return max(uniform, max(Counter(labels).values()) / len(labels))


def margin_warning(suite: Suite, n: int, clusters: int | None = None) -> str | None:
    """A warning if `n` items can't decide the suite's margin even when nothing changes; else None.

    Binary scores are planned with a tenth of the items changing, other scores in [0, 1] with a
    standard deviation of 0.15 of the paired difference; clusters count as one item each, the worst case. The
    spread of bits per byte is too different between texts to be guessed: only their clusters are counted.
    """
    units = n if clusters is None else clusters
    if units < MIN_CLUSTERS and (suite.kind != "binary" or units < n):
        return (
            f"{suite.name}: {units} clusters can decide no margin; "
            f"at least {MIN_CLUSTERS} are needed for a verdict other than Inconclusive"
        )
    if suite.relative or suite.margin is None:
        return None
    variance = FLIPS_GUESS if suite.kind == "binary" else SPREAD_GUESS**2
    smallest = smallest_decidable_margin(units, variance)
    if smallest <= suite.margin:
        return None
    guess = f"{100 * FLIPS_GUESS:g} % of the answers change" if suite.kind == "binary" else "a spread of 15 pt"
    noun = "items" if units == n else "clusters"
    return (
        f"{suite.name}: {units:,} {noun} can decide a margin of {100 * smallest:.1f} {unit(suite)} at best"
        f" (power 0.8, if {guess}); {items_needed(suite.margin, variance):,} {noun}"
        f" would decide {margin_text(suite)}"
    )
