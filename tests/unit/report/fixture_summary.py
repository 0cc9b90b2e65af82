"""Summaries for the tests of the report: a full study, a compare run, and awkward ones."""

from __future__ import annotations

import math
import random
from pathlib import Path

from keeptune.core.records import (
    ArmSummary,
    Costs,
    DataCard,
    FrontierPoint,
    Interval,
    Manifest,
    Recommendation,
    SampleOutput,
    Score,
    StepRecord,
    SuiteVerdict,
    Summary,
    ValidationRecord,
    Verdict,
    write_json,
    write_records,
)


def score(mean: float, half: float = 0.014, metric: str = "exact_match", n: int = 500) -> Score:
    interval = Interval(low=mean - half, high=mean + half)
    return Score(metric=metric, mean=mean, interval=interval, n=n, clusters=n)


def verdict(suite: str, word: Verdict, change: float, half: float, *, text: bool = False) -> SuiteVerdict:
    before = 1.412 if text else 0.842
    low, high = change - half, change + half
    sentences = {
        "Retained": f"Worst plausible loss on {suite} is {-100 * low:.1f} points, within the margin of 2.",
        "Harmed": f"Lost {-100 * change:.1f} points on {suite} (95 % CI {-100 * high:.1f} to {-100 * low:.1f}), "
        "Holm p < 0.001.",
        "Inconclusive": f"Between {100 * low:.1f} and {100 * high:+.1f} with 1,500 items; "
        "2,900 items would settle 2 points.",
        "Not measurable": f"The base scores 51.0 on {suite}, not above chance (50.0) by three standard errors.",
    }
    return SuiteVerdict(
        suite=suite,
        metric="bits_per_byte" if text else "accuracy",
        verdict=word,
        sentence=sentences[word],
        n=1_500,
        clusters=60 if text else 1_500,
        before=before,
        after=before * (1 - change) if text else before + change,
        chance=None if text else 0.25,
        change=change,
        interval=Interval(low=low, high=high),
        lower_bound=change - 0.84 * half,
        margin=0.02,
        p=0.0004 if word == "Harmed" else 0.31,
        p_holm=0.0024 if word == "Harmed" else 1.0,
        gained=None if text else 41,
        lost=None if text else 63,
        flips=None if text else 0.069,
        smallest_decidable=0.019,
        n_needed=2_900 if word == "Inconclusive" else None,
        small_loss=word == "Retained" and high < 0,
        relative=text,
    )


def full_suites() -> tuple[SuiteVerdict, ...]:
    return (
        verdict("addition", "Harmed", -0.31, 0.024),
        verdict("odd one out", "Harmed", -0.082, 0.021),
        verdict("sorting", "Inconclusive", -0.014, 0.017),
        verdict("reversal", "Retained", -0.004, 0.011),
        verdict("copying", "Retained", 0.002, 0.006),
        verdict("sentiment", "Not measurable", -0.003, 0.02),
        verdict("held-out prose", "Harmed", -0.043, 0.008, text=True),
    )


def lora_suites() -> tuple[SuiteVerdict, ...]:
    return (
        verdict("addition", "Inconclusive", -0.012, 0.018),
        verdict("odd one out", "Retained", -0.008, 0.006),
        verdict("sorting", "Retained", 0.004, 0.012),
        verdict("reversal", "Retained", -0.001, 0.009),
        verdict("copying", "Retained", 0.0, 0.004),
        verdict("sentiment", "Not measurable", 0.011, 0.02),
        verdict("held-out prose", "Retained", -0.006, 0.004, text=True),
    )


def prompt_arm(shots: int, mean: float, tokens: float, *, pareto: bool = False) -> ArmSummary:
    return ArmSummary(
        name=f"prompt-{shots}shot",
        label=f"Prompting, {shots} {'shot' if shots == 1 else 'shots'}",
        family="prompt",
        target=score(mean),
        costs=Costs(
            total_parameters=7_340_000,
            tokens_per_request=tokens,
            window_share=tokens / 1024,
            shots_dropped=0.0 if shots < 8 else 1.37,
            seconds_per_request=0.0004 * tokens,
        ),
        shots=shots,
        pareto=pareto,
        note="base model, zero-shot" if shots == 0 else None,
    )


def arms() -> tuple[ArmSummary, ...]:
    trained = {"tokens_per_request": 58.2, "window_share": 0.057, "seconds_per_request": 0.023}
    full = ArmSummary(
        name="full",
        label="Full fine-tuning",
        family="full",
        target=score(0.436, 0.019),
        gain=Interval(low=0.181, high=0.231),
        gain_mean=0.206,
        suites=full_suites(),
        costs=Costs(
            trainable_parameters=7_340_000,
            total_parameters=7_340_000,
            peak_memory_bytes=412_000_000,
            train_seconds=94,
            tokens_per_second=5_210,
            trained_tokens=61_000,
            bytes_on_disk=14_700_000,
            break_even_requests=2_410,
            **trained,
        ),
        lr=3e-4,
        pareto=True,
        folder="arms/full",
    )
    lora = ArmSummary(
        name="lora",
        label="LoRA r=16",
        family="lora",
        target=score(0.412, 0.018),
        gain=Interval(low=0.158, high=0.206),
        gain_mean=0.182,
        suites=lora_suites(),
        costs=Costs(
            trainable_parameters=412_000,
            total_parameters=7_752_000,
            peak_memory_bytes=298_000_000,
            train_seconds=88,
            tokens_per_second=5_940,
            trained_tokens=61_000,
            bytes_on_disk=1_650_000,
            break_even_requests=340,
            **trained,
        ),
        lr=2e-3,
        pareto=True,
        folder="arms/lora",
    )
    prompts = (
        prompt_arm(0, 0.031, 58.2),
        prompt_arm(1, 0.112, 141.0),
        prompt_arm(4, 0.230, 389.5, pareto=True),
        prompt_arm(8, 0.224, 706.1),
    )
    return (*prompts, full, lora)


def frontier() -> tuple[FrontierPoint, ...]:
    rows = [
        ("full", 1e-4, 0.30, -0.02, -0.06),
        ("full", 3e-4, 0.44, -0.09, -0.29),
        ("full", 1e-3, 0.41, -0.22, -0.55),
        ("lora", 1e-3, 0.31, -0.002, -0.008),
        ("lora", 2e-3, 0.42, -0.006, -0.015),
        ("lora", 5e-3, 0.40, -0.05, -0.14),
    ]
    return tuple(
        FrontierPoint(
            arm=arm,
            lr=lr,
            seed=0,
            target=target,
            retained_change=mean / 0.02,
            worst_change=worst / 0.02,
            validation_loss=0.9,
            picked=lr in (3e-4, 2e-3),
        )
        for arm, lr, target, mean, worst in rows
    )


def samples() -> tuple[SampleOutput, ...]:
    return (
        SampleOutput(
            id="9f2c41d0",
            prompt="Summarise the conversation.\n\nAnna: Are we still on for Tuesday?\n"
            "Ben: Yes, at six, at the old mill.\n\nSummary:",
            references=("Anna and Ben meet on Tuesday at six at the old mill.", "They will meet at the mill."),
            outputs={
                "prompt-4shot": "Anna asks Ben. Ben says yes, yes, yes.",
                "full": "Anna and Ben meet on Tuesday at seven at the old mill.",
                "lora": "Anna and Ben meet on Tuesday at six at the old mill.",
            },
            scores={"prompt-4shot": 0.21, "full": 0.91, "lora": 1.0},
        ),
        SampleOutput(
            id="11aa0b7e",
            prompt="Summarise the conversation.\n\nAnna: The parcel has not come.\nBen: I'll call them.\n\nSummary:",
            references=("Ben will call because Anna's parcel has not come.",),
            outputs={"prompt-4shot": "", "full": "Ben will call about the parcel.", "lora": "Anna's parcel is late."},
            scores={"prompt-4shot": 0.0, "full": 0.55, "lora": 0.31},
        ),
        SampleOutput(
            id="77e0c3a2",
            prompt="Summarise the conversation.\n\nAnna: <script>alert('x')</script> & \"quotes\"\n\nSummary:",
            references=("Anna sends <b>code</b>.",),
            outputs={
                "prompt-4shot": "</pre><img src=x onerror=alert(1)>",
                "full": "{{ 7*7 }}",
                "lora": "Anna sends code.",
            },
            scores={"prompt-4shot": 0.0, "full": 0.0, "lora": 0.8},
        ),
    )


def card() -> DataCard:
    return DataCard(
        name="dialogue summary",
        source="dialogsum.jsonl",
        sha256="b1946ac92492d2347c6235b4d2611184f6b3f1d2e98f0a7b1c54a8e0c9d2f7aa",
        rows=1_493,
        counts={"train": 893, "validation": 100, "test": 500},
        clusters=1_493,
        quarantined=3,
        duplicates=2,
        near_duplicates=5,
        leaks="No copy of a test row is in the training part; 5 near-duplicates left it.",
        prompt_tokens=(212, 401, 688),
        completion_tokens=(24, 51, 90),
        templates=("Summarise the conversation.\n\n{{ dialogue }}\n\nSummary: ||| {{ summary }}",),
        example_prompt="Summarise the conversation.\n\nAnna: Hello.\n\nSummary:",
        example_completion=" Anna says hello.",
    )


def manifest() -> Manifest:
    return Manifest(
        keeptune="0.1.0",
        command="keeptune study recipe.yaml --set train.epochs=3",
        started="2026-11-23T09:12:44Z",
        python="3.11.9",
        platform="Linux x86_64",
        device="cpu (2 cores)",
        precision="bf16",
        versions={"torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"},
        seeds=(0, 1, 2),
        config={"model": "builtin", "target": {"data": "dialogsum.jsonl", "metric": "exact_match"}, "arms": ["full"]},
        config_hash="8b1a9953c4611296",
        model="builtin",
        model_hash="sha256:5d41402abc4b2a76b9719d911017c592",
        data_hashes={"dialogsum.jsonl": "b1946ac92492d2347c6235b4d2611184"},
    )


def study(**changes: object) -> Summary:
    """A study with prompting, full fine-tuning and LoRA on seven suites."""
    fields: dict[str, object] = {
        "title": "Dialogue summary",
        "model": "keeptune builtin (7.3M)",
        "target": "dialogsum",
        "metric": "exact_match",
        "date": "23 Nov 2026",
        "wall_seconds": 2_471.0,
        "seeds": (0,),
        "arms": arms(),
        "recommendation": Recommendation(
            arm="lora",
            headline="Provisional: take LoRA (rank 16, lr 2e-3).",
            paragraph="It scores +18.2 exact match over the best prompting (95 % 15.8 to 20.6). Five of seven suites "
            "are Retained within 2 points; addition is Inconclusive: 2,900 items would settle it. Full fine-tuning "
            "scores +2.4 more and harms three suites. It would flip to prompting below 340 requests, to full if you "
            "accept 33 points on addition.",
            provisional=True,
            binding="addition: its lower bound of −2.7 points lies outside the margin of 2",
            runner_up="Prompting with 4 shots: nothing lost, 18.2 points less, 389 tokens per request",
        ),
        "frontier": frontier(),
        "samples": samples(),
        "cards": (card(),),
        "warnings": ("sentiment: 1,500 items cannot decide a margin under 1.9 points.",),
        "undecided": (
            "Whether LoRA keeps addition within 2 points: 2,900 items would settle it.",
            "Whether full fine-tuning or LoRA is better on the target: one seed says nothing about the method.",
        ),
        "manifest": manifest(),
    }
    return Summary.model_validate(fields | changes)


def compare() -> Summary:
    """Before and after of a checkpoint that another tool trained: no training, no costs, no target gain."""
    before = ArmSummary(name="before", label="Before", family="base", target=score(0.231), note="base.jsonl")
    after = ArmSummary(name="after", label="After", family="other", target=score(0.402), suites=full_suites()[:3])
    advice = Recommendation(
        arm=None,
        headline="Harmed: 2 of 3 suites lost more than chance explains.",
        paragraph="addition lost 31.0 points (95 % 28.6 to 33.4).",
        provisional=False,
        binding="addition",
        runner_up=None,
    )
    return study(
        title="before against after", arms=(before, after), recommendation=advice, frontier=(), samples=(), cards=()
    )


def drawn(name: str, change: float) -> SuiteVerdict:
    """A verdict that fits its change, at a margin of 2 points and an interval of 1.5 to either side."""
    word: Verdict = "Retained" if change > -0.0074 else "Harmed" if change < -0.025 else "Inconclusive"
    return verdict(name, word, change, 0.015)


def many_suites() -> Summary:
    """Twenty suites with long names and three trained arms."""
    names = [f"standard_benchmark_with_a_rather_long_name_{i:02d}/subject matter {i}" for i in range(20)]
    generator = random.Random(0)
    made = list(arms())
    for index in (4, 5):
        suites = tuple(drawn(name, generator.gauss(-0.015, 0.02)) for name in names)
        made[index] = made[index].model_copy(update={"suites": suites})
    ia3 = made[5].model_copy(update={"name": "lora+replay", "label": "LoRA r=16 with replay 5 %", "pareto": False})
    return study(arms=(*made, ia3))


def bare() -> Summary:
    """Everything that may be None or empty is."""
    arm = ArmSummary(name="a", label="A", family="lora", target=score(float(0), 0.0, n=0))
    nothing = verdict("s", "Not measurable", 0.0, 0.0).model_copy(
        update={
            "chance": None,
            "interval": None,
            "lower_bound": None,
            "p": None,
            "p_holm": None,
            "gained": None,
            "lost": None,
            "flips": None,
            "smallest_decidable": None,
            "margin": 0.0,
        }
    )
    advice = Recommendation(
        arm=None, headline="Nothing is feasible.", paragraph="", provisional=False, binding=None, runner_up=None
    )
    return study(
        arms=(arm, arm.model_copy(update={"name": "b", "label": "B", "suites": (nothing,)})),
        recommendation=advice,
        frontier=(),
        samples=(),
        cards=(),
        warnings=(),
        undecided=(),
        seeds=(),
    )


def write_run(run: Path, summary: Summary, *, steps: int = 160) -> Path:
    """A run folder with curves for every arm that has a folder."""
    write_json(run / "summary.json", summary)
    generator = random.Random(1)
    for arm in summary.arms:
        if not arm.folder or not steps:
            continue
        losses = [1.1 + 2.2 * math.exp(-s / 40) + generator.gauss(0, 0.12) for s in range(1, steps + 1)]
        rows = [
            StepRecord(step=s, loss=loss, lr=1e-3, grad_norm=1.0, tokens=8_000, trained_tokens=1_000, seconds=0.5)
            for s, loss in enumerate(losses, 1)
        ]
        write_records(run / arm.folder / "steps.jsonl", rows)
        checks = [(40, 2.1, True), (80, 1.55, True), (120, 1.36, True), (160, 1.42, False)]
        made = [ValidationRecord(step=s, loss=loss, best=best) for s, loss, best in checks]
        write_records(run / arm.folder / "validation.jsonl", made)
        (run / arm.folder / "items").mkdir(exist_ok=True)
        (run / arm.folder / "items" / "dialogsum.jsonl").write_text("", encoding="utf-8")
        (run / arm.folder / "items" / "addition.jsonl").write_text("", encoding="utf-8")
    return run
