"""How much is broken: a little in `make test`, a lot in `make faults`."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def long_form() -> bool:
    return os.environ.get("KEEPTUNE_FAULTS") == "long"
