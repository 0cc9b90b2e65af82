"""Replay: rows of what the model could do before, among those that it learns.

Old rows make up a share of the *trained tokens* (Scialom et al. 2022, arXiv 2205.12393, mix them in by share of the
rows; but a step weighs tokens). 1 to 5 % of the original data held most of what was lost without (Scialom et al.;
Ibrahim et al. 2024, arXiv 2403.08763). The rows may be old data or made by the base itself: `inference.self_replay`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator
from typing_extensions import override

from keeptune.batching.mixture import passes
from keeptune.core.errors import DataError
from keeptune.core.units import parse_share
from keeptune.data.examples import Encoded
from keeptune.recommend.doses import DoseRange
from keeptune.train.remedies.base import NO_INPUTS, REMEDIES, Need, Remedy, RemedyConfig, RemedyInputs, Steps


def replayed_share(value: Any) -> float:
    """'5%', '0.05' or 0.05 -> 0.05.

    Raises:
        ValueError: not a share from 0 to below 1.
    """
    share = parse_share(value)
    if not 0 <= share < 1:
        raise ValueError("write a share of the trained tokens as 5% or 0.05, below 100%")
    return share


@REMEDIES.register("replay")
class ReplayConfig(RemedyConfig):
    """Train rows of the retained suites are replayed, and texts that the base wrote for suites that have none."""

    dose: ClassVar[str] = "share"
    searched: ClassVar[DoseRange] = DoseRange(low=0.02, high=0.7, share=True)
    needs: ClassVar[frozenset[Need]] = frozenset({Need.REHEARSAL_ROWS, Need.SELF_GENERATED_ROWS})

    share: Annotated[float, BeforeValidator(replayed_share, json_schema_input_type=float | str)] = 0.05
    """Share of the trained tokens that is replayed."""

    @override
    def build(self, inputs: RemedyInputs = NO_INPUTS) -> Replay:
        return Replay(inputs.old_rows(self.needs), self.share, self.name)

    @override
    def token_factor(self) -> float:
        return 1 / (1 - self.share)


class Replay(Remedy):
    """Adds rows of ``pools`` to every step so that they make up ``share`` of the trained tokens of the run.

    The rows of a step stay as they are and come first; replay comes on top. At every step the replayed tokens are
    within half a row of share / (1 - share) times the other tokens up to there: what is owed is carried from step to
    step, so that a share below one row per step is right on average.

    Several sources take turns, a row each: a source of short answers is not asked as often as one of long ones has
    tokens, which would cost most of the training and leave the long ones to a few rows. Rows of a source come shuffled,
    each once before any of them comes again. Which rows come and in which order is decided by the seed alone; the
    share and the other rows decide only when.

    Args:
        pools: rows per source.
        share: of the trained tokens, from 0 to below 1.
        name: what it is called where it is described.

    Raises:
        DataError: a source without rows, a row without trained tokens, or (from `steps`) a share so small that no row
            would come.
        ValueError: a share that is none.
    """

    def __init__(self, pools: Mapping[str, Sequence[Encoded]], share: float, name: str = "replay") -> None:
        self.name = name
        self.pools = dict(sorted(pools.items()))
        self.share = replayed_share(share)
        if share and not pools:
            raise DataError("nothing to replay", remedy="name what to retain, or let the base make the rows")
        for source, rows in self.pools.items():
            if not rows:
                raise DataError("nothing to replay", field=source, remedy="check its train part, or leave it out")
            if not all(row.completion_ids for row in rows):
                raise DataError("a replay row has no tokens to train on", field=source, remedy="leave out empty rows")

    @override
    def describe(self) -> str:
        return f"{self.name} {100 * self.share:g} %"

    @override
    def steps(self, steps: Steps, seed: int) -> Steps:
        """The rows of every step with replay rows behind them."""
        if not self.share:
            return steps
        rows = self._rows(seed)
        row = next(rows)
        learned = replayed = 0  # trained tokens so far
        mixed: list[list[Encoded]] = []
        for step in steps:
            mixed.append(list(step))
            learned += sum(each.trained for each in step)
            owed = self.share / (1 - self.share) * learned
            while replayed + row.trained / 2 <= owed:
                mixed[-1].append(row)
                replayed += row.trained
                row = next(rows)
        if not replayed:
            raise DataError(
                f"{100 * self.share:g} % of {learned} trained tokens are less than half a replay row of {row.trained}",
                field=self.name,
                remedy="replay a larger share, or train for more steps",
            )
        return mixed

    def _rows(self, seed: int) -> Iterator[Encoded]:
        """Rows of all sources without end."""
        streams = {name: passes(len(rows), seed, f"replay {name}") for name, rows in self.pools.items()}
        while True:
            for name, stream in streams.items():
                yield self.pools[name][next(stream)]
