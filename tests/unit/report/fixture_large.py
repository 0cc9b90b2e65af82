"""A study with all that a summary can hold: twelve arms, one not run, ten suites, 150 points of a frontier."""

from __future__ import annotations

import math
import random

import fixture_summary as fixture
from fixture_summary import score

from keeptune.core.records import (
    ArmParts,
    ArmPlan,
    ArmSummary,
    Costs,
    CurvePoint,
    Drift,
    Estimate,
    FrontierPoint,
    HeldOut,
    Interval,
    LearningCurve,
    LossGroup,
    LostItem,
    Matched,
    Overall,
    RemedyDose,
    RowLoss,
    SearchPoint,
    SearchSummary,
    SequenceSummary,
    SpikeRecord,
    SuiteLoss,
    SuiteLosses,
    Summary,
    WordingGap,
)
from keeptune.recommend import price

SUITES = (
    "addition",
    "odd one out",
    "sorting",
    "reversal",
    "copying",
    "TREC question types",
    "CoNLL names",
    "sentiment",
    "WinoGrande",
    "held-out prose",
)
TASKS = ("headlines", "triples to text", "ordering", "number facts", "titles", "synonyms", "dates", "units")

# recipe name, label, family, rates, target, how much is lost
TRAINED = (
    ("full", "Full fine-tuning, lr 0.0003", "full", (1e-4, 3e-4, 1e-3), 0.436, 0.055),
    ("full+replay:5%", "Full fine-tuning, replay 5 %, lr 0.0003", "full", (1e-4, 3e-4, 1e-3), 0.431, 0.018),
    ("full+replay:20%", "Full fine-tuning, replay 20 %, lr 0.0003", "full", (1e-4, 3e-4), 0.422, 0.008),
    ("full+self-replay:5%", "Full fine-tuning, self-replay 5 %, lr 0.0003", "full", (3e-4,), 0.428, 0.024),
    ("lora", "LoRA r=16, lr 0.003", "lora", (1e-3, 3e-3, 1e-2), 0.412, 0.016),
    ("lora+replay:5%", "LoRA r=16, replay 5 %, lr 0.003", "lora", (1e-3, 3e-3), 0.409, 0.006),
    ("lora+kl:0.1", "LoRA r=16, KL 0.1 to base, lr 0.003", "lora", (1e-3, 3e-3), 0.401, 0.004),
    ("ia3", "IA3, lr 0.01", "ia3", (1e-2, 3e-2), 0.322, 0.001),
)


def interval(mean: float, half: float) -> Interval:
    return Interval(low=mean - half, high=mean + half)


def drift(loss: float) -> Drift:
    return Drift(kl=9.1 * loss, agreement=1 - 4 * loss, positions=2_412, weight_l2=60 * loss)


def costs(family: str) -> Costs:
    trained = {"full": 7_340_000, "lora": 412_000}.get(family, 12_300)
    return Costs(
        trainable_parameters=trained,
        total_parameters=7_340_000,
        peak_memory_bytes=298_000_000 + 15 * trained,
        train_seconds=94,
        tokens_per_second=5_210,
        trained_tokens=61_000,
        bytes_on_disk=2 * trained,
        break_even_requests=2_410,
        tokens_per_request=58.2,
        window_share=0.057,
        seconds_per_request=0.023,
    )


def parts(arm: str, family: str) -> ArmParts:
    replayed = [part.split(":") for part in arm.split("+")[1:] if "replay" in part]
    remedies = (RemedyDose(name=name, dose=float(dose.rstrip("%")) / 100) for name, dose in replayed)
    return ArmParts(method=family, remedies=tuple(remedies))


def trained_arm(index: int, generator: random.Random) -> ArmSummary:
    arm, label, family, rates, target, loss = TRAINED[index]
    suites = [fixture.drawn(name, generator.gauss(-loss, loss / 2)) for name in SUITES[:-1]]
    suites.append(fixture.verdict(SUITES[-1], "Retained", -0.006, 0.004, text=True))
    suites[7] = fixture.verdict(SUITES[7], "Not measurable", -0.003, 0.02)
    return ArmSummary(
        name=f"{arm.replace('+', '-').replace(':', '').replace('%', '')}-lr{rates[-1]:g}-seed0",
        arm=arm,
        label=label,
        family=family,
        parts=parts(arm, family),
        target=score(target, 0.018),
        gain=interval(target - 0.23, 0.024),
        gain_mean=target - 0.23,
        suites=tuple(suites),
        overall=together(loss),
        losses=(lost_addition(),),
        costs=costs(family),
        lr=rates[-1],
        pareto=arm in {"full", "full+replay:5%", "lora+replay:5%"},
        drift=drift(loss),
    )


def together(loss: float) -> Overall:
    change, half = -loss / 0.02, 0.3
    return Overall(
        suites=8,
        change=change,
        interval=interval(change, half),
        p=0.0004,
        sentence=f"all 8 measurable suites together: something was lost (−{-change:.2f} margins on the mean suite)",
    )


def lost_addition() -> SuiteLosses:
    """What was lost on one suite: a label, a source, and an item with its answers."""
    item = LostItem(
        id="addition-17",
        label="four digits",
        cluster="sheet 3",
        prompt="1204 + 3377 = ",
        references=("4581",),
        before="4581",
        after="<b>4481</b>",
        change=-1.0,
    )
    return SuiteLosses(
        suite=SUITES[0],
        n=1_500,
        lost=63,
        gained=41,
        groups=(
            LossGroup(by="label", name="four digits", n=300, lost=51, gained=8, change=-43 / 300),
            LossGroup(by="cluster", name="sheet 3", n=20, lost=9, gained=1, change=-0.4),
        ),
        samples=(item,),
    )


SPIKE = SpikeRecord(
    step=140,
    loss=5.21,
    usual=1.32,
    rows=(
        RowLoss(id="a", loss=9.4, path="/home/me/data/orders.jsonl", line=1_204),
        RowLoss(id="b", loss=6.1, path="/home/me/data/orders.jsonl", line=7),
        RowLoss(id="c", loss=1.1),
    ),
)


def arms() -> tuple[ArmSummary, ...]:
    """Three prompting arms, eight trained ones, one that did not fit."""
    generator = random.Random(3)
    nothing = score(math.nan, math.nan, n=0)
    left_out = ArmSummary(
        name="lora-r256",
        arm="lora:r256",
        label="LoRA r=256, replay 5 %",
        family="lora",
        target=nothing,
        not_run="needs 18 GB",
    )
    prompts = [fixture.prompt_arm(s, m, t) for s, m, t in ((0, 0.031, 58.2), (1, 0.112, 141.0), (4, 0.230, 389.5))]
    first, *trained = (trained_arm(i, generator) for i in range(len(TRAINED)))
    first = first.model_copy(update={"spikes": (SPIKE,), "hardest": SPIKE.rows})
    trained[-1] = trained[-1].model_copy(update={"cause": "rate: the training loss stayed where it was"})
    return (*prompts, first, *trained, left_out)


def frontier() -> tuple[FrontierPoint, ...]:
    """Rates, seven checkpoints on the way to each, interpolations of the picked one; one rate diverged."""
    points: list[FrontierPoint] = []
    for arm, _, _, rates, target, loss in TRAINED:
        for number, lr in enumerate(rates):
            picked = number == min(1, len(rates) - 1)
            top, fall = target * (0.8 + 0.1 * number), loss * (0.6 + number) * 2
            for step in range(1, 8):
                part = step / 8
                points.append(point(arm, lr, top * part**0.4, -fall * part, kind="checkpoint", step=40 * step))
            points.append(point(arm, lr, top, -fall, step=320, picked=picked, drift=drift(loss)))
            if picked and arm in {"full", "lora"}:
                for alpha in (0.25, 0.5, 0.75):
                    values = (0.03 + (top - 0.03) * alpha**0.7, -fall * alpha**2)
                    points.append(point(arm, lr, *values, kind="interpolation", alpha=alpha))
    points.append(point("full", 1e-2, math.nan, math.nan, diverged=True))
    return tuple(points)


def point(arm: str, lr: float, target: float, worst: float, **more: object) -> FrontierPoint:
    fields = {"seed": 0, "validation_loss": 0.9, "picked": False} | more
    return FrontierPoint(
        arm=arm, lr=lr, target=target, worst_change=worst / 0.02, retained_change=worst / 0.06, **fields
    )


def curve(arm: str, label: str, top: float, enough: int | None) -> LearningCurve:
    sizes = (50, 100, 200, 500, 1_000, 4_000)
    points = tuple(CurvePoint(examples=n, score=score(top * (1 - 0.9 * n**-0.25), 0.02)) for n in sizes)
    said = f"{enough} examples are enough here." if enough else "More than 4,000 examples may still help."
    return LearningCurve(arm=arm, label=label, points=points, prompting=score(0.23), enough=enough, sentence=said)


def gaps() -> tuple[WordingGap, ...]:
    return tuple(
        WordingGap(
            arm=arm, label=label, seen=score(target), unseen=score(target - gap), gap=gap, interval=interval(gap, 0.012)
        )
        for (arm, label, *_, target, _), gap in zip(TRAINED[:6], (0.062, 0.041, 0.03, 0.055, 0.011, 0.004), strict=True)
    )


def held_out() -> tuple[HeldOut, ...]:
    generator = random.Random(5)
    rows = []
    for arm, label, _, _, _, loss in (TRAINED[0], TRAINED[5]):
        for task in TASKS:
            change = generator.gauss(0.01 - loss, 0.03)
            before, after = score(0.3), score(0.3 + change)
            rows.append(
                HeldOut(
                    arm=arm,
                    label=label,
                    task=task,
                    before=before,
                    after=after,
                    change=change,
                    interval=interval(change, 0.02),
                )
            )
    return tuple(rows)


def sequence(arm: str, label: str, order: tuple[str, ...], fade: float, seed: int = 0) -> SequenceSummary:
    count = len(order)
    matrix = [[0.12 + 0.05 * i for i in range(count)]]
    for stage in range(1, count + 1):
        row = [0.62 + 0.03 * i - fade * (stage - i - 1) if i < stage else 0.14 + 0.05 * i for i in range(count)]
        matrix.append(row)

    def estimate(mean: float) -> Estimate:
        return Estimate(mean=mean, interval=interval(mean, 0.021))

    return SequenceSummary(
        arm=arm,
        label=label,
        order=order,
        matrix=tuple(tuple(row) for row in matrix),
        average_accuracy=estimate(sum(matrix[-1]) / count),
        backward_transfer=estimate(-1.5 * fade),
        forward_transfer=estimate(0.02),
        forgetting=estimate(1.6 * fade),
        n=(400,) * count,
        seed=seed,
    )


def pair(first: int, second: int, *, comparable: bool) -> Matched:
    names, labels = (TRAINED[first][0], TRAINED[second][0]), (TRAINED[first][1], TRAINED[second][1])
    if not comparable:
        return Matched(
            arms=names,
            labels=labels,
            level=None,
            comparable=False,
            sentence="Their frontiers do not overlap: IA3 reaches 32.2 at most.",
        )
    return Matched(
        arms=names,
        labels=labels,
        level=0.4,
        seeds=(0, 1, 2),
        differences=(-2.1, -3.4, -2.8),
        mean=-2.77,
        interval=interval(-2.77, 1.6),
        upper_bound=-1.7,
        comparable=True,
        sentence="At 40.0 the first lost 2.8 margins less (95 % 1.2 to 4.4, 3 seeds).",
    )


def plans() -> tuple[ArmPlan, ...]:
    planned = [
        ArmPlan(arm=arm, trials=len(rates), memory_bytes=410_000_000, seconds=95.0 * len(rates))
        for arm, _, _, rates, _, _ in TRAINED
    ]
    planned[0] = planned[0].model_copy(update={"dropped": ("seed 2", "lr 3e-05")})
    return (*planned, ArmPlan(arm="lora:r256", trials=3, memory_bytes=18_000_000_000, seconds=None, fits=False))


def search() -> SearchSummary:
    """Six trainings with the points on the way to each; the third was found, the fourth is a little beyond."""
    trained = ((0.95, 0.31), (0.83, 0.05), (0.62, 0.02), (0.71, 0.034), (0.12, 0.0), (0.9, 0.4))
    points = tuple(
        SearchPoint(
            name=f"full-ewc{number}{'' if alpha == 1 else f'-alpha{alpha:g}'}",
            arm=f"full+ewc:{number}",
            label=f"Full fine-tuning, EWC {number}{'' if alpha == 1 else f', {100 * alpha:.0f} % of the way'}",
            training=number,
            alpha=None if alpha == 1 else alpha,
            target=target * alpha**3,
            losses=(
                SuiteLoss(suite="addition", loss=loss * alpha, error=0.005, margin=0.03),
                SuiteLoss(suite="held-out prose", loss=loss * alpha / 8, error=0.001, margin=0.01, relative=True),
            ),
            worst=(loss * alpha + 0.005) / 0.03,
        )
        for number, (target, loss) in enumerate(trained)
        for alpha in (0.6, 1.0)
    )
    written = SearchSummary(
        allowed=12,
        trainings=5,
        tokens=3_200_000,
        spare=1.0,
        base=0.0,
        points=points,
        front=tuple(point.name for point in price.front(points)),
        found="full-ewc2",
    )
    return written.model_copy(update={"sentences": tuple(price.words(written))})


def large(**changes: object) -> Summary:
    """Everything at once."""
    made = arms()
    advice = fixture.study().recommendation.model_copy(update={"arm": made[8].name})
    orders = (("triage", "names", "dialogue", "titles"), ("titles", "dialogue", "names", "triage"))
    fields: dict[str, object] = {
        "arms": made,
        "recommendation": advice,
        "frontier": frontier(),
        "curves": (curve("lora", TRAINED[4][1], 0.49, 500), curve("full", TRAINED[0][1], 0.53, None)),
        "wordings": gaps(),
        "held_out": held_out(),
        "sequences": tuple(
            sequence(arm, label, order, fade)
            for arm, label, fade in (("full", "Full fine-tuning", 0.11), ("lora", "LoRA r=16", 0.04))
            for order in orders
        ),
        "matched": (pair(7, 0, comparable=False), pair(5, 0, comparable=True), pair(1, 0, comparable=True)),
        "plans": plans(),
        "search": search(),
    }
    return fixture.study(**(fields | changes))
