"""Batches side by side: the same results in the same order, each worker with its share of the threads."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from seq2seq.errors import DecodingError
from seq2seq.workers import MOST_THREADS, results_in_order, worker_count


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items() -> None:
    first_may_end = threading.Event()

    def work(item: int) -> tuple[int, int, bool]:
        if item == 0:
            assert first_may_end.wait(60)
        else:
            first_may_end.set()
        return item, torch.get_num_threads(), threading.current_thread() is threading.main_thread()

    assert list(results_in_order(work, range(9), workers=2)) == [(item, 2, False) for item in range(9)]
    assert torch.get_num_threads() == 4


def test_a_new_thread_has_all_threads_again() -> None:
    list(results_in_order(str, range(5), workers=4))
    found: list[int] = []

    def look() -> None:
        torch.ones(100_000).sum()  # a thread learns how many it has when it first needs them
        found.append(torch.get_num_threads())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [4]


def test_threads_that_share_them_out_at_the_same_time_give_them_back() -> None:
    first = results_in_order(str, range(3), workers=2)
    next(first)
    second_has_begun, first_has_ended = threading.Event(), threading.Event()

    def other() -> None:  # begins when a new thread has but a share, and ends last
        results = results_in_order(lambda item: torch.get_num_threads(), range(3), workers=2)
        found.append(next(results))
        second_has_begun.set()
        assert first_has_ended.wait(60)
        found.extend(results)

    found: list[int] = []
    thread = threading.Thread(target=other)
    thread.start()
    assert second_has_begun.wait(60)
    assert list(first) == ["1", "2"]
    first_has_ended.set()
    thread.join()
    assert found == [2, 2, 2]
    test_a_new_thread_has_all_threads_again()


@pytest.mark.parametrize("items", [0, 1, 4])
def test_one_worker_works_here_with_all_threads(items: int) -> None:
    def work(item: int) -> tuple[int, bool]:
        return torch.get_num_threads(), threading.current_thread() is threading.main_thread()

    assert list(results_in_order(work, range(items), workers=1)) == [(4, True)] * items


def test_processes_give_the_results_in_order_with_one_thread_each() -> None:
    parent = os.getpid()

    def work(item: int) -> tuple[int, int, bool]:
        time.sleep(0.05 * (item == 0))
        return item, torch.get_num_threads(), os.getpid() == parent

    found = list(results_in_order(work, range(9), workers=3, processes=True))
    assert found == [(item, 1, False) for item in range(9)]
    assert torch.get_num_threads() == 4 and not multiprocessing.active_children()


def test_processes_compute_after_threads_of_this_one_did() -> None:
    left, right = torch.randn(300, 300), torch.randn(300, 300)
    expected = left @ right

    def work(item: int) -> torch.Tensor:
        return left @ right

    for found in results_in_order(work, range(4), workers=2, processes=True):
        torch.testing.assert_close(found, expected)


def test_an_error_in_a_process_reaches_the_caller() -> None:
    def work(item: int) -> int:
        if item == 1:
            raise DecodingError("item 1")
        return item

    results = results_in_order(work, range(100), workers=2, processes=True)
    assert next(results) == 0
    with pytest.raises(DecodingError, match="item 1"):
        list(results)
    assert not multiprocessing.active_children()


def test_the_death_of_a_process_is_an_error() -> None:
    def work(item: int) -> int:
        if item == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    with pytest.raises(DecodingError, match="ended .exit code -9.*fewer threads"):
        list(results_in_order(work, range(6), workers=2, processes=True))
    assert not multiprocessing.active_children()


class OfTwoError(Exception):
    """Cannot be made again from its message."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def test_an_error_that_cannot_be_passed_on_is_told() -> None:
    def work(item: int) -> object:
        if item == 0:
            raise OfTwoError("one", "two")
        return threading.Lock()  # cannot be passed on either

    with pytest.raises(RuntimeError, match="^OfTwoError: one two$") as raised:
        list(results_in_order(work, [0, 0], workers=2, processes=True))
    assert "in work\n    raise OfTwoError" in str(raised.value.__cause__)
    with pytest.raises(TypeError, match="pickle.*lock"):
        list(results_in_order(work, [1, 1], workers=2, processes=True))


def test_the_death_of_a_process_between_items_is_an_error() -> None:
    def work(item: int) -> int:
        threading.Timer(0.1, os._exit, [9]).start()
        return item

    results = results_in_order(work, range(6), workers=2, processes=True)
    assert next(results) == 0
    for process in multiprocessing.active_children():
        process.join()
    with pytest.raises(DecodingError, match="ended .exit code 9"):
        list(results)


def test_the_death_of_a_process_before_its_first_item_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seq2seq.workers._serve", lambda *_: os._exit(9))
    with pytest.raises(DecodingError, match="ended .exit code 9"):
        list(results_in_order(str, range(6), workers=2, processes=True))


def test_processes_end_with_the_caller() -> None:
    results = results_in_order(lambda item: time.sleep(0.01), range(1000), workers=2, processes=True)
    next(results)
    assert len(multiprocessing.active_children()) == 2
    results.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def test_a_killed_process_leaves_none_that_computes(tmp_path: Path) -> None:
    """They hold its files open: nobody could go on with its output while they are there."""
    code = (
        "import os, pathlib, sys, time, seq2seq.workers as workers\n"
        "def work(item):\n"
        "    (pathlib.Path(sys.argv[1]) / str(os.getpid())).touch()\n"
        "    time.sleep(600)\n"
        "list(workers.results_in_order(work, range(2), workers=2, processes=True))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) as process:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
    for path in tmp_path.iterdir():
        while Path(f"/proc/{path.name}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("size", [1, 10_000_000])  # it waits for an item; or for its answer to be read
def test_processes_end_when_the_other_is_killed(tmp_path: Path, size: int) -> None:
    code = (
        "import os, pathlib, sys, time, seq2seq.workers as workers\n"
        "workers.LOOK_AROUND = 0.1\n"
        "def work(item):\n"
        "    (pathlib.Path(sys.argv[1]) / str(os.getpid())).touch()\n"
        f"    return bytes({size})\n"
        "for _ in workers.results_in_order(work, range(2), workers=2, processes=True): pass\n"
    )
    # It stands still with its processes idle, since the results are not asked for any more.
    code = code.replace("pass", "print('one', flush=True); time.sleep(600)")
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"one\n"
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.05)
        process.kill()
    ids = [int(path.name) for path in tmp_path.iterdir()]
    assert len(ids) == 2
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{number}").exists() for number in ids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_error_reaches_the_caller_and_ends_the_work() -> None:
    begun: list[int] = []
    others_wait = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item == 1:
            raise ValueError("item 1")
        if item > 1:
            others_wait.wait(0.2)
        return item

    results = results_in_order(work, range(100), workers=2)
    assert next(results) == 0
    with pytest.raises(ValueError, match="item 1"):
        next(results)
    assert len(begun) < 20 and torch.get_num_threads() == 4


def test_nothing_is_begun_after_the_caller_has_left() -> None:
    begun: list[int] = []
    results = results_in_order(lambda item: begun.append(item) or threading.Event().wait(0.01), range(1000), workers=2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(begun) < 100 and torch.get_num_threads() == 4


def test_how_many() -> None:
    cpu = torch.device("cpu")
    torch.set_num_threads(7)
    assert worker_count(cpu, processes=False) == MOST_THREADS and worker_count(cpu, processes=True) == 7
    torch.set_num_threads(1)
    for processes in (False, True):
        assert worker_count(cpu, processes=processes) == 1 == worker_count(torch.device("cuda"), processes=processes)
