"""Write what two runs of recipes/rank.yaml say about LoRA's rank into docs/results/rank.md.

    python docs/make_ranks.py RUN ATTENTION_RUN   # on every linear layer, and on attention alone

Every rank is compared with the default rank on the same test items: the difference of the seeds' mean scores, with a
95 % interval over seeds and items as `keeptune.retention.scores.over_seeds` makes it, and one over items alone, about
these very trainings. The intervals are not adjusted for their number.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from keeptune.core.records import ArmSummary, Estimate, ItemRecord, Summary, read_json, read_records
from keeptune.evaluate.metrics.base import METRICS, Answer
from keeptune.retention.scores import difference, over_seeds
from results_tables import table

PAGE = Path(__file__).parent / "results" / "rank.md"
BEGIN, END = "<!-- ranks: written by docs/make_ranks.py -->\n", "<!-- end of ranks -->\n"
DEFAULT = 16
Run = list[ItemRecord]  # one seed's test items


def ranks(run: Path, summary: Summary) -> Iterator[tuple[int, ArmSummary, list[Run]]]:
    """(rank, arm, the test items of every seed), in the order of the recipe."""
    for arm in summary.arms:
        if arm.parts is None or arm.parts.method != "lora":
            continue
        folders = [run / "arms" / arm.name.replace(f"-seed{arm.seed}", f"-seed{seed}") for seed in seeds_of(summary)]
        yield (
            int(arm.parts.dose or 0),
            arm,
            [list(read_records(each / "items" / f"{summary.target}.jsonl", ItemRecord)) for each in folders],
        )


def seeds_of(summary: Summary) -> Sequence[int]:
    """The seeds of a study."""
    return summary.manifest.seeds


def mean_of(runs: Sequence[Run]) -> Run:
    """Items whose scores are the means over seeds."""
    scores = np.array([[item.score for item in run] for run in runs]).mean(axis=0)
    return [item.model_copy(update={"score": float(score)}) for item, score in zip(runs[0], scores, strict=True)]


def paired(runs: Sequence[Run], against: Sequence[Run]) -> Estimate | None:
    """The gain of one rank over another, seed against seed: over seeds and items."""
    base = mean_of(against)
    shifted = []
    for run, other in zip(runs, against, strict=True):
        gains = (a.score - b.score + c.score for a, b, c in zip(run, other, base, strict=True))
        shifted.append([item.model_copy(update={"score": gain}) for item, gain in zip(run, gains, strict=True)])
    return over_seeds(shifted, base)


def corpus(name: str, run: Run) -> float:
    """A metric of the whole set of answers."""
    return fmean(METRICS[name]().score([Answer(one.id, one.prediction or "", one.references) for one in run]).values)


def points(value: float) -> str:
    """A difference of scores in points."""
    return f"{100 * value:+.1f}"


def lines(run: Path) -> Iterator[list[str]]:
    """The rows of one placement."""
    found = list(ranks(run, read_json(run / "summary.json", Summary)))
    default = next(runs for rank, _, runs in found if rank == DEFAULT)
    for rank, arm, runs in found:
        scores = [fmean(item.score for item in each) for each in runs]
        bleu = [corpus("bleu", each) for each in runs]
        against = ["", ""]
        if rank != DEFAULT:
            gain, (mean, items) = paired(runs, default), difference(mean_of(runs), mean_of(default))
            assert gain is not None
            against = [
                f"{points(gain.mean)} ({points(gain.interval.low)} to {points(gain.interval.high)})",
                f"{points(mean)} ({points(items.low)} to {points(items.high)})",
            ]
        yield [
            str(rank),
            f"{100 * arm.costs.trainable_parameters / arm.costs.total_parameters:.1f} %",
            f"{100 * fmean(scores):.1f} ({100 * min(scores):.1f} to {100 * max(scores):.1f})",
            *against,
            f"{100 * fmean(bleu):.1f}",
            f"{arm.lr:g}",
        ]


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    head = [
        "rank",
        "trainable",
        "ROUGE-L, mean of the seeds (range)",
        f"against rank {DEFAULT}, over seeds and items",
        "over items",
        "BLEU",
        "rate",
    ]
    titles = ("On every linear layer", "On the four linear layers of attention")
    body = "\n\n".join(
        f"{title}:\n\n{table(head, lines(Path(run)))}" for title, run in zip(titles, arguments, strict=True)
    )
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{body}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
