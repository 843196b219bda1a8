"""How much memory a process has used."""

import sys

import psutil


def process_peak_bytes() -> int:
    """The most memory that this process has had so far."""
    try:
        import resource
    except ImportError:  # Windows, where psutil knows the peak; elsewhere it knows the present figure alone
        return psutil.Process().memory_info().peak_wset
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
