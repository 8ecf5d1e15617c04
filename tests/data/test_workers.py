"""Processes that do the same as one, in the same order, and that never outlive it."""

import errno
import functools
import operator
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.data import workers
from seq2seq.data.workers import in_order
from seq2seq.errors import DataError

INVERSE = functools.partial(operator.truediv, 1)


def outcome(items: list[int], unreadable: int | None, count: int) -> list[object]:
    """Results in order, then the error."""

    def read() -> Iterator[int]:
        yield from items[:unreadable]
        if unreadable is not None:
            raise OSError("unreadable")

    found: list[object] = []
    try:
        for result in in_order(INVERSE, read(), workers=count):
            found.append(result)
    except (OSError, ZeroDivisionError) as error:
        found.append(repr(error))
    return found


@settings(max_examples=8)  # each starts processes
@given(
    items=st.lists(st.integers(-3, 30), max_size=40),
    unreadable=st.none() | st.integers(0, 40),
    count=st.integers(2, 3),
)
def test_results_and_errors_come_as_from_one(items: list[int], unreadable: int | None, count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "FEW", 2)
        assert outcome(items, unreadable, count) == outcome(items, unreadable, 1)


def test_items_are_read_as_they_are_needed() -> None:
    read = []

    def items() -> Iterator[int]:
        for number in range(1, 1000):
            read.append(number)
            yield number

    results = in_order(INVERSE, items(), workers=2)
    assert next(results) == 1
    assert len(read) <= workers.FEW + 2 * 2 + 1
    results.close()


def test_a_few_items_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    assert list(in_order(INVERSE, [1, 2, 4, 8], workers=2)) == [1, 0.5, 0.25, 0.125]
    assert list(in_order(INVERSE, [], workers=2)) == []


def test_a_process_that_cannot_start_is_reported_and_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    popen, started = subprocess.Popen, []

    def second_fails(*arguments: Any, **settings: Any) -> Any:
        if started:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        started.append(popen(*arguments, **settings))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", second_fails)
    with pytest.raises(DataError, match=r"cannot be started \(Cannot allocate memory\); lower data.workers\.$"):
        list(in_order(INVERSE, range(1, 20), workers=2))
    assert started[0].poll() is not None


def test_a_thread_that_cannot_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fails)
    with pytest.raises(DataError, match=r"cannot be started \(can't start new thread\); lower data.workers"):
        list(in_order(INVERSE, range(1, 20), workers=2))


def test_a_process_that_dies_is_reported() -> None:
    with pytest.raises(DataError, match=r"ended unexpectedly \(exit code 7\).*lower data.workers"):
        list(in_order(os._exit, [7] * 9, workers=2))


ENDLESS = """
import subprocess, sys, time
from seq2seq.data import workers

started = subprocess.Popen

def announced(*arguments, **settings):
    process = started(*arguments, **settings)
    print(process.pid, flush=True)
    return process

subprocess.Popen = announced
try:
    for _ in workers.in_order(time.sleep, [0.2] * 10_000, workers=2):
        print("works", flush=True)
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
"""


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"  # nobody reaped it yet
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_this_one(number: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert parent.stdout is not None
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    assert parent.stdout.readline() == "works\n"
    assert not any(map(gone, pids))
    os.killpg(parent.pid, number)  # as a terminal does for Ctrl-C
    _, errors = parent.communicate(timeout=30)
    assert errors == ("interrupted\n" if number is signal.SIGINT else "")
    deadline = time.monotonic() + 10
    while not all(map(gone, pids)):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)
