"""Freed memory stays with the process: the next tensors of the same sizes cost no page faults."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from seq2seq.memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def use():
    return sum(float(torch.ones(count, 2**20)[-1, -1]) for count in (5, 9, 40, 9, 5))

told = keep_freed_memory() if sys.argv[1] == "keep" else False
for _ in range(10):  # until the heap has places for all, whatever small things stand between them
    use()
before = faults()
for _ in range(10):
    use()
print(told, faults() - before)
"""


def measured(how: str) -> tuple[bool, int]:
    answer = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    told, faults = answer.stdout.split()
    return told == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_the_same_sizes_again_cost_no_page_faults() -> None:
    told, kept = measured("keep")
    _, given_back = measured("give back")
    assert told
    assert given_back > 10 * 40 * 2**20 * 4 // 4096 / 600  # pages may be huge ones of 2 MB
    assert kept < given_back / 10
