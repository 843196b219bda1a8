"""The flags of a command that runs in several processes: one for each machine, or each of its devices."""

from absl import flags

_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "host:port of the first of several processes; on Slurm and TPU pods it is found out."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", 0, "How many processes there are.", lower_bound=0)
_PROCESS_ID = flags.DEFINE_integer("process_id", -1, "Which of them this is, from 0.", lower_bound=-1)
_TIMEOUT = flags.DEFINE_integer(
    "timeout", 300, "Seconds without a sign of life after which a process counts as lost.", lower_bound=1
)


def join() -> None:
    """Joins the other processes, if there are any. Errors as of `processes.connect`."""
    from tal_jax.devices import processes

    processes.connect(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value, _TIMEOUT.value)


def timeout() -> int:
    """Seconds after which a process counts as lost."""
    return _TIMEOUT.value
