"""Libraries that talk: on the console at import, and over the network about their use."""

from __future__ import annotations

import logging
import os

# Where they are installed transformers and peft import them, whatever is run; they then say which kernels they have not
# found or not fetched, and what torch will change. Nothing here uses any of that.
_TALKERS = ("bitsandbytes.backends.cpu.ops", "torchao", "torch.utils._pytree")


def quiet_libraries() -> None:
    """Let the libraries that quantise speak of errors only; to be called before they are imported."""
    for name in _TALKERS:
        logging.getLogger(name).setLevel(logging.ERROR)


# What the libraries that are used here, and those of the extras, look at before they report their use to somebody.
_SILENT = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
}


def send_nothing() -> None:
    """Switch the telemetry of libraries off, for this process and those that it starts; to be called first."""
    os.environ.update(_SILENT)
