"""What there is to run on."""

import os
from dataclasses import dataclass
from pathlib import Path

# A container's CPU time per period, and the period: of cgroups version 2, then of version 1.
_QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Resources:
    """The cores and GPUs that a job may use, on all nodes together."""

    cpus: int
    gpus: int


def count_cores(cgroup: Path = _CGROUP) -> int:
    """Return how many cores this process may use, by its affinity and its container's quota."""
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    for names in _QUOTAS:
        try:
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
            cores = min(cores, int(quota) // int(period)) if int(quota) > 0 else cores
        except (OSError, ValueError):  # another version's, or "max"
            continue
    return max(1, cores)
