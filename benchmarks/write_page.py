"""Write the tables of docs/performance.md and the README's from the kept reports. No number is typed by hand.

    python benchmarks/write_page.py

A report is a JSON file in benchmarks/results/, written by ``--json benchmarks/results`` of the benchmark that its name
begins with. The page's prose stands between the tables and is left alone.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

from common.page import Report, caption, filled, pair, since, table, times
from common.study_page import study
from keeptune.core.units import human_bytes

HERE = Path(__file__).parent
PAGE, README = HERE.parent / "docs" / "performance.md", HERE.parent / "README.md"
NOTHING_SHARED = 1.05  # tokens per distinct prefix token


def reports(what: str) -> list[Report]:
    """Kept reports of one benchmark, by file name."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((HERE / "results").glob("*.json"))]
    return [report for report in found if report["benchmark"] == what]


def rate(figure: Report) -> str:
    """A rate's median."""
    return f"{figure['median']:,.4g}"


def memory(side: Report) -> str:
    """Peak memory as people read it."""
    peak = side["peak_memory_bytes"]
    return human_bytes(peak) if peak else ""


def train(report: Report) -> Iterator[str]:
    """A table per method: one set per line."""
    batch, longest = report["options"]["batch"], report["options"]["max_length"]
    for method, found in report["methods"].items():
        if "peer" not in found:
            continue
        peer, sets = found["peer"], found["sets"]
        median = statistics.median(each["ratio"]["median"] for each in sets)
        yield (
            f"{caption(report)}. {'LoRA r=16' if method == 'lora' else 'Full fine-tuning'}, {batch} examples of at most"
            f" {longest} tokens per step, keeptune in {report['options']['precision']} against TRL `{peer}`:"
            f" **{median:.2f} times** (median of {len(sets)} sets)."
        )
        head = (
            "set | sharing | tokens, trained | ratio | trained tokens/s, ours / TRL | utilisation | peak memory"
            " | largest difference of losses"
        )
        yield table(head, map(train_row, sets))
        yield picked(found["picked_from"])


def train_row(each: Report) -> list[str]:
    """One set."""
    ours, peer = each["keeptune"], each["peer"]
    return [
        f"`{each['set']}`",
        f"{each['sharing']:.2f}",
        f"{each['mean_tokens']:.0f}, {each['supervised_share']:.0%}",
        times(each["ratio"]),
        pair(rate(ours["supervised_per_s"]), rate(peer["supervised_per_s"])),
        pair(f"{ours['utilisation']:.0%}", f"{peer['utilisation']:.0%}"),
        pair(memory(ours), memory(peer)),
        f"{each['loss']['largest_difference']:.2%}" if each["loss"] else "other rows per step",
    ]


def picked(reached: Report) -> str:
    """What TRL's settings reached where one was chosen."""
    cells = []
    for setting, result in reached.items():
        if "failed" in result:
            cells.append(f"`{setting}` failed ({result['failed']})")
        else:
            rates = ", ".join(f"{value:,.4g}" for value in result["supervised_per_s"].values())
            cells.append(f"`{setting}` {rates} ({memory(result)})")
    return f"TRL's settings, trained tokens/s where one was picked: {'; '.join(cells)}."


def score(report: Report) -> Iterator[str]:
    """One line per precision and kind of choice."""

    def rows() -> Iterator[list[str]]:
        for precision in report["options"]["precision"]:
            found = report["result"][precision]
            for kind in ("two_or_more_tokens", "one_token"):
                if "ratio" in found.get(kind, {}):
                    each = found[kind]
                    yield [
                        kind.replace("_", " "),
                        precision,
                        times(each["ratio"]),
                        pair(*(rate(each[side]["items_per_s"]) for side in ("keeptune", "peer"))),
                        f"{each['agreement']:.1%} of {each['items']}",
                        pair(*(f"{each[side]['utilisation']:.0%}" for side in ("keeptune", "peer"))),
                        pair(*(memory(each[side]) for side in ("keeptune", "peer"))),
                        str(found["batch"]),
                    ]

    result, options = report["result"], report["options"]
    yield (
        f"{caption(report)}. Set `{result['set']}`, {options['shots']} shots,"
        f" {result['mean_prompt_tokens']:.0f} tokens of prompt on average."
    )
    head = (
        "choices | precision | ratio | items/s, ours / lm-eval | same choice | utilisation | peak memory"
        " | lm-eval's batch"
    )
    yield table(head, rows())


def generate(report: Report) -> Iterator[str]:
    """The timed precision, and agreement in all."""
    result, first = report["result"], report["options"]["precision"][0]
    found = result[first]
    if "ratio" not in found:
        return
    tried = ", ".join(f"{batch}: {value:,.4g}" for batch, value in found["batches_tried"].items())
    yield (
        f"{caption(report)}. {found['items']} prompts of {result['mean_prompt_tokens']:.0f} tokens on average,"
        f" {result['mean_new_tokens']:.0f} new tokens each on average. transformers by batch size (new tokens/s):"
        f" {tried}."
    )
    sides = [found[side] for side in ("keeptune", "peer")]
    row = [
        first,
        times(found["ratio"]),
        pair(*(rate(side["new_tokens_per_s"]) for side in sides)),
        pair(*(f"{side['utilisation']:.0%}" for side in sides)),
        pair(*(memory(side) for side in sides)),
    ]
    yield table("precision | ratio | new tokens/s, ours / transformers | utilisation | peak memory", iter([row]))
    for precision in report["options"]["precision"]:
        outputs = result[precision]["outputs"]
        gap = outputs["largest_gap_of_best_logits"]
        gap_text = f"; there the two best logits lie at most {gap:.2g} apart" if gap is not None else ""
        yield f"{precision}: {outputs['rows_that_differ']} of {outputs['rows']} outputs differ{gap_text}."


def ceiling(report: Report) -> Iterator[str]:
    """Rates of every product."""

    def rows() -> Iterator[list[str]]:
        for precision in ("fp32", "bf16"):
            for each in report["result"][precision]["products"]:
                sizes = f"{each['T']} x {each['K']} x {each['N']}"
                ways = (f"{each[way] / 1e9:,.0f}" for way in ("forward", "dgrad", "wgrad"))
                yield [precision, each["name"], sizes, *ways]

    copy = report["result"]["copy_bytes_per_s"] / 1e9
    yield f"{caption(report)}. Copies: {copy:.1f} GB/s (read plus written)."
    yield table("precision | product | T x K x N | forward, Gflop/s | for inputs | for weights", rows())


def planning(report: Report) -> Iterator[str]:
    """One size per line."""

    def rows() -> Iterator[list[str]]:
        for each in report["sizes"]:
            plan, training = each["planning"], each["training"]
            yield [
                f"{each['rows']:,}",
                f"{plan['microseconds_per_row']:.0f}",
                human_bytes(plan["peak_memory_beyond_rows_bytes"]),
                f"{1000 * training['seconds_per_step']['median']:.1f}",
                human_bytes(training["peak_memory_beyond_rows_bytes"]),
            ]

    options = report["options"]
    yield f"{caption(report)}. {options['batch']} examples per step; training for {options['steps']} steps."
    head = "rows | planning and batching, µs per row | memory beyond the rows | training, ms per step | memory"
    yield table(head, rows())


def operators(report: Report) -> Iterator[str]:
    """One operator per line."""
    options, result = report["options"], report["result"]
    yield (
        f"{caption(report)}. One step of `{report['set']}`, {options['method']}, {options['batch']} examples,"
        f" {options['precision']}: {result['seconds']:.1f} s."
    )
    rows = ([f"`{each['operator']}`", f"{each['share']:.1%}", f"{each['calls']:,}"] for each in result["operators"])
    yield table("operator | share of the time, without what it calls | calls", rows)


def curve(report: Report) -> Iterator[str]:
    """The engine's curves and the other order's, beside the reference."""
    steps = len(report["curves"][0]["losses"])
    yield f"`{report['command']}`: {steps} steps, nats per trained token{since(report)}."
    rows = (
        [
            each["curve"],
            f"{each['mean_difference']:.4f}",
            f"{each['max_difference']:.4f}",
            f"{each['validation']:.4f} / {each['reference_validation']:.4f}",
            f"{each['validation_difference']:+.2%}",
        ]
        for each in (*report["engine"], report["seed_noise"])
    )
    yield table(
        "run | mean difference of the loss | largest | last validation loss, run / reference | difference", rows
    )


def encode(report: Report) -> Iterator[str]:
    """Both sides of one run."""
    rates, tokens = report["rows_per_second"], report["tokens_per_row"]
    yield (
        f"{caption(report)}. {report['rows']:,} rows of {tokens['keeptune']:.0f} tokens on average,"
        f" {report['processes']} processes of a thread on either side."
    )
    row = [f"{rates['keeptune']['median']:,.0f}", f"{rates['trl']['median']:,.0f}", times(report["times_as_fast"])]
    yield table("rows/s, keeptune | rows/s, TRL | ratio", iter([row]))


def large(report: Report) -> Iterator[str]:
    """Both steps of one run."""
    check, encoded = report["check"], report["encode"]
    yield (
        f"{caption(report)}. {report['rows']:,} rows of {encoded['tokens_per_row']:.0f} tokens on average;"
        f" {report['options']['processes']} processes encode."
    )
    rows = [
        ["`keeptune data check`", f"{check['seconds']:,.0f} s", human_bytes(check["peak_bytes"])],
        ["load", f"{encoded['load_seconds']:,.0f} s", ""],
        ["encode", f"{encoded['seconds']:,.0f} s", human_bytes(encoded["peak_bytes"])],
    ]
    yield table("step | time | peak memory of all processes", iter(rows))


def leaks(report: Report) -> Iterator[str]:
    """One seed."""
    found = report["result"]
    yield f"{caption(report)}. {found['rows']:,} rows, seed {report['options']['seed']}."
    row = [
        *(f"{found['recall'][kind]:.1%} of {found['planted'][kind]:,}" for kind in ("exact", "spacing", "edited")),
        f"{found['false_alarms']:,} ({found['false_alarm_rate']:.2%})",
        f"{found['seconds']:.0f} s",
        human_bytes(found["peak_bytes"]),
    ]
    head = "exact copies found | other white space and case | 5 to 10 % of words edited | false alarms | time | memory"
    yield table(head, iter([row]))


def startup(report: Report) -> Iterator[str]:
    """What is waited for before anything is computed."""
    found, options = report["result"], report["options"]
    yield (
        f"{caption(report)}. Processor seconds; the workers are those of {options['tasks']} tasks of"
        f" {options['rows']:,} rows."
    )

    def rows() -> Iterator[list[str]]:
        yield ["`keeptune --help`", seconds(found["help_seconds"])]
        yield ["a study with one arm: tasks and base are there", seconds(found["begun_seconds"])]
        yield ["the same: the first training step is taken", seconds(found["first_step_seconds"])]
        copied = max(each["copied_from"] for each in found["workers"])
        if copied:
            yield ["the process that workers are copies of, once", f"{copied:.2f}"]
        for name, each in zip(("first", "second"), found["workers"], strict=True):
            yield [f"the {name} worker: the base is there", f"{each['base']:.2f}"]
            yield [f"the {name} worker: the rows of a training are there", f"{each['rows']:.2f}"]

    yield table("until | seconds", rows())


def seconds(figure: Report) -> str:
    """A time with its range."""
    return f"{figure['median']:.2f} ({figure['low']:.2f} to {figure['high']:.2f})"


SECTIONS: dict[str, Callable[[Report], Iterator[str]]] = {
    "study": study,
    "train": train,
    "score": score,
    "generate": generate,
    "ceiling": ceiling,
    "planning": planning,
    "operators": operators,
    "curve": curve,
    "encode": encode,
    "large": large,
    "leaks": leaks,
    "startup": startup,
}


def headline() -> str:
    """The README's table: whole studies, training by what is shared, then scoring and generation."""
    many = max(
        reports("train"), key=lambda report: len(report["methods"].get("full", {}).get("sets", [])), default=None
    )
    if many is None:
        return "No report is kept."
    full = many["methods"]["full"]
    rows = [
        [f"a whole study, `{name}`", "", times(found["ratio"]), "a script of TRL, peft, lm-eval and transformers"]
        for report in reports("study")
        for name, found in report["questions"].items()
        if "ratio" in found and report["hardware"] == many["hardware"]
    ]
    for each in sorted(full["sets"], key=lambda each: each["sharing"]):
        shared = (
            "nothing shared" if each["sharing"] < NOTHING_SHARED else f"{each['sharing']:.2f} tokens per distinct one"
        )
        rows.append([f"training, `{each['set']}`", shared, times(each["ratio"]), f"TRL, `{full['peer']}`"])
    for report in reports("score"):
        found = report["result"][report["options"]["precision"][0]]["two_or_more_tokens"]
        if "ratio" in found:
            rows.append(
                [
                    "scoring four choices, 5 shots",
                    "prompts, shots",
                    times(found["ratio"]),
                    "lm-eval's Hugging Face backend",
                ]
            )
    for report in reports("generate"):
        found = report["result"][report["options"]["precision"][0]]
        if "ratio" in found:
            rows.append(["greedy generation", "the instruction", times(found["ratio"]), "transformers' `generate`"])
    return caption(many) + "\n\n" + table("what | shared | times as fast | as", iter(rows))


def sections() -> dict[str, str]:
    """The text of every section of the page."""
    texts = {}
    for what, section in SECTIONS.items():
        found = [part for report in reports(what) for part in section(report)]
        texts[what] = "\n\n".join(found or [f"No report is kept: `make bench ONLY={what}`."])
    return texts


def main() -> None:
    """Rewrite both in place."""
    for path, parts in ((PAGE, sections()), (README, {"speed": headline()})):
        path.write_text(filled(path, parts), encoding="utf-8")


if __name__ == "__main__":
    main()
