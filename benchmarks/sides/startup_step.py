"""A command of keeptune that ends at its first training step, and says what processor time that took."""

from __future__ import annotations

import json
import os
import sys
import time

from keeptune.cli.main import main
from keeptune.core.records import StepRecord
from keeptune.tracking.base import TRACKERS, Run, StudyRun, Tracker


@TRACKERS.register("first-step")
class FirstStep(Tracker):
    """Looks at the clock when the study begins and after the first step."""

    def on_study_start(self, study: StudyRun) -> None:
        """Nothing is scored yet."""
        self.begun = time.process_time()

    def after_step(self, run: Run, record: StepRecord) -> None:
        """Enough."""
        print(json.dumps({"begun": self.begun, "first_step": time.process_time()}), flush=True)
        os._exit(0)


if __name__ == "__main__":
    sys.argv[0] = "keeptune"
    main()
