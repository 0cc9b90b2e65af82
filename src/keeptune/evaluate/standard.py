"""Named sets of lm-eval tasks that a fine-tuned model should not get worse at.

A set is frozen once it is released: a change is a new name, and ``standard`` is the newest one. Margins are what the
test part of each task can decide if a tenth of the answers change (see `retention.precheck.margin_warning`).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

# Public test sets with one right answer per item, zero-shot but for gsm8k; names as in lm-eval 0.4.13.
STANDARD_V1: tuple[dict[str, Any], ...] = (
    # knowledge: school science; its 1,172 documents load in seconds, mmlu's 57 sets in minutes
    {"task": "harness:arc_challenge", "metric": "acc_norm", "margin": 3},
    # reasoning: how a scene goes on, and what a pronoun stands for
    {"task": "harness:hellaswag", "metric": "acc_norm", "margin": 2, "limit": 2000},
    {"task": "harness:winogrande", "metric": "acc", "margin": 3},
    # mathematics: word problems, 5 demonstrations as published
    {"task": "harness:gsm8k", "metric": "exact_match,strict-match", "margin": 3},
    # following instructions that a program can check
    {"task": "harness:ifeval", "metric": "prompt_level_strict_acc", "margin": 4},
    # refusals: lm-eval ships no task that counts them, so what they rest on: is this statement hateful? The data
    # are gated on the hub: accept the terms and log in
    {"task": "harness:toxigen", "metric": "acc", "margin": 3},
)

SetName = Literal["standard", "standard-v1", "none"]
"""What a recipe may write under retain in place of a list, or in it."""

STANDARD: dict[str, tuple[dict[str, Any], ...]] = {"standard": STANDARD_V1, "standard-v1": STANDARD_V1}


def expand(entries: Any) -> Any:
    """The entries with the names of sets replaced by their members; 'none' and nothing become an empty list.

    Raises:
        ValueError: a name that no set has.
    """
    if entries in (None, "none"):
        return []
    if isinstance(entries, str):
        entries = [entries]
    if not isinstance(entries, list | tuple):
        return entries
    found: list[Any] = []
    for entry in entries:
        if not isinstance(entry, str):
            found.append(entry)
        elif entry in STANDARD:
            found += STANDARD[entry]
        else:
            raise ValueError(f"no set '{entry}': write {', '.join(STANDARD)}, none, or a list of entries")
    return found


def installed() -> bool:
    """Whether lm-eval can be imported."""
    return find_spec("lm_eval") is not None
