"""Several processes that run one command together: joining, sharing recordings out, bringing results together.

Every process reads its own recordings; files are written by the first one, on a file system that all of them see.
"""

import io
import os
import socket
import time
from collections.abc import Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils

from tal_jax.errors import InputError

TIMEOUT = 300  # seconds without a sign of life after which a process counts as lost


def connect(coordinator: str = "", num_processes: int = 0, process_id: int = -1, timeout: int = TIMEOUT) -> None:
    """Joins the other processes; does nothing for a single one. Call it before anything else of JAX.

    Args:
      coordinator: host:port of the first process; "": found out on Slurm and on TPU pods, elsewhere there is but one.
      num_processes: how many processes there are.
      process_id: which of the processes this is, from 0.
      timeout: seconds after which a process that is not heard of counts as lost, and the others end.

    Raises:
      InputError: some of the arguments are missing, or the others cannot be reached.
    """
    given = bool(coordinator), num_processes > 0, process_id >= 0
    if any(given) and not all(given):
        raise InputError("--coordinator, --num_processes and --process_id belong together: give all three or none")
    if all(given) and process_id >= num_processes:
        raise InputError(f"--process_id={process_id}: processes are numbered 0 to {num_processes - 1}")
    if not any(given) and not on_cluster(os.environ):
        return
    if all(given) and process_id:
        _wait_for(coordinator, timeout)
    try:
        jax.distributed.initialize(
            coordinator_address=coordinator if all(given) else None,
            num_processes=num_processes if all(given) else None,
            process_id=process_id if all(given) else None,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=timeout,
            shutdown_timeout_seconds=timeout,
        )
    except (RuntimeError, ValueError) as e:
        reason = str(e).splitlines()[0]
        raise InputError(f"--coordinator={coordinator}: the other processes cannot be reached ({reason})") from e


def _wait_for(coordinator: str, timeout: int) -> None:
    """Until the first process listens: JAX itself would end this process with a stack trace when it never does."""
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--coordinator={coordinator}: give host:port of the first process")
    until = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        except (OSError, OverflowError) as e:
            if time.monotonic() > until:
                raise InputError(f"--coordinator={coordinator}: cannot be reached within {timeout} s ({e})") from e
            time.sleep(0.5)
        else:
            return


def on_cluster(environment: Mapping[str, str]) -> bool:
    """Whether the environment is that of one of several tasks of Slurm, or of a TPU pod's hosts."""
    tasks = environment.get("SLURM_NTASKS", "1")
    hosts = environment.get("TPU_WORKER_HOSTNAMES", "")
    return ("SLURM_PROCID" in environment and tasks.isdigit() and int(tasks) > 1) or "," in hosts


def first() -> bool:
    """Whether this is the process that writes files."""
    return jax.process_index() == 0


def say(text: str) -> None:
    """Prints a line, once for all processes."""
    if first():
        print(text, flush=True)


def share(index: np.ndarray) -> np.ndarray:
    """This process's part of positions [N]: every one belongs to one process."""
    return np.asarray(index)[jax.process_index() :: jax.process_count()]


def gather(arrays: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The arrays of every process, by process; sizes may differ. All processes must call it."""
    if jax.process_count() == 1:
        return [dict(arrays)]
    file = io.BytesIO()
    np.savez(
        file, allow_pickle=False, **arrays
    )  # as bytes: what is gathered as numbers would lose its double precision
    own = np.frombuffer(file.getvalue(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.array([len(own)], np.int32))).ravel()
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(own)] = own
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    found = []
    for row, size in zip(rows, sizes, strict=True):
        with np.load(io.BytesIO(row[:size].tobytes()), allow_pickle=False) as archive:
            found.append({name: archive[name] for name in archive.files})
    return found


def meet(name: str) -> None:
    """Waits until all processes are here: what the first one wrote before is there for all afterwards."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
