"""A tracker that fails is left out from then on, and the study goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typing_extensions import override

from keeptune.core.records import SkippedRecord, SpikeRecord, StepRecord, Summary, ValidationRecord
from keeptune.tracking.base import ArmScores, Run, StudyRun, Tracker


class Guarded(Tracker):
    """Tells a tracker what it is told, until the tracker raises an error; says so once, and tells it no more.

    Args:
        kind: of the tracker, which is made here.
        warn: is told what went wrong.
    """

    def __init__(self, kind: type[Tracker], warn: Callable[[str], None]) -> None:
        self._kind, self._warn = kind, warn
        self._inner: Tracker | None = None
        self._tell(lambda: setattr(self, "_inner", kind()))

    @override
    def on_study_start(self, study: StudyRun) -> None:
        self._hook("on_study_start", study)

    @override
    def on_start(self, run: Run) -> None:
        self._hook("on_start", run)

    @override
    def after_step(self, run: Run, record: StepRecord) -> None:
        self._hook("after_step", run, record)

    @override
    def after_skip(self, run: Run, record: SkippedRecord) -> None:
        self._hook("after_skip", run, record)

    @override
    def after_spike(self, run: Run, record: SpikeRecord) -> None:
        self._hook("after_spike", run, record)

    @override
    def after_validation(self, run: Run, record: ValidationRecord) -> None:
        self._hook("after_validation", run, record)

    @override
    def on_end(self, run: Run) -> None:
        self._hook("on_end", run)

    @override
    def after_test(self, study: StudyRun, arm: ArmScores) -> None:
        self._hook("after_test", study, arm)

    @override
    def on_study_end(self, study: StudyRun, summary: Summary) -> None:
        self._hook("on_study_end", study, summary)

    def _hook(self, name: str, *told: Any) -> None:
        if self._inner is not None:
            self._tell(lambda: getattr(self._inner, name)(*told))

    def _tell(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # whatever a service's library raises: no study is lost to it
            self._inner = None
            name = getattr(self._kind, "name", self._kind.__name__)
            text = str(error).strip().splitlines()
            self._warn(f"the tracker {name} failed and is left out: {text[0] if text else type(error).__name__}")
