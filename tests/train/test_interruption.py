"""The signal handler and the watchdog, in processes of their own."""

import signal
import subprocess
import sys

import pytest

from tal_jax.errors import Interrupted
from tal_jax.train.interruption import Interruption, Watchdog

pytestmark = pytest.mark.slow

WATCHED = """
import sys, time
from tal_jax.train.interruption import Watchdog
with Watchdog(1.5, "training") as watchdog:
    if "pause" in sys.argv:
        watchdog.moved()
        watchdog.pause()
        time.sleep(2)
    for _ in range(9):
        watchdog.moved()
        time.sleep(0.2)
    print("steps taken", flush=True)
    time.sleep(1000 if "hang" in sys.argv else 0)
"""


@pytest.mark.parametrize(("how", "status"), [("hang", 75), ("pause", 0), ("steps", 0)])
def test_the_watchdog_ends_what_hangs_between_steps(how, status):
    found = subprocess.run([sys.executable, "-c", WATCHED, how], capture_output=True, text=True, timeout=300)
    assert found.returncode == status
    assert found.stdout == "steps taken\n"
    assert ("no step within 1.5 s" in found.stderr) == bool(status)


def test_a_process_alone_is_not_watched():
    with Watchdog(float("inf"), "training") as watchdog:
        watchdog.moved()


def test_the_signal_waits_for_the_end_of_a_step_and_is_raised_elsewhere():
    with Interruption() as interruption:
        interruption.steps(True)
        signal.raise_signal(signal.SIGTERM)
        assert interruption.reached(1)
        with pytest.raises(Interrupted):
            interruption.steps(False)
    with Interruption() as interruption:
        assert not interruption.reached(1)
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
