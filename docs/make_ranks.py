"""Write what two runs of recipes/rank.yaml say about LoRA's rank into docs/results/rank.md.

    python docs/make_ranks.py RUN ATTENTION_RUN   # on every linear layer, and on attention alone

Every rank is compared with the default rank on the same test items, by the method of the verdicts. The intervals of
95 % are over items, about these very trainings, and are not adjusted for their number.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from keeptune.core.records import ArmSummary, ItemRecord, Summary, read_json, read_records
from keeptune.evaluate.metrics.base import METRICS, Answer
from keeptune.report.formatting import score_text
from keeptune.retention.scores import difference
from results_tables import table

PAGE = Path(__file__).parent / "results" / "rank.md"
BEGIN, END = "<!-- ranks: written by docs/make_ranks.py -->\n", "<!-- end of ranks -->\n"
DEFAULT = 16
# BLEU of GPT-2 medium on E2E NLG, rank by rank, LoRA on queries and values (Hu et al. 2022, table 18).
PAPER = {1: 68.72, 2: 69.17, 4: 70.38, 8: 69.57, 16: 69.61, 64: 69.24, 256: 68.92}


def ranks(run: Path, summary: Summary) -> Iterator[tuple[int, ArmSummary, list[ItemRecord]]]:
    """(rank, arm, its test items), in the order of the recipe."""
    for arm in summary.arms:
        if arm.parts is not None and arm.parts.method == "lora":
            items = run / "arms" / arm.name / "items" / f"{summary.target}.jsonl"
            yield int(arm.parts.dose or 0), arm, list(read_records(items, ItemRecord))


def bleu(items: Sequence[ItemRecord]) -> float:
    """Corpus BLEU of the answers."""
    answers = [Answer(one.id, one.prediction or "", one.references) for one in items]
    return fmean(METRICS["bleu"]().score(answers).values)


def points(value: float) -> str:
    """A difference of scores in points."""
    return f"{100 * value:+.1f}"


def lines(run: Path) -> Iterator[list[str]]:
    """The rows of one placement."""
    found = list(ranks(run, read_json(run / "summary.json", Summary)))
    default = next(items for rank, _, items in found if rank == DEFAULT)
    for rank, arm, items in found:
        change, interval = difference(items, default)
        against = f"{points(change)} ({points(interval.low)} to {points(interval.high)})"
        yield [
            str(rank),
            f"{100 * arm.costs.trainable_parameters / arm.costs.total_parameters:.1f} %",
            score_text(arm.target),
            against if rank != DEFAULT else "",
            f"{100 * bleu(items):.1f}",
            f"{PAPER[rank]:.1f}",
        ]


def step(run: Path) -> str:
    """The rank that parts low scores from high ones most clearly, in words."""
    scores = {rank: 100 * arm.target.mean for rank, arm, _ in ranks(run, read_json(run / "summary.json", Summary))}
    parted = []
    for rank in sorted(scores)[1:]:
        lower, higher = ([scores[r] for r in scores if (r >= rank) == above] for above in (False, True))
        parted.append((min(higher) - max(lower), rank, lower, higher))
    gap, rank, lower, higher = max(parted)
    if gap <= 0:
        return f"No rank parts the scores: they lie between {min(scores.values()):.1f} and {max(scores.values()):.1f}."
    return (
        f"The clearest step is at rank {rank}: {min(lower):.1f} to {max(lower):.1f} below it,"
        f" {min(higher):.1f} to {max(higher):.1f} from it on."
    )


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    head = ["rank", "trainable", "ROUGE-L", f"against rank {DEFAULT}", "BLEU", "BLEU in the paper"]
    titles = ("On every linear layer", "On the four linear layers of attention")
    parts = []
    for title, run in zip(titles, map(Path, arguments), strict=True):
        parts += [f"{title}. {step(run)}", table(head, lines(run))]
    body = "\n\n".join(parts)
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{body}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
