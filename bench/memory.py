"""What a process takes of the machine: resident memory and CPU time."""

import importlib.util
import time
from typing import Final

SAMPLE_S: Final = 0.5
STEADY_SAMPLES: Final = 6
STEADY_MIB: Final = 1.0
"""Memory has settled when so many samples lie no further apart than this."""
SETTLE_S: Final = 60.0


def missing() -> str | None:
    """Return what to do to have memory and CPU time measured; None where it can be."""
    if importlib.util.find_spec("psutil") is None:
        return "the Python package psutil is not installed; pip install '.[bench]'"
    return None


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    import psutil  # noqa: PLC0415

    resident: int = psutil.Process(pid).memory_info().rss
    return resident / (1 << 20)


def settled_mib(pid: int, settle_s: float = SETTLE_S) -> float:
    """Return the resident memory once it stays as it is, or after `settle_s`."""
    deadline = time.monotonic() + settle_s
    samples = [resident_mib(pid)]
    while time.monotonic() < deadline:
        latest = samples[-STEADY_SAMPLES:]
        if len(latest) == STEADY_SAMPLES and max(latest) - min(latest) <= STEADY_MIB:
            break
        time.sleep(SAMPLE_S)
        samples.append(resident_mib(pid))
    return samples[-1]


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has had, in seconds."""
    import psutil  # noqa: PLC0415

    times = psutil.Process(pid).cpu_times()
    spent: float = times.user + times.system
    return spent
