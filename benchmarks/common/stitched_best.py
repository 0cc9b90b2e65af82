"""The stitched side at its best: TRL's fastest setting, lm-eval's and transformers' fastest batch, on a few rows and
items of the question, with as many processes at work as there will be. It warms the machine for that side, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from common.figures import rounded
from common.options import say
from common.question import Kind, Question
from common.stitched import Script

METHOD = "full"  # by which a setting is chosen
ITEMS = {"score": 200, "generate": 64}  # on which a batch size is chosen


def best_settings(
    question: Question,
    precision: str,
    processes: int,
    threads: int,
    peers: Sequence[str],
    batches: Sequence[int],
    steps: int,
) -> dict[str, Any]:
    """The settings of the side, with what was tried: trained tokens or items per second of a process."""
    first = {"score": batches[0], "generate": batches[0]}
    common = {"precision": precision, "batches": first}
    rate = question.config.learning_rates(question.config.training_arms[0])[0]
    tried: dict[str, dict[str, float]] = {"setting": {}, "score": {}, "generate": {}}

    def train(script: Script) -> float:
        answers = script.everywhere("train", method=METHOD, lr=rate, save="", ask=[], max_steps=steps)
        return rounded(sum(a["supervised"] / a["seconds"] for a in answers) / len(answers))

    for peer in peers:
        try:
            with Script(question, {**common, "setting": peer}, processes, threads) as script:
                tried["setting"][peer] = train(script)
                if peer == peers[0]:
                    for what, kind in (("score", "choices"), ("generate", "generate")):
                        tried[what] = _batches(script, what, kind, batches, first)
        except RuntimeError as error:
            say(f"TRL {peer} failed: {str(error).strip().splitlines()[-1]}")
    if not tried["setting"]:
        raise SystemExit("no setting of TRL ran; see above")
    say(f"{question.name}: the stitched side by setting {tried}")
    chosen = {what: int(_best(tried[what], str(batches[0]))) for what in ("score", "generate")}
    return {"setting": _best(tried["setting"], ""), "precision": precision, "batches": chosen, "tried": tried}


def _best(tried: dict[str, float], otherwise: str) -> str:
    return max(tried, key=tried.__getitem__, default=otherwise)


def _batches(script: Script, what: str, kind: Kind, sizes: Sequence[int], used: dict[str, int]) -> dict[str, float]:
    """Items per second by batch size; nothing where nothing is asked in this way."""
    question = script.question
    names = [f"{name}/{part}" for (name, part), asked in question.asked.items() if asked.kind == kind]
    if not names:
        return {}

    def measure(first: int) -> float:
        folder = str(question.model)
        answers = script.everywhere("score", folder=folder, ask=[names[0]], first=first)
        return rounded(sum(len(a["said"][names[0]]) / a["scoring_seconds"] for a in answers) / len(answers))

    measure(8)  # warm-up
    return {str(size): _at(script, {**used, what: size}, lambda: measure(ITEMS[what])) for size in sizes}


def _at(script: Script, batches: dict[str, int], measure: Callable[[], float]) -> float:
    script.everywhere("use", batches=batches)
    return measure()
