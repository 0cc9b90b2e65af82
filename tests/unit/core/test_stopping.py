from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys

import pytest

from keeptune.core.stopping import SIGNALS, Listener, Stopped, finishing, listening


def finish(number: int, done: list[str], error: BaseException | None = None) -> None:
    """A signal in the middle of something that is to be finished."""
    with finishing() as signalled:
        assert signalled() == 0
        os.kill(os.getpid(), number)
        assert signalled() == (number if isinstance(signal.getsignal(number), Listener) else 0)
        if error is not None:
            raise error
        done.append("finished")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_at_once_or_when_what_was_begun_is_finished(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    done: list[str] = []
    with listening(*SIGNALS):
        with pytest.raises(Stopped) as stopped:
            os.kill(os.getpid(), number)
        assert stopped.value.code == 128 + number
    with listening(*SIGNALS), pytest.raises(Stopped):
        finish(number, done)
    assert done == ["finished"]
    assert signal.getsignal(number) == before


def test_what_fails_meanwhile_is_heard_first() -> None:
    with listening(*SIGNALS), pytest.raises(ZeroDivisionError):
        finish(signal.SIGTERM, [], ZeroDivisionError())


def test_without_a_listener_nothing_waits() -> None:
    done: list[str] = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    with pytest.raises(KeyboardInterrupt):
        finish(signal.SIGINT, done)
    signal.signal(signal.SIGINT, before)
    assert not done


def test_a_second_signal_leaves_at_once() -> None:
    code = (
        "import os, signal\n"
        "from keeptune.core.stopping import SIGNALS, finishing, listening\n"
        "with listening(*SIGNALS), finishing():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('saving', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('saved', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (143, "saving\n")


def test_it_crosses_from_process_to_process() -> None:
    again = pickle.loads(pickle.dumps(Stopped(143)))
    assert isinstance(again, Stopped) and again.code == 143
