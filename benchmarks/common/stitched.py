"""The script that a good engineer would stitch together: the order of its work over as many processes as keeptune has.

Which rate is chosen and what becomes of a suite is decided by keeptune's own statistics, from the scores of the
stitched side's own answers: the sides are compared in what they compute, and not in how they judge.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import numpy as np

from common.findings import Findings, Items, Spent
from common.question import PARTS, Question
from common.workers import Worker
from keeptune.core.records import Part
from keeptune.recommend.pick import Candidate, pick_kept
from keeptune.retention.arm import judge_arm
from keeptune.retention.change import change_of
from keeptune.retention.pairs import pair
from keeptune.retention.skill import Skill, skill_of
from keeptune.study.records import SuiteScores, ValidationScores

Ask = tuple[str, dict[str, Any]]  # a command of the side's, and its arguments


class Script:
    """Its processes, each with its share of the threads."""

    def __init__(self, question: Question, settings: dict[str, Any], processes: int, threads: int) -> None:
        self.question, self.started = question, time.perf_counter()
        whole = {"spec": str(question.spec), **settings}
        log = question.folder / "stitched.log"
        self.workers = [Worker("study_stitched", whole, max(1, threads // processes), log) for _ in range(processes)]
        self._pool = ThreadPoolExecutor(processes)
        self._free: SimpleQueue[Worker] = SimpleQueue()
        for worker in self.workers:
            self._free.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self.workers:
            worker.close(kill=error[0] is not None)
        self._pool.shutdown()

    def do(self, asks: Sequence[Ask]) -> list[dict[str, Any]]:
        """All of it, a process getting the next piece of work as soon as it is free; answers in the order of asking."""
        return list(self._pool.map(self._one, asks))

    def everywhere(self, command: str, **arguments: Any) -> list[dict[str, Any]]:
        """The same to every process."""
        return list(self._pool.map(lambda worker: worker.ask(command, **arguments), self.workers))

    def _one(self, ask: Ask) -> dict[str, Any]:
        worker = self._free.get()
        try:
            return worker.ask(ask[0], **ask[1])
        finally:
            self._free.put(worker)


class Answering:
    """One question answered by the script, from its start to the last verdict."""

    def __init__(self, script: Script, folder: Path) -> None:
        self.script, self.question, self.folder = script, script.question, folder
        self.spent = Spent()
        self.base: dict[tuple[str, Part], Items] = {}
        self.skills: list[Skill] = []

    def answer(self) -> Findings:
        """Ask the base, train every rate, choose, test what was chosen."""
        self.script.everywhere("ready")
        self.spent.start = time.perf_counter() - self.script.started
        self._ask_base()
        chosen = self._choose()
        found = Findings(self.spent, {suite: self.base[suite, "test"] for suite in self.question.suites})
        found.rates = dict(chosen)
        tests = [f"{name}/test" for name in (self.question.target, *self.question.suites)]
        folders = [str(self._place(arm, rate)) for arm, rate in chosen.items()]
        answers = self.script.do([("score", {"folder": folder, "ask": tests}) for folder in folders])
        for arm, answer in zip(chosen, answers, strict=True):
            self._note(answer)
            found.items[arm] = self._items(answer["said"], "test")
            found.verdicts[arm] = self._judge(found.items[arm])
        self.spent.total = time.perf_counter() - self.script.started
        return found

    def _ask_base(self) -> None:
        """Every part of every suite, and the target's validation items; what is largest first."""
        question = self.question
        wanted = [(name, part) for name in question.suites for part in PARTS] + [(question.target, PARTS[0])]
        wanted.sort(key=lambda key: -len(question.asked[key].examples))
        base = str(question.model)
        answers = self.script.do([("score", {"folder": base, "ask": [f"{n}/{p}"]}) for n, p in wanted])
        for (name, part), answer in zip(wanted, answers, strict=True):
            self._note(answer)
            self.base[name, part] = self._items(answer["said"], part)[name]
        skills = [skill_of(task.suite(), self.base[name, "validation"]) for name, task in question.suites.items()]
        self.skills = [skill for skill in skills if skill.measurable]

    def _choose(self) -> dict[str, float]:
        """Train at every rate; the one that keeptune's rule takes on validation items, by arm."""
        config, asks = self.question.config, []
        seen = [self.question.target, *(skill.suite.name for skill in self.skills)]
        trials = [(arm.name, rate) for arm in config.training_arms for rate in config.learning_rates(arm)]
        for arm, rate in trials:
            save, ask = str(self._place(arm, rate)), [f"{name}/validation" for name in seen]
            asks.append(("train", {"method": arm, "lr": rate, "save": save, "ask": ask}))
        candidates: dict[str, list[Candidate]] = {}
        for (arm, rate), answer in zip(trials, self.script.do(asks), strict=True):
            self._note(answer)
            candidates.setdefault(arm, []).append(self._candidate(rate, answer))
        base = np.array([item.score for item in self.base[self.question.target, "validation"]])
        return {arm: pick_kept(found, base).cost for arm, found in candidates.items()}

    def _candidate(self, rate: float, answer: dict[str, Any]) -> Candidate:
        items = self._items(answer["said"], "validation")
        suites = []
        for skill in self.skills:
            name = skill.suite.name
            scores = pair(self.base[name, "validation"], items[name])
            change = change_of(skill.suite, scores)
            margin, after = skill.suite.required_margin, tuple(scores.after.tolist())
            suites.append(SuiteScores(suite=name, margin=margin, change=change.estimate, error=change.se, scores=after))
        target = tuple(item.score for item in items[self.question.target])
        seen = ValidationScores(target=target, suites=tuple(suites))
        losses = np.array(answer["losses"])
        diverged = not np.isfinite(losses).all()
        return Candidate(f"{rate:g}", rate, np.array(target), losses, tier=seen.tier, room=seen.room, diverged=diverged)

    def _judge(self, items: dict[str, Items]) -> dict[str, Any]:
        suites = self.question.suites
        after = [(task.suite(), self.base[name, "test"], items[name]) for name, task in suites.items()]
        judged = judge_arm(after, {name: self.base[name, "validation"] for name in suites})
        return {verdict.suite: verdict for verdict in judged.suites}

    def _items(self, said: dict[str, list[Any]], part: Part) -> dict[str, Items]:
        names = [name.removesuffix(f"/{part}") for name in said]
        return {name: self.question.asked[name, part].answers(said[f"{name}/{part}"]) for name in names}

    def _place(self, arm: str, rate: float) -> Path:
        return self.folder / f"{arm}-{rate:g}"

    def _note(self, answer: dict[str, Any]) -> None:
        spent = self.spent
        spent.training += answer.get("seconds", 0.0)
        spent.scoring += answer["scoring_seconds"]
        spent.tokens += answer.get("tokens", 0)
        spent.trained_tokens += answer.get("supervised", 0)
        spent.steps += answer.get("steps", 0)
        spent.items += sum(map(len, answer["said"].values())) + len(answer.get("losses", ()))
