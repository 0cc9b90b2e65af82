"""What peft warns of without cause when an adapter is made or read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_false_alarms() -> Iterator[None]:
    """Within, peft does not warn of what is as it should be; all else is heard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it asks transformers for a name that is being renamed
        # It looks for the layers that have a rank of their own among modules, and experts are parameters.
        warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys", RuntimeWarning)
        yield
