"""The section of docs/performance.md about whole studies, from a report of `study.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from common.page import Report, caption, pair, table, times

KINDS = {"choices": "of choices", "generate": "generated", "text": "of free text"}


def study(report: Report) -> Iterator[str]:
    """What every question took, then what both sides answered."""
    asked = {name: found for name, found in report["questions"].items() if "ratio" in found}
    if not asked:
        return
    yield f"{caption(report)}. {report['processes']} processes on either side."
    head = (
        "question | ratio | minutes, ours / stitched | training | scoring | start | trained tokens, ours / stitched"
        " | items asked | rates alike | verdicts alike"
    )
    yield table(head, (took(name, found) for name, found in asked.items()))
    for name, found in asked.items():
        yield question(name, found)
        yield table(
            "arm | suite | verdict, ours / stitched | before | after | alike before, after", iter(answers(found))
        )


def took(name: str, found: Report) -> list[str]:
    """One question: its time, and the parts of the factor."""
    ours, theirs, factors = found["keeptune"][0], found["stitched"][0], found["factors"]
    rates = len(found["arms"])
    return [
        name,
        times(found["ratio"]),
        pair(*(f"{side['total'] / 60:.1f}" for side in (ours, theirs))),
        *(f"{factors[part]:.2f}" if part in factors else "" for part in ("training", "scoring", "start")),
        pair(*(f"{side['trained_tokens']:,}" for side in (ours, theirs))),
        pair(*(f"{side['items']:,}" for side in (ours, theirs))),
        f"{found['same_rates']} of {rates}",
        f"{found['same_verdicts']} of {found['verdicts']}",
    ]


def question(name: str, found: Report) -> str:
    """What was asked, and how the stitched side was set."""
    counts = Counter(found["suites"].values())
    suites = ", ".join(f"{count} {KINDS[kind]}" for kind, count in counts.items())
    settings = found["stitched_settings"]
    batches = settings["batches"]
    return (
        f"`{name}`: target `{found['target']}`, {found['train_rows']:,} rows of {found['mean_tokens']:.0f} tokens,"
        f" {found['steps']} steps of {found['rows_per_step']} rows at {sum(map(len, found['grid'].values()))} rates;"
        f" suites {suites}; {found['test_items']:,} test items. TRL `{settings['setting']}`, lm-eval in batches of"
        f" {batches['score']}, transformers in batches of {batches['generate']}."
    )


def answers(found: Report) -> Iterator[list[str]]:
    """The target and every suite of every arm, by both sides."""
    for arm, both in found["arms"].items():
        rate = both["rate"]
        name = f"{arm}, lr {rate['keeptune']:g}" + ("" if both["same_rate"] else f" / {rate['stitched']:g}")
        yield [name, f"`{found['target']}`", "", "", scores(both["target"]), f"{both['target_items_agree']:.1%}"]
        for suite in both["suites"]:
            verdict = suite["verdict"]
            said = verdict["keeptune"] if suite["same_verdict"] else f"{verdict['keeptune']} / {verdict['stitched']}"
            alike = (found["base_items_agree"][suite["suite"]], suite["items_agree"])
            yield [
                name,
                f"`{suite['suite']}`",
                said,
                scores(suite["before"]),
                scores(suite["after"]),
                ", ".join(f"{share:.1%}" for share in alike),
            ]


def scores(both: dict[str, Any]) -> str:
    """A score by both sides, in its own unit."""
    return pair(*(f"{both[side]:.3f}" for side in ("keeptune", "stitched")))
