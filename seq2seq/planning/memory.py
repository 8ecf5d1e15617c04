"""How much memory is free, how much a process needed at most, and a bound on what it may take."""

import contextlib
import ctypes
import math
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from seq2seq.training.distributed import Ranks

KIBI = 1024
HEADROOM = 0.9
"""Share of the free memory that a batch may take: later epochs have other batches, and the run has its text too."""


def memory_limit_of(ranks: Ranks) -> int | None:
    """Bytes that a batch may take on each of the ranks, which share the memory of a machine but have GPUs of their own.

    As many as there are where the least is free; None where no system says. A meeting of the ranks.
    """
    free = free_memory(ranks.device)
    sharers = ranks.place.local_world_size if ranks.device.type == "cpu" else 1
    least = -ranks.largest(-math.inf if free is None else -HEADROOM * free / sharers)
    return None if math.isinf(least) else int(least)


def free_memory(device: torch.device) -> int | None:
    """Bytes that a new process may take on the device; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    system = _fields(Path("/proc/meminfo")).get("MemAvailable")
    return min((free for free in (system, *_left_by_control_groups()) if free is not None), default=None)


def _left_by_control_groups(root: Path = Path("/")) -> Iterator[int]:
    """What the limits of this process's control groups leave; file pages that can be dropped count as free."""
    try:
        groups = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in groups:
        if controllers == "":
            base, limit, used, droppable = "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, limit, used = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            droppable = "total_inactive_file"
        else:
            continue
        for folder in (root / base, root / base / path.lstrip("/")):  # inside a container only the first is there
            with contextlib.suppress(OSError, ValueError):  # no such limit; or it is the word max
                most, taken = int((folder / limit).read_text()), int((folder / used).read_text())
                lines = [line.split() for line in (folder / "memory.stat").read_text().splitlines()]
                yield most - taken + int(dict(lines).get(droppable, 0))


def start_counting(device: torch.device) -> None:
    """Forget the peak so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "cpu" and sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):  # glibc keeps freed memory otherwise
            library.malloc_trim(0)
        with contextlib.suppress(OSError):  # where it is forbidden, a later peak counts as at least an earlier one
            Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident set size


def peak_memory(device: torch.device) -> int:
    """Bytes needed at once since `start_counting`: by tensors on a GPU, by the whole process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    if fields := _fields(Path("/proc/self/status")):
        return fields["VmHWM"]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else KIBI)


def take_at_most(limit: int, device: torch.device) -> None:
    """Let this process fail to allocate rather than take more than `limit` bytes of the device's memory."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), device)
    elif device.type == "cpu" and (fields := _fields(Path("/proc/self/status"))):
        # Linux counts address space here, of which threads reserve some that they never touch: add it on both sides.
        most = fields["VmData"] + max(0, limit - fields["VmRSS"])
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _fields(path: Path) -> dict[str, int]:
    """The sizes in a file of /proc, in bytes; none where there is no such file."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0].rstrip(":"): int(line[1]) * KIBI for line in lines if len(line) == 3 and line[2] == "kB"}
