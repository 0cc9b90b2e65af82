"""One size of `planning.py`."""

from __future__ import annotations

from typing import Any

from common.models import ModelSpec
from common.workers import Channel
from planning import draw_rows, plan_epoch, train


def main() -> None:
    """Answer ``size`` with its figures."""
    channel = Channel()
    settings = channel.settings

    def size(n: int) -> dict[str, Any]:
        spec = ModelSpec(**settings["model"])
        rows = draw_rows(n, settings["vocabulary"], spec.seed)
        shared = settings["batch"], settings["token_budget"]
        planned = plan_epoch(rows, *shared)
        trained = train(spec, settings["tokenizer"], rows, *shared, settings["steps"])
        return {"rows": n, "planning": planned, "training": trained}

    channel.serve(size=size)


if __name__ == "__main__":
    main()
