"""One process per side, so that both get the same allocator and threads and each has its own peak of memory.

The benchmark asks, a worker answers; one JSON object per line. While one side works, the other waits: that makes it
possible to alternate within one run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parents[1]
# Freed memory is kept and comes in huge pages: without this, page faults on fresh memory are a large part of a CPU
# step, and much more of the peers' than of keeptune's.
MALLOC = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=17179869184"
    ":glibc.malloc.trim_threshold=34359738368:glibc.malloc.top_pad=1073741824"
)


def environment(threads: int) -> dict[str, str]:
    """What both sides start with. GLIBC_TUNABLES of the caller wins."""
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    return {
        "GLIBC_TUNABLES": MALLOC,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONPATH": path,
    }


class Worker:
    """The benchmark's end: a module of `sides` in a process, with its settings as its one argument."""

    def __init__(self, module: str, settings: dict[str, Any], threads: int, log: Path) -> None:
        self.module = module
        self._log = log
        with log.open("a") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"sides.{module}", json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment(threads),
            )

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its answer.

        Raises:
            RuntimeError: the worker ended; the message closes with its last words.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the worker is gone: the empty answer says so
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.module} failed at '{do}':\n{self._log.read_text()[-3000:]}")
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close(kill=error[0] is not None)

    def close(self, *, kill: bool = False) -> None:
        """End the worker; one that is not to be killed has answered its last command."""
        assert self._process.stdin is not None
        if kill:
            self._process.kill()
        else:
            self._process.stdin.close()  # the worker's `Channel` ends, and with it the worker
        self._process.wait()


class Channel:
    """The worker's end. Whatever libraries print goes to stderr."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = json.loads(sys.argv[1])
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def receive(self) -> dict[str, Any] | None:
        """The next command, or None at the end."""
        line = sys.stdin.readline()
        return json.loads(line) if line else None

    def send(self, **answer: Any) -> None:
        """Answer the last command."""
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()

    def serve(self, **actions: Callable[..., dict[str, Any]]) -> None:
        """Answer every command by the action of its name, until the end."""
        while (command := self.receive()) is not None:
            self.send(**actions[command.pop("do")](**command))
