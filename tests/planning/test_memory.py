import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seq2seq.planning import memory
from seq2seq.planning.memory import (
    _left_by_control_groups,
    free_memory,
    memory_limit_of,
    peak_memory,
    start_counting,
)
from seq2seq.training.distributed import Place, Ranks

CPU = torch.device("cpu")
ONLY_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells and bounds these")
MEBI = 2**20


@ONLY_LINUX
def test_free_memory_is_some_of_the_memory() -> None:
    free = free_memory(CPU)
    assert free is not None
    total = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    assert 0 < free < total * 1024


@pytest.mark.parametrize(
    ("device", "local_world_size", "free", "limit"),
    [("cpu", 1, 1000, 900), ("cpu", 4, 1000, 225), ("cuda", 4, 1000, 900), ("cpu", 4, None, None)],
)
def test_ranks_of_a_machine_share_its_memory_and_have_their_own_gpus(
    device: str, local_world_size: int, free: int | None, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda _: free)
    ranks = Ranks(Place(local_world_size=local_world_size), device=torch.device(device))
    assert memory_limit_of(ranks) == limit


def test_the_machine_with_the_least_memory_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda _: 1000)
    for other, limit in ((500, 225), (5000, 450), (None, 450)):  # free elsewhere, of which two ranks have 90 %
        ranks = Ranks(Place(local_world_size=2))
        theirs = -math.inf if other is None else -0.9 * other / 2
        monkeypatch.setattr(ranks, "largest", lambda own, theirs=theirs: max(own, theirs))
        assert memory_limit_of(ranks) == limit


@ONLY_LINUX
def test_the_peak_is_what_was_held_at_once() -> None:
    start_counting(CPU)
    before = peak_memory(CPU)
    held = torch.ones(100 * MEBI // 4)
    del held
    assert 95 * MEBI < peak_memory(CPU) - before < 130 * MEBI
    start_counting(CPU)
    assert peak_memory(CPU) - before < 50 * MEBI


BOUNDED = """
import torch
from seq2seq.device import is_out_of_memory
from seq2seq.planning.memory import peak_memory, take_at_most
cpu = torch.device("cpu")
take_at_most(peak_memory(cpu) + 300 * 2**20, cpu)
torch.ones(200 * 2**20 // 4)
try:
    torch.ones(400 * 2**20 // 4)
except Exception as error:
    print("refused" if is_out_of_memory(error) else error)
"""


@ONLY_LINUX
def test_a_process_takes_no_more_than_it_may() -> None:
    made = subprocess.run([sys.executable, "-c", BOUNDED], capture_output=True, text=True, check=True)
    assert made.stdout == "refused\n"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_container_may_leave_less(tmp_path: Path) -> None:
    assert list(_left_by_control_groups(tmp_path)) == []
    write(
        tmp_path / "new",
        {
            "proc/self/cgroup": "0::/own\n",
            "sys/fs/cgroup/memory.max": "max\n",
            "sys/fs/cgroup/memory.current": "5\n",
            "sys/fs/cgroup/own/memory.max": "1000\n",
            "sys/fs/cgroup/own/memory.current": "300\n",
            "sys/fs/cgroup/own/memory.stat": "anon 100\ninactive_file 50\n",
        },
    )
    assert list(_left_by_control_groups(tmp_path / "new")) == [750]
    write(
        tmp_path / "old",
        {
            "proc/self/cgroup": "5:cpu:/own\n4:memory,hugetlb:/own\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "800\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "200\n",
            "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 10\n",
        },
    )
    assert list(_left_by_control_groups(tmp_path / "old")) == [610]
