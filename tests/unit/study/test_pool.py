"""Jobs on workers that are lost: each is done once, or the study says which one takes its workers with it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from keeptune.core.errors import ConfigError, ResourceError, WorkerLost
from keeptune.core.records import StepRecord, write_records
from keeptune.study.jobs.base import Unplanned
from keeptune.study.messages import Messages
from keeptune.study.schedule import pool as pool_module
from keeptune.study.schedule.board import Board
from keeptune.study.schedule.pool import Pool
from keeptune.study.schedule.worker import Report
from keeptune.tracking.records import last_step


class Job(Unplanned):
    def __init__(self, name: str, *, unwanted: bool = False, error: Exception | None = None) -> None:
        self.name, self.unwanted, self.error = name, unwanted, error

    def perform(self, workplace: Any) -> bool:
        raise NotImplementedError


class Hand:
    """A worker that does what the launcher's script says: each letter is what it has to say next."""

    def __init__(self, number: int, script: str) -> None:
        self.place, self.ready, self.ended = f"hand {number}", not script.startswith("r"), ""
        self._script, self.job = list(script), None
        self.done: list[str] = []

    def begin(self, job: Job) -> None:
        assert self.ready and self.job is None
        self.job = job

    def report(self) -> Report | None:
        says = self._script.pop(0) if self._script else "d"
        if says == "x":
            raise WorkerLost("it was killed", where="here", remedy="look there")
        if says == "r" or not self.ready:
            self.ready = True
            return None
        assert self.job is not None
        job, self.job = self.job, None
        self.done.append(job.name)
        return Report(True, (f"{job.name} by {self.place}",), (f"careful with {job.name}",), job.error)

    def stop(self) -> None:
        self.ended += "stopped "

    def end(self) -> None:
        self.ended += "ended "

    def close(self) -> None:
        self.ended += "closed "


class Hands:
    """Scripts of the workers in the order in which they begin; nobody speaks where ``silent``."""

    def __init__(self, *scripts: str, workers: int = 2, silent: bool = False) -> None:
        self.workers, self.sharing, self.silent, self.closed = workers, workers, silent, False
        self._scripts, self.hands = list(scripts), list[Hand]()

    def start(self) -> Hand:
        hand = Hand(len(self.hands), self._scripts.pop(0) if self._scripts else "")
        self.hands.append(hand)
        return hand

    def wait(self, workers: Sequence[Hand], seconds: float) -> Sequence[Hand]:
        return [] if self.silent else list(workers)

    def close(self) -> None:
        self.closed = True


class Wishes:
    """A schedule that begins with the last job, and wants most of them."""

    recipe: Any = None

    def __init__(self) -> None:
        self.asked, self.done = list[str](), list[str]()

    def order(self, jobs: Sequence[Any]) -> Sequence[Any]:
        return jobs[::-1]

    def wants(self, job: Any) -> bool:
        self.asked.append(job.name)
        return not job.unwanted

    def did(self, job: Any, newly_done: bool) -> None:
        assert newly_done
        self.done.append(job.name)


def pool_of(hands: Hands, tmp_path: Path) -> tuple[Pool[Hand], Messages]:
    messages = Messages(Console(file=io.StringIO(), width=200))
    return Pool(hands, 1, messages, Board(messages.console, tmp_path)), messages


def test_every_wanted_job_is_done_once_in_the_order_of_the_schedule(tmp_path: Path) -> None:
    hands, wishes = Hands("r", ""), Wishes()
    pool, messages = pool_of(hands, tmp_path)
    pool.run([Job("a"), Job("b", unwanted=True), Job("c"), Job("d")], wishes)
    assert wishes.asked == ["d", "c", "b", "a"] and sorted(wishes.done) == ["a", "c", "d"]
    assert len(messages.lines) == 3 and len(messages.warnings) == 3
    pool.run([Job("e")], wishes)
    assert len(hands.hands) == 2  # they wait for the next call
    pool.close()
    assert [hand.ended for hand in hands.hands] == ["closed ", "closed "] and hands.closed


@pytest.mark.parametrize("scripts", [("x",), ("dx", "x"), ("rx", "x", "x"), ("x", "rx", "d")])
def test_a_job_whose_worker_is_lost_begins_again_and_is_done_once(scripts: tuple[str, ...], tmp_path: Path) -> None:
    hands, wishes = Hands(*scripts), Wishes()
    pool, messages = pool_of(hands, tmp_path)
    names = list("abcdef")
    pool.run([Job(name) for name in names], wishes)
    assert sorted(wishes.done) == names == sorted(wishes.asked)  # nobody asks twice
    lost = [line for line in messages.lines if "was lost" in line]
    assert len(lost) == sum("x" in script for script in scripts)
    assert all("was lost (it was killed); another one takes over, try" in line and ": hand " in line for line in lost)


def test_a_job_that_takes_its_workers_with_it_ends_the_study(tmp_path: Path) -> None:
    hands = Hands("x", "x", "x", workers=1)
    pool, messages = pool_of(hands, tmp_path)
    says = "^a: 3 workers were lost here, the last one hand 2: it was killed -> look there$"
    with pytest.raises(WorkerLost, match=says) as caught:
        pool.run([Job("b"), Job("a")], Wishes())
    assert [line.rpartition(", ")[2] for line in messages.lines] == ["try 2 of 3", "try 3 of 3"]
    assert caught.value.exit_code == 5 and all("stopped ended" in hand.ended for hand in hands.hands)


def test_workers_that_die_before_their_first_job_end_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hands = Hands(*["x"] * 9)
    real = hands.start

    def not_ready() -> Hand:
        hand = real()
        hand.ready = False
        return hand

    monkeypatch.setattr(hands, "start", not_ready)
    pool, messages = pool_of(hands, tmp_path)
    with pytest.raises(WorkerLost, match="^before the first job: 3 workers were lost here"):
        pool.run([Job("a"), Job("b")], Wishes())
    assert len(messages.lines) == 2


def test_workers_that_come_in_the_end_are_not_counted_with_those_that_did_not(tmp_path: Path) -> None:
    class Slow(Hands):
        def start(self) -> Hand:
            hand = super().start()
            hand.ready = False
            return hand

    hands, wishes = Slow("x", "x", "rdx", "x", "x", workers=1), Wishes()
    pool, messages = pool_of(hands, tmp_path)
    pool.run([Job("a"), Job("b")], wishes)
    assert sorted(wishes.done) == ["a", "b"]
    assert len([line for line in messages.lines if "before the first job" in line]) == 4


def test_an_error_of_a_job_ends_all_workers_at_once(tmp_path: Path) -> None:
    hands = Hands()
    pool, messages = pool_of(hands, tmp_path)
    with pytest.raises(ConfigError, match="no such thing"):
        pool.run([Job("a"), Job("b", error=ConfigError("no such thing"))], Wishes())
    assert [hand.ended for hand in hands.hands] == 2 * ["stopped ended "]
    assert messages.warnings == ["careful with b"]


def test_nobody_waits_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "PATIENCE", 0.0)
    pool, _ = pool_of(Hands("r", workers=1, silent=True), tmp_path)
    with pytest.raises(ResourceError, match="no worker has been there"):
        pool.run([Job("a")], Wishes())


def test_the_board_shows_what_is_at_work_and_how_far_it_is(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    board = Board(console, tmp_path)
    first, second = Job("lora-lr0.001-seed0"), Job("full-lr0.01-seed0, test")
    step = StepRecord(step=7, loss=1.25, lr=1e-3, grad_norm=1.0, tokens=500, trained_tokens=20, seconds=0.25)
    write_records(tmp_path / first.name / "steps.jsonl", [step])
    with board.showing():
        board.began(first, "node a")
        board.began(second, "node b")
        board.update()
        shown = "\n".join(task.description + task.fields["note"] for task in board._bars.tasks)
        assert shown.splitlines() == [
            "lora-lr0.001-seed0 (node a)step 7, loss 1.250, 2.0k tokens/s",
            "full-lr0.01-seed0, test (node b)",
        ]
        board.ended(first)
        assert [task.description for task in board._bars.tasks] == ["full-lr0.01-seed0, test (node b)"]


def test_the_last_step_is_the_last_whole_row(tmp_path: Path) -> None:
    assert last_step(tmp_path) is None
    rows = [
        StepRecord(step=n, loss=1.0, lr=1e-3, grad_norm=1.0, tokens=5, trained_tokens=2, seconds=0.1) for n in range(99)
    ]
    write_records(tmp_path / "steps.jsonl", rows)
    with (tmp_path / "steps.jsonl").open("a") as file:
        file.write('{"step": 99, "lo')
    found = last_step(tmp_path)
    assert found is not None and found.step == 98
    (tmp_path / "steps.jsonl").write_text("")
    assert last_step(tmp_path) is None
