"""Laws about what is learned: 2 (sequences), 6 (ranks), 8 (demonstrations), 9 (wordings), 10 (mixtures).

Thresholds were written before any result. Method against method is a question about seeds: such a number is one value
per seed, with Student's t over them.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence

from keeptune.core.records import ArmSummary, ItemRecord, SequenceSummary
from keeptune.core.units import human_count, points
from keeptune.retention.scores import difference
from outcomes import LEVEL, Bounds, Law, differences, part, seeds_in_words, undecided

REPLAYED_BWT = -0.02  # law 2
NEARLY_ALL = 0.8  # law 2: of the first task, lost with the second; nothing is left that could grow
TOKEN_ERROR = 0.01  # law 8
GAP_LEFT = 0.5  # law 9
MARGIN = 0.03  # law 10

BySeed = Mapping[int, float]


def law_2(sequences: Sequence[SequenceSummary]) -> Law:
    """Sequence reversal: backward transfer over a growing number of tasks, without and with replay."""
    by_arm: dict[str, dict[int, SequenceSummary]] = {}
    for each in sequences:
        by_arm.setdefault(each.arm, {})[each.seed] = each
    plain, replayed = by_arm["lora"], next(found for arm, found in by_arm.items() if arm.startswith("lora+replay"))
    transfers = {arm: [_transfers(each.matrix) for each in seeds.values()] for arm, seeds in by_arm.items()}
    growth = [abs(found[-1]) - abs(found[0]) for found in transfers["lora"]]
    had = [each.matrix[1][0] for each in plain.values()]  # score on the first task when it was learned
    gone = [abs(found[0]) / score for found, score in zip(transfers["lora"], had, strict=True) if score > 0]
    ends = [each.backward_transfer.mean for each in replayed.values()]
    shown = "; ".join(
        f"{arm} {', '.join(points(statistics.fmean(stage), signed=True) for stage in zip(*found, strict=True))}"
        for arm, found in transfers.items()
    )
    tasks = next(iter(plain.values())).order
    worse = part(
        "backward transfer gets worse with every task",
        f"|BWT| after {len(tasks)} tasks minus |BWT| after 2, LoRA, by seed",
        Bounds.over_seeds(growth),
        at_least=0.0,
        found=f"backward transfer after 2 to {len(tasks)} tasks, mean of the seeds: {shown}",
    )
    if gone and statistics.fmean(gone) > NEARLY_ALL:
        left = f"{100 * statistics.fmean(gone):.0f} % of the first task was gone after the second"
        worse = undecided(worse, f"{left}: there was next to nothing left to lose ({worse.found})")
    brought_back = part(
        "replay of the tasks before brings it back",
        "BWT of LoRA with replay, by seed",
        Bounds.over_seeds(ends),
        at_least=REPLAYED_BWT,
    )
    lost = Bounds.over_seeds([each.backward_transfer.mean for each in plain.values()])
    if lost is None or lost.high >= REPLAYED_BWT:
        brought_back = undecided(brought_back, "without replay no loss is shown that could be brought back")
    return Law(
        number=2,
        title="Sequence reversal",
        statement="With one LoRA merged after every task, what earlier tasks lose grows with the number of tasks;"
        " replay brings backward transfer to −2 points or better.",
        parts=(
            worse,
            brought_back,
        ),
        rests_on=f"02-sequence.yaml; {', '.join(tasks)}; {seeds_in_words(plain)};"
        f" {sum(next(iter(plain.values())).n)} test items",
    )


def law_6(few: Mapping[str, BySeed], more: Mapping[str, BySeed]) -> Law:
    """Validation losses by configuration and seed: ranks '1' to '64', 'attention'; the same of more rows."""
    noise, noise_more = _seed_sd(few), _seed_sd(more)
    means = ", ".join(f"{name}: {statistics.fmean(losses.values()):.4f}" for name, losses in few.items())
    return Law(
        number=6,
        title="Rank plateau",
        statement="On few rows the validation loss gets better from rank 1 to 8 by more than the spread of seeds and"
        " then changes by less than it up to rank 64; with enough rows low ranks no longer suffice; adapting all linear"
        " layers is no worse than attention alone with as many parameters.",
        parts=(
            part(
                "rank 8 is better than rank 1",
                "loss at rank 1 minus loss at rank 8, in standard deviations of seeds",
                _scaled(few["1"], few["8"], noise),
                at_least=1.0,
                unit="number",
                found=f"mean loss in nats by rank: {means}; standard deviation over seeds {noise:.4f}",
            ),
            part(
                "rank 64 is like rank 8",
                "loss at rank 8 minus loss at rank 64, in standard deviations of seeds",
                _scaled(few["8"], few["64"], noise),
                at_least=-1.0,
                at_most=1.0,
                unit="number",
            ),
            part(
                "with more rows rank 8 is no longer like rank 64",
                "loss at rank 8 minus loss at rank 64, in standard deviations of seeds",
                _scaled(more["8"], more["64"], noise_more),
                at_least=1.0,
                unit="number",
            ),
            part(
                "all linear layers are no worse than attention alone",
                "loss of attention alone (rank 20) minus that of all layers (rank 8), in standard deviations of seeds",
                _scaled(few["attention"], few["8"], noise),
                at_least=0.0,
                unit="number",
            ),
        ),
        rests_on=f"06-rank.yaml (600 rows, {seeds_in_words(few['8'])}) and 06-rank-more-rows.yaml (3,200 rows,"
        f" {seeds_in_words(more['8'])}); one rate for all ranks",
    )


def law_8(arms: Sequence[ArmSummary], items: Mapping[int, Sequence[ItemRecord]], expected: BySeed) -> Law:
    """Prompting with k demonstrations: its tokens, its scores, and fine-tuning beside it.

    Args:
        arms: rows of the study's table.
        items: number of shots -> test items (means over the draws).
        expected: number of shots -> mean tokens of the bare prompts and of the demonstrations drawn, counted apart.
    """
    prompting = {arm.shots: arm for arm in arms if arm.family == "prompt" and arm.shots is not None}
    errors = {k: _token_error(prompting[k], expected[k]) for k in sorted(prompting) if k in expected}
    level = 1 - (1 - LEVEL) / max(len(items) - 1, 1)  # Bonferroni: the worst of several steps is looked at
    steps = [(a, b, *difference(items[b], items[a], level)) for a, b in itertools.pairwise(sorted(items))]
    worst = min(steps, key=lambda step: step[3].high)
    scores = ", ".join(f"{k}: {points(arm.target.mean)}" for k, arm in sorted(prompting.items()))
    nothing = max(arm.target.mean for arm in prompting.values()) == 0
    hurt = part(
        "more demonstrations do not hurt",
        f"largest loss of score between numbers of shots ({worst[0]} to {worst[1]})",
        Bounds(worst[2], worst[3].low, worst[3].high, worst[3].low, worst[3].high),
        at_least=0.0,
        found=f"target score by shots: {scores}",
    )
    if nothing:
        hurt = undecided(hurt, "the base scores 0 with any number of demonstrations, so nothing can go down")
    elif hurt.outcome != "fails":  # "non-decreasing within the interval": no step down is shown
        hurt = hurt.model_copy(update={"outcome": "holds"})
    tuned = [arm for arm in arms if arm.family != "prompt" and arm.arm in ("full", "lora")]
    beaten = [
        part(
            f"{arm.label} beats the best prompting",
            "target score minus the best prompting's, by item (95 %)",
            _by_item(arm),
            at_least=0.0,
            found=_pays(arm),
        )
        for arm in tuned
    ]
    return Law(
        number=8,
        title="What demonstrations cost and reach",
        statement="Tokens per request are those of the prompt plus k demonstrations, exactly; more demonstrations do"
        " not hurt; fine-tuning a small model beats the best k; the break-even number of requests is reported.",
        parts=(
            part(
                "a demonstration costs its tokens",
                "largest relative error of tokens per request against tokens counted apart",
                Bounds.exactly(max(errors.values())) if errors else None,
                at_most=TOKEN_ERROR,
                unit="number",
                found="tokens per request by shots: "
                + ", ".join(f"{k}: {prompting[k].costs.tokens_per_request:.1f}" for k in errors),
            ),
            hurt,
            *beaten,
        ),
        rests_on=f"01-frontier.yaml; {len(next(iter(items.values())))} test items, demonstrations drawn three times,"
        " seed 0 of the tuned arms",
    )


def _by_item(arm: ArmSummary) -> Bounds | None:
    """The gain over the best prompting with its 95 % interval over items."""
    if arm.gain is None or arm.gain_mean is None:
        return None
    return Bounds(arm.gain_mean, arm.gain.low, arm.gain.high, arm.gain.low, arm.gain.high)


def law_9(one: Mapping[int, tuple[float, float]], eight: Mapping[int, tuple[float, float]]) -> Law:
    """Seed -> (score in the trained wordings, score in unseen ones), trained on one wording and on eight."""
    seeds = sorted(one.keys() & eight.keys())
    gaps = {name: [found[seed][0] - found[seed][1] for seed in seeds] for name, found in (("1", one), ("8", eight))}
    left = [GAP_LEFT * a - b for a, b in zip(gaps["1"], gaps["8"], strict=True)]
    shown = "; ".join(
        f"{name}: seen {points(statistics.fmean(found[s][0] for s in seeds))},"
        f" unseen {points(statistics.fmean(found[s][1] for s in seeds))}"
        for name, found in (("one wording", one), ("eight", eight))
    )
    halved = part(
        "eight wordings halve the gap",
        "half the gap of one wording minus the gap of eight, by seed",
        Bounds.over_seeds(left),
        at_least=0.0,
        found=shown,
    )
    gap = Bounds.over_seeds(gaps["1"])
    if gap is None or gap.low <= 0:
        halved = undecided(halved, f"one wording leaves no gap that could be halved ({shown})")
    return Law(
        number=9,
        title="Wordings",
        statement="Training on eight wordings instead of one, at equal steps, halves the gap between wordings that were"
        " trained and wordings that were not, and scores higher in the latter.",
        parts=(
            halved,
            part(
                "unseen wordings score higher",
                "score in unseen wordings, eight minus one, by seed",
                differences([eight[seed][1] for seed in seeds], [one[seed][1] for seed in seeds]),
                at_least=0.0,
            ),
        ),
        rests_on=f"09-one-wording.yaml, 09-eight-wordings.yaml; {seeds_in_words(seeds)}; four unseen wordings",
    )


def law_10(
    capped: Mapping[str, BySeed],
    uncapped: Mapping[str, BySeed],
    alone: Mapping[str, BySeed],
    held_out: Mapping[str, tuple[float, BySeed]],
    smallest: str,
) -> Law:
    """Task -> seed -> test score, of both mixtures and of models of one task; held out: (before, seed -> after)."""
    parts = []
    for task, scores in alone.items():
        seeds = sorted(scores.keys() & capped[task].keys())
        kept = part(
            f"{task}: no worse than alone",
            "capped mixture minus alone, by seed",
            differences([capped[task][s] for s in seeds], [scores[s] for s in seeds]),
            at_least=-MARGIN,
            found=f"alone {points(statistics.fmean(scores.values()))}",
        )
        parts.append(kept.model_copy(update={"found": f"loser ({kept.found})"}) if kept.outcome == "fails" else kept)
    seeds = sorted(capped[smallest].keys() & uncapped[smallest].keys())
    parts.append(
        part(
            f"without the cap the smallest task ({smallest}) does worse",
            "capped minus uncapped, by seed",
            differences([capped[smallest][s] for s in seeds], [uncapped[smallest][s] for s in seeds]),
            at_least=0.0,
        )
    )
    for task, (before, after) in held_out.items():
        change = part(
            f"{task}, held out: no worse than the base",
            "capped mixture minus base, by seed",
            Bounds.over_seeds([score - before for score in after.values()]),
            at_least=0.0,
            found=f"base {points(before)}",
        )
        parts.append(undecided(change, "0 before and after") if not before and not any(after.values()) else change)
    return Law(
        number=10,
        title="Several tasks together",
        statement="Mixing in proportion to rows with a cap keeps every task within 3 points of a model that learns"
        " it alone, or names the loser; without the cap the smallest task does worse; tasks held out are no worse than"
        " before.",
        parts=tuple(parts),
        rests_on=f"10-mixture.yaml, 10-alone.yaml; {seeds_in_words(seeds)}; full fine-tuning, 225 steps together,"
        " 75 alone",
    )


def _transfers(matrix: Sequence[Sequence[float]]) -> list[float]:
    """Backward transfer after 2, 3, ... tasks: mean over the tasks before the last of R[t, i] - R[i, i]."""
    return [statistics.fmean(matrix[t][i] - matrix[i + 1][i] for i in range(t - 1)) for t in range(2, len(matrix))]


def _seed_sd(losses: Mapping[str, BySeed]) -> float:
    """Standard deviation over seeds, pooled over configurations."""
    return math.sqrt(statistics.fmean(statistics.variance(list(each.values())) for each in losses.values()))


def _scaled(a: BySeed, b: BySeed, noise: float) -> Bounds | None:
    seeds = sorted(a.keys() & b.keys())
    if not noise:
        return None
    return differences([a[seed] / noise for seed in seeds], [b[seed] / noise for seed in seeds])


def _token_error(arm: ArmSummary, expected: float) -> float:
    return abs((arm.costs.tokens_per_request or 0.0) - expected) / expected


def _pays(arm: ArmSummary) -> str:
    requests = arm.costs.break_even_requests
    return "never pays in tokens" if requests is None else f"in tokens, pays after {human_count(requests)} requests"
