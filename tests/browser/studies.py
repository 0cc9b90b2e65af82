"""Records of six studies of different shapes, made by code: what the report has to draw without a cut label."""

from __future__ import annotations

from pathlib import Path

import fixture_large as large
import fixture_summary as fixture

from keeptune.core.records import ArmSummary, Interval, Score, Summary, write_json

SENTENCE = "The parcel is late and nobody at the depot knows why, so Anna will call again tomorrow morning. "


def two_arms() -> Summary:
    """Prompting and one trained arm that harmed two suites far more than the third."""
    prompting, full = fixture.arms()[2], fixture.arms()[4]
    suites = tuple(
        fixture.verdict(name, word, change, 0.02)
        for name, word, change in (
            ("opposites", "Harmed", -0.488),
            ("agreement", "Harmed", -0.138),
            ("copying", "Retained", 0.002),
        )
    )
    full = full.model_copy(update={"suites": suites, "label": "full fine-tuning, lr 0.0003"})
    advice = fixture.study().recommendation.model_copy(
        update={"arm": prompting.name, "headline": f"Take {prompting.label}.", "provisional": False}
    )
    return fixture.study(title="Two arms", arms=(prompting, full), recommendation=advice, frontier=())


def many_suites() -> Summary:
    """Three trained arms on twenty suites with long names."""
    return fixture.many_suites().model_copy(update={"title": "Twenty suites"})


def free_text() -> Summary:
    """A target in bits per byte, where lower is better, and answers of several lines."""

    def told(arm: ArmSummary, mean: float) -> ArmSummary:
        interval = Interval(low=mean - 0.04, high=mean + 0.04)
        target = Score(metric="bits_per_byte", mean=mean, interval=interval, n=180, clusters=45, higher_is_better=False)
        suites = (fixture.verdict("held-out prose", "Harmed", -0.043, 0.008, text=True),) if arm.suites else ()
        return arm.model_copy(update={"target": target, "suites": suites, "gain": None, "gain_mean": None})

    made = tuple(told(arm, mean) for arm, mean in zip(fixture.arms(), (1.41, 1.4, 1.38, 1.37, 1.02, 1.09), strict=True))
    answers = tuple(
        sample.model_copy(update={"prompt": SENTENCE * 12, "outputs": {arm.name: SENTENCE * 3 for arm in made}})
        for sample in fixture.samples()
    )
    return fixture.study(title="Free text", metric="bits_per_byte", arms=made, samples=answers, frontier=())


def in_turn() -> Summary:
    """Five tasks learned one after another, in two orders."""
    order = ("triage", "names of people", "dialogue", "titles", "opposites")
    sequences = tuple(
        large.sequence(arm, label, names, fade)
        for arm, label, fade in (("full", "full fine-tuning", 0.11), ("lora", "LoRA r=16", 0.04))
        for names in (order, order[::-1])
    )
    arms = fixture.arms()[:1]
    return fixture.study(title="Five tasks in turn", arms=arms, sequences=sequences, frontier=(), samples=())


def by_size() -> Summary:
    """Learning curves of two arms over five sizes of data."""
    curves = (large.curve("lora", "LoRA r=16", 0.49, 500), large.curve("full", "full fine-tuning", 0.53, None))
    return fixture.study(title="From 50 to 5,000 examples", curves=curves)


def searched() -> Summary:
    """Everything at once: fourteen arms, a search, replay by dose, rates and checkpoints."""
    return large.large(title="A search among fourteen arms")


STUDIES = {
    "two arms": two_arms,
    "many suites": many_suites,
    "free text": free_text,
    "in turn": in_turn,
    "by size": by_size,
    "search": searched,
}


def write(name: str, run: Path) -> Path:
    """The run folder of a study, with loss curves where its arms have folders."""
    summary = STUDIES[name]()
    write_json(run / "summary.json", summary)
    return fixture.write_run(run, summary) if name in ("two arms", "by size") else run
