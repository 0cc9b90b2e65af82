"""The tables of methods in docs/methods.md and README.md: what each is for, and what one study measured of it."""

from __future__ import annotations

from collections.abc import Iterable

from keeptune.core.records import ArmSummary, Summary
from keeptune.core.units import human_bytes, human_seconds
from keeptune.report.formatting import score_text
from results_tables import kept, table

# What trains, and when to take it.
SAID = {
    "full": ("every weight", "there is memory for it, and the retained suites say that you may"),
    "lora": (
        "a low-rank addition to every linear layer, `lora:8` of rank 8",
        "the first thing to try; one small file per task on a shared base",
    ),
    "rslora": ("the same, scaled by alpha / sqrt(rank)", "high ranks"),
    "loraplus": ("LoRA, B at a higher rate than A", "LoRA learns too slowly"),
    "dora": ("LoRA, and the length of every weight's rows", "LoRA falls short at a low rank"),
    "pissa": ("the largest singular directions of every weight", "LoRA learns too slowly"),
    "prompt-tuning": (
        "the embeddings of virtual tokens, `prompt-tuning:50`",
        "very many tasks on one served model; large models",
    ),
    "p-tuning": (
        "a small network that makes the embeddings of virtual tokens, `p-tuning:20`",
        "prompt tuning learns too slowly",
    ),
    "prefix-tuning": ("keys and values in front of every layer's", "the same; runs padded, which is slower"),
    "ia3": ("one vector per layer that scales keys, values and activations", "very many tasks, very little storage"),
    "bottleneck": (
        "a small network behind every layer, `bottleneck:64`",
        "an addition that is not linear; what is saved is read by keeptune alone",
    ),
    "osf": ("the singular directions that the base uses least", "what the base can do has to stay"),
    "norms": ("normalisation layers", "a check whether anything larger is needed"),
    "bitfit": ("biases, where the model has some", "the same"),
    "last-layers": ("the last layers, `last-layers:2`", "features are fine, and the answer is not"),
    "matching": ("weights whose names match a regular expression", "you know which"),
    "peft": (
        "any other tuner of peft, `peft:loha`, `peft:oft`, `peft:vera`",
        "you want to compare one; `peft: {settings: {r: 8}}` goes to its config",
    ),
}
COSTS = ["trainable", "score", "retained", "training", "peak memory", "per request", "on disk"]


def rows(summary: Summary) -> Iterable[tuple[str, tuple[str, str], ArmSummary | None]]:
    """(name, what is said of it, the arm that was measured), methods in order; tuners of peft are rows of their own."""
    arms = [arm for arm in summary.arms if arm.not_run is None and arm.parts is not None]
    for name, said in SAID.items():
        found = [arm for arm in arms if arm.parts is not None and arm.parts.method.partition(":")[0] == name]
        if name == "peft":
            yield name, said, None
            for arm in found:
                yield arm.arm, ("that tuner", ""), arm
        else:
            yield name, said, found[0] if found else None


def study_table(summary: Summary) -> str:
    """For docs/methods.md: everything that was measured."""
    head = ["method", "what trains", "when to take it", *COSTS]
    suites = len(summary.manifest.data_hashes) - 1
    caption = (
        f"The figures are those of `recipes/methods.yaml` on the built-in base: {summary.metric} on {summary.target},"
        f" {summary.arms[0].target.n:,} test items, and verdicts on {suites} retained suites"
        f" ({summary.manifest.device}, {summary.date}). One seed on a model of 4.7 million parameters: they say"
        " little about yours."
    )
    return table(head, ([f"`{name}`", *said, *_measured(arm)] for name, said, arm in rows(summary))) + f"\n\n{caption}"


def readme_table(summary: Summary) -> str:
    """For README.md: when to take a method, how much trains, what it scored and kept."""
    head = ["method", "when to take it", *COSTS[:3]]
    shown = [(name, said, arm) for name, said, arm in rows(summary)]
    return table(head, ([f"`{name}`", said[1], *_measured(arm)[:3]] for name, said, arm in shown))


def _measured(arm: ArmSummary | None) -> list[str]:
    if arm is None:
        return ["", "not measured", *[""] * (len(COSTS) - 2)]
    costs = arm.costs
    share = 100 * (costs.trainable_parameters or 0) / (costs.total_parameters or 1)
    return [
        f"{share:.0f} %" if share >= 10 else f"{share:.2g} %",
        score_text(arm.target),
        kept(arm),
        human_seconds(costs.train_seconds) if costs.train_seconds else "",
        human_bytes(costs.peak_memory_bytes) if costs.peak_memory_bytes else "",
        f"{1000 * costs.seconds_per_request:.1f} ms" if costs.seconds_per_request else "",
        human_bytes(costs.bytes_on_disk) if costs.bytes_on_disk else "",
    ]
