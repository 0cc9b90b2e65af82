"""What the process imports that workers are copies of (see `processes`): everything that they need, in silence."""

from __future__ import annotations

import gc

from keeptune.core.quiet import quiet_libraries

quiet_libraries()

import peft  # noqa: E402, F401

import keeptune.study.run  # noqa: E402, F401

gc.freeze()  # what is collected by nobody stays shared: copies write to no page of it
