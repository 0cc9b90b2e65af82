"""Write the table of docs/comparison.md from the kept reports: what was run beside other tools, and which versions.

python benchmarks/write_comparison.py
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

from common.page import Report, filled, table, times
from write_page import reports

PAGE = Path(__file__).parents[1] / "docs" / "comparison.md"
PEERS = {"trl": "TRL", "lm_eval": "lm-eval", "transformers": "transformers"}


def peer(report: Report, name: str) -> str:
    """'TRL 1.16.0'."""
    return f"{PEERS[name]} {report['versions'][name]}"


def tools() -> str:
    """A line for every comparison with another tool: what, its version and setting, and how many times as fast."""

    def rows() -> Iterator[list[str]]:
        for report in reports("train"):
            for method, found in (each for each in report["methods"].items() if "peer" in each[1]):
                ratios = [each["ratio"]["median"] for each in found["sets"]]
                trained = "LoRA r=16" if method == "lora" else "full fine-tuning"
                span = f"median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f} by set"
                yield [
                    f"training, {trained}, {report['model']}",
                    f"{peer(report, 'trl')}, its fastest setting here, `{found['peer']}`",
                    span if len(ratios) > 1 else times(found["sets"][0]["ratio"]),
                    where(report),
                ]
        for report in reports("score"):
            found = report["result"][report["options"]["precision"][0]]
            for kind in (kind for kind in ("two_or_more_tokens", "one_token") if "ratio" in found.get(kind, {})):
                what = f"scoring choices of {kind.replace('_', ' ')}, {report['model']}"
                beside = f"{peer(report, 'lm_eval')}, its Hugging Face backend"
                yield [what, beside, times(found[kind]["ratio"]), where(report)]
        for report in reports("generate"):
            ratio = report["result"][report["options"]["precision"][0]]["ratio"]
            what, beside = f"greedy generation, {report['model']}", f"{peer(report, 'transformers')}, `generate`"
            yield [what, beside, times(ratio), where(report)]
        for report in reports("encode"):
            yield ["encoding rows", peer(report, "trl"), times(report["times_as_fast"]), where(report)]

    return table("what | beside | keeptune is so many times as fast | machine", rows())


def where(report: Report) -> str:
    """Hardware, threads and date."""
    return f"{report['hardware']}, {report['threads']} thread{'s' if report['threads'] != 1 else ''}, {report['date']}"


def page() -> str:
    """The page with a fresh table."""
    return filled(PAGE, {"tools": tools()}, writer="write_comparison")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
