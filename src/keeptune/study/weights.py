"""Where the weights of an arm lie, by what the summary says of it. No torch."""

from __future__ import annotations

from pathlib import Path

from keeptune.core.records import ArmSummary

ADAPTER = "adapter"
WEIGHTS = ("model", ADAPTER)  # folders that `Method.save` writes


def trained_arms(arms: tuple[ArmSummary, ...]) -> dict[str, ArmSummary]:
    """By name, the arms that trained something."""
    return {each.name: each for each in arms if each.folder and not each.prompting and not each.not_run}


def arm_weights(run: Path, arm: ArmSummary) -> Path | None:
    """The folder with the weights of a trained arm; None where they are gone."""
    folder = run / str(arm.folder)
    return next((folder / kind for kind in WEIGHTS if (folder / kind).is_dir()), None)
