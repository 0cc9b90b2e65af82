"""Laws about what is kept: 1 (matched gain), 3 (replay), 4 (interpolation), 5 (rates), 7 (KL drift).

Thresholds were written before any result. Method against method is a question about seeds: such a number is one value
per seed, with Student's t over them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import spearmanr

from frontiers import Curve, by_seed, checkpoints, curve_of, distinct, drop, end, pairs, picked_rate
from keeptune.core.records import FrontierPoint
from keeptune.core.units import points
from keeptune.retention.matched import Point, loss_at, matched
from outcomes import LEVEL, STRICT, Bounds, Law, Part, differences, part, seeds_in_words, undecided

EQUAL = 0.01  # points of target score that make no difference
NOTHING = 1 / 3  # of a margin: a drop that makes no difference
RECOVERED = 0.8  # law 3: of the drop, by 5 % of replay
SELF_SHARE = 0.5  # law 3: of the effect of real replay
GAIN_KEPT, DROP_LEFT = 0.9, 0.5  # law 4
RATIO = (3.0, 30.0)  # law 5: best rate of LoRA by that of full fine-tuning
RHO = 0.7  # law 7
RESAMPLES = 2_000  # law 7


def law_1(found: Sequence[FrontierPoint]) -> Law:
    """Matched gain: LoRA against full fine-tuning, each at the rate that was picked."""
    lora, full = (curve_of(found, arm, picked_rate(found, arm)) for arm in ("lora", "full"))
    at_equal_steps = {
        seed: end(lora[seed]).target - end(full[seed]).target for seed in sorted(lora.keys() & full.keys())
    }
    return Law(
        number=1,
        title="Matched gain",
        statement="At equal target score LoRA loses no more of the retained suites than full fine-tuning, and at equal"
        " steps it gains no more.",
        parts=(
            _matched("at equal target score LoRA loses less", {"LoRA": lora, "full fine-tuning": full}),
            part(
                "at equal steps LoRA gains no more",
                "target score, LoRA minus full, by seed",
                Bounds.over_seeds(list(at_equal_steps.values())),
                at_most=EQUAL,
            ),
        ),
        rests_on=f"01-frontier.yaml; {seeds_in_words(at_equal_steps)}; LoRA r=16 at {picked_rate(found, 'lora'):g},"
        f" full at {picked_rate(found, 'full'):g}; checkpoints twice an epoch",
    )


def law_3(found: Sequence[FrontierPoint]) -> Law:
    """Dose and response: full fine-tuning at one rate with 0, 5 and 25 % of replay, and with the base's own rows."""
    arms = ("full", "full+replay:5%", "full+replay:25%", "full+self-replay:25%")
    rate = next(p.lr for p in found if p.arm == arms[1])
    ends = [{seed: end(ps) for seed, ps in curve_of(found, arm, rate).items()} for arm in arms]
    seeds = sorted(set.intersection(*(set(each) for each in ends)))
    none, little, much, own = ([drop(each[seed]) for seed in seeds] for each in ends)
    cost = [ends[0][seed].target - ends[1][seed].target for seed in seeds]
    recovered = [(a - b) / a for a, b in zip(none, little, strict=True)]
    effect = [(a - b) / (a - c) for a, b, c in zip(none, own, much, strict=True) if a > c]
    drops = (("0 %", none), ("5 %", little), ("25 %", much), ("own rows, 25 %", own))
    shown = "; ".join(f"{dose}: {statistics.fmean(each):.1f}" for dose, each in drops)
    return Law(
        number=3,
        title="Replay: dose and response",
        statement="The more old rows are replayed, the less is lost; 5 % of the trained tokens recover 80 % of it, at"
        " no more than a point of target score; rows that the base wrote do at least half as much.",
        parts=(
            part(
                "5 % lose less than none",
                "drop at 0 % minus drop at 5 %, by seed",
                differences(none, little),
                at_least=0.0,
                unit="margins",
                found=f"mean drop in margins at {shown}",
            ),
            part(
                "25 % lose less than 5 %",
                "drop at 5 % minus drop at 25 %, by seed",
                differences(little, much),
                at_least=0.0,
                unit="margins",
            ),
            part(
                "5 % recover most of the drop",
                "share of the drop that 5 % recover, by seed",
                Bounds.over_seeds(recovered),
                at_least=RECOVERED,
                unit="number",
            ),
            part(
                "5 % cost no more than a point",
                "target score without replay minus with 5 %, by seed",
                Bounds.over_seeds(cost),
                at_most=EQUAL,
            ),
            part(
                "own rows do at least half as much",
                "effect of own rows by that of real ones, both 25 %, by seed",
                Bounds.over_seeds(effect),
                at_least=SELF_SHARE,
                unit="number",
            ),
        ),
        rests_on=f"03-replay.yaml; {seeds_in_words(seeds)}; full fine-tuning at {rate:g}; doses are shares of the"
        " trained tokens (1 % would be fewer than 100 rows)",
    )


def law_4(found: Sequence[FrontierPoint], base: float) -> Law:
    """The way from the base to the tuned model, against the end of it and against the checkpoints of the run."""
    parts: list[Part] = []
    seeds: set[int] = set()
    for method, name in (("full", "full fine-tuning"), ("lora", "LoRA")):
        runs = curve_of(found, method, picked_rate(found, method))
        ways = {seed: _between(found, method, seed, end(runs[seed])) for seed in runs}
        ways = {seed: way for seed, way in ways.items() if len(way) > 1}
        seeds |= ways.keys()
        lost = {seed: drop(way[-1]) for seed, way in ways.items()}
        left = {seed: _share_left(way, base) for seed, way in ways.items() if lost[seed] > NOTHING}
        alphas = sorted({way.alpha for way, _ in left.values() if way.alpha is not None})
        best = part(
            f"{name}: a point with 90 % of the gain and half of the drop",
            "least share of the drop at 90 % of the gain or more, by seed",
            Bounds.over_seeds([share for _, share in left.values()]),
            at_most=DROP_LEFT,
            unit="number",
            found=f"at α = {', '.join(f'{alpha:g}' for alpha in alphas)}" if alphas else "",
        )
        if best.outcome == "fails":
            best = best.model_copy(update={"found": f"merging does not help here ({best.found})"})
        parts.append(best if left else undecided(best, "nothing was lost that could be kept"))
        excess = {seed: _excess(way, checkpoints(runs[seed]), base) for seed, way in ways.items()}
        parts.append(
            part(
                f"{name}: no worse than the checkpoints",
                "drop on the way minus drop of the checkpoints, at their target scores, by seed",
                Bounds.over_seeds([value for value in excess.values() if value is not None]),
                at_most=NOTHING,
                unit="margins",
            )
        )
    return Law(
        number=4,
        title="The way between base and tuned model",
        statement="Between the base and a tuned model there is a point with at least 90 % of the gain and at most half"
        " of the drop, and the way is nowhere worse than early stopping of the same run.",
        parts=tuple(parts),
        rests_on=f"01-frontier.yaml; {seeds_in_words(seeds)}; α in steps of 0.2",
    )


Sweeps = Mapping[str, Sequence[Sequence[FrontierPoint]]]
"""Task -> by seed all rates of both methods."""


def law_5(lower: Sequence[FrontierPoint], higher: Sequence[FrontierPoint], sweeps: Sweeps, base: float) -> Law:
    """Two rates of full fine-tuning ten times apart, and the best rates of both methods."""
    slow, fast = (by_seed(p for p in points_of if p.arm == "full") for points_of in (lower, higher))
    equal = _matched("the lower rate loses less", {"the lower rate": slow, "the higher rate": fast})
    rates = [next(iter(curve.values()))[0].lr for curve in (slow, fast)]
    return Law(
        number=5,
        title="Learning rate",
        statement="At equal target score the smaller of two rates ten times apart forgets less and takes more steps;"
        " LoRA's best rate is about ten times that of full fine-tuning.",
        parts=(equal, _more_steps(slow, fast, base), _best_rates(sweeps)),
        rests_on=f"05-rate.yaml (full at {rates[0]:g} and {rates[1]:g}), {seeds_in_words(slow.keys() & fast.keys())};"
        f" 05-best-rate.yaml (four rates of each method, {len(sweeps)} tasks,"
        f" {sum(map(len, sweeps.values()))} runs)",
    )


def _best_rates(sweeps: Sweeps) -> Part:
    """LoRA's best rate by that of full fine-tuning: the geometric mean over seeds, then over tasks."""
    best = [[[_best_rate(run, method) for method in ("full", "lora")] for run in runs] for runs in sweeps.values()]
    logs = [statistics.fmean(math.log(lora[0] / full[0]) for full, lora in runs) for runs in best]
    bounds = Bounds.over_seeds(logs)
    ratios = ", ".join(f"{task} {round(math.exp(log), 1):g}" for task, log in zip(sweeps, logs, strict=True))
    claim = part(
        "LoRA's best rate is 3 to 30 times that of full fine-tuning",
        "rate with the lowest validation loss, LoRA by full, by task (geometric mean of the seeds)",
        Bounds(*(round(math.exp(value), 6) for value in bounds)) if bounds else None,
        at_least=RATIO[0],
        at_most=RATIO[1],
        unit="number",
        found=ratios,
    )
    ends = {name: sum(run[i][1] for runs in best for run in runs) for i, name in enumerate(("full", "LoRA"))}
    if not any(ends.values()):
        return claim
    counts = " and ".join(f"{count} of {name}" for name, count in ends.items() if count)
    return undecided(claim, f"{ratios}; {counts} are best at the end of their rates")


def law_7(found: Sequence[FrontierPoint]) -> Law:
    """Rank correlation of the drift with the drop, over trainings, their checkpoints and interpolation points."""
    drifted = distinct(p for p in found if p.drift is not None and p.retained_change is not None and not p.diverged)
    plain = [p for p in drifted if "+" not in p.arm]
    broken = [p for p in drifted if "+" in p.arm]
    groups: dict[tuple[str, float, int], list[tuple[float, float, float]]] = {}
    for p in drifted:
        if p.drift is not None and p.drift.weight_l2 is not None:
            row = (p.drift.kl, p.drift.weight_l2, drop(p))
            groups.setdefault((p.arm.removesuffix("+interpolate"), p.lr, p.seed), []).append(row)
    kl, gap = _correlations(list(groups.values())) if len(groups) > 2 else (None, None)
    shown = ", ".join(
        f"{name} {_rho(some):.2f} (n {len(some)})"
        for name, some in (
            ("plain arms", plain),
            ("with replay or interpolated, which break the relation by design", broken),
        )
        if len(some) > 2
    )
    return Law(
        number=7,
        title="KL drift",
        statement="How far predictions on target prompts moved from the base goes with what was lost, and tells more"
        " than the length of the change of the weights.",
        parts=(
            part(
                "KL goes with the drop",
                f"Spearman's ρ of forward KL and drop over {len(drifted)} models",
                kl,
                at_least=RHO,
                unit="number",
                found=f"ρ of {shown}" if shown else "",
            ),
            part(
                "KL tells more than the length of the weights' change",
                "ρ of KL minus ρ of the Euclidean length",
                gap,
                at_least=0.0,
                unit="number",
            ),
        ),
        rests_on=f"01-frontier.yaml, 03-replay.yaml, 05-rate.yaml; {len(groups)} trainings with their checkpoints"
        " and interpolation points; resampled by training",
    )


def _matched(claim: str, curves: Mapping[str, Curve]) -> Part:
    """Drop of the first curve minus that of the second at the highest target score that both reach in every seed."""
    first, second = curves
    frontiers = [
        {seed: [Point(np.array([t]), [np.array([d])]) for t, d in pairs(ps)] for seed, ps in curve.items()}
        for curve in curves.values()
    ]
    one = np.zeros(1, dtype=np.int64)  # only means are at hand: what other items would have said is not asked here
    found = matched(*frontiers, [one, one], arms=("a", "b"), labels=(first, second))
    bounds = Bounds.over_seeds(found.differences) if found.comparable else None
    level = f"at {points(found.level)} points of target score" if found.level is not None else found.sentence
    statistic = f"drop at equal target score, {first} minus {second}, by seed"
    return part(claim, statistic, bounds, at_most=0.0, unit="margins", found=level)


def _more_steps(slow: Curve, fast: Curve, base: float) -> Part:
    """Steps to the same target score."""
    seeds = sorted(slow.keys() & fast.keys())
    level = min(max(p.target for p in curve[seed]) for curve in (slow, fast) for seed in seeds)
    gaps = [_steps_to(slow[seed], level, base) - _steps_to(fast[seed], level, base) for seed in seeds]
    return part(
        "the lower rate takes more steps",
        "steps to that target score, lower minus higher, by seed",
        Bounds.over_seeds(gaps) if level > base else None,
        at_least=0.0,
        unit="number",
    )


def _steps_to(curve: Sequence[FrontierPoint], level: float, base: float) -> float:
    """Steps until a target score is first reached, linear between checkpoints; the curve must reach it."""
    step, target = 0.0, base
    for point in sorted(curve, key=lambda p: p.step or 0):
        if point.target >= level:
            return step + ((point.step or 0) - step) * (level - target) / max(point.target - target, 1e-9)
        step, target = float(point.step or 0), point.target
    return math.inf


def _best_rate(found: Sequence[FrontierPoint], method: str) -> tuple[float, bool]:
    """(rate of the lowest validation loss, whether it is the lowest or highest that was tried); the seed with most."""
    tried = [p for p in distinct(found) if p.arm == method and p.kind == "rate" and p.validation_loss is not None]
    seed = min({p.seed for p in tried}, key=lambda s: -sum(p.seed == s for p in tried))
    rates = sorted((p for p in tried if p.seed == seed), key=lambda p: p.lr)
    best = min(rates, key=lambda p: p.validation_loss or math.inf)
    return best.lr, best in (rates[0], rates[-1])


def _between(found: Sequence[FrontierPoint], method: str, seed: int, end: FrontierPoint) -> list[FrontierPoint]:
    """Points of the way to the model of one seed, and that model."""
    way = [p for p in distinct(found) if p.arm == f"{method}+interpolate" and p.kind == "interpolation"]
    return [*sorted((p for p in way if p.seed == seed and p.lr == end.lr), key=lambda p: p.alpha or 0.0), end]


def _share_left(way: Sequence[FrontierPoint], base: float) -> tuple[FrontierPoint, float]:
    """The point with at least 90 % of the gain that left the least drop, and its share of the drop."""
    end = way[-1]
    good = [p for p in way if p.target - base >= GAIN_KEPT * (end.target - base)]
    best = min(good, key=drop)
    return best, drop(best) / drop(end)


def _excess(way: Sequence[FrontierPoint], checkpoints: Sequence[FrontierPoint], base: float) -> float | None:
    """Mean of the way's drop minus the checkpoints' at their target scores, where both exist; it starts at the base."""
    path = [*pairs(way), (base, 0.0)]
    top = max(target for target, _ in path)
    gaps = [loss_at(path, p.target) - drop(p) for p in checkpoints if base < p.target <= top and not p.diverged]
    return statistics.fmean(gaps) if gaps else None


def _rho(found: Sequence[FrontierPoint]) -> float:
    return float(spearmanr([p.drift.kl if p.drift else 0.0 for p in found], [drop(p) for p in found]).statistic)


def _correlations(groups: Sequence[Sequence[tuple[float, float, float]]]) -> tuple[Bounds, Bounds]:
    """ρ(KL, drop), and by how much it exceeds ρ(length, drop); percentiles of resampled trainings."""
    rng = np.random.default_rng(0)

    def both(rows: np.ndarray) -> tuple[float, float]:
        kl, length = (float(spearmanr(rows[:, i], rows[:, 2]).statistic) for i in (0, 1))
        return kl, kl - length

    tables = [np.array(group) for group in groups]
    seen = both(np.concatenate(tables))
    drawn = np.array(
        [
            both(np.concatenate([tables[i] for i in rng.integers(len(tables), size=len(tables))]))
            for _ in range(RESAMPLES)
        ]
    )
    tail, outer = 50 * (1 - LEVEL), 50 * (1 - STRICT)
    ends = np.nanpercentile(drawn, [tail, 100 - tail, outer, 100 - outer], axis=0)
    return Bounds(seen[0], *ends[:, 0].tolist()), Bounds(seen[1], *ends[:, 1].tolist())
