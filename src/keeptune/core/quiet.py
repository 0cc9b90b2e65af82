"""Libraries that talk at import."""

from __future__ import annotations

import logging

# Where they are installed transformers and peft import them, whatever is run; they then say which kernels they have not
# found or not fetched, and what torch will change. Nothing here uses any of that.
_TALKERS = ("bitsandbytes.backends.cpu.ops", "torchao", "torch.utils._pytree")


def quiet_libraries() -> None:
    """Let the libraries that quantise speak of errors only; to be called before they are imported."""
    for name in _TALKERS:
        logging.getLogger(name).setLevel(logging.ERROR)
